"""Daily P&L of positions that a person entered: by the prices that were uploaded, of each trading day or the last before it.

A price counts from the entry on, in the position's currency; until there is one, a position has no mark. The day of that price is
kept, too (`price_date`). Where a price or a position is corrected, its days from then on are taken away, and kept anew later.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import Engine, delete, func, insert, select
from sqlalchemy.orm import Session

from book.database import transaction
from book.day_ends import DayEnds
from book.dollar_rates import DollarRates, in_dollars
from book.market_data import InstrumentPrice, MarketDataFeed
from book.portfolio_management import PortfolioPosition, PositionPnLHistory
from book.reference_data import Instrument
from book.statements import rows_of
from core.numbers import ZERO, money, product, quotient

SOURCE = "manual"
POSITIONS_AT_ONCE = 500
_LIMIT_SECONDS = 600.0
_MOST_MONEY = Decimal(10) ** 16
_IN_DOLLARS = ("notional", "unrealized_pnl", "realized_pnl", "daily_pnl")
_Prices = tuple[list[date], list[Decimal]]
_NO_PRICES: _Prices = ([], [])
log = structlog.get_logger(__name__)


def value_of(instrument: Instrument, quantity: Decimal, price: Decimal) -> Decimal:
    """What so many units are worth at a price, in money: a point is worth `point_value` a lot."""
    whole = product(quantity, price, instrument.point_value or 1)
    return money(quotient(whole, instrument.lot_size or 1))


def keep_entered_days(engine: Engine, ends: DayEnds, now: datetime) -> int:
    """Keep the days that are over by now and are not kept yet; how many rows. Raises DatabaseAway, BookNotMigrated."""
    kept, after = 0, 0
    while True:
        with transaction(engine, limit_seconds=_LIMIT_SECONDS) as session:
            rows_of(session, "hold_entered_marks")
            found = _to_mark(session, after)
            new = list(_new_rows(session, found, ends, now))
            if new:
                session.execute(insert(PositionPnLHistory), new)
        kept += len(new)
        if len(found) < POSITIONS_AT_ONCE:
            return kept
        after = found[-1][0].id


def forget_marks(
    session: Session, *, since: date, position: int | None = None, instruments: Iterable[int] | None = None
) -> None:
    """Take away the days of a position, or of all that were entered in some instruments, from a day on: they are kept anew."""
    rows_of(session, "hold_entered_marks")
    own = select(PortfolioPosition.id).where(PortfolioPosition.source == SOURCE)
    if position is not None:
        own = own.where(PortfolioPosition.id == position)
    if instruments is not None:
        own = own.where(PortfolioPosition.instrument_id.in_(list(instruments)))
    gone = delete(PositionPnLHistory).where(
        PositionPnLHistory.position_id.in_(own), PositionPnLHistory.snapshot_date >= since
    )
    session.execute(gone, execution_options={"synchronize_session": False})


def _to_mark(session: Session, after: int) -> list[tuple[PortfolioPosition, Instrument, date | None]]:
    """Positions behind that one whose last day may not be kept yet, and the last that is."""
    last = (
        select(func.max(PositionPnLHistory.snapshot_date))
        .where(PositionPnLHistory.position_id == PortfolioPosition.id)
        .scalar_subquery()
    )
    left = func.date(func.timezone("UTC", PortfolioPosition.exit_timestamp))
    found = session.execute(
        select(PortfolioPosition, Instrument, last)
        .join(Instrument, Instrument.instrument_id == PortfolioPosition.instrument_id)
        .where(PortfolioPosition.source == SOURCE, PortfolioPosition.id > after)
        .where(PortfolioPosition.is_open | last.is_(None) | (last < left))
        .order_by(PortfolioPosition.id)
        .limit(POSITIONS_AT_ONCE)
    )
    return [(position, instrument, day) for position, instrument, day in found]


def _new_rows(
    session: Session,
    found: list[tuple[PortfolioPosition, Instrument, date | None]],
    ends: DayEnds,
    now: datetime,
) -> Iterator[dict[str, Any]]:
    days = {
        position.id: list(_days(position, instrument.exchange or "", last, ends, now))
        for position, instrument, last in found
    }
    wanted = [day for own in days.values() for day in own]
    prices = _prices(session, {position.instrument_id for position, _, _ in found}, max(wanted, default=None))
    rates = DollarRates(session, {position.base_ccy for position, _, _ in found}, wanted)
    totals = _totals(session, [(position.id, last) for position, _, last in found if last is not None])
    for position, instrument, _ in found:
        total = totals.get(position.id, ZERO)
        of_its = prices.get((position.instrument_id, position.base_ccy), _NO_PRICES)
        for day in days[position.id]:
            row = _row(position, instrument, day, of_its)
            if row is None:
                continue
            rate = rates.on(position.base_ccy, day)
            earned = row["unrealized_pnl_base"] + row["realized_pnl_base"]
            row["daily_pnl_base"] = earned - total
            row |= {f"{name}_usd": in_dollars(row[f"{name}_base"], rate) for name in _IN_DOLLARS}
            if all(abs(row[f"{name}_{of}"] or ZERO) < _MOST_MONEY for name in _IN_DOLLARS for of in ("base", "usd")):
                total = earned
                yield {**row, "fx_rate": rate}
            else:
                # A price that no column holds the money of is none.
                log.warning(
                    "a day of an entered position is too large to be kept", position=position.id, day=day.isoformat()
                )


def _days(
    position: PortfolioPosition, exchange: str, last: date | None, ends: DayEnds, now: datetime
) -> Iterator[date]:
    """The trading days that are over and not kept, to the one on which it was closed, or the first after that."""
    over = ends.last_before(exchange, now)
    left = None if position.exit_timestamp is None else position.exit_timestamp.astimezone(UTC).date()
    day = position.entry_timestamp.astimezone(UTC).date() if last is None else last + timedelta(days=1)
    while over is not None and day <= over.day:
        if ends.of(exchange, day) is not None:
            yield day
            if left is not None and day >= left:
                return
        day += timedelta(days=1)


def _row(position: PortfolioPosition, instrument: Instrument, day: date, prices: _Prices) -> dict[str, Any] | None:
    """Its day; None where it is open and was never priced."""
    own = {"position_id": position.id, "snapshot_date": day}
    left = position.exit_timestamp
    if left is not None and left.astimezone(UTC).date() <= day:
        closed = {"quantity": ZERO, "notional_base": ZERO, "unrealized_pnl_base": ZERO}
        sold = {"mark_price": position.exit_price or position.entry_price, "price_date": left.astimezone(UTC).date()}
        return {**own, **closed, **sold, "realized_pnl_base": position.realized_pnl_base}
    place = bisect_right(prices[0], day) - 1
    if place < 0 or prices[0][place] < position.entry_timestamp.astimezone(UTC).date():
        return None
    value = value_of(instrument, position.quantity, prices[1][place])
    gained = value - position.notional_base if position.direction == "LONG" else position.notional_base - value
    return {
        **own,
        "quantity": position.quantity,
        "mark_price": prices[1][place],
        "price_date": prices[0][place],
        "notional_base": value,
        "unrealized_pnl_base": gained,
        # Costs count when it is closed.
        "realized_pnl_base": ZERO,
    }


def _prices(session: Session, instruments: Iterable[int], up_to: date | None) -> Mapping[tuple[int, str], _Prices]:
    """By instrument and currency the days that have a price, and the last one that was brought for each."""
    found: dict[tuple[int, str], _Prices] = defaultdict(lambda: ([], []))
    if up_to is None:
        return found
    rows = session.execute(
        select(
            InstrumentPrice.instrument_id, InstrumentPrice.currency, InstrumentPrice.as_of_date, InstrumentPrice.price
        )
        .join(MarketDataFeed, MarketDataFeed.feed_id == InstrumentPrice.feed_id)
        .where(InstrumentPrice.instrument_id.in_(sorted(instruments)), InstrumentPrice.as_of_date <= up_to)
        .where(MarketDataFeed.validation_status.in_(("PASS", "WARN")))
        .order_by(InstrumentPrice.as_of_date, InstrumentPrice.feed_id)
    )
    for instrument, currency, day, price in rows:
        days, prices = found[instrument, currency]
        if days and days[-1] == day:
            prices[-1] = price
        else:
            days.append(day)
            prices.append(price)
    return found


def _totals(session: Session, lasts: list[tuple[int, date]]) -> dict[int, Decimal]:
    """What each had earned by its last day."""
    wanted = dict(lasts)
    rows = session.scalars(
        select(PositionPnLHistory).where(
            PositionPnLHistory.position_id.in_(wanted), PositionPnLHistory.snapshot_date.in_(set(wanted.values()))
        )
    )
    return {
        row.position_id: row.unrealized_pnl_base + row.realized_pnl_base
        for row in rows
        if wanted[row.position_id] == row.snapshot_date
    }
