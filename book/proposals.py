"""The proposals that the book tells of: what signals waited for a person, and what became of them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from book.portfolio_management import TradeProposal

STATUSES = ("PENDING", "APPROVED", "MODIFIED", "REJECTED", "EXPIRED")


def proposals_of(
    session: Session,
    *,
    limit: int,
    portfolio: str | None = None,
    status: str | None = None,
    instrument: str | None = None,
    before: int | None = None,
) -> Sequence[TradeProposal]:
    """The newest, of one portfolio or all; `before` is the `id` that they come before."""
    asked = select(TradeProposal)
    for column, value in (
        (TradeProposal.portfolio, portfolio),
        (TradeProposal.status, status),
        (TradeProposal.instrument, instrument),
    ):
        if value is not None:
            asked = asked.where(column == value)
    if before is not None:
        asked = asked.where(TradeProposal.id < before)
    return session.scalars(asked.order_by(TradeProposal.id.desc()).limit(limit)).all()
