"""Alerts that never came: a gap in their numbers, or a strategy that is not where we are."""

from decimal import Decimal
from functools import reduce
from typing import Any

import pytest
from hypothesis import given as with_examples
from hypothesis import strategies as st
from msgspec.structs import replace

from core.decide import Decision, decide
from core.events import AlertSeen, EntriesFrozen, EntriesUnfrozen, OrderIntended, PositionMarked
from core.evolve import evolve
from core.inputs import Freeze, Resume
from core.models import MarketPosition, Side, Status
from core.portfolio import Portfolio
from tests.builders import NOON, a_portfolio, a_signal, after, given, minutes, mirrored, settings_with, told
from tests.unit.test_decide_orders import Book, a_fill, exit_of, intended

NIFTY = "BANK_NIFTY"
both_sides = pytest.mark.parametrize("side", Side)


def a_bar(minute: float = 10, **fields: Any) -> Any:
    return a_signal("MARKET_DATA", timestamp=minutes(minute), **fields)


def seen(*numbers: int, portfolio: Portfolio | None = None) -> Portfolio:
    """The portfolio after bars of these numbers, a minute each."""
    for minute, number in enumerate(numbers, 1):
        portfolio = told(portfolio or a_portfolio(), a_bar(minute, seq=number)).portfolio
    return portfolio or a_portfolio()


def frozen(portfolio: Portfolio) -> str | None:
    return portfolio.pyramiding_of(NIFTY).frozen_reason


def last_of(portfolio: Portfolio) -> int | None:
    return portfolio.pyramiding_of(NIFTY).last_alert_seq


def strategy_events(decision: Decision) -> list[Any]:
    return [e for e in decision.events if isinstance(e, AlertSeen | EntriesFrozen | EntriesUnfrozen)]


# --- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1, 4711])
def test_the_first_number_starts_the_count_and_the_next_goes_on(first: int) -> None:
    portfolio = seen(first, first + 1, first + 2)
    assert (last_of(portfolio), frozen(portfolio)) == (first + 2, None)


def test_a_gap_blocks_the_entry_that_shows_it_until_the_instrument_is_resumed() -> None:
    decision = told(seen(3, 4), a_signal(seq=7))
    assert (decision.outcome.status, decision.outcome.reason) == (Status.BLOCKED, "frozen")
    assert decision.outcome.sizing == {"frozen_reason": "missed alerts: seq 7 after 4"}
    assert decision.events == (
        EntriesFrozen(instrument=NIFTY, reason="missed alerts: seq 7 after 4"),
        AlertSeen(instrument=NIFTY, seq=7),
    )
    assert told(decision.portfolio, a_signal(seq=8, timestamp=minutes(1))).outcome.reason == "frozen"
    resumed = decide(decision.portfolio, Resume(instrument=NIFTY), NOON).portfolio
    assert told(resumed, a_signal(seq=8, timestamp=minutes(1))).outcome.status is Status.EXECUTED


def test_a_bar_and_an_exit_go_on_over_a_gap() -> None:
    portfolio = after(a_portfolio(), a_signal(seq=4))
    bar = told(portfolio, a_bar(seq=6, price=52100))
    assert (bar.outcome.status, bar.outcome.sizing["marked"]) == (Status.EXECUTED, 1)
    assert [type(event) for event in bar.events[:3]] == [EntriesFrozen, AlertSeen, PositionMarked]
    left = told(bar.portfolio, a_signal("EXIT", seq=9, price=52200, timestamp=minutes(15)))
    assert (left.outcome.status, left.outcome.lots) == (Status.EXECUTED, 2)
    assert (frozen(left.portfolio), last_of(left.portfolio)) == ("missed alerts: seq 6 after 4", 9)


def test_each_instrument_counts_for_itself() -> None:
    portfolio = seen(3, 4)
    gold = told(portfolio, a_bar(instrument="GOLD_MINI", price=72000, seq=90)).portfolio
    assert (last_of(gold), gold.pyramiding_of("GOLD_MINI").last_alert_seq) == (4, 90)
    assert frozen(gold) is None
    assert gold.pyramiding_of("GOLD_MINI").frozen_reason is None


@pytest.mark.parametrize("late", [2, 3])
def test_a_late_number_freezes_nothing_and_does_not_move_the_count_back(late: int) -> None:
    portfolio = seen(2, 3, 4, 5)
    decision = told(portfolio, a_signal(seq=late))
    assert decision.outcome.status is Status.EXECUTED
    assert strategy_events(decision) == []
    assert last_of(told(decision.portfolio, a_bar(seq=6)).portfolio) == 6


def test_the_same_number_again_changes_nothing() -> None:
    assert strategy_events(told(seen(4, 5), a_bar(seq=5))) == []


@pytest.mark.parametrize("first", [0, 1])
def test_a_counter_that_begins_anew_freezes_nothing(first: int) -> None:
    portfolio = seen(700, 701, first)
    assert (last_of(portfolio), frozen(portfolio)) == (first, None)
    assert frozen(seen(first + 1, portfolio=portfolio)) is None
    assert frozen(seen(first + 2, portfolio=portfolio)) is not None


def test_two_alerts_of_one_bar_that_were_numbered_the_other_way_round_leave_no_freeze() -> None:
    swapped = seen(4, 6)
    assert frozen(swapped) == "missed alerts: seq 6 after 4"
    decision = told(swapped, a_bar(seq=5))
    assert strategy_events(decision) == [EntriesUnfrozen(instrument=NIFTY)]
    assert last_of(decision.portfolio) == 6
    assert told(decision.portfolio, a_signal(seq=7, timestamp=minutes(11))).outcome.status is Status.EXECUTED


@pytest.mark.parametrize("late", [4, 5, 6])
def test_one_of_several_missing_alerts_that_comes_late_does_not_end_the_freeze(late: int) -> None:
    assert frozen(seen(3, 7, late)) == "missed alerts: seq 7 after 3"


def test_a_late_alert_does_not_end_another_freeze() -> None:
    portfolio = decide(seen(4), Freeze(instrument=NIFTY, reason="delivery"), NOON).portfolio
    portfolio = seen(6, 5, portfolio=portfolio)
    assert (frozen(portfolio), last_of(portfolio)) == ("delivery", 6)


@pytest.mark.parametrize("fields", [{"timestamp": minutes(-20)}, {"timestamp": minutes(30)}])
def test_a_signal_that_its_time_refuses_has_come_all_the_same(fields: dict[str, Any]) -> None:
    for number, reason in ((5, None), (7, "missed alerts: seq 7 after 4")):
        decision = decide(seen(4), given(a_signal(seq=number, **fields), received_at=NOON), NOON)
        assert decision.outcome.status is Status.REJECTED
        assert decision.outcome.reason in ("stale", "in the future")
        assert (last_of(decision.portfolio), frozen(decision.portfolio)) == (number, reason)


def test_an_entry_whose_missing_alert_may_be_the_exit_of_its_bar_is_told_to_wait_for_it() -> None:
    portfolio = after(a_portfolio(), a_signal(seq=4))
    entry = a_signal(seq=6, timestamp=minutes(15))
    decision = told(portfolio, entry)
    assert (decision.outcome.status, decision.outcome.reason) == (Status.REJECTED, "base position already open")
    assert reduce(evolve, decision.events, portfolio) == decision.portfolio
    assert frozen(decision.portfolio) == "missed alerts: seq 6 after 4"
    left = told(portfolio, a_signal("EXIT", seq=5, timestamp=minutes(15)))
    assert told(left.portfolio, entry).outcome.status is Status.EXECUTED


def test_a_signal_without_a_number_is_decided_as_ever() -> None:
    portfolio = seen(4)
    decision = told(portfolio, a_signal())
    assert decision.outcome.status is Status.EXECUTED
    assert strategy_events(decision) == []
    assert last_of(decision.portfolio) == 4


@with_examples(numbers=st.lists(st.integers(0, 12), max_size=12))
def test_it_freezes_only_where_a_number_was_jumped_over(numbers: list[int]) -> None:
    last: int | None = None
    jumped: tuple[int, int] | None = None
    for number in numbers:
        if last is None or number < 2 or number > last:
            if last is not None and number > last + 1 and jumped is None:
                jumped = (last, number)
            last = number
        elif jumped == (number - 1, number + 1) and number != last:
            jumped = None
    portfolio = seen(*numbers)
    assert last_of(portfolio) == last
    assert frozen(portfolio) == (None if jumped is None else f"missed alerts: seq {jumped[1]} after {jumped[0]}")


# --- the strategy's own position ----------------------------------------------------------------------------------


@both_sides
@pytest.mark.parametrize(
    "flat",
    [{"market_position": MarketPosition.FLAT}, {"position_size": Decimal(0)}, {"position_size": Decimal("-0.0")}],
)
def test_a_strategy_that_is_flat_while_we_are_not_freezes_entries(side: Side, flat: dict[str, Any]) -> None:
    layers = [f"{side.value.capitalize()}_{number}" for number in (1, 2)]
    portfolio = after(
        a_portfolio(),
        mirrored(a_signal(), side),
        mirrored(a_signal("PYRAMID", price=52800, stop=52700, atr=100, timestamp=minutes(5)), side),
    )
    assert [position.layer for position in portfolio.positions_of(NIFTY)] == layers
    decision = told(portfolio, mirrored(a_bar(price=52900, atr=100, **flat), side))
    assert decision.outcome.status is Status.EXECUTED
    assert decision.events[-1] == EntriesFrozen(
        instrument=NIFTY, reason=f"the strategy is flat, we hold {', '.join(layers)}"
    )
    entry = mirrored(a_signal("PYRAMID", layer="Long_3", price=53900, atr=100, timestamp=minutes(11)), side)
    assert told(decision.portfolio, entry).outcome.reason == "frozen"


@both_sides
@pytest.mark.parametrize("size", [Decimal(-3), None])
def test_a_strategy_on_the_other_side_freezes_entries(side: Side, size: Decimal | None) -> None:
    other = MarketPosition.SHORT if side is Side.LONG else MarketPosition.LONG
    fields = {"market_position": other} if size is None else {"position_size": size * side.sign}
    portfolio = told(after(a_portfolio(), mirrored(a_signal(), side)), a_bar(**fields)).portfolio
    assert frozen(portfolio) == f"the strategy is {other.value}, we hold {side.value.capitalize()}_1"


@both_sides
@pytest.mark.parametrize("size", [Decimal("0.5"), None])
def test_a_strategy_on_our_side_freezes_nothing(side: Side, size: Decimal | None) -> None:
    fields = {"market_position": MarketPosition(side.value)} if size is None else {"position_size": size * side.sign}
    decision = told(after(a_portfolio(), mirrored(a_signal(), side)), a_bar(**fields))
    assert strategy_events(decision) == []
    assert "strategy_position" not in decision.outcome.sizing


def test_the_exit_that_makes_the_strategy_flat_freezes_nothing() -> None:
    leaving = a_signal("EXIT", layer="ALL", timestamp=minutes(5), market_position=MarketPosition.FLAT)
    decision = told(after(a_portfolio(), a_signal()), leaving)
    assert (decision.outcome.lots, strategy_events(decision)) == (2, [])


def test_lots_that_an_order_sells_already_are_as_good_as_gone_and_those_of_a_rest_are_not() -> None:
    book = Book()
    book.enter()
    leaving = intended(book.take(exit_of(market_position=MarketPosition.FLAT)))
    assert frozen(book.portfolio) is None
    book.report(leaving, None, a_fill("x", 2, 52500))
    book.take(a_bar(6, price=52500, market_position=MarketPosition.FLAT))
    assert frozen(book.portfolio) is None
    book.report(leaving, "cancelled", settled=True)
    book.take(a_bar(7, price=52500, market_position=MarketPosition.FLAT))
    assert frozen(book.portfolio) == "the strategy is flat, we hold Long_1"


def test_lots_of_which_an_order_sells_only_a_part_are_held() -> None:
    book = Book()
    book.enter()
    peeled = book.take(a_bar(5, price=52000, atr=700))
    assert [event.order.lots < 5 for event in peeled.events if isinstance(event, OrderIntended)] == [True]
    book.take(a_bar(6, price=52000, market_position=MarketPosition.FLAT))
    assert frozen(book.portfolio) == "the strategy is flat, we hold Long_1"


def test_an_alert_from_before_the_entry_says_nothing_of_it() -> None:
    flat = {"market_position": MarketPosition.FLAT}
    portfolio = after(a_portfolio(), a_signal(bar_time=minutes(-15), seq=4))
    for older in (a_bar(5, bar_time=minutes(-15), **flat), a_bar(-1, **flat), a_bar(5, seq=3, **flat)):
        assert strategy_events(told(portfolio, older)) == []
    assert frozen(told(portfolio, a_bar(5, bar_time=NOON, **flat)).portfolio) is not None
    intrabar = replace(portfolio, settings=settings_with(timing={"intrabar_exits": True}))
    assert frozen(told(intrabar, a_bar(5, bar_time=minutes(-15), **flat)).portfolio) is not None


def test_a_strategy_in_a_position_that_we_are_not_in_is_told_and_no_more() -> None:
    refused = told(a_portfolio(), a_signal(stop=53000, market_position=MarketPosition.LONG, position_size=Decimal(3)))
    assert (refused.outcome.reason, refused.events) == ("invalid_risk", ())
    assert refused.outcome.sizing["strategy_position"] == "long"
    assert "strategy_position" not in told(a_portfolio(), a_bar(position_size=Decimal(0))).outcome.sizing
    assert told(a_portfolio(), a_bar(position_size=Decimal(-1))).outcome.sizing["strategy_position"] == "short"


def test_an_entry_on_its_way_to_the_broker_is_a_position_of_ours() -> None:
    book = Book()
    decision = book.take(a_signal(er=1, market_position=MarketPosition.LONG))
    assert (decision.outcome.status, "strategy_position" in decision.outcome.sizing) == (Status.ACCEPTED, False)
    book.report(intended(decision), None, a_fill("entry", 5))
    assert frozen(book.portfolio) is None


def test_the_first_reason_of_a_freeze_stays() -> None:
    portfolio = after(a_portfolio(), a_signal(seq=4))
    decision = told(portfolio, a_bar(seq=6, market_position=MarketPosition.FLAT))
    assert strategy_events(decision) == [
        EntriesFrozen(instrument=NIFTY, reason="missed alerts: seq 6 after 4"),
        AlertSeen(instrument=NIFTY, seq=6),
    ]


def test_a_missed_exit_shows_in_the_next_entry_of_the_other_side() -> None:
    portfolio = after(a_portfolio(), a_signal())
    short = a_signal(layer="Short_1", stop=52350, timestamp=minutes(15), market_position=MarketPosition.SHORT)
    decision = told(portfolio, short)
    assert decision.outcome.reason == "base position already open"
    assert frozen(decision.portfolio) == "the strategy is short, we hold Long_1"
