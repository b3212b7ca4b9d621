"""The bench's results: a table for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure import Comparison, Comparisons, spread_of

_HUNDREDS, _TENS = 100, 10


def number(value: float) -> str:
    """Three digits that count: 1,234, 123, 12.3, 1.23, 0.123."""
    if abs(value) >= _HUNDREDS:
        return f"{value:,.0f}"
    if abs(value) >= _TENS:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def cells(row: Comparison) -> tuple[str, ...]:
    """A row of the table: what, ours, the limit's, the ratio with its lowest and highest round, and what it should be."""
    ours, raw, ratio = spread_of(row.ours), spread_of(row.raw), spread_of(row.ratios)
    return (
        row.scenario,
        row.figure,
        f"{number(ours.median)} {row.unit}",
        f"{number(raw.median)} {row.unit}",
        row.limit,
        f"{ratio.median:.2f}x",
        f"{ratio.lowest:.2f} - {ratio.highest:.2f}",
        target_of(row),
    )


def target_of(row: Comparison) -> str:
    """`<= 2x met`, `>= 0.5x missed`; without a target which is better, `<` or `>`."""
    sign = "<" if row.better == "lower" else ">"
    return sign if row.target is None else f"{sign}= {row.target:.3g}x {'met' if row.met else 'missed'}"


def table_of(results: Sequence[Comparisons]) -> Table:
    """All comparisons, a section for each scenario."""
    table = Table(title="Ours beside a raw limit of the same run (medians; ratio = ours / limit)")
    for name in ("scenario", "figure"):
        table.add_column(name)
    for name in ("ours", "limit"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("the limit is")
    for name in ("ratio", "lowest - highest"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("better, target", no_wrap=True)
    for result in results:
        for row in result.rows:
            table.add_row(*cells(row))
        table.add_section()
    return table


def busy(load: float, processors: int) -> str:
    """A warning where others used the machine (`load` is the minute's average before the run); empty where none is due."""
    if load < processors / 4:
        return ""
    return f"others were busy here: load average {load:.1f} on {processors} processors before the run; ratios are less sure"


def as_json(
    results: Sequence[Comparisons], *, rounds: int, started: datetime, machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that was measured, with each round, and on what machine."""
    return {
        "started": started.isoformat(),
        "rounds": rounds,
        "machine": dict(machine),
        "comparisons": [_comparison(row) for result in results for row in result.rows],
        "notes": {result.scenario: result.notes for result in results if result.notes},
    }


def _comparison(row: Comparison) -> dict[str, Any]:
    spreads = {
        "ours_spread": asdict(spread_of(row.ours)),
        "limit_spread": asdict(spread_of(row.raw)),
        "ratio_spread": asdict(spread_of(row.ratios)),
    }
    return {**asdict(row), "ratios": row.ratios, "met": row.met, **spreads}


def show(console: Console, results: Sequence[Comparisons]) -> None:
    """Print the table, and the notes below it."""
    console.print(table_of(results))
    for result in results:
        for name, value in result.notes.items():
            console.print(f"{result.scenario}: {name}: {value}", markup=False)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the JSON, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
