"""A year of daily P&L as a calendar: months of weeks of days, each as dark as it earned or lost much beside the others."""

from calendar import Calendar, month_name
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct

from live.dashboard.words import NOTHING, kind, money

if TYPE_CHECKING:
    from book.pnl_calendar import DayPnL

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SATURDAY = 5
# From which share of the year's largest day on a day is shown stronger.
_STEPS = (Decimal("0.1"), Decimal("0.3"), Decimal("0.6"))


class Cell(Struct, frozen=True, kw_only=True):
    """A day of a month: blank where it is another month's; without `short` nothing was marked on it. `tone` is `g1` to `g4`, `l1`
    to `l4`, or `d0` where it came to nothing; `before` is the day of marks before it."""

    number: str = ""
    iso: str = ""
    before: str = ""
    short: str = ""
    whole: str = ""
    tone: str = ""


class Month(Struct, frozen=True, kw_only=True):
    """A month with its sum."""

    name: str
    total: str
    tone: str
    weeks: list[list[Cell]]


class Year(Struct, frozen=True, kw_only=True):
    """A year: its months of which there are marks, the headings of their columns, and what it came to, in words and figures."""

    weekdays: Sequence[str]
    months: list[Month]
    facts: list[tuple[str, str, str]]
    words: str


def year_of(year: int, days: Sequence["DayPnL"], before: date | None) -> Year:
    """The calendar of a year, given its days in their order, and the last day of marks before them."""
    known = {day.date: day for day in days}
    earlier = dict(zip((day.date for day in days), (before, *(day.date for day in days)), strict=False))
    largest = max((abs(day.daily_pnl) for day in days), default=Decimal(0))
    shown = 7 if any(day.date.weekday() >= _SATURDAY for day in days) else _SATURDAY
    months = [
        _month(year, number, known, earlier, largest, shown) for number in sorted({day.date.month for day in days})
    ]
    return Year(weekdays=WEEKDAYS[:shown], months=months, facts=_facts(days), words=_words(year, days))


def _month(
    year: int,
    number: int,
    known: Mapping[date, "DayPnL"],
    earlier: Mapping[date, date | None],
    largest: Decimal,
    shown: int,
) -> Month:
    weeks = Calendar().monthdatescalendar(year, number)
    cells = [
        [_cell(day, number, known.get(day), earlier.get(day), largest) for day in week[:shown]]
        for week in weeks
        if any(day.month == number for day in week[:shown])
    ]
    total = sum((day.daily_pnl for day in known.values() if day.date.month == number), Decimal(0))
    return Month(name=month_name[number], total=money(total, signed=True), tone=kind(total), weeks=cells)


def _cell(day: date, month: int, found: "DayPnL | None", before: date | None, largest: Decimal) -> Cell:
    if day.month != month:
        return Cell()
    if found is None:
        return Cell(number=str(day.day), iso=day.isoformat())
    return Cell(
        number=str(day.day),
        iso=day.isoformat(),
        before="" if before is None else before.isoformat(),
        short=short_money(found.daily_pnl),
        whole=money(found.daily_pnl, signed=True),
        tone=tone_of(found.daily_pnl, largest),
    )


def tone_of(pnl: Decimal, largest: Decimal) -> str:
    """How strong a day is shown beside the largest one."""
    if not pnl:
        return "d0"
    step = 1 + sum(abs(pnl) >= share * largest for share in _STEPS)
    return f"{'g' if pnl > 0 else 'l'}{step}"


def short_money(amount: Decimal) -> str:
    """With its sign, in three digits or so: `+12.3k`, `-1.25M`."""
    size = abs(amount)
    for unit, letter in ((Decimal(10) ** 9, "G"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "k")):
        # 999.96k would be told as 1,000k.
        if size >= unit * Decimal("0.9995"):
            scaled = amount / unit
            decimals = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:+.{decimals}f}{letter}"
    return f"{amount:+.0f}" if size >= Decimal("0.5") else "0"


def _facts(days: Sequence["DayPnL"]) -> list[tuple[str, str, str]]:
    total = sum((day.daily_pnl for day in days), Decimal(0))
    best = max(days, key=lambda day: day.daily_pnl, default=None)
    worst = min(days, key=lambda day: day.daily_pnl, default=None)
    return [
        ("P&L of the year", money(total, signed=True) if days else NOTHING, kind(total)),
        ("Days with marks", f"{len(days):,}", ""),
        ("Days that gained", f"{sum(day.daily_pnl > 0 for day in days):,}", ""),
        ("Days that lost", f"{sum(day.daily_pnl < 0 for day in days):,}", ""),
        ("Best day", _extreme(best), "" if best is None else kind(best.daily_pnl)),
        ("Worst day", _extreme(worst), "" if worst is None else kind(worst.daily_pnl)),
    ]


def _extreme(day: "DayPnL | None") -> str:
    return NOTHING if day is None else f"{money(day.daily_pnl, signed=True)}, {day.date.day} {day.date:%b}"


def _words(year: int, days: Sequence["DayPnL"]) -> str:
    if not days:
        return f"Of {year} nothing is kept: daily P&L is kept as trading days end."
    gained = sum(day.daily_pnl > 0 for day in days)
    return f"{gained} of {len(days)} days in {year} gained. A day leads to what made it."
