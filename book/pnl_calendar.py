"""P&L by trading day: what each day of a period earned, of a node, a portfolio or all there is, in one currency."""

from datetime import date, timedelta
from decimal import Decimal

from msgspec import Struct
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from book.fx import raise_missing_rate
from book.pnl_scope import scope_of
from book.refusals import PeriodNotValid
from book.statements import rows_of
from core.numbers import ZERO

# Of days that an answer may be about.
MOST_DAYS = 1_830
_ONE_DAY = timedelta(days=1)


class DayPnL(Struct, frozen=True, kw_only=True):
    """One trading day: what so many positions earned on it."""

    date: date
    daily_pnl: Decimal
    positions: int


class PnLCalendar(Struct, frozen=True, kw_only=True):
    """The days of a period, both ends included, of which there are marks; the earliest first. Money in `currency`."""

    from_date: date
    to_date: date
    currency: str
    days: tuple[DayPnL, ...]

    @property
    def total(self) -> Decimal:
        """What all of these days earned."""
        return sum((day.daily_pnl for day in self.days), ZERO)


def calendar_of(
    session: Session,
    from_date: date,
    to_date: date,
    *,
    node: int | None = None,
    portfolio: str | None = None,
    currency: str | None = None,
) -> PnLCalendar:
    """Each day converted with the rates of that day, rounded as the tree rounds: a day is what the tree says of it.

    Raises PeriodNotValid, UnknownNode, UnknownPortfolio, CurrencyNeeded, MissingRate, NodeNotValid.
    """
    require_period(from_date, to_date)
    scope = scope_of(session, to_date, node=node, portfolio=portfolio, currency=currency)
    rows_of(session, "for_a_roll_up")
    try:
        rows = rows_of(
            session,
            "daily_pnl",
            from_day=from_date,
            to_day=to_date,
            node=node,
            portfolio=portfolio,
            currency=scope.currency,
        )
    except DBAPIError as error:
        raise_missing_rate(error)
        raise
    days = tuple(DayPnL(date=row["day"], daily_pnl=row["pnl"], positions=row["positions"]) for row in rows)
    return PnLCalendar(from_date=from_date, to_date=to_date, currency=scope.currency, days=days)


def require_period(from_date: date, to_date: date) -> None:
    """Raises PeriodNotValid unless the first day is not behind the last, and they are not too far apart."""
    if from_date > to_date:
        raise PeriodNotValid(f"`from`: {from_date} is after {to_date}")
    if (to_date - from_date) > MOST_DAYS * _ONE_DAY:
        raise PeriodNotValid(f"`from`: {from_date} is more than {MOST_DAYS} days before {to_date}")
