"""The manager's single calls: a position saved, and one read from the cache."""

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg2
from msgspec.structs import replace
from psycopg2 import sql

from bench.host import Host
from bench.measure import Comparisons, in_turns
from core.db_state_manager import DatabaseStateManager
from core.models import Position, Side
from core.postgres.rows import POSITION_COLUMNS, position_to_row

_NOON = datetime(2026, 1, 14, 6, 15, tzinfo=UTC)


def a_position(position_id: str) -> Position:
    """An open position that was never saved."""
    return Position(
        position_id=position_id,
        instrument="GOLD_MINI",
        layer="Long_1",
        side=Side.LONG,
        entry_timestamp=_NOON,
        entry_price=Decimal(72000),
        entry_lots=2,
        lots=2,
        quantity=Decimal(200),
        lot_size=Decimal(100),
        point_value=Decimal(10),
        initial_stop=Decimal(71500),
        current_stop=Decimal(71500),
        highest_close=Decimal(72000),
        atr=Decimal(500),
        mark_price=Decimal(72000),
        mark_time=_NOON,
        limiter="volatility",
        risk_contribution=Decimal(10000),
        vol_contribution=Decimal(10000),
        is_base_position=True,
    )


def save_position(host: Host) -> Comparisons:
    """A new position and a change of it, in turns; ours and the bare commit alternate call by call."""
    found, limit = Comparisons("save_position"), "bare INSERT/UPDATE + COMMIT of the row"
    pairs = 100 if host.quick else 300
    with DatabaseStateManager(host.database()) as manager, closing(psycopg2.connect(host.database())) as bare:
        rows = _BareRows(bare)
        for round_number in range(-1, host.rounds):
            ours, raw = _Timed(manager.save_position), _Timed(rows.keep)
            for number in range(pairs):
                new = a_position(f"save-{round_number}-{number}")
                for position in (new, replace(new, mark_price=Decimal(72100), unrealized_pnl=Decimal(2000), version=1)):
                    in_turns(number, partial(ours, position), partial(raw, position))
            if round_number >= 0:
                found.add_latencies("", ours.seconds, raw.seconds, limit=limit)
    return found


class _Timed:
    """A call whose durations are kept."""

    def __init__(self, work: Callable[[Position], object]) -> None:
        self._work = work
        self.seconds: list[float] = []

    def __call__(self, position: Position) -> None:
        begun = time.perf_counter()
        self._work(position)
        self.seconds.append(time.perf_counter() - begun)


class _BareRows:
    """One connection, the row as parameters, no version check, no journal."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        names = sql.SQL(", ").join(map(sql.Identifier, POSITION_COLUMNS))
        places = sql.SQL(", ").join(map(sql.Placeholder, POSITION_COLUMNS))
        sets = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in POSITION_COLUMNS
        )
        insert = sql.SQL("INSERT INTO portfolio_positions ({}) VALUES ({})").format(names, places)
        update = sql.SQL("UPDATE portfolio_positions SET {} WHERE position_id = %(position_id)s").format(sets)
        self._insert, self._update = insert.as_string(connection), update.as_string(connection)

    def keep(self, position: Position) -> None:
        """Insert or update, and commit."""
        statement = self._insert if position.version == 0 else self._update
        self._cursor.execute(statement, {**position_to_row(position), "version": position.version + 1})
        self._connection.commit()


def get_position(host: Host) -> Comparisons:
    """A position from the cache, 1,000 known: microseconds a call, of long loops."""
    found, calls = Comparisons("get_position"), 50_000 if host.quick else 200_000
    with DatabaseStateManager(host.database()) as manager:
        for number in range(1000):
            manager.save_position(a_position(f"get-{number}"))
        positions = dict(manager.cache.current.positions)
        ours, raw = _Loops(manager.get_position, calls), _Loops(positions.__getitem__, calls)
        for round_number in range(host.rounds):
            in_turns(round_number, ours, raw)
    for mine, other in zip(ours.microseconds, raw.microseconds, strict=True):
        found.add("cached", mine, other, unit="us", limit="a bare dict's lookup")
    return found


class _Loops:
    """Many calls in a loop; microseconds a call, of each loop."""

    def __init__(self, look: Callable[[str], object], calls: int) -> None:
        self._look, self._calls = look, calls
        self.microseconds: list[float] = []

    def __call__(self) -> None:
        look, position_id = self._look, "get-500"
        begun = time.perf_counter()
        for _ in range(self._calls):
            look(position_id)
        self.microseconds.append((time.perf_counter() - begun) / self._calls * 1e6)
