"""A tear sheet: what the returns of a node say of it. The ratios are empyrical's, each as its docstring there has it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

from book.refusals import LibraryMissing
from book.returns import DayReturn, Returns
from core.numbers import ZERO

if TYPE_CHECKING:
    import pandas as pd

# Of the exchanges that this is for; what trades every day has 365.
DAYS_A_YEAR = 252
# A quarter's.
ROLLING_DAYS = 63
_PLACES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """From a high of the cumulative return to its way back: `trough` is the lowest day, `recovered` None where it is not back
    yet. `depth` is a fraction of the high, `length` in trading days from the first below it on; both 0 where it never fell."""

    depth: Decimal
    length: int
    began: date | None
    trough: date | None
    recovered: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day as the page draws it: fractions, but for P&L."""

    day: date
    pnl: Decimal
    base: Decimal
    positions: int
    day_return: Decimal
    cumulative: Decimal
    drawdown: Decimal
    rolling_sharpe: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TearSheet:
    """Figures of a node. Returns, volatility and falls are fractions, rounded to six decimals; None where a figure has no
    meaning, such as a ratio to nothing. A year has `days_a_year` trading days; the riskless return is taken for 0."""

    node_id: int
    node: str
    currency: str
    portfolios: tuple[str, ...]
    capital_is_given: bool
    first_day: date
    last_day: date
    trading_days: int
    days_held: int
    days_a_year: int
    rolling_days: int
    capital_first: Decimal
    capital_last: Decimal
    pnl: Decimal
    cumulative_return: Decimal | None
    cagr: Decimal | None
    volatility: Decimal | None
    sharpe: Decimal | None
    sortino: Decimal | None
    calmar: Decimal | None
    max_drawdown: Decimal
    deepest: Fall
    longest: Fall
    hit_rate: Decimal | None
    profit_factor: Decimal | None
    best: Day
    worst: Day
    months: tuple[tuple[int, int, Decimal], ...]
    years: tuple[tuple[int, Decimal], ...]
    days: tuple[Day, ...]


def tear_sheet(returns: Returns, *, days_a_year: int = DAYS_A_YEAR, rolling_days: int = ROLLING_DAYS) -> TearSheet:
    """The figures. Raises LibraryMissing."""
    empyrical, series = _library(returns.days)
    figure = _figures_of(empyrical, series, days_a_year)
    days = _days(returns.days, empyrical, series, days_a_year, rolling_days)
    falls = _falls(days)
    traded = [one.pnl for one in returns.days if one.pnl]
    first, last = returns.days[0], returns.days[-1]
    return TearSheet(
        node_id=returns.node_id,
        node=returns.node,
        currency=returns.currency,
        portfolios=returns.portfolios,
        capital_is_given=returns.capital_is_given,
        first_day=first.day,
        last_day=last.day,
        trading_days=len(days),
        days_held=sum(one.positions > 0 for one in returns.days),
        days_a_year=days_a_year,
        rolling_days=rolling_days,
        capital_first=first.base,
        capital_last=last.base + last.pnl,
        pnl=sum((one.pnl for one in returns.days), ZERO),
        cumulative_return=_rounded(empyrical.cum_returns_final(series)),
        cagr=figure("cagr"),
        volatility=figure("annual_volatility"),
        sharpe=figure("sharpe_ratio"),
        sortino=figure("sortino_ratio"),
        calmar=figure("calmar_ratio"),
        max_drawdown=_rounded(empyrical.max_drawdown(series)) or ZERO,
        deepest=max(falls, key=lambda fall: (-fall.depth, fall.length)),
        longest=max(falls, key=lambda fall: (fall.length, -fall.depth)),
        hit_rate=_ratio(Decimal(sum(pnl > 0 for pnl in traded)), Decimal(len(traded))),
        profit_factor=_ratio(
            sum((pnl for pnl in traded if pnl > 0), ZERO), -sum((pnl for pnl in traded if pnl < 0), ZERO)
        ),
        best=max(days, key=lambda one: one.day_return),
        worst=min(days, key=lambda one: one.day_return),
        months=tuple(
            (year, month, _rounded(value) or ZERO)
            for (year, month), value in empyrical.aggregate_returns(series, "monthly").items()
        ),
        years=tuple(
            (int(year), _rounded(value) or ZERO)
            for year, value in empyrical.aggregate_returns(series, "yearly").items()
        ),
        days=tuple(days),
    )


def _library(days: Sequence[DayReturn]) -> "tuple[Any, pd.Series[float]]":
    try:
        import empyrical  # an extra (requirements-book.txt), imported where it is asked for
        import pandas as pd
    except ImportError as error:
        raise LibraryMissing from error
    return empyrical, pd.Series([one.value for one in days], index=pd.DatetimeIndex([one.day for one in days]))


def _figures_of(empyrical: Any, series: Any, days_a_year: int) -> Callable[[str], Decimal | None]:
    def figure(name: str) -> Decimal | None:
        return _rounded(getattr(empyrical, name)(series, annualization=days_a_year))

    return figure


def _days(days: Sequence[DayReturn], empyrical: Any, series: Any, days_a_year: int, rolling_days: int) -> list[Day]:
    rolling = {}
    if len(days) >= rolling_days:
        found = empyrical.roll_sharpe_ratio(series, rolling_days, annualization=days_a_year)
        rolling = {time.date(): value for time, value in found.items()}
    growth, high, told = 1.0, 1.0, []
    for one, cumulative in zip(days, empyrical.cum_returns(series), strict=True):
        growth = 1.0 + cumulative
        high = max(high, growth)
        told.append(
            Day(
                day=one.day,
                pnl=one.pnl,
                base=one.base,
                positions=one.positions,
                day_return=_rounded(one.value) or ZERO,
                cumulative=_rounded(cumulative) or ZERO,
                drawdown=_rounded(growth / high - 1.0) or ZERO,
                rolling_sharpe=_rounded(rolling.get(one.day, math.nan)),
            )
        )
    return told


def _falls(days: Sequence[Day]) -> list[Fall]:
    """Every time below a high; one of no depth where there was none."""
    falls = []
    for is_below, group in groupby(enumerate(days), key=lambda each: each[1].drawdown < 0):
        if not is_below:
            continue
        own = list(group)
        behind = own[-1][0] + 1
        lowest = min((each for _, each in own), key=lambda each: each.drawdown)
        falls.append(
            Fall(
                depth=lowest.drawdown,
                length=len(own),
                began=own[0][1].day,
                trough=lowest.day,
                recovered=days[behind].day if behind < len(days) else None,
            )
        )
    return falls or [Fall(depth=ZERO, length=0, began=None, trough=None, recovered=None)]


def _ratio(above: Decimal, below: Decimal) -> Decimal | None:
    return round(above / below, _PLACES) if below else None


def _rounded(value: float) -> Decimal | None:
    """None for what is no number: a ratio to nothing."""
    return round(Decimal(str(float(value))), _PLACES) if math.isfinite(value) else None
