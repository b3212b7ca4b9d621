"""A signal that waits for a human, as the page shows it: what would be done, what it would risk, why he is asked, until when."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from core.contract_rules import BeyondRules
from core.decide.contract import entry_terms
from core.fills import risk_amount
from core.models import ENTRIES, Side, Signal, SignalType
from core.numbers import percent_of
from core.portfolio import Portfolio, sizing_equity
from core.proposals import Proposal
from live.dashboard.board import Row
from live.dashboard.words import NOTHING, decimals_of, moment, money, percent, price, some
from live.explain import limiter_in_words, lots_in_words, proposal_in_words, rule_in_words

# More than anybody decides; GET /proposals lists all.
MOST_WAITING = 200
_DOES = {SignalType.BASE_ENTRY: "enter", SignalType.PYRAMID: "add to", SignalType.EXIT: "close"}


def waiting_rows(portfolio: Portfolio) -> dict[str, Row]:
    """The lines of what waits, by keys in the order in which their time is over."""
    return {
        f"{proposal.expires_at:%Y%m%d%H%M%S} {proposal.journal_seq:012} {proposal.proposal_id}": waiting_row(
            portfolio, proposal
        )
        for proposal in _soonest_over(portfolio)[:MOST_WAITING]
    }


def waiting_row(portfolio: Portfolio, proposal: Proposal) -> Row:
    """One of them."""
    signal, risk = proposal.signal, risk_of(portfolio, proposal)
    configured = portfolio.settings.instruments.get(signal.instrument)
    decimals = 0 if configured is None else decimals_of(configured.tick)
    share = None if risk is None else percent_of(risk, sizing_equity(portfolio))
    return {
        "id": proposal.proposal_id,
        "fingerprint": proposal.fingerprint,
        "does": _DOES[signal.type],
        "instrument": signal.instrument,
        "layer": signal.layer.replace("_", " "),
        "side": _side(portfolio, signal),
        "type": signal.type.value.replace("_", " ").lower(),
        "lots": str(proposal.lots),
        "price": price(signal.price, decimals),
        "stop": price(signal.stop if signal.type in ENTRIES else None, decimals),
        "risk": money(risk),
        "share": percent(share),
        "size": limiter_in_words(proposal.limiter) or NOTHING,
        "why": rule_in_words(proposal.rule),
        "rule": proposal.rule.replace("_", " "),
        "until": f"{moment(proposal.expires_at)} UTC",
        "until_at": proposal.expires_at.isoformat(),
    }


def risk_of(portfolio: Portfolio, proposal: Proposal) -> Decimal | None:
    """What the entry risks as it was proposed, in money; None of an exit, and where its contract cannot be told."""
    signal = proposal.signal
    if signal.type not in ENTRIES or signal.instrument not in portfolio.settings.instruments:
        return None
    terms = entry_terms(portfolio, signal)
    if isinstance(terms, BeyondRules):
        return None
    return risk_amount(signal.side, signal.price, signal.stop, proposal.lots, terms.point_value)


def waits_in_words(portfolio: Portfolio) -> str | None:
    """That something waits, for the page's first words; None where nothing does."""
    waiting = _soonest_over(portfolio)
    if not waiting:
        return None
    verb = "signal waits" if len(waiting) == 1 else "signals wait"
    names = some(list(dict.fromkeys(proposal.signal.instrument for proposal in waiting)))
    first = "until" if len(waiting) == 1 else "the first until"
    return f"{len(waiting):,} {verb} for you: {names}, {first} {moment(waiting[0].expires_at)} UTC"


def asked_by_fingerprint(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Of each signal that was proposed, what has become of that, in words; `rows` are of the table, the newest first."""
    return {row["fingerprint"]: f"{lots_in_words(row['lots'])}: {proposal_in_words(row)}" for row in reversed(rows)}


def _soonest_over(portfolio: Portfolio) -> list[Proposal]:
    return sorted(portfolio.pending_proposals(), key=lambda proposal: proposal.expires_at)


def _side(portfolio: Portfolio, signal: Signal) -> str:
    sides: set[Side] = {position.side for position in portfolio.positions_of(signal.instrument)}
    if signal.type in ENTRIES:
        sides = {signal.side}
    return " and ".join(sorted(side.value.lower() for side in sides)) or NOTHING
