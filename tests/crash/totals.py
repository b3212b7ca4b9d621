"""What the crash tests survived: each notes its part, and the run ends with one table of them.

A plugin of tests/conftest.py, not of tests/crash/conftest.py: the process that prints the table is xdist's controller,
which collects nothing and so never loads a conftest below tests/.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Names the run's file. The controller sets it before it starts its workers, who inherit it; who sets it beforehand
# keeps the file.
VARIABLE = "CRASH_TOTALS"
SEED = int(os.environ.get("CRASH_SEED", "20260114"))
FULL = os.environ.get("CRASH_FULL") == "1"

Note = Callable[..., None]


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """`note(faults=, signals=, lost=, doubled=)`: what this test has survived so far; further notes add up."""

    def noted(*, faults: int, signals: int, lost: int = 0, doubled: int = 0, seed: int = SEED) -> None:
        line = {"test": request.node.name, "faults": faults, "signals": signals, "lost": lost, "doubled": doubled}
        # One write in append mode: lines of several workers do not mix.
        with Path(os.environ[VARIABLE]).open("a", buffering=1, encoding="utf-8") as file:
            file.write(json.dumps({**line, "seed": seed}) + "\n")

    return noted


def pytest_configure(config: pytest.Config) -> None:
    """Make the run's file, where this is the process that will print it."""
    if VARIABLE in os.environ:
        return
    descriptor, name = tempfile.mkstemp(prefix="crash-totals-")
    os.close(descriptor)
    os.environ[VARIABLE] = name

    def forget() -> None:
        Path(name).unlink(missing_ok=True)
        os.environ.pop(VARIABLE, None)

    config.add_cleanup(forget)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table; a run without crash tests has none."""
    file = Path(os.environ[VARIABLE])
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    if not lines:
        return
    terminalreporter.section("crash matrix")
    for line in table(lines):
        terminalreporter.write_line(line)


_COLUMNS = ("faults", "signals", "lost", "doubled")


def table(lines: list[dict[str, Any]]) -> list[str]:
    """One line a test, what it noted added up, and one for all."""
    tests: dict[tuple[str, int], dict[str, int]] = {}
    for line in sorted(lines, key=lambda line: line["test"]):
        sums = tests.setdefault((line["test"], line["seed"]), dict.fromkeys(_COLUMNS, 0))
        for column in _COLUMNS:
            sums[column] += line[column]
    total = {column: sum(sums[column] for sums in tests.values()) for column in _COLUMNS}
    width = max(len("total"), *(len(test) for test, _ in tests))
    head = f"{'test':{width}} {'survived':>9} {'signals':>9} {'lost':>6} {'doubled':>8}  seed"
    return [
        head,
        *(_told(test, width, sums, str(seed)) for (test, seed), sums in tests.items()),
        _told("total", width, total, ""),
    ]


def _told(test: str, width: int, sums: dict[str, int], seed: str) -> str:
    numbers = f"{sums['faults']:>9,} {sums['signals']:>9,} {sums['lost']:>6,} {sums['doubled']:>8,}"
    return f"{test:{width}} {numbers}  {seed}".rstrip()
