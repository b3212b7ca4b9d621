"""Daily returns of a node: of which days, of which money, in which currency."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from book.fx import set_rate
from book.models import PositionPnLHistory
from book.refusals import CapitalNeeded, MissingRate, NoDays, UnknownNode
from book.returns import Asked, Returns, returns_of
from core.inputs import MoveCapital
from live.contracts_file import load_calendar
from tests.book_world import a_held_position, a_live_portfolio, a_node, an_instrument, kept, pnl_values
from tests.builders import minutes
from tests.engines import Clock, an_engine

Sessions = sessionmaker[Session]
# A Wednesday, two days before a weekend.
FIRST = date(2026, 1, 14)
CALENDAR = load_calendar()


class World:
    """A fund with a desk below it, and a position on each: the desk's in dollars."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        with sessions.begin() as session:
            fund = a_node(session)
            self.fund = fund.portfolio_node_id
            self.desk = a_node(session, "Desk", "DESK", parent_id=self.fund).portfolio_node_id
            gold = an_instrument(session, "GOLD_MINI", kind="future", exchange="MCX").instrument_id
            self.rupees = a_held_position(session, self.fund, gold).id
            self.dollars = a_held_position(session, self.desk, gold, base_ccy="USD").id
            a_live_portfolio(session, fund)

    def earn(self, position: int, day: int, pnl: str) -> None:
        with self.sessions.begin() as session:
            values: dict[str, Any] = {"position_id": position, "snapshot_date": FIRST + timedelta(day)}
            kept(session, PositionPnLHistory(**pnl_values(daily_pnl_base=Decimal(pnl), **values)))

    def rate(self, day: int, rate: str) -> None:
        with self.sessions.begin() as session:
            set_rate(session, "USD/INR", Decimal(rate), FIRST + timedelta(day))

    def returns(self, node: int | None = None, **asked: Any) -> Returns:
        with self.sessions() as session:
            return returns_of(
                session, Asked(node_id=node or self.fund, **{"capital": Decimal(1000), **asked}), CALENDAR
            )


@pytest.fixture
def world(sessions: Sessions) -> World:
    return World(sessions)


def told(returns: Returns) -> list[tuple[int, Decimal, Decimal]]:
    return [((one.day - FIRST).days, one.pnl, one.base) for one in returns.days]


def test_days_of_trading_on_which_nothing_was_held_are_in_it_and_weekends_are_not(world: World) -> None:
    world.earn(world.rupees, 0, "10")
    world.earn(world.rupees, 6, "-5")
    found = world.returns()
    # Of Wednesday to Tuesday: MCX is closed on Saturday and Sunday only.
    assert told(found) == [(0, 10, 1000), (1, 0, 1010), (2, 0, 1010), (5, 0, 1010), (6, -5, 1010)]
    assert [one.positions for one in found.days] == [1, 0, 0, 0, 1]


def test_what_is_below_counts_at_the_rate_of_its_day(world: World) -> None:
    world.rate(0, "85")
    world.rate(1, "90")
    world.earn(world.rupees, 0, "10")
    world.earn(world.dollars, 0, "2")
    world.earn(world.dollars, 1, "2")
    assert told(world.returns()) == [(0, 180, 1000), (1, 180, 1180)]
    assert [one.pnl for one in world.returns(world.desk, currency="USD").days] == [2, 2]


def test_a_rate_that_is_missing_is_told(world: World) -> None:
    world.earn(world.dollars, 0, "2")
    with pytest.raises(MissingRate):
        world.returns()


def test_days_may_be_bounded_and_begin_with_what_was_earned_before(world: World) -> None:
    for day in range(3):
        world.earn(world.rupees, day, "10")
    assert told(world.returns(begins=FIRST + timedelta(1), ends=FIRST + timedelta(1))) == [(1, 10, 1010)]
    with pytest.raises(NoDays):
        world.returns(begins=FIRST + timedelta(9))


def test_capital_is_that_of_the_portfolios_with_their_flows(world: World, book_dsn: str) -> None:
    with an_engine(book_dsn, clock=Clock(minutes(30))) as engine:  # on the first day
        engine.command(MoveCapital(amount=Decimal(-1_000_000), note=None))
    for day in (-2, 0, 1):
        world.earn(world.rupees, day, "1000")
    with pytest.raises(CapitalNeeded, match="is 0 on 2026-01-12"):
        world.returns(capital=None)
    found = world.returns(capital=None, begins=FIRST)
    assert told(found) == [(0, 1000, 4_001_000), (1, 1000, 4_002_000)]
    assert (found.portfolios, found.capital_is_given, found.currency) == (("main",), False, "INR")


def test_where_no_portfolio_hangs_capital_has_to_be_given(world: World) -> None:
    world.rate(0, "85")
    world.earn(world.dollars, 0, "2")
    with pytest.raises(CapitalNeeded, match="`capital` is required"):
        world.returns(world.desk, capital=None)


def test_what_is_not_there_is_refused(world: World) -> None:
    with pytest.raises(NoDays, match="book sync"):
        world.returns()
    with pytest.raises(UnknownNode):
        world.returns(999)
