"""How orders are sent: limits, tries, divergence, risk growth; what was sent is an intent again only if nobody saw it."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from core.decide import Decision, decide
from core.decide.decision import Draft
from core.decide.execution import needs_quote
from core.decide.orders import intend_exit
from core.events import OrderCancelAsked, OrderIntended, OrderReported, OrderSent, OrderTryEnded
from core.inputs import EndTry, Halt, SendOrder
from core.models import PositionStatus, Side
from core.orders import Order, OrderPurpose, OrderState, OrderType
from tests.builders import NOON, a_portfolio, a_signal, minutes, mirrored, settings_with
from tests.unit.test_decide_orders import Book, a_fill, by_broker, exit_of, intended

both_sides = pytest.mark.parametrize("side", Side)


def send(book: Book, order: Order, quote: Any = None, minute: float = 0) -> Decision:
    book.seq += 1
    told = SendOrder(client_order_id=order.client_order_id, quote=None if quote is None else Decimal(str(quote)))
    decision = decide(replace(book.portfolio, seq=book.seq), told, minutes(minute))
    book.portfolio = decision.portfolio.settled()
    return decision


def end_try(book: Book, order: Order) -> Decision:
    book.seq += 1
    told = EndTry(client_order_id=order.client_order_id)
    decision = decide(replace(book.portfolio, seq=book.seq), told, NOON)
    book.portfolio = decision.portfolio.settled()
    return decision


def sent(decision: Decision) -> OrderSent:
    (event,) = [event for event in decision.events if isinstance(event, OrderSent)]
    return event


def why_not(decision: Decision) -> str:
    (event,) = [event for event in decision.events if isinstance(event, OrderReported)]
    assert (event.state, event.settled) == (OrderState.CANCELLED, True)
    return event.message or ""


def an_entry(book: Book, side: Side = Side.LONG) -> Order:
    return intended(book.take(mirrored(a_signal(er=1), side)))


@pytest.mark.parametrize(
    "side, quote, limit",
    # 0.25 % beyond the quote, on BANK_NIFTY's tick of 0.20 and never worse than that.
    [(Side.LONG, "52000", "52130"), (Side.LONG, "52001.3", "52131.20"), (Side.SHORT, "52001.3", "51871.40")],
)
def test_an_entry_is_limited_a_little_beyond_the_quote(side, quote, limit):
    book = Book()
    event = sent(send(book, an_entry(book, side), quote, 1))
    assert (event.order_type, event.limit_price) == (OrderType.LIMIT, Decimal(limit))
    assert (event.lots, event.sent_at) == (5, minutes(1))
    (order,) = book.portfolio.orders.values()
    assert (order.state, order.limit_price, order.risk_reserved) == (OrderState.SENT, Decimal(limit), 350 * 30 * 5)


def test_without_a_quote_no_entry_is_sent_and_what_was_sent_is_not_sent_again():
    book = Book()
    order = an_entry(book)
    assert why_not(send(book, order)) == "no quote"
    book = Book()
    order = an_entry(book)
    send(book, order, 52000)
    assert send(book, order, 52000).outcome.reason == "sent already"


def test_without_tries_it_goes_at_market():
    book = Book(by_broker(execution={"tries": 0}))
    event = sent(send(book, an_entry(book), 52000))
    assert (event.order_type, event.limit_price) == (OrderType.MARKET, None)


@both_sides
@pytest.mark.parametrize("percent, goes", [("2", True), ("2.01", False), ("-2", True)])
def test_a_base_is_not_sent_where_the_market_is_elsewhere(side, percent, goes):
    book = Book(by_broker(execution={"risk_growth_percent": 100}))
    # A stop far away: what is looked at here is the divergence alone.
    signal = mirrored(a_signal(er=1, stop=50600), side)
    order = intended(book.take(signal))
    quote = order.reference_price * (1 + side.sign * Decimal(percent) / 100)
    decision = send(book, order, quote)
    assert goes == any(isinstance(event, OrderSent) for event in decision.events)
    if not goes:
        assert why_not(decision).startswith("divergence: the market at ")
        assert book.portfolio.totals.risk == 0


@both_sides
@pytest.mark.parametrize(
    "worse, lots",
    # 350 points of risk: 420 are 20 % more and let be, 421 are cut to floor(5 x 350 / 421), 1750 to 1.
    [(70, 5), (71, 4), (500, 2)],
)
def test_a_base_is_cut_where_a_lot_risks_much_more_by_now(side, worse, lots):
    book = Book()
    event = sent(send(book, an_entry(book, side), 52000 + side.sign * worse))
    assert event.lots == lots
    assert event.risk_reserved == 350 * 30 * lots
    assert book.portfolio.totals.margin == 270_000 * lots
    (order,) = book.portfolio.orders.values()
    assert order.lots == lots


def test_a_pyramid_is_refused_there_and_is_held_closer_to_its_price():
    def a_pyramid() -> tuple[Book, Order]:
        book = Book()
        entered = book.enter()
        book.report(entered, "filled", settled=True)
        signal = a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(4))
        return book, intended(book.take(signal))

    book, order = a_pyramid()
    assert why_not(send(book, order, 53021)) == "risk per lot grew by 21.00 %"
    book, order = a_pyramid()
    assert why_not(send(book, order, 52400)).startswith("divergence")
    book, order = a_pyramid()
    assert why_not(send(book, order, 52850)) == "the market at 52850 is beyond the stop 52900.00000000"
    book, order = a_pyramid()
    assert sent(send(book, order, 53020)).lots == order.lots


def test_what_nobody_wants_any_more_is_not_sent():
    book = Book()
    order = an_entry(book)
    book.take(exit_of())
    assert why_not(send(book, order, 52000)) == "no longer wanted"
    book = Book()
    order = an_entry(book)
    assert why_not(send(book, order, 52000, minute=5.1)) == "stale"
    book = Book()
    order = an_entry(book)
    book.portfolio = decide(book.portfolio, Halt(), NOON).portfolio.settled()
    assert why_not(send(book, order, 52000)) == "halted"


def test_an_exit_goes_at_market_whatever_the_market_and_the_clock_say():
    book = Book()
    book.report(book.enter(), "filled", settled=True)
    order = intended(book.take(exit_of()))
    book.portfolio = decide(book.portfolio, Halt(), NOON).portfolio.settled()
    event = sent(send(book, order, minute=600))
    assert (event.order_type, event.limit_price, event.lots) == (OrderType.MARKET, None, 5)


# --- tries


@both_sides
def test_what_a_try_left_is_asked_for_again_a_little_further_and_at_last_at_market(side):
    book = Book(by_broker(execution={"tries": 2}))
    order = an_entry(book, side)
    limits = []
    for attempt, count in ((1, 2), (2, 0), (3, None)):
        event = sent(send(book, order, 52000))
        limits.append(event.limit_price)
        book.report(order, "working", broker_order_id=f"b{attempt}")
        if count is None:
            break
        end_try(book, order)
        fills = (a_fill(f"f{attempt}", count),) if count else ()
        book.report(order, "cancelled", *fills)
        assert book.portfolio.totals.margin == 270_000 * 5, "what is tried again keeps its share of the limits"
        order = intended(book.report(order, "cancelled", settled=True))
        assert (order.attempt, order.lots, order.filled_before) == (attempt + 1, 3, 2)
        assert order.client_order_id.endswith(f"-e{attempt + 1}")
        assert order.risk_reserved == 350 * 30 * 3
    away = [Decimal("0.0025"), Decimal("0.003")]
    assert limits == [*(52000 * (1 + side.sign * part) for part in away), None]
    book.report(order, None, a_fill("last", 3))
    (position,) = book.portfolio.positions.values()
    assert position.lots == position.entry_lots == 5
    assert book.portfolio.totals.margin == 270_000 * 5


def test_a_try_ends_once_and_only_while_a_limit_works():
    book = Book()
    order = an_entry(book)
    assert end_try(book, order).outcome.reason == "no try of it is running"
    send(book, order, 52000)
    assert any(isinstance(event, OrderTryEnded) for event in end_try(book, order).events)
    assert end_try(book, order).outcome.reason == "no try of it is running"


def test_what_was_filled_while_its_try_ended_is_kept_and_not_asked_for_again():
    book = Book()
    order = an_entry(book)
    send(book, order, 52000)
    end_try(book, order)
    decision = book.report(order, None, a_fill("f1", 5))
    assert not any(isinstance(event, OrderIntended) for event in decision.events)
    assert not any(isinstance(event, OrderIntended) for event in book.report(order, None, settled=True).events)
    assert [position.lots for position in book.portfolio.positions.values()] == [5]
    assert not book.portfolio.orders


def test_what_was_refused_or_cancelled_by_others_is_not_tried_again():
    for state, ended in (("rejected", True), ("cancelled", False)):
        book = Book()
        order = an_entry(book)
        send(book, order, 52000)
        if ended:
            end_try(book, order)
        decision = book.report(order, state, settled=True)
        assert not any(isinstance(event, OrderIntended) for event in decision.events), state
        assert book.portfolio.totals.margin == 0


def test_an_exit_between_two_tries_ends_them():
    book = Book()
    order = an_entry(book)
    send(book, order, 52000)
    end_try(book, order)
    book.report(order, "cancelled")
    decision = book.take(exit_of())
    assert [event.client_order_id for event in decision.events if isinstance(event, OrderCancelAsked)] == [
        order.client_order_id
    ]
    decision = book.report(order, None, settled=True)
    assert not any(isinstance(event, OrderIntended) for event in decision.events)
    assert not book.portfolio.orders
    assert book.portfolio.totals.risk == book.portfolio.totals.margin == 0


def test_a_fill_of_a_later_try_does_not_open_a_closed_position_again_but_one_of_its_own():
    book = Book()
    order = an_entry(book)
    send(book, order, 52000)
    end_try(book, order)
    book.report(order, "cancelled", a_fill("f1", 2))
    second = intended(book.report(order, "cancelled", settled=True))
    closing = [e.order for e in book.take(exit_of()).events if isinstance(e, OrderIntended)]
    book.report(closing[0], None, a_fill("x1", 2))
    assert not book.portfolio.positions
    decision = book.report(second, None, a_fill("late", 1))
    (position,) = book.portfolio.positions.values()
    assert position.position_id != order.position_id
    assert intended(decision).position_id == position.position_id


# --- not reached


def test_what_did_not_reach_the_broker_is_an_intent_again_and_nothing_else_is():
    book = Book()
    order = an_entry(book)
    send(book, order, 52000)
    book.report(order, "intent")
    assert [o.state for o in book.portfolio.orders.values()] == [OrderState.INTENT]
    assert sent(send(book, order, 52010)).limit_price == Decimal("52140.0")
    book.report(order, None, broker_order_id="b1")
    assert book.report(order, "intent").outcome.reason == "nothing new"
    assert [o.state for o in book.portfolio.orders.values()] == [OrderState.SENT]


def test_what_is_sold_is_no_more_than_is_there_when_it_is_sent():
    book = Book()
    book.report(book.enter(), "filled", settled=True)
    order = intended(book.take(exit_of()))
    (position,) = book.portfolio.positions.values()
    left = replace(position, lots=2, quantity=Decimal(60), status=PositionStatus.PARTIAL)
    book.portfolio = book.portfolio.with_position(left)
    assert sent(send(book, order)).lots == 2
    book.portfolio = book.portfolio.with_position(
        replace(left, lots=0, quantity=Decimal(0), status=PositionStatus.CLOSED)
    )
    other = replace(order, client_order_id="x2")
    book.portfolio = book.portfolio.with_order(other)
    assert why_not(send(book, other)) == "nothing is left to sell"
    assert other.purpose is OrderPurpose.EXIT


def test_a_try_of_an_entry_whose_position_is_closed_by_now_is_not_sent():
    book = Book()
    order = an_entry(book)
    book.portfolio = book.portfolio.with_order(replace(order, filled_before=2))
    assert why_not(send(book, order, 52000)) == "no longer wanted"


# --- what cannot be


def without_instruments(book: Book) -> None:
    book.portfolio = book.portfolio.with_settings(book.portfolio.settings.model_copy(update={"instruments": {}}))


def test_what_is_not_there_is_neither_sent_nor_ended():
    book = Book()
    order = an_entry(book)
    unknown = replace(order, client_order_id="pm0-nobody-e1")
    assert send(book, unknown, 52000).outcome.reason == "no such order, or it is settled"
    assert end_try(book, unknown).outcome.reason == "no such order, or it is settled"


def test_only_entries_wait_for_a_quote():
    book = Book()
    assert needs_quote(an_entry(book))
    book = Book()
    book.report(book.enter(), "filled", settled=True)
    assert not needs_quote(intended(book.take(exit_of())))


def test_an_entry_of_what_is_not_configured_any_more_is_not_sent():
    book = Book()
    order = an_entry(book)
    without_instruments(book)
    assert why_not(send(book, order, 52000)) == "BANK_NIFTY is not configured any more"


def test_an_entry_below_one_tick_is_not_sent():
    book = Book(
        a_portfolio(settings_with(execution={"fills": "broker"}, instruments={"BANK_NIFTY": {"tick": "100000"}}))
    )
    assert why_not(send(book, an_entry(book), 52000)).startswith("no price on a tick of 100000")


def test_an_entry_without_a_stop_keeps_its_size():
    book = Book()
    order = an_entry(book)
    book.portfolio = book.portfolio.with_order(replace(order, plan=replace(order.plan, stop=None)))
    assert sent(send(book, order, 52500)).lots == order.lots


def test_what_another_exit_sells_already_is_not_sold_again():
    book = Book()
    book.report(book.enter(), "filled", settled=True)
    order = intended(book.take(exit_of()))
    book.portfolio = book.portfolio.with_order(replace(order, client_order_id="x2"))
    assert why_not(send(book, order)) == "nothing is left to sell"


def test_an_exit_of_what_is_on_its_way_out_whole_is_none():
    book = Book()
    book.report(book.enter(), "filled", settled=True)
    book.take(exit_of())
    draft = Draft(book.portfolio)
    intend_exit(draft, next(iter(book.portfolio.positions.values())), 5, Decimal(52000), "EXIT")
    assert not draft.has_events


def test_an_exit_that_is_refused_after_its_position_was_closed_is_over():
    book = Book()
    book.report(book.enter(), "filled", settled=True)
    order = intended(book.take(exit_of()))
    send(book, order)
    (position,) = book.portfolio.positions.values()
    closed = replace(position, lots=0, quantity=Decimal(0), status=PositionStatus.CLOSED)
    book.portfolio = book.portfolio.with_position(closed)
    decision = book.report(order, "rejected", settled=True)
    assert not [event for event in decision.events if isinstance(event, OrderIntended)]
