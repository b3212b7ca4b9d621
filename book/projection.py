"""What the engine's journal says, as the book's rows: positions, proposals and the P&L of days, exactly once.

The journal is read behind a cursor, and each part of it kept in one transaction with the cursor's next place: killed at any step
and run again it comes to the same. The cursor holds the hash of the entry that it is at: where the journal has another one
there, it has gone back, and all that was made of it is made anew. Of two that do this at once, one goes on from what the other
has kept.
"""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta

import structlog
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Engine, and_, column, delete, func, not_, select, true
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from book.database import transaction
from book.day_ends import DayEnds
from book.decision_journal import entries_of
from book.engine_rows import EngineRows
from book.entered_marks import keep_entered_days
from book.hierarchy import LivePortfolio
from book.journal_reading import entries_between, last_seq
from book.journal_walk import Change, DayClosed, JournalWalk
from book.market_data import MarketDataFeed
from book.pnl import keep_day
from book.portfolio_management import PortfolioPosition, PositionPnLHistory, TradeProposal
from book.projection_cursor import ProjectionCursor
from book.totals import keep_totals
from core.errors import Retryable
from core.journal import NO_HASH

ENTRIES_AT_ONCE = 500
CHECKPOINT_EVERY = 5_000
_TRIES = 5
# What was decided before a day's end is in the journal by then.
SETTLED_AFTER = timedelta(seconds=60)
log = structlog.get_logger(__name__)


class Overtaken(Retryable):
    """another one has brought the book further meanwhile"""


class Synced(Struct, frozen=True, kw_only=True):
    """How far it has come, by so many entries, and so many days of exchanges; `anew`: from the first entry on, as the journal had
    gone back."""

    seq: int
    entries: int = 0
    days: int = 0
    anew: bool = False


class Projector:
    """One portfolio's. `pause` is called between two parts of a long journal: nobody is to wait for them."""

    def __init__(
        self,
        engine: Engine,
        portfolio: str,
        ends: DayEnds,
        *,
        clock: Callable[[], datetime],
        at_once: int = ENTRIES_AT_ONCE,
        checkpoint_every: int = CHECKPOINT_EVERY,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self.portfolio = portfolio
        self.ends = ends
        self.engine = engine
        self._clock = clock
        self._at_once = at_once
        self._checkpoint_every = checkpoint_every
        self._pause = pause
        self._walk: JournalWalk | None = None
        self._checkpoint_seq = 0
        self._outside: object = None

    @property
    def walk(self) -> JournalWalk | None:
        """Where it is, in memory; None before it has begun, and after something went wrong."""
        return self._walk

    def sync(self) -> Synced:
        """Bring the book up to the journal's end, end the days that are over, those of entered positions too, and reckon
        totals that are stale by then.

        Raises DatabaseAway, StatementFailed (the book is not migrated, say), and Overtaken, after which it is to be tried again.
        """
        again = retry_if_exception_type(Overtaken)
        for attempt in Retrying(retry=again, stop=stop_after_attempt(_TRIES), wait=wait_random(0, 0.1), reraise=True):
            with attempt:
                synced = self._sync()
        keep_entered_days(self.engine, self.ends, self._clock())
        keep_totals(self.engine)
        return synced

    def keep_day_again(self, day: date) -> int:
        """Keep the P&L of a past day by the journal up to then; how many rows it has. `sync` comes first."""
        days: list[DayClosed] = []
        for change in self._changes_through(day):
            days += [closed for closed in change.days if closed.end.day == day]
        with transaction(self.engine) as session:
            return sum(keep_day(session, self.portfolio, closed) for closed in days)

    def walk_through(self, day: date) -> JournalWalk:
        """The portfolio as that day was over on all exchanges, by the journal alone; its `evening` may be an earlier day's."""
        walk = JournalWalk(self.portfolio, self.ends)
        for _ in self._changes_through(day, walk):
            pass
        return walk

    # --- from where

    def _sync(self) -> Synced:
        try:
            anew = not self._begin()
            if anew:
                self._make_anew()
            return replace(self._go_on(), anew=anew)
        except BaseException:
            # What is in memory may be further than what was kept.
            self._walk = None
            raise

    def _begin(self) -> bool:
        """Whether the journal still has what the cursor says; the walk is there then."""
        with transaction(self.engine) as session:
            cursor = session.get(ProjectionCursor, self.portfolio)
            seq, kept_hash = (0, NO_HASH) if cursor is None else (cursor.seq, cursor.content_hash)
            checkpoint = None if cursor is None else cursor.checkpoint
            self._checkpoint_seq = 0 if cursor is None else cursor.checkpoint_seq
            if not _journal_has(session, self.portfolio, seq, kept_hash):
                return False
        if self._walk is None or (self._walk.seq, self._walk.content_hash) != (seq, kept_hash):
            self._walk = self._walked(checkpoint, seq)
        return self._walk.content_hash == kept_hash

    def _walked(self, checkpoint: bytes | None, seq: int) -> JournalWalk:
        """Where the cursor is, by what was kept: nothing of it is kept again."""
        if checkpoint is None:
            walk = JournalWalk(self.portfolio, self.ends)
        else:
            walk = JournalWalk.resumed(self.portfolio, self.ends, checkpoint)
        while walk.seq < seq:
            with transaction(self.engine) as session:
                entries = entries_between(session, self.portfolio, walk.seq, min(walk.seq + self._at_once, seq))
            if not entries:
                raise Overtaken("the journal went back while it was read")
            walk.take(entries)
            self._pause()
        return walk

    def _make_anew(self) -> None:
        with transaction(self.engine) as session:
            cursor = _locked(session, self.portfolio)
            if _journal_has(session, self.portfolio, cursor.seq, cursor.content_hash):
                raise Overtaken
            log.warning("the journal went back: the book is made anew of it", portfolio=self.portfolio, seq=cursor.seq)
            _forget(session, self.portfolio)
            cursor.seq, cursor.content_hash = 0, NO_HASH
            cursor.checkpoint, cursor.checkpoint_seq = None, 0
        self._walk, self._checkpoint_seq = JournalWalk(self.portfolio, self.ends), 0

    # --- from there on

    def _go_on(self) -> Synced:
        entries_kept = days_kept = 0
        walk = self._walk
        assert walk is not None  # noqa: S101 - begun with
        while True:
            seq, content_hash = walk.seq, walk.content_hash
            with transaction(self.engine) as session:
                entries = entries_between(session, self.portfolio, seq, seq + self._at_once)
            change = walk.take(entries)
            if not entries:
                change = walk.end_days(self._clock() - SETTLED_AFTER)
            days_kept += self._keep(walk, seq, content_hash, change)
            entries_kept += len(entries)
            if not entries and not change.days:
                return Synced(seq=walk.seq, entries=entries_kept, days=days_kept)
            self._pause()

    def _keep(self, walk: JournalWalk, seq: int, content_hash: str, change: Change) -> int:
        """In one transaction all that the entries behind `seq` have come to, and the cursor behind them."""
        with transaction(self.engine) as session:
            outside = _outside(session, self.portfolio)
            if walk.seq == seq and not change.days and outside == self._outside:
                return 0
            cursor = _locked(session, self.portfolio)
            if (cursor.seq, cursor.content_hash) != (seq, content_hash):
                raise Overtaken
            rows = EngineRows(session, self.portfolio, walk.portfolio.settings)
            rows.keep_positions(change.positions)
            rows.keep_proposals(change.proposals.values())
            for closed in change.days:
                keep_day(session, self.portfolio, closed)
            if outside != self._outside:
                rows.hang_together()
                rows.fill_dollars()
            cursor.seq, cursor.content_hash = walk.seq, walk.content_hash
            checkpoint_seq = self._checkpoint_seq
            if walk.seq - checkpoint_seq >= self._checkpoint_every:
                checkpoint_seq = walk.seq
                cursor.checkpoint, cursor.checkpoint_seq = walk.checkpoint(), checkpoint_seq
        self._outside, self._checkpoint_seq = outside, checkpoint_seq
        return len(change.days)

    # --- a past day

    def _changes_through(self, day: date, walk: JournalWalk | None = None) -> Iterator[Change]:
        """What each part of the journal came to, until that day is over on every exchange."""
        walk = walk or JournalWalk(self.portfolio, self.ends)
        over_at = None
        while True:
            with transaction(self.engine) as session:
                entries = entries_between(session, self.portfolio, walk.seq, walk.seq + self._at_once)
            for entry in entries:
                if walk.exchanges and (over_at is None or entry.decided_at > over_at):
                    entries = []
                    break
                while walk.seq < entry.seq:
                    yield walk.take([entry])
                over_at = self._over_at(walk, day)
            if not entries:
                break
        while over_at is not None and (change := walk.end_days(over_at + timedelta(microseconds=1))).days:
            yield change

    def _over_at(self, walk: JournalWalk, day: date) -> datetime | None:
        return self.ends.of_all(frozenset(walk.exchanges.values()), day)


# How many, too: a feed's number is taken before it is committed, and one that was refused may be taken back.
_RATES = select(func.max(MarketDataFeed.feed_id), func.count()).where(
    MarketDataFeed.feed_type == "FX_SPOT", MarketDataFeed.validation_status.in_(("PASS", "WARN"))
)


def _outside(session: Session, portfolio: str) -> tuple[object, ...]:
    """What changes rows besides the journal: the rates that there are, and where the portfolio hangs."""
    node_id = session.scalar(select(LivePortfolio.portfolio_node_id).where(LivePortfolio.portfolio == portfolio))
    return (*session.execute(_RATES).one(), node_id)


def lag(session: Session, portfolio: str) -> int:
    """How many entries of its journal the book does not tell of yet."""
    seq = session.scalar(select(ProjectionCursor.seq).where(ProjectionCursor.portfolio == portfolio)) or 0
    return last_seq(session, portfolio, known=seq) - seq


def _locked(session: Session, portfolio: str) -> ProjectionCursor:
    """The cursor, which nobody else may move until this transaction ends."""
    new = insert(ProjectionCursor).values(portfolio=portfolio, seq=0, content_hash=NO_HASH)
    session.execute(new.on_conflict_do_nothing())
    own = select(ProjectionCursor).where(ProjectionCursor.portfolio == portfolio).with_for_update()
    return session.scalars(own, execution_options={"populate_existing": True}).one()


def _journal_has(session: Session, portfolio: str, seq: int, content_hash: str) -> bool:
    if seq == 0:
        return True
    found = entries_of(portfolio, seq - 1, seq).subquery()
    return session.scalar(select(found.c.content_hash)) == content_hash


def _forget(session: Session, portfolio: str) -> None:
    """All that was made of a journal that has gone back. What a person wrote on a position that it still has is kept."""
    of_portfolio = PortfolioPosition.portfolio == portfolio
    own = select(PortfolioPosition.id).where(of_portfolio)
    session.execute(delete(PositionPnLHistory).where(PositionPnLHistory.position_id.in_(own)))
    session.execute(delete(TradeProposal).where(TradeProposal.portfolio == portfolio))
    session.execute(delete(PortfolioPosition).where(and_(of_portfolio, not_(_in_the_journal(portfolio)))))


def _in_the_journal(portfolio: str) -> ColumnElement[bool]:
    entries = entries_of(portfolio).subquery()
    event = func.jsonb_array_elements(entries.c.events).table_valued(column("value", JSONB), name="event")
    opened = event.c.value["position"]["position_id"].astext
    ids = select(opened).select_from(entries).join(event, true()).where(opened.is_not(None))
    return PortfolioPosition.engine_position_id.in_(ids)
