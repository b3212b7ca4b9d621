"""Where rows and objects meet: the one place that knows both. The unknown crashes here; a default would hide it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict

from core.events import PositionMarked
from core.journal import (
    Batch,
    capital_flows,
    journal_records,
    new_fills,
    signal_record,
    signals_of,
    touched_orders,
    touched_positions,
    touched_proposals,
)
from core.models import (
    PortfolioState,
    Position,
    PositionStatus,
    PyramidingState,
    RolloverStatus,
    Side,
    Signal,
    Statistics,
)
from core.orders import EntryPlan, Leg, Order, OrderPurpose, OrderState, OrderType
from core.proposals import Proposal, ProposalState

ORDER_COLUMNS = tuple(name for name in Order.__struct_fields__ if name != "fill_ids")
POSITION_COLUMNS = Position.__struct_fields__
# What a bar changes of a position: most that is ever written is a mark, and a fifth of the row.
MARKED_COLUMNS = (*PositionMarked.__struct_fields__, "version")
_MARKED_VALUES = attrgetter(*MARKED_COLUMNS)
STATE_COLUMNS = PortfolioState.__struct_fields__
PYRAMIDING_COLUMNS = PyramidingState.__struct_fields__
PROPOSAL_COLUMNS = Proposal.__struct_fields__
# The parts of a batch whose every element is a row that is written; besides them there are the marked positions.
_WRITTEN = (
    "signals",
    "opened",
    "changed",
    "state_started",
    "state_changed",
    "pyramiding",
    "journal",
    "flows",
    "orders_intended",
    "orders_changed",
    "proposals",
    "fills",
)
_LAST_BAR = ("last_bar_atr", "last_bar_time")


def position_from_row(row: Mapping[str, Any]) -> Position:
    """A row of portfolio_positions as a Position; KeyError or ValueError for a column or value that is not known."""
    values = {name: _in_utc(row[name]) for name in POSITION_COLUMNS}
    values["side"] = Side(values["side"])
    values["status"] = PositionStatus(values["status"])
    values["rollover_status"] = RolloverStatus(values["rollover_status"])
    return Position(**values)


def position_to_row(position: Position) -> dict[str, Any]:
    """A Position as the columns of its row, enumerations as their text."""
    return {
        name: str(value) if isinstance(value, Side | PositionStatus | RolloverStatus) else value
        for name, value in asdict(position).items()
    }


def state_from_row(row: Mapping[str, Any]) -> PortfolioState:
    """The row of portfolio_state as a PortfolioState."""
    values = {name: row[name] for name in STATE_COLUMNS}
    values["statistics"] = msgspec.convert(values["statistics"], Statistics)
    return PortfolioState(**values)


def pyramiding_from_row(row: Mapping[str, Any]) -> PyramidingState:
    """A row of pyramiding_state as a PyramidingState."""
    values = {name: _in_utc(row[name]) for name in PYRAMIDING_COLUMNS}
    unset = {name: UNSET for name in _LAST_BAR if values[name] is None}
    return PyramidingState(**{**values, **unset})


def pyramiding_to_row(row: PyramidingState) -> dict[str, Any]:
    """A PyramidingState as the columns of its row."""
    return {name: None if value is UNSET else value for name, value in asdict(row).items()}


def order_from_row(row: Mapping[str, Any]) -> Order:
    """A row of orders, with its fills' ids in their order, as an Order."""
    values = {name: _in_utc(row[name]) for name in ORDER_COLUMNS}
    values["side"] = Side(values["side"])
    values["leg"] = None if values["leg"] is None else Leg(values["leg"])
    values["order_type"] = None if values["order_type"] is None else OrderType(values["order_type"])
    values["purpose"] = OrderPurpose(values["purpose"])
    values["state"] = OrderState(values["state"])
    values["plan"] = None if values["plan"] is None else msgspec.convert(values["plan"], EntryPlan)
    return Order(**values, fill_ids=tuple(row["fill_ids"]))


def proposal_from_row(row: Mapping[str, Any]) -> Proposal:
    """A row of proposals as a Proposal."""
    values = {name: _in_utc(row[name]) for name in PROPOSAL_COLUMNS}
    values["state"] = ProposalState(values["state"])
    values["signal"] = msgspec.convert(values["signal"], Signal)
    return Proposal(**values)


def batch_rows(
    batch: Batch, *, first_seq: int, term: int, instance_id: str, previous_hash: str, fencing_number: int = 0
) -> dict[str, Any]:
    """The one JSON parameter of `commit_batch`, not yet encoded: what the batch's entries did to the rows."""
    rows = {
        "signals": [signal_record(entry, given) for entry, given in signals_of(batch.entries)],
        "journal": journal_records(batch.entries, first_seq, term, previous_hash),
        "pyramiding": _changed_pyramiding(batch),
        "flows": capital_flows(batch.entries, first_seq),
        **_changed_positions(batch),
        **_changed_state(batch),
        **_changed_orders(batch, first_seq),
        "proposals": _changed_proposals(batch),
    }
    return {
        "term": term,
        "fencing_number": fencing_number,
        "instance_id": instance_id,
        "previous_hash": previous_hash,
        "effects": effects_of(rows),
        **rows,
    }


def effects_of(rows: Mapping[str, Any]) -> int:
    """How many rows a batch writes."""
    return sum(len(rows[part]) for part in _WRITTEN) + len(rows["marked"]["expected"])


def _changed_positions(batch: Batch) -> dict[str, Any]:
    opened, changed, expected = [], [], {}
    marked, marked_before = [], []
    for position_id, only_marked in touched_positions(batch.entries).items():
        after = batch.after.positions.get(position_id) or batch.after.closed[position_id]
        version = _version_before(batch, position_id)
        if version == 0:
            opened.append(after)
        elif only_marked:
            marked.append(_MARKED_VALUES(after))
            marked_before.append(version)
        else:
            changed.append(after)
            expected[position_id] = version
    # By columns: a bar can mark a thousand positions, and their names would be half of what is sent.
    columns = {**dict(zip(MARKED_COLUMNS, zip(*marked, strict=True), strict=False)), "expected": marked_before}
    return {"opened": opened, "changed": changed, "marked": columns, "expected": expected}


def _changed_orders(batch: Batch, first_seq: int) -> dict[str, Any]:
    intended, changed, expected = [], [], {}
    touched = touched_orders(batch.entries)
    for order_id in touched:
        after = batch.after.orders.get(order_id) or batch.after.settled_orders[order_id]
        before = batch.before.orders.get(order_id)
        if before is None:
            intended.append(after)
        else:
            changed.append(after)
            expected[order_id] = before.version
    fills = _fills(batch, first_seq) if touched else []
    return {"orders_intended": intended, "orders_changed": changed, "orders_expected": expected, "fills": fills}


def _fills(batch: Batch, first_seq: int) -> list[dict[str, Any]]:
    known = {order_id: len(order.fill_ids) for order_id, order in batch.before.orders.items()}
    rows: list[dict[str, Any]] = []
    for seq, entry in enumerate(batch.entries, first_seq):
        new = new_fills(seq, entry.given, entry.decision.events, known)
        known |= {row["client_order_id"]: row["number"] for row in new}
        rows += new
    return rows


def _version_before(batch: Batch, position_id: str) -> int:
    before = batch.before.positions.get(position_id) or batch.before.closed.get(position_id)
    return 0 if before is None else before.version


def _changed_state(batch: Batch) -> dict[str, Any]:
    before, after = batch.before.state, batch.after.state
    rows = [after] if after is not before else []
    return {
        "state_started": rows if before.version == 0 else [],
        "state_changed": rows if before.version != 0 else [],
        "state_expected": before.version,
    }


def _changed_pyramiding(batch: Batch) -> list[PyramidingState]:
    before, after = batch.before.pyramiding, batch.after.pyramiding
    if before is after:
        return []
    return [row for instrument, row in sorted(after.items()) if before.get(instrument) is not row]


def _changed_proposals(batch: Batch) -> list[dict[str, Any]]:
    touched = touched_proposals(batch.entries)
    if not touched:
        return []
    pending = {proposal.proposal_id: proposal for proposal in batch.after.pending_proposals()}
    found = (pending.get(proposal_id) or batch.after.decided_proposals[proposal_id] for proposal_id in touched)
    return [
        {
            **{name: getattr(proposal, name) for name in PROPOSAL_COLUMNS},
            "instrument": proposal.signal.instrument,
            "signal_type": proposal.signal.type,
            "layer": proposal.signal.layer,
        }
        for proposal in found
    ]


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
