"""What is particular to OpenAlgo: its fields, its modes, its limits, and trades that may be there twice."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from live.books import read_books
from live.brokers.openalgo import OpenAlgoBroker
from live.brokers.port import Action, BrokerAway, BrokerOrderState, BrokerRefused, OrderType, OutcomeUnknown
from live.brokers.settings import OpenAlgoSettings
from tests.broker_worlds import GOLD, SILENCE, OpenAlgoWorld
from tests.misbehaving_server import Trouble
from tests.openalgo_server import API_KEY, OpenAlgoServer


@pytest.fixture
def server() -> Iterator[OpenAlgoServer]:
    """A server whose market is at 72,000."""
    with OpenAlgoServer() as made:
        made.exchange.set_quote(GOLD, Decimal(72_000))
        yield made


@pytest.fixture
def world(server: OpenAlgoServer) -> Iterator[OpenAlgoWorld]:
    """An adapter to it."""
    made = OpenAlgoWorld(server)
    yield made
    made.close()


def a_world(server: OpenAlgoServer, **settings: Any) -> OpenAlgoWorld:
    return OpenAlgoWorld(server, **settings)


@contextmanager
def closing_world(server: OpenAlgoServer) -> Iterator[OpenAlgoWorld]:
    """An adapter of its own, as a process has one."""
    made = OpenAlgoWorld(server)
    try:
        yield made
    finally:
        made.close()


def sent(server: OpenAlgoServer, endpoint: str) -> dict[str, Any]:
    return [fields for name, fields in server.requests if name == endpoint][-1]


def test_an_order_is_sent_as_openalgo_documents_it(world: OpenAlgoWorld) -> None:
    world.broker.place(world.request(Action.SELL, OrderType.STOP, price="71400.50", trigger_price=71_500))
    assert sent(world.server, "placeorder") == {
        "apikey": API_KEY,
        "strategy": "tag-main-0123456789ab-1",
        "symbol": GOLD,
        "exchange": "MCX",
        "action": "SELL",
        "pricetype": "SL",
        "product": "NRML",
        "quantity": "5",
        "price": "71400.5",
        "trigger_price": "71500",
        "disclosed_quantity": "0",
    }


@pytest.mark.parametrize(
    "order_type, prices, pricetype",
    [
        (OrderType.MARKET, {}, "MARKET"),
        (OrderType.LIMIT, {"price": 71_000}, "LIMIT"),
        (OrderType.STOP_MARKET, {"trigger_price": 72_500}, "SL-M"),
    ],
)
def test_the_price_types_are_openalgos(
    world: OpenAlgoWorld, order_type: OrderType, prices: dict[str, int], pricetype: str
) -> None:
    world.broker.place(world.request(Action.BUY, order_type, **prices))
    assert sent(world.server, "placeorder")["pricetype"] == pricetype


@pytest.mark.parametrize(
    "trouble", [Trouble.HANGS_BEFORE, Trouble.HANGS_AFTER, Trouble.LOST_AFTER, Trouble.FAILS_AFTER]
)
def test_the_adapter_alone_never_makes_two_live_orders_of_one_intent(world: OpenAlgoWorld, trouble: Trouble) -> None:
    request = world.request(Action.BUY, OrderType.LIMIT, price=71_000)
    world.server.misbehave("placeorder", trouble, seconds=0.8)
    with pytest.raises(OutcomeUnknown):
        world.broker.place(request)
    world.server.__exit__()  # waits for what is still to be done
    assert len(world.server.exchange.live_orders(tag=request.tag)) == 1


def test_an_order_that_is_done_late_is_in_the_book_later(world: OpenAlgoWorld) -> None:
    world.server.misbehave("placeorder", Trouble.HANGS_BEFORE, seconds=SILENCE)
    with pytest.raises(OutcomeUnknown):
        world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
    assert world.broker.orders() == []
    deadline = datetime.now(UTC).timestamp() + 5
    while not world.broker.orders() and datetime.now(UTC).timestamp() < deadline:
        pass
    assert len(world.broker.orders()) == 1


def test_an_order_for_a_human_to_approve_is_unknown(world: OpenAlgoWorld) -> None:
    world.server.semi_automatic = True
    with pytest.raises(OutcomeUnknown, match="semi-automatic"):
        world.broker.place(world.request())


def test_an_order_can_be_rejected_after_it_was_taken(world: OpenAlgoWorld) -> None:
    world.server.misbehave("placeorder", Trouble.REJECTS_LATER)
    placed = world.broker.place(world.request())
    (order,) = world.broker.orders()
    assert (order.broker_order_id, order.state, order.filled_quantity) == (placed, BrokerOrderState.REJECTED, 0)
    assert world.broker.fills() == []


@pytest.mark.parametrize("analyze", [True, False])
def test_no_order_goes_to_a_server_in_the_other_mode(server: OpenAlgoServer, analyze: bool) -> None:
    world = a_world(server, analyze=analyze)
    server.analyzes = not analyze
    with pytest.raises(BrokerRefused, match="mode"):
        world.broker.require_ready()
    with pytest.raises(BrokerRefused, match="mode"):
        world.broker.place(world.request())
    assert server.asked("placeorder") == 0
    server.analyzes = analyze
    world.broker.place(world.request())
    assert len(server.exchange.trades) == 1
    world.close()


def test_a_mode_that_is_switched_under_us_is_noticed_by_the_answer(server: OpenAlgoServer) -> None:
    world = a_world(server, mode_check_seconds=3600)
    world.broker.place(world.request(client_order_id="a-1"))
    server.analyzes = True
    world.broker.place(world.request(client_order_id="a-2"))
    with pytest.raises(BrokerRefused, match="is in analyze mode"):
        world.broker.place(world.request(client_order_id="a-3"))
    assert server.asked("placeorder") == 2
    world.close()


def test_the_mode_is_not_asked_for_each_order(world: OpenAlgoWorld) -> None:
    for number in range(3):
        world.broker.place(world.request(client_order_id=f"a-{number}"))
    assert world.server.asked("analyzer") == 1


def test_a_server_that_cannot_be_asked_for_its_mode_gets_no_order(world: OpenAlgoWorld) -> None:
    world.server.misbehave("analyzer", Trouble.GARBLED, times=9)
    with pytest.raises(BrokerAway):
        world.broker.place(world.request())
    assert world.server.asked("placeorder") == 0


def test_equal_trades_without_ids_are_told_from_doubled_rows(world: OpenAlgoWorld) -> None:
    world.server.exchange.parts.extend([Decimal(2), Decimal(2), Decimal(1)])
    world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=72_100))
    for _ in range(2):
        world.fill_the_rest()
    honest = world.broker.fills()
    assert sum(fill.quantity for fill in honest) == 5
    world.server.misbehave("tradebook", Trouble.DUPLICATED)
    assert {fill.fill_id for fill in world.broker.fills()} == {fill.fill_id for fill in honest}


def test_a_trade_told_twice_of_an_order_cancelled_in_part_is_booked_once_and_the_order_stays_open(
    server: OpenAlgoServer,
) -> None:
    server.exchange.parts.append(Decimal(2))
    with closing_world(server) as world:
        placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=72_100))
        world.broker.cancel(placed)
        server.misbehave("tradebook", Trouble.DUPLICATED)
        with capture_logs() as logs:
            assert [fill.quantity for fill in world.broker.fills()] == [2]
            (order,) = world.broker.orders()
        assert (order.state, order.filled_quantity) == (BrokerOrderState.CANCELLED, 4)
        assert [(line["log_level"], line["broker_order_id"]) for line in logs] == [("error", placed)]
        # Told once: nothing is in doubt any more.
        assert [fill.quantity for fill in world.broker.fills()] == [2]
        assert world.broker.orders()[0].filled_quantity is None


def test_a_doubt_of_an_earlier_process_is_one_of_the_next(server: OpenAlgoServer) -> None:
    server.exchange.parts.append(Decimal(2))
    with closing_world(server) as world:
        world.broker.cancel(world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=72_100)))
    server.misbehave("tradebook", Trouble.DUPLICATED, times=9)
    with closing_world(server) as world:
        books = read_books(world.broker, datetime.now(UTC))
        (entry,) = books.orders.values()
        told = sum(fill.quantity for fill in books.fills[entry.broker_order_id])
        assert (entry.filled_quantity, told) == (4, 2)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("trouble", [Trouble.DUPLICATED, Trouble.OUT_OF_ORDER])
def test_a_trade_book_in_disorder_tells_the_same_fills(world: OpenAlgoWorld, trouble: Trouble, named: bool) -> None:
    world.server.gives_trade_ids = named
    for number, price in enumerate((72_000, 72_001, 72_002)):
        world.move(price)
        world.broker.place(world.request(client_order_id=f"a-{number}"))
    honest = world.broker.fills()
    assert len(honest) == 3
    world.server.misbehave("tradebook", trouble)
    assert {fill.fill_id: fill for fill in world.broker.fills()} == {fill.fill_id: fill for fill in honest}


def test_positions_of_other_products_are_not_ours(world: OpenAlgoWorld) -> None:
    world.broker.place(world.request())
    world.server.exchange.trades[0].order.product = "MIS"
    assert world.broker.positions() == []


def test_contracts_or_units_is_a_setting_by_exchange(server: OpenAlgoServer) -> None:
    world = a_world(server, lots_on=["MCX"])
    assert world.broker.counts_lots("MCX")
    assert not world.broker.counts_lots("NFO")
    world.close()


def test_a_wrong_key_is_refused(server: OpenAlgoServer) -> None:
    settings = OpenAlgoSettings.model_validate({"url": server.url, "api_key": "wrong"})
    with (
        OpenAlgoBroker(settings, lambda: datetime.now(UTC)) as broker,
        pytest.raises(BrokerRefused, match="Invalid openalgo"),
    ):
        broker.orders()


def test_a_symbol_without_a_quote_is_refused(world: OpenAlgoWorld) -> None:
    with pytest.raises(BrokerRefused, match="Symbol not found"):
        world.broker.quote("NOTHING", "MCX")


@pytest.mark.parametrize("exchange", ["LSE", "mcx"])
def test_what_openalgo_does_not_know_is_refused_with_its_words(world: OpenAlgoWorld, exchange: str) -> None:
    world.exchange = exchange
    with pytest.raises(BrokerRefused, match="Invalid exchange"):
        world.broker.place(world.request())


def test_a_book_that_is_not_understood_is_not_used(world: OpenAlgoWorld) -> None:
    world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
    (order,) = world.server.exchange.orders.values()
    order.symbol = ""
    with pytest.raises(BrokerAway, match="`symbol` is missing"):
        world.broker.orders()


class Time:
    """A monotonic clock that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def test_no_more_than_ten_orders_begin_in_a_second(server: OpenAlgoServer) -> None:
    settings = OpenAlgoSettings.model_validate({"url": server.url, "api_key": API_KEY})
    time = Time()
    broker = OpenAlgoBroker(settings, lambda: datetime.now(UTC), monotonic_now=time, pause=time.pass_by)
    world = OpenAlgoWorld(server)
    for number in range(21):
        broker.place(world.request(client_order_id=f"a-{number}"))
    assert 2.0 <= time.now < 2.1
    broker.close()
    world.close()


def test_a_read_ends_soon_after_its_time_out(server: OpenAlgoServer) -> None:
    world = a_world(server, read_seconds="0.2", read_attempts=10)
    server.misbehave("orderbook", Trouble.HANGS_AFTER, times=10, seconds=1.0)
    started = datetime.now(UTC)
    with pytest.raises(BrokerAway, match="in time"):
        world.broker.orders()
    assert (datetime.now(UTC) - started).total_seconds() < 0.9
    world.close()


def test_the_key_is_in_no_log_and_no_message(world: OpenAlgoWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    messages = []
    for trouble in Trouble:
        world.server.misbehave("placeorder", trouble, seconds=2.0)
        try:
            world.broker.place(world.request())
        except (BrokerAway, BrokerRefused, OutcomeUnknown) as error:
            messages.append(f"{error} {error!r} {error.__cause__!r}")
    assert len(messages) >= 8
    assert "key ***" in " ".join(messages)
    assert API_KEY not in caplog.text + " ".join(messages) + repr(world.broker)


def test_the_server_toggles_its_mode_and_knows_margins_and_status(server: OpenAlgoServer) -> None:
    import httpx

    def ask(endpoint: str, **fields: Any) -> Any:
        return httpx.post(f"{server.url}/api/v1/{endpoint}", json={"apikey": API_KEY, **fields}).json()

    assert ask("analyzer/toggle", mode=True)["data"]["mode"] == "analyze"
    assert ask("analyzer")["data"]["analyze_mode"] is True
    assert ask("margin", positions=[{}])["data"]["total_margin_required"] == 270_000.0
    world = a_world(server, analyze=True)
    placed = world.broker.place(world.request())
    status = ask("orderstatus", orderid=placed, strategy="x")["data"]
    assert (status["order_status"], status["average_price"]) == ("complete", 72_000.0)
    assert ask("orderstatus", orderid="nobody", strategy="x")["status"] == "error"
    assert ask("nothing")["message"].startswith("The requested URL")
    world.close()
