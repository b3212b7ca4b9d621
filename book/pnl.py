"""Daily profit and loss: of each position, as a trading day ended on its exchange, its mark and what it had earned by then.

A day's P&L is the difference to the last row before it. So they add up to what the position has earned, whatever days are kept,
and a day that is kept again, or later than the one after it, leaves the sum as it is.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, cast

from msgspec import Struct
from sqlalchemy import Select, Table, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from book.dollar_rates import DollarRates, in_dollars
from book.engine_rows import ids_of, open_value
from book.journal_walk import DayClosed
from book.portfolio_management import PortfolioPosition, PositionPnLHistory
from book.reference_data import Instrument
from core.models import Position
from core.numbers import ZERO

_WRITTEN = (
    "quantity",
    "mark_price",
    "fx_rate",
    "notional_base",
    "notional_usd",
    "unrealized_pnl_base",
    "unrealized_pnl_usd",
    "realized_pnl_base",
    "realized_pnl_usd",
    "daily_pnl_base",
    "daily_pnl_usd",
)
_ROWS_AT_ONCE = 1000


class PnLRow(Struct, frozen=True, kw_only=True):
    """One position's day, in words of the engine's. `realized` is net of costs, and so far; money in `currency`."""

    position_id: str
    instrument: str
    direction: str
    strategies: list[str]
    currency: str
    quantity: Decimal
    mark: Decimal
    notional: Decimal
    unrealized: Decimal
    realized: Decimal
    daily: Decimal
    daily_usd: Decimal | None


def keep_day(session: Session, portfolio: str, closed: DayClosed) -> int:
    """Keep a day of an exchange's; its positions have to be rows already. How many rows it has."""
    day = closed.end.day
    ids = ids_of(session, portfolio, [position.position_id for position in closed.positions])
    currencies = _currencies(session, list(ids.values()))
    rates = DollarRates(session, set(currencies.values()), [day])
    before = _totals(session, list(ids.values()), before=day)
    rows = []
    # Each once: one that was saved as open after it was closed is open.
    for position in {position.position_id: position for position in closed.positions}.values():
        own = ids[position.position_id]
        rows.append(_row(position, own, day, before.get(own, ZERO), rates.on(currencies[own], day)))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        given = insert(cast("Table", PositionPnLHistory.__table__))
        written = {name: given.excluded[name] for name in _WRITTEN}
        kept = given.on_conflict_do_update(index_elements=["position_id", "snapshot_date"], set_=written)
        # Returning, SQLAlchemy makes one statement of many rows; else each would be one.
        session.execute(kept.returning(PositionPnLHistory.id), rows[start : start + _ROWS_AT_ONCE]).all()
    _put_next_right(session, {row["position_id"]: _total(row) for row in rows}, day)
    return len(rows)


def rows_of_day(session: Session, portfolio: str, day: date) -> list[PnLRow]:
    """What is kept of a portfolio's day, by position."""
    found = session.execute(
        select(PositionPnLHistory, PortfolioPosition, Instrument.symbol)
        .join(PortfolioPosition, PortfolioPosition.id == PositionPnLHistory.position_id)
        .join(Instrument, Instrument.instrument_id == PortfolioPosition.instrument_id)
        .where(PortfolioPosition.portfolio == portfolio, PositionPnLHistory.snapshot_date == day)
        .order_by(PortfolioPosition.engine_position_id)
    )
    return [
        PnLRow(
            position_id=position.engine_position_id or "",
            instrument=symbol,
            direction=position.direction,
            strategies=position.strategy_ids,
            currency=position.base_ccy,
            quantity=row.quantity,
            mark=row.mark_price,
            notional=row.notional_base,
            unrealized=row.unrealized_pnl_base,
            realized=row.realized_pnl_base,
            daily=row.daily_pnl_base,
            daily_usd=row.daily_pnl_usd,
        )
        for row, position, symbol in found
    ]


def daily_sums(session: Session, portfolio: str, up_to: date, days: int) -> list[tuple[date, Decimal]]:
    """The last so many days up to that one, each with the sum of its P&L; the earliest first."""
    found = session.execute(
        select(PositionPnLHistory.snapshot_date, func.sum(PositionPnLHistory.daily_pnl_base))
        .join(PortfolioPosition, PortfolioPosition.id == PositionPnLHistory.position_id)
        .where(PortfolioPosition.portfolio == portfolio, PositionPnLHistory.snapshot_date <= up_to)
        .group_by(PositionPnLHistory.snapshot_date)
        .order_by(PositionPnLHistory.snapshot_date.desc())
        .limit(days)
    )
    return [(day, total) for day, total in reversed(found.all())]


def _row(position: Position, own: int, day: date, before: Decimal, rate: Decimal | None) -> dict[str, Any]:
    notional = open_value(position)
    daily = position.unrealized_pnl + position.realized_pnl - before
    return {
        "snapshot_date": day,
        "position_id": own,
        "quantity": position.quantity,
        "mark_price": position.mark_price,
        "fx_rate": rate,
        "notional_base": notional,
        "notional_usd": in_dollars(notional, rate),
        "unrealized_pnl_base": position.unrealized_pnl,
        "unrealized_pnl_usd": in_dollars(position.unrealized_pnl, rate),
        "realized_pnl_base": position.realized_pnl,
        "realized_pnl_usd": in_dollars(position.realized_pnl, rate),
        "daily_pnl_base": daily,
        "daily_pnl_usd": in_dollars(daily, rate),
    }


def _total(row: Mapping[str, Any]) -> Decimal:
    total: Decimal = row["unrealized_pnl_base"] + row["realized_pnl_base"]
    return total


def _currencies(session: Session, ids: Sequence[int]) -> dict[int, str]:
    asked = select(PortfolioPosition.id, PortfolioPosition.base_ccy).where(PortfolioPosition.id.in_(ids))
    return dict(session.execute(asked).all())


def _totals(session: Session, ids: Sequence[int], before: date) -> dict[int, Decimal]:
    """What each position had earned by its last row before that day."""
    rows = session.scalars(_nearest(ids).where(PositionPnLHistory.snapshot_date < before).order_by(*_LATEST))
    return {row.position_id: row.unrealized_pnl_base + row.realized_pnl_base for row in rows}


def _put_next_right(session: Session, totals: Mapping[int, Decimal], day: date) -> None:
    """The rows behind a day that was not there when they were written, or was another one."""
    rows = session.scalars(_nearest(list(totals)).where(PositionPnLHistory.snapshot_date > day).order_by(*_EARLIEST))
    for row in rows.all():
        daily = row.unrealized_pnl_base + row.realized_pnl_base - totals[row.position_id]
        if daily != row.daily_pnl_base:
            own = (PositionPnLHistory.id == row.id) & (PositionPnLHistory.snapshot_date == row.snapshot_date)
            values = {"daily_pnl_base": daily, "daily_pnl_usd": in_dollars(daily, row.fx_rate)}
            session.execute(update(PositionPnLHistory).where(own).values(values))


_LATEST = (PositionPnLHistory.position_id, PositionPnLHistory.snapshot_date.desc())
_EARLIEST = (PositionPnLHistory.position_id, PositionPnLHistory.snapshot_date)


def _nearest(ids: Sequence[int]) -> Select[PositionPnLHistory]:
    return (
        select(PositionPnLHistory)
        .ext(distinct_on(PositionPnLHistory.position_id))
        .where(PositionPnLHistory.position_id.in_(ids))
        .execution_options(populate_existing=True)
    )
