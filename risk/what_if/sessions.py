"""A modelling session: positions as they were, the changes made to a copy of them, and what became of it."""

from datetime import datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from risk.what_if.changes import Change, applied
from risk.what_if.checked import read, require_names, require_utc_time, written
from risk.what_if.compare import Comparison, compare
from risk.what_if.measures import RiskInputs, measure
from risk.what_if.positions import Positions
from risk.what_if.refusals import BaseDiffers, NoSuchChange, SessionEnded

Status = Literal["active", "completed", "cancelled"]
_SHOWN = 5


class Session(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asked what. `base` are the positions it began with, as of `base.as_of`; `base_hash` is their content's.

    Raises OutOfRange for a name that is empty, a time that is not aware UTC, an end without a time or a time without an end;
    BaseDiffers where the hash is not the base's.
    """

    session_id: str
    name: str
    created_by: str
    created_at: datetime
    base: Positions
    base_hash: str
    description: str = ""
    status: Status = "active"
    changes: tuple[Change, ...] = ()
    ended_by: str | None = None
    ended_at: datetime | None = None

    def __post_init__(self) -> None:
        whose = f"session {self.session_id}"
        require_names(whose, session_id=self.session_id, name=self.name, created_by=self.created_by)
        require_utc_time(whose, created_at=self.created_at, ended_at=self.ended_at)
        force_setattr(self, "changes", tuple(self.changes))
        if (self.status == "active") != (self.ended_at is None) or (self.ended_at is None) != (self.ended_by is None):
            raise SessionEnded(f"{whose}: {self.status}, ended at {self.ended_at} by {self.ended_by}")
        if self.base_hash != self.base.content_hash:
            raise BaseDiffers(f"{whose}: its base is not what it was when the session began")

    @property
    def positions(self) -> Positions:
        """The positions after all its changes."""
        return applied(self.base, self.changes)

    def to_json(self) -> bytes:
        """All of it as JSON."""
        return written(self)


class Snapshot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session as it was at `taken_at`: its changes, the positions that they make, and every measure before and after."""

    session_id: str
    name: str
    status: Status
    taken_by: str
    taken_at: datetime
    base_as_of: datetime
    base_hash: str
    modified_hash: str
    modified: Positions
    changes: tuple[Change, ...]
    impact: Comparison

    def to_json(self) -> bytes:
        """All of it as JSON."""
        return written(self)


def begun(session_id: str, name: str, base: Positions, *, by: str, at: datetime, description: str = "") -> Session:
    """A session on a copy of positions, by `by` at `at` (aware UTC). Raises OutOfRange."""
    return Session(
        session_id=session_id,
        name=name,
        created_by=by,
        created_at=at,
        base=base,
        base_hash=base.content_hash,
        description=description,
    )


def with_change(session: Session, change: Change) -> Session:
    """The session with one more change. Raises SessionEnded, and the change's refusal: the session is as it was."""
    _require_active(session)
    applied(session.positions, [change])
    return replace(session, changes=(*session.changes, change))


def without_change(session: Session, number: int | None = None) -> Session:
    """The session without its last change, or its change of that number (from 1 on).

    Raises SessionEnded, NoSuchChange, and what a later change is refused with where it needs the one that is undone.
    """
    _require_active(session)
    place = len(session.changes) if number is None else number
    if not 1 <= place <= len(session.changes):
        raise NoSuchChange(
            f"session {session.session_id} has {len(session.changes)} changes, and none to undo at {place}"
        )
    left = (*session.changes[: place - 1], *session.changes[place:])
    applied(session.base, left)
    return replace(session, changes=left)


def completed(session: Session, *, by: str, at: datetime) -> Session:
    """The session as it is, for good. Raises SessionEnded, OutOfRange."""
    return _ended(session, "completed", by, at)


def cancelled(session: Session, *, by: str, at: datetime) -> Session:
    """The session given up, for good. Raises SessionEnded, OutOfRange."""
    return _ended(session, "cancelled", by, at)


def require_untouched(session: Session, live: Positions) -> None:
    """Raises BaseDiffers naming the positions, unless `live`, read again as of the base's time, are what it began with."""
    if live.content_hash == session.base_hash:
        return
    before, now = ({one.position_id: one for one in positions.held} for positions in (session.base, live))
    differing = sorted(label for label in {*before, *now} if before.get(label) != now.get(label))
    more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    told = f"{', '.join(differing[:_SHOWN])}{more}" if differing else "as of when, or in what currency"
    raise BaseDiffers(f"session {session.session_id}: not as it began: {told}")


def snapshot(session: Session, inputs: RiskInputs, *, by: str, at: datetime) -> Snapshot:
    """The session now, with what its changes do to every measure. Raises OutOfRange for a time that is not aware UTC."""
    require_names("snapshot", taken_by=by)
    require_utc_time("snapshot", taken_at=at)
    modified = session.positions
    return Snapshot(
        session_id=session.session_id,
        name=session.name,
        status=session.status,
        taken_by=by,
        taken_at=at,
        base_as_of=session.base.as_of,
        base_hash=session.base_hash,
        modified_hash=modified.content_hash,
        modified=modified,
        changes=session.changes,
        impact=compare(measure(session.base, inputs), measure(modified, inputs)),
    )


def compare_sessions(one: Session, other: Session, inputs: RiskInputs) -> Comparison:
    """Every measure of what one session makes, and of what the other makes. Raises NotComparable."""
    return compare(measure(one.positions, inputs), measure(other.positions, inputs))


def session_from_json(text: bytes | str) -> Session:
    """The session that such JSON holds. Raises WrongShape, and what a session that cannot be is refused with."""
    return read(text, Session, "session")


def snapshot_from_json(text: bytes | str) -> Snapshot:
    """The snapshot that such JSON holds. Raises WrongShape, and what its parts are refused with."""
    return read(text, Snapshot, "snapshot")


def _ended(session: Session, status: Status, by: str, at: datetime) -> Session:
    _require_active(session)
    return replace(session, status=status, ended_by=by, ended_at=at)


def _require_active(session: Session) -> None:
    if session.status != "active":
        raise SessionEnded(f"session {session.session_id} is {session.status}")
