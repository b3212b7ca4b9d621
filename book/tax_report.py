"""Realised tax lots (first in, first out) with their totals by tax year and by instrument."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from decimal import Decimal

from book.tax_lots import TaxLot
from core.numbers import ZERO

JANUARY, DECEMBER = 1, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Of lots that were closed in a tax year: `tax_year` as it is written (2025, or 2025-26 where it does not begin in January),
    `instrument` None for all. Money; `gains` and `losses` (positive) are net of costs, `net_gain` their difference."""

    tax_year: str
    instrument: str | None
    closed: int
    lots: int
    gain: Decimal
    costs: Decimal
    gains: Decimal
    losses: Decimal
    net_gain: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxReport:
    """Of one portfolio's journal. Years begin with the first of that month, by the day (UTC) on which a lot was closed."""

    portfolio: str
    year_begins: int
    years: tuple[Total, ...]
    instruments: tuple[Total, ...]
    lots: tuple[TaxLot, ...]


def tax_year(day: date, year_begins: int) -> str:
    """The tax year that a day is in: `2025-26` for 1 April 2025 to 31 March 2026 where years begin in April."""
    first = day.year if day.month >= year_begins else day.year - 1
    return f"{first}" if year_begins == JANUARY else f"{first}-{(first + 1) % 100:02}"


def tax_report(portfolio: str, closed: Iterable[TaxLot], *, year_begins: int, year: str | None = None) -> TaxReport:
    """The lots that were closed (in that tax year, or ever), in the order of their closing, and their totals."""
    if not JANUARY <= year_begins <= DECEMBER:
        raise ValueError(f"there is no month {year_begins}")
    own = [(tax_year(lot.closed_at.astimezone(UTC).date(), year_begins), lot) for lot in closed]
    own = [(named, lot) for named, lot in own if year in (None, named)]
    years = sorted({named for named, _ in own})
    pairs = sorted({(named, lot.instrument) for named, lot in own})
    return TaxReport(
        portfolio=portfolio,
        year_begins=year_begins,
        years=tuple(_total(named, None, [lot for one, lot in own if one == named]) for named in years),
        instruments=tuple(
            _total(named, instrument, [lot for one, lot in own if (one, lot.instrument) == (named, instrument)])
            for named, instrument in pairs
        ),
        lots=tuple(lot for _, lot in own),
    )


def _total(named: str, instrument: str | None, lots: Sequence[TaxLot]) -> Total:
    nets = [lot.net_gain for lot in lots]
    return Total(
        tax_year=named,
        instrument=instrument,
        closed=len(lots),
        lots=sum(lot.lots for lot in lots),
        gain=sum((lot.gain for lot in lots), ZERO),
        costs=sum((lot.costs for lot in lots), ZERO),
        gains=sum((net for net in nets if net > 0), ZERO),
        losses=-sum((net for net in nets if net < 0), ZERO),
        net_gain=sum(nets, ZERO),
    )
