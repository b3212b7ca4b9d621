"""Backtests: Kupiec's published regions, J.P. Morgan's 1998, and simulations of what is right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.analytics.backtest import backtest, conditional_coverage, independence, kupiec
from risk.analytics.refusals import NotFinite, OutOfRange, TooFewObservations, WrongShape
from tests.unit.risk.samples import generator

# Kupiec (1995), as in Jorion, Value at Risk, table 6-2: breaches of which 5 % tests do not reject, both ends excluded.
# Of 255 days at 99 % the table says `below 7`: no breach at all has a ratio of 5.13, and is above the 3.84 of the others.
REGIONS = {
    (0.99, 255): (0, 7),
    (0.99, 510): (1, 11),
    (0.99, 1000): (4, 17),
    (0.975, 255): (2, 12),
    (0.975, 510): (6, 21),
    (0.975, 1000): (15, 36),
    (0.95, 255): (6, 21),
    (0.95, 510): (16, 36),
    (0.95, 1000): (37, 65),
    (0.925, 255): (11, 28),
    (0.925, 510): (27, 51),
    (0.925, 1000): (59, 92),
    (0.90, 255): (16, 36),
    (0.90, 510): (38, 65),
    (0.90, 1000): (81, 120),
}


@pytest.mark.parametrize("case", REGIONS, ids=str)
def test_kupiecs_regions_are_met(case: tuple[float, int]) -> None:
    confidence, days = case
    below, above = REGIONS[case]
    kept = [breaches for breaches in range(days + 1) if kupiec(days, breaches, confidence).statistic < 3.841]
    assert kept == list(range(below + 1, above))


def test_jp_morgans_1998_is_rejected_as_published() -> None:
    # Jorion, Value at Risk, chapter 6: 20 breaches of 95 % in 252 days, 6 of them right after another one.
    coverage = kupiec(252, 20, 0.95)
    together = independence(218, 14, 14, 6)
    both = conditional_coverage(coverage, together)
    assert round(coverage.statistic, 2) == 3.91
    assert round(together.statistic, 2) == 9.53
    assert round(both.statistic, 2) == 13.44
    assert coverage.p_value == pytest.approx(0.048, abs=5e-4)
    assert together.p_value == pytest.approx(0.0020, abs=5e-5)
    assert both.p_value == pytest.approx(0.0012, abs=5e-5)


def test_a_series_is_counted_as_by_hand() -> None:
    breached = np.zeros(253, dtype=bool)
    # Fourteen runs begin after a quiet day, and six breaches follow one: 20 in all, each run followed by a quiet day.
    for run in range(14):
        breached[5 + run * 15 : 5 + run * 15 + (2 if run < 6 else 1)] = True
    found = backtest(np.where(breached, -2.0, 1.0), np.full(253, 1.5), 0.95)
    assert (found.observations, found.breaches) == (253, 20)
    assert found.expected == pytest.approx(12.65)
    assert found.independence == independence(218, 14, 14, 6)
    assert found.kupiec == kupiec(253, 20, 0.95)
    assert found.conditional_coverage.statistic == pytest.approx(found.kupiec.statistic + found.independence.statistic)


def test_a_loss_of_just_the_value_at_risk_is_no_breach() -> None:
    assert backtest([-1.5, -1.5], [1.5, 1.5], 0.9).breaches == 0


@given(st.integers(2, 60), st.floats(0.5, 0.99))
def test_as_many_breaches_as_expected_are_the_best_there_is(days: int, confidence: float) -> None:
    statistics = [kupiec(days, breaches, confidence).statistic for breaches in range(days + 1)]
    assert min(statistics) >= 0
    assert abs(int(np.argmin(statistics)) - days * (1 - confidence)) <= 1


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_any_series_has_statistics_and_probabilities(breaches: list[bool]) -> None:
    found = backtest(np.where(breaches, -2.0, 2.0), np.ones(len(breaches)), 0.95)
    for ratio in (found.kupiec, found.independence, found.conditional_coverage):
        assert ratio.statistic >= 0
        assert 0 <= ratio.p_value <= 1
    assert found.breaches == sum(breaches)


def test_no_breach_says_nothing_of_independence() -> None:
    assert backtest(np.ones(100), np.ones(100), 0.99).independence == independence(99, 0, 0, 0)
    assert independence(99, 0, 0, 0).p_value == 1


def test_a_right_model_is_rejected_as_seldom_as_it_should_be() -> None:
    breached = generator(11).random((2_000, 1_000)) < 0.05
    rejected = np.mean([kupiec(1_000, int(row.sum()), 0.95).p_value < 0.05 for row in breached])
    assert rejected == pytest.approx(0.05, abs=0.015)


def test_breaches_that_come_together_are_noticed_where_their_number_is_right() -> None:
    together = np.zeros(500, dtype=bool)
    together[100:125] = True
    found = backtest(np.where(together, -2.0, 0.0), np.ones(500), 0.95)
    assert found.kupiec.p_value == pytest.approx(1)
    assert found.independence.p_value < 1e-6
    assert found.conditional_coverage.p_value < 1e-6


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(OutOfRange, match="11 of 10 days"):
        kupiec(10, 11, 0.95)
    with pytest.raises(OutOfRange, match="confidence"):
        kupiec(10, 1, 1.0)
    with pytest.raises(OutOfRange, match="no days"):
        independence(0, 0, 0, 0)
    with pytest.raises(OutOfRange, match="quiet_breach"):
        independence(1, -1, 0, 0)
    with pytest.raises(WrongShape, match="2 values are needed, not 1"):
        backtest([1, 1], [1], 0.95)
    with pytest.raises(NotFinite):
        backtest([1, np.nan], [1, 1], 0.95)
    with pytest.raises(TooFewObservations):
        backtest([1], [1], 0.95)
