"""When an exchange trades: a dated table of hours, holidays and special sessions that refuses what lies beyond its dates.

Days are the exchange's own dates, times of day its own clock; instants are aware UTC. Nothing is extrapolated: a question
about a day outside the table raises BeyondHorizon. Facts and their sources are in core/data/trading_calendar.json.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Self, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from core.contracts import Settled
from core.errors import Refused

_ONE_DAY = timedelta(days=1)
_MIDNIGHT = time(0)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_CLOCK = re.compile(r"\d{2}:\d{2}")


class BeyondHorizon(Refused):
    """the calendar says nothing about that day"""

    def __init__(self, message: str = "", *, exchange: str = "", day: date | None = None) -> None:
        super().__init__(message)
        self.exchange = exchange
        self.day = day


def _iso_day(given: Any) -> Any:
    # A number would be read as seconds since 1970, a time of day would be cut off.
    if isinstance(given, datetime) or not (
        isinstance(given, date) or (isinstance(given, str) and _DAY.fullmatch(given))
    ):
        raise ValueError("must be a date such as 2026-01-26")
    return given


def _clock(given: Any) -> Any:
    if not (isinstance(given, time) or (isinstance(given, str) and _CLOCK.fullmatch(given))):
        raise ValueError("must be a time of day such as 09:15")
    return given


def time_zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name; ValueError where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no IANA time zone such as Asia/Kolkata") from error


def _of_a_time_zone(name: str) -> str:
    time_zone(name)
    return name


Day = Annotated[date, BeforeValidator(_iso_day)]
Clock = Annotated[time, BeforeValidator(_clock)]
TimeZoneName = Annotated[str, AfterValidator(_of_a_time_zone)]


class Session(Struct, frozen=True, kw_only=True):
    """One span of trading, aware UTC: open from `opens_at` on, closed from `closes_at` on."""

    opens_at: datetime
    closes_at: datetime


class Hours(Settled):
    """A span of one day on the exchange's clock; `closes` 00:00 is the end of the day."""

    opens: Clock
    closes: Clock

    @model_validator(mode="after")
    def _open_before_they_close(self) -> Self:
        if self.closes != _MIDNIGHT and self.closes <= self.opens:
            raise ValueError("closes must come after opens, or be 00:00 for the end of the day")
        return self


class DatedHours(Hours):
    """The regular hours from a day on."""

    from_day: Day


class ExceptionalDay(Settled):
    """A day that does not trade as its weekday does.

    `morning` ends at the table's `halves_at`, `evening` begins there; `special` trades in `sessions` and at no other time.
    """

    name: str = Field(min_length=1, max_length=200)
    trades: Literal["none", "morning", "evening", "special"] = "none"
    sessions: tuple[Hours, ...] = ()

    @model_validator(mode="after")
    def _sessions_are_told(self) -> Self:
        if bool(self.sessions) != (self.trades == "special"):
            raise ValueError("sessions belong to a day that trades `special`, and to no other")
        for earlier, later in zip(self.sessions, self.sessions[1:], strict=False):
            if earlier.closes == _MIDNIGHT or later.opens < earlier.closes:
                raise ValueError("sessions must follow one another")
        return self


class ExchangeTable(Settled):
    """The calendar of the exchanges that share it, from `first_day` to `last_day`, both covered."""

    exchanges: Annotated[tuple[str, ...], Field(min_length=1)]
    timezone: TimeZoneName
    first_day: Day
    last_day: Day
    weekdays: frozenset[Annotated[int, Field(ge=1, le=7)]] = frozenset({1, 2, 3, 4, 5})
    hours: Annotated[tuple[DatedHours, ...], Field(min_length=1)]
    halves_at: Clock | None = None
    days: dict[Day, ExceptionalDay] = Field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _hours_cover_the_table(self) -> Self:
        if self.last_day < self.first_day:
            raise ValueError("last_day must not come before first_day")
        starts = [hours.from_day for hours in self.hours]
        if starts != sorted(set(starts)) or starts[0] > self.first_day:
            raise ValueError("hours must begin on first_day at the latest and rise by from_day")
        return self

    @model_validator(mode="after")
    def _days_fit_the_table(self) -> Self:
        for day, exception in self.days.items():
            if not self.first_day <= day <= self.last_day:
                raise ValueError(f"{day} lies outside first_day..last_day")
            if exception.trades in ("morning", "evening") and not self._halves(day):
                raise ValueError(f"{day} trades a half, so halves_at must lie inside that day's hours")
        return self

    @model_validator(mode="after")
    def _every_year_has_a_holiday(self) -> Self:
        # A source that does not know a year yet says so by naming no holiday in it; pandas_market_calendars does.
        if len(self.weekdays) == 7:
            return self
        for year in range(self.first_day.year, self.last_day.year + 1):
            if not any(day.year == year for day in self.days):
                raise ValueError(f"{year} has no holiday: end last_day where the knowledge ends")
        return self

    def hours_on(self, day: date) -> DatedHours:
        """The regular hours that hold on a covered day, whether or not it trades."""
        return next(hours for hours in reversed(self.hours) if hours.from_day <= day)

    def spans_on(self, day: date) -> tuple[Hours, ...]:
        """When a covered day trades, on the exchange's clock; empty where it does not."""
        exception = self.days.get(day)
        if exception is None:
            return (self.hours_on(day),) if day.isoweekday() in self.weekdays else ()
        match exception.trades:
            case "none":
                return ()
            case "morning":
                return self._halves(day)[:1]
            case "evening":
                return self._halves(day)[1:]
            case "special":
                return exception.sessions
            case _:
                assert_never(exception.trades)

    def _halves(self, day: date) -> tuple[Hours, ...]:
        hours = self.hours_on(day)
        if self.halves_at is None or self.halves_at <= hours.opens:
            return ()
        if hours.closes != _MIDNIGHT and self.halves_at >= hours.closes:
            return ()
        return (
            Hours(opens=hours.opens, closes=self.halves_at),
            Hours(opens=self.halves_at, closes=hours.closes),
        )


class TradingCalendar(Settled):
    """What is known of every exchange's hours. Each question raises BeyondHorizon where a day it needs is not covered."""

    tables: tuple[ExchangeTable, ...]

    @model_validator(mode="after")
    def _one_table_an_exchange(self) -> Self:
        names = [name for table in self.tables for name in table.exchanges]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is in more than one table")
        return self

    def table(self, exchange: str) -> ExchangeTable:
        """The exchange's table; an exchange without one raises BeyondHorizon: always closed would be a guess too."""
        try:
            return self._tables[exchange]
        except KeyError:
            known = ", ".join(sorted(self._tables)) or "none"
            raise BeyondHorizon(f"no calendar of {exchange!r} (known: {known})", exchange=exchange) from None

    def sessions(self, exchange: str, day: date) -> tuple[Session, ...]:
        """The spans in which that day trades, in order; empty on a holiday."""
        table = self._covering(exchange, day)
        zone = ZoneInfo(table.timezone)
        return tuple(_session(day, span, zone) for span in table.spans_on(day))

    def session_at(self, exchange: str, at: datetime) -> Session | None:
        """The session in progress at an aware instant; None while the exchange is closed."""
        for session in self.sessions(exchange, self.day_of(exchange, at)):
            if session.opens_at <= at < session.closes_at:
                return session
        return None

    def is_open(self, exchange: str, at: datetime) -> bool:
        """Whether the exchange trades at an aware instant: at the opening yes, at the close no more."""
        return self.session_at(exchange, at) is not None

    def next_open(self, exchange: str, at: datetime) -> datetime:
        """The first instant from `at` on at which the exchange trades: `at` itself while it is open."""
        return next(
            max(at, session.opens_at)
            for day in self._days_from(exchange, self.day_of(exchange, at))
            for session in self.sessions(exchange, day)
            if at < session.closes_at
        )

    def day_of(self, exchange: str, at: datetime) -> date:
        """The exchange's own date at an aware instant."""
        if at.tzinfo is None:
            raise ValueError(f"a naive time says nothing about when: {at!r}")
        return at.astimezone(ZoneInfo(self.table(exchange).timezone)).date()

    def is_trading_day(self, exchange: str, day: date) -> bool:
        """Whether there is any session on that day, be it an evening's or a special one."""
        return bool(self._covering(exchange, day).spans_on(day))

    def is_expiry_day(self, exchange: str, day: date) -> bool:
        """Whether contracts may expire then: a trading day, but no special one at a weekend."""
        return self.is_trading_day(exchange, day) and day.isoweekday() in self.table(exchange).weekdays

    def trading_day_before(self, exchange: str, day: date) -> date:
        """The last trading day before that day, which itself need not be covered."""
        day -= _ONE_DAY
        while not self.is_trading_day(exchange, day):
            day -= _ONE_DAY
        return day

    def trading_day_from(self, exchange: str, day: date) -> date:
        """That day if it trades, else the next one that does."""
        return next(day for day in self._days_from(exchange, day) if self.is_trading_day(exchange, day))

    def expiry_day_until(self, exchange: str, day: date) -> date:
        """That day if contracts may expire then, else the last one before it."""
        while not self.is_expiry_day(exchange, day):
            day -= _ONE_DAY
        return day

    def days_left(self, exchange: str, day: date) -> int:
        """How many days after that day are covered: what an operator is warned by before the table ends."""
        return (self.table(exchange).last_day - day).days

    @cached_property
    def _tables(self) -> dict[str, ExchangeTable]:
        return {name: table for table in self.tables for name in table.exchanges}

    def _covering(self, exchange: str, day: date) -> ExchangeTable:
        table = self.table(exchange)
        if not table.first_day <= day <= table.last_day:
            raise BeyondHorizon(
                f"the calendar of {exchange} covers {table.first_day} to {table.last_day}, not {day}: extend it by a file",
                exchange=exchange,
                day=day,
            )
        return table

    def _days_from(self, exchange: str, day: date) -> Iterator[date]:
        while True:
            self._covering(exchange, day)
            yield day
            day += _ONE_DAY


def _session(day: date, span: Hours, zone: ZoneInfo) -> Session:
    last = day + _ONE_DAY if span.closes == _MIDNIGHT else day
    return Session(
        opens_at=datetime.combine(day, span.opens, zone).astimezone(UTC),
        closes_at=datetime.combine(last, span.closes, zone).astimezone(UTC),
    )
