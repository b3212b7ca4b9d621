"""Bars from the MARKET_DATA alerts that the engine's journal keeps: it is read, and nothing of it written.

An alert tells a bar's close and no more: a bar made of alerts is of their closes alone, without volume.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from book.journal_reading import last_seq, signals_between
from risk.as_of import Bar
from risk.importers.history import rows_of
from risk.importers.told import Told
from risk.market_data import TIMEFRAMES

_PIECE = 10_000
_DAY = timedelta(days=1)


def bars_of_journal(
    session: Session, portfolio: str, instrument: str, timeframe: str, *, zone: ZoneInfo, after_seq: int = 0
) -> Told:
    """The instrument's bars from the alerts behind an entry, in order. Of less than a day, each alert is one bar, of the chart's
    own length; a bar of a day or a week (from Monday on, in `zone`) is opened by the first close in it.

    What was refused told a price all the same, and counts.
    """
    closes: dict[datetime, dict[datetime, Decimal]] = defaultdict(dict)
    last = last_seq(session, portfolio)
    for begin in range(after_seq, last, _PIECE):
        for signal in signals_between(session, portfolio, begin, min(begin + _PIECE, last)):
            told = _close_of(signal["input"], instrument)
            if told is not None:
                time, close = told
                closes[_begin(time, timeframe, zone)].setdefault(time, close)
    return rows_of([_bar(begin, own) for begin, own in sorted(closes.items())], instrument, timeframe)


def _close_of(document: dict[str, Any], instrument: str) -> tuple[datetime, Decimal] | None:
    """When the alert's bar opened, else when it fired, and what it cost at its close."""
    signal: dict[str, Any] = document.get("signal", document)
    if signal.get("type") != "MARKET_DATA" or signal.get("instrument") != instrument:
        return None
    time = datetime.fromisoformat(signal.get("bar_time") or signal["timestamp"])
    return time.astimezone(UTC), Decimal(str(signal["price"]))


def _begin(time: datetime, timeframe: str, zone: ZoneInfo) -> datetime:
    """When the bar opened that a close is in."""
    if TIMEFRAMES[timeframe] < _DAY:
        return time
    day = time.astimezone(zone).date()
    if TIMEFRAMES[timeframe] > _DAY:
        day -= timedelta(days=day.weekday())
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _bar(begin: datetime, closes: dict[datetime, Decimal]) -> Bar:
    in_order = [closes[time] for time in sorted(closes)]
    return Bar(timestamp=begin, open=in_order[0], high=max(in_order), low=min(in_order), close=in_order[-1])
