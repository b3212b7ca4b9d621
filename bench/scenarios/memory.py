"""Memory: of an open position, of the process at rest, and whether it grows with the number of signals."""

import statistics
import subprocess
import sys
from collections.abc import Sequence

from bench.footprint import resident
from bench.host import ROOT, Child, Host
from bench.load import drive
from bench.measure import Comparisons, in_turns
from bench.scenarios.restart import with_positions
from bench.stories import INSTRUMENTS, Story

FEW, MANY, QUICK_MANY = 10_000, 100_000, 30_000
LAYERS = 100
# 4.5 KB a position, 120 MB for a process with few of them.
POSITION_TARGET_BYTES, AT_REST_TARGET_MB = 4_500.0, 120.0
SIGNALS, QUICK_SIGNALS = 1_000_000, 80_000
_ALERTS_SECONDS = 0.2
_MEGABYTE = 1_000_000
# So many signals fill the cache of closed positions, the pools and what the allocator keeps.
_WARM_AFTER = 50_000


def memory(host: Host) -> Comparisons:
    """A position's: the slope between few and many of them. The process' at rest: `live` after a few alerts."""
    found, many = Comparisons("memory"), QUICK_MANY if host.quick else MANY
    books = {count: _book(host, count) for count in (FEW, many)}
    for number in range(host.rounds):
        held: dict[str, float] = {}
        in_turns(
            number,
            lambda held=held: held.update(ours=_each(host, "engine", books)),  # type: ignore[misc]
            lambda held=held: held.update(raw=_each(host, "tuples", books)),  # type: ignore[misc]
            lambda held=held: held.update(live=_at_rest(host, *_live(host))),  # type: ignore[misc]
            lambda held=held: held.update(bare=_at_rest(host, "-m", "bench.bare_server", host.dsn)),  # type: ignore[misc]
        )
        found.add("an open position", held["ours"], POSITION_TARGET_BYTES, unit="B", limit="the target", target=1.0)
        found.add("an open position", held["ours"], held["raw"], unit="B", limit="the row as psycopg2's tuple")
        found.add("at rest", held["live"], AT_REST_TARGET_MB, unit="MB", limit="the target", target=1.0)
        found.add("at rest", held["live"], held["bare"], unit="MB", limit="bare Flask, waitress, psycopg2")
    return found


def soak(host: Host) -> Comparisons:
    """An engine alone with signal after signal: what it holds at the end, beside what it held once it was warm."""
    found, signals = Comparisons("soak"), QUICK_SIGNALS if host.quick else SIGNALS
    command = [sys.executable, "-m", "bench.footprint", "soak", host.database(), str(signals)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *samples, answers = done.stdout.splitlines()
    warm = [
        (int(count), int(held)) for _, count, held in (line.split() for line in samples) if int(count) >= _WARM_AFTER
    ]
    end, begin = warm[-1][1] / _MEGABYTE, warm[0][1] / _MEGABYTE
    found.add(f"after {signals:,} signals", end, begin, unit="MB", limit=f"the same process after {warm[0][0]:,}")
    found.notes["bytes per 1,000 signals, once warm"] = round(slope(warm) * 1000)
    found.notes["answers"] = answers.removeprefix("answers ")
    return found


def slope(samples: Sequence[tuple[int, int]]) -> float:
    """Bytes a signal: of the straight line through all samples."""
    return statistics.linear_regression(*zip(*samples, strict=True)).slope


def _book(host: Host, count: int) -> tuple[str, str]:
    dsn = host.database()
    return dsn, str(with_positions(host, dsn, count, LAYERS))


def _each(host: Host, mode: str, books: dict[int, tuple[str, str]]) -> float:
    (few, many), (less, more) = books, (_held(host, mode, *book) for book in books.values())
    return (more - less) / (many - few)


def _held(host: Host, mode: str, dsn: str, config: str) -> int:
    child = Child(host.folder, "-m", "bench.footprint", mode, dsn, config)
    try:
        return int(child.ready().split()[1])
    finally:
        child.stop()


def _at_rest(host: Host, *command: str) -> float:
    """Megabytes of a server that has answered a few."""
    child, story = Child(host.folder, *command), Story()
    try:
        drive(int(child.ready().rpartition(":")[2]), 1, _ALERTS_SECONDS, story.body)
        return resident(child.process.pid) / _MEGABYTE
    finally:
        child.stop()


def _live(host: Host) -> list[str]:
    return [
        "portfolio_manager.py",
        "live",
        *("--port", "0"),
        *("--data-dir", str(host.folder / "live-at-rest")),
        *("--db-config", str(host.database_config(host.database())), "--db-env", "local"),
        *("--config", str(host.configuration(INSTRUMENTS))),
    ]
