"""Proposals: signals that wait for a human before anything is done, and which signals those are."""

import hashlib
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from core.models import PRICE_COLUMN, Signal, require_exact, require_utc

_ID_DIGITS = 16
NOTE_LENGTH = 500  # proposals.note VARCHAR(500)


class ProposalState(StrEnum):
    """Where a proposal is. `modified`: approved with other lots; `expired`: nobody decided in time, or it was overtaken."""

    PENDING = "pending"
    APPROVED = "approved"
    MODIFIED = "modified"
    REJECTED = "rejected"
    EXPIRED = "expired"


class Proposal(Struct, frozen=True, kw_only=True):
    """A signal that a human decides, until `expires_at`: the columns of `proposals` but its wall-clock ones.

    `rule` is what asked for the human, `lots` and `limiter` the size as it was proposed; `decided_lots` and `decided_price`
    (points) are what came of it.
    """

    proposal_id: str
    journal_seq: int
    fingerprint: str
    signal: Signal
    rule: str
    lots: int
    limiter: str | None = None
    proposed_at: datetime
    expires_at: datetime
    state: ProposalState = ProposalState.PENDING
    decided_at: datetime | None = None
    decided_by: str | None = None
    note: str | None = None
    decided_lots: int | None = None
    decided_price: Decimal | None = None
    version: int = 0

    def __post_init__(self) -> None:
        require_utc("Proposal", proposed_at=self.proposed_at, expires_at=self.expires_at, decided_at=self.decided_at)
        require_exact(self, ("decided_price",), PRICE_COLUMN)

    @property
    def is_pending(self) -> bool:
        """Whether it still waits."""
        return self.state is ProposalState.PENDING


def proposal_id_of(fingerprint: str, client_order_id: str = "") -> str:
    """P and 16 hex digits: the first of the signal's fingerprint, or those of an order of it that was not sent."""
    if client_order_id:
        fingerprint = hashlib.sha256(f"{fingerprint}:{client_order_id}".encode()).hexdigest()
    return f"P{fingerprint[:_ID_DIGITS]}"
