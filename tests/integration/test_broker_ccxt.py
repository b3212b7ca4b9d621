"""What is particular to ccxt: spot and perpetual, lists in pieces, what would be rounded, venues that lack something."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from core.errors import ConfigurationError
from live.brokers.ccxt import CcxtBroker
from live.brokers.port import Action, BrokerAway, BrokerOrderState, BrokerRefused, OrderType, OutcomeUnknown
from live.brokers.settings import CcxtSettings
from tests.broker_worlds import CcxtWorld
from tests.bybit_server import API_KEY, PERPETUAL, SECRET, SPOT, BybitServer
from tests.misbehaving_server import Trouble
from tests.simulated_exchange import Resting


@pytest.fixture
def server() -> Iterator[BybitServer]:
    """A venue whose markets are at 72,000."""
    with BybitServer() as made:
        for category in ("spot", "linear"):
            made.exchange.set_quote(category, Decimal(72_000))
        yield made


def a_world(server: BybitServer, symbol: str = PERPETUAL, **settings: Any) -> Iterator[CcxtWorld]:
    world = CcxtWorld(server, symbol, **settings)
    yield world
    world.close()


@pytest.fixture
def world(server: BybitServer) -> Iterator[CcxtWorld]:
    """Perpetuals."""
    yield from a_world(server)


@pytest.fixture
def spot(server: BybitServer) -> Iterator[CcxtWorld]:
    """Spot."""
    yield from a_world(server, SPOT)


def last_created(server: BybitServer) -> dict[str, Any]:
    return [fields for name, fields in server.requests if name == "order/create"][-1]


def test_a_perpetual_order_is_sent_as_text_with_our_id(world: CcxtWorld) -> None:
    world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price="71000.10"))
    assert last_created(world.server) == {
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Limit",
        "orderLinkId": "main-0123456789ab-1",
        "price": "71000.1",
        "category": "linear",
        "qty": "0.005",
    }


@pytest.mark.parametrize("action, direction", [(Action.BUY, 1), (Action.SELL, 2)])
def test_a_stop_tells_the_venue_from_which_side_it_is_touched(world: CcxtWorld, action: Action, direction: int) -> None:
    trigger = 73_000 if action is Action.BUY else 71_000
    world.broker.place(world.request(action, OrderType.STOP_MARKET, trigger_price=trigger))
    assert last_created(world.server)["triggerDirection"] == direction


def test_spot_buys_a_quantity_and_not_an_amount_of_money(spot: CcxtWorld) -> None:
    placed = spot.broker.place(spot.request())
    created = last_created(spot.server)
    assert (created["category"], created["qty"], created["marketUnit"]) == ("spot", "0.005", "baseCoin")
    (order,) = spot.broker.orders()
    assert (order.broker_order_id, order.state) == (placed, BrokerOrderState.FILLED)
    (position,) = spot.broker.positions()
    assert (position.symbol, position.quantity) == (SPOT, Decimal("0.005"))


def test_spot_and_perpetual_of_one_account_are_kept_apart(server: BybitServer) -> None:
    for world in a_world(server, symbols=(SPOT, PERPETUAL)):
        world.broker.place(world.request(Action.SELL))
        world.symbol = SPOT
        world.broker.place(world.request(client_order_id="a-2"))
        held = {position.symbol: position.quantity for position in world.broker.positions()}
        assert held == {PERPETUAL: Decimal("-0.005"), SPOT: Decimal("0.005")}
        assert {fill.symbol for fill in world.broker.fills()} == {SPOT, PERPETUAL}


def test_a_spot_order_that_was_cancelled_half_filled_is_cancelled_though_ccxt_calls_it_closed(spot: CcxtWorld) -> None:
    spot.fill_two_of_five()
    placed = spot.broker.place(spot.request(Action.BUY, OrderType.LIMIT, price=72_100))
    spot.broker.cancel(placed)
    (order,) = spot.broker.orders()
    assert (order.state, order.filled_quantity) == (BrokerOrderState.CANCELLED, Decimal("0.002"))


@pytest.mark.parametrize("status", ["complete", "open"])
def test_lists_that_come_in_pieces_are_read_to_their_end(world: CcxtWorld, status: str) -> None:
    exchange = world.server.exchange
    for number in range(130):
        order = Resting(
            order_id=exchange.new_id(),
            symbol="linear",
            exchange="bybit",
            buys=True,
            quantity=Decimal("0.001"),
            limit=None if status == "complete" else Decimal(1000),
            trigger=None,
            tag="",
            client_order_id=f"a-{number}",
            placed_at=datetime.now(UTC) - timedelta(minutes=130 - number),
        )
        exchange.add(order)
    orders = world.broker.orders()
    assert [order.client_order_id for order in orders] == [f"a-{number}" for number in range(130)]
    if status == "complete":
        assert len({fill.fill_id for fill in world.broker.fills()}) == 130


def test_an_order_that_ends_between_two_looks_is_in_the_book_as_ended(
    world: CcxtWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
    look = world.server._order_realtime

    def look_and_move(fields: dict[str, Any]) -> dict[str, Any]:
        found = look(fields)
        world.move(70_000)
        return found

    monkeypatch.setattr(world.server, "_order_realtime", look_and_move)
    (order,) = world.broker.orders()
    assert order.state is BrokerOrderState.FILLED


@pytest.mark.parametrize("changes", [{"price": "71000.05"}, {"price": "71000.123456789"}])
def test_a_price_that_would_be_rounded_is_refused_unsent(world: CcxtWorld, changes: dict[str, str]) -> None:
    with pytest.raises(BrokerRefused, match="does not take"):
        world.broker.place(world.request(Action.BUY, OrderType.LIMIT, **changes))
    assert world.server.asked("order/create") == 0


@pytest.mark.parametrize("quantity", ["0.0015", "0.0001"])
def test_a_quantity_that_would_be_rounded_is_refused_unsent(world: CcxtWorld, quantity: str) -> None:
    world.unit = Decimal(quantity)
    with pytest.raises(BrokerRefused):
        world.broker.place(world.request(units=1))
    assert world.server.asked("order/create") == 0


def test_a_symbol_whose_orders_would_not_be_seen_again_is_refused(world: CcxtWorld) -> None:
    world.symbol = SPOT
    with pytest.raises(BrokerRefused, match="symbols"):
        world.broker.place(world.request())


def test_a_symbol_that_the_venue_lacks_is_refused(server: BybitServer) -> None:
    for world in a_world(server, "ETH/USDT:USDT"):
        with pytest.raises(BrokerRefused, match="has no ETH"):
            world.broker.place(world.request())
        with pytest.raises(BrokerRefused, match="has no ETH"):
            world.broker.require_ready()


def test_an_order_in_a_symbol_that_is_not_traded_any_more_can_be_cancelled(server: BybitServer) -> None:
    for world in a_world(server):
        placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
    for world in a_world(server, SPOT):
        world.broker.cancel(placed)
    assert not server.exchange.live_orders()


def test_another_exchange_is_refused(world: CcxtWorld) -> None:
    with pytest.raises(BrokerRefused, match="MCX"):
        world.broker.quote(PERPETUAL, "MCX")


def test_an_id_that_the_venue_would_not_take_is_refused_unsent(world: CcxtWorld) -> None:
    with pytest.raises(BrokerRefused, match="does not take such an id"):
        world.broker.place(world.request(client_order_id="x" * 33))


def test_a_venue_that_puts_another_order_in_its_stead_does_not_modify(server: BybitServer) -> None:
    for world in a_world(server, amends_in_place=False):
        request = world.request(Action.BUY, OrderType.LIMIT, price=71_000)
        placed = world.broker.place(request)
        with pytest.raises(BrokerRefused, match="cancel it and place another"):
            world.broker.modify(placed, request)


def test_an_order_cannot_be_modified_into_another_symbol(server: BybitServer) -> None:
    for world in a_world(server, symbols=(SPOT, PERPETUAL)):
        placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
        world.symbol = SPOT
        with pytest.raises(BrokerRefused, match="symbol of an order"):
            world.broker.modify(placed, world.request(Action.BUY, OrderType.LIMIT, price=71_000))


def test_a_venue_can_be_said_to_keep_no_ids_and_to_take_no_stops(server: BybitServer) -> None:
    for world in a_world(server, keeps_client_order_ids=False, stop_orders=False):
        assert not world.broker.keeps_client_order_ids
        assert not world.broker.has_stop_orders
        world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
        assert "orderLinkId" not in last_created(server)
        (order,) = world.broker.orders()
        assert order.client_order_id is None
        with pytest.raises(BrokerRefused, match="no stop orders"):
            world.broker.place(world.request(Action.SELL, OrderType.STOP_MARKET, trigger_price=71_000))


def test_stops_in_a_book_of_their_own_are_found_and_cancelled(server: BybitServer) -> None:
    for world in a_world(server, separate_stop_book=True):
        placed = world.broker.place(world.request(Action.SELL, OrderType.STOP_MARKET, trigger_price=71_000))
        (order,) = world.broker.orders()
        assert order.broker_order_id == placed
        server.misbehave("order/cancel", Trouble.REJECTS)
        world.broker.cancel(placed)
        assert server.asked("order/cancel") == 2
        assert not server.exchange.live_orders()


def test_what_is_no_id_of_ours_is_refused(world: CcxtWorld) -> None:
    with pytest.raises(BrokerRefused, match="not an id of ours"):
        world.broker.cancel("261120000000001")


def test_a_proxys_page_is_no_empty_book(world: CcxtWorld) -> None:
    world.broker.place(world.request())
    for endpoint in ("order/history", "execution/list", "position/list"):
        world.server.misbehave(endpoint, Trouble.GARBLED, times=3)
    for read in (world.broker.orders, world.broker.fills, world.broker.positions):
        with pytest.raises(BrokerAway):
            read()


def test_markets_that_could_not_be_loaded_are_not_an_unknown_outcome(world: CcxtWorld) -> None:
    world.server.misbehave("market/instruments-info", Trouble.LOST_BEFORE, times=9)
    with pytest.raises(BrokerAway):
        world.broker.place(world.request())
    assert world.server.asked("order/create") == 0


def test_neither_keys_nor_signatures_are_in_messages(world: CcxtWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    world.broker.place(world.request())
    messages = []
    for trouble in (trouble for trouble in Trouble if "HANGS" not in trouble.name):
        world.server.misbehave("order/create", trouble)
        world.server.misbehave("order/history", trouble, times=3)
        for call in (lambda: world.broker.place(world.request()), world.broker.orders):
            try:
                call()
            except (BrokerAway, BrokerRefused, OutcomeUnknown) as error:
                messages.append(f"{error} {error!r}")
    told = caplog.text + " ".join(messages) + repr(world.broker)
    assert len(messages) >= 10
    assert API_KEY not in told
    assert SECRET not in told
    assert "startTime" not in told


def test_a_venue_that_ccxt_does_not_know_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="knows no 'nowhere'"):
        CcxtBroker(CcxtSettings(venue="nowhere", symbols=(SPOT,)), lambda: datetime.now(UTC))


def test_without_ccxt_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ccxt", None)
    with pytest.raises(ConfigurationError, match="pip install ccxt"):
        CcxtBroker(CcxtSettings(venue="bybit", symbols=(SPOT,)), lambda: datetime.now(UTC))


def test_a_sandbox_is_another_address() -> None:
    settings = CcxtSettings(venue="bybit", symbols=(SPOT,), sandbox=True)
    with CcxtBroker(settings, lambda: datetime.now(UTC)) as broker:
        assert "testnet" in broker._venue.urls["api"]["private"]
