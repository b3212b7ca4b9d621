"""A database with the book's tables and the risk lab's, and what the engine trades in the master of instruments."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from book.database import transaction
from core.models import SignalType
from risk.batch.run import run_batch
from tests.builders import NOON, a_signal, minutes
from tests.engines import Clock, an_engine
from tests.integration.book.conftest import book_dsn, book_engine, book_template, sessions
from tests.modelling_world import CALENDAR
from tests.queries import rows
from tests.risk_world import AFTER, DAY, a_world

__all__ = ["book_dsn", "book_engine", "book_template", "sessions"]


@pytest.fixture
def session(book_dsn: str, sessions: sessionmaker[Session]) -> Iterator[Session]:
    """A transaction, and four instruments."""
    rows(
        book_dsn,
        "INSERT INTO book.instrument (symbol, name, asset_class, kind, currency, exchange)"
        " SELECT symbol, symbol, 'OTHER', 'future', 'INR', exchange FROM (VALUES"
        " ('BANK_NIFTY', 'NSE'), ('GOLD_MINI', 'MCX'), ('RELIANCE', 'NSE'), ('COPPER', 'MCX')) AS told (symbol, exchange)",
    )
    with sessions() as opened:
        yield opened
        opened.rollback()


# --- what if


@pytest.fixture
def held(book_engine: Engine) -> Engine:
    """The world of the batch's tests, of which nothing was reckoned."""
    with transaction(book_engine) as session:
        a_world(session)
    return book_engine


@pytest.fixture
def world(held: Engine) -> Engine:
    """Reckoned."""
    run_batch(held, DAY, calendar=CALENDAR, clock=lambda: AFTER)
    return held


@pytest.fixture
def traded(book_engine: Engine, book_dsn: str) -> tuple[Engine, str]:
    """Two lots are bought at noon, marked, one is peeled off at 12:30, the other sold at 13:00; the book is told later."""
    clock = Clock(NOON)
    with an_engine(book_dsn, clock=clock) as engine:
        for minute, signal in (
            (0, a_signal()),
            (15, a_signal(SignalType.MARKET_DATA.value, price=52_400, timestamp=minutes(15))),
            (30, a_signal(SignalType.MARKET_DATA.value, price=52_500, atr=900, timestamp=minutes(30))),
            (60, a_signal("EXIT", price=52_600, timestamp=minutes(60))),
        ):
            clock.now = minutes(minute)
            assert engine.process_signal(signal).outcome["status"] == "executed"
    return book_engine, book_dsn
