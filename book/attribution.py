"""What made equity change between two days: P&L by instrument, strategy, layer or child node, and what was paid in or out."""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from book.capital import Capital, capital_of
from book.fx import raise_missing_rate, rate_between
from book.pnl_calendar import MOST_DAYS, require_period
from book.pnl_scope import Scope, scope_of
from book.refusals import PeriodNotValid
from book.statements import rows_of
from core.numbers import ZERO, money, product

_ONE_DAY = timedelta(days=1)


class By(StrEnum):
    """What P&L is told apart by."""

    INSTRUMENT = "instrument"
    STRATEGY = "strategy"
    LAYER = "layer"
    NODE = "node"


class Contribution(Struct, frozen=True, kw_only=True):
    """What one of them earned. `key` is blank for positions of no strategy or layer, and a node's number; `name` is to read."""

    key: str
    name: str
    pnl: Decimal


class EquityChange(Struct, frozen=True, kw_only=True):
    """From the end of one day to that of another: `to_equity - from_equity = flows + pnl + revaluation`, exactly.

    Equity is the capital of the portfolios, and what positions have earned by their last marks. `revaluation` is what rates made
    of the equity that was there already, with what rounding left: nothing where all money is in the one currency.
    """

    from_equity: Decimal
    to_equity: Decimal
    flows: Decimal
    revaluation: Decimal


class Attribution(Struct, frozen=True, kw_only=True):
    """The change between the ends of two days, money in `currency`. `lines` add up to `pnl`, which is that of the calendar's days
    behind the first one. `equity` is None where no portfolio of the engine is in what was asked about."""

    from_date: date
    to_date: date
    by: By
    currency: str
    pnl: Decimal
    lines: tuple[Contribution, ...]
    equity: EquityChange | None


def attribution_of(
    session: Session,
    by: By,
    from_date: date,
    to_date: date,
    *,
    node: int | None = None,
    portfolio: str | None = None,
    currency: str | None = None,
) -> Attribution:
    """What each of them earned on the days behind `from_date` up to `to_date`, each day converted with its own rates.

    Raises PeriodNotValid, UnknownNode, UnknownPortfolio, CurrencyNeeded, MissingRate, NodeNotValid.
    """
    require_period(from_date, to_date)
    if from_date == to_date:
        raise PeriodNotValid(f"`from`: {from_date} must be before {to_date}: the change is what happened in between")
    scope = scope_of(session, to_date, node=node, portfolio=portfolio, currency=currency)
    rows_of(session, "for_a_roll_up")
    try:
        rows = rows_of(
            session,
            "attributed_pnl",
            dimension=by.value,
            from_day=from_date,
            to_day=to_date,
            node=node,
            portfolio=portfolio,
            currency=scope.currency,
        )
        lines = tuple(Contribution(key=row["key"], name=row["name"], pnl=row["pnl"]) for row in rows)
        pnl = sum((line.pnl for line in lines), ZERO)
        equity = _equity_change(session, scope, from_date, pnl)
    except DBAPIError as error:
        raise_missing_rate(error)
        raise
    return Attribution(
        from_date=from_date, to_date=to_date, by=by, currency=scope.currency, pnl=pnl, lines=lines, equity=equity
    )


def period_of(session: Session, from_date: date | None, to_date: date | None, today: date) -> tuple[date, date]:
    """The days that are meant where the one or the other is not said: the newest up to today of which there are marks, and the
    newest before the last, which are never too far apart. Without marks, today and the day before."""
    (row,) = rows_of(session, "last_days_of_marks", day=to_date or today)
    newest: date = row["newest"] or to_date or today
    last = to_date or newest
    before = row["before"] or newest
    if before == newest and newest > date.min:
        before = newest - _ONE_DAY
    return from_date or max(before, date.fromordinal(max(1, last.toordinal() - MOST_DAYS))), last


def _equity_change(session: Session, scope: Scope, from_date: date, pnl: Decimal) -> EquityChange | None:
    capital = capital_of(session, scope.portfolios)
    if not capital:
        return None
    before, after = (_equity(session, scope, capital, day) for day in (from_date, scope.day))
    flows = sum(
        (
            _converted(session, amount, own.currency, scope.currency, day)
            for own in capital
            for day, amount in own.flows
            if from_date < day <= scope.day
        ),
        ZERO,
    )
    return EquityChange(from_equity=before, to_equity=after, flows=flows, revaluation=after - before - flows - pnl)


def _equity(session: Session, scope: Scope, capital: Iterable[Capital], day: date) -> Decimal:
    """In each currency added up, converted and rounded once."""
    earned = rows_of(session, "earned_until", tree_day=scope.day, day=day, node=scope.node, portfolio=scope.portfolio)
    held = {row["base_ccy"]: row["earned"] for row in earned}
    for own in capital:
        paid = sum((amount for flowed_on, amount in own.flows if flowed_on <= day), own.initial)
        held[own.currency] = held.get(own.currency, ZERO) + paid
    return sum((_converted(session, held[name], name, scope.currency, day) for name in sorted(held)), ZERO)


def _converted(session: Session, amount: Decimal, from_ccy: str, to_ccy: str, day: date) -> Decimal:
    return money(product(amount, rate_between(session, from_ccy, to_ccy, day)))
