"""The disaster stop at the broker: as large as what is open and not being sold, beyond our own stop, never loosened."""

from decimal import Decimal
from typing import Any

import pytest

from core.decide import Decision
from core.events import OrderCancelAsked, OrderIntended, OrderMoved
from core.inputs import ClosePositions
from core.models import Side, Signal
from core.orders import Order, OrderPurpose, OrderState, OrderType
from core.portfolio import Portfolio
from tests.builders import a_portfolio, a_signal, minutes, mirrored, settings_with
from tests.unit.test_decide_orders import ROOMY, Book, a_fill, by_broker, exit_of
from tests.unit.test_execution import end_try, send, sent, why_not

both_sides = pytest.mark.parametrize("side", Side)


def protected(ongoing_percent: str = "50") -> Portfolio:
    """Room for five lots, of which none is peeled off."""
    limits = {"ongoing_volatility_percent": ongoing_percent, "ongoing_risk_percent": ongoing_percent}
    instruments = {"BANK_NIFTY": {**ROOMY["BANK_NIFTY"], **limits}}
    return a_portfolio(settings_with(execution={"fills": "broker"}, instruments=instruments))


def stop_of(book: Book) -> Order:
    (order,) = [order for order in book.portfolio.orders.values() if order.purpose is OrderPurpose.STOP]
    return order


def orders_for(book: Book, purpose: OrderPurpose) -> list[Order]:
    return [order for order in book.portfolio.orders.values() if order.purpose is purpose]


def moved(decision: Decision) -> list[OrderMoved]:
    return [event for event in decision.events if isinstance(event, OrderMoved)]


def an_open_base(side: Side = Side.LONG, ongoing_percent: str = "50") -> Book:
    """Five lots at 52000, stop 51650, ATR 350; the broker's stop waits there."""
    book = Book(protected(ongoing_percent))
    entry = next(
        event.order
        for event in book.take(mirrored(a_signal(er=1), side)).events
        if isinstance(event, OrderIntended) and event.order.purpose is OrderPurpose.ENTRY
    )
    book.report(entry, "filled", a_fill("entry", 5))
    book.report(entry, "filled", settled=True)
    send(book, stop_of(book))
    book.report(stop_of(book), "working", broker_order_id="s1")
    return book


def a_bar(price: Any, minute: float = 30, **fields: Any) -> Signal:
    return a_signal("MARKET_DATA", layer="", stop=None, price=price, timestamp=minutes(minute), **fields)


@both_sides
def test_the_first_fill_is_protected_one_atr_beyond_our_stop(side):
    book = Book(protected())
    decision = book.take(mirrored(a_signal(er=1), side))
    assert not orders_for(book, OrderPurpose.STOP), "there is no position to protect"
    (entry,) = [event.order for event in decision.events if isinstance(event, OrderIntended)]
    book.report(entry, "working", a_fill("a", 2))
    stop = stop_of(book)
    assert (stop.lots, stop.trigger_price) == (2, 52000 - side.sign * (350 + 350))
    assert stop.buys is (side is Side.SHORT)
    event = sent(send(book, stop))
    assert (event.order_type, event.lots, event.limit_price) == (OrderType.STOP_MARKET, 2, None)
    (change,) = moved(book.report(entry, None, a_fill("b", 3)))
    assert (change.client_order_id, change.lots) == (stop.client_order_id, 5)


def test_its_trigger_is_on_the_tick_and_none_is_placed_where_there_is_none():
    book = Book(protected())
    decision = book.take(a_signal(er=1, stop="51650.13"))
    (entry,) = [event.order for event in decision.events if isinstance(event, OrderIntended)]
    book.report(entry, None, a_fill("a", 1))
    # 51300.13: a sale is triggered no later than asked, so up to the next 0.20.
    assert stop_of(book).trigger_price == Decimal("51300.20")
    for settings in ({"stop_atr": 100}, {"stop_atr": None}):
        book = Book(by_broker(execution=settings))
        entry = next(e.order for e in book.take(a_signal(er=1, atr=600)).events if isinstance(e, OrderIntended))
        book.report(entry, None, a_fill("a", 1))
        assert not orders_for(book, OrderPurpose.STOP), settings


@both_sides
def test_it_follows_our_stop_and_never_loosens(side):
    book = an_open_base(side)
    price = 52000 + side.sign * 2000
    # Ours trails to 2.5 x 350 behind the best close.
    (change,) = moved(book.take(a_bar(price)))
    trigger = price - side.sign * 350 * Decimal("3.5")
    assert (change.lots, change.trigger_price) == (5, trigger)
    # A larger ATR would put it further away: it stays.
    assert moved(book.take(a_bar(price, 40, atr=700))) == []
    assert stop_of(book).trigger_price == trigger


@pytest.mark.parametrize("closes", [exit_of(), ClosePositions(position_id="ALL"), a_bar(51000)])
def test_who_sells_everything_cancels_it_first(closes):
    book = an_open_base()
    decision = book.take(closes)
    stop = stop_of(book)
    assert [e.client_order_id for e in decision.events if isinstance(e, OrderCancelAsked)] == [stop.client_order_id]
    (leaving,) = orders_for(book, OrderPurpose.EXIT)
    assert leaving.lots == 5


def test_where_it_was_triggered_first_the_exit_sells_no_more_than_is_left():
    book = an_open_base()
    book.take(exit_of())
    stop = stop_of(book)
    book.report(stop, "cancelled", a_fill("s", 3, 51290))
    book.report(stop, None, settled=True)
    (leaving,) = orders_for(book, OrderPurpose.EXIT)
    assert sent(send(book, leaving)).lots == 2
    book.report(leaving, None, a_fill("x", 2, 51300))
    assert not book.portfolio.positions
    assert book.portfolio.state.realized_total == (-710 * 3 - 700 * 2) * 30


def test_where_it_sold_everything_nothing_is_left_for_the_exit():
    book = an_open_base()
    book.take(exit_of())
    decision = book.report(stop_of(book), None, a_fill("s", 5, 51290))
    assert not book.portfolio.positions
    (position,) = decision.portfolio.closed.values()
    assert (position.exit_reason, position.exit_price) == ("DISASTER_STOP", 51290)
    (leaving,) = orders_for(book, OrderPurpose.EXIT)
    assert why_not(send(book, leaving)) == "nothing is left to sell"


def test_a_part_that_is_sold_makes_it_smaller_and_what_it_sold_before_that_still_counts():
    book = an_open_base(ongoing_percent="1.5")
    # 5 lots at an ATR of 900 are 135,000, of 1.5 % of 5,000,000: some are peeled off.
    decision = book.take(a_bar(52100, atr=900))
    (leaving,) = orders_for(book, OrderPurpose.EXIT)
    (change,) = moved(decision)
    assert 0 < leaving.lots < 5
    assert change.lots == 5 - leaving.lots
    # The broker's was triggered before it could be made smaller.
    book.report(stop_of(book), None, a_fill("s", 5, 51290))
    assert not book.portfolio.positions
    assert why_not(send(book, leaving)) == "nothing is left to sell"


def test_an_exit_that_is_refused_leaves_the_position_protected_again():
    book = an_open_base()
    book.take(exit_of())
    first = stop_of(book)
    book.report(first, "cancelled")
    book.report(first, "cancelled", settled=True)
    assert not orders_for(book, OrderPurpose.STOP)
    for _ in range(3):
        (leaving,) = orders_for(book, OrderPurpose.EXIT)
        send(book, leaving)
        book.report(leaving, "rejected", settled=True)
    second = stop_of(book)
    assert (second.lots, second.state) == (5, OrderState.INTENT)
    assert second.client_order_id != first.client_order_id


def test_one_that_the_broker_refuses_is_not_placed_again_before_something_happens():
    book = an_open_base()
    book.report(stop_of(book), "rejected", settled=True)
    assert not orders_for(book, OrderPurpose.STOP)
    book.take(a_bar(52010))
    assert stop_of(book).lots == 5


def test_one_that_cannot_be_moved_is_cancelled_and_placed_anew_where_it_belongs():
    book = an_open_base()
    book.take(a_bar(54000))
    first = stop_of(book)
    end_try(book, first)
    book.report(first, "cancelled")
    assert [order.client_order_id for order in orders_for(book, OrderPurpose.STOP)] == [first.client_order_id]
    book.report(first, "cancelled", settled=True)
    second = stop_of(book)
    assert (second.trigger_price, second.lots) == (first.trigger_price, 5)
    assert second.client_order_id != first.client_order_id


def test_it_takes_nothing_of_the_limits_and_no_exit_counts_it_as_leaving():
    book = an_open_base()
    (position,) = book.portfolio.positions.values()
    assert book.portfolio.lots_leaving(position) == 0
    assert stop_of(book).risk_reserved == 0
    assert book.portfolio.totals.margin == 270_000 * 5


def test_one_in_doubt_that_was_never_there_is_placed_again_once_somebody_has_looked():
    book = an_open_base()
    first = stop_of(book)
    book.report(first, "in_doubt")
    book.report(first, "cancelled", settled=True)
    assert stop_of(book).client_order_id != first.client_order_id


def test_one_that_was_still_small_when_it_was_triggered_has_ended_and_the_rest_is_protected_anew():
    book = Book(protected())
    (entry,) = [e.order for e in book.take(a_signal(er=1)).events if isinstance(e, OrderIntended)]
    book.report(entry, "working", a_fill("a", 2))
    first = stop_of(book)
    send(book, first)
    book.report(first, "working", broker_order_id="s1")
    book.report(entry, "filled", a_fill("b", 3), settled=True)
    assert stop_of(book).lots == 5, "the broker has not heard of it yet"
    book.report(first, "filled", a_fill("s", 2, 51290), settled=True)
    second = stop_of(book)
    assert second.client_order_id != first.client_order_id
    assert (second.lots, [position.lots for position in book.portfolio.positions.values()]) == (3, [3])


def test_one_that_was_never_sent_since_the_lots_are_not_there_is_not_intended_again_at_once():
    """Else it would be for ever: intended, not sent, cancelled, intended."""
    book = an_open_base()
    book.report(stop_of(book), "rejected", settled=True)
    book.take(a_bar(52010))
    decision = book.report(stop_of(book), "cancelled", settled=True, message="the broker holds 0 long")
    assert not [event for event in decision.events if isinstance(event, OrderIntended)]
    assert not orders_for(book, OrderPurpose.STOP)


def test_none_is_placed_below_one_tick():
    settings = settings_with(
        execution={"fills": "broker"}, instruments={"BANK_NIFTY": {**ROOMY["BANK_NIFTY"], "tick": "100000"}}
    )
    book = Book(a_portfolio(settings))
    (entry,) = [e.order for e in book.take(mirrored(a_signal(er=1), Side.SHORT)).events if isinstance(e, OrderIntended)]
    book.report(entry, None, a_fill("a", 1))
    assert not orders_for(book, OrderPurpose.STOP)
