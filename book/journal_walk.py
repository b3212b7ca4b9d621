"""A portfolio's journal read entry by entry: what each position and proposal has become, and how all stood as days ended.

Pure: state changes by the kernel's own evolve, and nothing else. A checkpoint of it is read again, so that a start reads the
journal's end and not all of it.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from book.day_ends import DayEnd, DayEnds
from core.errors import StateDiverged
from core.events import (
    Event,
    PositionExited,
    PositionIncreased,
    PositionMarked,
    PositionOpened,
    PositionRolled,
    PositionSaved,
    ProposalDecided,
    ProposalMade,
    RolloverMarked,
    SettingsChanged,
)
from core.evolve import evolve
from core.journal import NO_HASH, read_events, require_known_format
from core.listed_contracts import contracts_document, contracts_from
from core.models import PortfolioState, Position, PyramidingState
from core.numbers import ZERO
from core.orders import Order
from core.portfolio import Portfolio, portfolio_from_rows
from core.proposals import Proposal
from core.settings import Settings


class JournalEntry(Struct, frozen=True, kw_only=True):
    """What is read of an entry; `events` and `figures` are JSON."""

    seq: int
    format: int
    events: str
    figures: str
    decided_at: datetime
    content_hash: str


class ProposalFate(Struct, frozen=True, kw_only=True):
    """A proposal that was made or decided, and what it was reckoned with (JSON)."""

    proposal: Proposal
    figures: str = "{}"
    decided_seq: int | None = None


class Evening(Struct, frozen=True, kw_only=True):
    """How a portfolio stood as a day ended on an exchange: `portfolio` is as of the entry `seq`."""

    end: DayEnd
    seq: int
    portfolio: Portfolio


class DayClosed(Struct, frozen=True, kw_only=True):
    """An exchange's positions as its day ended: those that are open, and those that were closed since the day before."""

    end: DayEnd
    positions: tuple[Position, ...]


class Change(Struct, kw_only=True):
    """What some entries have come to: positions and proposals as they are after the last of them, and days that ended."""

    positions: dict[str, Position] = {}
    proposals: dict[str, ProposalFate] = {}
    days: list[DayClosed] = []


class _Checkpoint(Struct, frozen=True, kw_only=True):
    seq: int
    content_hash: str
    state: PortfolioState
    positions: list[Position]
    pyramiding: list[PyramidingState]
    orders: list[Order]
    proposals: list[Proposal]
    settings: dict[str, Any]
    contracts: dict[str, Any]
    recovered_at: datetime | None
    closed: list[Position]
    exchanges: dict[str, str]
    days: dict[str, date]
    began_at: datetime | None


# So that no transaction keeps too much at once.
MOST_ROWS = 5_000
_ENCODER = msgspec.json.Encoder(decimal_format="string")
_CHECKPOINT = msgspec.json.Decoder(_Checkpoint)


class JournalWalk:
    """From a portfolio's first entry, or a checkpoint's, on. `exchanges` are those of the instruments, `evening` is the last
    end of a day that was passed; `began_at` is when the portfolio was started."""

    def __init__(self, name: str, ends: DayEnds) -> None:
        self.seq = 0
        self.content_hash = NO_HASH
        self.portfolio = Portfolio(
            name=name,
            settings=Settings(instruments={}),
            state=PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO),
        )
        self.evening: Evening | None = None
        self.began_at: datetime | None = None
        # Of instruments that are configured no longer, too: what is open of them is closed some day.
        self.exchanges: dict[str, str] = {}
        self._ends = ends
        self._next: dict[str, DayEnd] = {}
        self._closed: dict[str, Position] = {}

    def take(self, entries: Iterable[JournalEntry]) -> Change:
        """Go on over these, or as far as `MOST_ROWS` allow: `seq` says how far.

        Raises StateDiverged where one is missing, TooNew where a newer program wrote one.
        """
        change = Change()
        for entry in entries:
            if entry.seq != self.seq + 1:
                raise StateDiverged(f"the journal of {self.portfolio.name} goes on from {self.seq} with {entry.seq}")
            require_known_format(entry.seq, entry.format)
            self._end_days(entry.decided_at, change)
            if self._is_due(entry.decided_at):
                break
            self.began_at = self.began_at or entry.decided_at
            for event in read_events(entry.events):
                self._take(event, entry, change)
            self.portfolio = self.portfolio.settled()
            self.seq, self.content_hash = entry.seq, entry.content_hash
        return change

    def end_days(self, now: datetime) -> Change:
        """End the days that are over though nothing was decided since, or the first of them where their rows are many."""
        change = Change()
        self._end_days(now, change)
        return change

    def checkpoint(self) -> bytes:
        """All of it, to go on from."""
        portfolio = self.portfolio
        return _ENCODER.encode(
            _Checkpoint(
                seq=self.seq,
                content_hash=self.content_hash,
                state=portfolio.state,
                positions=list(portfolio.positions.values()),
                pyramiding=list(portfolio.pyramiding.values()),
                orders=list(portfolio.orders.values()),
                proposals=portfolio.pending_proposals(),
                settings=portfolio.settings.model_dump(mode="json"),
                contracts=contracts_document(portfolio.contracts),
                recovered_at=portfolio.recovered_at,
                closed=list(self._closed.values()),
                exchanges=self.exchanges,
                days={exchange: end.day for exchange, end in self._next.items()},
                began_at=self.began_at,
            )
        )

    @classmethod
    def resumed(cls, name: str, ends: DayEnds, checkpoint: bytes) -> "JournalWalk":
        """One that goes on from a checkpoint."""
        kept = _CHECKPOINT.decode(checkpoint)
        walk = cls(name, ends)
        walk.seq, walk.content_hash, walk.exchanges = kept.seq, kept.content_hash, kept.exchanges
        walk.began_at = kept.began_at
        portfolio = portfolio_from_rows(
            name,
            Settings.model_validate(kept.settings),
            kept.state,
            kept.positions,
            kept.pyramiding,
            kept.orders,
            contracts_from(kept.contracts),
            proposals=kept.proposals,
        )
        walk.portfolio = replace(portfolio, recovered_at=kept.recovered_at)
        walk._closed = {position.position_id: position for position in kept.closed}
        found = {exchange: ends.of(exchange, day) for exchange, day in kept.days.items()}
        walk._next = {exchange: end for exchange, end in found.items() if end is not None}
        return walk

    # --- what changes

    def _take(self, event: Event, entry: JournalEntry, change: Change) -> None:
        self.portfolio = evolve(self.portfolio, event)
        match event:
            case PositionOpened() | PositionSaved():
                self._note_position(event.position.position_id, change)
            case PositionMarked() | PositionExited() | PositionIncreased() | RolloverMarked() | PositionRolled():
                self._note_position(event.position_id, change)
            case ProposalMade():
                proposal = event.proposal
                change.proposals[proposal.proposal_id] = ProposalFate(proposal=proposal, figures=entry.figures)
            case ProposalDecided():
                self._note_decided(event.proposal_id, entry.seq, change)
            case SettingsChanged():
                self._know_exchanges(entry.decided_at)
            case _:
                pass

    def _note_position(self, position_id: str, change: Change) -> None:
        position = self.portfolio.positions.get(position_id)
        if position is None:
            position = self.portfolio.closed[position_id]
            self._closed[position_id] = position
        change.positions[position_id] = position

    def _note_decided(self, proposal_id: str, seq: int, change: Change) -> None:
        proposal = self.portfolio.decided_proposals[proposal_id]
        made = change.proposals.get(proposal_id)
        change.proposals[proposal_id] = ProposalFate(
            proposal=proposal,
            figures="{}" if made is None else made.figures,
            decided_seq=seq,
        )

    # --- days

    def _know_exchanges(self, at: datetime) -> None:
        self.exchanges |= {name: its.exchange for name, its in self.portfolio.settings.instruments.items()}
        for exchange in set(self.exchanges.values()) - self._next.keys():
            end = self._ends.first_from(exchange, at)
            if end is not None:
                self._next[exchange] = end

    def _end_days(self, now: datetime, change: Change) -> None:
        """Days end before what is decided after their end."""
        while self._is_due(now) and sum(len(closed.positions) for closed in change.days) < MOST_ROWS:
            self._end_first(change)

    def _is_due(self, now: datetime) -> bool:
        return bool(self._next) and min(self._next.values()).at < now

    def _end_first(self, change: Change) -> None:
        end = min(self._next.values())
        self.evening = Evening(end=end, seq=self.seq, portfolio=self.portfolio)
        positions = tuple(self._positions_on(end.exchange))
        if positions:
            change.days.append(DayClosed(end=end, positions=positions))
        for position in positions:
            self._closed.pop(position.position_id, None)
        following = self._ends.after(end)
        if following is None:
            del self._next[end.exchange]
        else:
            self._next[end.exchange] = following

    def _positions_on(self, exchange: str) -> Iterable[Position]:
        for held in (self._closed, self.portfolio.positions):
            for position in held.values():
                if self.exchanges.get(position.instrument, "") == exchange:
                    yield position
