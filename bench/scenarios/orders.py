"""From the decision to the broker: from the commit of an order's intent until the server of an OpenAlgo has the order.

All is as in `live` but for the alert's own way in: the writer, PostgreSQL, the dispatcher, the adapter, HTTP on loopback. An
order is kept as sent by one commit, an entry asks for one quote before, and the order is one POST: the limit is as many bare
commits and POSTs, one after another, up to the server's own note of the last one.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec

from bench import host as hosts
from bench.host import BareWriter, Document, Host, a_child
from bench.measure import Comparisons, in_turns
from bench.openalgo import EXCHANGE, PRICE
from bench.stories import Recorder
from core.alert import parse_alert
from core.config import ContractFiles
from core.db_state_manager import DatabaseStateManager
from core.events import OrderIntended
from core.fingerprint import fingerprint_of
from core.inputs import Input, OrderReport, SendOrder, SignalInput
from core.journal import Batch
from core.models import Signal
from core.orders import Fill, OrderPurpose, OrderState
from core.settings import Settings
from live.brokers.settings import BrokersSettings
from live.contracts_desk import ContractsDesk
from live.engine import LiveTradingEngine
from live.order_desk import order_desk
from tests.openalgo_server import API_KEY

INSTRUMENTS = tuple(f"BENCH_{number}" for number in range(16))
_INSTRUMENT = {**hosts.INSTRUMENT, "exchange": EXCHANGE, "margin_per_lot": "1"}
_RISKS = {"initial_risk_percent": "0.1", "initial_volatility_percent": "0.1"}
_START = datetime(2020, 1, 1, tzinfo=UTC)
# The dispatcher has been at rest so long when the next alert comes: what is measured is one order, not a crowd.
_PAUSE_SECONDS = 0.005
_WITHIN_SECONDS = 30.0
_NEVER_AGAIN = 600


class Writer(Protocol):
    """Keeps documents."""

    def write(self, document: Document) -> None:
        """Keep one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """An order that is measured: what it is called, and the bare commits and POSTs of which its limit consists."""

    name: str
    commits: int
    posts: tuple[str, ...]

    @property
    def limit(self) -> str:
        """What the limit is, in words."""
        posts = f"{len(self.posts)} POST{'s' if len(self.posts) > 1 else ''}"
        return f"{self.commits} bare commit{'s' if self.commits > 1 else ''} + {posts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How orders are sent in one part of the scenario, and which of them are told. A round has `cycles` cycles: an entry of
    each of `instruments`, then an exit of each."""

    entry: Figure | None = None
    exit: Figure | None = None
    stop_atr: str | None = None
    mode_check_seconds: int = _NEVER_AGAIN
    instruments: tuple[str, ...] = INSTRUMENTS
    cycles: int = 4


WAYS = (
    Way(
        entry=Figure(name="entry", commits=1, posts=("quotes", "placeorder")),
        exit=Figure(name="exit", commits=1, posts=("placeorder",)),
    ),
    # OpenAlgo is asked for its mode before an order where it was not for a few seconds: before most orders of a day.
    Way(
        entry=Figure(name="entry, mode asked", commits=1, posts=("quotes", "analyzer", "placeorder")),
        mode_check_seconds=0,
    ),
    # The stop that waits at the broker is cancelled, seen cancelled in its books, and that is kept, before anything is sold.
    Way(
        exit=Figure(
            name="exit past its stop", commits=2, posts=("cancelorder", "orderbook", "tradebook", "placeorder")
        ),
        stop_atr="1",
        # Each takes a second and more.
        instruments=INSTRUMENTS[:4],
        cycles=2,
    ),
)


def settings(stop_atr: str | None = None) -> Settings:
    """Settings under which each of the instruments is entered for little, and filled by a broker."""
    return Settings.model_validate(
        {
            "instruments": dict.fromkeys(INSTRUMENTS, _INSTRUMENT | _RISKS),
            "execution": {"fills": "broker", "legs": False, "stop_atr": stop_atr},
        }
    )


class Alerts:
    """Entries and exits at the same price, each with a bar of its own."""

    def __init__(self) -> None:
        self._seconds = itertools.count()

    def entry(self, instrument: str) -> Signal:
        """A base entry."""
        return self._alert({"type": "BASE_ENTRY", "position": "Long_1", "stop": PRICE - 10, "er": "0.82"}, instrument)

    def exit(self, instrument: str) -> Signal:
        """The exit of all."""
        return self._alert({"type": "EXIT", "position": "ALL", "reason": "bench"}, instrument)

    def _alert(self, fields: dict[str, Any], instrument: str) -> Signal:
        bar = (_START + timedelta(seconds=next(self._seconds))).isoformat()
        told = {"instrument": instrument, "bar_time": bar, "timestamp": _now().isoformat(), "price": PRICE, "atr": 10}
        return parse_alert(msgspec.json.encode({**told, **fields}), instruments=INSTRUMENTS, naive_timezone=UTC).signal


def orders(host: Host) -> Comparisons:
    """Orders one at a time, in turns with the limit of each."""
    found = Comparisons("orders")
    for way in WAYS:
        with ExitStack() as stack:
            # Each order is told of in the log, as always: in a file, for nobody reads it here.
            log = stack.enter_context((host.folder / "orders.log").open("a", encoding="utf-8"))
            stack.enter_context(redirect_stderr(log))
            server = ("-m", "bench.openalgo", "--quotes", ",".join(INSTRUMENTS))
            url = stack.enter_context(a_child(host.folder, *server)).rpartition(" ")[2]
            http = stack.enter_context(bare_client(url))
            bare = stack.enter_context(closing(BareWriter(host.database())))
            desk = stack.enter_context(_a_desk(host, url, way))
            _Pair(desk, Bare(http, bare), http).measure(found, way, host)
    found.notes["exit past its stop"] = (
        "it waits a second, on purpose: a fill of the stop may be on its way into the book"
    )
    return found


class _Pair:
    """Ours and the limit, order by order."""

    def __init__(self, desk: "_Desk", bare: "Bare", http: httpx.Client) -> None:
        self._desk, self._bare, self._http = desk, bare, http

    def measure(self, found: Comparisons, way: Way, host: Host) -> None:
        """All rounds of one way; the first is not told."""
        cycles = 1 if host.quick else way.cycles
        for round_number in range(-1, host.rounds):
            ours: dict[str, list[float]] = {"entry": [], "exit": []}
            raw: dict[str, list[float]] = {"entry": [], "exit": []}
            for _ in range(cycles):
                self._cycle(way, ours, raw)
            for kind, figure in (("entry", way.entry), ("exit", way.exit)):
                if figure is not None and round_number >= 0:
                    found.add_latencies(figure.name, ours[kind], raw[kind], limit=figure.limit)

    def _cycle(self, way: Way, ours: dict[str, list[float]], raw: dict[str, list[float]]) -> None:
        begun: dict[str, dict[str, float]] = {}
        for kind, figure in (("entry", way.entry), ("exit", way.exit)):
            self._bare.begun.clear()
            for number, instrument in enumerate(way.instruments):
                in_turns(
                    number,
                    partial(self._desk.order, kind, instrument),
                    partial(self._bare.order, kind, instrument, figure),
                )
            begun[kind] = dict(self._bare.begun)
        noted = post(self._http, "noted").json()["data"]
        for kind, name in (("entry", OrderPurpose.ENTRY), ("exit", OrderPurpose.EXIT)):
            ours[kind] += [noted[order] - at for order, at in self._desk.decided.pop(name).items()]
            raw[kind] += [noted[order] - at for order, at in begun[kind].items()]


class _Desk:
    """A running engine with its dispatcher; `decided` holds by purpose and order when its intent was committed."""

    def __init__(self, engine: LiveTradingEngine) -> None:
        self._engine, self._alerts = engine, Alerts()
        self._dispatch = engine.on_commit
        self.decided: dict[OrderPurpose, dict[str, float]] = {}
        engine.on_commit = self._committed

    def order(self, kind: str, instrument: str) -> None:
        """One alert, until its order is filled and nothing is on its way but stops that wait."""
        alert = self._alerts.entry(instrument) if kind == "entry" else self._alerts.exit(instrument)
        known = len(self._engine.portfolio.positions)
        answer = self._engine.deliver(alert)
        if answer.outcome.get("status") != "accepted":
            raise RuntimeError(f"an alert was not accepted: {answer}")
        wanted = known + (1 if kind == "entry" else -1)
        deadline = time.monotonic() + _WITHIN_SECONDS
        while not self._is_at_rest(wanted):
            if time.monotonic() > deadline:
                raise TimeoutError(f"what was sent of {instrument} was not filled: {self._engine.portfolio.orders}")
            time.sleep(_PAUSE_SECONDS)
        time.sleep(_PAUSE_SECONDS)

    def _is_at_rest(self, positions: int) -> bool:
        portfolio = self._engine.portfolio
        rest = all(order.rests and order.broker_order_id for order in portfolio.orders.values())
        return rest and len(portfolio.positions) == positions

    def _committed(self, batch: Batch) -> None:
        at = time.monotonic()
        self._dispatch(batch)
        for event in (event for entry in batch.entries for event in entry.decision.events):
            if isinstance(event, OrderIntended):
                self.decided.setdefault(event.order.purpose, {})[event.order.client_order_id] = at


@contextmanager
def _a_desk(host: Host, url: str, way: Way) -> Iterator[_Desk]:
    decides = settings(way.stop_atr)
    brokers = BrokersSettings.model_validate(
        {
            "use": "openalgo",
            # The rate limits are another matter: here each order may go at once.
            "openalgo": {
                "url": url,
                "api_key": API_KEY,
                "orders_per_second": 10_000,
                "reads_per_second": 10_000,
                "mode_check_seconds": way.mode_check_seconds,
            },
            "markets": {name: {"symbol": name, "exchange": EXCHANGE} for name in INSTRUMENTS},
            "limits": {"most_per_minute": 1_000_000},
        }
    )
    with DatabaseStateManager(host.database()) as manager:
        engine = LiveTradingEngine(manager, decides, clock=_now)
        engine.start()
        desk = order_desk(
            engine,
            decides,
            brokers,
            Path(host.folder) / "broker" / "main",
            clock=_now,
            may_send=lambda: engine.serving,
            contracts=ContractsDesk(ContractFiles(), decides, ()),
        )
        with desk as start:
            start()
            yield _Desk(engine)
        engine.stop()


class Bare:
    """The limit: the same rows by a bare connection, the same requests by a bare client, one after another."""

    def __init__(self, http: httpx.Client, bare: Writer) -> None:
        self._http, self._bare = http, bare
        self._recorder, self._alerts = Recorder(settings()), Alerts()
        self._numbers = itertools.count()
        # By the order's name when its first commit began.
        self.begun: dict[str, float] = {}
        bare.write(self._recorder.start())

    def order(self, kind: str, instrument: str, figure: Figure | None) -> None:
        """One order; where no figure is told of it, only its rows, for those that come after."""
        signal = self._alerts.entry(instrument) if kind == "entry" else self._alerts.exit(instrument)
        intended, *documents = self._documents(signal)
        self._bare.write(intended)
        if figure is not None:
            timed = [documents.pop(0) for _ in range(figure.commits)]
            self._timed(instrument, figure, timed)
        for document in documents:
            self._bare.write(document)

    def _timed(self, instrument: str, figure: Figure, documents: list[Document]) -> None:
        name = f"bare-{next(self._numbers)}"
        order = {
            "strategy": name,
            "symbol": instrument,
            "exchange": EXCHANGE,
            "action": "BUY",
            "product": "NRML",
            "quantity": "10",
            "pricetype": "LIMIT",
            "price": str(PRICE + 2),
            "trigger_price": "0",
        }
        known = ""
        if "cancelorder" in figure.posts:
            rests = {**order, "pricetype": "SL-M", "trigger_price": str(PRICE * 2), "strategy": "stop"}
            known = post(self._http, "placeorder", rests).json()["orderid"]
        fields = {
            "placeorder": order,
            "quotes": {"symbol": instrument, "exchange": EXCHANGE},
            "cancelorder": {"orderid": known, "strategy": "stop"},
        }
        self.begun[name] = time.monotonic()
        for document in documents:
            self._bare.write(document)
        for endpoint in figure.posts:
            post(self._http, endpoint, fields.get(endpoint, {}))

    def _documents(self, signal: Signal) -> list[Document]:
        """The rows of: the intent, that it is sent, that the broker has it, that it is filled."""
        now = _now()
        recorder = self._recorder
        known = recorder.portfolio.orders
        given = SignalInput(signal=signal, fingerprint=fingerprint_of("main", signal), received_at=now)
        documents = [recorder.document([(given, b"{}")])]
        (order,) = (order for name, order in recorder.portfolio.orders.items() if name not in known)
        fill = Fill(fill_id=f"F-{order.client_order_id}", lots=order.lots, price=Decimal(PRICE), filled_at=now)
        named = partial(OrderReport, client_order_id=order.client_order_id, broker_order_id=order.client_order_id[-30:])
        further: tuple[Input, ...] = (
            SendOrder(client_order_id=order.client_order_id, quote=Decimal(PRICE)),
            named(state=OrderState.SENT),
            named(fills=(fill,)),
            named(settled=True),
        )
        return documents + [recorder.document([(each, b"{}")]) for each in further]


def bare_client(url: str) -> httpx.Client:
    """The adapter's library, set up as the adapter does: a connection for each request."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=url, limits=limits, headers={"Connection": "close"}, trust_env=False)


def post(http: httpx.Client, endpoint: str, fields: dict[str, str] | None = None) -> httpx.Response:
    """One request. Raises httpx.HTTPError, also for an answer that is no success."""
    response = http.post(f"/api/v1/{endpoint}", json={"apikey": API_KEY, **(fields or {})})
    return response.raise_for_status()


def _now() -> datetime:
    return datetime.now(UTC)
