"""Which days are to be reckoned: trading days that are over, that the book has kept, and whose batch has not come to its end.

Nothing here needs arrays or frames: it is asked beside the engine.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from book.day_ends import DayEnds
from book.hierarchy import Position
from book.portfolio_management import DailyBriefing, PortfolioPosition
from book.projection_cursor import ProjectionCursor
from book.reference_data import Instrument
from core.trading_calendar import TradingCalendar
from risk.daily import CalculationAuditLog as Log
from risk.daily import PortfolioRisk

LAST_STEP = "snapshots"
# Ten trading days are within it, whatever the holidays.
_LOOKED_BACK = 31
_ONE_DAY = timedelta(days=1)


class DueDays:
    """Of the newest `most` trading days that are over by the calendar and so many seconds after their last close.

    A day waits until each portfolio that the book follows has a briefing of that day or a later one: what was decided on it is in
    the book by then. It waits `wait_seconds` at most, from its end or from `began`, whichever is later.
    """

    def __init__(
        self, calendar: TradingCalendar, *, close_seconds: int, wait_seconds: int, most: int, began: datetime
    ) -> None:
        self._ends = DayEnds(calendar, close_seconds)
        self._everywhere = {name for table in calendar.tables for name in table.exchanges}
        self._wait = timedelta(seconds=wait_seconds)
        self._most = most
        self._began = began

    def find(self, session: Session, now: datetime) -> list[date]:
        """Those that are due, the oldest first."""
        first, newest = _first_day(session), now.astimezone(UTC).date() + _ONE_DAY
        if first is None:
            return []
        looked_at = max(first, newest - timedelta(days=_LOOKED_BACK))
        done, kept_until = _done(session, looked_at), _kept_until(session)
        found: list[date] = []
        over, day = 0, newest
        while over < self._most and day >= looked_at:
            end = self._end_of(session, day, now)
            if end is not None:
                over += 1
                waited = now >= max(end, self._began) + self._wait
                if day not in done and (kept_until is None or day <= kept_until or waited):
                    found.append(day)
            day -= _ONE_DAY
        return found[::-1]

    def _end_of(self, session: Session, day: date, now: datetime) -> datetime | None:
        """When it was over, as the batch says; None where it is not, or no trading day."""
        end = self._ends.of_all(_exchanges(session, day) or self._everywhere, day)
        return None if end is None or now < end else end


def newest_day(session: Session) -> date | None:
    """The newest day that was reckoned to its end."""
    day = PortfolioRisk.calculation_date
    return session.scalar(select(day).where(PortfolioRisk.snapshot.is_not(None)).order_by(day.desc()).limit(1))


def _first_day(session: Session) -> date | None:
    """The first day on which anything was held; None: never yet."""
    firsts = [
        session.scalar(select(func.min(begun))) for begun in (PortfolioPosition.entry_timestamp, Position.created_at)
    ]
    return min((first.astimezone(UTC).date() for first in firsts if first is not None), default=None)


def _done(session: Session, since: date) -> Collection[date]:
    """The days whose last run has come to its end."""
    runs = select(Log.calculation_date, func.max(Log.run)).where(Log.calculation_date >= since)
    last = runs.group_by(Log.calculation_date).subquery()
    asked = (
        select(Log.calculation_date)
        .join(last, (last.c[0] == Log.calculation_date) & (last.c[1] == Log.run))
        .where(Log.calculation_type == LAST_STEP, Log.status == "completed")
    )
    return set(session.scalars(asked))


def _kept_until(session: Session) -> date | None:
    """The last day of which every portfolio that the book follows was told; None where it follows none."""
    told = (
        select(func.coalesce(func.max(DailyBriefing.briefing_date), date.min))
        .select_from(ProjectionCursor)
        .outerjoin(DailyBriefing, DailyBriefing.portfolio == ProjectionCursor.portfolio)
        .group_by(ProjectionCursor.portfolio)
    )
    return min(session.scalars(told), default=None)


def _exchanges(session: Session, day: date) -> set[str]:
    """Where what was held at the end of a day (UTC) is traded."""
    end = datetime.combine(day, time(0), UTC) + _ONE_DAY
    still_open = or_(PortfolioPosition.exit_timestamp.is_(None), PortfolioPosition.exit_timestamp >= end)
    positions = select(PortfolioPosition.instrument_id).where(PortfolioPosition.entry_timestamp < end, still_open)
    there = or_(Position.status == "ACTIVE", (Position.status == "CLOSED") & (Position.updated_at >= end))
    holdings = select(Position.instrument_id).where(Position.created_at < end, there)
    held = or_(Instrument.instrument_id.in_(positions), Instrument.instrument_id.in_(holdings))
    return set(session.scalars(select(func.coalesce(Instrument.exchange, "")).where(held).distinct()))
