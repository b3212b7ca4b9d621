"""Which sessions, snapshots and exports there are. Nothing here needs arrays or frames."""

from typing import Any

import msgspec
from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from risk.modelling.refusals import NoSuchSession, NoSuchSnapshot
from risk.sessions import ExportHistory, ModelingSession, ModelingSessionSnapshot

LARGEST_ID = 2**63 - 1
LISTED = (
    "session_id",
    "name",
    "description",
    "portfolio_node_id",
    "base_as_of",
    "status",
    "version",
    "created_by",
    "created_at",
    "updated_at",
    "ended_by",
    "ended_at",
)
_OF_A_SNAPSHOT = ("snapshot_id", "session_id", "session_version", "status", "content_hash", "created_by", "created_at")


def sessions(
    session: Session, *, status: str | None = None, limit: int = 50, before: int | None = None
) -> list[dict[str, Any]]:
    """The last so many sessions below a number, the newest first, each with how many changes it has."""
    columns = [getattr(ModelingSession, name) for name in LISTED]
    count = func.jsonb_array_length(ModelingSession.changes).label("changes")
    asked = select(*columns, count).order_by(ModelingSession.session_id.desc()).limit(limit)
    if status is not None:
        asked = asked.where(ModelingSession.status == status)
    if before is not None:
        asked = asked.where(ModelingSession.session_id < before)
    return [dict(row) for row in session.execute(asked).mappings()]


def snapshots(session: Session, number: int) -> list[dict[str, Any]]:
    """The snapshots of a session, the oldest first, each with its summary."""
    columns = [getattr(ModelingSessionSnapshot, name) for name in _OF_A_SNAPSHOT]
    told = cast(ModelingSessionSnapshot.impact_summary, Text).label("impact_summary")
    asked = select(*columns, told).where(ModelingSessionSnapshot.session_id == min(number, LARGEST_ID))
    found = session.execute(asked.order_by(ModelingSessionSnapshot.snapshot_id)).mappings()
    # Read as text, so that its numbers are floats as they were.
    return [{**row, "impact_summary": msgspec.json.decode(row["impact_summary"])} for row in found]


def last_snapshot(session: Session, number: int) -> int:
    """The number of a session's newest snapshot. Raises NoSuchSession, NoSuchSnapshot."""
    of_it = ModelingSessionSnapshot.session_id == min(number, LARGEST_ID)
    found: int | None = session.scalar(select(func.max(ModelingSessionSnapshot.snapshot_id)).where(of_it))
    if found is not None:
        return found
    if session.scalar(select(ModelingSession.session_id).filter_by(session_id=min(number, LARGEST_ID))) is None:
        raise no_such_session(number)
    raise NoSuchSnapshot(f"session {number} has no snapshot yet: `risk session snapshot {number}` takes one")


def no_such_session(number: int) -> NoSuchSession:
    """What is said of a session that is not there."""
    return NoSuchSession(f"there is no session {number}: `risk session list` tells them")


def exports(session: Session, *, limit: int = 50, before: int | None = None) -> list[dict[str, Any]]:
    """The last so many exports below a number, the newest first, each with the session that it was of."""
    columns = list(ExportHistory.__table__.columns)
    asked = (
        select(*columns, ModelingSessionSnapshot.session_id)
        .join(ModelingSessionSnapshot, ModelingSessionSnapshot.snapshot_id == ExportHistory.snapshot_id)
        .order_by(ExportHistory.export_id.desc())
        .limit(limit)
    )
    if before is not None:
        asked = asked.where(ExportHistory.export_id < before)
    return [dict(row) for row in session.execute(asked).mappings()]
