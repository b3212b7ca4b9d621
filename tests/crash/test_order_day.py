"""A day of alerts against a broker that loses answers, fails, hangs and repeats itself: it ends with equal books."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from core.inputs import OrderInput
from core.models import Signal
from core.orders import OrderState
from core.portfolio import Portfolio
from live import dispatcher as dispatching
from live.answers import Answer, AnswerKind
from live.dispatcher import Dispatcher
from live.engine import LiveTradingEngine
from live.outbox import Outbox
from tests.builders import a_signal
from tests.crash.order_scenario import (
    BANK,
    COPPER,
    GOLD,
    NOW,
    SETTINGS,
    SILVER,
    SteeredServer,
    at_exchange,
    market_of,
    openalgo,
    require_reconciled,
    say_it_never_came,
)
from tests.crash.totals import FULL, SEED
from tests.engines import Clock, an_engine
from tests.misbehaving_server import Trouble
from tests.queries import rows

ALERTS = 500 if FULL else 120
PRICES = {BANK: 52000.0, GOLD: 72000.0, SILVER: 90000.0, COPPER: 830.0}
# One process of the dispatcher lives for so many alerts: the next one knows what is committed and what the books say.
RESTARTS_EVERY = 20
FORGETS = 0.1
READ_SECONDS, HANG_SECONDS = 0.3, 0.5
LOSES_THE_ANSWER = (Trouble.LOST_AFTER, Trouble.CUT_SHORT, Trouble.FAILS_AFTER, Trouble.GARBLED, Trouble.HANGS_AFTER)
NEVER_COMES = (Trouble.LOST_BEFORE, Trouble.FAILS_BEFORE)
TROUBLES = {
    "placeorder": (
        *LOSES_THE_ANSWER,
        *NEVER_COMES,
        *(Trouble.HANGS_BEFORE, Trouble.SLOW, Trouble.TOO_MANY, Trouble.REJECTS, Trouble.REJECTS_LATER),
    ),
    "cancelorder": (*LOSES_THE_ANSWER, *NEVER_COMES, Trouble.TOO_MANY, Trouble.REJECTS),
    "orderbook": (*LOSES_THE_ANSWER, Trouble.SLOW, Trouble.TOO_MANY, Trouble.DUPLICATED, Trouble.OUT_OF_ORDER),
    "tradebook": (*LOSES_THE_ANSWER, Trouble.SLOW, Trouble.TOO_MANY, *(Trouble.DUPLICATED, Trouble.OUT_OF_ORDER) * 3),
    "analyzer": (Trouble.LOST_BEFORE, Trouble.TOO_MANY),
}


CAPITAL = Decimal(20_000_000)
_TRADED = """
    SELECT count(*), count(*) FILTER (
        WHERE (filled_lots > 0 AND filled_lots < lots)
           OR (SELECT count(*) FROM fills f WHERE f.client_order_id = o.client_order_id) > 1
    )
    FROM orders o
"""


class Day:
    """The market, TradingView and the broker's bad luck, by seed."""

    def __init__(self, seed: int, server: SteeredServer) -> None:
        self._random = Random(seed)
        self._server = server
        self._prices = dict(PRICES)
        self.met: Counter[Trouble] = Counter()
        for instrument in PRICES:
            self.move(instrument)

    def move(self, instrument: str, *, thin: bool = False) -> None:
        """The market moves; a thin one gives no order more than a lot, or none at all."""
        self._prices[instrument] *= 1 + self._random.uniform(-0.006, 0.008)
        most = self._random.choice((0, 1, 1)) * market_of(instrument).units_per_lot if thin else None
        self._server.exchange.steer(instrument, self._price(instrument), most)

    def trouble(self) -> None:
        """Something goes wrong with the next request of an endpoint, or nothing does."""
        endpoint = self._random.choice([*TROUBLES, "placeorder"])
        if self._server._troubles[endpoint] or self._random.random() < 0.2:
            return
        trouble = self._random.choice(TROUBLES[endpoint])
        if trouble is Trouble.DUPLICATED and not self._server.gives_trade_ids:
            # Of a cancelled order nobody can tell a trade that is reported twice from two that are equal.
            return
        self.met[trouble] += 1
        self._server.misbehave(endpoint, trouble, seconds=0.1 if trouble is Trouble.SLOW else HANG_SECONDS)

    def thin(self, instrument: str) -> None:
        """For now the market gives each order one lot of an instrument."""
        most = market_of(instrument).units_per_lot
        self._server.exchange.steer(instrument, self._price(instrument), most)

    def alert(self, clock: Clock, portfolio: Portfolio) -> Signal:
        """The next alert: mostly one that the state lets through."""
        clock.forward(seconds=20)
        instrument = self._random.choice(list(PRICES))
        self.move(instrument, thin=self._random.random() < 0.25)
        layers = [one.layer for one in (*portfolio.positions_of(instrument), *portfolio.orders_of(instrument))]
        kinds = ("EXIT", "EXIT", "PYRAMID", "MARKET_DATA") if layers else ("BASE_ENTRY",) * 5 + ("EXIT",)
        kind = self._random.choice(kinds)
        layer = {"BASE_ENTRY": "Long_1", "PYRAMID": self._random.choice(("Long_2", "Long_3")), "MARKET_DATA": ""}
        exits = self._random.choice([*layers, "ALL", "ALL"])
        return self.signal(kind, instrument, layer.get(kind, exits), clock)

    def signal(self, kind: str, instrument: str, layer: str, clock: Clock) -> Signal:
        price = self._price(instrument)
        entry = kind in ("BASE_ENTRY", "PYRAMID")
        stop = price - self._rounded(float(price) * self._random.uniform(0.003, 0.008)) if entry else None
        atr = self._rounded(float(price) * self._random.uniform(0.003, 0.006))
        return a_signal(kind, instrument, layer, price=price, stop=stop, atr=atr, timestamp=clock())

    def _price(self, instrument: str) -> Decimal:
        return self._rounded(self._prices[instrument])

    @staticmethod
    def _rounded(value: float) -> Decimal:
        return max(Decimal(repr(round(value, 2))), Decimal("0.05"))


class Forgetful:
    """The engine, which now and then cannot keep what the dispatcher tells it: its database was away for a moment."""

    def __init__(self, engine: LiveTradingEngine, seed: int) -> None:
        self._engine = engine
        self._random = Random(seed)
        self.forgot = 0

    @property
    def portfolio(self) -> Portfolio:
        return self._engine.portfolio

    def origin_of(self, client_order_id: str) -> str | None:
        return self._engine.origin_of(client_order_id)

    def known_broker_orders(self) -> set[str]:
        return self._engine.known_broker_orders()

    def order_input(self, given: OrderInput) -> Answer:
        if self._random.random() < FORGETS:
            self.forgot += 1
            return Answer(kind=AnswerKind.UNKNOWN)
        return self._engine.order_input(given)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "CANCEL_AGAIN_SECONDS", 0.3)


@contextmanager
def dispatching_from(engine: LiveTradingEngine, server: SteeredServer, clock: Clock) -> Iterator[None]:
    """A dispatcher's life, with a thread and an adapter of its own."""
    desk = Forgetful(engine, SEED)
    with openalgo(server.url, read_seconds=str(READ_SECONDS)) as broker:
        outbox = Outbox(desk, broker, market_of=lambda order: market_of(order.instrument), clock=clock)
        dispatcher = Dispatcher(outbox, shows_within=HANG_SECONDS + 0.3, read_every=0.03)
        engine.on_commit = lambda _: dispatcher.wake()
        dispatcher.start()
        try:
            yield
        finally:
            dispatcher.stop()


@pytest.mark.parametrize("trade_ids", [True, False], ids=["with trade ids", "without"])
def test_a_day_of_alerts_against_a_misbehaving_broker_ends_reconciled(dsn, note, trade_ids):
    clock = Clock(NOW)
    with SteeredServer() as server, an_engine(dsn, settings=SETTINGS, clock=clock, initial_capital=CAPITAL) as engine:
        server.gives_trade_ids = trade_ids
        day = Day(SEED, server)
        with dispatching_from(engine, server, clock):
            _fill_in_parts(engine, day, clock)
        for first in range(0, ALERTS, RESTARTS_EVERY):
            with dispatching_from(engine, server, clock):
                for _ in range(min(RESTARTS_EVERY, ALERTS - first)):
                    _tell(engine, day, clock)
                _resolve_what_never_came(engine, server)
        _let_it_settle(engine, server, day, clock)
        require_reconciled(dsn, engine, at_exchange(server.exchange))
        ((orders, in_parts),) = rows(dsn, _TRADED)
        assert orders >= ALERTS // 10
        assert in_parts >= 1
    note(faults=day.met.total(), signals=ALERTS)


def _fill_in_parts(engine: LiveTradingEngine, day: Day, clock: Clock) -> None:
    """One lot at first; what is left of the order is there for the day's other alerts to meet."""
    day.thin(COPPER)
    engine.process_signal(day.signal("BASE_ENTRY", COPPER, "Long_1", clock))
    eventually(lambda: any(order.filled_lots for order in engine.portfolio.orders.values()), lambda: _shown(engine))
    day.move(COPPER)


def _tell(engine: LiveTradingEngine, day: Day, clock: Clock) -> None:
    day.trouble()
    answer = engine.process_signal(day.alert(clock, engine.portfolio))
    assert answer.kind is AnswerKind.DECIDED, answer
    # A moment for the dispatcher: mostly some of the orders are still on their way when the next alert comes.
    time.sleep(0.02)


def _resolve_what_never_came(engine: LiveTradingEngine, server: SteeredServer) -> None:
    """What an operator does who looks at the broker's own screen: of an order in doubt that is not there, he says so."""

    def lost() -> set[str]:
        doubted = [order for order in engine.portfolio.orders.values() if order.state is OrderState.IN_DOUBT]
        return {order.client_order_id for order in doubted} - at_exchange(server.exchange).ids.keys()

    missed = lost()
    if not missed:
        return
    # What hangs is done late; he looks again, and what he misses for the first time then may hang still.
    time.sleep(2 * HANG_SECONDS)
    for order_id in missed & lost():
        say_it_never_came(engine, order_id)


def _let_it_settle(engine: LiveTradingEngine, server: SteeredServer, day: Day, clock: Clock) -> None:
    """The broker behaves, the market gives what is wanted, and the dispatcher has its time."""
    server._troubles.clear()
    for instrument in PRICES:
        day.move(instrument)
    with dispatching_from(engine, server, clock):
        eventually(lambda: _is_over(engine, server, clock), lambda: _shown(engine))


def _is_over(engine: LiveTradingEngine, server: SteeredServer, clock: Clock) -> bool:
    # Limit orders have their time.
    clock.forward(seconds=1)
    _resolve_what_never_came(engine, server)
    return not engine.portfolio.orders


def _shown(engine: LiveTradingEngine) -> list[str]:
    orders = engine.portfolio.orders.values()
    return [f"{o.client_order_id} {o.state} {o.filled_lots}/{o.lots} {o.broker_order_id} {o.message}" for o in orders]


def eventually(holds: Callable[[], object], told: Callable[[], Any] = lambda: None, seconds: float = 60.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, told()
        time.sleep(0.01)
