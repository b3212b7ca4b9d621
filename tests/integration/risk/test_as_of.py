"""What was known at a time, and bars made of the engine's alerts."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from core.postgres.migrations import migrate_shared
from risk.as_of import (
    NoSuchBars,
    NoSuchSeries,
    bars_as_of,
    bars_of,
    curve_as_of,
    observations_as_of,
    series_of,
)
from risk.continuous import contracts_of, roll_spread
from risk.importers.journal import bars_of_journal
from risk.importers.told import read_file
from risk.importing import Import, take
from tests.builders import a_signal
from tests.engines import an_engine, status_of

INDIA = ZoneInfo("Asia/Kolkata")
CHART = Import(kind="tradingview", zone=INDIA, instrument="GOLD_MINI", timeframe="1h")
HOURS = "time,open,high,low,close\n" + "".join(f"2026-01-14T0{hour}:00:00Z,1,9,1,{hour}\n" for hour in range(1, 6))


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 1, day, hour, minute, tzinfo=UTC)


def imported(session: Session, given: Import, text: str) -> None:
    assert take(session, given, read_file("f.csv", text.encode())).inserted > 0


def test_a_bar_is_known_once_it_is_over(session: Session) -> None:
    imported(session, CHART, HOURS)
    of = bars_of(session, "GOLD_MINI", "1h")
    assert [bar.close for bar in bars_as_of(session, of, at(14, 4), last=10)] == [1, 2, 3]
    assert [bar.close for bar in bars_as_of(session, of, at(14, 3, 59), last=10)] == [1, 2]
    assert [bar.close for bar in bars_as_of(session, of, at(15), last=2)] == [4, 5]
    with pytest.raises(ValueError, match="no time zone"):
        bars_as_of(session, of, at(14).replace(tzinfo=None), last=1)


def test_the_last_bars_are_found_by_the_key_without_reading_those_before(session: Session) -> None:
    imported(session, CHART, HOURS)
    of = bars_of(session, "GOLD_MINI", "1h")
    asked: list[tuple[str, object]] = []
    event.listen(session.connection(), "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    bars_as_of(session, of, at(15), last=2)
    (statement, parameters) = asked[0]
    session.execute(text("SET LOCAL enable_seqscan = off"))
    explained = session.connection().exec_driver_sql(f"EXPLAIN {statement}", parameters)  # type: ignore[arg-type]
    plan = "\n".join(line for (line,) in explained)
    assert "Index Scan Backward using uq_market_data_bar" in plan
    assert "Sort" not in plan


def test_bars_of_several_sources_have_to_be_told_apart(session: Session) -> None:
    imported(session, CHART, HOURS)
    imported(session, replace(CHART, source="desk"), HOURS)
    with pytest.raises(NoSuchBars, match="name one of the sources desk, tradingview"):
        bars_of(session, "GOLD_MINI", "1h")
    assert bars_of(session, "GOLD_MINI", "1h", source="desk").timeframe == "1h"


@pytest.mark.parametrize(
    "instrument, timeframe, source, told",
    [
        ("TIN", "1h", None, "not in the master"),
        ("GOLD_MINI", "7m", None, "`timeframe`"),
        ("GOLD_MINI", "1d", None, "there are no bars of GOLD_MINI 1d"),
        ("GOLD_MINI", "1h", "nobody", "by nobody"),
    ],
)
def test_bars_that_are_not_there_are_told(
    session: Session, instrument: str, timeframe: str, source: str | None, told: str
) -> None:
    imported(session, CHART, HOURS)
    with pytest.raises(NoSuchBars, match=told):
        bars_of(session, instrument, timeframe, source=source)


def test_a_revision_did_not_exist_before_it_was_told(session: Session) -> None:
    imported(
        session,
        Import(kind="macro", zone=INDIA, source="mospi"),
        "series,observation_date,revision,release_time,value\n"
        "CPI,2025-11-01,0,2026-01-05T12:00:00Z,0.7\n"
        "CPI,2025-12-01,0,2026-01-12T12:00:00Z,1.33\n"
        "CPI,2025-11-01,1,2026-01-12T12:00:00Z,0.71\n"
        "CPI,2025-12-01,1,2026-01-20T12:00:00Z,1.4\n"
        "OTHER,2025-12-01,0,2026-01-01T12:00:00Z,9\n",
    )
    series = series_of(session, "mospi", "CPI")

    def known(time: datetime) -> list[tuple[date, Decimal, int]]:
        return [
            (each.observation_date, each.value, each.revision) for each in observations_as_of(session, series, time)
        ]

    november, december = date(2025, 11, 1), date(2025, 12, 1)
    assert known(at(5, 11)) == []
    assert known(at(5, 12)) == [(november, Decimal("0.7"), 0)]
    assert known(at(12, 11)) == [(november, Decimal("0.7"), 0)]
    assert known(at(19)) == [(november, Decimal("0.71"), 1), (december, Decimal("1.33"), 0)]
    assert known(at(21)) == [(november, Decimal("0.71"), 1), (december, Decimal("1.4"), 1)]
    with pytest.raises(NoSuchSeries, match="mospi has no series GDP"):
        series_of(session, "mospi", "GDP")


def test_a_curve_is_as_it_was_known(session: Session) -> None:
    imported(
        session,
        Import(kind="curves", zone=INDIA, source="ccil"),
        "curve_id,curve_date,tenor_days,revision,release_time,curve_type,rate\n"
        "INR,2026-01-14,365,0,2026-01-14T12:00:00Z,par,6\nINR,2026-01-14,90,0,2026-01-14T12:00:00Z,par,5.5\n"
        "INR,2026-01-14,90,1,2026-01-15T12:00:00Z,par,5.6\n",
    )
    before = curve_as_of(session, "INR", "ccil", date(2026, 1, 14), at(14, 12))
    assert [(point.tenor_days, point.rate) for point in before] == [(90, Decimal("5.5")), (365, Decimal(6))]
    after = curve_as_of(session, "INR", "ccil", date(2026, 1, 14), at(15, 12))
    assert [(point.tenor_days, point.rate) for point in after] == [(90, Decimal("5.6")), (365, Decimal(6))]


def test_contracts_are_read_by_expiry_and_give_a_roll(session: Session) -> None:
    for expiry, price in ((date(2026, 2, 5), 100), (date(2026, 3, 5), 103)):
        text = f"time,open,high,low,close\n2026-01-13,{price},{price},{price},{price}\n2026-01-14,9,9,9,9\n"
        imported(session, replace(CHART, timeframe="1d", expiry=expiry), text)
    of = bars_of(session, "GOLD_MINI", "1d", expiry=date(2026, 2, 5))
    found = contracts_of(session, of.instrument_id, of.source_id, until=at(13))
    assert {expiry: [bar.close for bar in own] for expiry, own in found.items()} == {
        date(2026, 2, 5): [100],
        date(2026, 3, 5): [103],
    }
    assert roll_spread(found, date(2026, 2, 5), date(2026, 3, 5), at(13)).spread == 3


def test_bars_are_made_of_the_alerts_in_the_journal(dsn: str) -> None:
    """Once, however often; of a day they are of that day's closes. The journal is only read."""
    from book.database import engine_of, sessions_on

    opened = datetime(2026, 1, 14, 4, tzinfo=UTC)
    with an_engine(dsn) as engine:
        for hour, price in enumerate((52000, 52100, 51900)):
            time = opened + timedelta(hours=hour)
            bar = a_signal("MARKET_DATA", price=price, bar_time=time, timestamp=time)
            assert status_of(engine.process_signal(bar)) in ("executed", "rejected")
    migrate_shared(dsn)
    book = engine_of(dsn)
    try:
        with sessions_on(book).begin() as session:
            from book.master import engine_instruments, fill_instruments

            fill_instruments(session, engine_instruments(session))
            for timeframe, wanted in (("1h", 3), ("1d", 1)):
                told = bars_of_journal(session, "main", "BANK_NIFTY", timeframe, zone=INDIA)
                given = Import(kind="bars", zone=INDIA, source="engine", source_kind="engine")
                assert take(session, given, told).inserted == wanted
                assert take(session, given, told).same == wanted
            (day,) = bars_as_of(session, bars_of(session, "BANK_NIFTY", "1d"), at(20), last=5)
            assert (day.timestamp, day.open, day.high, day.low, day.close) == (
                at(13, 18, 30),
                52000,
                52100,
                51900,
                51900,
            )
            assert bars_as_of(session, bars_of(session, "BANK_NIFTY", "1h"), at(20), last=1)[0].timestamp == at(14, 6)
            assert bars_of_journal(session, "main", "COPPER", "1h", zone=INDIA).lines.to_pylist() == []
    finally:
        book.dispose()
