"""What a decision costs, counted in calls: the same with a thousand positions in other instruments, and after any history."""

import sys
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from types import FrameType
from typing import Any

import pytest

from core.contracts import Instrument
from core.decide import decide
from core.models import Signal
from core.portfolio import Portfolio
from core.settings import Settings
from tests.builders import a_portfolio, a_position, a_signal, after, given, holding, minutes, settings_with

OTHERS = 1000
LATER = minutes(1000)
KINDS = {
    "a bar": a_signal("MARKET_DATA", price=52100, atr=300, timestamp=LATER),
    "a bar of nothing held": a_signal("MARKET_DATA", instrument="COPPER", price=800, timestamp=LATER),
    "an entry": a_signal(instrument="COPPER", price=800, stop=790, atr=10, timestamp=LATER),
    "an entry that is rejected": a_signal(timestamp=LATER),
    "a pyramid": a_signal("PYRAMID", price=52800, stop=52700, atr=100, timestamp=LATER),
    "an exit": a_signal("EXIT", layer="ALL", price=52100, timestamp=LATER),
}


def calls(portfolio: Portfolio, signal: Signal) -> Counter[str]:
    """How often each function, of Python or of C, is called while the signal is decided."""
    counted: Counter[str] = Counter()

    def count(frame: FrameType, event: str, called: Any) -> None:
        if event == "call":
            counted[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            counted[called.__name__] += 1

    one, now = given(signal), signal.time + timedelta(seconds=1)
    decide(portfolio, one, now)  # what is only made once, is made
    sys.setprofile(count)
    try:
        decide(portfolio, one, now)
    finally:
        sys.setprofile(None)
    return counted


def assert_about_as_many(found: Counter[str], wanted: Counter[str]) -> None:
    """A number that has become zero, or longer, may cost a call or two."""
    more, fewer = found - wanted, wanted - found
    assert more.total() + fewer.total() <= 10, (more, fewer)


def wide_settings() -> Settings:
    another: Instrument = settings_with().instruments["COPPER"]
    return settings_with(instruments={f"OTHER_{number}": another.model_dump() for number in range(OTHERS)})


@pytest.fixture(scope="module")
def one_open() -> Portfolio:
    return after(a_portfolio(wide_settings(), capital=Decimal(10**11)), a_signal())


@pytest.mark.parametrize("kind", KINDS)
def test_a_decision_does_as_much_with_a_thousand_positions_in_other_instruments(one_open, kind):
    others = [a_position(f"other {number}", instrument=f"OTHER_{number}") for number in range(OTHERS)]
    many = after(holding(one_open, *others), a_signal("MARKET_DATA", instrument="SILVER_MINI", timestamp=minutes(1)))
    assert len(many.positions) == 1 + OTHERS
    assert_about_as_many(calls(many, KINDS[kind]), calls(one_open, KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_decision_does_as_much_after_hundreds_of_trades(one_open, kind):
    portfolio = one_open
    for number in range(300):
        at = minutes(1 + number)
        trade = (
            a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500, timestamp=at),
            a_signal("EXIT", instrument="GOLD_MINI", layer="ALL", price=72000, timestamp=at + timedelta(seconds=30)),
        )
        portfolio = after(portfolio, *trade).settled()
    assert portfolio.state.statistics.trades_closed == 300
    assert_about_as_many(calls(portfolio, KINDS[kind]), calls(one_open, KINDS[kind]))


def test_an_entry_is_decided_in_a_few_hundred_calls(one_open):
    """Fractions of Python's own once took two thousand."""
    assert 100 < calls(one_open, KINDS["an entry"]).total() < 500


def test_a_bar_checks_what_it_changes_of_the_position_once_and_nothing_else(one_open):
    """A decision marks one position, and makes one row of the portfolio; it does neither twice."""
    counted = calls(one_open, KINDS["a bar"])
    assert counted["Position.__post_init__"] == counted["PortfolioState.__post_init__"] == 0
    assert (counted["marked"], counted["changed"]) == (1, 1)
