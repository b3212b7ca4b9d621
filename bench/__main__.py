"""`python -m bench`: measure, print a table, write JSON if asked to. A scenario that cannot be measured is told, no more."""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.host import a_host
from bench.machine import machine
from bench.measure import Comparisons
from bench.report import as_json, busy, show, write
from bench.scenarios import SCENARIOS
from live.logs import configure_logging

RESULTS = Path(__file__).parent / "results"
ROUNDS, QUICK_ROUNDS = 5, 3


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help=f"rounds of each scenario [{ROUNDS}, with --quick {QUICK_ROUNDS}]")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", action="append", choices=sorted(SCENARIOS), metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument(
        "--json", nargs="?", type=Path, const=RESULTS, metavar="FILE", help=f"[a new file in {RESULTS}]"
    )
    options = parser.parse_args(given)
    options.rounds = max(1, options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS))
    return options


def main() -> int:
    """Run what is asked for; 0 whatever the figures are. The JSON is written anew after each scenario: the whole takes long."""
    options, started, load = arguments(), datetime.now(UTC), os.getloadavg()[0]
    configure_logging()
    console = Console(width=None if sys.stdout.isatty() else 150)
    results: list[Comparisons] = []
    file = RESULTS / f"{started:%Y%m%dT%H%M%SZ}.json" if options.json == RESULTS else options.json
    for name in options.only or SCENARIOS:
        print(f"measuring {name}, {options.rounds} rounds ...", file=sys.stderr, flush=True)
        try:
            with a_host(rounds=options.rounds, quick=options.quick) as host:
                on = {**machine(host.folder, host.dsn), "load_average_before": round(load, 2)}
                results.append(SCENARIOS[name](host))
        except Exception as error:  # noqa: BLE001 - one scenario's trouble must not cost the others' figures
            console.print(f"{name} could not be measured: {type(error).__name__}: {error}", markup=False)
        else:
            if file is not None:
                write(file, as_json(results, rounds=options.rounds, started=started, machine=on))
    show(console, results)
    if warning := busy(load, os.cpu_count() or 1):
        console.print(warning, markup=False)
    if file is not None and results:
        console.print(f"written to {file}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
