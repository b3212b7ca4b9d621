"""Execution modes: what is carried out, what waits for a human, what is only noted; and what the human decides."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from core.decide import Decision, decide
from core.events import OrderIntended, PositionExited, PositionOpened, ProposalDecided, ProposalMade
from core.inputs import ApproveProposal, ExpireProposals, Halt, RejectProposal, SendOrder, StartTerm
from core.models import Status
from core.portfolio import Portfolio
from core.proposals import Proposal, ProposalState, proposal_id_of
from tests.builders import a_portfolio, a_signal, after, given, minutes, settings_with, told

APPROVE = {"mode": "approve"}


def asked(**approval: Any) -> Portfolio:
    """A flat portfolio of whom a human is asked."""
    return a_portfolio(settings_with(approval={**APPROVE, **approval}))


def pending(portfolio: Portfolio) -> Proposal:
    """The one proposal that waits."""
    (proposal,) = portfolio.pending_proposals()
    return proposal


def approved(portfolio: Portfolio, at: float = 1, **what: Any) -> Decision:
    """What becomes of the one proposal's approval."""
    return decide(portfolio, ApproveProposal(proposal_id=pending(portfolio).proposal_id, **what), minutes(at))


def decided(decision: Decision) -> list[ProposalDecided]:
    """The ends of proposals in a decision."""
    return [event for event in decision.events if isinstance(event, ProposalDecided)]


def test_in_approve_mode_an_entry_waits_with_its_size_and_nothing_is_opened() -> None:
    signal = a_signal()
    alone = told(a_portfolio(), signal).outcome
    decision = told(asked(), signal)
    assert (decision.outcome.status, decision.outcome.reason) == (Status.PROPOSED, "approval: mode")
    assert (decision.outcome.lots, decision.outcome.limiter) == (alone.lots, alone.limiter)
    assert decision.outcome.sizing == alone.sizing
    assert not decision.portfolio.positions
    assert decision.portfolio.totals == asked().totals
    proposal = pending(decision.portfolio)
    assert proposal.proposal_id == proposal_id_of(given(signal).fingerprint)
    assert (proposal.signal, proposal.rule, proposal.lots, proposal.version) == (signal, "mode", 2, 1)
    assert proposal.expires_at - proposal.proposed_at == timedelta(seconds=900)


def test_what_is_refused_anyway_is_not_proposed() -> None:
    refused = told(asked(), a_signal(stop=52100))
    assert (refused.outcome.status, refused.outcome.reason) == (Status.REJECTED, "invalid_risk")
    assert not refused.portfolio.proposals


def test_an_approved_entry_opens_the_position_that_the_signal_would_have_opened() -> None:
    signal = a_signal()
    alone = told(a_portfolio(), signal)
    decision = approved(told(asked(), signal).portfolio, operator="ada", note="go")
    assert decision.outcome.status is Status.EXECUTED
    (opened,) = [event for event in decision.events if isinstance(event, PositionOpened)]
    (expected,) = [event for event in alone.events if isinstance(event, PositionOpened)]
    assert opened == expected
    (end,) = decided(decision)
    assert (end.state, end.decided_by, end.note, end.lots) == (ProposalState.APPROVED, "ada", "go", 2)
    assert end.decided_at == minutes(1)
    assert not decision.portfolio.proposals
    assert decision.portfolio.decided_proposals[end.proposal_id].version == 2


def test_approved_again_nothing_happens_again() -> None:
    first = told(asked(), a_signal()).portfolio
    again = ApproveProposal(proposal_id=pending(first).proposal_id)
    once = decide(first, again, minutes(1)).portfolio
    twice = decide(once, again, minutes(2))
    assert (twice.outcome.status, twice.outcome.reason) == (Status.REJECTED, "no such proposal waits")
    assert twice.portfolio is once


def test_fewer_lots_are_a_modification_and_more_than_fit_are_refused() -> None:
    waiting = told(asked(), a_signal()).portfolio
    fewer = approved(waiting, lots=1)
    assert (fewer.outcome.lots, fewer.outcome.limiter) == (1, "operator")
    assert decided(fewer)[0].state is ProposalState.MODIFIED
    more = approved(waiting, lots=3)
    assert (more.outcome.status, more.outcome.reason) == (Status.BLOCKED, "volatility")
    assert more.outcome.sizing["lots_that_fit"] == 2
    assert pending(more.portfolio) == pending(waiting)


def test_a_human_never_gets_more_than_was_shown_to_him() -> None:
    waiting = told(asked(), a_signal()).portfolio
    richer = replace(
        waiting, state=replace(waiting.state, closed_equity=Decimal(50_000_000), equity_high=Decimal(50_000_000))
    )
    assert approved(richer).outcome.lots == 2
    assert approved(richer, lots=20).outcome.lots == 20


def test_approval_asks_every_limit_again_at_todays_price() -> None:
    waiting = told(asked(), a_signal()).portfolio
    dearer = approved(waiting, price=Decimal(53000))
    # Four times the distance to the stop: what is risked fits no lot.
    assert (dearer.outcome.status, dearer.outcome.reason) == (Status.EXECUTED, None)
    assert dearer.outcome.lots == 1
    assert decided(dearer)[0].price == Decimal(53000)
    beyond = approved(waiting, price=Decimal(51650))
    assert (beyond.outcome.status, beyond.outcome.reason) == (Status.REJECTED, "invalid_risk")
    halted = approved(decide(waiting, Halt(), minutes(1)).portfolio)
    assert (halted.outcome.status, halted.outcome.reason) == (Status.BLOCKED, "halted")
    poor = replace(waiting, state=replace(waiting.state, equity_high=Decimal(6_000_000)))
    assert approved(poor).outcome.reason == "drawdown"
    for refused in (beyond, halted):
        assert pending(refused.portfolio) == pending(waiting)


def test_a_rejection_needs_a_note() -> None:
    waiting = told(asked(), a_signal()).portfolio
    proposal_id = pending(waiting).proposal_id
    silent = decide(waiting, RejectProposal(proposal_id=proposal_id, note="  "), minutes(1))
    assert (silent.outcome.status, silent.outcome.reason) == (Status.REJECTED, "a note is needed")
    assert silent.portfolio is waiting
    told_why = decide(waiting, RejectProposal(proposal_id=proposal_id, note="news", operator="ada"), minutes(1))
    assert told_why.outcome.status is Status.EXECUTED
    (end,) = decided(told_why)
    assert (end.state, end.note, end.decided_by) == (ProposalState.REJECTED, "news", "ada")
    assert not told_why.portfolio.positions


def test_nobody_decides_after_its_time() -> None:
    waiting = told(asked(expires_seconds=60), a_signal()).portfolio
    for late in (
        ApproveProposal(proposal_id=pending(waiting).proposal_id),
        RejectProposal(proposal_id=pending(waiting).proposal_id, note="no"),
    ):
        decision = decide(waiting, late, minutes(2))
        assert (decision.outcome.status, decision.outcome.reason) == (Status.REJECTED, "the proposal has expired")
        assert decision.portfolio is waiting


def test_the_clock_ends_those_whose_time_is_over_and_no_others() -> None:
    first = told(asked(expires_seconds=60), a_signal()).portfolio
    both = told(
        first, a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500, timestamp=minutes(1))
    ).portfolio
    assert decide(both, ExpireProposals(), minutes(0.5)).outcome.reason == "no proposal has expired"
    decision = decide(both, ExpireProposals(), minutes(1.5))
    assert [end.instrument for end in decided(decision)] == ["BANK_NIFTY"]
    assert pending(decision.portfolio).signal.instrument == "GOLD_MINI"


def test_exits_need_no_human_unless_the_settings_say_so() -> None:
    held = a_portfolio()
    held = after(held, a_signal())
    exit_signal = a_signal("EXIT", price=52500, timestamp=minutes(60))
    for approval in (APPROVE, {"mode": "observe"}):
        free = replace(held, settings=settings_with(approval=approval))
        assert told(free, exit_signal).outcome.status is Status.EXECUTED
    asking = replace(held, settings=settings_with(approval={**APPROVE, "exits": True}))
    decision = told(asking, exit_signal)
    assert (decision.outcome.status, decision.outcome.lots) == (Status.PROPOSED, 2)
    assert pending(decision.portfolio).lots == 2
    with_lots = approved(decision.portfolio, lots=1, at=61)
    assert with_lots.outcome.reason == "the lots of an exit cannot be changed"
    closed = approved(decision.portfolio, at=61)
    assert [event.lots_sold for event in closed.events if isinstance(event, PositionExited)] == [2]
    assert not closed.portfolio.positions


def test_an_exit_takes_back_what_waits_to_be_entered() -> None:
    waiting = told(asked(), a_signal()).portfolio
    for layer in ("Long_1", "ALL"):
        decision = told(waiting, a_signal("EXIT", layer=layer, timestamp=minutes(5)))
        assert (decision.outcome.status, decision.outcome.reason) == (Status.EXECUTED, "withdrawn")
        assert [(end.state, end.note) for end in decided(decision)] == [(ProposalState.EXPIRED, "withdrawn")]
        assert not decision.portfolio.proposals
    # One of another layer, or from before it, speaks of something else.
    for other in (
        a_signal("EXIT", layer="Long_3", timestamp=minutes(5)),
        a_signal("EXIT", timestamp=minutes(-5)),
    ):
        assert told(waiting, other).outcome.reason == "no open position"


def test_an_exit_that_waits_for_a_human_takes_entries_back_at_once() -> None:
    held = after(a_portfolio(), a_signal())
    asking = replace(held, settings=settings_with(approval={**APPROVE, "exits": True}))
    added = told(asking, a_signal("PYRAMID", price=52900, stop=52600, timestamp=minutes(30))).portfolio
    assert pending(added).signal.layer == "Long_2"
    decision = told(added, a_signal("EXIT", layer="ALL", price=52500, timestamp=minutes(60)))
    assert decision.outcome.status is Status.PROPOSED
    assert pending(decision.portfolio).signal.type == "EXIT"
    assert [end.note for end in decided(decision)] == ["withdrawn"]


def test_a_newer_base_entry_replaces_what_waits_of_its_instrument() -> None:
    waiting = told(asked(), a_signal()).portfolio
    newer = told(waiting, a_signal(price=52100, timestamp=minutes(4)))
    assert [end.note for end in decided(newer)] == ["replaced by a newer signal"]
    assert pending(newer.portfolio).signal.price == Decimal(52100)
    other = told(waiting, a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500, er="0.75"))
    assert len(other.portfolio.pending_proposals()) == 2


def test_an_entry_that_is_carried_out_replaces_what_waits_too() -> None:
    waiting = told(asked(), a_signal()).portfolio
    free = replace(waiting, settings=settings_with())
    decision = told(free, a_signal(price=52100, timestamp=minutes(4)))
    assert decision.outcome.status is Status.EXECUTED
    assert [end.state for end in decided(decision)] == [ProposalState.EXPIRED]


def test_an_entry_that_is_refused_replaces_nothing() -> None:
    waiting = told(asked(), a_signal()).portfolio
    assert told(waiting, a_signal(stop=53000, timestamp=minutes(4))).portfolio is waiting


def test_in_observe_mode_an_entry_is_noted_with_what_it_would_have_been() -> None:
    decision = told(asked(mode="observe"), a_signal())
    assert (decision.outcome.status, decision.outcome.reason) == (Status.BLOCKED, "observe")
    assert (decision.outcome.lots, decision.outcome.sizing["would_be_lots"]) == (0, 2)
    assert decision.events == ()


RULES: dict[str, tuple[dict[str, Any], float]] = {
    "late": ({"late": {"seconds": 30}}, 0.6),
    "over_size": ({"over_size": {"lots": 1}}, 0.1),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_asks_where_the_mode_does_not(rule: str) -> None:
    rules, minute = RULES[rule]
    decision = told(asked(mode="auto", **rules), a_signal(), minutes(minute))
    assert (decision.outcome.status, decision.outcome.reason) == (Status.PROPOSED, f"approval: {rule}")
    noted = told(asked(mode="auto", **{rule: {**rules[rule], "mode": "observe"}}), a_signal(), minutes(minute))
    assert noted.outcome.reason == "observe"


@pytest.mark.parametrize(
    "rules", [{"late": {"seconds": 30}}, {"over_size": {"lots": 2}}, {"over_size": {"risk_percent": 1}}]
)
def test_a_rule_that_does_not_apply_asks_nobody(rules: dict[str, Any]) -> None:
    assert told(asked(mode="auto", **rules), a_signal()).outcome.status is Status.EXECUTED


def test_risk_above_a_share_of_equity_is_a_size_too() -> None:
    # 350 points x 30 x 2 lots are 0.42 % of five millions.
    assert told(asked(mode="auto", over_size={"risk_percent": "0.42"}), a_signal()).outcome.status is Status.EXECUTED
    over = told(asked(mode="auto", over_size={"risk_percent": "0.4199"}), a_signal())
    assert over.outcome.status is Status.PROPOSED


def test_after_a_recovery_a_human_is_asked_for_a_while() -> None:
    quiet = asked(mode="auto", after_recovery={"seconds": 120})
    assert told(quiet, a_signal()).outcome.status is Status.EXECUTED
    recovered = decide(quiet, StartTerm(term=2, instance_id="b2c1"), minutes(0)).portfolio
    assert told(recovered, a_signal()).outcome.reason == "approval: after_recovery"
    assert told(recovered, a_signal(timestamp=minutes(3))).outcome.status is Status.EXECUTED


def test_a_term_is_noted_only_where_a_rule_asks() -> None:
    assert decide(a_portfolio(), StartTerm(term=2, instance_id="b2c1"), minutes(0)).events == ()


def test_the_strictest_of_all_is_taken() -> None:
    strict = asked(late={"seconds": 30, "mode": "observe"}, over_size={"lots": 1})
    assert told(strict, a_signal(), minutes(0.6)).outcome.reason == "observe"
    assert told(strict, a_signal()).outcome.reason == "approval: mode"


def test_listed_trades_ask_nobody() -> None:
    listed = a_portfolio(settings_with(approval=APPROVE, sizing={"mode": "as_listed"}))
    assert told(listed, a_signal(lots=2)).outcome.status is Status.EXECUTED


def test_bars_ask_nobody() -> None:
    held = after(a_portfolio(), a_signal())
    observing = replace(held, settings=settings_with(approval={"mode": "observe", "exits": True}))
    bar = told(observing, a_signal("MARKET_DATA", price=51000, timestamp=minutes(60)))
    assert not bar.portfolio.positions


def test_an_approved_pyramid_is_decided_at_the_latest_mark() -> None:
    held = after(a_portfolio(), a_signal())
    asking = replace(held, settings=settings_with(approval=APPROVE))
    waiting = told(asking, a_signal("PYRAMID", price=52900, stop=52600, timestamp=minutes(30))).portfolio
    assert pending(waiting).lots == 1
    fallen = told(waiting, a_signal("MARKET_DATA", price=52200, timestamp=minutes(60))).portfolio
    refused = approved(replace(fallen, settings=settings_with(approval={**APPROVE, "expires_seconds": 9000})), at=34)
    assert (refused.outcome.status, refused.outcome.reason) == (Status.REJECTED, "invalid_risk")
    risen = told(waiting, a_signal("MARKET_DATA", price=52950, timestamp=minutes(60))).portfolio
    done = approved(risen, at=34)
    assert decided(done)[0].price == Decimal(52950)
    assert {position.layer for position in done.portfolio.positions.values()} == {"Long_1", "Long_2"}


BROKER = {"fills": "broker"}


def diverging(**approval: Any) -> tuple[Portfolio, Decision]:
    """An entry at a broker whose market is 2.1 % away when it is to be sent."""
    portfolio = a_portfolio(settings_with(approval=approval, execution=BROKER), capital=Decimal(50_000_000))
    accepted = told(portfolio, a_signal())
    (intended,) = [event.order for event in accepted.events if isinstance(event, OrderIntended)]
    sent = SendOrder(client_order_id=intended.client_order_id, quote=Decimal(53100), market=Decimal(53100))
    return accepted.portfolio, decide(replace(accepted.portfolio, seq=9), sent, minutes(1))


def test_a_market_too_far_away_asks_a_human_where_the_settings_say_so() -> None:
    _, decision = diverging(divergent={})
    (made,) = [event.proposal for event in decision.events if isinstance(event, ProposalMade)]
    assert (made.rule, made.lots, made.journal_seq) == ("divergent", 23, 9)
    assert made.signal == a_signal()
    assert made.fingerprint == given(a_signal()).fingerprint
    assert not decision.portfolio.orders
    assert decision.portfolio.totals.risk == 0
    again = approved(decision.portfolio, price=Decimal(53100))
    assert again.outcome.status is Status.ACCEPTED
    (order,) = [event.order for event in again.events if isinstance(event, OrderIntended)]
    assert (order.reference_price, order.lots) == (Decimal(53100), 9)


def test_and_else_the_order_just_ends() -> None:
    _, decision = diverging()
    assert not decision.portfolio.proposals
    assert not any(isinstance(event, ProposalMade) for event in decision.events)


def test_what_diverges_once_more_is_proposed_once_more() -> None:
    _, decision = diverging(divergent={})
    again = approved(decision.portfolio, price=Decimal(53100)).portfolio.settled()
    (order,) = again.orders.values()
    away = SendOrder(client_order_id=order.client_order_id, quote=Decimal(56000), market=Decimal(56000))
    third = decide(replace(again, seq=20), away, minutes(2))
    assert pending(third.portfolio).proposal_id != pending(decision.portfolio).proposal_id


def test_risk_that_an_order_would_take_is_a_size_too() -> None:
    for most, status in (("0.42", Status.ACCEPTED), ("0.4199", Status.PROPOSED)):
        rules = {"over_size": {"risk_percent": most}}
        portfolio = a_portfolio(settings_with(approval=rules, execution=BROKER))
        assert told(portfolio, a_signal()).outcome.status is status


def test_an_exit_that_closes_what_is_open_takes_back_what_waits_as_well() -> None:
    held = after(a_portfolio(), a_signal())
    asking = replace(held, settings=settings_with(approval=APPROVE))
    waiting = told(asking, a_signal("PYRAMID", price=52900, stop=52600, timestamp=minutes(30))).portfolio
    decision = told(waiting, a_signal("EXIT", layer="ALL", price=52800, timestamp=minutes(60)))
    assert (decision.outcome.status, decision.outcome.reason, decision.outcome.lots) == (Status.EXECUTED, None, 2)
    assert [end.note for end in decided(decision)] == ["withdrawn"]
    assert not decision.portfolio.positions
    assert not decision.portfolio.proposals
