"""The book of record: the tree with its figures, aggregation, the past, deduplication; each beside a bare statement.

10,000 positions with five years of daily marks, and 1,000,000 with those of two days.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as Connection
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from bench.host import Host
from bench.measure import Comparisons, values_in_turns
from book.database import engine_of, transaction
from book.nodes import nodes_on
from book.roll_up import Dimension, lines, tree
from book.snapshots import is_kept, snapshot_of_node
from core.postgres.migrations import migrate_shared
from core.postgres.statements import statements_in

TODAY = date(2026, 1, 14)
POSITIONS, MANY_POSITIONS = 10_000, 1_000_000
TRADING_DAYS, QUICK_DAYS = 5 * 252, 60
_LIMIT = "the day's marks added up"
_FOUND = "a row found by its key"
_TARGET = "the target"
_FOLDER = Path(__file__).parents[1]
_HISTORY = "book.position_pnl_history"
_OF_HISTORY = {"tables": [_HISTORY]}
_QUICK_SHARE = 100
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much there is, and in how many milliseconds each answer is wanted: tree, aggregation, past, deduplication."""

    name: str
    positions: int
    days: int
    desks: int
    strategies: int
    targets: tuple[float, float, float, float]


def book(host: Host) -> Comparisons:
    """The tree and its aggregations now and as of a past day, and a snapshot that is there already."""
    found = Comparisons("book")
    sizes = (
        Size(
            name="10,000 positions, 5 years",
            positions=POSITIONS,
            days=QUICK_DAYS if host.quick else TRADING_DAYS,
            desks=4,
            strategies=5,
            targets=(100, 100, 50, 10),
        ),
        Size(
            name="1,000,000 positions",
            positions=MANY_POSITIONS // _QUICK_SHARE if host.quick else MANY_POSITIONS,
            days=2,
            desks=10,
            strategies=20,
            targets=(1000, 1000, 500, 100),
        ),
    )
    for size in sizes:
        dsn = host.database()
        migrate_shared(dsn)
        with closing(psycopg2.connect(dsn)) as bare:
            _fill(bare, size)
            engine = engine_of(dsn)
            try:
                _measure(host, found, size, engine, bare)
            finally:
                engine.dispose()
    found.notes["positions and days"] = {size.name: (size.positions, size.days) for size in sizes}
    return found


def _fill(bare: Connection, size: Size) -> None:
    statements = statements_in(_FOLDER)
    parameters = {"day": TODAY, "days": size.days, "positions": size.positions}
    parameters |= {"desks": size.desks, "strategies": size.strategies}
    with bare, bare.cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '512MB'")
        for name in ("tree", "books", "strategies", "sectors", "instruments", "feeds", "rates", "positions"):
            cursor.execute(statements[name], parameters)
        cursor.execute(statements["constraints"], _OF_HISTORY)
        constraints = cursor.fetchall()
        cursor.execute(statements["indexes"], _OF_HISTORY)
        indexes = cursor.fetchall()
        # Rows first, then what they are found by: else most of the time is spent on filling indexes row by row.
        for _, name, _ in constraints:
            cursor.execute(f"ALTER TABLE {_HISTORY} DROP {name}")
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX book.{name}")
        cursor.execute(statements["history"], parameters)
        for _, name, definition in constraints:
            cursor.execute(f"ALTER TABLE {_HISTORY} ADD {name} {definition}")
        for _, definition in indexes:
            cursor.execute(definition)
    bare.autocommit = True
    with bare.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _measure(host: Host, found: Comparisons, size: Size, engine: Engine, bare: Connection) -> None:
    past = TODAY - timedelta(days=max(1, size.days // 2))
    root = _root(engine)
    with transaction(engine, limit_seconds=_PATIENCE_SECONDS) as session:
        (first, *_) = tree(session, TODAY).nodes
        if first.figures.positions != size.positions:
            raise RuntimeError(f"{first.figures.positions} positions were rolled up, and {size.positions} are there")
        known = snapshot_of_node(session, root, TODAY, _moment(-1)).payload_hash
    asked: tuple[tuple[str, float, Callable[[Session], object], Callable[[], None]], ...] = (
        ("tree with figures", size.targets[0], partial(tree, day=TODAY), partial(_add_up, bare, TODAY)),
        (
            "by instrument",
            size.targets[1],
            partial(lines, by=Dimension.INSTRUMENT, day=TODAY),
            partial(_add_up, bare, TODAY),
        ),
        ("by sector", size.targets[1], partial(lines, by=Dimension.SECTOR, day=TODAY), partial(_add_up, bare, TODAY)),
        ("tree as of a past day", size.targets[2], partial(tree, day=past), partial(_add_up, bare, past)),
        ("deduplication", size.targets[3], partial(is_kept, payload_hash=known), partial(_find, bare, known)),
    )
    for number in range(-1, host.rounds):
        for name, target, ask, limit in asked:
            ours, raw = values_in_turns(number, partial(_asked, engine, ask), partial(_taken, limit))
            if number >= 0:
                named = f"{name}, {size.name}"
                found.add(named, ours, raw, unit="ms", limit=_FOUND if name == "deduplication" else _LIMIT)
                found.add(named, ours, target, unit="ms", limit=_TARGET, target=1.0)
        whole = _taken(partial(_snapshot, engine, root, number))
        if number >= 0:
            # Read, sent, hashed and found to be there: for this no time was promised.
            found.add(
                f"snapshot of the same, {size.name}",
                whole,
                _taken(partial(_add_up, bare, TODAY)),
                unit="ms",
                limit=_LIMIT,
            )


def _root(engine: Engine) -> int:
    with transaction(engine) as session:
        return min(int(row["portfolio_node_id"]) for row in nodes_on(session, TODAY) if row["parent_id"] is None)


def _moment(number: int) -> datetime:
    return datetime(2026, 1, 14, 12, tzinfo=UTC) + timedelta(seconds=number)


def _snapshot(engine: Engine, root: int, number: int) -> None:
    with transaction(engine, limit_seconds=_PATIENCE_SECONDS) as session:
        if snapshot_of_node(session, root, TODAY, _moment(number)).is_new_content:
            raise RuntimeError("the same content was kept twice")


def _asked(engine: Engine, ask: Callable[[Session], object]) -> float:
    """Milliseconds, on a connection that is there."""
    with transaction(engine, limit_seconds=_PATIENCE_SECONDS) as session:
        return _taken(partial(ask, session))


def _taken(what: Callable[[], object]) -> float:
    begun = time.perf_counter()
    what()
    return (time.perf_counter() - begun) * 1000


def _add_up(bare: Connection, day: date) -> None:
    with bare.cursor() as cursor:
        cursor.execute(statements_in(_FOLDER)["raw_marks"], {"day": day})
        cursor.fetchall()


def _find(bare: Connection, payload_hash: str) -> None:
    with bare.cursor() as cursor:
        cursor.execute("SELECT 1 FROM book.portfolio_snapshot_content WHERE payload_hash = %s", (payload_hash,))
        cursor.fetchall()
