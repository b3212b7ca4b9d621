"""Bars in pages, the newest first, as they were known at a time."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from risk.as_of import Bar, bars_of
from risk.market_data import TIMEFRAMES, MarketData
from risk.sources import DataSource


def page_of_bars(
    session: Session,
    instrument: str,
    timeframe: str,
    *,
    at: datetime,
    most: int,
    source: str | None = None,
    expiry: date | None = None,
    begins: date | None = None,
    ends: date | None = None,
    before: datetime | None = None,
) -> tuple[str, list[Bar]]:
    """Who tells them, and the last bars, at most so many, that were over at an aware instant and opened on these days (UTC) and
    before that time, the newest first. Raises NoSuchBars, SourceNeeded.
    """
    of = bars_of(session, instrument, timeframe, source=source, expiry=expiry)
    columns: list[Any] = [getattr(MarketData, name) for name in Bar.__struct_fields__]
    known_from = at.astimezone(UTC) - TIMEFRAMES[timeframe]
    asked = select(*columns).where(*of.where(), MarketData.timestamp <= known_from)
    if begins is not None:
        asked = asked.where(MarketData.timestamp >= _midnight(begins))
    if ends is not None and ends < date.max:
        asked = asked.where(MarketData.timestamp < _midnight(ends) + timedelta(days=1))
    if before is not None:
        asked = asked.where(MarketData.timestamp < before)
    # In the key's order: what IS NULL is in order too, which PostgreSQL does not see.
    keys = (MarketData.expiry, MarketData.strike, MarketData.option_type, MarketData.timestamp)
    found = session.execute(asked.order_by(*(key.desc() for key in keys)).limit(most))
    told_by = session.scalars(select(DataSource.name).where(DataSource.source_id == of.source_id)).one()
    return told_by, [Bar(**row) for row in found.mappings()]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
