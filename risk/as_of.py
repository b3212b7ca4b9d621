"""What was known at a time: bars that were over, and of what is published again the revision that was out."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from msgspec import Struct
from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from book.reference_data import Instrument
from core.errors import Refused
from risk.market_data import TIMEFRAMES, MarketData
from risk.series import CurveData, MacroSeries
from risk.sources import DataSource, SeriesMetadata

# PostgreSQL does not see that what IS NULL is in order: without these all the bars before would be read and sorted.
_IN_THE_KEYS_ORDER = (MarketData.expiry, MarketData.strike, MarketData.option_type, MarketData.timestamp)


class NoSuchBars(Refused):
    """there are no bars of that, or it has to be said of which source"""


class SourceNeeded(NoSuchBars):
    """several sources tell such bars: which one is meant has to be said"""


class NoSuchSeries(Refused):
    """there is no such series of that source"""


class Bar(Struct, frozen=True, kw_only=True):
    """One bar; prices in points, `timestamp` (aware UTC) when it opened."""

    timestamp: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    settlement: Decimal | None = None
    volume: Decimal | None = None
    open_interest: Decimal | None = None


class Observation(Struct, frozen=True, kw_only=True):
    """A series' value of a day, as the newest revision told it that was out."""

    observation_date: date
    value: Decimal
    revision: int
    release_time: datetime


class CurvePoint(Struct, frozen=True, kw_only=True):
    """The rate, in per cent a year, that is so many days away."""

    tenor_days: int
    rate: Decimal
    revision: int
    release_time: datetime


class BarsOf(Struct, frozen=True, kw_only=True):
    """Which bars: by numbers, of a contract where there is an expiry; never an option's."""

    instrument_id: int
    source_id: int
    timeframe: str
    expiry: date | None = None

    def where(self) -> list[ColumnElement[bool]]:
        """The conditions, in the order of the key that finds them."""
        return [
            MarketData.instrument_id == self.instrument_id,
            MarketData.timeframe == self.timeframe,
            MarketData.source_id == self.source_id,
            MarketData.expiry.is_(None) if self.expiry is None else MarketData.expiry == self.expiry,
            MarketData.strike.is_(None),
            MarketData.option_type.is_(None),
        ]


def bars_of(
    session: Session, instrument: str, timeframe: str, *, source: str | None = None, expiry: date | None = None
) -> BarsOf:
    """Which bars are meant by names. Raises NoSuchBars; SourceNeeded where several sources have them and none is named."""
    number = session.scalar(select(Instrument.instrument_id).where(Instrument.symbol == instrument))
    if number is None:
        raise NoSuchBars(f"{instrument} is not in the master of instruments")
    if timeframe not in TIMEFRAMES:
        raise NoSuchBars(f"`timeframe`: {timeframe}: one of {', '.join(TIMEFRAMES)}")
    sources = select(DataSource.source_id, DataSource.name).order_by(DataSource.name)
    if source is not None:
        sources = sources.where(DataSource.name == source)
    found: list[tuple[BarsOf, str]] = []
    for source_id, name in session.execute(sources):
        of = BarsOf(instrument_id=number, source_id=source_id, timeframe=timeframe, expiry=expiry)
        if session.scalar(select(exists().where(*of.where()))):
            found.append((of, name))
    what = f"{instrument} {timeframe}" + (f" of the contract that expires on {expiry}" if expiry else "")
    if not found:
        raise NoSuchBars(f"there are no bars of {what}" + (f" by {source}" if source else ""))
    if len(found) > 1:
        raise SourceNeeded(f"{what}: name one of the sources {', '.join(name for _, name in found)}")
    return found[0][0]


def bars_as_of(session: Session, of: BarsOf, at: datetime, *, last: int) -> list[Bar]:
    """The last bars, at most so many, that were over at an aware instant, in order."""
    if at.utcoffset() is None:
        raise ValueError(f"{at} has no time zone")
    columns = [getattr(MarketData, name) for name in Bar.__struct_fields__]
    asked = (
        select(*columns)
        .where(*of.where(), MarketData.timestamp <= at.astimezone(UTC) - TIMEFRAMES[of.timeframe])
        .order_by(*(column.desc() for column in _IN_THE_KEYS_ORDER))
        .limit(last)
    )
    return [Bar(**row) for row in reversed(session.execute(asked).mappings().all())]


def series_of(session: Session, source: str, code: str) -> int:
    """The number of a series. Raises NoSuchSeries."""
    asked = select(SeriesMetadata.series_id).join(DataSource, DataSource.source_id == SeriesMetadata.source_id)
    found = session.scalar(asked.where(DataSource.name == source, SeriesMetadata.series_code == code))
    if found is None:
        raise NoSuchSeries(f"{source} has no series {code}")
    return found


def observations_as_of(session: Session, series_id: int, at: datetime) -> Sequence[Observation]:
    """Each day's value as it was known at an aware instant, in order: a revision that came later did not exist."""
    columns = [getattr(MacroSeries, name) for name in Observation.__struct_fields__]
    asked = (
        select(*columns)
        .where(MacroSeries.series_id == series_id, MacroSeries.release_time <= at)
        .ext(distinct_on(MacroSeries.observation_date))
        .order_by(MacroSeries.observation_date.desc(), MacroSeries.revision.desc())
    )
    return [Observation(**row) for row in reversed(session.execute(asked).mappings().all())]


def curve_as_of(session: Session, curve_id: str, source: str, day: date, at: datetime) -> Sequence[CurvePoint]:
    """A day's curve as it was known at an aware instant, the nearest tenor first."""
    columns = [getattr(CurveData, name) for name in CurvePoint.__struct_fields__]
    asked = (
        select(*columns)
        .join(DataSource, DataSource.source_id == CurveData.source_id)
        .where(CurveData.curve_id == curve_id, DataSource.name == source)
        .where(CurveData.curve_date == day, CurveData.release_time <= at)
        .ext(distinct_on(CurveData.tenor_days))
        .order_by(CurveData.tenor_days, CurveData.revision.desc())
    )
    return [CurvePoint(**row) for row in session.execute(asked).mappings()]
