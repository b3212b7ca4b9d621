"""Rollover: out of the near contract, into the far one, and only then rolled; an EXIT waits for the step in hand."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from core.decide import Decision, decide
from core.decide.decision import Draft
from core.decide.legs import pair_near
from core.decide.orders import intend_exit
from core.events import OrderIntended, OrderReported, PositionRolled
from core.inputs import Freeze, Roll
from core.models import Position, PositionStatus, RolloverStatus, Side, Status
from core.orders import Order, OrderPurpose, OrderState
from core.portfolio import portfolio_from_rows
from tests.builders import NOON, a_portfolio, a_signal, minutes, mirrored, settings_with
from tests.contracts import a_document, in_contracts
from tests.unit.test_decide_orders import ROOMY, Book, a_fill, exit_of
from tests.unit.test_execution import send, why_not

both_sides = pytest.mark.parametrize("side", Side)
ROLL_DAY = date(2026, 1, 21)
NEAR, FAR = "BANKNIFTY27JAN26FUT", "BANKNIFTY24FEB26FUT"
PURPOSES = OrderPurpose
PEELED_NEVER = {"ongoing_volatility_percent": "50", "ongoing_risk_percent": "50"}


def a_book(side: Side = Side.LONG, document: dict[str, Any] | None = None, **parts: Any) -> Book:
    """Five lots of January at 52000, stop 51650; no stop at the broker, and the future itself is traded."""
    execution = {"fills": "broker", "stop_atr": None, "legs": False, **parts.pop("execution", {})}
    instruments = {"BANK_NIFTY": {**ROOMY["BANK_NIFTY"], **PEELED_NEVER}}
    settings = settings_with(execution=execution, instruments=instruments, **parts)
    book = Book(in_contracts(a_portfolio(settings), document or a_document()))
    done(book, only(book.take(mirrored(a_signal(er=1), side))), 52000, 5)
    return book


def only(decision: Decision, purpose: OrderPurpose | None = None) -> Order:
    (order,) = [
        event.order
        for event in decision.events
        if isinstance(event, OrderIntended) and purpose in (None, event.order.purpose)
    ]
    return order


def done(book: Book, order: Order, price: Any, lots: int | None = None, state: str = "filled") -> Decision:
    """Sent, filled with `lots` (None: all) and settled."""
    quote = 52000 if order.purpose is PURPOSES.ENTRY else None
    send(book, order, quote)
    count = order.lots if lots is None else lots
    fills = (a_fill(f"{order.client_order_id}-f", count, price),) if count else ()
    book.report(order, state, *fills, broker_order_id=f"b-{order.client_order_id}")
    return book.report(order, state, settled=True)


def roll(book: Book, *, day: date = ROLL_DAY, execute: bool = True, position_id: str | None = None) -> Decision:
    book.seq += 1
    given = Roll(day=day, execute=execute, position_id=position_id)
    decision = decide(replace(book.portfolio, seq=book.seq), given, NOON)
    book.portfolio = decision.portfolio.settled()
    return decision


def the_position(book: Book) -> Position:
    (position,) = book.portfolio.positions.values()
    return position


def rebuilt(book: Book) -> None:
    """Rows and memory say the same."""
    now = book.portfolio
    orders = sorted(now.orders.values(), key=lambda order: (order.journal_seq, order.client_order_id))
    again = portfolio_from_rows(
        now.name,
        now.settings,
        now.state,
        now.positions.values(),
        now.pyramiding.values(),
        orders,
        contracts=now.contracts,
    )
    assert again == now


# --- what is due


def test_what_is_due_is_marked_and_said_and_nothing_is_sent():
    book = a_book()
    assert roll(book, day=date(2026, 1, 20), execute=False).outcome.reason == "nothing is due"
    decision = roll(book, execute=False)
    position = the_position(book)
    assert decision.outcome.status is Status.EXECUTED
    assert decision.outcome.sizing == {position.position_id: "2026-01 to 2026-02"}
    assert position.rollover_status is RolloverStatus.PENDING
    assert not book.portfolio.orders
    assert roll(book, execute=False).outcome.status is Status.REJECTED
    rebuilt(book)


def test_one_position_may_be_rolled_before_it_is_due():
    book = a_book()
    position = the_position(book)
    decision = roll(book, day=date(2026, 1, 14), position_id=position.position_id)
    assert only(decision).purpose is PURPOSES.ROLL_OUT
    assert roll(book, position_id="nobody").outcome.reason == "no such position in a contract"


def test_without_a_broker_or_a_contract_nothing_is_rolled():
    book = Book(a_portfolio(settings_with()))
    assert roll(book).outcome.reason == "fills are not by a broker"
    book = Book(a_portfolio(settings_with(execution={"fills": "broker"}, instruments=ROOMY)))
    book.enter()
    assert roll(book).outcome.reason == "nothing is due"


def test_odd_lots_are_reported_and_not_traded():
    # 5 lots of 30 are 150 units: no whole number of lots of 40.
    document = a_document(BANK_NIFTY={"2026-02": {"lot_size": "40"}})
    book = a_book(document=document)
    decision = roll(book)
    assert decision.outcome.status is Status.REJECTED
    (says,) = decision.outcome.sizing.values()
    assert says == "odd lots: 150 units are 3 lots of 40 and 30 more"
    assert the_position(book).rollover_status is RolloverStatus.NONE
    assert not book.portfolio.orders


def test_what_has_expired_or_is_working_is_left_alone():
    book = a_book()
    (says,) = roll(book, day=date(2026, 1, 28)).outcome.sizing.values()
    assert says == "expired on 2026-01-27: settle it by hand"
    book.take(exit_of())
    (says,) = roll(book).outcome.sizing.values()
    assert says == "orders of it are working"


# --- the saga


@both_sides
def test_out_of_the_near_contract_into_the_far_one_and_everything_moves_by_the_spread(side):
    book = a_book(side)
    s = side.sign
    before = the_position(book)
    begun = roll(book)
    out = only(begun)
    assert begun.outcome.status is Status.ACCEPTED
    assert (out.purpose, out.symbol, out.lots, out.buys) == (PURPOSES.ROLL_OUT, NEAR, 5, side is Side.SHORT)
    assert the_position(book).rollover_status is RolloverStatus.IN_PROGRESS
    enter = only(done(book, out, 52400))
    assert (enter.purpose, enter.symbol, enter.lots, enter.buys) == (PURPOSES.ROLL_IN, FAR, 5, side is Side.LONG)
    assert (enter.near_price, enter.roll_to) == (52400, "2026-02")
    assert the_position(book).entry_price == 52000, "nothing is rolled before the far contract is entered"
    assert book.portfolio.state.realized_total == 0
    rebuilt(book)
    decision = done(book, enter, 52650)
    assert [type(event) for event in decision.events].count(PositionRolled) == 1
    position = the_position(book)
    assert (position.entry_price, position.lots, position.futures_symbol) == (52650, 5, FAR)
    assert (position.contract_month, position.expiry) == ("2026-02", date(2026, 2, 24))
    moved = 250
    assert position.current_stop == before.current_stop + moved
    assert position.initial_stop == before.initial_stop + moved
    assert position.highest_close == before.highest_close + moved
    assert position.rollover_pnl == position.realized_pnl == s * 400 * 5 * 30
    assert book.portfolio.state.closed_equity == 5_000_000 + s * 400 * 5 * 30
    assert (position.original_expiry, position.original_entry_price) == (date(2026, 1, 27), 52000)
    assert (position.rollover_status, position.rollover_count) == (RolloverStatus.ROLLED, 1)
    assert position.rollover_timestamp is not None
    assert book.portfolio.pyramiding_of("BANK_NIFTY").last_pyramid_price == 52000 + moved
    assert not book.portfolio.orders
    rebuilt(book)
    # And it is due again next month.
    assert roll(book, day=date(2026, 1, 22)).outcome.reason == "nothing is due"
    assert only(roll(book, day=date(2026, 2, 18))).roll_to == "2026-03"


def test_costs_of_both_sides_are_booked():
    book = a_book(paper={"costs": {"per_lot": "20"}})
    done(book, only(done(book, only(roll(book)), 52400)), 52650)
    position = the_position(book)
    assert position.costs == 200
    assert position.realized_pnl == 400 * 5 * 30 - 200
    assert book.portfolio.state.closed_equity == 5_000_000 + 400 * 5 * 30 - 200


def test_the_far_contract_may_have_another_lot_and_the_units_stay():
    document = a_document(BANK_NIFTY={"2026-02": {"lot_size": "15"}})
    book = a_book(document=document)
    enter = only(done(book, only(roll(book)), 52400))
    assert (enter.lots, enter.lot_size, enter.point_value) == (10, 15, 15)
    done(book, enter, 52650)
    position = the_position(book)
    assert (position.lots, position.lot_size, position.quantity, position.entry_lots) == (10, 15, 150, 10)
    rebuilt(book)


@both_sides
def test_the_broker_refuses_to_let_it_out_and_it_stays_as_it_was(side):
    book = a_book(side)
    before = the_position(book)
    done(book, only(roll(book)), 0, 0, "rejected")
    position = the_position(book)
    assert position.rollover_status is RolloverStatus.FAILED
    assert replace(position, rollover_status=before.rollover_status, version=before.version) == before
    assert not book.portfolio.orders
    # Failed is not for ever: the next day tries again.
    assert only(roll(book, day=date(2026, 1, 22))).purpose is PURPOSES.ROLL_OUT
    rebuilt(book)


def test_what_could_be_left_only_in_part_is_sold_to_that_part():
    book = a_book()
    done(book, only(roll(book)), 52400, 2, "cancelled")
    position = the_position(book)
    assert (position.lots, position.rollover_status, position.exit_reason) == (3, RolloverStatus.FAILED, "ROLLOVER")
    assert book.portfolio.state.realized_total == 400 * 2 * 30
    assert not book.portfolio.orders
    rebuilt(book)


@pytest.mark.parametrize("entered", [0, 2])
def test_what_could_not_be_entered_again_was_sold(entered):
    book = a_book()
    enter = only(done(book, only(roll(book)), 52400))
    decision = done(book, enter, 52650, entered, "rejected" if not entered else "cancelled")
    assert book.portfolio.state.realized_total == 400 * 5 * 30
    if not entered:
        (closed,) = decision.portfolio.closed.values()
        assert (closed.exit_price, closed.exit_reason) == (52400, "ROLLOVER")
        assert not book.portfolio.positions
        assert book.portfolio.pyramiding_of("BANK_NIFTY").base_position_id is None
    else:
        position = the_position(book)
        assert (position.lots, position.rollover_status) == (2, RolloverStatus.ROLLED)
        assert position.futures_symbol == FAR
    rebuilt(book)


def test_a_pyramid_waits_until_the_roll_is_over():
    book = a_book()
    roll(book)
    signal = a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(4))
    assert book.take(signal).outcome.reason == "roll in progress"


# --- an exit meanwhile


def test_an_exit_before_anything_is_left_ends_the_roll():
    book = a_book()
    out = only(roll(book))
    leaving = only(book.take(exit_of()))
    assert send(book, leaving).outcome.reason == "a roll of its position is in hand"
    (event,) = [event for event in send(book, out).events if isinstance(event, OrderReported)]
    assert event.message == "no longer wanted"
    assert the_position(book).rollover_status is RolloverStatus.FAILED
    done(book, leaving, 52300)
    assert not book.portfolio.positions
    assert book.portfolio.state.realized_total == 300 * 5 * 30


def test_an_exit_while_it_is_left_is_done_by_that():
    book = a_book()
    out = only(roll(book))
    send(book, out)
    leaving = only(book.take(exit_of(reason="TRAILING")))
    book.report(out, "filled", a_fill("o", 5, 52400), broker_order_id="b1")
    decision = book.report(out, "filled", settled=True)
    assert not [event for event in decision.events if isinstance(event, OrderIntended)]
    (closed,) = decision.portfolio.closed.values()
    assert (closed.exit_price, closed.exit_reason) == (52400, "TRAILING")
    (event,) = [event for event in send(book, leaving).events if isinstance(event, OrderReported)]
    assert (event.state, event.message) == (OrderState.CANCELLED, "nothing is left to sell")
    assert not book.portfolio.orders
    rebuilt(book)


def test_an_exit_while_the_far_one_is_entered_waits_and_sells_that():
    book = a_book(document=a_document(BANK_NIFTY={"2026-02": {"lot_size": "15"}}))
    enter = only(done(book, only(roll(book)), 52400))
    send(book, enter)
    waiting = only(book.take(exit_of()))
    assert send(book, waiting).outcome.reason == "a roll of its position is in hand"
    book.report(enter, "filled", a_fill("i", 10, 52650), broker_order_id="b2")
    leaving = only(book.report(enter, "filled", settled=True))
    assert (leaving.purpose, leaving.symbol, leaving.lots) == (PURPOSES.EXIT, FAR, 10)
    assert waiting.client_order_id not in book.portfolio.orders
    done(book, leaving, 52700)
    assert not book.portfolio.positions
    assert book.portfolio.state.realized_total == 400 * 5 * 30 + 50 * 10 * 15
    rebuilt(book)


def test_the_stop_at_the_broker_is_out_of_the_way_and_comes_back_in_the_far_contract():
    book = a_book(execution={"stop_atr": 1})

    def stop() -> Order:
        (order,) = [order for order in book.portfolio.orders.values() if order.purpose is PURPOSES.STOP]
        return order

    send(book, stop())
    book.report(stop(), "working", broker_order_id="s1")
    out = only(roll(book), PURPOSES.ROLL_OUT)
    near_stop = stop()
    assert near_stop.cancel_asked
    book.report(near_stop, "cancelled")
    book.report(near_stop, "cancelled", settled=True)
    enter = only(done(book, out, 52400), PURPOSES.ROLL_IN)
    assert not [order for order in book.portfolio.orders.values() if order.purpose is PURPOSES.STOP]
    done(book, enter, 52650)
    assert (stop().symbol, stop().trigger_price, stop().lots) == (FAR, near_stop.trigger_price + 250, 5)


def test_a_stop_that_was_triggered_first_leaves_less_to_roll():
    book = a_book(execution={"stop_atr": 1})
    (stop,) = [order for order in book.portfolio.orders.values() if order.purpose is PURPOSES.STOP]
    send(book, stop)
    book.report(stop, "working", broker_order_id="s1")
    out = only(roll(book), PURPOSES.ROLL_OUT)
    book.report(stop, "cancelled", a_fill("s", 2, 51290))
    book.report(stop, "cancelled", settled=True)
    enter = only(done(book, out, 52400, 3), PURPOSES.ROLL_IN)
    assert enter.lots == 3


@both_sides
def test_a_synthetic_future_is_left_and_entered_by_two_legs_each(side):
    """Four orders: of each contract the option that is bought first."""
    document = a_document()
    settings = settings_with(
        execution={"fills": "broker"}, instruments={"BANK_NIFTY": {**ROOMY["BANK_NIFTY"], **PEELED_NEVER}}
    )
    book = Book(in_contracts(a_portfolio(settings), document))
    long = side is Side.LONG
    first = only(book.take(mirrored(a_signal(er=1), side)))
    book.seq += 1
    from core.inputs import SendOrder

    sent = SendOrder(client_order_id=first.client_order_id, quote=Decimal(500), market=Decimal(52000))
    book.portfolio = decide(replace(book.portfolio, seq=book.seq), sent, NOON).portfolio.settled()
    book.report(first, "filled", a_fill("1", 5, 500), broker_order_id="b1")
    second = only(book.report(first, "filled", settled=True))
    done(book, second, 500)
    position = the_position(book)
    assert (position.entry_price, position.strike) == (52000, 52000)
    legs = [only(roll(book))]
    # Near at 52300 (700 - 400), far at 52600 with its own strike.
    near = {"CE": 700, "PE": 400}
    far = {"CE": 600, "PE": 500}
    for prices, following in ((near, 2), (far, 2)):
        for _number in range(following):
            order = legs[-1]
            decision = done(book, order, prices[order.symbol[-2:]])
            intended = [event.order for event in decision.events if isinstance(event, OrderIntended)]
            legs += [order for order in intended if order.purpose is not PURPOSES.STOP]
    assert [order.purpose for order in legs] == [PURPOSES.ROLL_OUT] * 2 + [PURPOSES.ROLL_IN] * 2
    bought_first = [order.buys for order in legs]
    assert bought_first == [True, False, True, False]
    symbols = [order.symbol for order in legs]
    near_legs = ["BANKNIFTY27JAN2652000PE", "BANKNIFTY27JAN2652000CE"]
    far_legs = ["BANKNIFTY24FEB2652500CE", "BANKNIFTY24FEB2652500PE"]
    assert symbols == (near_legs + far_legs if long else near_legs[::-1] + far_legs[::-1])
    position = the_position(book)
    assert (position.entry_price, position.strike, position.original_strike) == (52600, 52500, 52000)
    assert (position.ce_symbol, position.pe_symbol, position.futures_symbol) == (*far_legs, None)
    assert position.rollover_pnl == side.sign * 300 * 5 * 30
    assert not book.portfolio.orders
    rebuilt(book)


def test_times_are_those_of_the_orders():
    book = a_book()
    done(book, only(done(book, only(roll(book)), 52400)), 52650)
    assert isinstance(the_position(book).rollover_timestamp, datetime)


def test_two_exits_that_waited_for_a_roll_are_two_in_the_far_contract():
    book = a_book()
    enter = only(done(book, only(roll(book)), 52400))
    send(book, enter)
    (position,) = book.portfolio.positions.values()
    for lots in (1, 4):
        book.seq += 1
        draft = Draft(replace(book.portfolio, seq=book.seq))
        intend_exit(draft, position, lots, Decimal(52500), "EXIT")
        book.portfolio = draft.portfolio.settled()
    decision = book.report(enter, "filled", a_fill("i", 5, 52650), broker_order_id="b2", settled=True)
    intended = [event.order for event in decision.events if isinstance(event, OrderIntended)]
    assert sorted(order.lots for order in intended) == [1, 4]
    assert len({order.client_order_id for order in intended}) == 2


def test_a_roll_in_that_was_never_sent_and_is_over_was_a_sale():
    book = a_book()
    enter = only(done(book, only(roll(book)), 52400))
    decision = book.report(enter, "cancelled", settled=True)
    (closed,) = decision.portfolio.closed.values()
    assert (closed.exit_price, closed.exit_reason) == (52400, "ROLLOVER")
    assert not book.portfolio.positions


def test_where_a_stop_leaves_no_whole_far_lots_what_left_is_sold():
    book = a_book(document=a_document(BANK_NIFTY={"2026-02": {"lot_size": "150"}}), execution={"stop_atr": 1})
    (stop,) = [order for order in book.portfolio.orders.values() if order.purpose is PURPOSES.STOP]
    send(book, stop)
    book.report(stop, "working", broker_order_id="s1")
    out = only(roll(book), PURPOSES.ROLL_OUT)
    book.report(stop, "cancelled", a_fill("s", 2, 51290))
    book.report(stop, "cancelled", settled=True)
    decision = done(book, out, 52400, 3)
    assert not [event for event in decision.events if isinstance(event, OrderIntended)]
    assert not book.portfolio.positions


def gone(book: Book) -> None:
    position = the_position(book)
    closed = replace(position, lots=0, quantity=Decimal(0), status=PositionStatus.CLOSED)
    book.portfolio = book.portfolio.with_position(closed).settled()


def test_where_no_far_contract_is_known_that_is_said():
    book = a_book(document=a_document(last="2026-01"))
    (says,) = roll(book).outcome.sizing.values()
    assert says.startswith("no far contract: ")


def test_a_roll_of_what_the_brokers_stop_has_sold_is_over():
    book = a_book()
    out = only(roll(book))
    gone(book)
    assert why_not(send(book, out)) == "nothing is left to sell"
    assert not book.portfolio.orders


@pytest.mark.parametrize("frozen", [False, True])
def test_a_part_of_a_near_lot_in_the_far_contract_is_a_humans(frozen):
    book = a_book(document=a_document(BANK_NIFTY={"2026-02": {"lot_size": "15"}}))
    enter = only(done(book, only(roll(book)), 52400))
    if frozen:
        book.portfolio = decide(
            book.portfolio, Freeze(instrument="BANK_NIFTY", reason="operator"), NOON
        ).portfolio.settled()
    done(book, enter, 52650, 1, "cancelled")
    assert the_position(book).rollover_status is RolloverStatus.FAILED
    reason = book.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason
    assert reason == (
        "operator" if frozen else f"order {enter.client_order_id}: a roll cannot be completed, look at the broker"
    )


def test_only_the_roll_of_what_was_entered_last_moves_what_the_next_pyramid_is_measured_from():
    book = a_book()
    base = the_position(book)
    pyramid = replace(
        base, position_id="BANK_NIFTY-Long_2-abc", layer="Long_2", is_base_position=False, entry_timestamp=minutes(5)
    )
    book.portfolio = book.portfolio.with_position(pyramid)
    done(book, only(done(book, only(roll(book, position_id=base.position_id)), 52400)), 52650)
    assert book.portfolio.pyramiding_of("BANK_NIFTY").last_pyramid_price == 52000


def in_pairs() -> tuple[Book, Order]:
    """Five lots of January in two options, and the first order of their roll."""
    instruments = {"BANK_NIFTY": {**ROOMY["BANK_NIFTY"], **PEELED_NEVER}}
    book = Book(in_contracts(a_portfolio(settings_with(execution={"fills": "broker"}, instruments=instruments))))
    first = only(book.take(a_signal(er=1)))
    book.report(first, "filled", a_fill("1", 5, 500), broker_order_id="b1", settled=True)
    (second,) = book.portfolio.orders.values()
    book.report(second, "filled", a_fill("2", 5, 500), broker_order_id="b2", settled=True)
    return book, only(roll(book))


def test_a_first_leg_that_is_refused_leaves_the_roll_undone():
    book, out = in_pairs()
    book.report(out, "rejected", settled=True)
    assert the_position(book).rollover_status is RolloverStatus.FAILED
    assert not book.portfolio.orders


@pytest.mark.parametrize("closed", [False, True])
def test_a_second_leg_of_a_roll_that_is_refused_three_times_is_a_humans(closed):
    book, out = in_pairs()
    order = only(book.report(out, "filled", a_fill("3", 5, 400), settled=True))
    for _number in range(2):
        order = only(book.report(order, "rejected", settled=True))
    if closed:
        gone(book)
    book.report(order, "rejected", settled=True)
    assert not book.portfolio.orders
    assert str(book.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason).endswith("look at the broker")


def test_a_first_leg_that_was_to_close_what_is_gone_is_a_humans():
    book, out = in_pairs()
    gone(book)
    book.report(out, "filled", a_fill("3", 5, 400), settled=True)
    assert not book.portfolio.orders
    assert str(book.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason).endswith("a leg of it is left at the broker")


def test_a_contract_without_options_has_no_pair():
    contract = in_contracts(a_portfolio(), a_document("GOLD_MINI")).contracts["GOLD_MINI"].of_month("2026-02")
    assert contract is not None
    assert pair_near(contract, Decimal(72000)) is None
