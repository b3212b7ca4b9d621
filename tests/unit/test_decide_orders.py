"""Orders with a fate: positions, quantities, costs and P&L come from fills only, however they are told."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given as with_examples
from hypothesis import strategies as st
from msgspec.structs import replace

from core.decide import Decision, decide
from core.events import OrderCancelAsked, OrderIntended
from core.inputs import ClosePositions, OrderReport
from core.models import Side, Signal, Status
from core.orders import Fill, Order, OrderPurpose, OrderState
from core.portfolio import Portfolio
from tests.builders import NOON, a_portfolio, a_signal, given, minutes, mirrored, settings_with

both_sides = pytest.mark.parametrize("side", Side)
# BANK_NIFTY of DOMAIN.md with room for five lots.
ROOMY = {"BANK_NIFTY": {"initial_volatility_percent": "1.1", "initial_risk_percent": "2"}}


def by_broker(**parts: Any) -> Portfolio:
    parts["execution"] = {"fills": "broker", "stop_atr": None, **parts.get("execution", {})}
    return a_portfolio(settings_with(instruments=ROOMY, **parts))


@dataclass
class Book:
    """A portfolio and the journal's number, as the writer would move them on."""

    portfolio: Portfolio = field(default_factory=by_broker)
    seq: int = 10

    def take(self, what: Signal | OrderReport | ClosePositions) -> Decision:
        self.seq += 1
        told = given(what) if isinstance(what, Signal) else what
        now = what.time if isinstance(what, Signal) else NOON
        decision = decide(replace(self.portfolio, seq=self.seq), told, now)
        self.portfolio = decision.portfolio.settled()
        return decision

    def report(self, order: Order, state: str | None = None, *fills: Fill, **fields: Any) -> Decision:
        told = None if state is None else OrderState(state)
        return self.take(OrderReport(client_order_id=order.client_order_id, state=told, fills=fills, **fields))

    def enter(self, lots: int | None = None, side: Side = Side.LONG) -> Order:
        """A base entry, and its order filled up to `lots` (None: whole)."""
        order = intended(self.take(mirrored(a_signal(er=1), side)))
        count = order.lots if lots is None else lots
        if count:
            self.report(order, None, a_fill("entry", count))
        return order


def a_fill(fill_id: str = "f1", lots: int = 1, price: Any = 52000, at: datetime = NOON) -> Fill:
    return Fill(fill_id=fill_id, lots=lots, price=Decimal(str(price)), filled_at=at)


def intended(decision: Decision) -> Order:
    (event,) = [event for event in decision.events if isinstance(event, OrderIntended)]
    return event.order


def exit_of(layer: str = "Long_1", **fields: Any) -> Signal:
    return a_signal("EXIT", layer=layer, **{"price": 52500, "timestamp": minutes(5), **fields})


# --- entries


@both_sides
def test_an_entry_is_an_intent_that_holds_its_share_of_the_limits_and_no_position(side: Side) -> None:
    book = Book()
    decision = book.take(mirrored(a_signal(er=1), side))
    order = intended(decision)
    assert decision.outcome.status is Status.ACCEPTED
    assert (decision.outcome.lots, decision.outcome.position_id) == (5, order.position_id)
    assert order.client_order_id == f"pm11-{order.position_id[-12:]}-e1"
    assert (order.state, order.lots, order.journal_seq) == (OrderState.INTENT, 5, 11)
    assert order.buys is (side is Side.LONG)
    portfolio = book.portfolio
    assert not portfolio.positions
    assert portfolio.totals.risk == 350 * 30 * 5
    assert portfolio.totals.volatility == 350 * 30 * 5
    assert portfolio.totals.margin == 270_000 * 5
    assert portfolio.state.total_risk_amount == portfolio.totals.risk


def test_the_position_exists_from_the_first_fill_and_the_rest_stays_reserved() -> None:
    book = Book()
    order = book.enter(lots=2)
    (position,) = book.portfolio.positions.values()
    assert (position.lots, position.entry_lots, position.quantity) == (2, 2, 60)
    assert (position.entry_timestamp, position.initial_stop) == (NOON, 51650)
    (now,) = book.portfolio.orders.values()
    assert (now.state, now.filled_lots, now.risk_reserved) == (OrderState.PARTIAL, 2, 350 * 30 * 3)
    assert book.portfolio.totals.risk == 350 * 30 * 5
    assert book.portfolio.totals.margin == 270_000 * 5
    assert book.portfolio.pyramiding_of("BANK_NIFTY").base_position_id == order.position_id


def test_further_fills_are_averaged_by_lots_and_costs_add_up() -> None:
    book = Book(by_broker(paper={"slippage_percent": "3", "costs": {"per_lot": "20"}}))
    order = book.enter(lots=0)
    book.report(order, "working", a_fill("a", 2, 52000))
    book.report(order, None, a_fill("b", 3, 52010))
    (position,) = book.portfolio.positions.values()
    assert (position.entry_price, position.entry_lots, position.lots) == (52006, 5, 5)
    assert position.entry_costs == 100
    assert book.portfolio.pyramiding_of("BANK_NIFTY").last_pyramid_price == 52006
    (now,) = book.portfolio.orders.values()
    assert (now.state, now.average_price, now.risk_reserved) == (OrderState.FILLED, 52006, 0)


def test_what_is_filled_after_a_part_was_sold_earns_what_it_was_bought_and_sold_for() -> None:
    book = Book()
    entry = book.enter(lots=0)
    book.report(entry, "working", a_fill("a", 2, 52000))
    leaving = intended(book.take(exit_of()))
    book.report(leaving, None, a_fill("x", 1, 52100))
    late = intended(book.report(entry, None, a_fill("b", 1, 52030)))
    book.report(leaving, None, a_fill("y", 1, 52100))
    decision = book.report(late, None, a_fill("z", 1, 52100))
    (closed,) = decision.portfolio.closed.values()
    assert closed.realized_pnl == book.portfolio.state.realized_total == (100 + 100 + 70) * 30


def test_a_fill_that_is_told_again_or_out_of_order_counts_once() -> None:
    book = Book()
    order = book.enter(lots=0)
    book.report(order, None, a_fill("b", 3), a_fill("b", 3))
    book.report(order, "working", a_fill("a", 1), a_fill("b", 3))
    again = book.report(order, "working", a_fill("b", 3), a_fill("a", 1))
    assert (again.outcome.status, again.outcome.reason) == (Status.REJECTED, "nothing new")
    assert next(iter(book.portfolio.positions.values())).lots == 4
    late = book.report(order, "sent")
    assert late.outcome.reason == "nothing new"
    assert book.portfolio.orders[order.client_order_id].state is OrderState.PARTIAL


def test_an_entry_that_never_fills_leaves_nothing() -> None:
    book = Book()
    order = book.enter(lots=0)
    book.report(order, "rejected", message="margin")
    assert not book.portfolio.positions
    assert book.portfolio.totals.risk == book.portfolio.totals.margin == 0
    book.report(order, None, settled=True)
    assert not book.portfolio.orders
    assert intended(book.take(a_signal(er=1, timestamp=minutes(1))))


def test_a_cancelled_rest_gives_its_share_back_and_a_late_fill_still_counts() -> None:
    book = Book()
    order = book.enter(lots=2)
    book.report(order, "cancelled")
    assert book.portfolio.totals.risk == 350 * 30 * 2
    book.report(order, None, a_fill("late", 1, 52000))
    (position,) = book.portfolio.positions.values()
    (now,) = book.portfolio.orders.values()
    assert (position.lots, now.state, now.filled_lots) == (3, OrderState.CANCELLED, 3)


def test_an_order_settles_only_once_it_has_ended() -> None:
    book = Book()
    order = book.enter(lots=2)
    assert book.report(order, None, settled=True).outcome.reason == "nothing new"
    book.report(order, "cancelled", settled=True)
    assert not book.portfolio.orders
    assert book.report(order, None, a_fill("late", 1)).outcome.reason == "no such order, or it is settled"


def test_more_fills_than_were_asked_for_are_not_booked_and_freeze_the_instrument() -> None:
    book = Book()
    order = book.enter(lots=4)
    decision = book.report(order, None, a_fill("x", 2))
    assert decision.outcome.reason == "fills exceed the order"
    assert next(iter(book.portfolio.positions.values())).lots == 4
    assert "fills exceed" in str(book.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason)


def test_a_doubt_freezes_entries_until_it_is_resolved() -> None:
    book = Book()
    order = book.enter(lots=0)
    book.report(order, "in_doubt")
    refused = book.take(a_signal("PYRAMID", price=53000, stop=52650, timestamp=minutes(2)))
    assert (refused.outcome.status, refused.outcome.reason) == (Status.BLOCKED, "frozen")
    book.report(order, "working", broker_order_id="B1")
    assert book.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason is None


def test_with_two_orders_in_doubt_the_freeze_ends_with_the_second() -> None:
    book = Book(by_broker(timing={"max_entry_age_seconds": None}))
    book.enter()
    orders = [
        intended(book.take(exit_of(timestamp=minutes(1)))),
        intended(book.take(a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(2)))),
    ]
    for order in orders:
        book.report(order, "in_doubt")
    book.report(orders[0], "working")
    assert book.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason is not None
    book.report(orders[1], "working")
    assert book.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason is None


def test_a_rest_that_is_rejected_ends_the_order() -> None:
    book = Book()
    order = book.enter(lots=2)
    book.report(order, "rejected", settled=True)
    assert not book.portfolio.orders
    assert [position.lots for position in book.portfolio.positions.values()] == [2]


def test_a_fill_that_comes_after_its_position_was_closed_is_a_position_of_its_own_and_sold() -> None:
    book = Book()
    entry = book.enter(lots=2)
    leaving = intended(book.take(exit_of()))
    book.report(leaving, None, a_fill("x", 2, 52500))
    assert not book.portfolio.positions
    for fill_id in ("late", "later"):
        late = book.report(entry, None, a_fill(fill_id, 1))
        assert late.outcome.status is Status.EXECUTED
        sold = intended(late)
        assert (sold.purpose, sold.lots) == (OrderPurpose.EXIT, 1)
    positions = book.portfolio.positions
    assert entry.position_id not in positions
    assert [(position.lots, position.layer) for position in positions.values()] == [(1, "Long_1")] * 2
    assert sorted(position.is_base_position for position in positions.values()) == [False, True]
    for order in list(book.portfolio.orders.values()):
        if order.purpose is OrderPurpose.EXIT and order.state is OrderState.INTENT:
            book.report(order, None, a_fill(f"s-{order.client_order_id}", 1, 52400))
    assert not book.portfolio.positions
    assert book.portfolio.state.realized_total == (500 * 2 + 400 * 2) * 30


# --- what works counts as what is open


def test_a_second_base_entry_is_refused_while_the_first_works() -> None:
    book = Book()
    book.enter(lots=0)
    decision = book.take(a_signal(er=1, timestamp=minutes(1)))
    assert (decision.outcome.status, decision.outcome.reason) == (Status.REJECTED, "entry already working")


def test_a_working_pyramid_counts_as_a_layer_and_its_layer_is_taken() -> None:
    book = Book(by_broker(timing={"max_entry_age_seconds": None}))
    book.portfolio = replace(
        book.portfolio,
        settings=settings_with(
            execution={"fills": "broker"}, instruments={"BANK_NIFTY": {**ROOMY["BANK_NIFTY"], "max_pyramids": 1}}
        ),
    )
    book.enter()
    first = book.take(a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(1)))
    assert intended(first).layer == "Long_2"
    same = book.take(a_signal("PYRAMID", price=53100, stop=53000, atr=100, timestamp=minutes(2)))
    assert same.outcome.reason == "entry already working"
    other = book.take(a_signal("PYRAMID", layer="Long_3", price=53100, stop=53000, atr=100, timestamp=minutes(3)))
    assert (other.outcome.status, other.outcome.reason) == (Status.BLOCKED, "max_pyramids")


# --- exits


@both_sides
def test_an_exit_asks_the_broker_and_its_fills_close_the_position(side: Side) -> None:
    book = Book()
    book.enter(side=side)
    order = intended(book.take(mirrored(exit_of(), side)))
    assert (order.purpose, order.lots, order.buys) == (OrderPurpose.EXIT, 5, side is Side.SHORT)
    (position,) = book.portfolio.positions.values()
    assert position.lots == 5
    book.report(order, None, a_fill("x", 2, 52000 + side.sign * 500, minutes(6)))
    (position,) = book.portfolio.positions.values()
    assert (position.lots, position.realized_pnl) == (3, 500 * 30 * 2)
    decision = book.report(order, None, a_fill("y", 3, 52000 + side.sign * 510, minutes(7)))
    (closed,) = decision.portfolio.closed.values()
    assert (closed.exit_price, closed.exit_timestamp) == (52000 + side.sign * 506, minutes(7))
    assert (closed.realized_pnl, closed.exit_reason) == (500 * 30 * 2 + 510 * 30 * 3, "EXIT")
    assert book.portfolio.pyramiding_of("BANK_NIFTY").base_position_id is None


def test_an_exit_while_one_works_sells_nothing_twice() -> None:
    book = Book()
    book.enter()
    book.take(exit_of())
    again = book.take(exit_of(timestamp=minutes(6)))
    assert (again.outcome.status, again.outcome.reason) == (Status.REJECTED, "exit already working")
    closed = book.take(ClosePositions(position_id="ALL"))
    assert closed.outcome.reason == "exit already working"
    bar = book.take(a_signal("MARKET_DATA", price=51000, timestamp=minutes(7)))
    assert not [event for event in bar.events if isinstance(event, OrderIntended)]


def test_an_exit_the_broker_refuses_is_asked_for_again_and_then_it_is_a_humans() -> None:
    book = Book()
    book.enter()
    order = intended(book.take(exit_of()))
    for attempt in (2, 3):
        book.report(order, "rejected", message="circuit limit")
        # Until the books were read again nobody knows that nothing was sold.
        assert book.take(exit_of(timestamp=minutes(6))).outcome.reason == "exit already working"
        order = intended(book.report(order, None, settled=True))
        assert (order.purpose, order.attempt, order.lots) == (OrderPurpose.EXIT, attempt, 5)
    book.report(order, "rejected", settled=True)
    assert not [one for one in book.portfolio.orders.values() if one.purpose is OrderPurpose.EXIT]
    frozen = book.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason
    assert frozen == f"order {order.client_order_id}: the broker refuses to let it out"
    # The next EXIT goes, frozen or not.
    assert intended(book.take(exit_of(timestamp=minutes(7)))).lots == 5


def test_an_exit_that_closes_a_position_ends_what_of_it_is_still_being_entered() -> None:
    """Told in this order, as when both are found in one reading of the books."""
    book = Book()
    entry = book.enter(lots=2)
    leaving = intended(book.take(ClosePositions(position_id=entry.position_id)))
    book.portfolio = book.portfolio.with_order(
        replace(book.portfolio.orders[entry.client_order_id], cancel_asked=False)
    )
    decision = book.report(leaving, None, a_fill("x", 2))
    assert [e.client_order_id for e in decision.events if isinstance(e, OrderCancelAsked)] == [entry.client_order_id]


def test_an_exit_during_a_working_entry_ends_the_entry_and_sells_what_was_filled() -> None:
    book = Book()
    entry = book.enter(lots=2)
    decision = book.take(exit_of(reason="SuperTrend"))
    assert [event for event in decision.events if isinstance(event, OrderCancelAsked)]
    first = intended(decision)
    assert first.lots == 2
    # One more lot was filled before the cancel reached the broker: it is sold as well.
    late = book.report(entry, None, a_fill("late", 1))
    second = intended(late)
    assert (second.lots, second.reason, second.purpose) == (1, "SuperTrend", OrderPurpose.EXIT)
    assert first.client_order_id != second.client_order_id
    book.report(entry, "cancelled")
    book.report(first, None, a_fill("x", 2, 52100))
    book.report(second, None, a_fill("y", 1, 52100))
    assert not book.portfolio.positions


def test_an_exit_of_an_entry_without_any_fill_ends_it() -> None:
    book = Book()
    entry = book.enter(lots=0)
    decision = book.take(exit_of())
    assert (decision.outcome.status, decision.outcome.lots) == (Status.ACCEPTED, 0)
    assert book.portfolio.orders[entry.client_order_id].cancel_asked
    assert book.take(exit_of(timestamp=minutes(6))).outcome.reason == "exit already working"


def test_an_exit_older_than_a_working_entry_does_not_end_it() -> None:
    book = Book()
    book.enter(lots=0)
    assert book.take(exit_of(timestamp=minutes(-5))).outcome.reason == "exit predates position"


def test_an_operator_closes_everything_open_and_working() -> None:
    book = Book()
    entry = book.enter(lots=2)
    decision = book.take(ClosePositions(position_id=entry.position_id, reason="OPERATOR"))
    assert decision.outcome.status is Status.ACCEPTED
    assert intended(decision).lots == 2
    assert book.portfolio.orders[entry.client_order_id].cancel_asked


def test_a_hit_stop_and_a_peel_ask_the_broker_too() -> None:
    book = Book()
    book.enter()
    bar = book.take(a_signal("MARKET_DATA", price=51000, timestamp=minutes(5)))
    assert bar.outcome.status is Status.EXECUTED
    assert (intended(bar).reason, intended(bar).lots) == ("STOP", 5)
    peeled = Book()
    peeled.enter()
    big = peeled.take(a_signal("MARKET_DATA", price=52000, atr=700, timestamp=minutes(5)))
    assert intended(big).reason == "PEEL_OFF"
    again = peeled.take(a_signal("MARKET_DATA", price=52000, atr=700, timestamp=minutes(6)))
    assert not [event for event in again.events if isinstance(event, OrderIntended)]


def test_fills_of_an_exit_that_exceed_the_position_are_not_booked() -> None:
    book = Book()
    book.enter(lots=5)
    order = intended(book.take(exit_of()))
    book.report(order, None, a_fill("x", 3, 52500))
    assert book.report(order, None, a_fill("y", 3, 52500)).outcome.reason == "fills exceed the order"


# --- the same as on paper, and always consistent


@both_sides
@with_examples(split=st.integers(1, 5), out=st.integers(1, 5))
def test_filled_at_the_same_prices_it_earns_what_it_earns_on_paper(side: Side, split: int, out: int) -> None:
    costs = {"costs": {"percent_of_turnover": "0.03", "per_lot": "17.35"}}
    paper = Book(a_portfolio(settings_with(instruments=ROOMY, paper=costs)))
    paper.take(mirrored(a_signal(er=1), side))
    paper.take(mirrored(exit_of(), side))
    book = Book(by_broker(paper=costs))
    order = book.enter(lots=0, side=side)
    for number, lots in enumerate(_parts(order.lots, split)):
        book.report(order, None, a_fill(f"e{number}", lots))
    leaving = intended(book.take(mirrored(exit_of(), side)))
    for number, lots in enumerate(_parts(order.lots, out)):
        book.report(leaving, None, a_fill(f"x{number}", lots, 52000 + side.sign * 500))
    # Costs are rounded once a fill: each may be half of the last digit off.
    assert abs(book.portfolio.state.realized_total - paper.portfolio.state.realized_total) <= Decimal("0.001")
    assert book.portfolio.totals.risk == book.portfolio.totals.margin == 0


def _parts(lots: int, count: int) -> list[int]:
    count = min(count, lots)
    return [lots // count + (number < lots % count) for number in range(count)]


@with_examples(seed=st.integers(0, 10_000))
def test_whatever_a_broker_tells_quantities_are_those_of_the_fills(seed: int) -> None:
    dice, book, booked = Random(seed), Book(), {}
    book.take(a_signal(er=1))
    for step in range(25):
        orders = list(book.portfolio.orders.values())
        if orders and dice.random() < 0.8:
            order = dice.choice(orders)
            state = dice.choice([None, *OrderState])
            ids = [f"{order.client_order_id}/{dice.randint(1, 4)}" for _ in range(dice.randint(0, 2))]
            fills = tuple(a_fill(fill_id, 1 + sum(map(ord, fill_id)) % 2, 52000 + step) for fill_id in ids)
            decision = book.report(order, state, *fills, settled=dice.random() < 0.2)
            for event in decision.events:
                for fill_id in getattr(event, "fill_ids", ()):
                    assert fill_id not in booked
                    booked[fill_id] = next(fill.lots for fill in fills if fill.fill_id == fill_id)
        else:
            book.take(dice.choice([exit_of(timestamp=minutes(step)), a_signal(er=1, timestamp=minutes(step))]))
        _consistent(book.portfolio)
    entered = sum(lots for fill_id, lots in booked.items() if "-e1/" in fill_id)
    left = sum(lots for fill_id, lots in booked.items() if "-e1/" not in fill_id)
    assert sum(position.lots for position in book.portfolio.positions.values()) == entered - left


def _consistent(portfolio: Portfolio) -> None:
    for position in portfolio.positions.values():
        assert 0 <= portfolio.lots_leaving(position) <= position.lots
    reserved = sum((order.risk_reserved for order in portfolio.orders.values()), Decimal(0))
    held = sum((position.risk_contribution for position in portfolio.positions.values()), Decimal(0))
    assert portfolio.totals.risk == reserved + held
    for order in portfolio.orders.values():
        assert (order.risk_reserved > 0) == (order.purpose is OrderPurpose.ENTRY and order.lots_left > 0)
