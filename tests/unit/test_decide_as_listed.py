"""A list of trades is done as it says: its lots, no limits, gates, stops or peel-off; parts of a layer are sold."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from core.models import PositionStatus, Signal
from core.portfolio import Portfolio
from tests.builders import a_portfolio, a_signal, after, minutes, settings_with, told

NOTHING: dict[str, Any] = {"stop": None, "atr": None, "er": None}


def listed(kind: str = "BASE_ENTRY", lots: int | None = 15, minute: int = 0, **fields: Any) -> Signal:
    signal = a_signal(kind, bar_time=minutes(minute), timestamp=None, **{**NOTHING, **fields})
    return replace(signal, lots=lots)


@pytest.fixture
def book() -> Portfolio:
    return a_portfolio(settings_with(sizing={"mode": "as_listed"}))


def test_an_entry_has_the_listed_lots_and_needs_no_stop(book: Portfolio) -> None:
    decision = told(book, listed(lots=5000))
    (position,) = decision.portfolio.positions.values()
    assert (position.lots, position.initial_stop, position.atr, position.limiter) == (5000, None, None, "listed")
    assert decision.outcome.lots == 5000


@pytest.mark.parametrize("lots", [None, 0])
@pytest.mark.parametrize("kind", ["BASE_ENTRY", "PYRAMID"])
def test_an_entry_without_lots_is_rejected(book: Portfolio, kind: str, lots: int | None) -> None:
    before = book if kind == "BASE_ENTRY" else after(book, listed())
    assert told(before, listed(kind, lots=lots, minute=1)).outcome.reason == "lots are needed"


def test_a_pyramid_passes_every_gate_but_needs_its_base_and_a_free_layer(book: Portfolio) -> None:
    assert told(book, listed("PYRAMID")).outcome.reason == "no base position"
    opened = after(book, listed())
    losing = listed("PYRAMID", lots=3, minute=1, price=100)
    assert told(opened, losing).outcome.lots == 3
    assert told(after(opened, losing), listed("PYRAMID", minute=2)).outcome.reason == "layer already open"


def test_an_exit_sells_the_listed_part_of_its_layer(book: Portfolio) -> None:
    opened = after(book, listed())
    part = replace(listed("EXIT", lots=4, minute=1, price=53000), trade_number=1)
    sold = told(opened, part).portfolio
    (position,) = sold.positions.values()
    assert (position.lots, position.status) == (11, PositionStatus.PARTIAL)
    rest = replace(listed("EXIT", lots=11, minute=1, price=53000), trade_number=2)
    assert not after(sold, rest).positions


def test_an_exit_of_more_than_is_open_is_rejected_and_one_without_lots_sells_all(book: Portfolio) -> None:
    opened = after(book, listed())
    assert told(opened, listed("EXIT", lots=16, minute=1)).outcome.reason == "lots exceed position"
    assert told(opened, listed("EXIT", lots=None, minute=1)).outcome.lots == 15
    assert told(opened, listed("EXIT", lots=1, minute=1, layer="ALL")).outcome.lots == 15


def test_a_bar_marks_and_neither_stops_nor_trails_nor_peels(book: Portfolio) -> None:
    entry = listed(lots=5000, stop=51650, atr=350)
    bar = a_signal("MARKET_DATA", price=1000, atr=9000, bar_time=minutes(1), timestamp=None)
    decision = told(after(book, entry), bar)
    (position,) = decision.portfolio.positions.values()
    assert (position.lots, position.mark_price, position.current_stop) == (5000, Decimal(1000), Decimal(51650))


def test_by_rules_an_alerts_lots_are_a_suggestion() -> None:
    opened = after(a_portfolio(), a_signal())
    assert told(opened, replace(a_signal("EXIT", timestamp=minutes(1)), lots=1)).outcome.lots == 2


def test_by_rules_an_entry_needs_atr_and_er_and_a_bar_its_atr() -> None:
    book = a_portfolio()
    assert told(book, a_signal(atr=None)).outcome.reason == "atr and er are needed"
    assert told(book, a_signal(er=None)).outcome.reason == "atr and er are needed"
    assert told(book, a_signal("MARKET_DATA", atr=None)).outcome.reason == "atr is needed"


def test_a_base_saved_by_hand_without_a_stop_takes_no_pyramid() -> None:
    opened = after(a_portfolio(), a_signal())
    (position,) = opened.positions.values()
    bare = opened.with_position(replace(position, initial_stop=None))
    pyramid = a_signal("PYRAMID", price=53000, stop=52000, timestamp=minutes(1))
    assert told(bare, pyramid).outcome.reason == "base position has no initial stop"
