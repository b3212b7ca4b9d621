"""The book of record: the tree with its figures, aggregation, the past, deduplication; each beside a bare statement.

10,000 positions with five years of daily marks; 1,000,000 of which each was held for eight days of five years; 1,000,000 that are
all open, with the marks of two days. And what a day's marks cost with the totals that are kept of them.
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
from book.totals import keep_totals, reckon
from core.postgres.migrations import migrate_shared
from core.postgres.statements import statements_in

TODAY = date(2026, 1, 14)
POSITIONS, MANY_POSITIONS = 10_000, 1_000_000
TRADING_DAYS, QUICK_DAYS = 5 * 252, 60
MANY_TARGETS = (1000.0, 1000.0, 500.0, 100.0)
_UNNOTED = "the same rows without a trigger"
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
    """How much there is, for how many days each position is held (None: all), and in how many milliseconds each answer is wanted:
    tree, aggregation, past, deduplication."""

    name: str
    positions: int
    days: int
    desks: int
    strategies: int
    targets: tuple[float, float, float, float]
    held: int | None = None


def book(host: Host) -> Comparisons:
    """The tree and its aggregations now and as of a past day, and a snapshot that is there already."""
    found = Comparisons("book")
    many = MANY_POSITIONS // _QUICK_SHARE if host.quick else MANY_POSITIONS
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
            name="1,000,000 positions, 5 years",
            positions=many,
            days=QUICK_DAYS if host.quick else TRADING_DAYS,
            desks=4,
            strategies=5,
            targets=MANY_TARGETS,
            held=8,
        ),
        Size(name="1,000,000 open positions", positions=many, days=2, desks=10, strategies=20, targets=MANY_TARGETS),
    )
    for size in sizes:
        dsn = host.database()
        migrate_shared(dsn)
        with closing(psycopg2.connect(dsn)) as bare:
            _fill(bare, size)
            engine = engine_of(dsn)
            try:
                seconds = _taken(partial(keep_totals, engine)) / 1000
                found.notes[f"seconds to reckon all totals, {size.name}"] = round(seconds, 1)
                _vacuum(bare)
                _measure(host, found, size, engine, bare)
                _measure_writing(host, found, size, engine)
            finally:
                engine.dispose()
    found.notes["positions and days"] = {size.name: (size.positions, size.days) for size in sizes}
    return found


def _fill(bare: Connection, size: Size) -> None:
    statements = statements_in(_FOLDER)
    parameters = {"day": TODAY, "days": size.days, "positions": size.positions}
    parameters |= {"desks": size.desks, "strategies": size.strategies, "held": size.held}
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
        # That positions are new is noted: nothing is added by noting each mark of them.
        cursor.execute(f"ALTER TABLE {_HISTORY} DISABLE TRIGGER USER")
        cursor.execute(statements["history"], parameters)
        cursor.execute(f"ALTER TABLE {_HISTORY} ENABLE TRIGGER USER")
        for _, name, definition in constraints:
            cursor.execute(f"ALTER TABLE {_HISTORY} ADD {name} {definition}")
        for _, definition in indexes:
            cursor.execute(definition)
    bare.autocommit = True
    _vacuum(bare)


def _vacuum(bare: Connection) -> None:
    with bare.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _measure(host: Host, found: Comparisons, size: Size, engine: Engine, bare: Connection) -> None:
    past = TODAY - timedelta(days=max(1, size.days // 2))
    root = _root(engine)
    with transaction(engine, limit_seconds=_PATIENCE_SECONDS) as session:
        (first, *_) = tree(session, TODAY).nodes
        if size.held is None and first.figures.positions != size.positions:
            raise RuntimeError(f"{first.figures.positions} positions were rolled up, and {size.positions} are there")
        for day in (TODAY, past):
            if tree(session, day, anew=False) != tree(session, day, anew=True):
                raise RuntimeError(f"the totals of {day} are not what its positions come to")
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


def _measure_writing(host: Host, found: Comparisons, size: Size, engine: Engine) -> None:
    """The next day's marks, each time undone: with word of them left, and without; and their totals reckoned."""
    for number in range(host.rounds):
        for noted in (True, False) if number % 2 else (False, True):
            taken = _written(engine, noted=noted)
            if noted:
                written, reckoned = taken
            else:
                unnoted, _ = taken
        found.add(f"a day's marks written, {size.name}", written, unnoted, unit="ms", limit=_UNNOTED)
        found.add(f"their totals reckoned, {size.name}", reckoned, unnoted, unit="ms", limit=_UNNOTED)


def _written(engine: Engine, *, noted: bool) -> tuple[float, float]:
    """Milliseconds for the marks, and for their totals."""
    with transaction(engine, limit_seconds=_PATIENCE_SECONDS) as session:
        connection = session.connection()
        if not noted:
            connection.exec_driver_sql(f"ALTER TABLE {_HISTORY} DISABLE TRIGGER USER")
        written = _taken(lambda: connection.exec_driver_sql(statements_in(_FOLDER)["next_day"], {"day": TODAY}))
        reckoned = _taken(partial(reckon, session, at_once=MANY_POSITIONS)) if noted else 0.0
        session.rollback()
    return written, reckoned


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
