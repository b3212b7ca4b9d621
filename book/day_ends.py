"""When a trading day's figures are taken: some time after its last session's close, on each exchange."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta

from msgspec import Struct

from core.trading_calendar import BeyondHorizon, TradingCalendar

_ONE_DAY = timedelta(days=1)


class DayEnd(Struct, frozen=True, kw_only=True, order=True):
    """The end of a day on an exchange: what is decided until `at` is that day's."""

    at: datetime
    exchange: str
    day: date


class DayEnds:
    """By a calendar. An exchange that it has no table of trades always: its days are those of UTC, and end at midnight."""

    def __init__(self, calendar: TradingCalendar, grace_seconds: int) -> None:
        self._calendar = calendar
        self._grace = timedelta(seconds=grace_seconds)

    def of(self, exchange: str, day: date) -> DayEnd | None:
        """That day's; None where it is no trading day, or the calendar does not know."""
        if not self._knows(exchange):
            closes_at = datetime.combine(day + _ONE_DAY, time(0), UTC)
        else:
            try:
                sessions = self._calendar.sessions(exchange, day)
            except BeyondHorizon:
                return None
            if not sessions:
                return None
            closes_at = sessions[-1].closes_at
        return DayEnd(at=closes_at + self._grace, exchange=exchange, day=day)

    def opening(self, exchange: str, day: date) -> datetime | None:
        """When that day's first session begins; None where it is no trading day, or the calendar does not know."""
        if not self._knows(exchange):
            return datetime.combine(day, time(0), UTC)
        try:
            return next((session.opens_at for session in self._calendar.sessions(exchange, day)), None)
        except BeyondHorizon:
            return None

    def first_from(self, exchange: str, at: datetime) -> DayEnd | None:
        """The first end that is not before `at`; None where the calendar ends before it."""
        return self._next(exchange, self._day_of(exchange, at - self._grace) - _ONE_DAY, at)

    def after(self, end: DayEnd) -> DayEnd | None:
        """The exchange's next one."""
        return self._next(end.exchange, end.day + _ONE_DAY, end.at)

    def last_before(self, exchange: str, at: datetime) -> DayEnd | None:
        """The last one that is over at `at`; None where the calendar begins after it."""
        day = self._day_of(exchange, at)
        first, last = self._horizon(exchange, day)
        day = min(day, last)
        while day >= first:
            end = self.of(exchange, day)
            if end is not None and end.at < at:
                return end
            day -= _ONE_DAY
        return None

    def of_all(self, exchanges: Collection[str], day: date) -> datetime | None:
        """When that day is over on all of these that trade then; None where none of them does."""
        ends = [end.at for end in (self.of(exchange, day) for exchange in exchanges) if end is not None]
        return max(ends, default=None)

    def last_day(self, exchanges: Collection[str], at: datetime) -> date | None:
        """The last day that is over on all of these that trade then."""
        days = {end.day for end in (self.last_before(exchange, at) for exchange in exchanges) if end is not None}
        over = [day for day in days if (end := self.of_all(exchanges, day)) is not None and end < at]
        return max(over, default=None)

    def _next(self, exchange: str, day: date, not_before: datetime) -> DayEnd | None:
        first, last = self._horizon(exchange, day)
        day = max(day, first)
        while day <= last:
            end = self.of(exchange, day)
            if end is not None and end.at >= not_before:
                return end
            day += _ONE_DAY
        return None

    def _day_of(self, exchange: str, at: datetime) -> date:
        return self._calendar.day_of(exchange, at) if self._knows(exchange) else at.astimezone(UTC).date()

    def _horizon(self, exchange: str, day: date) -> tuple[date, date]:
        if not self._knows(exchange):
            return day - 2 * _ONE_DAY, day + 2 * _ONE_DAY
        table = self._calendar.table(exchange)
        return table.first_day, table.last_day

    def _knows(self, exchange: str) -> bool:
        return any(exchange in table.exchanges for table in self._calendar.tables)
