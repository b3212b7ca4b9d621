"""Files made of snapshots, each with its record: the same snapshot is the same bytes, whenever it is asked for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import asdict
from sqlalchemy.orm import Session

from book.exports.files import CannotExport, written
from risk.modelling.fix import new_orders
from risk.modelling.keeping import kept
from risk.modelling.listing import last_snapshot
from risk.modelling.orders import Order, orders_of
from risk.modelling.refusals import NoSuchSnapshot, NothingToOrder
from risk.modelling.snapshots import KeptSnapshot, kept_snapshot
from risk.sessions import ExportHistory
from risk.what_if.checked import written as as_json
from risk.what_if.compare import Difference
from risk.what_if.positions import HeldPosition, Positions

SENDER = "WHATIF"
NAME_LENGTH = 255
FORMATS = {
    "modeling_session": ("csv", "json"),
    "portfolio": ("csv", "json"),
    "trades": ("csv", "json", "fix"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is asked for: a snapshot as `kind` (modeling_session: every measure before and after, or in JSON all of it; portfolio:
    the positions after; trades: the orders) in a format, to a file of that name; by whom, when (aware)."""

    snapshot: int
    kind: str
    format: str
    file_name: str
    by: str
    at: datetime
    target: str = "DESK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The file, and the number of its record."""

    export_id: int
    session: int
    content_hash: str
    file: bytes


def export(session: Session, asked: Export) -> Exported:
    """The file, and its record in the caller's transaction. Raises CannotExport, NoSuchSnapshot, and NothingToOrder where FIX is
    asked for of a session that moves no position."""
    if asked.format not in FORMATS.get(asked.kind, ()):
        able = "; ".join(f"{kind} as {', '.join(forms)}" for kind, forms in FORMATS.items())
        raise CannotExport(f"{asked.kind} is not exported as {asked.format}: {able}")
    if not 0 < len(asked.file_name) <= NAME_LENGTH:
        raise CannotExport(f"a file's name has 1 to {NAME_LENGTH} characters")
    found = kept_snapshot(session, asked.snapshot)
    file = _file(session, found, asked)
    record = ExportHistory(
        snapshot_id=asked.snapshot,
        export_type=asked.kind,
        export_format=asked.format,
        file_name=asked.file_name,
        file_size_bytes=len(file),
        content_hash=hashlib.sha256(file).hexdigest(),
        exported_by=asked.by,
        created_at=asked.at,
    )
    session.add(record)
    session.flush()
    return Exported(export_id=record.export_id, session=found.session, content_hash=record.content_hash, file=file)


def snapshot_of(session: Session, number: int, snapshot: int | None) -> int:
    """The snapshot's number, if it is of that session; without one, the newest of that. Raises NoSuchSession, NoSuchSnapshot."""
    if snapshot is None:
        return last_snapshot(session, number)
    if kept_snapshot(session, snapshot).session != number:
        raise NoSuchSnapshot(
            f"snapshot {snapshot} is not of session {number}: `risk session show {number}` tells its own"
        )
    return snapshot


def _file(session: Session, found: KeptSnapshot, asked: Export) -> bytes:
    match asked.kind:
        case "modeling_session":
            return found.snapshot.to_json() if asked.format == "json" else _measures(found)
        case "portfolio":
            return _portfolio(found.snapshot.modified, asked.format)
        case _:
            return _trades(found, orders_in(session, found), asked)


def orders_in(session: Session, found: KeptSnapshot) -> tuple[Order, ...]:
    """The orders that a snapshot's session would need."""
    whole = kept(session, found.session)
    return orders_of(whole.session.base, found.snapshot.modified, whole.inputs.expiries)


def _measures(found: KeptSnapshot) -> bytes:
    rows = [asdict(row) for row in found.snapshot.impact.rows]
    return written(rows, Difference.__struct_fields__, "csv")


def _portfolio(positions: Positions, form: str) -> bytes:
    if form == "json":
        return as_json(positions)
    columns = HeldPosition.__struct_fields__
    return written([_flat(asdict(position)) for position in positions.held], columns, "csv")


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """What is no text and no number of its own as JSON."""
    return {
        name: value if value is None or isinstance(value, str | float) else msgspec.json.encode(value).decode()
        for name, value in row.items()
    }


def _trades(found: KeptSnapshot, orders: Sequence[Order], asked: Export) -> bytes:
    if asked.format == "csv":
        return written([asdict(order) for order in orders], Order.__struct_fields__, "csv")
    if asked.format == "json":
        return as_json(orders)
    if not orders:
        raise NothingToOrder(
            f"snapshot {found.number} has no orders: its changes move no position. Export it as csv or json, or change the"
            f" session by `risk session resize` and the like, and take another snapshot"
        )
    of = f"WI{found.session}-{found.number}"
    return new_orders(orders, sender=SENDER, target=asked.target, of=of, at=found.snapshot.taken_at)
