"""No more orders in any second than the broker takes, by the clock of its server; and all of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from live.brokers.openalgo import OpenAlgoBroker
from live.brokers.port import Action, OrderRequest, OrderType
from live.brokers.settings import BrokersSettings, OpenAlgoSettings
from live.engine import LiveTradingEngine
from live.order_desk import order_desk
from tests.builders import a_signal, minutes, settings_with
from tests.contracts import a_contracts_desk
from tests.engines import Clock, an_engine, status_of, without_waiting
from tests.openalgo_server import API_KEY, OpenAlgoServer
from tests.queries import rows
from tests.waiting import eventually

ORDERS, PER_SECOND = 35, 10
MANY = [f"MANY_{number}" for number in range(ORDERS)]
SMALL = {"exchange": "NFO", "lot_size": 1, "point_value": 1, "margin_per_lot": 1, "max_pyramids": 5}
RISKS = {"initial_risk_percent": "0.1", "initial_volatility_percent": "0.1"}
SETTINGS = without_waiting(
    settings_with(
        execution={"fills": "broker", "stop_atr": None, "legs": False}, instruments=dict.fromkeys(MANY, SMALL | RISKS)
    )
)


@pytest.fixture
def server() -> Iterator[OpenAlgoServer]:
    """A server where all that we trade is at 1,000."""
    with OpenAlgoServer() as made:
        for symbol in MANY:
            made.exchange.set_quote(symbol, Decimal(1000))
        yield made


def openalgo(server: OpenAlgoServer) -> dict[str, Any]:
    # Patient, for nothing here is about a slow machine.
    return {"url": server.url, "api_key": API_KEY, "read_seconds": 60, "orders_per_second": PER_SECOND}


def most_in_a_second(server: OpenAlgoServer, *endpoints: str) -> int:
    """The most requests of these that the server received within any second."""
    received = [at for endpoint in endpoints for at in server.received[endpoint]]
    return max(sum(first <= at < first + 1 for at in received) for first in received)


def a_request(number: int, **fields: Any) -> OrderRequest:
    return OrderRequest(
        client_order_id=f"main-{number}",
        tag=f"main-{number}",
        symbol=MANY[number],
        exchange="NFO",
        **{"action": Action.BUY, "order_type": OrderType.MARKET, "quantity": Decimal(1), **fields},
    )


@pytest.mark.parametrize("threads", [1, 12])
def test_orders_as_fast_as_the_adapter_takes_them_come_ten_a_second(server: OpenAlgoServer, threads: int) -> None:
    settings = OpenAlgoSettings.model_validate(openalgo(server))
    with OpenAlgoBroker(settings, lambda: datetime.now(UTC)) as broker, ThreadPoolExecutor(threads) as pool:
        placed = list(pool.map(lambda number: broker.place(a_request(number)), range(ORDERS)))
    assert len(set(placed)) == server.asked("placeorder") == len(server.exchange.accepted()) == ORDERS
    assert most_in_a_second(server, "placeorder") <= PER_SECOND


def test_what_changes_and_cancels_orders_counts_with_what_places_them(server: OpenAlgoServer) -> None:
    settings = OpenAlgoSettings.model_validate(openalgo(server))
    with OpenAlgoBroker(settings, lambda: datetime.now(UTC)) as broker:
        for number in range(8):
            waits = a_request(number, order_type=OrderType.LIMIT, price=Decimal(900))
            placed = broker.place(waits)
            broker.modify(placed, a_request(number, order_type=OrderType.LIMIT, price=Decimal(901)))
            broker.cancel(placed)
    assert [order.status for order in server.exchange.orders.values()] == ["cancelled"] * 8
    assert most_in_a_second(server, "placeorder", "modifyorder", "cancelorder") <= PER_SECOND


@contextmanager
def a_desk(dsn: str, folder: Path, server: OpenAlgoServer) -> Iterator[tuple[LiveTradingEngine, Any]]:
    """An engine and what starts its dispatcher; each of MANY is traded under its own name."""
    clock = Clock(minutes(3))
    brokers = BrokersSettings.model_validate(
        {
            "use": "openalgo",
            "openalgo": openalgo(server),
            "markets": {name: {"symbol": name, "exchange": "NFO"} for name in MANY},
            "limits": {"most_per_minute": 1000},
        }
    )
    with ExitStack() as stack:
        engine = stack.enter_context(an_engine(dsn, settings=SETTINGS, clock=clock))
        desk = order_desk(
            engine,
            SETTINGS,
            brokers,
            folder / "broker" / "main",
            clock=clock,
            may_send=lambda: True,
            contracts=a_contracts_desk(),
        )
        yield engine, stack.enter_context(desk)


def an_entry(name: str) -> Any:
    return a_signal(instrument=name, price=1000, stop=990, atr=10, timestamp=minutes(2))


def test_orders_of_many_instruments_at_once_come_ten_a_second(dsn, tmp_path, server):
    with a_desk(dsn, tmp_path, server) as (engine, start):
        for name in MANY:
            assert status_of(engine.process_signal(an_entry(name))) == "accepted"
        start()
        assert eventually(lambda: not engine.portfolio.orders, seconds=60)
        assert len(engine.positions) == ORDERS
    assert server.asked("placeorder") == len(server.exchange.accepted()) == ORDERS
    assert most_in_a_second(server, "placeorder") <= PER_SECOND
    assert rows(dsn, "SELECT state, count(*) FROM orders GROUP BY state") == [("filled", ORDERS)]
