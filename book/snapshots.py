"""Snapshots of a node: what is the same is kept once, and each moment at which it was so is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from book.hierarchy import PortfolioSnapshot, PortfolioSnapshotContent
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
    kept = PortfolioSnapshotContent.payload_hash
    if session.scalar(select(kept).where(kept == payload_hash)) is not None:
        return False
    adding = insert(PortfolioSnapshotContent).values(payload_json=dict(payload)).on_conflict_do_nothing()
    return session.scalar(adding.returning(kept)) is not None
