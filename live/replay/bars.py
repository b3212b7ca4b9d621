"""Bars of a chart, as TradingView exports them, with the average true range and the efficiency ratio of their closes."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from core.alert import canonical_payload
from core.indicators import AverageTrueRange, EfficiencyRatio
from core.models import Signal, SignalType
from core.numbers import exactly
from core.strict_json import shown
from live.replay.lines import bad_file
from live.replay.model import Recorded
from live.replay.table import Row, read_table

_NAMES = ("time", "open", "high", "low", "close")
_COLUMNS = {name: re.compile(name, re.IGNORECASE) for name in _NAMES}
_UNIX_SECONDS = re.compile(r"\d{1,10}", re.ASCII)
_UNIX_MILLISECONDS = re.compile(r"\d{12,13}", re.ASCII)
_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII | re.IGNORECASE
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS = range(1970, 2101)


class Bar(Struct, frozen=True, kw_only=True):
    """One bar: prices and ATR in points, `time` (aware UTC) when it opened, ER 0..1; None before there are enough bars."""

    time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    atr: Decimal | None
    er: Decimal | None
    line: int


def read_bars(path: Path, *, instrument: str, timezone: tzinfo, atr_length: int = 14, er_length: int = 10) -> list[Bar]:
    """The bars of `path` with ATR and ER of their closes. A time without an offset is of `timezone`.

    Raises BadFile; it names `instrument` where the file holds no bars of it.
    """
    if atr_length < 1 or er_length < 1:
        raise ValueError(f"a length must be at least 1 bar, not {atr_length} and {er_length}")
    bars = _with_indicators(_plain_bars(path, timezone), atr_length, er_length)
    if not bars:
        raise bad_file(path, 1, f"no bars of {instrument} below the header")
    return bars


def market_data_of(bars: Iterable[Bar], instrument: str) -> list[Recorded]:
    """MARKET_DATA for each bar's close. Bars without an ATR above 0, which MARKET_DATA must carry, are left out."""
    return [_market_data(bar, instrument, bar.atr) for bar in bars if bar.atr]


def atr_at(bars: Sequence[Bar], time: datetime) -> Decimal | None:
    """The ATR of the bar of that time, else of the last one before it; None where there is none yet."""
    bar = _bar_at(bars, time)
    return None if bar is None else bar.atr


def er_at(bars: Sequence[Bar], time: datetime) -> Decimal | None:
    """The ER of the bar of that time, else of the last one before it; None where there is none yet."""
    bar = _bar_at(bars, time)
    return None if bar is None else bar.er


def _bar_at(bars: Sequence[Bar], time: datetime) -> Bar | None:
    behind = bisect_right(bars, time, key=lambda bar: bar.time)
    return bars[behind - 1] if behind else None


def _market_data(bar: Bar, instrument: str, atr: Decimal) -> Recorded:
    signal = Signal(
        type=SignalType.MARKET_DATA, instrument=instrument, price=bar.close, atr=atr, er=bar.er, bar_time=bar.time
    )
    return Recorded(signal=signal, payload=canonical_payload(signal), line=bar.line)


# --- what is computed ---------------------------------------------------------------------------------------------


@exactly
def _with_indicators(rows: Iterable[Bar], atr_length: int, er_length: int) -> list[Bar]:
    average, efficiency = AverageTrueRange(atr_length), EfficiencyRatio(er_length)
    bars = []
    for bar in rows:
        atr, er = average.after(bar.high, bar.low, bar.close), efficiency.after(bar.close)
        bars.append(replace(bar, atr=atr, er=er))
    return bars


# --- what is read -------------------------------------------------------------------------------------------------


def _plain_bars(path: Path, timezone: tzinfo) -> Iterator[Bar]:
    before: datetime | None = None
    for row in read_table(path, _COLUMNS):
        bar = _bar(row, timezone)
        if before is not None and bar.time <= before:
            raise row.refused(f"unsorted: the bar of {bar.time.isoformat()} after that of {before.isoformat()}")
        before = bar.time
        yield bar


def _bar(row: Row, timezone: tzinfo) -> Bar:
    time = _time(row, timezone)
    first, high, low, last = (row.price(name) for name in _NAMES[1:])
    if not (low <= min(first, last) and max(first, last) <= high):
        rule = f"open {first:f} and close {last:f} must lie from low {low:f} to high {high:f}"
        raise row.refused(rule)
    return Bar(time=time, open=first, high=high, low=low, close=last, atr=None, er=None, line=row.line)


def _time(row: Row, timezone: tzinfo) -> datetime:
    text = row.text("time")
    if _UNIX_SECONDS.fullmatch(text):
        time = _EPOCH + timedelta(seconds=int(text))
    elif _ISO.fullmatch(text):
        time = _iso(row, text, timezone)
    else:
        hint = ": milliseconds? Give seconds" if _UNIX_MILLISECONDS.fullmatch(text) else ""
        raise row.refused(f"`time` must be Unix seconds or ISO 8601, not {shown(text)}{hint}")
    if time.year not in _YEARS:
        raise row.refused(f"`time` {shown(text)} is not of the years 1970 to 2100")
    return time


def _iso(row: Row, text: str, timezone: tzinfo) -> datetime:
    try:
        time = datetime.fromisoformat(text.upper())
        return (time if time.tzinfo else time.replace(tzinfo=timezone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise row.refused(f"`time` {shown(text)} is no time that exists") from None
