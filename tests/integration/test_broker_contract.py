"""What the engine relies on in any broker, run on each of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from live.brokers.port import (
    Action,
    BrokerAway,
    BrokerFill,
    BrokerOrder,
    BrokerOrderState,
    BrokerRefused,
    OrderType,
    OutcomeUnknown,
)
from tests.broker_worlds import SILENCE, WORLDS, World
from tests.misbehaving_server import Trouble

LIVE = (BrokerOrderState.PENDING, BrokerOrderState.WORKING)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A broker with an empty book, and the market at 72,000."""
    with WORLDS[request.param](tmp_path) as made:
        made.move(72_000)
        yield made


@pytest.fixture(params=[name for name in WORLDS if name != "paper"])
def distant_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The same, of a broker at the other end of a line."""
    with WORLDS[request.param](tmp_path) as made:
        made.move(72_000)
        # What the adapter asks for once (mode, markets) is not what goes wrong in a test.
        made.broker.cancel(made.broker.place(made.request(Action.BUY, OrderType.LIMIT, price=1000)))
        yield made


def the_order(world: World, broker_order_id: str) -> BrokerOrder:
    (found,) = [order for order in world.broker.orders() if order.broker_order_id == broker_order_id]
    return found


def fills_of(world: World, broker_order_id: str) -> list[BrokerFill]:
    return [fill for fill in world.broker.fills() if fill.broker_order_id == broker_order_id]


def held(world: World) -> Decimal:
    return sum((position.quantity for position in world.broker.positions()), Decimal(0))


def live_orders(world: World) -> list[BrokerOrder]:
    return [order for order in world.broker.orders() if order.state in LIVE]


def test_an_empty_account_has_empty_books(world: World) -> None:
    assert (world.broker.orders(), world.broker.fills(), world.broker.positions()) == ([], [], [])


def test_an_account_as_the_settings_say_is_ready(world: World) -> None:
    world.broker.require_ready()


def test_a_market_order_is_filled_at_the_market(world: World) -> None:
    placed = world.broker.place(world.request(Action.BUY))
    (fill,) = fills_of(world, placed)
    assert (fill.quantity, fill.price, fill.action) == (5 * world.unit, Decimal(72_000), Action.BUY)
    assert (fill.symbol, fill.exchange) == (world.symbol, world.exchange)
    assert held(world) == 5 * world.unit


def test_the_book_shows_an_order_as_it_was_placed(world: World) -> None:
    request = world.request(Action.SELL, OrderType.LIMIT, price="72100.5")
    order = the_order(world, world.broker.place(request))
    assert order.state is BrokerOrderState.WORKING
    for name in ("symbol", "exchange", "action", "order_type", "quantity", "price", "trigger_price"):
        assert getattr(order, name) == getattr(request, name), name
    assert order.filled_quantity in (Decimal(0), None)
    assert order.average_price is None
    assert order.message is None


def test_the_book_tells_client_order_ids_or_that_it_does_not_keep_them(world: World) -> None:
    request = world.request(Action.SELL, OrderType.LIMIT, price="72100.5")
    order = the_order(world, world.broker.place(request))
    assert order.client_order_id == (request.client_order_id if world.broker.keeps_client_order_ids else None)
    assert order.tag in (None, request.tag)


def test_a_filled_order_tells_how_much_and_is_filled(world: World) -> None:
    order = the_order(world, world.broker.place(world.request(Action.BUY)))
    assert order.state is BrokerOrderState.FILLED
    assert order.filled_quantity == order.quantity == 5 * world.unit
    assert order.average_price in (None, Decimal(72_000))


def test_a_limit_order_waits_for_the_market(world: World) -> None:
    placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_900))
    assert not fills_of(world, placed)
    world.move("71899.5")
    (fill,) = fills_of(world, placed)
    assert fill.price <= 71_900
    assert the_order(world, placed).state is BrokerOrderState.FILLED


def test_a_limit_order_that_the_market_has_reached_is_filled_at_once_and_no_worse(world: World) -> None:
    placed = world.broker.place(world.request(Action.SELL, OrderType.LIMIT, price=71_900))
    (fill,) = fills_of(world, placed)
    assert fill.price >= 71_900
    assert held(world) == -5 * world.unit


def test_a_stop_order_becomes_a_limit_order_at_its_trigger(world: World) -> None:
    assert world.broker.has_stop_orders
    placed = world.broker.place(world.request(Action.SELL, OrderType.STOP, price=71_400, trigger_price=71_500))
    order = the_order(world, placed)
    assert (order.state, order.order_type) == (BrokerOrderState.PENDING, OrderType.STOP)
    assert (order.price, order.trigger_price) == (Decimal(71_400), Decimal(71_500))
    world.move(71_300)
    assert not fills_of(world, placed)
    world.move(71_450)
    (fill,) = fills_of(world, placed)
    assert fill.price >= 71_400


@pytest.mark.parametrize("action, trigger, beyond", [(Action.SELL, 71_500, 71_400), (Action.BUY, 72_500, 72_600)])
def test_a_stop_market_order_goes_at_whatever_price_follows_its_trigger(
    world: World, action: Action, trigger: int, beyond: int
) -> None:
    placed = world.broker.place(world.request(action, OrderType.STOP_MARKET, trigger_price=trigger))
    order = the_order(world, placed)
    assert (order.state, order.order_type) == (BrokerOrderState.PENDING, OrderType.STOP_MARKET)
    assert not fills_of(world, placed)
    world.move(beyond)
    (fill,) = fills_of(world, placed)
    assert fill.price == beyond


def test_a_cancelled_order_is_never_filled(world: World) -> None:
    placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_900))
    world.broker.cancel(placed)
    world.move(71_000)
    assert the_order(world, placed).state is BrokerOrderState.CANCELLED
    assert not fills_of(world, placed)


def test_a_waiting_stop_can_be_cancelled(world: World) -> None:
    placed = world.broker.place(world.request(Action.SELL, OrderType.STOP_MARKET, trigger_price=71_500))
    world.broker.cancel(placed)
    world.move(71_000)
    assert the_order(world, placed).state is BrokerOrderState.CANCELLED
    assert held(world) == 0


def test_what_was_filled_before_a_cancel_stays_filled(world: World) -> None:
    world.fill_two_of_five()
    placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=72_100))
    assert [fill.quantity for fill in fills_of(world, placed)] == [2 * world.unit]
    assert the_order(world, placed).state is BrokerOrderState.WORKING
    world.broker.cancel(placed)
    world.fill_the_rest()
    order = the_order(world, placed)
    assert order.state is BrokerOrderState.CANCELLED
    assert order.filled_quantity in (None, 2 * world.unit)
    assert held(world) == 2 * world.unit


def test_the_parts_of_an_order_are_fills_of_their_own(world: World) -> None:
    world.fill_two_of_five()
    placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=72_100))
    (first,) = fills_of(world, placed)
    world.fill_the_rest()
    fills = fills_of(world, placed)
    assert [fill.quantity for fill in fills] == [2 * world.unit, 3 * world.unit]
    assert fills[0].fill_id == first.fill_id != fills[1].fill_id
    assert the_order(world, placed).state is BrokerOrderState.FILLED


def test_a_modified_order_has_its_new_price_and_quantity_and_its_id(world: World) -> None:
    placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
    world.broker.modify(placed, world.request(Action.BUY, OrderType.LIMIT, units=3, price=71_900))
    order = the_order(world, placed)
    assert (order.quantity, order.price) == (3 * world.unit, Decimal(71_900))
    world.move(71_900)
    assert sum(fill.quantity for fill in fills_of(world, placed)) == 3 * world.unit


def test_a_modified_stop_has_its_new_trigger(world: World) -> None:
    placed = world.broker.place(world.request(Action.SELL, OrderType.STOP_MARKET, trigger_price=71_000))
    world.broker.modify(placed, world.request(Action.SELL, OrderType.STOP_MARKET, trigger_price=71_800))
    world.move(71_750)
    assert len(fills_of(world, placed)) == 1


@pytest.mark.parametrize("ended", ["filled", "cancelled"])
def test_an_order_that_has_ended_cannot_be_cancelled_or_modified(world: World, ended: str) -> None:
    limit = world.request(Action.BUY, OrderType.LIMIT, price=72_100 if ended == "filled" else 71_000)
    placed = world.broker.place(limit)
    if ended == "cancelled":
        world.broker.cancel(placed)
    with pytest.raises(BrokerRefused):
        world.broker.cancel(placed)
    with pytest.raises(BrokerRefused):
        world.broker.modify(placed, limit)


def test_an_unknown_order_cannot_be_cancelled(world: World) -> None:
    with pytest.raises(BrokerRefused):
        world.broker.cancel(f"{world.symbol}|nobody-knows-it")


def test_a_refused_order_has_no_effect(world: World) -> None:
    world.reject_next()
    with pytest.raises(BrokerRefused):
        world.broker.place(world.request(Action.BUY))
    assert not live_orders(world)
    assert not world.broker.fills()


def test_buying_and_selling_the_same_leaves_no_position_row(world: World) -> None:
    world.broker.place(world.request(Action.BUY, client_order_id="a-1"))
    world.broker.place(world.request(Action.SELL, client_order_id="a-2"))
    assert world.broker.positions() == []


def test_positions_are_positive_long_and_negative_short(world: World) -> None:
    world.broker.place(world.request(Action.SELL, units=7))
    (position,) = world.broker.positions()
    assert (position.symbol, position.exchange, position.quantity) == (world.symbol, world.exchange, -7 * world.unit)


def test_the_quote_is_exact(world: World) -> None:
    world.move("72000.5")
    quote = world.broker.quote(world.symbol, world.exchange)
    assert quote.last == Decimal("72000.5")
    assert all(isinstance(side, Decimal) and side > 0 for side in (quote.bid, quote.ask) if side is not None)


def test_the_funds_are_exact(world: World) -> None:
    funds = world.broker.funds()
    assert isinstance(funds.used, Decimal)
    assert funds.available + funds.used == Decimal(5_000_000)


def test_times_are_aware_and_near(world: World) -> None:
    placed = world.broker.place(world.request(Action.BUY))
    (fill,) = fills_of(world, placed)
    placed_at, filled_at = the_order(world, placed).placed_at, fill.filled_at
    assert placed_at is not None
    assert filled_at is not None
    assert abs(filled_at - placed_at) < timedelta(seconds=5)


def test_fills_are_the_same_however_often_they_are_asked_for(world: World) -> None:
    for number in range(3):
        world.broker.place(world.request(Action.BUY, units=1, client_order_id=f"a-{number}"))
    first = world.broker.fills()
    assert len({fill.fill_id for fill in first}) == 3
    assert sorted(world.broker.fills(), key=lambda fill: fill.fill_id) == sorted(first, key=lambda fill: fill.fill_id)


def test_the_books_are_the_same_after_a_restart(world: World) -> None:
    world.fill_two_of_five()
    world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=72_100, client_order_id="a-1"))
    stop = world.broker.place(
        world.request(Action.SELL, OrderType.STOP_MARKET, trigger_price=71_000, client_order_id="a-2")
    )
    before = (world.broker.orders(), world.broker.fills(), world.broker.positions())
    world.restart()
    assert (world.broker.orders(), world.broker.fills(), world.broker.positions()) == before
    world.broker.cancel(stop)
    assert the_order(world, stop).state is BrokerOrderState.CANCELLED


def test_orders_may_be_placed_from_several_threads(world: World) -> None:
    requests = [
        world.request(Action.BUY, OrderType.LIMIT, units=1, client_order_id=f"a-{number}", price=71_000 + number)
        for number in range(12)
    ]
    with ThreadPoolExecutor(4) as pool:
        placed = list(pool.map(world.broker.place, requests))
    assert {order.broker_order_id: order.price for order in live_orders(world)} == {
        broker_order_id: request.price for broker_order_id, request in zip(placed, requests, strict=True)
    }


def test_a_second_order_with_a_client_order_id_is_none_only_where_it_is_kept(world: World) -> None:
    request = world.request(Action.BUY, OrderType.LIMIT, price=71_000)
    placed = world.broker.place(request)
    with suppress(BrokerRefused, OutcomeUnknown):
        again = world.broker.place(request)
        assert (again == placed) is world.broker.keeps_client_order_ids
    assert len(live_orders(world)) == (1 if world.broker.keeps_client_order_ids else 2)


def test_where_placing_again_is_asking_an_order_that_has_ended_is_not_made_anew(world: World) -> None:
    request = world.request(Action.BUY)
    placed = world.broker.place(request)
    if world.broker.places_once:
        assert world.broker.place(request) == placed
        assert len(world.broker.orders()) == 1


def test_nothing_that_is_shown_of_a_broker_is_secret(world: World) -> None:
    world.reject_next()
    with pytest.raises(BrokerRefused) as refused:
        world.broker.place(world.request(Action.BUY))
    for shown in (repr(world.broker), str(refused.value), repr(getattr(world.broker, "settings", ""))):
        assert "for-tests" not in shown


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble.LOST_BEFORE,
        Trouble.LOST_AFTER,
        Trouble.CUT_SHORT,
        Trouble.FAILS_BEFORE,
        Trouble.FAILS_AFTER,
        Trouble.GARBLED,
        Trouble.HANGS_BEFORE,
        Trouble.HANGS_AFTER,
    ],
)
def test_an_order_without_a_usable_answer_is_unknown_and_not_sent_again(distant_world: World, trouble: Trouble) -> None:
    world, server = distant_world, distant_world.server
    assert server is not None
    before = server.asked(world.place_endpoint)
    server.misbehave(world.place_endpoint, trouble, seconds=SILENCE)
    with pytest.raises(OutcomeUnknown) as unknown:
        world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000, client_order_id="a-2"))
    assert server.asked(world.place_endpoint) == before + 1
    assert "for-tests" not in str(unknown.value)


@pytest.mark.parametrize("trouble", [Trouble.LOST_AFTER, Trouble.FAILS_AFTER, Trouble.HANGS_AFTER])
def test_the_book_tells_of_an_order_whose_answer_was_lost(distant_world: World, trouble: Trouble) -> None:
    world = distant_world
    assert world.server is not None
    world.server.misbehave(world.place_endpoint, trouble, seconds=SILENCE)
    with pytest.raises(OutcomeUnknown):
        world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000, client_order_id="a-2"))
    world.restart()
    (order,) = live_orders(world)
    assert (order.quantity, order.price, order.action) == (5 * world.unit, Decimal(71_000), Action.BUY)
    assert order.client_order_id == ("a-2" if world.broker.keeps_client_order_ids else None)


@pytest.mark.parametrize("trouble", [Trouble.LOST_BEFORE, Trouble.LOST_AFTER, Trouble.FAILS_AFTER, Trouble.GARBLED])
def test_a_cancel_or_change_without_a_usable_answer_is_unknown_and_not_sent_again(
    distant_world: World, trouble: Trouble
) -> None:
    world, server = distant_world, distant_world.server
    assert server is not None
    request = world.request(Action.BUY, OrderType.LIMIT, price=71_000, client_order_id="a-2")
    placed = world.broker.place(request)
    server.misbehave(world.modify_endpoint, trouble)
    server.misbehave(world.cancel_endpoint, trouble)
    cancels = server.asked(world.cancel_endpoint)
    with pytest.raises(OutcomeUnknown):
        world.broker.modify(placed, request)
    with pytest.raises(OutcomeUnknown):
        world.broker.cancel(placed)
    assert server.asked(world.modify_endpoint) == 1
    assert server.asked(world.cancel_endpoint) == cancels + 1


def test_an_order_that_is_turned_away_for_being_one_too_many_had_no_effect(distant_world: World) -> None:
    world = distant_world
    assert world.server is not None
    world.server.misbehave(world.place_endpoint, Trouble.TOO_MANY)
    with pytest.raises(BrokerAway):
        world.broker.place(world.request(Action.BUY, client_order_id="a-2"))
    assert held(world) == 0


def test_an_order_to_a_broker_that_is_not_there_was_not_sent(distant_world: World) -> None:
    world = distant_world
    assert world.server is not None
    world.server.__exit__()
    with pytest.raises(BrokerAway) as away:
        world.broker.place(world.request(Action.BUY, client_order_id="a-2"))
    assert "for-tests" not in str(away.value)
    with pytest.raises(BrokerAway):
        world.broker.orders()


@pytest.mark.parametrize("trouble", [Trouble.LOST_BEFORE, Trouble.FAILS_BEFORE, Trouble.GARBLED, Trouble.TOO_MANY])
def test_a_read_is_tried_again(distant_world: World, trouble: Trouble) -> None:
    world = distant_world
    assert world.server is not None
    world.server.misbehave(world.orders_endpoint, trouble, times=2)
    assert len(world.broker.orders()) == 1


@pytest.mark.parametrize("trouble", [Trouble.LOST_BEFORE, Trouble.GARBLED])
def test_a_read_that_goes_wrong_again_and_again_ends(distant_world: World, trouble: Trouble) -> None:
    world = distant_world
    assert world.server is not None
    world.server.misbehave(world.orders_endpoint, trouble, times=50)
    with pytest.raises(BrokerAway):
        world.broker.orders()


def test_a_slow_answer_is_an_answer(distant_world: World) -> None:
    world = distant_world
    assert world.server is not None
    world.server.misbehave(world.place_endpoint, Trouble.SLOW, seconds=0.15)
    placed = world.broker.place(world.request(Action.BUY, client_order_id="a-2"))
    assert the_order(world, placed).state is BrokerOrderState.FILLED
