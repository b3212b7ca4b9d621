"""Bars: open, high, low, close, with settlement, volume and open interest, of instruments, contracts and options."""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import CheckConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from book.base import one_of
from risk.base import Base, Created, OptionType, Price, Quantity, Reference, RowId, Time, by_time

_MINUTE = timedelta(minutes=1)
# How long a bar lasts: it is known at its end.
TIMEFRAMES = {
    **{f"{minutes}m": minutes * _MINUTE for minutes in (1, 3, 5, 10, 15, 30, 45)},
    **{f"{hours}h": timedelta(hours=hours) for hours in (1, 2, 3, 4)},
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
}
# A daily bar's time is 00:00 of its day on the exchange's clock: half a day later it is that day in UTC, wherever it is.
_HALF_A_DAY = timedelta(hours=12)


def day_of(timestamp: datetime) -> date:
    """The exchange's day of a daily bar."""
    return (timestamp + _HALF_A_DAY).astimezone(UTC).date()


class MarketData(Base):
    """One bar, of a contract where `expiry` is told, of an option where `strike` (points) and `option_type` are too.

    `timestamp` is when it opened; of a bar of a day or a week, 00:00 of its first day on the exchange's clock.
    """

    __tablename__ = "market_data"
    __table_args__ = (
        UniqueConstraint(
            "instrument_id",
            "timeframe",
            "source_id",
            "expiry",
            "strike",
            "option_type",
            "timestamp",
            name="uq_market_data_bar",
            postgresql_nulls_not_distinct=True,
        ),
        one_of("timeframe", *TIMEFRAMES),
        one_of("option_type", "CE", "PE"),
        CheckConstraint(
            "(strike IS NULL) = (option_type IS NULL)"
            " AND (strike IS NULL OR expiry IS NOT NULL AND strike > 0 AND strike < 'NaN')",
            name="option",
        ),
        CheckConstraint("low <= least(open, close) AND high >= greatest(open, close) AND high < 'NaN'", name="prices"),
        CheckConstraint("settlement < 'NaN'", name="settlement"),
        CheckConstraint("volume >= 0 AND volume < 'NaN'", name="volume"),
        CheckConstraint("open_interest >= 0 AND open_interest < 'NaN'", name="open_interest"),
        by_time("timestamp"),
    )

    id: Mapped[RowId]
    timestamp: Mapped[Time] = mapped_column(primary_key=True)
    instrument_id: Mapped[Reference]
    source_id: Mapped[Reference]
    timeframe: Mapped[str] = mapped_column(String(3))
    expiry: Mapped[date | None]
    strike: Mapped[Price | None]
    option_type: Mapped[OptionType | None]
    open: Mapped[Price]
    high: Mapped[Price]
    low: Mapped[Price]
    close: Mapped[Price]
    settlement: Mapped[Price | None]
    volume: Mapped[Quantity | None]
    open_interest: Mapped[Quantity | None]
    created_at: Mapped[Created]
