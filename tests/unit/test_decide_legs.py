"""A synthetic future's two orders: the one that buys first, the other for what that was filled, and what cannot be completed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given as with_examples
from hypothesis import strategies as st
from msgspec.structs import replace

from core.decide import Decision, decide
from core.decide.follow import LEG_LEFT
from core.events import OrderCancelAsked, OrderIntended, OrderReported, OrderSent, PositionExited, PositionOpened
from core.inputs import ClosePositions, EndTry, Halt, Input, Resume, SendOrder
from core.models import Position, Side, Status
from core.orders import Leg, Order, OrderPurpose, OrderState, OrderType
from core.portfolio import Portfolio, portfolio_from_rows
from tests.builders import a_portfolio, a_signal, minutes, mirrored, settings_with
from tests.contracts import in_contracts
from tests.unit.test_decide_orders import ROOMY, Book, a_fill, exit_of, intended

both_sides = pytest.mark.parametrize("side", Side)
BANK = "BANK_NIFTY"
CALL, PUT = "BANKNIFTY27JAN2652000CE", "BANKNIFTY27JAN2652000PE"
# 52000 + 900 - 700: a pair is worth 52200 unless a test says otherwise.
WORTH = {Leg.CALL: 900, Leg.PUT: 700}
LATE = {"max_entry_age_seconds": None}


def in_legs(**parts: Any) -> Portfolio:
    """A portfolio with BANK_NIFTY by contract, room for five lots, and a broker."""
    parts["execution"] = {"fills": "broker", "stop_atr": None, **parts.get("execution", {})}
    return in_contracts(a_portfolio(settings_with(instruments=ROOMY, **parts)))


@dataclass
class Legs(Book):
    """A book whose every decision is looked at: sums are those of the rows, no id comes twice, no closed position is opened."""

    portfolio: Portfolio = field(default_factory=in_legs)
    ids: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    # Lots of each symbol that the fills which were booked have left at the broker, and the money that they came to.
    held: Counter[str] = field(default_factory=Counter)
    cash: Decimal = Decimal(0)

    def told(self, what: Input, minute: float = 0) -> Decision:
        """Any other input, so many minutes after noon."""
        self.seq += 1
        return self._looked_at(decide(replace(self.portfolio, seq=self.seq), what, minutes(minute)))

    def take(self, what: Any) -> Decision:
        before = self.portfolio
        decision = super().take(what)
        self._book_fills(before, what, decision)
        return self._looked_at(decision)

    def send(self, order: Order, quote: Any = None, market: Any = None, minute: float = 0) -> Decision:
        quotes = {
            name: None if value is None else Decimal(value) for name, value in (("quote", quote), ("market", market))
        }
        return self.told(SendOrder(client_order_id=order.client_order_id, **quotes), minute)

    def settle(self, order: Order, state: str | None = None, *fills: Any) -> Decision:
        """Told how it ended, and once more that nothing else comes."""
        self.report(order, state, *fills)
        return self.report(order, state, settled=True)

    def fill(self, order: Order, price: Any = None, lots: int | None = None) -> Decision:
        """Filled whole, or so many lots of it and the rest cancelled by the broker; and settled."""
        assert order.leg is not None
        count = order.lots if lots is None else lots
        fills = (a_fill("f", count, WORTH[order.leg] if price is None else price),) if count else ()
        return self.settle(order, None if count == order.lots else "cancelled", *fills)

    def first(self, side: Side = Side.LONG) -> Order:
        """The first leg of a base entry."""
        return intended(self.take(mirrored(a_signal(er=1), side)))

    def second(self, side: Side = Side.LONG) -> Order:
        """The second leg, its first one filled whole."""
        return intended(self.fill(self.first(side)))

    def pair(self, side: Side = Side.LONG) -> Position:
        """A base in both legs."""
        self.fill(self.second(side))
        return the_position(self.portfolio)

    def _book_fills(self, before: Portfolio, what: Any, decision: Decision) -> None:
        for event in decision.events:
            if not isinstance(event, OrderReported):
                continue
            order = before.orders[event.client_order_id]
            for fill in {fill.fill_id: fill for fill in getattr(what, "fills", ())}.values():
                if fill.fill_id in event.fill_ids:
                    signed = fill.lots if order.buys else -fill.lots
                    self.held[str(order.symbol)] += signed
                    self.cash -= fill.price * signed * order.point_value

    def _looked_at(self, decision: Decision) -> Decision:
        for event in decision.events:
            if isinstance(event, OrderIntended):
                assert event.order.client_order_id not in self.ids
                assert len(event.order.client_order_id) <= 32
                self.ids.add(event.order.client_order_id)
            if isinstance(event, PositionOpened):
                assert event.position.position_id not in self.opened, "its row is there already"
                self.opened.add(event.position.position_id)
        self.portfolio = decision.portfolio.settled()
        require_sound(self.portfolio)
        return decision


def require_sound(portfolio: Portfolio) -> None:
    """Sums are those of the rows, nothing is negative, and what may still come holds its share of the limits."""
    rebuilt = portfolio_from_rows(
        portfolio.name,
        portfolio.settings,
        portfolio.state,
        portfolio.positions.values(),
        portfolio.pyramiding.values(),
        portfolio.orders.values(),
        portfolio.contracts,
    )
    assert rebuilt == portfolio
    totals = portfolio.totals
    assert min(totals.risk, totals.volatility, totals.margin) >= 0
    state = portfolio.state
    assert (state.total_risk_amount, state.total_vol_amount, state.margin_used) == (
        totals.risk,
        totals.volatility,
        totals.margin,
    )
    for order in portfolio.orders.values():
        holds = order.purpose is OrderPurpose.ENTRY and order.lots_left > 0
        assert (order.risk_reserved > 0) == (order.vol_reserved > 0) == holds
    for position in portfolio.positions.values():
        assert 0 <= portfolio.lots_leaving(position) <= position.lots


def the_position(portfolio: Portfolio) -> Position:
    (position,) = portfolio.positions.values()
    return position


def orders_in(decision: Decision) -> list[Order]:
    return [event.order for event in decision.events if isinstance(event, OrderIntended)]


def exits_in(decision: Decision) -> list[PositionExited]:
    return [event for event in decision.events if isinstance(event, PositionExited)]


def frozen(book: Book) -> str | None:
    return book.portfolio.pyramiding_of(BANK).frozen_reason


def nothing_is_left(book: Legs) -> None:
    """Flat, with nothing on its way or reserved, and the money that the fills came to."""
    assert not book.portfolio.positions
    assert not book.portfolio.orders
    totals = book.portfolio.totals
    assert totals.risk == totals.volatility == totals.margin == totals.unrealized == 0
    assert not +book.held
    assert not -book.held
    assert book.portfolio.state.realized_total == book.cash
    assert book.portfolio.pyramiding_of(BANK).last_pyramid_price is None
    assert book.portfolio.pyramiding_of(BANK).base_position_id is None


# --- which options, and which of them first


@pytest.mark.parametrize(
    "price, strike",
    [("52000", 52000), ("52249.95", 52000), ("52250", 52000), ("52250.05", 52500), ("51750", 52000), ("52750", 53000)],
)
def test_the_strike_is_the_nearest_500_and_a_tie_goes_to_the_thousand(price: str, strike: int) -> None:
    order = intended(Legs().take(a_signal(er=1, price=price, stop=Decimal(price) - 350)))
    assert order.plan is not None
    assert order.strike == order.plan.strike == strike
    assert (order.plan.ce_symbol, order.plan.pe_symbol) == (
        f"BANKNIFTY27JAN26{strike}CE",
        f"BANKNIFTY27JAN26{strike}PE",
    )
    assert order.symbol == order.plan.ce_symbol


@both_sides
def test_the_leg_that_is_bought_goes_first_when_a_position_is_opened(side: Side) -> None:
    book = Legs()
    first = book.first(side)
    assert (first.leg, first.symbol) == ((Leg.CALL, CALL) if side is Side.LONG else (Leg.PUT, PUT))
    assert (first.buys, first.lots, first.leg_price, first.strike) == (True, 5, None, 52000)
    second = intended(book.fill(first))
    assert (second.leg, second.symbol) == ((Leg.PUT, PUT) if side is Side.LONG else (Leg.CALL, CALL))
    assert (second.buys, second.lots, second.purpose) == (False, 5, OrderPurpose.ENTRY)
    assert (second.leg_price, second.strike, second.plan) == (WORTH[first.leg], 52000, first.plan)


@both_sides
def test_the_leg_that_is_bought_goes_first_when_a_position_is_closed(side: Side) -> None:
    book = Legs()
    book.pair(side)
    first = intended(book.take(mirrored(exit_of(), side)))
    assert (first.leg, first.symbol) == ((Leg.PUT, PUT) if side is Side.LONG else (Leg.CALL, CALL))
    assert (first.buys, first.lots, first.purpose) == (True, 5, OrderPurpose.EXIT)
    second = intended(book.fill(first))
    assert (second.leg, second.symbol) == ((Leg.CALL, CALL) if side is Side.LONG else (Leg.PUT, PUT))
    assert (second.buys, second.lots, second.purpose, second.reason) == (False, 5, OrderPurpose.EXIT, "EXIT")


def test_ids_tell_seq_position_purpose_leg_and_try_and_are_the_same_when_decided_again() -> None:
    def told() -> list[str]:
        book = Legs()
        first = book.first()
        second = intended(book.fill(first))
        book.settle(second, None, a_fill("f", second.lots, 700))
        leaving = intended(book.take(exit_of()))
        return [order.client_order_id for order in (first, second, leaving, intended(book.fill(leaving)))]

    ids = told()
    assert ids == told()
    position = ids[0].split("-")[1]
    assert len(position) == 12
    assert ids == [f"pm11-{position}-ec1", f"pm13-{position}-ep1", f"pm16-{position}-xp1", f"pm18-{position}-xc1"]
    longest = replace(Legs().first(), journal_seq=10**12, attempt=9)
    assert len(f"pm{longest.journal_seq}-{position}-ec{longest.attempt}") <= 32


def test_a_synthetic_future_is_one_order_where_legs_are_off_or_there_are_no_contracts() -> None:
    for portfolio in (in_legs(execution={"legs": False}), replace(in_legs(), contracts=a_portfolio().contracts)):
        order = intended(Book(portfolio).take(a_signal(er=1)))
        assert (order.leg, order.strike) == (None, None)
        assert order.plan is not None
        assert order.plan.ce_symbol is None


# --- an entry, step by step


@both_sides
def test_what_the_first_leg_is_filled_counts_for_nothing_and_its_share_of_the_limits_is_held_throughout(
    side: Side,
) -> None:
    book = Legs()
    whole = (350 * 30 * 5, 350 * 30 * 5, 270_000 * 5)

    def totals() -> tuple[Decimal, ...]:
        return book.portfolio.totals.risk, book.portfolio.totals.volatility, book.portfolio.totals.margin

    first = book.first(side)
    steps: list[Callable[[], Any]] = [
        lambda: book.send(first, 900, 52000),
        lambda: book.report(first, "working", broker_order_id="B1"),
        lambda: book.report(first, None, a_fill("a", 2, 900)),
        lambda: book.report(first, None, a_fill("b", 3, 905)),
    ]
    assert totals() == whole
    for step in steps:
        step()
        assert totals() == whole
        assert not book.portfolio.positions
    second = intended(book.report(first, None, settled=True))
    assert second.leg_price == 903
    assert totals() == whole
    assert not book.portfolio.positions
    book.send(second, 700)
    assert totals() == whole
    # Strike + call - put by the price of each of the second leg's fills.
    call, put = (903, 700) if side is Side.LONG else (700, 903)
    book.report(second, None, a_fill("a", 1, 700))
    position = the_position(book.portfolio)
    assert (position.lots, position.entry_price) == (1, 52000 + call - put)
    (working,) = book.portfolio.orders.values()
    assert (working.risk_reserved, working.lots_left) == (350 * 30 * 4, 4)
    assert book.portfolio.totals.margin == whole[2]
    book.report(second, None, a_fill("b", 4, 705))
    position = the_position(book.portfolio)
    paid = 52000 + side.sign * (903 - Decimal(704))
    assert (position.lots, position.entry_lots, position.entry_price) == (5, 5, paid)
    assert (position.strike, position.ce_symbol, position.pe_symbol) == (52000, CALL, PUT)
    assert (position.futures_symbol, position.contract_month) == (None, "2026-01")
    assert (position.initial_stop, position.is_base_position) == (52000 - side.sign * 350, True)
    book.report(second, None, settled=True)
    assert not book.portfolio.orders
    assert book.portfolio.pyramiding_of(BANK).last_pyramid_price == paid
    assert book.held == {CALL: side.sign * 5, PUT: -side.sign * 5}


def test_an_entry_in_legs_works_until_both_are_there_so_that_no_second_one_is_begun() -> None:
    book = Legs(in_legs(timing=LATE))
    first = book.first()
    again = a_signal(er=1, timestamp=minutes(1))
    for state in ("sent", "working", None):
        assert book.take(again).outcome.reason == "entry already working"
        book.report(first, state, *([a_fill("a", 5, 900)] if state is None else []))
    # Filled, and its books are not closed yet: the other leg is still to come.
    assert book.take(again).outcome.reason == "entry already working"
    second = intended(book.report(first, None, settled=True))
    assert book.take(again).outcome.reason == "entry already working"
    book.report(second, "rejected")
    assert book.take(again).outcome.reason == "entry already working"


def test_costs_are_those_of_the_pair_as_if_the_future_had_been_traded() -> None:
    costs = {"costs": {"percent_of_turnover": "0.03", "per_lot": "17.35"}}
    book = Legs(in_legs(paper=costs))
    position = book.pair()
    assert position.entry_costs == 52200 * 30 * 5 * Decimal("0.0003") + 5 * Decimal("17.35")


# --- tries


def end_try(book: Legs, order: Order, *fills: Any) -> Decision:
    """Its time is over, and it is seen cancelled with these fills."""
    book.told(EndTry(client_order_id=order.client_order_id))
    book.report(order, "cancelled", *fills)
    return book.report(order, "cancelled", settled=True)


@both_sides
def test_each_try_of_the_first_leg_asks_for_its_own_second_leg_and_the_last_one_goes_at_market(side: Side) -> None:
    book = Legs(in_legs(execution={"tries": 2}))
    order, seconds, forms = book.first(side), [], []
    for lots in (2, 0, 3):
        (event,) = [e for e in book.send(order, 900, 52000).events if isinstance(e, OrderSent)]
        forms.append((event.order_type, event.limit_price))
        book.report(order, "working", broker_order_id=f"b{order.attempt}")
        if order.attempt == 3:
            decision = book.settle(order, None, a_fill("f", lots, 902))
        else:
            decision = end_try(book, order, *([a_fill("f", lots, 900)] if lots else []))
        follow = orders_in(decision)
        seconds += [o for o in follow if o.leg is not order.leg]
        assert book.portfolio.totals.margin == 270_000 * 5
        assert book.portfolio.totals.risk == 350 * 30 * 5
        order = next((o for o in follow if o.leg is order.leg), order)
    # 0.25 % beyond the quote, 0.05 % more at the next try, on the options' tick of 0.05 and never worse.
    limits = [(OrderType.LIMIT, Decimal("902.25")), (OrderType.LIMIT, Decimal("902.70"))]
    assert forms == [*limits, (OrderType.MARKET, None)]
    assert [(o.lots, o.leg_price, o.attempt) for o in seconds] == [(2, 900, 1), (3, 902, 1)]
    # The later one comes first: neither has to wait for the other.
    book.fill(seconds[1], 700)
    assert frozen(book) is None
    assert the_position(book.portfolio).lots == 3
    book.fill(seconds[0], 700)
    position = the_position(book.portfolio)
    assert (position.lots, position.entry_lots) == (5, 5)
    own, other = (902 * 3 + 900 * 2, 700 * 5)
    assert position.entry_price == 52000 + side.sign * Decimal(own - other) / 5
    assert not book.portfolio.orders


def test_a_second_leg_is_tried_with_limits_too_each_a_little_lower_and_at_last_at_market() -> None:
    book = Legs(in_legs(execution={"tries": 2}))
    order, forms = book.second(), []
    for lots in (2, 0, 3):
        (event,) = [e for e in book.send(order, 700).events if isinstance(e, OrderSent)]
        forms.append((event.order_type, event.limit_price))
        book.report(order, "working", broker_order_id=f"b{order.attempt}")
        if order.attempt == 3:
            book.settle(order, None, a_fill("f", lots, 695))
        else:
            order = intended(end_try(book, order, *([a_fill("f", lots, 700)] if lots else [])))
            assert (order.leg, order.lots, order.leg_price) == (Leg.PUT, 3, 900)
        assert book.portfolio.totals.margin == 270_000 * 5
    assert forms == [
        (OrderType.LIMIT, Decimal("698.25")),
        (OrderType.LIMIT, Decimal("697.90")),
        (OrderType.MARKET, None),
    ]
    position = the_position(book.portfolio)
    assert (position.lots, position.entry_price) == (5, 52000 + 900 - Decimal(700 * 2 + 695 * 3) / 5)
    assert not book.portfolio.orders


def test_the_first_leg_is_compared_with_the_synthetic_price_and_not_with_its_own() -> None:
    book = Legs()
    event = next(e for e in book.send(book.first(), 900, 52000).events if isinstance(e, OrderSent))
    assert event.lots == 5
    for quote, market, message in ((900, None, "no quote"), (None, 52000, "no quote"), (900, 53100, "divergence")):
        book = Legs()
        (reported,) = [e for e in book.send(book.first(), quote, market).events if isinstance(e, OrderReported)]
        assert str(reported.message).startswith(message)
        nothing_is_left(book)


def test_what_a_first_leg_is_cut_to_is_what_its_second_leg_is_for() -> None:
    book = Legs()
    first = book.first()
    book.send(first, 900, 52071)
    assert book.portfolio.orders[first.client_order_id].lots == 4
    second = intended(book.settle(first, None, a_fill("f", 4, 900)))
    assert (second.lots, second.risk_reserved) == (4, 350 * 30 * 4)
    assert book.portfolio.totals.margin == 270_000 * 4


def test_a_first_leg_that_comes_to_nothing_leaves_nothing() -> None:
    for state in ("rejected", "cancelled"):
        book = Legs()
        book.settle(book.first(), state)
        nothing_is_left(book)
        assert frozen(book) is None


def test_a_fill_that_comes_after_its_first_leg_was_seen_cancelled_holds_its_share_of_the_limits_too() -> None:
    book = Legs()
    first = book.first()
    book.report(first, "cancelled")
    book.report(first, None, a_fill("late", 2, 900))
    second = intended(book.report(first, None, settled=True))
    assert (second.lots, second.risk_reserved, second.vol_reserved) == (2, 350 * 30 * 2, 350 * 30 * 2)
    assert book.portfolio.totals.risk == 350 * 30 * 2


# --- pyramids


def a_pyramid(**fields: Any) -> Any:
    return a_signal("PYRAMID", **{"price": 53000, "stop": 52900, "atr": 100, "timestamp": minutes(4), **fields})


@both_sides
def test_a_pyramid_is_in_the_pair_of_its_own_strike_and_each_layer_leaves_in_its_own(side: Side) -> None:
    book = Legs(in_legs(timing=LATE))
    book.pair(side)
    first = intended(book.take(mirrored(a_pyramid(), side)))
    strike = 52000 + side.sign * 1000
    assert first.symbol == f"BANKNIFTY27JAN26{strike}{'CE' if side is Side.LONG else 'PE'}"
    assert first.buys
    assert book.portfolio.totals.margin == 270_000 * (5 + first.lots)
    book.fill(intended(book.fill(first, 800)), 800)
    base, added = book.portfolio.positions_of(BANK)
    assert (added.entry_price, added.strike, base.strike) == (strike, strike, 52000)
    assert book.portfolio.pyramiding_of(BANK).last_pyramid_price == strike
    assert book.portfolio.pyramiding_of(BANK).base_position_id == base.position_id
    leaving = orders_in(book.take(mirrored(exit_of("ALL", price=53000), side)))
    letter = "PE" if side is Side.LONG else "CE"
    assert {order.symbol for order in leaving} == {f"BANKNIFTY27JAN26{s}{letter}" for s in (52000, strike)}
    for order in leaving:
        book.fill(intended(book.fill(order, 300)), 400)
    nothing_is_left(book)


def test_a_pyramid_whose_tries_and_second_legs_work_at_once_is_one_layer() -> None:
    settings = {"instruments": {BANK: {**ROOMY[BANK], "max_pyramids": 2}}}
    book = Legs(in_legs(timing=LATE))
    book.portfolio = replace(
        book.portfolio, settings=settings_with(**settings, timing=LATE, execution={"fills": "broker"})
    )
    book.pair()
    first = intended(book.take(a_pyramid()))
    book.send(first, 800, 53000)
    book.report(first, "working", broker_order_id="b1")
    both = orders_in(end_try(book, first, a_fill("f", 1, 800)))
    assert {order.leg for order in both} == set(Leg)
    third = book.take(a_pyramid(layer="Long_3", price=53100, stop=53000, timestamp=minutes(5)))
    assert third.outcome.reason != "max_pyramids"


def test_an_undone_pyramid_leaves_base_and_next_pyramid_as_they_were() -> None:
    book = Legs(in_legs(timing=LATE))
    base = book.pair()
    before = book.portfolio.pyramiding_of(BANK)
    second = intended(book.fill(intended(book.take(a_pyramid())), 800))
    undo = intended(book.settle(second, "rejected"))
    decision = book.fill(undo, 790)
    assert not orders_in(decision)
    assert book.portfolio.pyramiding_of(BANK) == before
    assert list(book.portfolio.positions.values()) == [base]
    assert book.portfolio.totals.margin == 270_000 * 5
    assert book.portfolio.state.realized_total == -10 * 30 * second.lots


# --- undone


@both_sides
@pytest.mark.parametrize("state", ["rejected", "cancelled"])
def test_a_second_leg_that_cannot_be_had_is_undone_and_closed_equity_moves_by_the_difference(
    side: Side, state: str
) -> None:
    book = Legs(in_legs(paper={"costs": {"per_lot": "20"}}))
    second = book.second(side)
    undo = intended(book.settle(second, state))
    bought = Leg.CALL if side is Side.LONG else Leg.PUT
    assert (undo.purpose, undo.leg, undo.buys, undo.lots) == (OrderPurpose.UNDO, bought, False, 5)
    assert undo.symbol == (CALL if side is Side.LONG else PUT)
    assert undo.client_order_id.endswith(f"-u{bought.value[0]}1")
    (event,) = [e for e in book.send(undo).events if isinstance(e, OrderSent)]
    assert (event.order_type, event.lots) == (OrderType.MARKET, 5)
    paid = WORTH[bought]
    decision = book.settle(undo, None, a_fill("f", 5, Decimal(paid) - Decimal("12.35")))
    assert not orders_in(decision)
    state_now = book.portfolio.state
    assert state_now.closed_equity - 5_000_000 == Decimal("-12.35") * 30 * 5 - 2 * 20 * 5
    assert state_now.closed_equity == 5_000_000 + book.cash - 200
    assert (state_now.statistics.trades_closed, state_now.statistics.trades_won) == (1, 0)
    assert not book.portfolio.positions
    assert not book.portfolio.orders
    assert not -book.held
    assert not +book.held
    assert frozen(book) is None
    assert book.portfolio.totals.margin == 0
    assert intended(book.take(mirrored(a_signal(er=1, timestamp=minutes(1)), side)))


def test_an_undoing_in_parts_is_booked_part_by_part() -> None:
    book = Legs()
    undo = intended(book.settle(book.second(), "rejected"))
    exits = exits_in(book.report(undo, None, a_fill("a", 2, 910)))
    assert [(e.lots_sold, e.pnl, e.exit_reason) for e in exits] == [(2, 10 * 30 * 2, "UNDONE")]
    exits = exits_in(book.report(undo, None, a_fill("a", 2, 910), a_fill("b", 1, 890), a_fill("c", 2, 899)))
    assert [(e.lots_sold, e.pnl) for e in exits] == [(1, -10 * 30), (2, -1 * 30 * 2)]
    book.report(undo, None, settled=True)
    nothing_is_left(book)
    assert frozen(book) is None


@both_sides
def test_of_a_second_leg_that_is_filled_in_part_the_rest_is_undone_and_the_pairs_stay(side: Side) -> None:
    book = Legs()
    second = book.second(side)
    undo = intended(book.fill(second, lots=2))
    assert (undo.lots, undo.purpose) == (3, OrderPurpose.UNDO)
    assert book.portfolio.totals.margin == 270_000 * 2
    book.fill(undo, Decimal(undo.leg_price or 0) + 4)
    position = the_position(book.portfolio)
    # What was undone was none of it: the next pyramid is sized by what is there.
    assert (position.lots, position.entry_lots, position.realized_pnl) == (2, 2, 0)
    assert book.portfolio.state.realized_total == 4 * 30 * 3
    assert book.held == {CALL: side.sign * 2, PUT: -side.sign * 2}
    leaving = intended(book.take(mirrored(exit_of(), side)))
    book.fill(intended(book.fill(leaving)))
    nothing_is_left(book)


def test_a_later_try_is_completed_although_the_one_before_was_undone() -> None:
    book = Legs()
    first = book.first()
    book.send(first, 900, 52000)
    book.report(first, "working", broker_order_id="b1")
    again, second = sorted(orders_in(end_try(book, first, a_fill("f", 2, 900))), key=lambda order: str(order.leg))
    assert (again.leg, second.leg) == (Leg.CALL, Leg.PUT)
    book.fill(intended(book.settle(second, "rejected")), 895)
    later = intended(book.fill(again, 901))
    book.fill(later)
    assert frozen(book) is None
    assert the_position(book.portfolio).lots == 3
    assert book.held == {CALL: 3, PUT: -3}
    book.fill(intended(book.fill(intended(book.take(exit_of())))))
    nothing_is_left(book)


def test_a_pair_that_is_sold_before_its_other_half_is_undone_takes_nothing_from_it() -> None:
    book = Legs()
    undo = intended(book.fill(book.second(), lots=2))
    book.fill(intended(book.fill(intended(book.take(exit_of())))))
    assert not book.portfolio.positions
    book.fill(undo, 905)
    nothing_is_left(book)
    assert frozen(book) is None


@pytest.mark.parametrize("state", ["rejected", "cancelled"])
@pytest.mark.parametrize("lots", [0, 2])
def test_an_undoing_that_is_refused_freezes_entries_and_says_that_a_leg_is_left(state: str, lots: int) -> None:
    book = Legs()
    undo = intended(book.settle(book.second(), "rejected"))
    fills = (a_fill("f", lots, 899),) if lots else ()
    decision = book.settle(undo, state, *fills)
    assert not orders_in(decision)
    assert frozen(book) == f"order {undo.client_order_id}: {LEG_LEFT}"
    refused = book.take(a_signal(er=1, timestamp=minutes(1)))
    assert (refused.outcome.status, refused.outcome.reason) == (Status.BLOCKED, "frozen")
    assert book.portfolio.state.realized_total == -30 * lots
    assert (book.held[CALL], book.held[PUT]) == (5 - lots, 0)
    assert book.portfolio.totals.margin == 0


def test_a_leg_that_is_left_is_told_although_its_order_was_in_doubt_before() -> None:
    book = Legs()
    undo = intended(book.settle(book.second(), "rejected"))
    book.report(undo, "in_doubt")
    assert str(frozen(book)).endswith("is in doubt")
    book.report(undo, "cancelled", settled=True)
    assert frozen(book) == f"order {undo.client_order_id}: {LEG_LEFT}"


# --- exits


@both_sides
def test_an_exit_sells_by_the_second_legs_fills_and_its_lots_are_leaving_until_then(side: Side) -> None:
    book = Legs()
    book.pair(side)
    leaving = intended(book.take(mirrored(exit_of(), side)))
    book.send(leaving)
    book.report(leaving, None, a_fill("a", 2, 640), a_fill("b", 3, 650))
    assert the_position(book.portfolio).lots == 5
    assert book.take(mirrored(exit_of(timestamp=minutes(6)), side)).outcome.reason == "exit already working"
    second = intended(book.report(leaving, None, settled=True))
    assert book.take(mirrored(exit_of(timestamp=minutes(7)), side)).outcome.reason == "exit already working"
    assert second.leg_price == 646
    (event,) = [e for e in book.send(second).events if isinstance(e, OrderSent)]
    assert (event.order_type, event.lots) == (OrderType.MARKET, 5)
    (exited,) = exits_in(book.report(second, None, a_fill("a", 2, 950)))
    call, put = (950, 646) if side is Side.LONG else (646, 950)
    assert (exited.fill_price, exited.lots_sold, exited.lots) == (52000 + call - put, 2, 3)
    assert book.portfolio.lots_leaving(the_position(book.portfolio)) == 3
    book.settle(second, None, a_fill("b", 3, 960))
    nothing_is_left(book)


def test_an_exit_whose_first_leg_is_refused_leaves_the_pair_and_the_next_one_goes() -> None:
    book = Legs()
    book.pair()
    assert not orders_in(book.settle(intended(book.take(exit_of())), "rejected"))
    assert the_position(book.portfolio).lots == 5
    book.fill(intended(book.fill(intended(book.take(exit_of(timestamp=minutes(6)))))))
    nothing_is_left(book)


def test_of_an_exit_that_is_filled_in_part_the_rest_stays_and_the_next_one_sells_it() -> None:
    book = Legs()
    book.pair()
    second = intended(book.fill(intended(book.take(exit_of())), lots=2))
    assert second.lots == 2
    rest = intended(book.take(exit_of(timestamp=minutes(6))))
    assert rest.lots == 3
    book.fill(second)
    assert the_position(book.portfolio).lots == 3
    book.fill(intended(book.fill(rest)))
    nothing_is_left(book)


@both_sides
def test_a_second_leg_of_an_exit_is_asked_for_three_times_and_then_a_human_is(side: Side) -> None:
    book = Legs()
    book.pair(side)
    order = intended(book.fill(intended(book.take(mirrored(exit_of(), side)))))
    for attempt, lots in ((1, 2), (2, 0)):
        assert order.attempt == attempt
        order = intended(book.fill(order, lots=lots))
    assert (order.attempt, order.lots) == (3, 3)
    decision = book.settle(order, "rejected")
    assert not orders_in(decision)
    assert frozen(book) == f"order {order.client_order_id}: {LEG_LEFT}"
    # What was sold in both legs is sold, the rest is not: it is ours until somebody says what became of it.
    assert the_position(book.portfolio).lots == 3
    sold, bought = (CALL, PUT) if side is Side.LONG else (PUT, CALL)
    assert (book.held[sold], book.held[bought]) == (3, 0)


# --- an exit, or its bar, at each stage of an entry

Stage = Callable[[Legs, Side], Any]


def _first(book: Legs, side: Side, *reports: tuple[Any, ...]) -> Order:
    order = book.first(side)
    book.send(order, 900, 52000)
    for state, *fills in reports:
        book.report(order, state, *fills, broker_order_id="B1")
    return order


def _second(book: Legs, side: Side, *reports: tuple[Any, ...], sent: bool = True) -> Order:
    order = book.second(side)
    if sent:
        book.send(order, 700)
    for state, *fills in reports:
        book.report(order, state, *fills, broker_order_id="B2")
    return order


STAGES: dict[str, Stage] = {
    "first leg intended": lambda book, side: book.first(side),
    "first leg sent": _first,
    "first leg working": lambda book, side: _first(book, side, ("working",)),
    "first leg partial": lambda book, side: _first(book, side, ("working", a_fill("a", 2, 900))),
    "first leg filled": lambda book, side: _first(book, side, ("working", a_fill("a", 5, 900))),
    "first leg in doubt": lambda book, side: _first(book, side, ("in_doubt",)),
    "first leg cancelled": lambda book, side: _first(book, side, ("cancelled",)),
    "first leg cancelled in part": lambda book, side: _first(book, side, ("cancelled", a_fill("a", 2, 900))),
    "second leg intended": lambda book, side: _second(book, side, sent=False),
    "second leg sent": _second,
    "second leg partial": lambda book, side: _second(book, side, ("working", a_fill("a", 2, 700))),
    "second leg rejected": lambda book, side: _second(book, side, ("rejected",)),
    "second leg filled": lambda book, side: _second(book, side, ("working", a_fill("a", 5, 700))),
}


def carry_on(book: Legs, price: int = 800) -> None:
    """A broker that does at once what it is asked: cancels what is to be cancelled, fills whole what is sent, settles.

    As the outbox does, an exit waits for the entry that is being cancelled.
    """
    for _ in range(40):
        if not book.portfolio.orders:
            return
        order = min(
            book.portfolio.orders.values(),
            key=lambda order: (order.purpose is OrderPurpose.EXIT, order.journal_seq, order.client_order_id),
        )
        if order.state is OrderState.INTENT:
            book.send(order, price, 52000)
        elif order.has_ended:
            book.report(order, None, settled=True)
        elif order.cancel_asked or order.try_over:
            book.report(order, "cancelled")
        else:
            book.report(order, None, a_fill("last", order.lots - order.filled_lots, price))
    raise AssertionError(f"stuck: {list(book.portfolio.orders.values())}")


@both_sides
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("by", ["EXIT", "operator"])
def test_whoever_leaves_at_any_stage_of_an_entry_has_nothing_in_the_end(stage: str, side: Side, by: str) -> None:
    book = Legs()
    STAGES[stage](book, side)
    leaving = mirrored(exit_of(reason="SuperTrend"), side) if by == "EXIT" else ClosePositions(position_id="ALL")
    decision = book.take(leaving)
    assert decision.outcome.status is Status.ACCEPTED
    carry_on(book)
    nothing_is_left(book)


@both_sides
@pytest.mark.parametrize("stage", STAGES)
def test_whoever_stays_at_any_stage_of_an_entry_has_whole_pairs_in_the_end(stage: str, side: Side) -> None:
    book = Legs()
    STAGES[stage](book, side)
    carry_on(book)
    lots = sum(position.lots for position in book.portfolio.positions.values())
    assert lots == {"first leg cancelled": 0, "first leg cancelled in part": 2, "second leg rejected": 0}.get(stage, 5)
    assert (book.held[CALL], book.held[PUT]) == (side.sign * lots, -side.sign * lots)
    assert book.portfolio.totals.margin == 270_000 * lots


@pytest.mark.parametrize("stage", STAGES)
def test_an_entry_that_is_left_waits_for_its_cancel_and_what_came_all_the_same_is_sold_or_undone(stage: str) -> None:
    book = Legs()
    order = STAGES[stage](book, Side.LONG)
    book.take(exit_of())
    known = book.portfolio.orders.get(order.client_order_id)
    if known is not None and not known.has_ended:
        price = WORTH[known.leg or Leg.CALL]
        # It was filled whole before the cancel reached the broker.
        book.report(known, None, a_fill("late", known.lots - known.filled_lots, price))
    carry_on(book)
    nothing_is_left(book)
    assert frozen(book) is None


def test_an_exit_while_a_leg_is_undone_finds_nothing_to_sell() -> None:
    book = Legs()
    undo = intended(book.settle(book.second(), "rejected"))
    assert book.take(exit_of()).outcome.reason == "no open position"
    book.fill(undo)
    nothing_is_left(book)


# --- the portfolio, the clock and the market do not wait


@pytest.mark.parametrize("state", ["halted", "stale", "both"])
def test_a_second_leg_goes_however_late_and_halted_and_a_first_leg_does_not(state: str) -> None:
    minute = 600 if state != "halted" else 1
    first_book, second_book = Legs(), Legs()
    first, second = first_book.first(), second_book.second()
    for book, order in ((first_book, first), (second_book, second)):
        if state != "stale":
            book.told(Halt())
        sent = [e for e in book.send(order, 700, 52000, minute=minute).events if isinstance(e, OrderSent)]
        assert bool(sent) is (order is second)
    nothing_is_left(first_book)


def test_an_undoing_and_both_legs_of_an_exit_go_however_late_halted_and_frozen() -> None:
    book = Legs()
    undo = intended(book.fill(book.second(), lots=2))
    book.told(Halt())
    leaving = intended(book.take(exit_of()))
    for order in (undo, leaving):
        assert any(isinstance(event, OrderSent) for event in book.send(order, minute=600).events)
        follow = orders_in(book.fill(order))
    assert any(isinstance(event, OrderSent) for event in book.send(follow[0], minute=600).events)
    book.fill(follow[0])
    nothing_is_left(book)


@both_sides
def test_a_stop_that_is_hit_sells_in_legs_whole_and_what_works_of_its_entry_is_ended(side: Side) -> None:
    book = Legs()
    _second(book, side, ("working", a_fill("a", 2, 700)))
    bar = book.take(mirrored(a_signal("MARKET_DATA", price=51000, timestamp=minutes(5)), side))
    assert [event for event in bar.events if isinstance(event, OrderCancelAsked)]
    order = intended(bar)
    assert (order.reason, order.lots, order.buys) == ("STOP", 2, True)
    again = book.take(mirrored(a_signal("MARKET_DATA", price=50900, timestamp=minutes(6)), side))
    assert not orders_in(again)
    carry_on(book)
    nothing_is_left(book)


def test_a_peel_off_sells_lots_in_both_legs_and_no_lot_twice() -> None:
    book = Legs()
    book.pair()
    big = a_signal("MARKET_DATA", price=52200, atr=700, timestamp=minutes(5))
    first = intended(book.take(big))
    assert (first.reason, first.leg) == ("PEEL_OFF", Leg.PUT)
    assert 0 < first.lots < 5
    assert not orders_in(book.take(a_signal("MARKET_DATA", price=52200, atr=700, timestamp=minutes(6))))
    second = intended(book.fill(first))
    assert not orders_in(book.take(a_signal("MARKET_DATA", price=52200, atr=700, timestamp=minutes(7))))
    book.fill(second)
    left = 5 - first.lots
    assert the_position(book.portfolio).lots == left
    assert book.held == {CALL: left, PUT: -left}
    book.take(exit_of(timestamp=minutes(8)))
    carry_on(book)
    nothing_is_left(book)


def test_no_stop_waits_at_the_broker_for_what_has_no_one_price() -> None:
    book = Legs(in_legs(execution={"stop_atr": 1}))
    book.pair()
    assert not book.portfolio.orders


# --- told late, twice and by hand


def test_fills_that_are_told_again_or_after_the_end_count_once() -> None:
    book = Legs()
    first = book.first()
    book.report(first, None, a_fill("a", 2, 900), a_fill("a", 2, 900))
    book.report(first, "cancelled", a_fill("a", 2, 900))
    book.report(first, None, a_fill("b", 1, 903))
    second = intended(book.report(first, "working", a_fill("a", 2, 900), settled=True))
    assert (second.lots, second.leg_price) == (3, 901)
    assert book.report(first, None, a_fill("c", 2, 900)).outcome.reason == "no such order, or it is settled"
    for _ in range(2):
        book.report(second, None, a_fill("x", 3, 700))
    assert the_position(book.portfolio).lots == 3
    book.report(second, None, settled=True)
    assert not book.portfolio.orders


def test_a_second_leg_that_is_filled_too_much_freezes_and_books_nothing() -> None:
    book = Legs()
    second = book.second()
    decision = book.report(second, None, a_fill("x", 6, 700))
    assert decision.outcome.reason == "fills exceed the order"
    assert not book.portfolio.positions


def test_of_a_first_leg_in_doubt_nothing_follows_until_somebody_has_looked() -> None:
    book = Legs()
    first = book.first()
    book.send(first, 900, 52000)
    assert not orders_in(book.report(first, "in_doubt"))
    assert book.portfolio.totals.margin == 270_000 * 5
    # By hand: two lots of it are there, and no more will come.
    second = intended(book.report(first, "cancelled", a_fill("by-hand", 2, 900), settled=True))
    assert (second.lots, second.leg_price) == (2, 900)
    assert frozen(book) is None
    assert book.portfolio.totals.margin == 270_000 * 2
    book = Legs()
    first = book.first()
    book.report(first, "in_doubt")
    book.report(first, "cancelled", settled=True)
    nothing_is_left(book)


def test_a_fill_of_a_pair_whose_position_was_closed_meanwhile_is_one_of_its_own_and_sold() -> None:
    book = Legs()
    second = book.second()
    book.report(second, "working", a_fill("a", 2, 700))
    leaving = intended(book.take(exit_of()))
    book.fill(intended(book.fill(leaving)))
    late = book.report(second, None, a_fill("late", 1, 700))
    (position,) = book.portfolio.positions.values()
    assert position.position_id not in (second.position_id, leaving.position_id)
    assert late.outcome.position_id == position.position_id
    sold = intended(late)
    assert (sold.purpose, sold.position_id, sold.lots) == (OrderPurpose.EXIT, position.position_id, 1)


# --- whatever is told


@with_examples(seed=st.integers(0, 100_000))
def test_whatever_a_broker_tells_of_legs_positions_are_whole_pairs_of_the_fills(seed: int) -> None:
    """States that lie, fills in any order, twice and after the end; entries, exits, bars and operators in between."""
    dice, book = Random(seed), Legs(in_legs(timing=LATE))
    pairs: Counter[str] = Counter()
    for step in range(40):
        orders = _not_waiting(book.portfolio)
        if orders and dice.random() < 0.85:
            order = dice.choice(orders)
            _tell(book, dice, order, step, pairs)
        else:
            book.take(_something(dice, step))
        if frozen(book) is not None and dice.random() < 0.5:
            book.told(Resume(instrument=BANK))
        lots = sum(position.lots for position in book.portfolio.positions.values())
        assert lots == pairs["entry"] - pairs["exit"]
    if book.portfolio.positions or book.portfolio.orders:
        return
    # All that was bought for a first leg was sold with its pair, undone, or is told to be left.
    assert abs(book.portfolio.state.realized_total - book.cash) < Decimal("0.01") or any(book.held.values())


def _not_waiting(portfolio: Portfolio) -> list[Order]:
    """Orders of which something may be told, in an order that no hash decides."""
    return [order for _, order in sorted(portfolio.orders.items()) if not _waits(portfolio, order)]


def _waits(portfolio: Portfolio, order: Order) -> bool:
    """An exit is not sent before what works of its entry is seen cancelled."""
    return order.purpose is OrderPurpose.EXIT and any(
        other.purpose is OrderPurpose.ENTRY and other.position_id == order.position_id and other.cancel_asked
        for other in portfolio.orders_of(order.instrument)
    )


def _tell(book: Legs, dice: Random, order: Order, step: int, pairs: Counter[str]) -> None:
    match dice.randint(0, 9):
        case 0:
            book.told(EndTry(client_order_id=order.client_order_id))
        case 1:
            book.send(order, dice.choice((None, 900)), dice.choice((None, 52000, 52100)))
        case _:
            state = dice.choice([None, *OrderState])
            ids = [str(dice.randint(1, 6)) for _ in range(dice.randint(0, 3))]
            fills = tuple(a_fill(fill_id, 1 + int(fill_id) % 2, 700 + step) for fill_id in ids)
            decision = book.report(order, state, *fills, settled=dice.random() < 0.4)
            booked = {fill_id for event in decision.events for fill_id in getattr(event, "fill_ids", ())}
            lots = sum(fill.lots for fill in {fill.fill_id: fill for fill in fills}.values() if fill.fill_id in booked)
            if not order.is_first_leg:
                pairs[order.purpose.value] += lots


def _something(dice: Random, step: int) -> Any:
    time = minutes(step)
    return dice.choice(
        [
            a_signal(er=1, timestamp=time),
            a_signal(er=1, timestamp=time),
            a_pyramid(timestamp=time),
            exit_of(timestamp=time),
            exit_of("ALL", timestamp=time),
            a_signal("MARKET_DATA", price=52100 + step, atr=dice.choice((350, 700)), timestamp=time),
            ClosePositions(position_id="ALL"),
        ]
    )


@with_examples(seed=st.integers(0, 100_000))
def test_whatever_an_honest_broker_does_both_symbols_are_what_the_positions_say_or_it_is_told(seed: int) -> None:
    """Orders are refused, cancelled and filled in parts, told late; in the evening everything is sold, and the money is exact."""
    dice, book = Random(seed), Legs(in_legs(timing=LATE))
    for step in range(30):
        orders = _not_waiting(book.portfolio)
        if orders and dice.random() < 0.8:
            _move(book, dice, dice.choice(orders), step)
        else:
            book.take(_something(dice, step))
        _held_by_pairs_or_on_their_way(book)
    # What was refused may have been an exit: the next one sells what it left.
    carry_on(book)
    book.take(exit_of("ALL", price=52500, timestamp=minutes(60)))
    carry_on(book)
    if frozen(book) is None:
        assert not book.portfolio.positions
        assert not any(book.held.values())
        assert abs(book.portfolio.state.realized_total - book.cash) < Decimal("0.01")
    else:
        assert str(frozen(book)).endswith(LEG_LEFT)


def _move(book: Legs, dice: Random, order: Order, step: int) -> None:
    """The broker does something with one order, and tells the truth of it."""
    left = order.lots - order.filled_lots
    if order.state is OrderState.INTENT:
        book.send(order, 800, 52000)
    elif order.has_ended:
        book.report(order, None, settled=True)
    elif dice.random() < 0.6:
        lots = dice.randint(1, left)
        book.report(order, "working", a_fill(f"f{step}", lots, 750 + dice.randint(0, 100)), broker_order_id="b")
    elif order.order_type is OrderType.LIMIT and not order.try_over and dice.random() < 0.7:
        book.told(EndTry(client_order_id=order.client_order_id))
    elif order.cancel_asked or order.try_over or dice.random() < 0.4:
        book.report(order, dice.choice(("cancelled", "rejected")))


def _held_by_pairs_or_on_their_way(book: Legs) -> None:
    """What is at the broker beyond the positions is what an unsettled order has, or is for; once a leg is left, it is told."""
    if book.portfolio.orders or frozen(book) is not None:
        return
    ours: Counter[str] = Counter()
    for position in book.portfolio.positions.values():
        ours[str(position.ce_symbol)] += position.side.sign * position.lots
        ours[str(position.pe_symbol)] -= position.side.sign * position.lots
    assert {s: n for s, n in ours.items() if n} == {s: n for s, n in book.held.items() if n}
