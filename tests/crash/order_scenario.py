"""A small story of orders, the worlds it is told in, and a child process that is killed at the N-th step of telling it.

Run as `python -m tests.crash.order_scenario` it is a zygote: imported once, it forks a child for each line of its stdin,
`{"dsn": ..., "broker": "openalgo" | "paper", "at": ..., "kill_at": N}` and perhaps `"protected"` or `"legs"`, and answers
`{"told": [...], "answered": A, "killed": true}` when the child is gone, with the labels of its steps if it was not killed.
A step is a statement or a COMMIT, before and after, and a call to the broker: before it is sent, once it is sent and nothing
of its answer is read, and once its answer is read. Beside the paper broker it is each statement to its book instead.
"""

import json
import os
import sqlite3
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg2

from core.decide.follow import LEG_LEFT
from core.models import Side, Signal
from core.orders import Order, OrderState
from core.postgres.journal_stream import journal_stream
from core.settings import Settings
from live.answers import AnswerKind
from live.books import Market
from live.brokers.openalgo import OpenAlgoBroker
from live.brokers.paper import PaperBroker
from live.brokers.port import Broker, BrokerOrderState
from live.brokers.settings import OpenAlgoSettings, PaperSettings
from live.contract_markets import ContractMarkets
from live.dispatcher import Dispatcher
from live.engine import LiveTradingEngine
from live.outbox import Outbox
from live.verify import verify
from tests.builders import a_signal, minutes, mirrored, settings_with
from tests.contracts import a_contracts_desk
from tests.crash.scenario import Database, Steps, counted_files
from tests.crash.zygote import fork_children
from tests.engines import Clock, an_engine, rows_as_portfolio, without_waiting
from tests.misbehaving_server import Trouble
from tests.openalgo_server import API_KEY, OpenAlgoServer
from tests.queries import rows
from tests.simulated_exchange import LIVE, Resting, SimulatedExchange

NOW = minutes(20)
TRY_SECONDS = 300
# The clock moves with the paper broker's fills: an entry of the story is not old before it is moved by hours.
# A limit order has five minutes, and is then tried once more, at market.
EXECUTION = {"fills": "broker", "stop_atr": None, "tries": 1, "seconds_per_try": TRY_SECONDS}
TIMING = {"max_entry_age_seconds": 3600}
SETTINGS = without_waiting(settings_with(execution=EXECUTION, timing=TIMING))
# The same with a stop at the broker for whatever is open.
PROTECTED = without_waiting(settings_with(execution={**EXECUTION, "stop_atr": 1}, timing=TIMING))
BANK, GOLD, SILVER, COPPER = "BANK_NIFTY", "GOLD_MINI", "SILVER_MINI", "COPPER"
CLOSED = 0
TURN_SECONDS = 10.0
_ENDED = (BrokerOrderState.FILLED, BrokerOrderState.CANCELLED, BrokerOrderState.REJECTED)


@dataclass(frozen=True, kw_only=True)
class Move:
    """The market trades at `price` and gives no order more than `most` lots: all it wants, where that is None."""

    instrument: str
    price: int
    most: int | None = None


@dataclass(frozen=True)
class Turns:
    """The dispatcher gets so many turns."""

    count: int


@dataclass(frozen=True)
class Later:
    """Time goes by."""

    seconds: float


@dataclass(frozen=True)
class Settled:
    """The dispatcher gets turns until nothing more is to come of the instrument's orders."""

    instrument: str


Part = Signal | Move | Turns | Later | Settled


def story() -> list[Part]:
    """Filled at once; partly, and left before the rest came; not at all, and left; sold with its pyramid; in two parts,
    the second one by another try. In the end two lots of silver are sold short and two of copper are held."""
    gold: dict[str, Any] = {"instrument": GOLD, "price": 72000, "stop": 71500, "atr": 500}
    silver: dict[str, Any] = {"instrument": SILVER, "price": 90000, "layer": "Short_1", "stop": 91800, "atr": 900}
    return [
        Move(instrument=BANK, price=52000),
        a_signal(timestamp=minutes(16)),
        Settled(BANK),
        Move(instrument=GOLD, price=72000, most=1),
        a_signal(**gold, timestamp=minutes(16.1)),
        Turns(3),
        a_signal("EXIT", **{**gold, "stop": None}, timestamp=minutes(17)),
        Settled(GOLD),
        Move(instrument=SILVER, price=90000, most=CLOSED),
        a_signal(**silver, timestamp=minutes(17.2)),
        Turns(1),
        a_signal("EXIT", **{**silver, "stop": None}, timestamp=minutes(17.3)),
        Settled(SILVER),
        Move(instrument=BANK, price=53000),
        a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(17.4)),
        Settled(BANK),
        Move(instrument=SILVER, price=90000),
        a_signal(**silver, timestamp=minutes(17.5)),
        Settled(SILVER),
        a_signal("EXIT", layer="ALL", price=53000, timestamp=minutes(18)),
        Settled(BANK),
        Move(instrument=COPPER, price=830, most=1),
        a_signal(instrument=COPPER, price=830, stop=824, atr="1.5", timestamp=minutes(18.2)),
        Turns(3),
        Later(TRY_SECONDS),
        Turns(3),
        Move(instrument=COPPER, price=830),
        Settled(COPPER),
        # A stop that has to be larger by now is made so.
        Turns(3),
    ]


SIGNALS = sum(isinstance(part, Signal) for part in story())
HELD_IN_THE_END = {SILVER: Decimal(-10), COPPER: Decimal(5000)}


# The options of the strikes near 52000 and 53000.
CALL, PUT, CALL_ABOVE, PUT_ABOVE = (
    f"BANKNIFTY27JAN26{option}" for option in ("52000CE", "52000PE", "53000CE", "53000PE")
)
CONTRACTS = a_contracts_desk(BANK)
IN_CONTRACTS = ContractMarkets({BANK: "NFO"}, lambda _: False)


def story_in_legs() -> list[Part]:
    """In calls and puts: a short that is left while its second leg works, and so undone; an entry in two tries, a pyramid,
    and both sold."""
    return [
        Move(instrument=PUT, price=800),
        Move(instrument=CALL, price=800, most=CLOSED),
        mirrored(a_signal(timestamp=minutes(15)), Side.SHORT),
        Turns(4),
        a_signal("EXIT", layer="Short_1", timestamp=minutes(15.5)),
        Settled(BANK),
        Move(instrument=CALL, price=800, most=1),
        Move(instrument=CALL_ABOVE, price=800),
        Move(instrument=PUT_ABOVE, price=800),
        a_signal(timestamp=minutes(16)),
        Turns(4),
        Later(TRY_SECONDS),
        Settled(BANK),
        a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(17)),
        Settled(BANK),
        Move(instrument=CALL, price=800),
        a_signal("EXIT", layer="ALL", price=53000, timestamp=minutes(17.5)),
        Settled(BANK),
    ]


def market_of(symbol: str) -> Market:
    """Instruments are their own symbols, but for BANK_NIFTY's options."""
    instrument = symbol if symbol in SETTINGS.instruments else BANK
    exchange = "NFO" if instrument == BANK else "MCX"
    return Market(symbol=symbol, exchange=exchange, units_per_lot=SETTINGS.instruments[instrument].lot_size)


# --- the brokers


class SteeredExchange(SimulatedExchange):
    """An exchange that gives no order of a symbol more than `most` units."""

    def __init__(self) -> None:
        super().__init__()
        self.most: dict[str, Decimal] = {}

    def steer(self, symbol: str, price: Decimal, most: Decimal | None) -> None:
        """Move the market; said again it changes nothing."""
        with self.lock:
            self.most.pop(symbol, None)
            if most is not None:
                self.most[symbol] = most
            self.set_quote(symbol, price)

    def match(self, order: Resting) -> None:
        """Fill what the market gives."""
        most = self.most.get(order.symbol)
        if most is None:
            super().match(order)
        elif order.filled < most:
            self.parts.append(most - order.filled)
            super().match(order)
            self.parts.clear()


class SteeredServer(OpenAlgoServer):
    """OpenAlgo with one endpoint more, by which the child moves the market."""

    def __init__(self) -> None:
        super().__init__()
        self.exchange: SteeredExchange = SteeredExchange()

    def _market(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        most = fields["most"]
        self.exchange.steer(fields["symbol"], Decimal(fields["price"]), None if most is None else Decimal(most))
        return {}


def openalgo(url: str, **changes: Any) -> OpenAlgoBroker:
    """The adapter, as patient as a test."""
    given = {"read_seconds": "5", "connect_seconds": "2", "orders_per_second": 1000, "reads_per_second": 10000}
    settings = OpenAlgoSettings.model_validate({"url": url, "api_key": API_KEY, **given, **changes})
    return OpenAlgoBroker(settings, lambda: datetime.now(UTC), pause=lambda _: time.sleep(0.001))


def paper(file: Path, clock: Clock) -> PaperBroker:
    """Fills that take their time, in two parts of whole lots."""
    settings = PaperSettings(
        latency_seconds=Decimal(20),
        fill_fractions=(Decimal("0.5"), Decimal("0.5")),
        seconds_between_fills=Decimal(20),
    )
    return PaperBroker(file, settings, clock, lambda symbol, _: market_of(symbol).units_per_lot)


def units(move: Move) -> Decimal | None:
    """The most that an order gets, in the broker's units."""
    return None if move.most is None else move.most * market_of(move.instrument).units_per_lot


# --- telling


@dataclass(kw_only=True)
class Desk:
    """An engine, its dispatcher, which turns when it is told to, and how the market is moved."""

    engine: LiveTradingEngine
    dispatcher: Dispatcher
    clock: Clock
    move: Callable[[Move], None]
    pause: float = 0.0
    at_broker: "Callable[[], AtBroker] | None" = None
    resolved: int = 0

    def turn(self) -> None:
        """One turn, and its time."""
        self.dispatcher.turn()
        self.clock.forward(seconds=TURN_SECONDS)
        time.sleep(self.pause)

    def settle(self, instruments: set[str], seconds: float = 20.0) -> None:
        """Turns, until nothing more is to come of their orders."""
        deadline = time.monotonic() + seconds
        while left := [order for order in unsettled(self.engine) if order.instrument in instruments]:
            assert time.monotonic() < deadline, f"stuck: {left}"
            self.turn()
            self.resolve_what_never_came()

    def resolve_what_never_came(self) -> None:
        """What an operator does who looks at the broker's own screen: of an order in doubt that is not there, he says so."""
        if self.at_broker is None:
            return
        orders = self.engine.portfolio.orders.values()
        doubted = {order.client_order_id for order in orders if order.state is OrderState.IN_DOUBT}
        for order_id in doubted - self.at_broker().ids.keys():
            say_it_never_came(self.engine, order_id)
            self.resolved += 1

    def tell(self, part: Part) -> None:
        """One part of the story."""
        match part:
            case Move():
                self.move(part)
            case Turns():
                for _ in range(part.count):
                    self.turn()
            case Later():
                self.clock.forward(seconds=part.seconds)
            case Settled():
                self.settle({part.instrument})
            case _:
                answer = self.engine.process_signal(part)
                assert answer.kind in (AnswerKind.DECIDED, AnswerKind.DUPLICATE), answer


def say_it_never_came(engine: LiveTradingEngine, order_id: str) -> None:
    """As an operator does of an order in doubt that the broker does not have."""
    answer = engine.resolve(
        order_id, OrderState.CANCELLED, lots=0, price=None, broker_order_id=None, request_id=f"{order_id} never came"
    )
    assert answer.kind is AnswerKind.DECIDED, answer


def unsettled(engine: LiveTradingEngine) -> list[Order]:
    """The orders of which more is to come now: a stop may wait for ever, once the broker has it as it is to be."""
    orders = engine.portfolio.orders.values()
    return [order for order in orders if not order.rests or not order.broker_order_id or order.cancel_asked]


@contextmanager
def a_desk(
    dsn: str,
    broker: Broker,
    move: Callable[[Move], None],
    *,
    clock: Clock,
    shows_within: float = 0.5,
    pause: float = 0.005,
    settings: Settings = SETTINGS,
    legs: bool = False,
) -> Iterator[Desk]:
    """Engine and dispatcher on a database and a broker that may have a past; with `legs` BANK_NIFTY is calls and puts."""
    contracts: dict[str, Any] = {"contracts_on": CONTRACTS.document_on} if legs else {}
    with an_engine(dsn, settings=settings, clock=clock, instance_id="crash", **contracts) as engine:

        def market(order: Order) -> Market:
            return IN_CONTRACTS.of_order(order) or market_of(order.instrument)

        outbox = Outbox(engine, broker, market_of=market, clock=clock)
        dispatcher = Dispatcher(outbox, shows_within=shows_within, read_every=0.0)
        yield Desk(engine=engine, dispatcher=dispatcher, clock=clock, move=move, pause=pause)


# --- the proof


@dataclass(kw_only=True)
class AtBroker:
    """What a broker has of us: its ids and units filled by our ids, what is live, what is held by symbol."""

    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    filled: Counter[str] = field(default_factory=Counter)
    live: list[str] = field(default_factory=list)
    held: dict[str, Decimal] = field(default_factory=dict)


def at_exchange(exchange: SimulatedExchange) -> AtBroker:
    """Of the fake broker. It was told our ids as tags; its book never shows them."""
    found = AtBroker()
    with exchange.lock:
        for order in exchange.orders.values():
            found.ids[order.tag].append(order.order_id)
        found.live = [order.tag for order in exchange.orders.values() if order.status in LIVE]
        for trade in exchange.trades:
            found.filled[trade.order.tag] += trade.quantity
        found.held = {symbol: quantity for (symbol, *_), quantity in exchange.positions().items() if quantity}
    return found


def at_paper(broker: PaperBroker) -> AtBroker:
    """Of the paper broker's book."""
    found, ours = AtBroker(), {}
    for order in broker.orders():
        ours[order.broker_order_id] = order.client_order_id or "nobody's"
        found.ids[ours[order.broker_order_id]].append(order.broker_order_id)
        if order.state not in _ENDED:
            found.live.append(ours[order.broker_order_id])
    for fill in broker.fills():
        found.filled[ours[fill.broker_order_id]] += fill.quantity
    found.held = {position.symbol: position.quantity for position in broker.positions()}
    return found


def require_reconciled(dsn: str, engine: LiveTradingEngine, broker: AtBroker) -> None:
    """No intent twice at the broker and none forgotten; fills, positions, rows, memory and journal say the same.

    What was bought for a first leg, and could not be undone, is told: entries of its instrument are frozen.
    """
    kept = {row[0]: row[1:] for row in rows(dsn, _ORDERS)}
    twice = {tag: ids for tag, ids in broker.ids.items() if len(ids) > 1}
    assert not twice, f"sent twice: {twice}"
    assert broker.ids.keys() <= kept.keys(), "an order at the broker is nobody's"
    for order_id, (instrument, state, settled, broker_order_id, filled_lots, message, booked) in kept.items():
        told = f"{order_id} {instrument}: {state}, {filled_lots} lots, {message!r}"
        waits = order_id in engine.portfolio.orders and engine.portfolio.orders[order_id].rests
        assert settled or waits, f"forgotten: {told}"
        if order_id in broker.ids:
            assert [broker_order_id] == broker.ids[order_id], f"taken for another one: {told}"
        else:
            assert state in ("cancelled", "rejected"), f"never sent: {told}"
            assert message, f"never sent, without a reason: {told}"
        lot = SETTINGS.instruments[instrument].lot_size
        assert filled_lots == booked, f"rows of fills: {told}"
        assert filled_lots * lot == broker.filled[order_id], f"the broker filled {broker.filled[order_id]}: {told}"
    resting = {order.client_order_id for order in engine.portfolio.orders.values() if order.rests}
    assert set(broker.live) == resting, "live at the broker"
    require_protected(engine)
    left = left_of_legs(dsn)
    assert not left or str(engine.portfolio.pyramiding_of(BANK).frozen_reason).endswith(LEG_LEFT)
    held = held_by(engine)
    both = {symbol: held.get(symbol, Decimal(0)) + left.get(symbol, Decimal(0)) for symbol in held.keys() | left.keys()}
    assert {symbol: quantity for symbol, quantity in both.items() if quantity} == broker.held
    assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")


def require_protected(engine: LiveTradingEngine) -> None:
    """Where there are to be stops, each position has one, as large as it is."""
    if engine.portfolio.settings.execution.stop_atr is None:
        return
    stops = {order.position_id: order.lots for order in engine.portfolio.orders.values() if order.rests}
    assert stops == {position.position_id: position.lots for position in engine.portfolio.positions.values()}


_ORDERS = """
    SELECT client_order_id, instrument, state, settled, broker_order_id, filled_lots, message,
           (SELECT coalesce(sum(lots), 0) FROM fills WHERE fills.client_order_id = orders.client_order_id)
    FROM orders
"""


def left_of_legs(dsn: str) -> dict[str, Decimal]:
    """What of the undone first legs was not sold again, by symbol."""
    told = "SELECT symbol, sum((lots - filled_lots) * lot_size) FROM orders WHERE purpose = 'undo' GROUP BY symbol"
    return {symbol: quantity for symbol, quantity in rows(dsn, told) if quantity}


def held_by(engine: LiveTradingEngine) -> dict[str, Decimal]:
    """What the engine believes to hold, by symbol."""
    held: dict[str, Decimal] = defaultdict(Decimal)
    for position in engine.portfolio.positions.values():
        markets = list(IN_CONTRACTS.held_as(position)) or [(market_of(position.instrument), 1)]
        for market, sign in markets:
            held[market.symbol] += sign * position.side.sign * position.quantity
    return {symbol: quantity for symbol, quantity in held.items() if quantity}


# --- the child


class LabelledSteps(Steps):
    """Steps that tell what they were."""

    def __init__(self, kill_at: int) -> None:
        super().__init__(kill_at)
        self.labels: list[str] = []

    def step(self, label: str = "database") -> None:
        """One more."""
        self.labels.append(label)
        super().step()


def count_calls(broker: OpenAlgoBroker, steps: LabelledSteps) -> None:
    """Each request is three steps: before it, once it has gone out whole, and once its answer was read."""
    wire = broker._wire
    send = wire.send

    def before(request: httpx.Request) -> None:
        endpoint = request.url.path.rpartition("/")[2]
        steps.step(f"{endpoint} before")

        def traced(event: str, _: dict[str, Any]) -> None:
            if event == "http11.send_request_body.complete":
                steps.step(f"{endpoint} sent")

        request.extensions["trace"] = traced

    def counted(endpoint: str, fields: Any) -> Any:
        try:
            return send(endpoint, fields)
        finally:
            steps.step(f"{endpoint} answered")

    wire._http.event_hooks = {"request": [before]}
    wire.send = counted  # type: ignore[method-assign]


def child(request: dict[str, Any], report: int) -> None:
    """Tell the whole story; each part that was told is noted in `report` before the next one."""
    steps, clock = LabelledSteps(request["kill_at"]), Clock(NOW)
    psycopg2.connect = Database(steps).connect
    with ExitStack() as stack:
        broker, move = _of_child(request, steps, clock)
        stack.callback(broker.close)
        settings = PROTECTED if request.get("protected") else SETTINGS
        legs = bool(request.get("legs"))
        desk = stack.enter_context(
            a_desk(request["dsn"], broker, move, clock=clock, pause=0.0, settings=settings, legs=legs)
        )
        for part in story_in_legs() if legs else story():
            desk.tell(part)
            if isinstance(part, Signal):
                os.write(report, b".")
    os.write(report, json.dumps(steps.labels).encode())


def _of_child(
    request: dict[str, Any], steps: LabelledSteps, clock: Clock
) -> tuple[OpenAlgoBroker | PaperBroker, Callable[[Move], None]]:
    if request["broker"] == "openalgo":
        broker = openalgo(request["at"])
        count_calls(broker, steps)
        return broker, lambda move: move_market(request["at"], move.instrument, Decimal(move.price), units(move))
    open_file, counted = sqlite3.connect, counted_files(_Labelled(steps, "book"))
    sqlite3.connect = lambda *given, **options: open_file(*given, **options, factory=counted)
    book = paper(Path(request["at"]), clock)
    return book, lambda move: move_paper(book, move, clock)


class _Labelled(Steps):
    """Steps of another counter, under a name."""

    def __init__(self, steps: LabelledSteps, label: str) -> None:
        super().__init__(0)
        self._steps, self._label = steps, label

    def step(self) -> None:
        """One more."""
        self._steps.step(self._label)


def move_paper(broker: PaperBroker, move: Move, clock: Clock) -> None:
    """Show the market; how much it gives is the paper broker's own setting."""
    market = market_of(move.instrument)
    broker.quote_seen(market.symbol, market.exchange, Decimal(move.price), clock())


def move_market(url: str, symbol: str, price: Decimal, most: Decimal | None = None) -> None:
    """The server's market trades at `price` and gives no order more than `most` units: all it wants, where that is None."""
    told = None if most is None else str(most)
    body = {"apikey": API_KEY, "symbol": symbol, "price": str(price), "most": told}
    request = urllib.request.Request(f"{url}/api/v1/market", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


if __name__ == "__main__":
    fork_children(child)
