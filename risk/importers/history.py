"""A broker's history, asked for through its adapter: whoever has this one method can be imported from."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Protocol

from risk.as_of import Bar
from risk.importers.told import Told
from risk.market_data import TIMEFRAMES

_PRICES = ("open", "high", "low", "close", "settlement", "volume", "open_interest")


class History(Protocol):
    """What an adapter offers that knows the past."""

    def bars(self, symbol: str, timeframe: str, since: datetime, until: datetime) -> Iterable[Bar]:
        """The symbol's bars, by the broker's name of it, that opened from `since` on and before `until` (aware), in order. May
        raise what the adapter raises."""


def bars_of_history(
    history: History,
    symbol: str,
    timeframe: str,
    since: datetime,
    until: datetime,
    *,
    now: datetime,
    expiry: date | None = None,
) -> Told:
    """The bars that it tells, as rows to be imported; a row's line is its place from 1. What lies outside is left out, and so is
    what is not over at `now` (aware): it will be another one."""
    given = list(history.bars(symbol, timeframe, since, until))
    within = [bar for bar in given if since <= bar.timestamp < until]
    own = [bar for bar in within if bar.timestamp + TIMEFRAMES[timeframe] <= now]
    told = rows_of(own, symbol, timeframe, expiry)
    told.left_out["outside what was asked for"] += len(given) - len(within)
    told.left_out["not over yet"] += len(within) - len(own)
    return told


def rows_of(bars: Sequence[Bar], symbol: str, timeframe: str, expiry: date | None = None) -> Told:
    """Bars in memory as rows to be imported."""
    import pyarrow as arrow

    def texts(values: Iterable[object]) -> "arrow.Array":
        return arrow.array([None if value is None else str(value) for value in values], arrow.string())

    columns = {
        "timestamp": texts(bar.timestamp.isoformat() for bar in bars),
        "symbol": texts(symbol for _ in bars),
        "timeframe": texts(timeframe for _ in bars),
        "expiry": texts(expiry for _ in bars),
        **{name: texts(getattr(bar, name) for bar in bars) for name in _PRICES},
    }
    return Told(columns, arrow.array(range(1, len(bars) + 1), arrow.int32()))
