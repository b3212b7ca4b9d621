"""What a replay's trades come to: exact figures of its closed trades, whole, by year and by instrument."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise

from msgspec import Struct
from msgspec.structs import asdict

from core.numbers import ZERO, exactly, figure, money, percent_of, quotient
from live.replay.model import ReplayResult, Trade

# Under a year a rate a year is a guess: the Global Investment Performance Standards forbid to annualise it.
LEAST_CAGR_TIME = timedelta(days=365)
_YEAR = timedelta(days=365, hours=6)
_MICROSECOND = timedelta(microseconds=1)
_MONTHS = 12


class Figures(Struct, frozen=True, kw_only=True):
    """The main figures of some closed trades. Money to 4 decimals, ratios and per cent to 6, half-even; None = undefined.

    A trade is won above 0 and lost below 0 net of costs; one at 0 is neither. `expectancy` is the mean net P&L of a
    trade; `expectancy_r` the mean of net P&L / initial risk over the trades that had a stop (Van Tharp's R multiples,
    Trade Your Way to Financial Freedom). `profit_factor` is what was won / what was lost, as TradingView has it.
    `max_drawdown` is positive: the deepest fall of closed equity, told after each closed trade, below its high so far;
    `max_drawdown_percent` is the deepest in per cent of the high at that time, which may be another fall.
    """

    trades: int
    won: int
    lost: int
    win_rate: Decimal | None
    net_pnl: Decimal
    expectancy: Decimal | None
    expectancy_r: Decimal | None
    profit_factor: Decimal | None
    average_win: Decimal | None
    average_loss: Decimal | None
    max_drawdown: Decimal
    max_drawdown_percent: Decimal | None


class Group(Figures, frozen=True, kw_only=True):
    """The figures of one year or one instrument; return and drawdown start from `opening_equity`.

    That is closed equity when the year began, or the replay's capital for an instrument taken alone.
    """

    name: str
    opening_equity: Decimal
    return_percent: Decimal | None


class Summary(Figures, frozen=True, kw_only=True):
    """A whole replay. `best` and `worst` by net P&L, the earlier of equals; `cagr`, `exposure` in per cent.

    A trade counts in the year (UTC) in which it was closed. `unrealized_pnl` is of the `open` trades, counted nowhere else.
    """

    capital: Decimal
    final_equity: Decimal
    cagr: Decimal | None
    exposure: Decimal | None
    longest_flat: timedelta
    longest_losing_streak: int
    best: Trade | None
    worst: Trade | None
    open: int
    unrealized_pnl: Decimal
    by_year: tuple[Group, ...]
    by_instrument: tuple[Group, ...]


class EquityPoint(Struct, frozen=True, kw_only=True):
    """Closed equity at a time, the high so far, and the fall below it (positive)."""

    time: datetime
    equity: Decimal
    high: Decimal
    drawdown: Decimal
    drawdown_percent: Decimal | None


class MonthReturn(Struct, frozen=True, kw_only=True):
    """A month (UTC): the net P&L of what was closed in it, and that in per cent of closed equity when it began."""

    year: int
    month: int
    net_pnl: Decimal
    return_percent: Decimal | None


@exactly
def summarise(result: ReplayResult) -> Summary:
    """All figures of a finished replay. Open trades count for exposure and the time flat only."""
    trades = result.trades
    figures = _figures(trades, result.capital)
    final_equity = result.capital + figures.net_pnl
    busy = _busy(result)
    return Summary(
        **asdict(figures),
        capital=result.capital,
        final_equity=final_equity,
        cagr=_cagr(result.capital, final_equity, result.ended_at - result.started_at),
        exposure=_exposure(busy, result.ended_at - result.started_at),
        longest_flat=_longest_flat(busy, result.started_at, result.ended_at),
        longest_losing_streak=_longest_losing_streak(trades),
        best=max(trades, key=lambda trade: trade.net_pnl, default=None),
        worst=min(trades, key=lambda trade: trade.net_pnl, default=None),
        open=len(result.open_trades),
        unrealized_pnl=sum((trade.unrealized_pnl for trade in result.open_trades), ZERO),
        by_year=_by_year(trades, result.capital),
        by_instrument=_by_instrument(trades, result.capital),
    )


@exactly
def equity_curve(result: ReplayResult) -> tuple[EquityPoint, ...]:
    """Closed equity at the start and after each closed trade, with the drawdown there."""
    times = [result.started_at, *(trade.exit_time for trade in result.trades)]
    levels = _levels(result.capital, [trade.net_pnl for trade in result.trades])
    return tuple(
        EquityPoint(
            time=time,
            equity=equity,
            high=high,
            drawdown=high - equity,
            drawdown_percent=percent_of(high - equity, high),
        )
        for time, (equity, high) in zip(times, levels, strict=True)
    )


@exactly
def monthly_returns(result: ReplayResult) -> tuple[MonthReturn, ...]:
    """Every month from the first input's to the last's, in order; one without a closed trade returned 0."""
    earned: dict[tuple[int, int], Decimal] = {}
    for trade in result.trades:
        key = (trade.exit_time.year, trade.exit_time.month)
        earned[key] = earned.get(key, ZERO) + trade.net_pnl
    months, equity = [], result.capital
    for year, month in _months(result.started_at, result.ended_at):
        net = earned.get((year, month), ZERO)
        months.append(MonthReturn(year=year, month=month, net_pnl=net, return_percent=percent_of(net, equity)))
        equity += net
    return tuple(months)


def _months(first: datetime, last: datetime) -> list[tuple[int, int]]:
    numbers = range(first.year * _MONTHS + first.month - 1, last.year * _MONTHS + last.month)
    return [(number // _MONTHS, number % _MONTHS + 1) for number in numbers]


# --- figures of some trades


def _figures(trades: Sequence[Trade], opening: Decimal) -> Figures:
    net = [trade.net_pnl for trade in trades]
    wins, losses = [pnl for pnl in net if pnl > 0], [pnl for pnl in net if pnl < 0]
    multiples = [quotient(pnl, risk) for pnl, risk in _with_risk(trades)]
    levels = _levels(opening, net)
    falls = [percent for equity, high in levels if (percent := percent_of(high - equity, high)) is not None]
    return Figures(
        trades=len(net),
        won=len(wins),
        lost=len(losses),
        win_rate=percent_of(Decimal(len(wins)), Decimal(len(net))),
        net_pnl=sum(net, ZERO),
        expectancy=_mean_money(net),
        expectancy_r=figure(quotient(sum(multiples, ZERO), len(multiples))) if multiples else None,
        profit_factor=figure(quotient(sum(wins, ZERO), -sum(losses, ZERO))) if losses else None,
        average_win=_mean_money(wins),
        average_loss=_mean_money(losses),
        max_drawdown=max(high - equity for equity, high in levels),
        max_drawdown_percent=max(falls, default=None),
    )


def _with_risk(trades: Iterable[Trade]) -> Iterator[tuple[Decimal, Decimal]]:
    """Net P&L and initial risk where there was one: an entry filled beyond its own stop risked nothing to divide by."""
    for trade in trades:
        if trade.initial_risk is not None and trade.initial_risk > 0:
            yield trade.net_pnl, trade.initial_risk


def _levels(opening: Decimal, net: Sequence[Decimal]) -> list[tuple[Decimal, Decimal]]:
    """Equity, and its high so far, at the start and after each trade."""
    equity = list(accumulate(net, initial=opening))
    return list(zip(equity, accumulate(equity, max), strict=True))


def _mean_money(amounts: Sequence[Decimal]) -> Decimal | None:
    return money(quotient(sum(amounts, ZERO), len(amounts))) if amounts else None


def _longest_losing_streak(trades: Iterable[Trade]) -> int:
    """Most trades lost in a row; one that is not lost ends it."""
    longest = streak = 0
    for trade in trades:
        streak = streak + 1 if trade.net_pnl < 0 else 0
        longest = max(longest, streak)
    return longest


def _cagr(opening: Decimal, final: Decimal, span: timedelta) -> Decimal | None:
    """Compound annual growth in per cent: ((final / opening) ^ (1 / years) - 1) x 100, a year being 365.25 days."""
    if span < LEAST_CAGR_TIME or opening <= 0 or final <= 0:
        return None
    growth = quotient(final, opening) ** _ratio(_YEAR, span)
    return figure((growth - 1) * 100)


# --- time in the market


def _busy(result: ReplayResult) -> list[tuple[datetime, datetime]]:
    """When at least one position was open, as disjoint spans in order; open trades last to the end."""
    closed = [(trade.entry_time, trade.exit_time) for trade in result.trades]
    still_open = [(trade.entry_time, result.ended_at) for trade in result.open_trades]
    spans: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(closed + still_open):
        if spans and begin <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((begin, end))
    return spans


def _exposure(busy: Iterable[tuple[datetime, datetime]], span: timedelta) -> Decimal | None:
    """The share of the time with a position, in per cent; None where no time passed."""
    held = sum((end - begin for begin, end in busy), timedelta())
    return figure(_ratio(held, span) * 100) if span else None


def _longest_flat(busy: Sequence[tuple[datetime, datetime]], first: datetime, last: datetime) -> timedelta:
    edges = [(first, first), *busy, (last, last)]
    return max(later[0] - earlier[1] for earlier, later in pairwise(edges))


def _ratio(part: timedelta, whole: timedelta) -> Decimal:
    return quotient(Decimal(part // _MICROSECOND), whole // _MICROSECOND)


# --- groups


def _by_year(trades: Iterable[Trade], capital: Decimal) -> tuple[Group, ...]:
    groups, opening = [], capital
    for year, members in sorted(_grouped(trades, lambda trade: f"{trade.exit_time.year:04}").items()):
        groups.append(_group(year, members, opening))
        opening += groups[-1].net_pnl
    return tuple(groups)


def _by_instrument(trades: Iterable[Trade], capital: Decimal) -> tuple[Group, ...]:
    members = _grouped(trades, lambda trade: trade.instrument)
    return tuple(_group(name, members[name], capital) for name in sorted(members))


def _grouped(trades: Iterable[Trade], name_of: Callable[[Trade], str]) -> dict[str, list[Trade]]:
    members: dict[str, list[Trade]] = {}
    for trade in trades:
        members.setdefault(name_of(trade), []).append(trade)
    return members


def _group(name: str, trades: Sequence[Trade], opening: Decimal) -> Group:
    figures = _figures(trades, opening)
    return Group(
        **asdict(figures),
        name=name,
        opening_equity=opening,
        return_percent=percent_of(figures.net_pnl, opening),
    )
