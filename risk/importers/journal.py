"""Bars from the MARKET_DATA alerts that the engine's journal keeps: it is read, and nothing of it written.

An alert tells a bar's close and no more: a bar made of alerts is of their closes alone, without volume.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from book.journal_reading import last_seq, prices_between, seq_at
from risk.as_of import Bar
from risk.importers.history import rows_of
from risk.importers.told import Told
from risk.market_data import TIMEFRAMES

_PIECE = 10_000
_DAY = timedelta(days=1)


def bars_of_journal(session: Session, portfolio: str, instrument: str, timeframe: str, *, zone: ZoneInfo) -> Told:
    """The instrument's bars from the portfolio's alerts, in order. Of less than a day, each alert is one bar, of the chart's own
    length; a bar of a day or a week (from Monday on, in `zone`) is opened by the first close in it.

    What was refused told a price all the same, and counts.
    """
    return bars_since(session, portfolio, {instrument: zone}, timeframe)[instrument]


def bars_since(
    session: Session,
    portfolio: str,
    zones: Mapping[str, ZoneInfo],
    timeframe: str,
    *,
    since: Mapping[str, datetime] | None = None,
) -> dict[str, Told]:
    """The same of several instruments, in one reading of the journal; of each only bars that opened at `since` (aware) or later,
    where that is given: what was decided more than a day before the earliest of these is not read.
    """
    begins = since or {}
    last = last_seq(session, portfolio)
    after = seq_at(session, portfolio, min(begins.values()) - _DAY, last) if begins.keys() >= zones.keys() else 0
    closes: dict[str, dict[datetime, dict[datetime, Decimal]]] = {name: defaultdict(dict) for name in zones}
    for begin in range(after, last, _PIECE):
        for told in prices_between(session, portfolio, begin, min(begin + _PIECE, last), list(zones)):
            opened = _begin(told.time, timeframe, zones[told.instrument])
            if told.instrument not in begins or opened >= begins[told.instrument]:
                closes[told.instrument][opened].setdefault(told.time.astimezone(UTC), told.price)
    return {
        name: rows_of([_bar(begin, own) for begin, own in sorted(of.items())], name, timeframe)
        for name, of in closes.items()
    }


def _begin(time: datetime, timeframe: str, zone: ZoneInfo) -> datetime:
    """When the bar opened that a close is in."""
    if TIMEFRAMES[timeframe] < _DAY:
        return time.astimezone(UTC)
    day = time.astimezone(zone).date()
    if TIMEFRAMES[timeframe] > _DAY:
        day -= timedelta(days=day.weekday())
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _bar(begin: datetime, closes: dict[datetime, Decimal]) -> Bar:
    in_order = [closes[time] for time in sorted(closes)]
    return Bar(timestamp=begin, open=in_order[0], high=max(in_order), low=min(in_order), close=in_order[-1])
