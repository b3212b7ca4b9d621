"""What options are valued by at the end of a day: rates of the currency's curve, volatilities of the underlying's surface."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from math import log1p

from sqlalchemy import Double, cast, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from core.errors import Refused
from core.trading_calendar import BeyondHorizon
from risk.batch.given import Given
from risk.series import CurveData, VolSurface
from risk.sources import DataSource

_PER_CENT = 100.0
_Point = tuple[float, float]


class NoRate(Refused):
    """no curve of the currency is known"""


class NoSurface(Refused):
    """no volatility of the strike and expiry is known"""


def closes_at(given: Given, exchange: str | None, day: date) -> datetime:
    """When a day's last session ends on an exchange; the day's end in UTC where the calendar does not know, or nobody trades."""
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    if exchange is None or exchange not in {name for table in given.calendar.tables for name in table.exchanges}:
        return end
    try:
        sessions = given.calendar.sessions(exchange, day)
    except BeyondHorizon:
        return end
    return sessions[-1].closes_at if sessions else end


class Curves:
    """Rates a year, continuously compounded, of the curves that have a currency's name (`INR`), each read once."""

    def __init__(self, session: Session, given: Given) -> None:
        self._session = session
        self._given = given
        self._known: dict[str, list[_Point]] = {}

    def rate(self, currency: str, days: float) -> float:
        """So many days ahead: between two tenors on the line, outside of them the nearest one's. Raises NoRate."""
        if currency not in self._known:
            self._known[currency] = self._read(currency)
        points = self._known[currency]
        if not points:
            raise NoRate(
                f"no curve `{currency}` of the last {self._given.method.stale_days} days: `risk import curves`"
            )
        return log1p(_between(points, days) / _PER_CENT)

    def _read(self, currency: str) -> list[_Point]:
        day, oldest = self._given.day, self._given.day - timedelta(days=self._given.method.stale_days)
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        known = (
            CurveData.curve_id == currency,
            CurveData.curve_date.between(oldest, day),
            CurveData.release_time <= at,
        )
        newest = (
            select(CurveData.curve_date, CurveData.source_id)
            .join(DataSource, DataSource.source_id == CurveData.source_id)
            .where(*known)
            .order_by(CurveData.curve_date.desc(), DataSource.name)
            .limit(1)
        )
        of = self._session.execute(newest).first()
        if of is None:
            return []
        asked = (
            select(CurveData.tenor_days, cast(CurveData.rate, Double))
            .where(*known, CurveData.curve_date == of.curve_date, CurveData.source_id == of.source_id)
            .ext(distinct_on(CurveData.tenor_days))
            .order_by(CurveData.tenor_days, CurveData.revision.desc())
        )
        return [(float(tenor), rate) for tenor, rate in self._session.execute(asked)]


class Surfaces:
    """Implied volatilities a year by strike, of the newest surface of an underlying that has the expiry."""

    def __init__(self, session: Session, given: Given) -> None:
        self._session = session
        self._given = given
        self._known: dict[tuple[int, date], dict[str | None, list[_Point]]] = {}

    def volatility(self, underlying: int, expiry: date, strike: float, option_type: str) -> float:
        """Of a strike, or between two of them on the line; of the type (CE, PE), or of what is for both. Raises NoSurface."""
        key = (underlying, expiry)
        if key not in self._known:
            self._known[key] = self._read(underlying, expiry)
        by_type = self._known[key]
        points = by_type.get(option_type) or by_type.get(None)
        if not points:
            raise NoSurface(f"no volatility of {option_type} that expire on {expiry}: `risk import volatilities`")
        if not points[0][0] <= strike <= points[-1][0]:
            raise NoSurface(
                f"{option_type} {expiry}: known from {points[0][0]:g} to {points[-1][0]:g}, not at {strike:g}"
            )
        return _between(points, strike) / _PER_CENT

    def _read(self, underlying: int, expiry: date) -> dict[str | None, list[_Point]]:
        day, oldest = self._given.day, self._given.day - timedelta(days=self._given.method.stale_days)
        known = (
            VolSurface.instrument_id == underlying,
            VolSurface.expiry == expiry,
            VolSurface.strike.is_not(None),
            VolSurface.surface_date.between(oldest, day),
        )
        # The newest; of several sources the one with the most points, then the first by name.
        of = self._session.execute(
            select(VolSurface.surface_date, VolSurface.source_id)
            .join(DataSource, DataSource.source_id == VolSurface.source_id)
            .where(*known)
            .group_by(VolSurface.surface_date, VolSurface.source_id, DataSource.name)
            .order_by(VolSurface.surface_date.desc(), func.count().desc(), DataSource.name)
            .limit(1)
        ).first()
        found: dict[str | None, list[_Point]] = defaultdict(list)
        if of is not None:
            asked = select(
                VolSurface.option_type, cast(VolSurface.strike, Double), cast(VolSurface.implied_volatility, Double)
            )
            asked = asked.where(
                *known, VolSurface.surface_date == of.surface_date, VolSurface.source_id == of.source_id
            )
            for option_type, strike, volatility in self._session.execute(asked.order_by(VolSurface.strike)):
                found[option_type].append((strike, volatility))
        return found


def _between(points: Sequence[_Point], at: float) -> float:
    """On the line between the two points beside it; outside of all, the nearest one's."""
    place = bisect_left(points, at, key=lambda point: point[0])
    if place == 0:
        return points[0][1]
    if place == len(points):
        return points[-1][1]
    (left, low), (right, high) = points[place - 1], points[place]
    return low + (high - low) * (at - left) / (right - left)
