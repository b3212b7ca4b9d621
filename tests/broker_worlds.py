"""Each broker with a market that a test moves, so that one test can be run on all of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from live.brokers.ccxt import CcxtBroker
from live.brokers.openalgo import OpenAlgoBroker
from live.brokers.paper import PaperBroker
from live.brokers.port import Action, Broker, OrderRequest, OrderType
from live.brokers.settings import CcxtSettings, OpenAlgoSettings, PaperSettings
from tests import bybit_server, openalgo_server
from tests.bybit_server import BybitServer
from tests.misbehaving_server import MisbehavingServer, Trouble
from tests.openalgo_server import OpenAlgoServer

GOLD = "GOLDM05FEB26FUT"
WEDNESDAY = datetime(2026, 1, 14, 6, 15, tzinfo=UTC)
# How long the adapters wait for an answer, in seconds: a busy machine's comes within it. And a silence that is longer.
PATIENCE, SILENCE = "3", 5.0


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime = WEDNESDAY) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class World:
    """A broker, the symbol to trade, and the smallest quantity of it."""

    symbol = GOLD
    exchange = "MCX"
    unit = Decimal(1)
    server: MisbehavingServer | None = None
    place_endpoint = cancel_endpoint = modify_endpoint = orders_endpoint = ""

    def __init__(self) -> None:
        self.broker: Broker = self.connected()

    def connected(self) -> Broker:
        """A new adapter on the same account, as after a restart."""
        raise NotImplementedError

    def restart(self) -> None:
        self.close()
        self.broker = self.connected()

    def close(self) -> None:
        self.broker.close()

    def move(self, price: Decimal | int | str) -> None:
        """The market trades at `price`."""
        raise NotImplementedError

    def fill_two_of_five(self) -> None:
        """The next order of five is filled with two, and the rest only once `fill_the_rest` is called."""
        raise NotImplementedError

    def fill_the_rest(self) -> None:
        raise NotImplementedError

    def reject_next(self) -> None:
        """The broker says no to the next order."""
        raise NotImplementedError

    def request(
        self,
        action: Action = Action.BUY,
        order_type: OrderType = OrderType.MARKET,
        units: int = 5,
        client_order_id: str = "main-0123456789ab-1",
        **changes: Any,
    ) -> OrderRequest:
        given = {name: Decimal(value) for name, value in changes.items()}
        return OrderRequest(
            client_order_id=client_order_id,
            tag=f"tag-{client_order_id}",
            symbol=self.symbol,
            exchange=self.exchange,
            action=action,
            order_type=order_type,
            quantity=units * self.unit,
            **given,
        )


class PaperWorld(World):
    """The paper broker with a clock that stands."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.file = folder / "paper.sqlite"
        self.clock = SetClock()
        self.settings = PaperSettings(**settings)
        super().__init__()

    def connected(self) -> PaperBroker:
        return PaperBroker(self.file, self.settings, self.clock)

    def move(self, price: Decimal | int | str) -> None:
        self.clock.forward(1)
        assert isinstance(self.broker, PaperBroker)
        self.broker.quote_seen(self.symbol, self.exchange, Decimal(price), self.clock())

    def set(self, **settings: Any) -> None:
        """Start again with other settings."""
        self.settings = self.settings.model_copy(update=settings)
        self.restart()

    def fill_two_of_five(self) -> None:
        self.set(fill_fractions=(Decimal("0.4"), Decimal("0.6")), seconds_between_fills=Decimal(60))

    def fill_the_rest(self) -> None:
        self.clock.forward(60)

    def reject_next(self) -> None:
        self.set(reject_every=1)


class OpenAlgoWorld(World):
    """The adapter to OpenAlgo before our own server."""

    place_endpoint, cancel_endpoint, modify_endpoint = "placeorder", "cancelorder", "modifyorder"
    orders_endpoint = "orderbook"
    server: OpenAlgoServer

    def __init__(self, server: OpenAlgoServer, **settings: Any) -> None:
        self.server = server
        self.settings = {"read_seconds": PATIENCE, "connect_seconds": PATIENCE, "orders_per_second": 1000, **settings}
        super().__init__()

    def connected(self) -> OpenAlgoBroker:
        settings = OpenAlgoSettings.model_validate(
            {"url": self.server.url, "api_key": openalgo_server.API_KEY, **self.settings}
        )
        return OpenAlgoBroker(settings, lambda: datetime.now(UTC), pause=lambda _: None)

    def move(self, price: Decimal | int | str) -> None:
        self.server.exchange.set_quote(self.symbol, Decimal(price))

    def fill_two_of_five(self) -> None:
        self.server.exchange.parts.append(2 * self.unit)

    def fill_the_rest(self) -> None:
        exchange = self.server.exchange
        exchange.set_quote(self.symbol, exchange.quotes[self.symbol])

    def reject_next(self) -> None:
        self.server.misbehave(self.place_endpoint, Trouble.REJECTS)


class CcxtWorld(World):
    """The adapter to ccxt's Bybit, real but for its address: a server of ours."""

    exchange = "bybit"
    unit = Decimal("0.001")
    place_endpoint, cancel_endpoint, modify_endpoint = "order/create", "order/cancel", "order/amend"
    orders_endpoint = "order/history"
    server: BybitServer

    def __init__(self, server: BybitServer, symbol: str = bybit_server.PERPETUAL, **settings: Any) -> None:
        self.server = server
        self.symbol = symbol
        self.settings = {"timeout_seconds": PATIENCE, "amends_in_place": True, "symbols": (symbol,), **settings}
        super().__init__()

    def connected(self) -> CcxtBroker:
        settings = CcxtSettings.model_validate(
            {"venue": "bybit", "api_key": bybit_server.API_KEY, "secret": bybit_server.SECRET, **self.settings}
        )
        return CcxtBroker(
            settings,
            lambda: datetime.now(UTC),
            pause=lambda _: None,
            configuration={
                "urls": {"api": dict.fromkeys(("public", "private", "spot", "futures", "v2"), self.server.url)},
                "options": {
                    "enableUnifiedMargin": False,
                    "enableUnifiedAccount": True,
                    "fetchMarkets": {"types": ["spot", "linear"]},
                },
                "rateLimit": 1,
            },
        )

    def move(self, price: Decimal | int | str) -> None:
        self.server.exchange.set_quote("linear" if ":" in self.symbol else "spot", Decimal(price))

    def fill_two_of_five(self) -> None:
        self.server.exchange.parts.append(2 * self.unit)

    def fill_the_rest(self) -> None:
        exchange = self.server.exchange
        for symbol, price in exchange.quotes.items():
            exchange.set_quote(symbol, price)

    def reject_next(self) -> None:
        self.server.misbehave(self.place_endpoint, Trouble.REJECTS)


@contextmanager
def paper_world(folder: Path) -> Iterator[World]:
    """The paper broker."""
    world = PaperWorld(folder)
    try:
        yield world
    finally:
        world.close()


@contextmanager
def openalgo_world(folder: Path) -> Iterator[World]:
    """OpenAlgo."""
    with OpenAlgoServer() as server:
        world = OpenAlgoWorld(server)
        try:
            yield world
        finally:
            world.close()


@contextmanager
def ccxt_world(folder: Path) -> Iterator[World]:
    """Bybit through ccxt."""
    with BybitServer() as server:
        world = CcxtWorld(server)
        try:
            yield world
        finally:
            world.close()


WORLDS: dict[str, Callable[[Path], Any]] = {"paper": paper_world, "openalgo": openalgo_world, "ccxt": ccxt_world}
