"""A broker's history through OpenAlgo's adapter, against a server on loopback, and `risk import broker` into the table."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from live.brokers.openalgo_bars import bars_of, spans
from live.brokers.openalgo_rows import KOLKATA, UnreadableRow
from live.brokers.port import BarHistory, BrokerAway, BrokerRefused
from tests.broker_worlds import GOLD, SILENCE, OpenAlgoWorld
from tests.command_line import run
from tests.integration.test_cli_database import config_for, shown
from tests.misbehaving_server import Trouble
from tests.openalgo_server import API_KEY, OpenAlgoServer

FIRST, LAST = date(2026, 1, 12), date(2026, 1, 14)


def a_row(opened: datetime, close: float, **others: object) -> dict[str, Any]:
    prices = {"open": close - 10, "high": close + 50.5, "low": close - 60, "close": close}
    return {"timestamp": opened, **prices, "volume": 1200, **others}


def a_day(day: date, close: float) -> dict[str, Any]:
    return a_row(datetime(day.year, day.month, day.day, tzinfo=KOLKATA), close)


@pytest.fixture
def server() -> Iterator[OpenAlgoServer]:
    """It knows three days of gold."""
    with OpenAlgoServer() as made:
        made.bars[GOLD, "MCX", "D"] = [a_day(FIRST + timedelta(days=n), 72_000.5 + n) for n in range(3)]
        yield made


@pytest.fixture
def world(server: OpenAlgoServer) -> Iterator[OpenAlgoWorld]:
    """An adapter to it."""
    made = OpenAlgoWorld(server)
    yield made
    made.close()


def history(world: OpenAlgoWorld) -> BarHistory:
    broker = world.broker
    assert hasattr(broker, "bars")
    return broker


# --- the adapter


def test_bars_are_asked_for_as_openalgo_documents_it_and_read_exactly(world: OpenAlgoWorld) -> None:
    found = history(world).bars(GOLD, "MCX", "1d", FIRST, LAST)
    assert world.server.requests[-1] == (
        "history",
        {
            "apikey": API_KEY,
            "symbol": GOLD,
            "exchange": "MCX",
            "interval": "D",
            "start_date": "2026-01-12",
            "end_date": "2026-01-14",
        },
    )
    assert [bar.opened for bar in found] == [datetime(2026, 1, day, 18, 30, tzinfo=UTC) for day in (11, 12, 13)]
    first = found[0]
    assert (first.open, first.high, first.low, first.close) == tuple(
        map(Decimal, ("71990.5", "72051.0", "71940.5", "72000.5"))
    )
    # 0 is what OpenAlgo writes where the broker behind it tells no open interest.
    assert (first.volume, first.open_interest) == (1200, None)
    assert [bar.close for bar in history(world).bars(GOLD, "MCX", "1d", LAST, LAST)] == [Decimal("72002.5")]


def test_a_long_time_is_asked_for_in_spans_and_comes_in_order(world: OpenAlgoWorld) -> None:
    begin = datetime(2026, 1, 5, 9, tzinfo=KOLKATA)
    world.server.bars[GOLD, "MCX", "1h"] = [a_row(begin + timedelta(days=n), 100 + n, oi=7) for n in range(70)]
    world.server.misbehave("history", Trouble.OUT_OF_ORDER)
    found = history(world).bars(GOLD, "MCX", "1h", date(2026, 1, 5), date(2026, 3, 15))
    assert [bar.close for bar in found] == [100 + n for n in range(70)]
    assert {bar.open_interest for bar in found} == {7}
    asked = [(fields["start_date"], fields["end_date"]) for name, fields in world.server.requests if name == "history"]
    assert asked == [("2026-01-05", "2026-02-03"), ("2026-02-04", "2026-03-05"), ("2026-03-06", "2026-03-15")]


def test_spans_cover_each_day_once() -> None:
    days = [
        begin + timedelta(days=n)
        for begin, end in spans("1w", date(2020, 1, 1), date(2026, 1, 1))
        for n in range((end - begin).days + 1)
    ]
    assert days == [date(2020, 1, 1) + timedelta(days=n) for n in range(len(days))]
    assert days[-1] == date(2026, 1, 1)
    assert list(spans("1m", LAST, FIRST)) == []


@pytest.mark.parametrize("trouble", [Trouble.LOST_BEFORE, Trouble.TOO_MANY, Trouble.FAILS_BEFORE, Trouble.GARBLED])
def test_asking_is_tried_again(world: OpenAlgoWorld, trouble: Trouble) -> None:
    world.server.misbehave("history", trouble, times=2)
    assert len(history(world).bars(GOLD, "MCX", "1d", FIRST, LAST)) == 3
    world.server.misbehave("history", trouble, times=3)
    with pytest.raises(BrokerAway, match=r"history: .*tried 3 times"):
        history(world).bars(GOLD, "MCX", "1d", FIRST, LAST)


def test_a_server_that_says_nothing_is_away(world: OpenAlgoWorld) -> None:
    world.server.misbehave("history", Trouble.HANGS_AFTER, times=3, seconds=SILENCE)
    with pytest.raises(BrokerAway, match="did not answer in time"):
        history(world).bars(GOLD, "MCX", "1d", FIRST, LAST)


def test_what_the_broker_refuses_is_refused_without_the_key(world: OpenAlgoWorld) -> None:
    with pytest.raises(BrokerRefused, match="Symbol 'TIN' not found"):
        history(world).bars("TIN", "MCX", "1d", FIRST, LAST)
    world.server.misbehave("history", Trouble.REJECTS)
    with pytest.raises(BrokerRefused, match=r"key \*\*\*") as refused:
        history(world).bars(GOLD, "MCX", "1d", FIRST, LAST)
    assert API_KEY not in str(refused.value)


def test_a_bar_that_is_there_twice_counts_once(world: OpenAlgoWorld) -> None:
    world.server.misbehave("history", Trouble.DUPLICATED)
    assert len(history(world).bars(GOLD, "MCX", "1d", FIRST, LAST)) == 3
    world.server.bars[GOLD, "MCX", "D"].append(a_day(LAST, 1))
    with pytest.raises(BrokerAway, match="not understood: two bars of 2026-01-13T18:30:00"):
        history(world).bars(GOLD, "MCX", "1d", FIRST, LAST)


PRICES = {"open": 1, "high": 1, "low": 1, "close": 1}


@pytest.mark.parametrize(
    "told",
    [1_768_368_600, "2026-01-14 11:00:00+05:30", "2026-01-14 11:00:00", 1_768_368_600_000, Decimal("1768368600.0")],
)
def test_times_are_unix_seconds_or_iso_and_indias_where_nothing_is_said(told: object) -> None:
    (bar,) = bars_of([{"timestamp": told, **PRICES}])
    assert bar.opened == datetime(2026, 1, 14, 5, 30, tzinfo=UTC)
    assert (bar.volume, bar.open_interest) == (None, None)


@pytest.mark.parametrize(
    "row", [{}, {"timestamp": "soon"}, {"timestamp": True}, {"timestamp": 10**30}, {"close": "much"}]
)
def test_a_row_that_is_none_is_not_understood(row: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRow):
        bars_of([{"timestamp": None, **PRICES, **row}])


# --- from there to the table


@pytest.fixture
def database(empty_dsn: str, tmp_path: Path, server: OpenAlgoServer) -> tuple[str, ...]:
    given = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    shown("migrate", "--book", *given)
    markets = {
        "GOLD_MINI": {"contracts": True, "exchange": "MCX"},
        "BANK_NIFTY": {"symbol": "BANKNIFTY", "exchange": "NSE"},
    }
    brokers = {"openalgo": {"url": server.url, "api_key": API_KEY, "read_seconds": 5}, "markets": markets}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"brokers": brokers}))
    return (*given, "--config", str(config))


DAYS = ("--from", "2026-01-12", "--to", "2026-01-14")
OF_GOLD = ("--instrument", "GOLD_MINI", "--timeframe", "1d", "--expiry", "2026-02-05")


def test_a_brokers_history_is_imported_once(database: tuple[str, ...]) -> None:
    told = shown("risk", "import", "broker", *OF_GOLD, *DAYS, *database)
    assert (told["status"], told["rows"], told["inserted"], told["left_out"]) == ("imported", 3, 3, {})
    again = shown("risk", "import", "broker", *OF_GOLD, *DAYS, *database)
    assert (again["inserted"], again["same"], again["changed"]) == (0, 3, 0)
    where = database[:2]
    bars = shown("risk", "bars", "GOLD_MINI", "--source", "openalgo", "--expiry", "2026-02-05", *where)["bars"]
    assert [(bar["timestamp"], bar["close"]) for bar in bars][-1] == ("2026-01-13T18:30:00Z", "72002.5")
    longer = shown("risk", "import", "broker", *OF_GOLD, "--from", "2026-01-14", "--to", "2026-01-20", *database)
    assert (longer["inserted"], longer["same"]) == (0, 1)


def test_a_bar_that_is_not_over_is_left_out(database: tuple[str, ...], server: OpenAlgoServer) -> None:
    now = datetime.now(UTC)
    today = now.astimezone(KOLKATA).date()
    before = today - timedelta(days=1)
    # Brokers write a day's bar in several ways: at its beginning in India, or at midnight in UTC.
    midnight = datetime(today.year, today.month, today.day, tzinfo=UTC)
    server.bars["BANKNIFTY", "NSE", "D"] = [a_day(before, 52_000), a_row(midnight, 52_100)]
    server.bars["BANKNIFTY", "NSE", "1h"] = [a_row(now - timedelta(minutes=minutes), 52_000) for minutes in (70, 30)]
    days = ("--instrument", "BANK_NIFTY", "--from", str(before), "--to", str(today))
    for timeframe in ("1d", "1h"):
        told = shown("risk", "import", "broker", "--timeframe", timeframe, *days, *database)
        assert (told["inserted"], told["left_out"]) == (1, {"not over yet": 1}), timeframe


def test_another_symbol_can_be_named(database: tuple[str, ...], server: OpenAlgoServer) -> None:
    server.bars["GOLD05FEB26FUT", "MCX", "D"] = [a_day(FIRST, 7)]
    assert shown("risk", "import", "broker", *OF_GOLD, "--symbol", "GOLD05FEB26FUT", *DAYS, *database)["inserted"] == 1


@pytest.mark.parametrize(
    "given, code, told",
    [
        (("broker", "--instrument", "GOLD_MINI"), 1, "broker: give --instrument, --timeframe, --from and --to"),
        (("broker", *OF_GOLD[:4], *DAYS), 1, "GOLD_MINI is traded by contract: say --expiry"),
        (("broker", "--instrument", "TIN", "--timeframe", "1d", *DAYS), 1, "`brokers.markets`: TIN has none"),
        (("broker", *OF_GOLD, "--from", "2026-01-15", "--to", "2026-01-14"), 2, "is before --from 2026-01-15"),
        (("broker", *OF_GOLD, *DAYS, "--symbol", "TIN"), 1, "Symbol 'TIN' not found"),
        (("broker", "--instrument", "BANK_NIFTY", "--timeframe", "45m", *DAYS), 1, "not found for exchange"),
        (("journal", "--from", "2026-01-12"), 2, "--from, --to and --symbol are of broker"),
    ],
)
def test_what_is_refused_is_told_and_nothing_is_kept(
    database: tuple[str, ...], given: tuple[str, ...], code: int, told: str
) -> None:
    result = run("risk", "import", *given, *database)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
    assert API_KEY not in result.stderr
    assert shown("risk", "series", *database[:2])["bars"] == []


def test_a_broker_that_is_not_configured_is_said(empty_dsn: str, tmp_path: Path) -> None:
    where = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    result = run("risk", "import", "broker", *OF_GOLD, *DAYS, *where)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "openalgo" in result.stderr
