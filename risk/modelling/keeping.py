"""Sessions in the database: begun on a copy of the book, changed, ended, shown. Each function is of the caller's one transaction.

A change locks the session's row first: of two at once the second is of what the first has made, and none is lost. Who read a
version and wants no other may name it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Text, cast, select, text, update
from sqlalchemy.orm import Session as Transaction

from core.trading_calendar import TradingCalendar
from risk.batch.given import Given
from risk.modelling.clone import cloned
from risk.modelling.held import day_over_by
from risk.modelling.inputs import Inputs, inputs_from_json
from risk.modelling.listing import LARGEST_ID, LISTED, no_such_session
from risk.modelling.refusals import ContentDiffers, NotYet, SessionChanged
from risk.sessions import ModelingSession
from risk.what_if import sessions as what_if
from risk.what_if.changes import Change, ShockFactors, changes_from_json, correlated_factor_shock
from risk.what_if.checked import read, written
from risk.what_if.compare import Comparison, compare
from risk.what_if.measures import measure
from risk.what_if.positions import Positions
from risk.what_if.refusals import BaseDiffers, MissingFigure, SessionEnded, UnknownPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A session as the database has it."""

    number: int
    node: int
    version: int
    updated_at: datetime
    session: what_if.Session
    inputs: Inputs

    @property
    def impact(self) -> Comparison:
        """Every measure of the copy, and of what its changes make of it."""
        given = self.inputs.for_measures()
        return compare(measure(self.session.base, given), measure(self.session.positions, given))


def given_at(at: datetime, calendar: TradingCalendar) -> Given:
    """What the days are that were over by then."""
    return Given(day=day_over_by(at), calendar=calendar)


def begin(
    transaction: Transaction,
    *,
    name: str,
    node: int,
    at: datetime,
    by: str,
    now: datetime,
    calendar: TradingCalendar,
    description: str = "",
) -> Kept:
    """A session on a copy of what was below a node at `at`. It has to be the first thing that its transaction does: all that is
    read is of one moment.

    Raises NotYet, OutOfRange for a name that is none, and what `cloned` does.
    """
    transaction.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    tomorrow = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    if at > tomorrow:
        raise NotYet(f"{at:%Y-%m-%d %H:%M:%S} UTC has not come yet: leave --as-of out to begin with what is held now")
    clone = cloned(transaction, node, at, given_at(at, calendar))
    session = what_if.begun("new", name, clone.positions, by=by, at=now, description=description)
    row = ModelingSession(
        name=session.name,
        description=description,
        portfolio_node_id=node,
        base_as_of=at,
        base_portfolio_snapshot=plain(clone.positions),
        base_hash=session.base_hash,
        inputs=plain(clone.inputs),
        inputs_hash=clone.inputs.content_hash,
        changes=[],
        created_by=by,
        created_at=now,
        updated_at=now,
    )
    transaction.add(row)
    transaction.flush()
    return kept(transaction, row.session_id)


def plain(value: Any) -> Any:
    """A struct as JSON's own types, as it is hashed."""
    return msgspec.json.decode(written(value))


def kept(transaction: Transaction, number: int) -> Kept:
    """A session. Raises NoSuchSession; BaseDiffers, ContentDiffers where what is kept is not what was kept."""
    return _read(transaction, number)


def change(
    transaction: Transaction, number: int, made: Change, *, by: str, now: datetime, version: int | None = None
) -> Kept:
    """The session with one more change. Raises NoSuchSession, SessionChanged, SessionEnded, and what refuses the change."""
    own = replace(made, by=by, at=now)
    return _moved(transaction, number, lambda session: what_if.with_change(session, own), now, version)


def undo(
    transaction: Transaction, number: int, place: int | None = None, *, now: datetime, version: int | None = None
) -> Kept:
    """The session without its last change, or the one of that place (from 1 on). Raises as `change` does, and NoSuchChange."""
    return _moved(transaction, number, lambda session: what_if.without_change(session, place), now, version)


def complete(transaction: Transaction, number: int, *, by: str, now: datetime, version: int | None = None) -> Kept:
    """The session as it is, for good. Raises NoSuchSession, SessionChanged, SessionEnded."""
    return _moved(transaction, number, lambda session: what_if.completed(session, by=by, at=now), now, version)


def cancel(transaction: Transaction, number: int, *, by: str, now: datetime, version: int | None = None) -> Kept:
    """The session given up, for good. Raises NoSuchSession, SessionChanged, SessionEnded."""
    return _moved(transaction, number, lambda session: what_if.cancelled(session, by=by, at=now), now, version)


def correlated(session: Kept, shocks: dict[str, float]) -> ShockFactors:
    """The change by which the other factors move as expected given these. Raises MissingFigure, what `correlated_shocks` does."""
    covariance = session.inputs.covariance_frame
    if covariance is None:
        raise MissingFigure(
            "no covariance of factors was known when the session began: `risk batch --date DAY` reckons one"
        )
    return correlated_factor_shock(shocks, covariance)


def differing(transaction: Transaction, number: int, calendar: TradingCalendar) -> list[str]:
    """What of the book, read again as of the session's base, is not as it was when it began: nothing, or the positions with the
    fields that differ. Raises what `kept` and `cloned` do.
    """
    transaction.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    session = kept(transaction, number)
    at = session.session.base.as_of
    live = cloned(transaction, session.node, at, given_at(at, calendar)).positions
    try:
        what_if.require_untouched(session.session, live)
    except BaseDiffers:
        return _differences(session.session.base, live)
    return []


def _differences(base: Positions, live: Positions) -> list[str]:
    before, now = ({one.position_id: plain(one) for one in positions.held} for positions in (base, live))
    found = [] if base.base == live.base else [f"the node's currency: {base.base}, and {live.base} now"]
    for name in sorted(before.keys() | now.keys()):
        if name not in before or name not in now:
            found.append(
                f"{name}: " + ("not held then, and now it is" if name in now else "held then, and not any more")
            )
            continue
        one, other = before[name], now[name]
        fields = sorted(each for each in one.keys() | other.keys() if one.get(each) != other.get(each))
        if fields:
            found.append(f"{name}: {', '.join(fields)}")
    return found


def _moved(
    transaction: Transaction,
    number: int,
    move: Callable[[what_if.Session], what_if.Session],
    now: datetime,
    version: int | None,
) -> Kept:
    """The session after that, kept as its next version."""
    before = _read(transaction, number, lock=True)
    if version is not None and version != before.version:
        raise SessionChanged(
            f"session {number} is of version {before.version}, not {version}: look at it, and try again"
        )
    after = _after(before, move)
    own = update(ModelingSession).where(ModelingSession.session_id == number)
    told = {"status": after.status, "ended_by": after.ended_by, "ended_at": after.ended_at, "updated_at": now}
    transaction.execute(own.values(changes=plain(after.changes), version=before.version + 1, **told))
    return Kept(
        number=number,
        node=before.node,
        version=before.version + 1,
        updated_at=now,
        session=after,
        inputs=before.inputs,
    )


def _after(before: Kept, move: Callable[[what_if.Session], what_if.Session]) -> what_if.Session:
    try:
        return move(before.session)
    except SessionEnded as error:
        raise SessionEnded(f"{error}, for good: `risk session begin` begins another one") from error
    except UnknownPosition as error:
        raise UnknownPosition(f"{error}: `risk session show {before.number}` tells what is held") from error


def _read(transaction: Transaction, number: int, *, lock: bool = False) -> Kept:
    documents = ("base_portfolio_snapshot", "inputs", "changes")
    names = (*LISTED, "base_hash", "inputs_hash")
    # As text: numbers are read as they were written, not by way of another type.
    columns = [getattr(ModelingSession, name) for name in names]
    columns += [cast(getattr(ModelingSession, name), Text).label(name) for name in documents]
    asked = select(*columns).where(ModelingSession.session_id == min(number, LARGEST_ID))
    row = transaction.execute(asked.with_for_update() if lock else asked).mappings().one_or_none()
    if row is None:
        raise no_such_session(number)
    inputs = inputs_from_json(row["inputs"])
    if inputs.content_hash != row["inputs_hash"]:
        raise ContentDiffers(f"session {number}: what it is measured by is not what it began with")
    return Kept(
        number=number,
        node=row["portfolio_node_id"],
        version=row["version"],
        updated_at=row["updated_at"],
        inputs=inputs,
        session=what_if.Session(
            session_id=str(number),
            name=row["name"],
            created_by=row["created_by"],
            created_at=row["created_at"],
            base=read(row["base_portfolio_snapshot"], Positions, "base"),
            base_hash=row["base_hash"],
            description=row["description"],
            status=row["status"],
            changes=changes_from_json(row["changes"]),
            ended_by=row["ended_by"],
            ended_at=row["ended_at"],
        ),
    )
