"""An entry whose stop and ATR are those of its instrument's last bar: filled in when it is decided, or refused."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given as having
from hypothesis import strategies as some
from msgspec import UNSET
from msgspec.structs import replace

from core.decide import decide
from core.events import BarKept, PositionOpened
from core.inputs import ApproveProposal
from core.models import Side, Signal, Status
from core.portfolio import Portfolio
from tests.builders import a_portfolio, a_signal, after, given, minutes, mirrored, settings_with, told

both_sides = pytest.mark.parametrize("side", Side)


def keeping(**settings: Any) -> Portfolio:
    return a_portfolio(settings_with(bars={"keep_atr": True}, **settings))


def bar(at: float = 0, atr: float | Decimal = 350, price: float = 52000, **fields: Any) -> Signal:
    return a_signal("MARKET_DATA", price=price, atr=atr, timestamp=minutes(at), **fields)


def entry(at: float = 5, kind: str = "BASE_ENTRY", **fields: Any) -> Signal:
    """An entry that has neither stop nor ATR of its own: 1 ATR away, of a bar not older than ten minutes."""
    on_last_bar = {"atr_max_age_seconds": Decimal(600), "stop_atr": Decimal(1), "stop": None, "atr": None}
    return a_signal(kind, **{**on_last_bar, "timestamp": minutes(at), **fields})


@both_sides
def test_it_is_decided_as_if_it_had_come_with_them(side: Side) -> None:
    portfolio = after(keeping(), bar())
    decision, own = told(portfolio, mirrored(entry(), side)), told(portfolio, mirrored(a_signal(), side))
    (opened,), (as_own,) = (
        [event.position for event in one.events if isinstance(event, PositionOpened)] for one in (decision, own)
    )
    filled = {"atr": 350, "stop": 52000 - side.sign * 350, "atr_age_seconds": 300}
    assert (opened.atr, opened.initial_stop, opened.current_stop) == (350, filled["stop"], filled["stop"])
    assert (opened.lots, opened.limiter) == (as_own.lots, as_own.limiter) == (2, "volatility")
    assert decision.outcome.sizing == {**own.outcome.sizing, **filled}


def test_a_pyramid_is_filled_in_and_gated_by_the_same_atr() -> None:
    portfolio = after(keeping(), bar(), entry(), bar(10, atr=400, price=53000))
    near = told(portfolio, entry(11, "PYRAMID", price=52190))
    assert (near.outcome.reason, near.outcome.sizing["atr"]) == ("one_r", 400)
    position_id = told(portfolio, entry(11, "PYRAMID", price=53000)).outcome.position_id
    added = after(portfolio, entry(11, "PYRAMID", price=53000)).positions[str(position_id)]
    assert (added.layer, added.atr, added.initial_stop) == ("Long_2", 400, 52600)


def test_what_it_brings_itself_counts_first() -> None:
    portfolio = after(keeping(), bar())
    own_stop = told(portfolio, entry(stop=51500)).portfolio
    own_atr = told(portfolio, entry(atr=100)).portfolio
    (by_stop,), (by_atr,) = own_stop.positions.values(), own_atr.positions.values()
    assert (by_stop.initial_stop, by_stop.atr) == (51500, 350)
    assert (by_atr.initial_stop, by_atr.atr) == (51900, 100)


def test_without_a_bar_it_is_rejected() -> None:
    decision = told(keeping(), entry())
    assert (decision.outcome.status, decision.outcome.reason) == (Status.REJECTED, "no bar's atr is kept")
    # Nor of another instrument.
    other = told(after(keeping(), bar(instrument="COPPER")), entry())
    assert (other.outcome.reason, other.events) == ("no bar's atr is kept", ())


def test_an_old_bar_is_named_with_its_age() -> None:
    portfolio = after(keeping(), bar())
    assert told(portfolio, entry(10)).outcome.status is Status.EXECUTED
    refused = told(portfolio, entry(10.1))
    assert (refused.outcome.status, refused.outcome.reason) == (Status.REJECTED, "the last bar's atr is too old")
    assert refused.outcome.sizing == {"atr_age_seconds": 606, "atr_max_age_seconds": 600}
    assert refused.events == ()


def test_the_age_is_from_bar_to_bar_and_not_by_the_clock() -> None:
    portfolio = after(keeping(timing={"max_entry_age_seconds": None}), bar(3, bar_time=minutes(0)))
    decision = told(portfolio, entry(20, bar_time=minutes(10)), minutes(200))
    assert (decision.outcome.status, decision.outcome.sizing["atr_age_seconds"]) == (Status.EXECUTED, 600)
    assert told(portfolio, entry(20, bar_time=minutes(11))).outcome.status is Status.REJECTED


def test_a_stop_below_zero_is_refused() -> None:
    portfolio = after(keeping(), bar(atr=400, price=500))
    for stop_atr in ("1.25", "9999999999"):
        decision = told(portfolio, entry(price=500, stop_atr=Decimal(stop_atr)))
        assert (decision.outcome.status, decision.outcome.reason) == (
            Status.REJECTED,
            "no stop is so far from the price",
        )
    short = told(portfolio, entry(price=500, layer="Short_1", stop_atr=Decimal(9999999999)))
    assert short.outcome.reason == "no stop is so far from the price"


@pytest.mark.parametrize(
    "portfolio, reason",
    [
        (lambda: after(keeping(), a_signal()), "base position already open"),
        (lambda: replace(keeping(), state=replace(keeping().state, halted=True)), "halted"),
    ],
)
def test_what_state_refuses_is_told_first(portfolio: Any, reason: str) -> None:
    assert told(portfolio(), entry()).outcome.reason == reason


def test_the_newest_bar_is_kept_whichever_comes_last() -> None:
    portfolio = after(keeping(), bar(5, atr=300), bar(2, atr=200))
    row = portfolio.pyramiding_of("BANK_NIFTY")
    assert (row.last_bar_atr, row.last_bar_time) == (300, minutes(5))
    assert told(portfolio, bar(2, atr=200)).events == ()


def test_it_outlives_the_position() -> None:
    portfolio = after(keeping(), bar(), entry(), bar(6, atr=360), a_signal("EXIT", layer="ALL", timestamp=minutes(7)))
    assert not portfolio.positions
    row = portfolio.pyramiding_of("BANK_NIFTY")
    assert (row.last_bar_atr, row.last_bar_time, row.base_position_id) == (360, minutes(6), None)
    assert told(portfolio, entry(8)).portfolio.pyramiding_of("BANK_NIFTY").last_bar_atr == 360


def test_who_does_not_use_it_pays_nothing() -> None:
    portfolio = after(a_portfolio(), a_signal())
    decision = told(portfolio, bar(5))
    assert not [event for event in decision.events if isinstance(event, BarKept)]
    row = decision.portfolio.pyramiding_of("BANK_NIFTY")
    assert row is portfolio.pyramiding_of("BANK_NIFTY")
    assert b"last_bar" not in msgspec.json.encode(row)
    assert b"stop_atr" not in msgspec.json.encode(given(a_signal()))
    assert "bars" not in portfolio.settings.model_dump()
    assert (
        told(portfolio, a_signal("PYRAMID", price=53000, stop=52900))
        .outcome.sizing.keys()
        .isdisjoint({"atr", "stop", "atr_age_seconds"})
    )


def test_a_bar_that_keeps_and_marks_journals_one_event_more() -> None:
    portfolio = after(keeping(), a_signal())
    with_it, without = told(portfolio, bar(5)), told(after(a_portfolio(), a_signal()), bar(5))
    assert [event for event in with_it.events if not isinstance(event, BarKept)] == list(without.events)
    assert len(with_it.events) == len(without.events) + 1


@having(
    atr=some.decimals("0.01", "3000", places=2),
    multiple=some.decimals("0.01", "9", places=2),
    side=some.sampled_from(Side),
    age=some.integers(0, 1200),
)
def test_whatever_the_bar_the_same_comes_of_it_as_of_an_alert_with_its_figures(
    atr: Decimal, multiple: Decimal, side: Side, age: int
) -> None:
    portfolio = after(keeping(), bar(atr=atr))
    at, layer = age / 60, f"{side.value.capitalize()}_1"
    decision = told(portfolio, entry(at, layer=layer, stop_atr=multiple))
    stop = 52000 - side.sign * atr * multiple
    own = told(portfolio, a_signal(layer=layer, atr=atr, stop=stop, timestamp=minutes(at)))
    if age > 600:
        assert decision.outcome.reason == "the last bar's atr is too old"
        return
    assert (decision.outcome.status, decision.outcome.lots) == (own.outcome.status, own.outcome.lots)
    assert {position.initial_stop for position in decision.portfolio.positions.values()} <= {stop}
    assert decision.portfolio.totals == own.portfolio.totals


def test_a_signal_refuses_what_no_bar_can_give() -> None:
    for fields in ({"stop_atr": Decimal(0)}, {"atr_max_age_seconds": Decimal(-1)}):
        with pytest.raises(ValueError, match="must be above 0"):
            a_signal(**fields)
    assert a_signal().stop_atr is UNSET


def test_a_proposal_is_carried_out_on_the_bar_that_is_the_last_when_it_is_approved() -> None:
    portfolio = after(keeping(approval={"mode": "approve"}), bar())
    waiting = told(portfolio, entry())
    assert (waiting.outcome.status, waiting.outcome.sizing["stop"]) == (Status.PROPOSED, 51650)
    (proposal,) = waiting.portfolio.pending_proposals()
    assert (proposal.signal.stop, proposal.signal.atr) == (None, None)
    later = after(waiting.portfolio, bar(8, atr=300, price=52100))
    approved = decide(later, ApproveProposal(proposal_id=proposal.proposal_id, price=Decimal(52100)), minutes(9))
    assert approved.outcome.status is Status.EXECUTED
    (position,) = approved.portfolio.positions.values()
    assert (position.atr, position.initial_stop) == (300, 51800)
