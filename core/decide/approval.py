"""Execution modes: whether what a signal would do is done, waits for a human, or is only noted; and what the human decides."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from msgspec.structs import replace

from core.decide.decision import Decision, Draft, Outcome, rejected
from core.decide.entry import as_listed, decide_base_entry
from core.decide.exit import EXIT_PREDATES, EXIT_WORKING, NO_OPEN_POSITION, decide_exit, entered_before
from core.decide.proposing import ended, ends, propose, replaced_by
from core.decide.pyramid import decide_pyramid
from core.decide.timing import duration
from core.events import Event, OrderIntended, PositionOpened, ProposalDecided
from core.evolve import evolve
from core.inputs import ApproveProposal, ExpireProposals, ProposalInput, RejectProposal, SignalInput
from core.models import ALL_LAYERS, ENTRIES, Signal, SignalType, Status
from core.numbers import ZERO, percent_of
from core.portfolio import Portfolio, sizing_equity
from core.proposals import Proposal, ProposalState
from core.settings import Approval, ExecutionMode

NO_PROPOSAL = "no such proposal waits"
EXPIRED = "the proposal has expired"
NOTE_NEEDED = "a note is needed"
NOTHING_EXPIRED = "no proposal has expired"
WHOLE_EXIT = "the lots of an exit cannot be changed"
OBSERVED = "observe"
BY_MODE = "mode"
WITHDRAWN = "withdrawn"
_DONE = (Status.EXECUTED, Status.ACCEPTED)
_STRICTNESS: dict[ExecutionMode, int] = {"auto": 0, "approve": 1, "observe": 2}


def in_its_mode(portfolio: Portfolio, given: SignalInput, now: datetime, decision: Decision) -> Decision:
    """What becomes of a signal for which `decision` was found: that, a proposal of it, or a note of what it would have done.

    What is refused stays refused. An EXIT ends the proposals of what it closes, and an entry those that it replaces.
    """
    signal = given.signal
    if signal.type is SignalType.MARKET_DATA:
        return decision
    if decision.outcome.status in _DONE and not as_listed(portfolio):
        mode, rule = _mode_of(portfolio, given, now, decision)
        if mode == "observe":
            return _observed(portfolio, decision)
        if mode == "approve":
            return _proposed(portfolio, given, now, decision, rule)
    if not portfolio.proposals_of(signal.instrument):
        return decision
    if signal.type in ENTRIES:
        return _without(decision, replaced_by(portfolio, signal), now) if decision.outcome.status in _DONE else decision
    return _with_withdrawn(decision, _closed_by(portfolio, signal), now)


def decide_proposal(portfolio: Portfolio, given: ProposalInput, now: datetime) -> Decision:
    """An operator's word on a proposal, or the end of those whose time is over."""
    if isinstance(given, ExpireProposals):
        return _expired(portfolio, now)
    proposal = portfolio.pending_proposal(given.proposal_id)
    if proposal is None:
        return rejected(portfolio, NO_PROPOSAL)
    if now >= proposal.expires_at:
        return rejected(portfolio, EXPIRED)  # the clock ends it, by an entry of its own
    if isinstance(given, RejectProposal):
        return _rejected(portfolio, proposal, given, now)
    return _approved(portfolio, proposal, given, now)


# --- which mode


def _mode_of(portfolio: Portfolio, given: SignalInput, now: datetime, decision: Decision) -> tuple[ExecutionMode, str]:
    rules = portfolio.settings.approval
    if given.signal.type is SignalType.EXIT:
        return (rules.mode if rules.exits else "auto"), BY_MODE
    asked: list[tuple[ExecutionMode, str]] = [(rules.mode, BY_MODE)]
    if rules.late is not None and _age_seconds(given, now) > rules.late.seconds:
        asked.append((rules.late.mode, "late"))
    if rules.over_size is not None and _is_over_size(portfolio, rules, decision):
        asked.append((rules.over_size.mode, "over_size"))
    recovery, recovered_at = rules.after_recovery, portfolio.recovered_at
    if recovery is not None and recovered_at is not None and now - recovered_at <= duration(recovery.seconds):
        asked.append((recovery.mode, "after_recovery"))
    return max(asked, key=lambda one: _STRICTNESS[one[0]])


def _age_seconds(given: SignalInput, now: datetime) -> float:
    return (now - (given.signal.timestamp or given.received_at)).total_seconds()


def _is_over_size(portfolio: Portfolio, rules: Approval, decision: Decision) -> bool:
    rule, lots = rules.over_size, decision.outcome.lots or 0
    assert rule is not None  # noqa: S101 - asked for by the caller
    if rule.lots is not None and lots > rule.lots:
        return True
    if rule.risk_percent is None:
        return False
    share = percent_of(_risk(decision.events), sizing_equity(portfolio))
    return share is not None and share > rule.risk_percent


def _risk(events: Sequence[Event]) -> Decimal:
    """What an entry risks, in money: on paper its position, else the order for it."""
    opened = sum((event.position.risk_contribution for event in events if isinstance(event, PositionOpened)), ZERO)
    intended = sum((event.order.risk_reserved for event in events if isinstance(event, OrderIntended)), ZERO)
    return opened + intended


# --- what becomes of a signal


def _observed(portfolio: Portfolio, decision: Decision) -> Decision:
    told = decision.outcome
    sizing = {**told.sizing, "would_be_lots": told.lots or 0}
    outcome = Outcome(status=Status.BLOCKED, reason=OBSERVED, lots=0, limiter=told.limiter, sizing=sizing)
    return Decision(outcome=outcome, portfolio=portfolio)


def _proposed(portfolio: Portfolio, given: SignalInput, now: datetime, decision: Decision, rule: str) -> Decision:
    told, signal, draft = decision.outcome, given.signal, Draft(portfolio)
    if signal.type is SignalType.EXIT:
        # Whoever wants out does not want in: that needs no human.
        for event in ends(_closed_by(portfolio, signal), now, note=WITHDRAWN):
            draft.apply(event)
    propose(draft, signal, given.fingerprint, now, rule=rule, lots=told.lots or 0, limiter=told.limiter)
    return draft.proposed(
        reason=f"approval: {rule}", positions=told.positions, lots=told.lots, limiter=told.limiter, sizing=told.sizing
    )


def _closed_by(portfolio: Portfolio, signal: Signal) -> list[Proposal]:
    """The proposed entries that this EXIT speaks of."""
    intrabar = portfolio.settings.timing.intrabar_exits
    return [
        proposal
        for proposal in portfolio.proposals_of(signal.instrument)
        if proposal.signal.type in ENTRIES
        and signal.layer in (ALL_LAYERS, proposal.signal.layer)
        and entered_before(proposal.signal.time, proposal.signal.bar_time, signal, intrabar=intrabar)
    ]


def _with_withdrawn(decision: Decision, proposals: list[Proposal], now: datetime) -> Decision:
    """An EXIT that found nothing open but what was proposed has done what it was for."""
    nothing_open = decision.outcome.reason in (NO_OPEN_POSITION, EXIT_PREDATES, EXIT_WORKING)
    if not proposals or not (nothing_open or decision.outcome.status in _DONE):
        return decision
    if nothing_open:
        decision = replace(decision, outcome=Outcome(status=Status.EXECUTED, reason=WITHDRAWN, lots=0))
    return _with(decision, ends(proposals, now, note=WITHDRAWN))


def _without(decision: Decision, proposals: list[Proposal], now: datetime) -> Decision:
    return _with(decision, ends(proposals, now))


# --- what a human decides


def _approved(portfolio: Portfolio, proposal: Proposal, given: ApproveProposal, now: datetime) -> Decision:
    is_exit = proposal.signal.type is SignalType.EXIT
    if is_exit and given.lots is not None:
        return rejected(portfolio, WHOLE_EXIT)
    price = given.price or _latest_price(portfolio, proposal.signal)
    signal = replace(proposal.signal, price=price)
    decision = _decided_again(portfolio, proposal, signal, given.lots)
    if decision.outcome.status not in _DONE:
        return decision  # and it waits on: what refuses it may pass, or fewer lots fit
    lots = decision.outcome.lots
    modified = given.lots is not None and given.lots != proposal.lots
    event = ProposalDecided(
        proposal_id=proposal.proposal_id,
        instrument=signal.instrument,
        state=ProposalState.MODIFIED if modified else ProposalState.APPROVED,
        decided_at=now,
        decided_by=given.operator or None,
        note=given.note,
        lots=lots,
        price=price,
    )
    return _with(decision, [event])


def _decided_again(portfolio: Portfolio, proposal: Proposal, signal: Signal, lots: int | None) -> Decision:
    # What was shown to the human is the most that is done; what he asks for, or it is refused.
    most, least = (proposal.lots, 1) if lots is None else (lots, lots)
    match signal.type:
        case SignalType.BASE_ENTRY:
            return decide_base_entry(portfolio, signal, proposal.fingerprint, most_lots=most, least_lots=least)
        case SignalType.PYRAMID:
            return decide_pyramid(portfolio, signal, proposal.fingerprint, most_lots=most, least_lots=least)
        case _:
            return decide_exit(portfolio, signal)


def _latest_price(portfolio: Portfolio, signal: Signal) -> Decimal:
    """The mark of what is open of the instrument, where that is newer than the signal; else the signal's own."""
    marks = [(p.mark_time, p.mark_price) for p in portfolio.positions_of(signal.instrument) if p.mark_time > signal.bar]
    return max(marks)[1] if marks else signal.price


def _rejected(portfolio: Portfolio, proposal: Proposal, given: RejectProposal, now: datetime) -> Decision:
    if not given.note.strip():
        return rejected(portfolio, NOTE_NEEDED)
    draft = Draft(portfolio)
    draft.apply(
        ProposalDecided(
            proposal_id=proposal.proposal_id,
            instrument=proposal.signal.instrument,
            state=ProposalState.REJECTED,
            decided_at=now,
            decided_by=given.operator or None,
            note=given.note,
        )
    )
    return draft.executed()


def _expired(portfolio: Portfolio, now: datetime) -> Decision:
    due = [proposal for proposal in portfolio.pending_proposals() if proposal.expires_at <= now]
    if not due:
        return rejected(portfolio, NOTHING_EXPIRED)
    draft = Draft(portfolio)
    for proposal in due:
        draft.apply(ended(proposal, now, EXPIRED))
    return draft.executed()


# --- their ends


def _with(decision: Decision, events: Iterable[Event]) -> Decision:
    """The decision, and these events after its own."""
    portfolio, after = decision.portfolio, tuple(events)
    for event in after:
        portfolio = evolve(portfolio, event)
    return replace(decision, portfolio=portfolio, events=(*decision.events, *after))
