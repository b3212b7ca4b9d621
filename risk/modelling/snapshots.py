"""Snapshots: a session as it was, with every measure before and after. Kept for good, read again, compared."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session as Transaction

from risk.modelling.held import day_of
from risk.modelling.keeping import Kept, kept, plain
from risk.modelling.listing import LARGEST_ID
from risk.modelling.refusals import ContentDiffers, NoSuchSnapshot
from risk.sessions import ModelingSessionSnapshot
from risk.what_if.changes import changes_from_json
from risk.what_if.checked import read
from risk.what_if.compare import Comparison, Difference, compare
from risk.what_if.measured import PORTFOLIO, Measures
from risk.what_if.measures import measure
from risk.what_if.positions import Positions
from risk.what_if.sessions import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSnapshot:
    """A snapshot as the database has it. `content_hash` is the SHA-256 of its JSON."""

    number: int
    session: int
    version: int
    content_hash: str
    inputs_hash: str
    before: Measures
    after: Measures
    snapshot: Snapshot


def snapshot(transaction: Transaction, number: int, *, by: str, now: datetime) -> KeptSnapshot:
    """The session as it is, kept with every measure before and after. An ended one has its last word so, too.

    Raises NoSuchSession, OutOfRange for who is no name.
    """
    session = kept(transaction, number)
    given = session.inputs.for_measures()
    base, modified = session.session.base, session.session.positions
    before, after = measure(base, given), measure(modified, given)
    made = _snapshot(session, modified, compare(before, after), by, now)
    row = ModelingSessionSnapshot(
        session_id=number,
        session_version=session.version,
        name=made.name,
        status=made.status,
        base_snapshot_date=day_of(base.as_of),
        base_as_of=base.as_of,
        base_hash=made.base_hash,
        inputs_hash=session.inputs.content_hash,
        modifications=plain(made.changes),
        modified_portfolio_snapshot=plain(modified),
        modified_hash=made.modified_hash,
        impact_summary=summary(made.impact),
        risk_metrics_before=plain(before),
        risk_metrics_after=plain(after),
        factor_exposures_change=plain(made.impact.factor_exposures),
        content_hash=hashlib.sha256(made.to_json()).hexdigest(),
        created_by=by,
        created_at=now,
    )
    transaction.add(row)
    transaction.flush()
    return kept_snapshot(transaction, row.snapshot_id)


def _snapshot(session: Kept, modified: Positions, impact: Comparison, by: str, now: datetime) -> Snapshot:
    return Snapshot(
        session_id=session.session.session_id,
        name=session.session.name,
        status=session.session.status,
        taken_by=by,
        taken_at=now,
        base_as_of=session.session.base.as_of,
        base_hash=session.session.base_hash,
        modified_hash=modified.content_hash,
        modified=modified,
        changes=session.session.changes,
        impact=impact,
    )


def summary(impact: Comparison) -> dict[str, dict[str, Any]]:
    """Of the whole and of each scenario what it was, is, and the difference; what is not known is None, with why."""
    found = {}
    for row in impact.rows:
        if row.by in (PORTFOLIO, "scenario"):
            found[f"{row.measure} {row.label}".rstrip()] = _told(row)
    return found


def _told(row: Difference) -> dict[str, Any]:
    figures: dict[str, Any] = {"before": row.before, "after": row.after, "difference": row.difference}
    reasons = {"before_reason": row.before_reason, "after_reason": row.after_reason}
    return {**figures, **{name: reason for name, reason in reasons.items() if reason is not None}}


def kept_snapshot(transaction: Transaction, number: int) -> KeptSnapshot:
    """A snapshot. Raises NoSuchSnapshot; ContentDiffers where it is not what was kept."""
    kind = ModelingSessionSnapshot
    documents = ("modifications", "modified_portfolio_snapshot", "risk_metrics_before", "risk_metrics_after")
    columns = [getattr(kind, name) for name in _PLAIN]
    columns += [cast(getattr(kind, name), Text).label(name) for name in documents]
    asked = select(*columns).where(kind.snapshot_id == min(number, LARGEST_ID))
    row = transaction.execute(asked).mappings().one_or_none()
    if row is None:
        raise NoSuchSnapshot(f"there is no snapshot {number}: `risk session show ID` tells those of a session")
    before, after = (read(row[name], Measures, "measures") for name in documents[2:])
    made = Snapshot(
        session_id=str(row["session_id"]),
        name=row["name"],
        status=row["status"],
        taken_by=row["created_by"],
        taken_at=row["created_at"],
        base_as_of=row["base_as_of"],
        base_hash=row["base_hash"],
        modified_hash=row["modified_hash"],
        modified=read(row["modified_portfolio_snapshot"], Positions, "positions"),
        changes=changes_from_json(row["modifications"]),
        impact=compare(before, after),
    )
    if hashlib.sha256(made.to_json()).hexdigest() != row["content_hash"]:
        raise ContentDiffers(f"snapshot {number} is not what was kept")
    return KeptSnapshot(
        number=number,
        session=row["session_id"],
        version=row["session_version"],
        content_hash=row["content_hash"],
        inputs_hash=row["inputs_hash"],
        before=before,
        after=after,
        snapshot=made,
    )


_PLAIN = (
    "session_id",
    "session_version",
    "name",
    "status",
    "base_as_of",
    "base_hash",
    "inputs_hash",
    "modified_hash",
    "content_hash",
    "created_by",
    "created_at",
)


def compared(transaction: Transaction, one: int, other: int) -> tuple[Comparison, bool]:
    """Every measure of what one session makes, and of what the other does; whether both are measured by the same.

    Each is measured by its own inputs: those of one know nothing of what only the other holds. Raises NoSuchSession,
    NotComparable where their currencies differ.
    """
    sessions = [kept(transaction, number) for number in (one, other)]
    first, second = (measure(each.session.positions, each.inputs.for_measures()) for each in sessions)
    return compare(first, second), sessions[0].inputs == sessions[1].inputs


def compared_snapshots(transaction: Transaction, one: int, other: int) -> tuple[Comparison, bool]:
    """The same of what two snapshots have kept. Raises NoSuchSnapshot, ContentDiffers, NotComparable."""
    first, second = kept_snapshot(transaction, one), kept_snapshot(transaction, other)
    return compare(first.after, second.after), first.inputs_hash == second.inputs_hash
