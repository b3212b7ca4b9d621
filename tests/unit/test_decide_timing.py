"""Age and future: what the clock may refuse."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from core.decide import Decision, decide
from core.decide.timing import duration
from core.models import Side, Signal, Status
from core.portfolio import Portfolio
from tests.builders import NOON, a_portfolio, a_position, a_signal, given, holding, mirrored, settings_with

YESTERDAY = NOON - timedelta(days=1)
GOLD = {"instrument": "GOLD_MINI", "price": 74000, "stop": 73500, "atr": 500}


def portfolio() -> Portfolio:
    """Gold is open, Bank Nifty is not."""
    return holding(a_portfolio(), a_position(lots=10, entry_lots=10, entry_timestamp=YESTERDAY, mark_time=YESTERDAY))


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def told_at(signal: Signal, seconds: float, **timing: object) -> Decision:
    before = portfolio()
    if timing:
        rules = settings_with(timing=timing)
        before = holding(a_portfolio(rules), *before.positions.values())
    # It came when it is decided, where that is before its own time.
    return decide(before, given(signal, received_at=min(signal.time, at(seconds))), at(seconds))


def base_entry(side: Side = Side.LONG) -> Signal:
    return mirrored(a_signal(), side)


def pyramid(side: Side = Side.LONG) -> Signal:
    return mirrored(a_signal("PYRAMID", **GOLD), side, around=72000)


@pytest.mark.parametrize("signal", [base_entry(), base_entry(Side.SHORT), pyramid()])
@pytest.mark.parametrize("seconds, reason", [(300, None), (300.000001, "stale"), (86_400, "stale")])
def test_an_entry_of_more_than_300_seconds_is_stale(signal: Signal, seconds: float, reason: str | None) -> None:
    outcome = told_at(signal, seconds).outcome
    assert outcome.reason == reason
    assert outcome.status is (Status.EXECUTED if reason is None else Status.REJECTED)


def test_a_stale_entry_says_how_old_it_is() -> None:
    assert told_at(a_signal(), 301).outcome.sizing == {"age_seconds": 301}


def test_the_age_is_a_setting_and_off_in_replay() -> None:
    assert told_at(a_signal(), 11, max_entry_age_seconds="10").outcome.reason == "stale"
    assert told_at(a_signal(), 10, max_entry_age_seconds="10").outcome.status is Status.EXECUTED
    assert told_at(a_signal(), 86_400, max_entry_age_seconds=None).outcome.status is Status.EXECUTED


@pytest.mark.parametrize("kind", ["EXIT", "MARKET_DATA"])
def test_exits_and_bars_are_never_stale(kind: str) -> None:
    signal = a_signal(kind, "GOLD_MINI", price=72100)
    assert told_at(signal, 86_400 * 365).outcome.status is Status.EXECUTED


@pytest.mark.parametrize("kind", ["BASE_ENTRY", "PYRAMID", "EXIT", "MARKET_DATA"])
def test_no_signal_is_taken_from_more_than_60_seconds_ahead(kind: str) -> None:
    signal = a_signal(kind) if kind == "BASE_ENTRY" else a_signal(kind, **GOLD)
    decision = told_at(signal, -60.000001)
    assert (decision.outcome.status, decision.outcome.reason) == (Status.REJECTED, "in the future")
    assert decision.outcome.sizing == {"seconds_ahead": 60}
    assert decision.events == ()
    assert told_at(signal, -60).outcome.status is Status.EXECUTED


def test_a_clock_that_went_back_since_a_signal_came_does_not_put_it_into_the_future() -> None:
    decision = decide(portfolio(), given(a_signal("EXIT", **GOLD), received_at=NOON), at(-3600))
    assert decision.outcome.status is Status.EXECUTED


def test_how_far_ahead_is_a_setting() -> None:
    assert told_at(a_signal(), -61, max_future_seconds=61).outcome.status is Status.EXECUTED


def test_a_bar_time_ahead_is_ahead_too() -> None:
    signal = a_signal(bar_time=at(3600))
    assert told_at(signal, 1).outcome.reason == "in the future"


def test_the_timestamp_alone_gives_the_age_whatever_the_bar() -> None:
    signal = a_signal(bar_time=at(-3600))
    assert told_at(signal, 300).outcome.status is Status.EXECUTED


@pytest.mark.parametrize("seconds, reason", [(300, None), (301, "stale")])
def test_without_a_timestamp_age_runs_from_receipt(seconds: float, reason: str | None) -> None:
    signal = a_signal(timestamp=None, bar_time=at(-3600))
    decision = decide(portfolio(), given(signal, received_at=NOON), at(seconds))
    assert decision.outcome.reason == reason


def test_a_signal_received_long_ago_is_judged_by_its_own_timestamp() -> None:
    decision = decide(portfolio(), given(a_signal(), received_at=at(250)), at(301))
    assert decision.outcome.reason == "stale"


def test_now_decides_nothing_but_age() -> None:
    one, other = (decide(portfolio(), given(a_signal()), at(seconds)) for seconds in (0, 299))
    assert one == other


@pytest.mark.parametrize("seconds, microseconds", [("0.5", 500_000), ("300", 300_000_000), ("0.0000019", 1)])
def test_a_duration_is_cut_to_the_microsecond(seconds: str, microseconds: int) -> None:
    assert duration(Decimal(seconds)) == timedelta(microseconds=microseconds)


def test_the_future_is_looked_at_before_the_age_and_both_before_the_state() -> None:
    halted = decide(a_portfolio(), given(a_signal()), at(301))
    assert halted.outcome.reason == "stale"
