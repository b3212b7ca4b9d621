"""Stops trail the best close and never loosen."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.models import Side
from core.numbers import product
from core.stops import best_close, stop_is_hit, trailed_stop

prices = st.decimals(1, 10**6, places=8)
atrs = st.decimals(Decimal("0.01"), 10**6, places=8)
multiples = st.decimals(Decimal("0.1"), 10, places=2)
sides = st.sampled_from(list(Side))


def test_a_long_stop_follows_the_highest_close_at_its_multiple_of_the_atr() -> None:
    assert trailed_stop(Side.LONG, Decimal(51650), Decimal(53000), Decimal(875)) == 52125


def test_a_short_stop_follows_the_lowest_close() -> None:
    assert trailed_stop(Side.SHORT, Decimal(52350), Decimal(51000), Decimal(875)) == 51875


def test_a_stop_that_would_loosen_stays() -> None:
    assert trailed_stop(Side.LONG, Decimal(51650), Decimal(52000), Decimal(875)) == 51650
    assert trailed_stop(Side.SHORT, Decimal(52350), Decimal(52000), Decimal(875)) == 52350


def test_a_stop_keeps_eight_decimals_and_is_not_rounded_to_a_tick() -> None:
    stop = trailed_stop(Side.LONG, Decimal(1), Decimal(100), Decimal("0.33333333") * Decimal("0.7"))
    assert str(stop) == "99.76666667"


@settings(deadline=None)
@given(sides, prices, prices, atrs, multiples)
def test_a_stop_never_loosens(side: Side, stop: Decimal, best: Decimal, atr: Decimal, multiple: Decimal) -> None:
    moved = trailed_stop(side, stop, best, product(atr, multiple))
    assert side.sign * (moved - stop) >= 0


@settings(deadline=None)
@given(sides, prices, st.lists(st.tuples(prices, atrs), min_size=1, max_size=20), multiples)
def test_over_any_bars_the_stop_is_the_tightest_there_ever_was(
    side: Side, initial: Decimal, bars: list[tuple[Decimal, Decimal]], multiple: Decimal
) -> None:
    stop, best = initial, bars[0][0]
    tightest = [initial]
    for number, (close, atr) in enumerate(bars, 1):
        best = best_close(side, best, close)
        stop = trailed_stop(side, stop, best, product(atr, multiple))
        closes = [seen for seen, _ in bars[:number]]
        extreme = max(closes) if side is Side.LONG else min(closes)
        tightest.append(round(extreme - side.sign * multiple * atr, 8))
    assert stop == (max(tightest) if side is Side.LONG else min(tightest))


@pytest.mark.parametrize(
    "side, close, hit",
    [
        (Side.LONG, "99.99999999", True),
        (Side.LONG, "100", False),
        (Side.LONG, "100.1", False),
        (Side.SHORT, "100.00000001", True),
        (Side.SHORT, "100", False),
        (Side.SHORT, "99.9", False),
    ],
)
def test_only_a_close_beyond_the_stop_hits_it(side: Side, close: str, hit: bool) -> None:
    assert stop_is_hit(side, Decimal(100), Decimal(close)) is hit


@pytest.mark.parametrize("side, best", [(Side.LONG, 101), (Side.SHORT, 99)])
def test_the_best_close_is_the_highest_of_a_long_and_the_lowest_of_a_short(side: Side, best: int) -> None:
    kept = Decimal(100)
    for close in (99, 101, 100):
        kept = best_close(side, kept, Decimal(close))
    assert kept == best
