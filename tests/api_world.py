"""A portfolio with a bit of everything, behind the real application: what tests of the whole API ask about."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from book.briefings import Briefings
from book.database import engine_of
from book.day_ends import DayEnds
from book.projection import Projector
from core.settings import Approval, LateRule
from live.app import Application, create_app
from live.brokers.port import Action, OutcomeUnknown
from live.contracts_file import load_calendar
from live.dispatcher import Dispatcher
from live.engine import LiveTradingEngine
from live.explain import in_a_sentence
from live.links import Links
from live.operators import Operators
from live.portfolios import Portfolios, Served
from live.reconcile import Reconciler
from tests.builders import a_signal, minutes
from tests.engines import status_of
from tests.fake_engine import KOLKATA, TOKEN
from tests.integration.test_findings import by_hand
from tests.integration.test_orders import GOLD, SETTINGS, a_desk, market_of

INSTRUMENTS = tuple(SETTINGS.instruments)
SILVER = {"instrument": "SILVER_MINI", "price": 91000, "stop": 90000, "atr": 600}
# What is older than this waits for a human.
ASKING = SETTINGS.model_copy(update={"approval": Approval(late=LateRule(seconds=Decimal(280)))})
# Of every instance of these tests; by their clocks an hour of 2026 goes by.
LINKS = Links(
    secret="a-secret-of-the-links-for-tests", public_url="https://portfolio.example.com", clock=lambda: minutes(20)
)
COPPER = {"instrument": "COPPER", "price": 830, "stop": 820, "atr": 6}


@contextmanager
def a_busy_portfolio(dsn: str, folder: Path) -> Iterator[LiveTradingEngine]:
    """Positions open, partly sold and closed, orders filled, intended and in doubt, two proposals, and a finding. Nothing moves
    by itself: made anew it is the same, order by order."""
    with a_desk(dsn, folder, start=False, settings=ASKING) as (engine, broker, dispatcher):
        for entry, mark in ((GOLD, 72500), ({}, 52500)):
            _decided(engine, "BASE_ENTRY", timestamp=minutes(15.5), **entry)
            _until(dispatcher, lambda: not engine.portfolio.orders)
            bar = {name: entry[name] for name in ("instrument",) if name in entry}
            _decided(engine, "MARKET_DATA", price=mark, timestamp=minutes(16), **bar)
        _decided(engine, "EXIT", price=52500, timestamp=minutes(16.5), reason="SuperTrend")
        _until(dispatcher, lambda: not engine.portfolio.orders)
        _decided(engine, "PYRAMID", instrument="BANK_NIFTY", timestamp=minutes(17))  # rejected: nothing is open
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(15.5)))) == "duplicate"
        broker.next_place = OutcomeUnknown("the answer was lost")
        _decided(engine, "BASE_ENTRY", timestamp=minutes(17), **SILVER)
        dispatcher.turn()
        _decided(engine, "BASE_ENTRY", timestamp=minutes(17), **COPPER)
        _decided(engine, "BASE_ENTRY", timestamp=minutes(15.2))
        _decided(engine, "PYRAMID", timestamp=minutes(15.2), **{**GOLD, "price": 73000, "stop": 72600})
        assert len(engine.portfolio.pending_proposals()) == 2
        by_hand(broker, "BANK_NIFTY", Action.BUY, 60, "bought")
        markets = {name: market_of(name) for name in INSTRUMENTS}
        engine.reconcile_with_broker = Reconciler(
            broker, markets, portfolio=lambda: engine.portfolio, command=engine.command, rows=engine.position_rows
        ).run
        yield engine


def make_briefings_of(engine: LiveTradingEngine) -> None:
    """The briefings of two days, in the book of the portfolio's database."""
    made = engine_of(engine.db_manager.dsn)
    projector = Projector(made, "main", DayEnds(load_calendar(), 300), clock=lambda: minutes(3000))
    projector.sync()
    briefings = Briefings(projector, clock=lambda: minutes(3000), stops_near_atr=Decimal(1), words=in_a_sentence)
    for day in (date(2026, 1, 14), date(2026, 1, 15)):
        briefings.make(day)
    made.dispose()


def an_app_of(*engines: LiveTradingEngine, **options: Any) -> Application:
    """The application around real engines."""
    return create_app(
        Portfolios({engine.portfolio_name: _served(engine) for engine in engines}),
        operators=Operators(TOKEN, Path("none")),
        session_secret=TOKEN,
        **{"links": LINKS, **options},
    )


def _served(engine: LiveTradingEngine) -> Served:
    return Served(engine_now=lambda: engine, instruments=lambda: INSTRUMENTS, naive_timezone=KOLKATA, secrets=None)


def _decided(engine: LiveTradingEngine, kind: str, **fields: Any) -> None:
    engine.process_signal(a_signal(kind, **fields))


def _until(dispatcher: Dispatcher, holds: Callable[[], bool]) -> None:
    for _ in range(10):
        if holds():
            return
        dispatcher.turn()
    raise AssertionError("the broker has not done what it was asked for")
