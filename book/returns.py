"""A node's daily returns: what it earned on a day, by the money that it had as the day began."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from book.fx import raise_missing_rate, rate_between
from book.nodes import node_of, require_currency
from book.refusals import CapitalNeeded, NoDays
from book.statements import rows_of
from core.errors import Refused
from core.numbers import ZERO, money
from core.trading_calendar import TradingCalendar

_SATURDAY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReturn:
    """A day: what was earned on it, the money that it was earned with (capital so far, with that day's deposits, and all that
    was earned before), and how many positions had a mark; none where nothing was held."""

    day: date
    pnl: Decimal
    base: Decimal
    positions: int

    @property
    def value(self) -> float:
        """The return, as a fraction: the figures that are made of it are estimates."""
        return float(self.pnl / self.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returns:
    """A node's, in one currency. `capital_is_given`: not the capital of the portfolios that hang there, but another one."""

    node_id: int
    node: str
    currency: str
    capital_is_given: bool
    portfolios: tuple[str, ...]
    days: tuple[DayReturn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Of which node and all below it; from and up to which days; in which currency (the node's own); with which capital (that of
    the portfolios that hang there: what they began with, and what was paid in and out since)."""

    node_id: int
    begins: date | None = None
    ends: date | None = None
    currency: str | None = None
    capital: Decimal | None = None


def returns_of(session: Session, asked: Asked, calendar: TradingCalendar) -> Returns:
    """The returns of every trading day from the first one of which there are marks to the last.

    A trading day is one of any exchange that something is traded on, or one that has marks; on one without, nothing was earned.
    Raises UnknownNode, NodeNotValid, MissingRate, NoDays, and CapitalNeeded where there is no money to earn with.
    """
    node = node_of(session, asked.node_id)
    currency = node.base_ccy if asked.currency is None else require_currency(asked.currency, "currency")
    marked = _marked(session, asked, currency)
    if not marked:
        raise NoDays(f"node {asked.node_id} has no day of which there are marks: `book sync` keeps them")
    portfolios = rows_of(session, "portfolios_of_branch", node=asked.node_id)
    if asked.capital is None:
        flows = _capital(session, [(row["portfolio"], row["base_ccy"]) for row in portfolios], currency)
    else:
        flows = [(date.min, asked.capital)]
    exchanges = [row["exchange"] for row in rows_of(session, "exchanges_of_branch", node=asked.node_id)]
    every = _trading_days(min(marked), max(marked), exchanges, calendar, marked)
    # What came before the first day that is asked for was earned, too: it is in the money of that day.
    found = [one for one in _days(every, marked, flows) if asked.begins is None or one.day >= asked.begins]
    if not found:
        raise NoDays(f"node {asked.node_id} has no day from {asked.begins} on of which there are marks")
    if poor := next((one for one in found if one.base <= 0), None):
        raise CapitalNeeded(
            f"`capital` is required: by the portfolios that hang there it is {poor.base} on {poor.day}, and returns need some"
        )
    return Returns(
        node_id=asked.node_id,
        node=node.name,
        currency=currency,
        capital_is_given=asked.capital is not None,
        portfolios=tuple(row["portfolio"] for row in portfolios),
        days=tuple(found),
    )


def _marked(session: Session, asked: Asked, currency: str) -> dict[date, tuple[Decimal, int]]:
    try:
        rows = rows_of(session, "daily_pnl_of_branch", node=asked.node_id, ends=asked.ends, currency=currency)
    except DBAPIError as error:
        raise_missing_rate(error)
        raise
    return {row["day"]: (row["pnl"], row["positions"]) for row in rows}


def _capital(session: Session, portfolios: Sequence[tuple[str, str]], currency: str) -> list[tuple[date, Decimal]]:
    """What was paid in (positive) and out, by day, at that day's rate; the day's first."""
    found = [
        (row["day"], money(row["amount"] * rate_between(session, own, currency, row["day"])))
        for portfolio, own in portfolios
        for row in rows_of(session, "capital_of_portfolio", portfolio=portfolio)
    ]
    return sorted(found)


def _trading_days(
    first: date,
    last: date,
    exchanges: Sequence[str],
    calendar: TradingCalendar,
    marked: dict[date, tuple[Decimal, int]],
) -> list[date]:
    days = (first + timedelta(number) for number in range((last - first).days + 1))
    return [day for day in days if day in marked or any(_is_traded(calendar, name, day) for name in exchanges)]


def _is_traded(calendar: TradingCalendar, exchange: str, day: date) -> bool:
    try:
        return calendar.is_trading_day(exchange, day)
    except Refused:
        # Of a day, or an exchange, that the table does not have: as most exchanges of the world.
        return day.weekday() < _SATURDAY


def _days(
    every: Sequence[date], marked: dict[date, tuple[Decimal, int]], flows: Sequence[tuple[date, Decimal]]
) -> list[DayReturn]:
    found, earned, capital, coming = [], ZERO, ZERO, list(flows)
    for day in every:
        while coming and coming[0][0] <= day:
            capital += coming.pop(0)[1]
        pnl, positions = marked.get(day, (ZERO, 0))
        found.append(DayReturn(day=day, pnl=pnl, base=capital + earned, positions=positions))
        earned += pnl
    return found
