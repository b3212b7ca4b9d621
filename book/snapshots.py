"""Snapshots of a node: what is the same is kept once, and each moment at which it was so is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from book.hierarchy import PortfolioSnapshot, PortfolioSnapshotContent
from book.nodes import node_of
from book.roll_up import marked_on_or_before
from book.statements import rows_of
from core.errors import Refused


class OtherSnapshot(Refused):
    """there is another snapshot of that node and moment"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The snapshot of a moment; `is_new_content` where nothing like it was kept before."""

    snapshot_id: int
    payload_hash: str
    is_new_content: bool


def take_snapshot(
    session: Session, portfolio_node_id: int, as_of_date: date, taken_at: datetime, payload: Mapping[str, Any]
) -> Taken:
    """Keep what a node held at an aware moment, in the caller's transaction. Told again, it changes nothing.

    Raises OtherSnapshot where that moment is kept already with something else.
    """
    document = cast(dict(payload), JSONB)
    payload_hash = session.scalars(select(func.book.content_hash(document))).one()
    is_new = _keep(session, payload_hash, payload)
    point = {"portfolio_node_id": portfolio_node_id, "taken_at": taken_at}
    adding = insert(PortfolioSnapshot).values(as_of_date=as_of_date, payload_hash=payload_hash, **point)
    snapshot_id = session.scalar(adding.on_conflict_do_nothing().returning(PortfolioSnapshot.snapshot_id))
    if snapshot_id is None:
        kept = session.scalars(select(PortfolioSnapshot).filter_by(**point)).one()
        if (kept.payload_hash, kept.as_of_date) != (payload_hash, as_of_date):
            raise OtherSnapshot(f"node {portfolio_node_id} has another snapshot of {taken_at.isoformat()}")
        snapshot_id = kept.snapshot_id
    return Taken(snapshot_id=snapshot_id, payload_hash=payload_hash, is_new_content=is_new)


def is_kept(session: Session, payload_hash: str) -> bool:
    """Whether content of that SHA-256 is kept already."""
    kept = PortfolioSnapshotContent.payload_hash
    return session.scalar(select(kept).where(kept == payload_hash)) is not None


def snapshot_of_node(session: Session, portfolio_node_id: int, as_of_date: date, taken_at: datetime) -> Taken:
    """Keep what a node and all below it held at the end of a day: the nodes, and by node, instrument and currency how many
    positions, their quantity (long minus short), gross and net notional. Which day it was is no part of it: a day on which
    nothing changed is kept as one more moment only.

    Raises UnknownNode, OtherSnapshot.
    """
    node_of(session, portfolio_node_id)
    content: dict[str, list[Any]] = {"nodes": [], "holdings": []}
    marked_on = marked_on_or_before(session, as_of_date)
    asked = {"node": portfolio_node_id, "day": as_of_date, "marked_on": marked_on}
    for row in rows_of(session, "holdings_of_branch", **asked):
        content[row["part"]].append(row["told"])
    return take_snapshot(session, portfolio_node_id, as_of_date, taken_at, content)


def snapshots_of(session: Session, portfolio_node_id: int, limit: int = 100) -> list[PortfolioSnapshot]:
    """The node's latest snapshots, the newest first."""
    of_node = select(PortfolioSnapshot).filter_by(portfolio_node_id=portfolio_node_id)
    return list(session.scalars(of_node.order_by(PortfolioSnapshot.taken_at.desc()).limit(limit)))


def snapshot_as_of(session: Session, portfolio_node_id: int, as_of_date: date) -> Mapping[str, Any] | None:
    """What a node held at the end of a day, by the last snapshot up to it; None where there is none."""
    return session.scalar(
        select(PortfolioSnapshotContent.payload_json)
        .join(PortfolioSnapshot, PortfolioSnapshot.payload_hash == PortfolioSnapshotContent.payload_hash)
        .where(PortfolioSnapshot.portfolio_node_id == portfolio_node_id, PortfolioSnapshot.as_of_date <= as_of_date)
        .order_by(PortfolioSnapshot.as_of_date.desc(), PortfolioSnapshot.taken_at.desc())
        .limit(1)
    )


def _keep(session: Session, payload_hash: str, payload: Mapping[str, Any]) -> bool:
    """Whether it had to be kept. Looked for first: what is there already is not sent a second time."""
    if is_kept(session, payload_hash):
        return False
    kept = PortfolioSnapshotContent.payload_hash
    adding = insert(PortfolioSnapshotContent).values(payload_json=dict(payload)).on_conflict_do_nothing()
    return session.scalar(adding.returning(kept)) is not None
