"""OpenAlgo's history: its intervals, how much is asked for at once, and its rows as bars."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from live.brokers.openalgo_rows import KOLKATA, Row, UnreadableRow, number
from live.brokers.port import BrokerBar

_INTERVALS = {"1d": "D", "1w": "W"}
_ONE_DAY = timedelta(days=1)
# The brokers behind it answer no more of minutes at once than some sixty days, of days some years.
_DAYS_OF_MINUTES = 30
_DAYS_OF_DAYS = 365
_MILLISECONDS_FROM = 10**11


def interval_of(timeframe: str) -> str:
    """OpenAlgo's name of a timeframe. Which of them there are, the broker behind it says."""
    return _INTERVALS.get(timeframe, timeframe)


def spans(timeframe: str, first: date, last: date) -> Iterator[tuple[date, date]]:
    """The days from first to last, in spans that are asked for one after the other."""
    most = timedelta(days=_DAYS_OF_DAYS if timeframe in _INTERVALS else _DAYS_OF_MINUTES)
    while first <= last:
        end = min(last, first + most - _ONE_DAY)
        yield first, end
        first = end + _ONE_DAY


def bars_of(rows: Iterable[Row]) -> list[BrokerBar]:
    """The rows as bars, in order. One that is there twice counts once; raises UnreadableRow where it says two things."""
    found: dict[datetime, BrokerBar] = {}
    for row in rows:
        bar = _bar(row)
        if found.setdefault(bar.opened, bar) != bar:
            raise UnreadableRow(f"two bars of {bar.opened.isoformat()} differ")
    return [found[opened] for opened in sorted(found)]


def _bar(row: Row) -> BrokerBar:
    return BrokerBar(
        opened=_time(row.get("timestamp")),
        open=number(row, "open"),
        high=number(row, "high"),
        low=number(row, "low"),
        close=number(row, "close"),
        volume=_told(row, "volume"),
        # OpenAlgo writes 0 where the broker behind it tells none.
        open_interest=_told(row, "oi") or None,
    )


def _told(row: Row, name: str) -> Decimal | None:
    return None if row.get(name) in (None, "") else number(row, name)


def _time(given: object) -> datetime:
    """Unix seconds, as it answers, or ISO 8601, as it documents; without an offset it is India's."""
    try:
        if isinstance(given, int | Decimal) and not isinstance(given, bool):
            seconds = given / 1000 if given >= _MILLISECONDS_FROM else given
            return datetime.fromtimestamp(float(seconds), UTC)
        time = datetime.fromisoformat(str(given))
    except (ValueError, OverflowError, OSError) as error:
        raise UnreadableRow(f"`timestamp` is no time: {str(given)[:50]!r}") from error
    return (time if time.tzinfo else time.replace(tzinfo=KOLKATA)).astimezone(UTC)
