"""The archive of briefings: one a portfolio and trading day, made again until it was sent, and locked from then on."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from book.briefing import Day, Parts, Row, briefing_of
from book.database import transaction
from book.journal_reading import seq_at, signals_between
from book.journal_walk import JournalWalk
from book.pnl import daily_sums, rows_of_day
from book.portfolio_management import DailyBriefing
from book.projection import SETTLED_AFTER, Projector
from core.errors import Refused
from core.portfolio import Portfolio

_HISTORY_DAYS = 60


class NoBriefing(Refused):
    """there is no briefing of that day"""


class Kept(Struct, frozen=True, kw_only=True):
    """A briefing as it is kept."""

    portfolio: str
    briefing_date: date
    journal_seq: int
    generated_at: datetime
    is_locked: bool
    content_hash: str | None
    deliveries: dict[str, Any]
    parts: Parts


class _Stood(Struct, frozen=True, kw_only=True):
    portfolio: Portfolio
    seq: int
    exchanges: Mapping[str, str]


class Briefings:
    """Makes and keeps one portfolio's. `words` says of a row of the journal what was asked, and what became of it."""

    def __init__(
        self,
        projector: Projector,
        *,
        clock: Callable[[], datetime],
        stops_near_atr: Decimal,
        words: Callable[[Row], str],
    ) -> None:
        self._projector = projector
        self._portfolio = projector.portfolio
        self._ends = projector.ends
        self._engine = projector.engine
        self._clock = clock
        self._stops_near_atr = stops_near_atr
        self._words = words

    def last_day(self) -> date | None:
        """The last trading day of the portfolio's that is over; None where none is, or before the projector has begun."""
        walk = self._projector.walk
        if walk is None or walk.began_at is None:
            return None
        exchanges = frozenset(walk.exchanges.values())
        day = self._ends.last_day(exchanges, self._clock() - SETTLED_AFTER)
        over_at = None if day is None else self._ends.of_all(exchanges, day)
        return None if over_at is None or over_at < walk.began_at else day

    def of(self, day: date) -> Kept | None:
        """The one that is kept of a day."""
        with transaction(self._engine) as session:
            row = session.scalar(_own(self._portfolio, day))
            return None if row is None else kept_of(row)

    def make(self, day: date) -> Kept:
        """Make the briefing of a day that is over, or the one that is being sent or was; the same journal makes the same.

        The projector comes first: its rows are in it. Raises NoBriefing where that day is no trading day, is not over yet, or is
        before the portfolio's first.
        """
        known = self.of(day)
        if known is not None and (known.is_locked or known.deliveries):
            return known
        stood = self._stood(day)
        with transaction(self._engine) as session:
            since = self._day_before(stood.exchanges, day)
            after_seq = 0 if since is None else seq_at(session, self._portfolio, since, stood.seq)
            given = Day(
                portfolio=stood.portfolio,
                seq=stood.seq,
                day=day,
                exchanges=stood.exchanges,
                pnl=rows_of_day(session, self._portfolio, day),
                signals=signals_between(session, self._portfolio, after_seq, stood.seq),
                history=daily_sums(session, self._portfolio, day, _HISTORY_DAYS),
            )
            parts = briefing_of(given, self._ends, stops_near_atr=self._stops_near_atr, words=self._words)
            new = insert(DailyBriefing).values(
                portfolio=self._portfolio,
                briefing_date=day,
                journal_seq=stood.seq,
                generated_at=self._clock(),
                **asdict(parts),
            )
            written = {name: new.excluded[name] for name in (*asdict(parts), "journal_seq", "generated_at")}
            session.execute(
                new.on_conflict_do_update(
                    index_elements=["portfolio", "briefing_date"],
                    set_=written,
                    where=DailyBriefing.is_locked.is_(False) & DailyBriefing.deliveries.is_(None),
                )
            )
            return kept_of(session.scalars(_own(self._portfolio, day)).one())

    def begin_delivery(self, day: date, channel: str) -> bool:
        """A message about it is about to be sent. Whether another one was begun with before, and perhaps sent."""
        with transaction(self._engine) as session:
            row = session.scalars(_own(self._portfolio, day).with_for_update()).one()
            before = (row.deliveries or {}).get(channel)
            if not row.is_locked:
                row.deliveries = {
                    **(row.deliveries or {}),
                    channel: {"begun_at": _text(self._clock()), "taken_at": None},
                }
            return before is not None

    def end_delivery(self, day: date, channel: str) -> None:
        """It was taken."""
        with transaction(self._engine) as session:
            row = session.scalars(_own(self._portfolio, day).with_for_update()).one()
            if not row.is_locked:
                own = {**(row.deliveries or {}).get(channel, {}), "taken_at": _text(self._clock())}
                row.deliveries = {**(row.deliveries or {}), channel: own}

    def lock(self, day: date) -> None:
        """Nothing more comes to it: all were told, or there is nobody to tell."""
        with transaction(self._engine) as session:
            row = session.scalars(_own(self._portfolio, day).with_for_update()).one()
            row.is_locked = True

    def _stood(self, day: date) -> _Stood:
        """How all was as that day was over."""
        walk = self._projector.walk
        if walk is None or not walk.exchanges:
            walk = self._projector.walk_through(day)
        over_at = self._over_at(walk, day)
        evening = walk.evening
        if evening is not None and evening.end.at == over_at:
            return _Stood(portfolio=evening.portfolio, seq=evening.seq, exchanges=walk.exchanges)
        walk = self._projector.walk_through(day)
        return _Stood(portfolio=walk.portfolio, seq=walk.seq, exchanges=walk.exchanges)

    def _over_at(self, walk: JournalWalk, day: date) -> datetime:
        over_at = self._ends.of_all(frozenset(walk.exchanges.values()), day)
        if over_at is None:
            raise NoBriefing(f"{day} is no trading day of portfolio {self._portfolio}, by the calendar")
        if over_at >= self._clock() - SETTLED_AFTER:
            raise NoBriefing(f"{day} is not over: its figures are taken a minute after {over_at:%Y-%m-%d %H:%M} UTC")
        if walk.began_at is None or walk.began_at > over_at:
            raise NoBriefing(f"portfolio {self._portfolio} had not been started on {day}")
        return over_at

    def _day_before(self, exchanges: Mapping[str, str], day: date) -> datetime | None:
        """When the trading day before that one was over."""
        names = frozenset(exchanges.values())
        starts = [start for start in (self._ends.opening(name, day) for name in names) if start is not None]
        before = None if not starts else self._ends.last_day(names, min(starts))
        return None if before is None else self._ends.of_all(names, before)


def briefings_of(session: Session, portfolio: str, *, limit: int, before: date | None) -> list[DailyBriefing]:
    """The latest of a portfolio before a day, the newest first."""
    asked = select(DailyBriefing).where(DailyBriefing.portfolio == portfolio)
    if before is not None:
        asked = asked.where(DailyBriefing.briefing_date < before)
    return list(session.scalars(asked.order_by(DailyBriefing.briefing_date.desc()).limit(limit)))


def briefing_on(session: Session, portfolio: str, day: date) -> Kept | None:
    """The one of a day."""
    row = session.scalar(_own(portfolio, day))
    return None if row is None else kept_of(row)


def kept_of(row: DailyBriefing) -> Kept:
    """A row as it was read."""
    return Kept(
        portfolio=row.portfolio,
        briefing_date=row.briefing_date,
        journal_seq=row.journal_seq,
        generated_at=row.generated_at,
        is_locked=row.is_locked,
        content_hash=row.content_hash,
        deliveries=dict(row.deliveries or {}),
        parts=Parts(
            portfolio_snapshot=row.portfolio_snapshot,
            market_snapshot=row.market_snapshot,
            risk_summary=row.risk_summary,
            action_items=row.action_items,
            sections=row.sections,
        ),
    )


def _own(portfolio: str, day: date) -> Select[DailyBriefing]:
    asked = select(DailyBriefing).where(DailyBriefing.portfolio == portfolio, DailyBriefing.briefing_date == day)
    return asked.execution_options(populate_existing=True)


def _text(value: datetime) -> str:
    return value.isoformat(timespec="seconds").replace("+00:00", "Z")
