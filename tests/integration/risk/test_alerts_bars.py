"""Daily bars of what alerts told: each day only what is new in the journal is read, and what came late all the same."""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

import risk.importers.journal
from book.database import transaction
from book.models import PortfolioNode
from live.contracts_file import load_calendar
from risk.batch.run import run_batch
from risk.market_data import MarketData
from risk.sources import DataSource
from tests.book_world import a_held_position, a_live_portfolio, an_instrument
from tests.builders import a_signal
from tests.crash.scenario import SILVER
from tests.engines import Clock, an_engine
from tests.risk_world import AFTER, DAY, a_world

EARLIER = DAY - timedelta(days=40)


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    with transaction(book_engine) as session:
        a_world(session)
        a_live_portfolio(session, session.get_one(PortfolioNode, 1))
        silver = an_instrument(session, SILVER["instrument"], kind="future", exchange="MCX")
        a_held_position(
            session, 1, silver.instrument_id, source="engine", portfolio="main", engine_position_id="SILVER-Long_1-aa"
        )
    return book_engine


def told(dsn: str, *alerts: tuple[datetime, int], late: timedelta = timedelta(0)) -> None:
    """Alerts of bars that opened at these times, each decided then, or so much later."""
    clock = Clock()
    with an_engine(dsn, clock=clock) as engine:
        for opened, price in alerts:
            clock.now = opened + late
            engine.process_signal(a_signal("MARKET_DATA", **SILVER, price=price, bar_time=opened, timestamp=opened))


def at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def bars_of_silver(engine: Engine) -> list[tuple[Decimal, ...]]:
    asked = select(MarketData.open, MarketData.high, MarketData.low, MarketData.close).join(
        DataSource, DataSource.source_id == MarketData.source_id
    )
    with Session(engine) as session:
        return [
            tuple(row)
            for row in session.execute(asked.where(DataSource.name == "engine").order_by(MarketData.timestamp))
        ]


def reckon(engine: Engine, day: date, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Reckon a day; the numbers of the journal's entries that were read behind."""
    read: list[int] = []
    real = risk.importers.journal.prices_between

    def reading(session: Session, portfolio: str, after: int, up_to: int, instruments: Collection[str]) -> Any:
        read.append(after)
        return real(session, portfolio, after, up_to, instruments)

    with monkeypatch.context() as patched:
        patched.setattr(risk.importers.journal, "prices_between", reading)
        run_batch(engine, day, calendar=load_calendar(), clock=lambda: AFTER)
    return read


def test_each_day_only_the_journals_end_is_read(book_dsn: str, world: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    day_before = DAY - timedelta(days=1)
    told(book_dsn, (at(EARLIER, 5), 80_000), (at(EARLIER, 6), 80_500), (at(day_before, 5), 90_000))
    assert reckon(world, day_before, monkeypatch) == [0]
    told(book_dsn, (at(DAY, 5), 91_000), (at(DAY, 6), 90_500))
    (after,) = reckon(world, DAY, monkeypatch)
    assert after >= 2
    assert bars_of_silver(world) == [
        (80_000, 80_500, 80_000, 80_500),
        (90_000, 90_000, 90_000, 90_000),
        (91_000, 91_000, 90_500, 90_500),
    ]


def test_what_came_late_is_in_its_days_bar(book_dsn: str, world: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    day_before = DAY - timedelta(days=1)
    told(book_dsn, (at(day_before, 5), 90_000))
    reckon(world, day_before, monkeypatch)
    told(book_dsn, (at(day_before, 6), 90_700), (at(DAY, 5), 91_000), late=timedelta(hours=2))
    reckon(world, DAY, monkeypatch)
    assert bars_of_silver(world) == [(90_000, 90_700, 90_000, 90_700), (91_000, 91_000, 91_000, 91_000)]
