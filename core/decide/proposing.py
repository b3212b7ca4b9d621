"""A proposal's beginning and the ends that no human decides on."""

from collections.abc import Iterable
from datetime import datetime

from core.decide.decision import Draft
from core.decide.timing import duration
from core.events import Event, ProposalDecided, ProposalMade
from core.models import Signal, SignalType
from core.portfolio import Portfolio
from core.proposals import Proposal, ProposalState, proposal_id_of

REPLACED = "replaced by a newer signal"


def propose(
    draft: Draft,
    signal: Signal,
    fingerprint: str,
    now: datetime,
    *,
    rule: str,
    lots: int,
    limiter: str | None,
    client_order_id: str = "",
) -> None:
    """Have a signal wait for a human, in place of those that it replaces; `client_order_id` is the order that was not sent."""
    portfolio = draft.portfolio
    for event in ends(replaced_by(portfolio, signal), now):
        draft.apply(event)
    proposal = Proposal(
        proposal_id=proposal_id_of(fingerprint, client_order_id),
        journal_seq=portfolio.seq,
        fingerprint=fingerprint,
        signal=signal,
        rule=rule,
        lots=lots,
        limiter=limiter,
        proposed_at=now,
        expires_at=now + duration(portfolio.settings.approval.expires_seconds),
    )
    draft.apply(ProposalMade(proposal=proposal))


def replaced_by(portfolio: Portfolio, signal: Signal) -> list[Proposal]:
    """What a newer signal of the same kind leaves behind: a base entry all entries of its instrument, another its own layer's."""
    exits = signal.type is SignalType.EXIT
    same = [p for p in portfolio.proposals_of(signal.instrument) if (p.signal.type is SignalType.EXIT) is exits]
    if signal.type is SignalType.BASE_ENTRY:
        return same
    return [proposal for proposal in same if proposal.signal.layer == signal.layer]


def ends(proposals: Iterable[Proposal], now: datetime, note: str = REPLACED) -> list[Event]:
    """The ends of these, for one reason."""
    return [ended(proposal, now, note) for proposal in proposals]


def ended(proposal: Proposal, now: datetime, note: str) -> ProposalDecided:
    """One ends, and nothing comes of it."""
    return ProposalDecided(
        proposal_id=proposal.proposal_id,
        instrument=proposal.signal.instrument,
        state=ProposalState.EXPIRED,
        decided_at=now,
        note=note,
    )
