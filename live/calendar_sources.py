"""Fills the trading calendar: from files of the operator's, and NSE's holidays from pandas_market_calendars.

The package is an extra, imported where it is used; it knows NSE and not MCX, and names no holidays in years that it does not
know yet. So a calendar never reaches further than the last year with a holiday in it.
"""

from collections.abc import Iterable
from datetime import date, time, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from core.config import read_json_object, validated
from core.errors import ConfigurationError
from core.trading_calendar import DatedHours, ExceptionalDay, ExchangeTable, Hours, TradingCalendar

NSE_HOURS = DatedHours(from_day=date(2011, 1, 1), opens=time(9, 15), closes=time(15, 30))


def extended_calendar(calendar: TradingCalendar, path: Path) -> TradingCalendar:
    """The calendar with the tables of a file (`{"tables": [...]}`) put over it, exchange by exchange.

    A file's table of an exchange that is known goes on from it, or puts days right: its days and hours go over the known
    ones and the covered dates grow. Raises ConfigurationError for a gap between them, or tables that share no exchanges.
    """
    given = validated(TradingCalendar, read_json_object(path), str(path))
    tables = list(calendar.tables)
    for table in given.tables:
        index = _index_of(tables, table, path)
        if index is None:
            tables.append(table)
        else:
            tables[index] = _joined(tables[index], table, path)
    return validated(TradingCalendar, {"tables": [table.model_dump() for table in tables]}, str(path))


def _index_of(tables: Iterable[ExchangeTable], table: ExchangeTable, path: Path) -> int | None:
    for index, known in enumerate(tables):
        if set(table.exchanges) == set(known.exchanges):
            return index
        if shared := set(table.exchanges) & set(known.exchanges):
            raise ConfigurationError(
                f"{path}: `tables`: {', '.join(sorted(shared))}: a table must be of exactly {', '.join(known.exchanges)}"
            )
    return None


def _joined(known: ExchangeTable, given: ExchangeTable, path: Path) -> ExchangeTable:
    one_day = timedelta(days=1)
    if given.first_day > known.last_day + one_day or known.first_day > given.last_day + one_day:
        raise ConfigurationError(
            f"{path}: `tables`: {given.exchanges[0]}: {given.first_day} to {given.last_day} leaves a gap to"
            f" {known.first_day} to {known.last_day}"
        )
    hours = {hours.from_day: hours for hours in (*known.hours, *given.hours)}
    joined = {
        **given.model_dump(),
        "first_day": min(known.first_day, given.first_day),
        "last_day": max(known.last_day, given.last_day),
        "hours": [hours[day].model_dump() for day in sorted(hours)],
        "days": {day: known_day.model_dump() for day, known_day in {**known.days, **given.days}.items()},
        "sources": (*known.sources, *given.sources),
    }
    return validated(ExchangeTable, joined, str(path))


def nse_table(first_day: date, last_day: date) -> ExchangeTable:
    """NSE's and NFO's table from pandas_market_calendars, ending with the last year in which it names a holiday.

    Raises ConfigurationError where the package is not installed, or knows no such year. It knows the Muhurat sessions, but
    not every special session at a weekend: put those over it from a file.
    """
    try:
        package: Any = import_module("pandas_market_calendars")
    except ImportError as error:
        raise ConfigurationError(
            "pandas_market_calendars is not installed: pip install pandas_market_calendars"
        ) from error
    schedule = package.get_calendar("NSE").schedule(start_date=first_day.isoformat(), end_date=last_day.isoformat())
    spans = {
        day.date(): Hours(opens=_clock(row.market_open), closes=_clock(row.market_close))
        for day, row in zip(schedule.index, schedule.itertuples(), strict=True)
    }
    return table_of_spans(spans, first_day, last_day)


def table_of_spans(spans: dict[date, Hours], first_day: date, last_day: date) -> ExchangeTable:
    """NSE's table of the days that trade, and when. A weekday without a span is a holiday."""
    days: dict[date, ExceptionalDay] = {}
    for day in _days(first_day, last_day):
        span, at_weekend = spans.get(day), day.isoweekday() > 5
        if span is None and not at_weekend:
            days[day] = ExceptionalDay(name="holiday")
        elif span is not None and (at_weekend or not _is_regular(span)):
            days[day] = ExceptionalDay(name="special session", trades="special", sessions=(span,))
    last_known = max((day.year for day in days), default=None)
    if last_known is None:
        raise ConfigurationError(f"no holiday is known between {first_day} and {last_day}")
    return ExchangeTable(
        exchanges=("NSE", "NFO"),
        timezone="Asia/Kolkata",
        first_day=first_day,
        last_day=min(last_day, date(last_known, 12, 31)),
        hours=(NSE_HOURS,),
        days=days,
        sources=("pandas_market_calendars",),
    )


def _is_regular(span: Hours) -> bool:
    return (span.opens, span.closes) == (NSE_HOURS.opens, NSE_HOURS.closes)


def _days(first_day: date, last_day: date) -> Iterable[date]:
    return (first_day + timedelta(days=count) for count in range((last_day - first_day).days + 1))


def _clock(at: Any) -> time:
    local: time = at.tz_convert("Asia/Kolkata").time()
    return local
