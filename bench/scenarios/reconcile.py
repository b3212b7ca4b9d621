"""Ours beside the broker's positions, 1,000 of them: reconciled through the adapter, beside a bare fetch of the same book."""

import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import httpx
import msgspec
from msgspec.structs import replace

from bench.host import Host, a_child
from bench.measure import Comparisons, in_turns
from bench.openalgo import EXCHANGE
from bench.scenarios.manager import a_position
from bench.scenarios.orders import bare_client, post
from core.config import default_settings
from core.inputs import Freeze
from core.models import PortfolioState
from core.numbers import ZERO
from core.portfolio import Portfolio
from live.answers import Answer
from live.books import Market
from live.brokers.openalgo import OpenAlgoBroker
from live.brokers.settings import OpenAlgoSettings
from live.reconcile import FindingKind, Reconciler
from tests.openalgo_server import API_KEY

POSITIONS = 1000
_TIMES, _QUICK_TIMES = 30, 10


def holding(count: int) -> Portfolio:
    """A portfolio of so many positions, of one unit and an instrument each."""
    empty = PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO)
    portfolio = Portfolio(name="main", settings=default_settings(), state=empty)
    for number in range(count):
        position = a_position(f"R{number}-Long_1-{number:012x}")
        portfolio = portfolio.with_position(
            replace(position, instrument=f"R{number}", lots=1, entry_lots=1, quantity=Decimal(1), lot_size=Decimal(1))
        )
    return portfolio


def markets(count: int) -> dict[str, Market]:
    """Where each of them is traded: under its own name."""
    names = [f"R{number}" for number in range(count)]
    return {name: Market(symbol=name, exchange=EXCHANGE, units_per_lot=Decimal(1)) for name in names}


def reconcile(host: Host) -> Comparisons:
    """Milliseconds of one run; ours and the bare fetch in turns."""
    found = Comparisons("reconcile")
    portfolio = holding(POSITIONS)
    with ExitStack() as stack:
        server = a_child(host.folder, "-m", "bench.openalgo", "--hold", str(POSITIONS))
        url = stack.enter_context(server).rpartition(" ")[2]
        given = {"url": url, "api_key": API_KEY, "reads_per_second": 10_000}
        settings = OpenAlgoSettings.model_validate(given)
        broker = stack.enter_context(closing(OpenAlgoBroker(settings, lambda: datetime.now(UTC))))
        reconciler = Reconciler(broker, markets(POSITIONS), portfolio=lambda: portfolio, command=_nothing_differs)
        http = stack.enter_context(bare_client(url))
        for round_number in range(-1, host.rounds):
            ours, raw = list[float](), list[float]()
            for number in range(_QUICK_TIMES if host.quick else _TIMES):
                in_turns(number, partial(_reconciled, reconciler, ours), partial(_fetched, http, raw))
            if round_number >= 0:
                found.add_latencies(f"{POSITIONS:,} positions", ours, raw, limit="bare POST + JSON of the same book")
    return found


def _nothing_differs(command: Freeze) -> Answer:
    raise RuntimeError(f"something differs: {command}")


def _reconciled(reconciler: Reconciler, seconds: list[float]) -> None:
    begun = time.perf_counter()
    findings = reconciler.run()
    seconds.append(time.perf_counter() - begun)
    if [finding.kind for finding in findings] != [FindingKind.MATCHED] * POSITIONS:
        raise RuntimeError(f"not what both hold: {len(findings)} findings")


def _fetched(http: httpx.Client, seconds: list[float]) -> None:
    begun = time.perf_counter()
    rows = msgspec.json.decode(post(http, "positionbook").content)["data"]
    seconds.append(time.perf_counter() - begun)
    if len(rows) != POSITIONS:
        raise RuntimeError(f"{len(rows)} rows")
