"""`verify`: the journal decided again from its first entry, its hash chain, and every row that it must account for."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.decide import Decision, decide, failed
from core.errors import PortfolioError
from core.events import Event, OrderIntended, OrderReported, PositionOpened, PositionSaved, ProposalMade
from core.evolve import evolve
from core.inputs import Input, OrderReport
from core.journal import (
    FORMAT,
    NO_HASH,
    RULES_VERSION,
    Entry,
    JournalRow,
    content_of,
    hash_of,
    journal_record,
    new_fills,
    read_events,
    read_input,
    read_json,
)
from core.models import PortfolioState, Position, Status
from core.numbers import ZERO
from core.orders import Order
from core.portfolio import Portfolio
from core.postgres.journal_stream import JournalStream, Row
from core.proposals import Proposal
from core.settings import Settings

_Read = TypeVar("_Read")
# What the sender of an input was told, and whoever sends the same again, as plain values.
Told = dict[str, Any]


class Wrong(PortfolioError):
    """the journal, or a row that it accounts for, is not what it has to be; the message names the first"""


class Verified(Struct, frozen=True, kw_only=True):
    """What was checked: entries decided again, entries of older rules applied again, hashes, rows of tables."""

    entries: int
    redecided: int
    reapplied: int
    hashes: int
    signals: int
    positions: int
    orders: int
    fills: int
    last_hash: str


def verify(stream: JournalStream, name: str, progress: Callable[[int], None] = lambda _: None) -> Verified:
    """Check everything; Wrong names the first entry or row that is not what it has to be."""
    checker = _Checker(stream, name)
    for rows in stream.entries():
        for row in rows:
            checker.take(row)
        checker.check_orders(rows)
        checker.check_proposals()
        checker.check_signals()
        checker.check_closed()
        progress(len(rows))
    return checker.finish()


class _Checker:
    def __init__(self, stream: JournalStream, name: str) -> None:
        self._stream = stream
        self._portfolio = Portfolio(
            name=name,
            settings=Settings(instruments={}),
            state=PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO),
        )
        self._seq = 0
        self._hash = NO_HASH
        self._term = 0
        self._counted = {"redecided": 0, "reapplied": 0, "hashes": 0, "signals": 0, "fills": 0}
        self._told: dict[str, tuple[int, Told]] = {}
        self._opened: int = 0
        self._closed: dict[str, Position] = {}
        self._suspects: dict[str, Position] = {}
        self._orders: int = 0
        self._reported: set[str] = set()
        self._fills: list[Row] = []
        self._settled: dict[str, Order] = {}
        self._proposed: int = 0
        self._decided_proposals: dict[str, Proposal] = {}

    def take(self, row: JournalRow) -> None:
        """One entry: its place, its hash, its decision."""
        self._check_place(row)
        plain = row.plain()
        content = content_of(plain)
        self._check_hash(row, content)
        given, before = _read(row, "input", read_input), self._portfolio
        told = {**plain["outcome"], "sizing": plain["figures"]}
        same_rules = row.rules_version == RULES_VERSION
        events = self._redecide(row, given, told, content) if same_rules else self._reapply(row)
        self._count(row, given, events, before)
        if row.fingerprint is not None:
            self._told[row.fingerprint] = (row.seq, told)
        self._portfolio = self._portfolio.settled()

    def check_signals(self) -> None:
        """The signal log says of the signals that were decided lately what the journal says."""
        logged = self._stream.signals(self._told)
        for fingerprint, (seq, told) in self._told.items():
            kept = logged.get(fingerprint)
            if kept is None:
                raise Wrong(f"signal_log: no row of fingerprint {fingerprint}, decided by journal entry {seq}")
            if kept["processing_status"] != told["status"] or read_json(kept["outcome"]) != told:
                raise Wrong(f"signal_log: {fingerprint} is not what journal entry {seq} decided")
        self._counted["signals"] += len(self._told)
        self._told.clear()

    def check_closed(self) -> None:
        """The rows of what was closed lately; one that differs may still be changed by a later entry by hand."""
        kept = self._stream.positions(self._closed)
        for position_id, position in self._closed.items():
            if kept.get(position_id) == position:
                self._suspects.pop(position_id, None)
            else:
                self._suspects[position_id] = position
        self._closed.clear()

    def check_orders(self, rows: Sequence[JournalRow]) -> None:
        """The rows of what was settled and filled lately; neither is ever changed again."""
        kept = self._stream.orders(self._settled)
        for order_id, order in self._settled.items():
            if kept.get(order_id) != order:
                raise Wrong(f"orders: {order_id} is not what the journal left of it")
        reports = [row.seq for row in rows if row.kind == "report"]
        # Of what else there is in the table the count tells, at the end.
        if self._stream.fills_of(reports, self._reported) != sorted(self._fills, key=_fill_key):
            raise Wrong(f"fills: those of journal entries {reports[0]} to {reports[-1]} are not what was booked")
        self._counted["fills"] += len(self._fills)
        self._settled.clear()
        self._reported.clear()
        self._fills.clear()

    def check_proposals(self) -> None:
        """The rows of what was decided by humans lately, or by none in time; they are never changed again."""
        kept = self._stream.proposals(self._decided_proposals)
        for proposal_id, proposal in self._decided_proposals.items():
            if kept.get(proposal_id) != proposal:
                raise Wrong(f"proposals: {proposal_id} is not what the journal left of it")
        self._decided_proposals.clear()

    def finish(self) -> Verified:
        """The state tables are what the journal leads to."""
        for position_id in self._suspects:
            raise Wrong(f"portfolio_positions: {position_id} is not what the journal left of it")
        self._check_tables()
        return Verified(
            entries=self._seq,
            positions=self._opened,
            orders=self._orders,
            last_hash=self._hash,
            **self._counted,
        )

    def _check_place(self, row: JournalRow) -> None:
        if row.seq != self._seq + 1:
            raise Wrong(f"journal entry {self._seq + 1} is missing: entry {row.seq} comes after {self._seq}")
        if row.term < self._term:
            raise Wrong(f"journal entry {row.seq}: its term {row.term} is below the one before, {self._term}")
        if row.format > FORMAT:
            raise Wrong(
                f"journal entry {row.seq} is of format {row.format}: this program knows {FORMAT}, use a newer one"
            )
        self._seq, self._term = row.seq, row.term

    def _check_hash(self, row: JournalRow, content: bytes) -> None:
        expected = hash_of(content, self._hash)
        if row.content_hash != expected:
            raise Wrong(f"journal entry {row.seq}: its hash is not that of its content and the entry before it")
        self._hash = expected
        self._counted["hashes"] += 1

    def _redecide(self, row: JournalRow, given: Input, told: Told, content: bytes) -> tuple[Event, ...]:
        decision = self._decided(row, given, told)
        again = journal_record(Entry(given=given, decision=decision, decided_at=row.decided_at), row.seq, row.term)
        # Nearly always it would be written today with the very same bytes, and there is nothing left to be compared.
        if content_of(again) != content:
            _require_same(row, told, decision)
        self._portfolio = decision.portfolio
        self._counted["redecided"] += 1
        return decision.events

    def _decided(self, row: JournalRow, given: Input, told: Told) -> Decision:
        if told["status"] == Status.FAILED:
            # Why it failed then (a mistake since mended, a full disk) cannot be made again; what followed from it can.
            return failed(self._portfolio, given, told["reason"])
        return decide(replace(self._portfolio, seq=row.seq), given, row.decided_at)

    def _reapply(self, row: JournalRow) -> tuple[Event, ...]:
        events = tuple(_read(row, "events", read_events))
        try:
            for event in events:
                self._portfolio = evolve(self._portfolio, event)
        except (KeyError, ValueError, TypeError) as error:
            raise Wrong(f"journal entry {row.seq}: its events do not fit what came before: {error}") from error
        self._counted["reapplied"] += 1
        return events

    def _count(self, row: JournalRow, given: Input, events: tuple[Event, ...], before: Portfolio) -> None:
        """Note what the tables must have of this entry."""
        if isinstance(given, OrderReport):
            new = new_fills(row.seq, given, events, _known_fills(before, events))
            self._reported.update((given.client_order_id, *(fill["client_order_id"] for fill in new)))
            self._fills += new
        for event in events:
            self._opened += _opens(event)
            self._orders += isinstance(event, OrderIntended)
        self._closed.update(self._portfolio.closed)
        self._settled.update(self._portfolio.settled_orders)
        self._decided_proposals.update(self._portfolio.decided_proposals)
        self._proposed += sum(isinstance(event, ProposalMade) for event in events)

    def _check_tables(self) -> None:
        portfolio, counts = self._portfolio, self._stream.counts()
        started = portfolio.state.version > 0
        if started and self._stream.state() != portfolio.state:
            raise Wrong("portfolio_state: the row is not what the journal leads to")
        _same_rows("portfolio_positions", self._stream.open_positions(), dict(portfolio.positions))
        _same_rows("orders", self._stream.unsettled_orders(), dict(portfolio.orders))
        waiting = {proposal.proposal_id: proposal for proposal in portfolio.pending_proposals()}
        _same_rows("proposals", self._stream.pending_proposals(), waiting)
        _same_rows("pyramiding_state", self._stream.pyramiding(), dict(portfolio.pyramiding))
        wanted = {
            "positions": self._opened,
            "signals": self._counted["signals"],
            "flowed": portfolio.state.flows_total,
            "orders": self._orders,
            "fills": self._counted["fills"],
            "proposals": self._proposed,
        }
        for name, value in wanted.items():
            if counts[name] != value:
                raise Wrong(f"{_TABLES[name]}: {counts[name]}, the journal accounts for {value}")
        if counts["term"] < self._term:
            raise Wrong(f"leadership: its term {counts['term']} is below the journal's last, {self._term}")


_TABLES = {
    "positions": "portfolio_positions: rows",
    "signals": "signal_log: decided rows",
    "flowed": "capital_flows: the sum of amounts",
    "orders": "orders: rows",
    "fills": "fills: rows",
    "proposals": "proposals: rows",
}


def _opens(event: Event) -> bool:
    return isinstance(event, PositionOpened) or (isinstance(event, PositionSaved) and event.position.version == 0)


def _fill_key(fill: Row) -> tuple[int, str, int]:
    return fill["journal_seq"], fill["client_order_id"], fill["number"]


def _same_rows(table: str, kept: dict[str, Any], expected: dict[str, Any]) -> None:
    for key in sorted(kept.keys() | expected.keys()):
        if kept.get(key) != expected.get(key):
            raise Wrong(f"{table}: {key} is not what the journal leads to")


def _require_same(row: JournalRow, kept: Told, decision: Decision) -> None:
    told = msgspec.to_builtins(decision.outcome)
    if msgspec.json.encode(told, order="sorted") != msgspec.json.encode(kept, order="sorted"):
        raise Wrong(f"journal entry {row.seq} is decided otherwise now: {told['status']}, kept: {kept['status']}")
    if decision.events != tuple(_read(row, "events", read_events)):
        raise Wrong(f"journal entry {row.seq}: other events follow from its input than were kept")


def _known_fills(portfolio: Portfolio, events: Sequence[Event]) -> dict[str, int]:
    """How many fills each order had that these events report."""
    reported = {event.client_order_id for event in events if isinstance(event, OrderReported)}
    return {order_id: len(portfolio.orders[order_id].fill_ids) for order_id in reported if order_id in portfolio.orders}


def _read(row: JournalRow, column: str, reader: Callable[[str], _Read]) -> _Read:
    try:
        return reader(getattr(row, column))
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise Wrong(f"journal entry {row.seq}: its {column} cannot be read: {error}") from error
