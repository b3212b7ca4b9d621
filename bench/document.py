"""`python -m bench.document results.json ...`: what runs have measured, into docs/performance.md, its picture and its JSON."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from bench.measure import Comparison
from bench.plot import plot
from bench.report import cells

DOCS = Path(__file__).resolve().parents[1] / "docs"
GUIDE, PICTURE, RESULTS = "performance.md", "performance.svg", "performance.json"
BEGIN, END = "<!-- results: made by python -m bench.document -->", "<!-- end of the results -->"
_HEAD = ("figure", "ours", "limit", "the limit is", "ratio", "lowest - highest", "better, target")
_VERSIONS = ("postgresql", "python", "psycopg2", "flask", "waitress", "msgspec")


def document(guide: str, results: Mapping[str, Any]) -> str:
    """The guide with these results between its marks; ValueError for a guide without them."""
    before, begun, rest = guide.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"the guide has no place for results: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{told(results)}\n{END}{after}"


def told(results: Mapping[str, Any]) -> str:
    """The machine in a sentence, the picture, a table for each scenario."""
    rows = rows_of(results)
    parts = [_machine(results), f"![Each figure beside its target]({PICTURE})\n"]
    for scenario in dict.fromkeys(row.scenario for row in rows):
        parts.append(f"### {scenario}\n")
        parts.append(_table([row for row in rows if row.scenario == scenario]))
    return "\n".join(parts)


def rows_of(results: Mapping[str, Any]) -> list[Comparison]:
    """The comparisons of a run's JSON."""
    fields = Comparison.__dataclass_fields__
    return [Comparison(**{name: row[name] for name in fields}) for row in results["comparisons"]]


def _machine(results: Mapping[str, Any]) -> str:
    on = results["machine"]
    versions = ", ".join(f"{name} {on[name]}" for name in _VERSIONS)
    again = sorted(results.get("again", {}).items())
    apart = f" From runs of their own: {', '.join(_apart(*one) for one in again)}." if again else ""
    return (
        f"Measured on {results['started'][:10]}, {results['rounds']} rounds, on {on['cores']} cores of {on['processor']} with "
        f"{on['memory_gib']} GiB, {on['kernel']}, {on['file_system']}; {versions}. The load average before the run was "
        f"{on['load_average_before']}.{apart}\n"
    )


def _apart(scenario: str, run: Mapping[str, Any]) -> str:
    # Files of before the date was kept have none.
    day = f"{run['started'][:10]}, " if "started" in run else ""
    return f"`{scenario}` ({day}load average {run['load_average_before']})"


def _table(rows: Sequence[Comparison]) -> str:
    lines = [f"| {' | '.join(_HEAD)} |", f"| --- | {'---: | ' * 2}--- | {'---: | ' * 2}--- |"]
    # The scenario, each row's first cell, is the heading.
    lines += [f"| {' | '.join(cells(row)[1:])} |" for row in rows]
    return "\n".join(lines) + "\n"


def together(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs as one: of each scenario what the last run that measured it says; the machine is the first one's, and
    `again` tells what was not measured with the others."""
    first, *others = runs
    again: dict[str, Any] = dict(first.get("again", {}))
    rows = _by_scenario(first)
    notes = dict(first["notes"])
    for run in others:
        anew = _by_scenario(run)
        # Each keeps its place.
        rows |= anew
        notes.update(run["notes"])
        load = run["machine"]["load_average_before"]
        again |= {scenario: {"started": run["started"], "load_average_before": load} for scenario in anew}
    comparisons = list(chain.from_iterable(rows.values()))
    return {**first, "comparisons": comparisons, "notes": notes, **({"again": again} if again else {})}


def _by_scenario(run: Mapping[str, Any]) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {}
    for row in run["comparisons"]:
        rows.setdefault(row["scenario"], []).append(row)
    return rows


def main(given: Sequence[str] | None = None) -> int:
    """Write the three files."""
    parser = argparse.ArgumentParser(prog="python -m bench.document", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="what `python -m bench --json FILE` has written")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder with performance.md")
    options = parser.parse_args(given)
    results = together([json.loads(file.read_text(encoding="utf-8")) for file in options.results])
    guide: Path = options.docs / GUIDE
    guide.write_text(document(guide.read_text(encoding="utf-8"), results), encoding="utf-8")
    (options.docs / PICTURE).write_text(plot(rows_of(results)), encoding="utf-8")
    (options.docs / RESULTS).write_text(json.dumps(results, separators=(",", ":")) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
