"""The engine's positions as they stood at an instant, by its journal: lots, mark, stop and contract of each.

An instant is one of the book's clock: entries, exits and marks have the times of the signals that made them, not those at which
they were decided. What happened before it counts.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from book.journal_reading import entries_between, last_seq, seq_at
from book.journal_walk import JournalEntry
from book.portfolio_management import PortfolioPosition
from book.projection_cursor import ProjectionCursor
from core.events import (
    Event,
    PositionExited,
    PositionIncreased,
    PositionMarked,
    PositionOpened,
    PositionRolled,
    PositionSaved,
)
from core.evolve import evolve
from core.journal import read_events, require_known_format
from core.models import PortfolioState, Position
from core.numbers import ZERO
from core.portfolio import Portfolio
from core.settings import Settings
from risk.modelling.refusals import BookBehind

_AT_ONCE = 2_000
# A signal's time is at most a minute ahead of the clock that decides it.
_AHEAD = timedelta(minutes=2)
_OF_A_POSITION = '"position_'
_Moved = PositionOpened | PositionMarked | PositionExited | PositionIncreased | PositionRolled | PositionSaved


def positions_then(
    session: Session, portfolio: str, held: list[PortfolioPosition], at: datetime
) -> dict[str, Position]:
    """Those of the engine's positions that the book has as held, by their ids, as they stood just before `at`; one that the
    journal has closed by then has no lots.

    Raises BookBehind where the journal has opened one by then that the book does not know.
    """
    followed = _Followed(session, portfolio, {str(each.engine_position_id) for each in held}, at)
    for entry in _entries(session, portfolio, followed.projected, [each.entry_timestamp for each in held]):
        followed.take(entry)
    return followed.positions


def _entries(session: Session, portfolio: str, projected: int, entered: list[datetime]) -> Iterator[JournalEntry]:
    """From the one that opened the oldest position on, or from where the book ends; to the journal's end."""
    last = last_seq(session, portfolio, projected)
    begin = projected
    if entered:
        begin = min(begin, seq_at(session, portfolio, min(entered) - _AHEAD, last))
    for after in range(begin, last, _AT_ONCE):
        yield from entries_between(session, portfolio, after, min(after + _AT_ONCE, last))


class _Followed:
    """Positions followed through the entries of a journal until an instant."""

    def __init__(self, session: Session, portfolio: str, wanted: set[str], at: datetime) -> None:
        cursor = select(ProjectionCursor.seq).where(ProjectionCursor.portfolio == portfolio)
        self.projected: int = session.scalar(cursor) or 0
        self.positions: dict[str, Position] = {}
        self._session = session
        self._wanted = wanted
        self._at = at
        self._over: set[str] = set()
        self._portfolio = Portfolio(
            name=portfolio,
            settings=Settings(instruments={}),
            state=PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO),
        )

    def take(self, entry: JournalEntry) -> None:
        """Go on over an entry."""
        if _OF_A_POSITION not in entry.events:
            return
        require_known_format(entry.seq, entry.format)
        for event in read_events(entry.events):
            if isinstance(event, _Moved):
                self._take(event, entry)

    def _take(self, event: _Moved, entry: JournalEntry) -> None:
        position_id, opened = _whose(event)
        if position_id not in self._wanted:
            # What the book has come past it knows.
            is_new = entry.seq > self.projected and opened is not None and opened.is_open
            if is_new and _time_of(event, entry.decided_at) < self._at:
                self._require_known(position_id)
            return
        if position_id in self._over or (opened is None and position_id not in self.positions):
            return
        if _time_of(event, entry.decided_at) >= self._at:
            self._over.add(position_id)
            return
        self._portfolio = evolve(self._portfolio, event)
        found = self._portfolio.positions.get(position_id) or self._portfolio.closed[position_id]
        self.positions[position_id] = found

    def _require_known(self, position_id: str) -> None:
        asked = select(PortfolioPosition.id).where(
            PortfolioPosition.portfolio == self._portfolio.name, PortfolioPosition.engine_position_id == position_id
        )
        if self._session.scalar(asked) is None:
            raise BookBehind(f"the book has not heard of {position_id} yet: `book sync` tells it what the engine did")


def _whose(event: _Moved) -> tuple[str, Position | None]:
    """Of which position it is; the position, where the event brings it whole."""
    if isinstance(event, PositionOpened | PositionSaved):
        return event.position.position_id, event.position
    return event.position_id, None


def _time_of(event: Event, decided_at: datetime) -> datetime:
    match event:
        case PositionOpened():
            return event.position.entry_timestamp
        case PositionMarked():
            return event.mark_time
        case PositionExited():
            return event.exit_timestamp
        case PositionRolled():
            return event.fields.rollover_timestamp
        case _:
            return decided_at
