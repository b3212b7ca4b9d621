"""What the charts are drawn from: closed equity as trades closed, an instrument's prices beside its layers."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from core.models import Position, PositionStatus
from core.numbers import ZERO
from live.api.queries import MAX_LIMIT
from live.ports import Engine

PRICES = 400
# Of many pages that draw the same, one asks the database.
SHARED_SECONDS = 3.0
MOST_SHARED = 64


class Shared:
    """What was made a moment ago is good enough for the next one who asks. Any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._made: dict[str, tuple[float, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gives, or gave lately."""
        now = self._clock()
        known = self._made.get(name)
        if known is not None and now - known[0] < SHARED_SECONDS:
            return known[1]
        made = make()
        with self._lock:
            self._made.pop(name, None)
            self._made[name] = (now, made)
            if len(self._made) > MOST_SHARED:
                del self._made[next(iter(self._made))]
        return made


def equity_curve(engine: Engine) -> dict[str, Any]:
    """Closed equity after each of the latest trades, and how far it was below its high, as numbers to draw.

    What was paid in or out counts as if it had always been so: equity is what trading made of it, as the drawdown is.
    `whole`: it goes back to the first trade. Raises DatabaseAway.
    """
    portfolio = engine.portfolio
    closed = engine.lists.positions(
        statuses=[PositionStatus.CLOSED.value], instrument=None, limit=MAX_LIMIT, before=None
    )
    state = portfolio.state
    begin = state.initial_capital + state.flows_total
    gains = _gains(closed, portfolio.positions.values())
    level = state.closed_equity - sum(gains.values(), ZERO)
    whole = len(closed) < MAX_LIMIT
    times, equity = _accumulated(gains, begin if whole else level)
    high = begin if whole else _high_before(equity, state.equity_high, level)
    return {"time": times, "equity": list(map(float, equity)), "drawdown": _drawdowns(equity, high), "whole": whole}


def _gains(closed: Iterable[Mapping[str, Any]], still_open: Iterable[Position]) -> dict[datetime, Decimal]:
    """What was realised when: of a position all at its last exit."""
    gains: dict[datetime, Decimal] = defaultdict(lambda: ZERO)
    for row in closed:
        gains[row["exit_timestamp"]] += row["realized_pnl"]
    for position in still_open:
        realized_at = position.exit_timestamp or position.rollover_timestamp
        if realized_at is not None and position.realized_pnl:
            gains[realized_at] += position.realized_pnl
    return gains


def _accumulated(gains: Mapping[datetime, Decimal], level: Decimal) -> tuple[list[float], list[Decimal]]:
    times, equity = [], []
    for closed_at in sorted(gains):
        level += gains[closed_at]
        times.append(closed_at.timestamp())
        equity.append(level)
    return times, equity


def _high_before(equity: Sequence[Decimal], high: Decimal, level: Decimal) -> Decimal:
    """The high that the first of the shown trades met, as far as it can be told: the one of all, where none of them made it."""
    return high if high > max(equity, default=level) else level


def _drawdowns(equity: Iterable[Decimal], high: Decimal) -> list[float]:
    falls = []
    for value in equity:
        high = max(high, value)
        falls.append(float((value - high) * 100 / high) if high > 0 else 0.0)
    return falls


def ladder(engine: Engine, instrument: str) -> dict[str, Any]:
    """The prices that an instrument's latest alerts told, and the layers that are open. Raises DatabaseAway."""
    rows = engine.lists.signals(statuses=None, instrument=instrument, limit=PRICES, before=None)
    prices: dict[float, float] = {}
    for row in rows:
        told, bar = (row["payload"] or {}).get("price"), row["bar_time"] or row["signal_timestamp"]
        if told is not None and bar is not None:
            prices.setdefault(bar.timestamp(), float(told))
    layers = [_layer(position) for position in engine.portfolio.positions_of(instrument)]
    for layer in layers:
        prices.setdefault(layer["marked"], layer["mark"])
    times = sorted(prices)
    return {"instrument": instrument, "time": times, "price": [prices[moment] for moment in times], "layers": layers}


def _layer(position: Position) -> dict[str, Any]:
    return {
        "layer": position.layer.replace("_", " "),
        "number": int(position.layer.rpartition("_")[2]),
        "lots": position.lots,
        "entered": position.entry_timestamp.timestamp(),
        "entry": float(position.entry_price),
        "initial_stop": _number(position.initial_stop),
        "stop": _number(position.current_stop),
        "mark": float(position.mark_price),
        "marked": position.mark_time.timestamp(),
    }


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
