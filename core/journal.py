"""The journal's entries: every input with its decision, as one record each, chained by their hashes."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from core.decide.decision import Decision
from core.errors import TooNew
from core.events import (
    CapitalMoved,
    Event,
    OrderChange,
    OrderIntended,
    OrderReported,
    PositionExited,
    PositionIncreased,
    PositionMarked,
    PositionOpened,
    PositionRolled,
    PositionSaved,
    ProposalDecided,
    ProposalMade,
    RolloverMarked,
)
from core.inputs import Input, OrderReport, SignalInput
from core.portfolio import Portfolio

FORMAT = 1
# 2: a broker's entries are limited and tried again, and what is open has a stop at the broker.
RULES_VERSION = 2
# What the hash of a row of format 1 is over, by its columns' names, besides the hash of the row before it.
HASHED_COLUMNS = (
    "seq",
    "format",
    "kind",
    "fingerprint",
    "request_id",
    "input",
    "figures",
    "outcome",
    "events",
    "term",
    "rules_version",
    "decided_at",
)
NO_HASH = "0" * 64
# A number with a fraction comes as it is written; where the type says Decimal, text does too.
_ANYTHING = msgspec.json.Decoder(float_hook=Decimal)
_INPUT: msgspec.json.Decoder[Input] = msgspec.json.Decoder(Input, float_hook=Decimal)
_EVENTS = msgspec.json.Decoder(list[Event], float_hook=Decimal)


def require_known_format(seq: int, written: int) -> None:
    """TooNew where a newer program than this one has written the journal's entry `seq`."""
    if written > FORMAT:
        raise TooNew(f"journal entry {seq} is of format {written}, this program knows {FORMAT}: use the newer program")


class Entry(Struct, frozen=True, kw_only=True):
    """One input, what was decided, and when; `payload` is the alert's body."""

    given: Input
    decision: Decision
    decided_at: datetime
    payload: dict[str, Any] = {}

    @property
    def fingerprint(self) -> str | None:
        """What makes a signal the same signal; None for what is no signal."""
        return self.given.fingerprint if isinstance(self.given, SignalInput) else None


class Batch(Struct, frozen=True, kw_only=True):
    """What one transaction keeps: the entries that lead from `before` to `after`."""

    before: Portfolio
    after: Portfolio
    entries: tuple[Entry, ...]


def kind_of(given: Input) -> str:
    """The journal's `kind` of an input."""
    return str(given.__struct_config__.tag)


def journal_record(entry: Entry, seq: int, term: int) -> dict[str, Any]:
    """The columns of an entry's row in decision_journal."""
    outcome = entry.decision.outcome
    return {
        "seq": seq,
        "format": FORMAT,
        "kind": kind_of(entry.given),
        "fingerprint": entry.fingerprint,
        "request_id": getattr(entry.given, "request_id", None),
        "input": entry.given,
        "figures": outcome.sizing,
        "outcome": asdict(replace(outcome, sizing={})),
        "events": entry.decision.events,
        "term": term,
        "rules_version": RULES_VERSION,
        "decided_at": entry.decided_at,
    }


def journal_records(entries: Sequence[Entry], first_seq: int, term: int, previous_hash: str) -> list[dict[str, Any]]:
    """The rows of consecutive entries, each with its `content_hash`."""
    records = []
    for seq, entry in enumerate(entries, first_seq):
        record = journal_record(entry, seq, term)
        previous_hash = content_hash(record, previous_hash)
        records.append({**record, "content_hash": previous_hash})
    return records


def content_hash(record: Mapping[str, Any], previous_hash: str) -> str:
    """SHA-256 hex over the hash of the row before and this row's columns as JSON: keys sorted, decimals as text, times UTC.

    The same whether `record` is about to be written or was read back: JSONB keeps neither the order of keys nor spaces.
    """
    return hash_of(content_of(record), previous_hash)


def content_of(record: Mapping[str, Any]) -> bytes:
    """What the hash of a row is over besides the one before: equal where all that it is made of is."""
    return msgspec.json.encode({name: record[name] for name in HASHED_COLUMNS}, order="sorted")


def hash_of(content: bytes, previous_hash: str) -> str:
    """The hash of a row of that content."""
    return hashlib.sha256(previous_hash.encode() + content).hexdigest()


class JournalRow(Struct, frozen=True):
    """A row of decision_journal as it was read: its JSON columns are text, each decoded once into what is asked of it."""

    seq: int
    format: int
    kind: str
    fingerprint: str | None
    request_id: str | None
    input: str
    figures: str
    outcome: str
    events: str
    term: int
    rules_version: int
    decided_at: datetime
    content_hash: str

    def plain(self) -> dict[str, Any]:
        """Its columns by their names, JSON as plain values."""
        record = asdict(self)
        for name in ("input", "figures", "outcome", "events"):
            record[name] = _ANYTHING.decode(record[name])
        return record


def read_json(text: str) -> Any:
    """JSON of a column as plain values, numbers with a fraction as decimals."""
    return _ANYTHING.decode(text)


def read_input(text: str) -> Input:
    """An input as the journal holds it; msgspec.DecodeError, ValueError or TypeError for one that was never written."""
    return _INPUT.decode(text)


def read_events(text: str) -> list[Event]:
    """The same for an entry's events."""
    return _EVENTS.decode(text)


def signal_record(entry: Entry, given: SignalInput) -> dict[str, Any]:
    """The columns of a decided signal's row in signal_log."""
    signal, outcome = given.signal, entry.decision.outcome
    return {
        "instrument": signal.instrument,
        "signal_type": signal.type,
        "position": signal.layer,
        "signal_timestamp": signal.time,
        "bar_time": signal.bar_time,
        "fingerprint": given.fingerprint,
        "received_at": given.received_at,
        "processing_status": outcome.status,
        "outcome": outcome,
        "payload": entry.payload,
    }


def signals_of(entries: Sequence[Entry]) -> Iterator[tuple[Entry, SignalInput]]:
    """The entries that are signals."""
    for entry in entries:
        if isinstance(entry.given, SignalInput):
            yield entry, entry.given


def touched_positions(entries: Sequence[Entry]) -> dict[str, bool]:
    """The positions that the entries' events opened, changed or closed, in order, and whether they were only marked."""
    found: dict[str, bool] = {}
    for event in (event for entry in entries for event in entry.decision.events):
        if isinstance(event, PositionMarked):
            found.setdefault(event.position_id, True)
        elif isinstance(event, PositionOpened | PositionSaved):
            found[event.position.position_id] = False
        elif isinstance(event, PositionExited | PositionIncreased | RolloverMarked | PositionRolled):
            found[event.position_id] = False
    return found


def touched_orders(entries: Sequence[Entry]) -> list[str]:
    """The orders that the entries' events intended or changed, in order."""
    found: dict[str, None] = {}
    for event in (event for entry in entries for event in entry.decision.events):
        if isinstance(event, OrderIntended):
            found[event.order.client_order_id] = None
        elif isinstance(event, OrderChange):
            found[event.client_order_id] = None
    return list(found)


def touched_proposals(entries: Sequence[Entry]) -> list[str]:
    """The proposals that the entries' events made or decided, in order."""
    found: dict[str, None] = {}
    for event in (event for entry in entries for event in entry.decision.events):
        if isinstance(event, ProposalMade):
            found[event.proposal.proposal_id] = None
        elif isinstance(event, ProposalDecided):
            found[event.proposal_id] = None
    return list(found)


def new_fills(seq: int, given: Input, events: Sequence[Event], known: Mapping[str, int]) -> list[dict[str, Any]]:
    """The columns of an entry's rows in fills; `known` is how many each order had before this entry."""
    if not isinstance(given, OrderReport):
        return []
    told = {fill.fill_id: fill for fill in reversed(given.fills)}
    rows = []
    for event in events:
        if isinstance(event, OrderReported):
            first = known.get(event.client_order_id, 0) + 1
            rows += [
                {
                    **asdict(told[fill_id]),
                    "client_order_id": event.client_order_id,
                    "number": number,
                    "journal_seq": seq,
                }
                for number, fill_id in enumerate(event.fill_ids, first)
            ]
    return rows


def capital_flows(entries: Sequence[Entry], first_seq: int) -> list[dict[str, Any]]:
    """The columns of the entries' rows in capital_flows."""
    return [
        {"journal_seq": seq, "amount": event.amount, "note": event.note, "flowed_at": entry.decided_at}
        for seq, entry in enumerate(entries, first_seq)
        for event in entry.decision.events
        if isinstance(event, CapitalMoved)
    ]
