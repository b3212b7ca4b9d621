"""ATR, volatility and correlation: the figures of the books they are from, and reasons where there are too few."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.analytics.refusals import ConstantSeries, OutOfRange, TooFewObservations
from risk.as_of import Bar
from risk.supply import Method, average_true_range, correlation, log_returns, realised_volatility

FIRST = datetime(2026, 1, 4, 18, 30, tzinfo=UTC)
# Hull, Options, Futures and Other Derivatives, table 15.1.
HULL = (
    *(20.00, 20.10, 19.90, 20.00, 20.50, 20.25, 20.90, 20.90, 20.90, 20.75, 20.75),
    *(21.00, 21.10, 20.90, 20.90, 21.25, 21.40, 21.40, 21.25, 21.75, 22.00),
)


def a_bar(number: int, high: object, low: object, close: object) -> Bar:
    told = [Decimal(str(value)) for value in (high, low, close)]
    return Bar(timestamp=FIRST + timedelta(days=number), open=told[2], high=told[0], low=told[1], close=told[2])


def closes(values: Sequence[float]) -> list[Bar]:
    return [a_bar(number, value, value, value) for number, value in enumerate(values)]


def test_wilders_average_is_the_mean_first_and_smoothed_then() -> None:
    bars = [a_bar(0, 12, 10, 11), a_bar(1, 14, 11, 13), a_bar(2, 13, 8, 9), a_bar(3, 20, 15, 18), a_bar(4, 19, 18, 18)]
    # True ranges 2, 3, 5 (of the bar), 11 (from the close before, 9, to 20), 1.
    assert average_true_range(bars[:3], 3) == Decimal("3.33333333")
    assert average_true_range(bars[:4], 3) == Decimal("5.88888889")
    assert average_true_range(bars, 3) == Decimal("4.25925926")
    assert average_true_range(bars, 1) == 1


def test_too_few_bars_make_no_average() -> None:
    with pytest.raises(TooFewObservations, match="13 bars; 14 are needed"):
        average_true_range(closes(HULL[:13]), 14)


def test_hulls_volatility_is_hulls() -> None:
    returns = list(log_returns(closes(HULL)).values())
    assert len(returns) == 20
    assert realised_volatility(returns, 20, 1) == pytest.approx(0.01216, abs=5e-6)
    assert realised_volatility(returns, 20, 252) == pytest.approx(0.193, abs=5e-4)
    assert realised_volatility([9.0, *returns], 20, 252) == realised_volatility(returns, 20, 252)
    with pytest.raises(TooFewObservations, match="20 returns; 21 are needed"):
        realised_volatility(returns, 21, 252)


def test_returns_are_by_the_exchanges_day() -> None:
    (day,) = log_returns(closes([100, 110]))
    assert day == date(2026, 1, 6)
    with pytest.raises(OutOfRange, match="the close of 2026-01-06 is 0"):
        log_returns(closes([100, 0]))


@given(st.integers(0, 1000))
def test_a_correlation_is_numpys_on_the_days_that_both_have(seed: int) -> None:
    drawn = np.random.Generator(np.random.PCG64(seed)).standard_normal((2, 30))
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(30)]
    first, second = (dict(zip(days, map(float, row), strict=True)) for row in drawn)
    del first[days[3]], second[days[20]]
    both = [number for number in range(30) if number not in (3, 20)]
    known = np.corrcoef(drawn[:, both[-25:]])[0, 1]
    assert correlation(first, second, 25) == pytest.approx(known, abs=1e-12)
    with pytest.raises(TooFewObservations, match="28 days in common; 29 are needed"):
        correlation(first, second, 29)


def test_what_does_not_move_has_no_correlation() -> None:
    days = [date(2026, 1, day) for day in (1, 2, 3)]
    with pytest.raises(ConstantSeries):
        correlation(dict.fromkeys(days, 0.0), dict(zip(days, (0.1, 0.2, 0.1), strict=True)), 3)


@pytest.mark.parametrize("wrong", [{"atr_period": 0}, {"returns": 1}, {"days_per_year": 0.0}, {"stale_days": -1}])
def test_a_method_that_is_none_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(OutOfRange):
        Method(**wrong)
