"""`decide` alone, with a hundred open positions: microseconds a signal, and what a long history before it adds to them."""

import gc
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from bench.host import INSTRUMENT, Host
from bench.measure import Comparisons, in_turns
from core.config import default_instruments
from core.decide import decide as decided
from core.fingerprint import fingerprint_of
from core.inputs import Input, SignalInput, StartPortfolio
from core.models import PortfolioState, Signal, SignalType
from core.numbers import ZERO
from core.portfolio import Portfolio
from core.settings import Settings

OPEN = 100
HISTORY, QUICK_HISTORY = 50_000, 5_000
TARGET_MICROSECONDS = 30.0
FLAT_WITHIN = 1.2
_BARS_OF_A_TRADE = 8
# The last two are flat: entries are decided on one, what comes before on the other.
INSTRUMENTS = tuple(f"DECIDED_{number}" for number in range(OPEN + 2))
FLAT, BUSY = INSTRUMENTS[-2:]
_START = datetime(2020, 1, 1, tzinfo=UTC)
_CAPITAL, _PRICE = Decimal(500_000_000), 1000
_EACH, _TRIES = 500, 5


def decide(host: Host) -> Comparisons:
    """Of each kind of signal, and of an entry, eight bars and an exit on average: microseconds beside the target; and beside
    the same without the history."""
    found, signals = Comparisons("decide"), QUICK_HISTORY if host.quick else HISTORY
    short = holding_a_hundred()
    long = after_trades(short, signals)
    for number in range(-1, host.rounds):
        took = {name: _round(number, {"short": short, "long": long}, given) for name, given in kinds(long).items()}
        if number >= 0:
            _tell(found, took, signals)
    found.notes["open positions"] = len(long.positions)
    return found


def _tell(found: Comparisons, took: Mapping[str, Mapping[str, float]], signals: int) -> None:
    shares = {"an entry": 1, "a bar": _BARS_OF_A_TRADE, "an exit": 1}
    each = sum(took[name]["short"] * share for name, share in shares.items()) / sum(shares.values())
    found.add("each of a trade's", each, TARGET_MICROSECONDS, unit="us", limit="the target", target=1.0)
    for name, of_kind in took.items():
        found.add(name, of_kind["short"], TARGET_MICROSECONDS, unit="us", limit="the target", target=1.0)
        earlier = f"the same, {signals:,} signals earlier"
        found.add(name, of_kind["long"], of_kind["short"], unit="us", limit=earlier, target=FLAT_WITHIN)


def holding_a_hundred() -> Portfolio:
    """A portfolio with an open position in each of a hundred instruments."""
    settings = Settings.model_validate(
        {"instruments": {**default_instruments(), **dict.fromkeys(INSTRUMENTS, INSTRUMENT)}}
    )
    empty = PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO)
    portfolio = Portfolio(name="main", settings=settings, state=empty)
    portfolio = decided(portfolio, StartPortfolio(initial_capital=_CAPITAL), _START).portfolio.settled()
    for number, instrument in enumerate(INSTRUMENTS[:OPEN]):
        portfolio = _after(portfolio, an_entry(instrument, _START + timedelta(seconds=number)))
    if len(portfolio.positions) != OPEN:
        raise RuntimeError(f"{len(portfolio.positions)} positions are open, not {OPEN}")
    return portfolio


def after_trades(portfolio: Portfolio, signals: int) -> Portfolio:
    """The portfolio after so many signals that open, move and close one position after another."""
    for number in range(signals):
        step = (an_entry, *[_a_bar] * _BARS_OF_A_TRADE, _an_exit)[number % 10]
        portfolio = _after(portfolio, step(BUSY, _START + timedelta(hours=1, seconds=number)))
    return portfolio


def kinds(portfolio: Portfolio) -> dict[str, SignalInput]:
    """One signal of each kind, newer than all that the portfolio has seen."""
    held, at = INSTRUMENTS[OPEN // 2], _START + timedelta(days=365)
    found = {
        "a bar": _given(_a_bar(held, at)),
        "a bar of nothing held": _given(_a_bar(FLAT, at)),
        "an entry": _given(an_entry(FLAT, at)),
        "an entry that is rejected": _given(an_entry(held, at)),
        "an exit": _given(_an_exit(held, at)),
    }
    told = {name: decided(portfolio, given, given.received_at).outcome.status for name, given in found.items()}
    if [name for name, status in told.items() if status != "executed"] != ["an entry that is rejected"]:
        raise RuntimeError(f"not decided as it is meant: {told}")
    return found


def an_entry(instrument: str, at: datetime) -> Signal:
    """A base entry of a few lots."""
    return Signal(
        type=SignalType.BASE_ENTRY,
        instrument=instrument,
        layer="Long_1",
        price=Decimal(_PRICE),
        stop=Decimal(_PRICE - 1),
        atr=Decimal(1),
        er=Decimal("0.00001"),
        bar_time=at,
    )


def _a_bar(instrument: str, at: datetime) -> Signal:
    return Signal(
        type=SignalType.MARKET_DATA,
        instrument=instrument,
        price=Decimal(_PRICE) + Decimal("0.25"),
        atr=Decimal("1.05"),
        bar_time=at,
    )


def _an_exit(instrument: str, at: datetime) -> Signal:
    return Signal(type=SignalType.EXIT, instrument=instrument, layer="ALL", price=Decimal(_PRICE), bar_time=at)


def _given(signal: Signal) -> SignalInput:
    return SignalInput(signal=signal, fingerprint=fingerprint_of("main", signal), received_at=signal.time)


def _after(portfolio: Portfolio, signal: Signal) -> Portfolio:
    given = _given(signal)
    return decided(replace(portfolio, seq=1), given, given.received_at).portfolio.settled()


def _round(number: int, portfolios: Mapping[str, Portfolio], given: Input) -> dict[str, float]:
    took: dict[str, float] = {}
    short, long = portfolios["short"], portfolios["long"]
    in_turns(
        number,
        lambda: took.update(short=_microseconds(short, given)),
        lambda: took.update(long=_microseconds(long, given)),
    )
    return took


def _microseconds(portfolio: Portfolio, given: Input) -> float:
    """The quickest of a few tries, by this thread's own clock: what else runs on the machine is no part of it."""
    now = _START + timedelta(days=365)
    quickest = float("inf")
    gc.collect()
    for _ in range(_TRIES):
        begun = time.thread_time()
        for _ in range(_EACH):
            decided(portfolio, given, now)
        quickest = min(quickest, time.thread_time() - begun)
    return quickest / _EACH * 1_000_000
