"""How a start reads its positions: exactly as the columns have them, by a few statements, with few objects for each."""

import gc
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg2
import pytest
from psycopg2 import extensions, sql
from psycopg2.extras import RealDictCursor

from core.config import default_settings
from core.db_state_manager import DatabaseStateManager
from core.errors import StateDiverged
from core.models import Position, RolloverStatus
from core.postgres import connections, writer
from core.postgres.connections import connect
from core.postgres.open_positions import ROWS_AT_ONCE, copied_positions
from core.postgres.rows import position_from_row, position_to_row
from core.postgres.statements import statement
from live.recovery import recover
from tests.builders import NOON, a_position
from tests.queries import rows

# Whatever JSON or CSV treats in its own way.
TEXTS = [
    "",
    "null",
    "\\N",
    'a "quote", a comma',
    "C:\\temp\\",
    "two\nlines\r\n",
    "\ttab \x01 \x1f \x7f",
    "नमस्ते 🙂",
    "[1]",
]
FILLED = {
    "strategy_id": "breakout",
    "entry_bar_time": NOON - timedelta(microseconds=1),
    "entry_costs": Decimal("0.0001"),
    "unrealized_pnl": Decimal("-9999999999999999.9999"),
    "realized_pnl": Decimal("12.5000"),
    "costs": Decimal("9999999999999999.9999"),
    "exit_timestamp": datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    "exit_price": Decimal("0.00000001"),
    "exit_reason": "STOP",
    "rollover_status": RolloverStatus.ROLLED,
    "original_expiry": date(2026, 1, 29),
    "original_strike": Decimal("9999999999.99999999"),
    "original_entry_price": Decimal("-1.5"),
    "rollover_timestamp": NOON,
    "rollover_pnl": Decimal("-0.0001"),
    "rollover_count": 3,
    "strike": Decimal(52000),
    "expiry": date(2026, 2, 26),
    "pe_symbol": "PE",
    "ce_symbol": "CE",
    "pe_order_id": "1",
    "ce_order_id": "2",
    "pe_entry_price": Decimal("1.25"),
    "ce_entry_price": Decimal("2.5"),
    "contract_month": "2026-02",
    "futures_symbol": "FUT",
    "futures_order_id": "3",
}


def put(dsn: str, positions: list[Position]) -> None:
    """Rows as whoever wrote them left them."""
    written = [position_to_row(position) | {"version": 1} for position in positions]
    columns = list(written[0])
    insert = sql.SQL("INSERT INTO portfolio_positions ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join(map(sql.Placeholder, columns))
    )
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.executemany(insert, written)


def copied(dsn: str, **session: str) -> list[Position]:
    with closing(connect(dsn, "main", "test")) as connection:
        for name, value in session.items():
            connection.cursor().execute(f"SET {name} = '{value}'")
        return copied_positions(connection)


def read_by_name(dsn: str) -> list[Position]:
    """The same rows, each value under its column's name."""
    with (
        closing(connect(dsn, "main", "test")) as connection,
        connection.cursor(cursor_factory=RealDictCursor) as cursor,
    ):
        cursor.execute(statement("load_positions"))
        return [position_from_row(row) for row in cursor.fetchall()]


def spelt(positions: list[Position]) -> list[list[str]]:
    """Every value with its type and, of a number, its decimals."""
    return [[repr(getattr(position, name)) for name in Position.__struct_fields__] for position in positions]


def test_each_value_arrives_as_its_column_has_it(dsn: str) -> None:
    texts = [name for name, value in FILLED.items() if isinstance(value, str) and name != "rollover_status"]
    odd = [a_position(f"odd-{number}", **dict.fromkeys(texts, text)) for number, text in enumerate(TEXTS)]
    put(dsn, [a_position("plain"), a_position("filled", lots=1, **FILLED), *odd])
    found = copied(dsn)
    assert len(found) == 2 + len(TEXTS)
    assert spelt(found) == spelt(read_by_name(dsn))
    assert {getattr(position, name) for position in found[1:-1] for name in texts} >= set(TEXTS)
    assert all(getattr(found[0], name) is not None for name in FILLED)


def test_what_is_closed_stays_away_and_nothing_is_nothing(dsn: str) -> None:
    assert copied(dsn) == []
    put(dsn, [a_position("closed", lots=0), a_position("open")])
    assert [position.position_id for position in copied(dsn)] == ["open"]


@pytest.mark.parametrize("count", [ROWS_AT_ONCE - 1, ROWS_AT_ONCE, 3 * ROWS_AT_ONCE + 1])
def test_many_arrive_whole_and_in_their_order(dsn: str, count: int) -> None:
    put(
        dsn,
        [
            a_position(f"p-{number:05}", exit_reason="two\nlines" if number % 100 == 7 else None)
            for number in range(count)
        ],
    )
    assert [position.position_id for position in copied(dsn)] == [f"p-{number:05}" for number in range(count)]
    assert spelt(copied(dsn)) == spelt(read_by_name(dsn))


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE portfolio_positions SET atr = 'NaN'",
        "UPDATE portfolio_positions SET costs = 'NaN'",
        "UPDATE portfolio_positions SET mark_time = 'infinity'",
        "ALTER TABLE portfolio_positions ALTER atr TYPE NUMERIC; UPDATE portfolio_positions SET atr = 0.000000001",
        "ALTER TABLE portfolio_positions ALTER costs TYPE NUMERIC(22, 4); UPDATE portfolio_positions SET costs = 1e17",
        (
            "ALTER TABLE portfolio_positions DROP CONSTRAINT ck_portfolio_positions_side; "
            "UPDATE portfolio_positions SET side = 'flat'"
        ),
        (
            "ALTER TABLE portfolio_positions DROP CONSTRAINT ck_portfolio_positions_quantity; "
            "UPDATE portfolio_positions SET quantity = 1"
        ),
        (
            "ALTER TABLE portfolio_positions DROP CONSTRAINT ck_portfolio_positions_lots, "
            "DROP CONSTRAINT ck_portfolio_positions_status_fits_lots; UPDATE portfolio_positions SET lots = 3, quantity = 300"
        ),
    ],
)
def test_a_row_that_no_position_can_have_is_refused_wherever_it_comes(dsn: str, spoil: str) -> None:
    count = 2 * ROWS_AT_ONCE
    put(dsn, [a_position(f"p-{number:05}") for number in range(count)])
    *altering, update = spoil.split("; ")
    for command in altering:
        rows(dsn, command)
    rows(dsn, f"{update} WHERE position_id = 'p-00003'")
    with closing(connect(dsn, "main", "test")) as connection:
        with pytest.raises(ValueError, match="is no position"):
            copied_positions(connection)
        connection.rollback()
        # The connection is fit for what comes next.
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM portfolio_positions")
            assert cursor.fetchone() == (count,)


def test_an_engine_does_not_start_from_such_a_row(dsn: str) -> None:
    put(dsn, [a_position()])
    rows(dsn, "UPDATE portfolio_positions SET atr = 'NaN'")
    with DatabaseStateManager(dsn) as manager, pytest.raises(StateDiverged, match="is no position"):
        recover(manager, default_settings(), None, NOON)
    assert gc.isenabled()


def test_a_time_that_is_not_in_utc_is_refused(dsn: str) -> None:
    put(dsn, [a_position()])
    with pytest.raises(ValueError, match=r"Position\.entry_timestamp must be an aware UTC datetime"):
        copied(dsn, timezone="Asia/Karachi")
    with pytest.raises(ValueError, match="is no position"):
        copied(dsn, timezone="Asia/Kolkata")


def test_a_column_that_is_gone_is_missed(dsn: str) -> None:
    put(dsn, [a_position()])
    rows(dsn, "ALTER TABLE portfolio_positions RENAME atr TO range")
    with closing(connect(dsn, "main", "test")) as connection, pytest.raises(Exception, match="atr"):
        copied_positions(connection)


def test_a_load_may_take_longer_than_a_commit(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(dsn, [a_position()])

    def slow(connection: Any) -> list[Position]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(1.5)")
        return copied_positions(connection)

    monkeypatch.setattr(writer, "copied_positions", slow)
    with DatabaseStateManager(dsn, commit_limit=0.7) as manager:
        assert len(manager.load().positions) == 1


# --- counts, where time would tell how busy the machine is


class _Counted(extensions.connection):
    """A connection that counts its statements."""

    def __init__(self, *arguments: Any, told: list[str], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._told = told

    def cursor(self, *arguments: Any, **named: Any) -> Any:
        base, told = named.pop("cursor_factory", extensions.cursor), self._told

        class Counting(base):  # type: ignore[misc, valid-type]
            def execute(self, query: Any, parameters: Any = None) -> Any:
                told.append(query)
                return super().execute(query, parameters)

            def copy_expert(self, query: Any, file: Any, size: int = 8192) -> Any:
                told.append(query)
                return super().copy_expert(query, file, size)

        return super().cursor(*arguments, cursor_factory=Counting, **named)


@pytest.mark.parametrize("count", [1, 5 * ROWS_AT_ONCE])
def test_a_load_is_as_many_statements_whatever_is_open(dsn: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    put(dsn, [a_position(f"p-{number:05}") for number in range(count)])
    told: list[str] = []
    made = psycopg2.connect
    monkeypatch.setattr(connections.psycopg2, "connect", partial(made, connection_factory=partial(_Counted, told=told)))
    with DatabaseStateManager(dsn) as manager:
        manager.take_term()
        told.clear()
        assert len(manager.load().positions) == count
        assert len(told) == 9, told


def test_a_position_is_few_objects_and_none_of_the_collectors(dsn: str) -> None:
    put(dsn, [a_position(f"p-{number:05}", **FILLED) for number in range(1000)])
    with closing(connect(dsn, "main", "test")) as connection:
        copied_positions(connection)
        before = sys.getallocatedblocks()
        found = copied_positions(connection)
        blocks = (sys.getallocatedblocks() - before) / len(found)
    assert not any(map(gc.is_tracked, found))
    # One for itself, one for each of its 22 numbers, five times, two days, and nearly as many texts as it has.
    assert 40 < blocks < 52
