"""Disaster stops at the broker: they follow ours, protect what a dead engine holds, and never sell what was sold."""

import time
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from core.inputs import Freeze, IgnoreFinding, WriteOff
from core.orders import OrderPurpose, OrderState
from live.brokers.port import Action, BrokerOrder, BrokerOrderState, BrokerRefused, OrderRequest, OrderType
from live.order_limits import Gate, OrderLimits
from tests.builders import a_signal, minutes, settings_with
from tests.crash.totals import FULL
from tests.engines import Clock, status_of
from tests.integration.test_orders import NOW, a_desk, an_order_by_hand, proved
from tests.queries import rows
from tests.waiting import eventually

LOOSE = {"ongoing_volatility_percent": "50", "ongoing_risk_percent": "50"}
SETTINGS = settings_with(execution={"fills": "broker"}, instruments={"BANK_NIFTY": LOOSE})
BUSY = settings_with(execution={"fills": "broker"})


def at_rest(engine: Any) -> bool:
    return all(order.rests and order.broker_order_id for order in engine.portfolio.orders.values())


def waiting(broker: Any) -> list[BrokerOrder]:
    return [order for order in broker.orders() if order.state in (BrokerOrderState.PENDING, BrokerOrderState.WORKING)]


def held(broker: Any) -> Decimal:
    return sum((position.quantity for position in broker.positions()), Decimal(0))


def never_more_than_is_held(broker: Any) -> None:
    """Whatever is sold is there, besides what the stops that wait may sell."""
    place = broker.place

    def checked(request: OrderRequest) -> str:
        if request.order_type is OrderType.MARKET and request.action is Action.SELL:
            stops = sum(
                (order.quantity - (order.filled_quantity or 0) for order in waiting(broker) if order.trigger_price), 0
            )
            assert held(broker) - stops >= request.quantity, request
        return place(request)

    broker.place = checked


def a_bar(price: Any, minute: float, **fields: Any) -> Any:
    return a_signal("MARKET_DATA", layer="", stop=None, price=price, timestamp=minutes(minute), **fields)


def test_the_stop_at_the_broker_follows_ours_and_is_gone_before_the_exit_sells(dsn, tmp_path):
    with a_desk(dsn, tmp_path, settings=SETTINGS) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: [order.trigger_price for order in waiting(broker)] == [Decimal(51300)])
        assert [order.quantity for order in waiting(broker)] == [60]
        engine.process_signal(a_bar(54000, 17))
        # Ours is 54000 - 2.5 x 350, the broker's another 350 below.
        assert eventually(lambda: [order.trigger_price for order in waiting(broker)] == [Decimal(52775)])
        assert len(broker.placed) == 2
        engine.process_signal(a_signal("EXIT", price=53900, timestamp=minutes(18)))
        assert eventually(lambda: not engine.portfolio.orders and not engine.positions)
        assert (held(broker), waiting(broker)) == (0, [])
        told = rows(dsn, "SELECT purpose, state, filled_lots FROM orders ORDER BY purpose")
        assert told == [("entry", "filled", 2), ("exit", "filled", 2), ("stop", "cancelled", 0)]
        proved(dsn, engine)


def test_an_exit_cancels_its_stop_and_looks_at_once_and_sells_when_no_fill_of_it_can_come(dsn, tmp_path):
    with a_desk(dsn, tmp_path, settings=SETTINGS, start=False) as (engine, broker, dispatcher):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        for _ in range(3):
            dispatcher.turn()
        assert at_rest(engine)
        dispatcher._read_every = dispatcher._look_at = 1e9  # nothing is due by itself any more
        engine.process_signal(a_signal("EXIT", price=53900, timestamp=minutes(18)))
        dispatcher.turn()
        assert waiting(broker) == []
        states = {order.purpose: order.state for order in engine.portfolio.orders.values()}
        assert states == {OrderPurpose.EXIT: OrderState.INTENT, OrderPurpose.STOP: OrderState.CANCELLED}
        for _ in range(3):
            # However often the books are read before it is time.
            dispatcher._look_at = 0.0
            dispatcher.turn()
        assert len(broker.placed) == 2
        dispatcher._read_every = dispatcher._look_at = 0.0
        for _ in range(3):
            dispatcher.turn()
        assert (len(broker.placed), held(broker), dict(engine.portfolio.orders)) == (3, 0, {})
        proved(dsn, engine)


def test_what_a_dead_engine_holds_is_sold_by_it_and_found_at_the_next_start(dsn, tmp_path):
    with a_desk(dsn, tmp_path, settings=SETTINGS) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: at_rest(engine) and bool(waiting(broker)))
    with a_desk(dsn, tmp_path, settings=SETTINGS, start=False) as (engine, broker, dispatcher):
        broker.quote_seen("BANK_NIFTY", "PAPER", Decimal(51250), minutes(19))
        assert held(broker) == 0
        # The bar that would have closed it comes before anything was read.
        assert status_of(engine.process_signal(a_bar(51250, 19))) == "executed"
        dispatcher.start()
        assert eventually(lambda: not engine.portfolio.orders)
        assert not engine.positions
        assert held(broker) == 0
        assert rows(dsn, "SELECT exit_reason, exit_price FROM portfolio_positions") == [("DISASTER_STOP", 51250)]
        proved(dsn, engine)


def test_where_the_broker_cannot_move_it_it_is_cancelled_and_placed_anew(dsn, tmp_path):
    with a_desk(dsn, tmp_path, settings=SETTINGS) as (engine, broker, _):

        def refuses(broker_order_id: str, request: OrderRequest) -> None:
            raise BrokerRefused("not in its place")

        broker.modify = refuses
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: at_rest(engine) and bool(waiting(broker)))
        engine.process_signal(a_bar(54000, 17))
        assert eventually(lambda: [order.trigger_price for order in waiting(broker)] == [Decimal(52775)])
        states = "SELECT state FROM orders WHERE purpose = 'stop' ORDER BY journal_seq"
        assert eventually(lambda: rows(dsn, states) == [("cancelled",), ("working",)])
        proved(dsn, engine)


def test_a_stop_that_ended_with_its_day_is_placed_anew_the_next(dsn, tmp_path):
    clock = Clock(NOW)
    with a_desk(dsn, tmp_path, settings=SETTINGS, clock=clock) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: at_rest(engine) and bool(waiting(broker)))
        (first,) = waiting(broker)
        shown = broker.orders
        # Out of sight first: that it was cancelled is not to be seen in between.
        broker.orders = lambda: [order for order in shown() if order.broker_order_id != first.broker_order_id]
        broker.cancel(first.broker_order_id)
        clock.forward(hours=18)
        assert eventually(lambda: at_rest(engine) and [order.trigger_price for order in waiting(broker)] == [51300])
        assert waiting(broker)[0].client_order_id != first.client_order_id
        proved(dsn, engine)


def sold_by_hand(broker: Any, quantity: int) -> None:
    broker._broker.place(an_order_by_hand("BANK_NIFTY", Action.SELL, quantity))


def test_what_was_sold_by_hand_leaves_no_stop_that_would_sell_it_again_and_no_flood_of_orders(dsn, tmp_path):
    with a_desk(dsn, tmp_path, settings=SETTINGS) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: at_rest(engine) and bool(waiting(broker)))
        sold_by_hand(broker, 60)
        engine.command(Freeze(instrument="BANK_NIFTY", reason="missing at broker: BANK_NIFTY"))
        assert eventually(lambda: not waiting(broker))
        engine.process_signal(a_bar(52500, 17))
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(18)))
        assert eventually(lambda: not engine.portfolio.orders)
        time.sleep(0.5)
        ((journalled, orders),) = rows(dsn, "SELECT (SELECT count(*) FROM decision_journal), count(*) FROM orders")
        assert (held(broker), waiting(broker)) == (0, [])
        assert orders <= 6
        assert journalled < 40
        position_id = next(iter(engine.positions))
        assert status_of(engine.command(WriteOff(position_id=position_id, price=Decimal(52000)))) == "executed"
        proved(dsn, engine)


def test_lots_that_the_operator_has_accepted_to_be_missing_do_not_keep_an_exit_waiting(dsn, tmp_path):
    with a_desk(dsn, tmp_path, settings=SETTINGS) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: at_rest(engine) and bool(waiting(broker)))
        sold_by_hand(broker, 30)
        engine.command(IgnoreFinding(instrument="BANK_NIFTY", difference=Decimal(-30)))
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(18)))
        assert eventually(lambda: not engine.portfolio.orders and not engine.positions)
        proved(dsn, engine)


def test_while_no_exit_may_be_sent_the_stop_stays_where_it_is(dsn, tmp_path):
    switch = tmp_path / "STOP"
    gate = Gate(OrderLimits(), switch, clock=Clock(NOW))
    with a_desk(dsn, tmp_path, settings=SETTINGS, gate=gate) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: at_rest(engine) and bool(waiting(broker)))
        switch.touch()
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(18)))
        time.sleep(0.5)
        assert [order.quantity for order in waiting(broker)] == [60]
        switch.unlink()
        assert eventually(lambda: not engine.portfolio.orders and not engine.positions)
        assert (held(broker), waiting(broker)) == (0, [])
        proved(dsn, engine)


def test_a_book_that_was_empty_once_does_not_end_a_stop_hours_later(dsn, tmp_path):
    clock = Clock(NOW)
    with a_desk(dsn, tmp_path, settings=SETTINGS, clock=clock) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: at_rest(engine) and bool(waiting(broker)))
        shown, empty = broker.orders, iter([True, False])
        broker.orders = lambda: [] if next(empty, False) else shown()
        time.sleep(0.5)
        clock.forward(hours=8)
        empty = iter([True])
        time.sleep(0.5)
        assert len(waiting(broker)) == 1
        assert [order.state for order in engine.portfolio.orders.values()] == ["working"]


@pytest.mark.parametrize("seed", range(20 if FULL else 2))
def test_whatever_the_market_does_nothing_is_sold_twice_nor_left_without_a_stop(dsn, tmp_path, seed, capsys):
    """Bars that trail, peel off, stop out and trigger, exits and entries in between: the account is never short."""
    random, clock, price, shocked = Random(seed), Clock(NOW), 52000.0, 0
    parts = {"latency_seconds": "2", "fill_fractions": ("0.5", "0.5"), "seconds_between_fills": "2"}
    with a_desk(dsn, tmp_path, parts, clock=clock, settings=BUSY) as (engine, broker, _):
        never_more_than_is_held(broker)

        def at_rest_in_time() -> bool:
            clock.forward(seconds=1)
            return at_rest(engine)

        for number in range(40):
            price *= 1 + random.uniform(-0.012, 0.014)
            clock.forward(seconds=random.choice((1, 3, 9)))
            atr, now = random.choice((200, 350, 800)), clock()
            shown = Decimal(f"{price:.2f}")
            held_layers = [position.layer for position in engine.positions.values()]
            kind = random.choice(("bar", "bar", "bar", "exit")) if held_layers else "enter"
            if kind == "bar":
                signal = a_signal("MARKET_DATA", layer="", stop=None, price=shown, atr=atr, timestamp=now)
            elif kind == "exit":
                signal = a_signal("EXIT", layer="ALL", price=shown, atr=atr, timestamp=now)
            else:
                stop = shown - Decimal(atr)
                signal = a_signal(price=shown, stop=stop, atr=atr, timestamp=now)
            engine.process_signal(signal)
            if number - shocked >= 6 and any(order.trigger_price for order in waiting(broker)):
                shocked = number
                # Inside the bar the market falls for a moment through whatever waits there.
                assert eventually(at_rest_in_time), list(engine.portfolio.orders.values())
                broker.quote_seen("BANK_NIFTY", "PAPER", shown * Decimal("0.95"), clock())
            assert held(broker) >= 0, f"short after {number}"
        engine.process_signal(a_signal("EXIT", layer="ALL", price=Decimal(f"{price:.2f}"), timestamp=clock()))

        def over() -> bool:
            clock.forward(seconds=2)
            assert held(broker) >= 0
            return not engine.portfolio.orders

        assert eventually(over), list(engine.portfolio.orders.values())
        assert not engine.positions
        assert (held(broker), waiting(broker)) == (0, [])
        assert "failed" not in capsys.readouterr().err
        proved(dsn, engine)
        ((placed,),) = rows(dsn, "SELECT count(*) FROM orders WHERE purpose = 'stop'")
        assert placed > 0
