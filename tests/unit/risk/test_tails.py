"""Value at risk and expected shortfall: historical, parametric, simulated; beside other ways to the same numbers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from threadpoolctl import threadpool_limits

from risk.analytics.monte_carlo import BLOCK, blocks, monte_carlo, shocks_of_block, square_root
from risk.analytics.parametric import cornish_fisher, normal, student_t
from risk.analytics.refusals import (
    LabelsDiffer,
    NotFinite,
    NotMonotone,
    NotPositiveSemidefinite,
    OutOfRange,
    TooFewObservations,
    WrongShape,
)
from risk.analytics.tails import historical
from tests.unit.risk.samples import a_covariance, framed, generator, seeds, series, sizes

confidences = st.sampled_from([0.9, 0.95, 0.975, 0.99])

# --- historical


def test_a_hundred_days_by_hand() -> None:
    tail = historical(np.arange(-50, 50), 0.95)
    assert tail.value_at_risk == 45
    assert tail.expected_shortfall == np.mean([50, 49, 48, 47, 46])


def test_a_part_of_an_outcome_counts_in_part() -> None:
    # 2.5 of 50 outcomes: 50 and 49 whole, 48 half.
    tail = historical(-np.arange(1.0, 51.0), 0.95)
    assert tail.value_at_risk == 48
    assert tail.expected_shortfall == pytest.approx((50 + 49 + 24) / 2.5)


def test_profits_alone_have_a_value_at_risk_below_nothing() -> None:
    assert historical(np.full(100, 7.0), 0.99).value_at_risk == -7


@given(seeds, st.integers(100, 400), confidences)
def test_the_quantile_is_numpys_and_the_shortfall_the_integral_of_quantiles(
    seed: int, count: int, confidence: float
) -> None:
    pnl = generator(seed).standard_t(4, count)
    tail = historical(pnl, confidence)
    losses = np.sort(-pnl)[::-1]
    upper = min(int(round(count * (1 - confidence), 9)), count - 1)
    assert tail.value_at_risk == losses[upper]
    # The quantile function is a step function: its integral is a sum.
    edges = np.minimum(np.arange(count + 1) / count, 1 - confidence)
    assert tail.expected_shortfall == pytest.approx((losses * np.diff(edges)).sum() / (1 - confidence))
    assert tail.expected_shortfall >= tail.value_at_risk


@given(seeds, st.floats(0.01, 1e6), st.floats(-1e3, 1e3))
def test_a_tail_scales_with_money_and_moves_with_cash(seed: int, scale: float, cash: float) -> None:
    pnl = generator(seed).standard_normal(200)
    one, other = historical(pnl, 0.95), historical(pnl * scale + cash, 0.95)
    assert other.value_at_risk == pytest.approx(one.value_at_risk * scale - cash, abs=1e-9 * max(scale, 1e3))
    assert other.expected_shortfall == pytest.approx(one.expected_shortfall * scale - cash, abs=1e-9 * max(scale, 1e3))


@given(seeds, confidences)
def test_the_shortfall_of_two_books_is_never_above_that_of_each(seed: int, confidence: float) -> None:
    first, second = generator(seed).standard_t(3, (2, 250))
    both, alone = historical(first + second, confidence), [historical(each, confidence) for each in (first, second)]
    assert both.expected_shortfall <= sum(each.expected_shortfall for each in alone) + 1e-9


def test_a_longer_horizon_scales_or_adds_up() -> None:
    pnl = generator(1).standard_normal(1_000)
    one = historical(pnl, 0.99)
    assert historical(pnl, 0.99, 10).value_at_risk == pytest.approx(one.value_at_risk * np.sqrt(10))
    sums = pd.Series(pnl).rolling(10).sum().dropna()
    assert historical(pnl, 0.99, 10, overlapping=True).value_at_risk == pytest.approx(
        historical(sums, 0.99).value_at_risk
    )
    assert historical(pnl, 0.99, 10).horizon == 10


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95, np.nan])
def test_a_confidence_is_between_nothing_and_one(confidence: float) -> None:
    for tail in (
        lambda: historical(np.ones(1_000), confidence),
        lambda: normal(0, 1, confidence),
        lambda: monte_carlo(series([1]), framed([[1]]), paths=1_000, seed=1, confidence=confidence),
    ):
        with pytest.raises(OutOfRange, match="confidence"):
            tail()


def test_history_that_is_none_is_refused() -> None:
    with pytest.raises(TooFewObservations, match="99 observations; 100 are needed"):
        historical(np.ones(99), 0.99)
    with pytest.raises(TooFewObservations):
        historical(np.ones(5), 0.5, 10, overlapping=True)
    with pytest.raises(NotFinite, match="not finite at 1"):
        historical([1.0, np.nan], 0.5)
    with pytest.raises(WrongShape, match="1 dimensions are needed"):
        historical(np.ones((10, 10)), 0.5)
    with pytest.raises(OutOfRange, match="horizon"):
        historical(np.ones(100), 0.5, 0)
    with pytest.raises(OutOfRange, match="horizon"):
        historical(np.ones(100), 0.5, True)


# --- parametric


def test_normal_figures_are_the_tables() -> None:
    # McNeil, Frey and Embrechts, example 2.14: 10,000 at an annual volatility of 20 % in 250 days.
    daily = 10_000 * 0.2 / np.sqrt(250)
    known = {
        0.90: (162.1, 222.0),
        0.95: (208.1, 260.9),
        0.975: (247.9, 295.7),
        0.99: (294.3, 337.1),
        0.995: (325.8, 365.8),
    }
    for confidence, (value_at_risk, shortfall) in known.items():
        tail = normal(0, daily, confidence)
        assert tail.value_at_risk == pytest.approx(value_at_risk, abs=0.06)
        assert tail.expected_shortfall == pytest.approx(shortfall, abs=0.06)


def test_student_figures_are_the_tables() -> None:
    # The same example with four degrees of freedom, scaled to the same volatility.
    daily = 10_000 * 0.2 / np.sqrt(250)
    known = {
        0.90: (137.1, 223.5),
        0.95: (190.7, 286.5),
        0.975: (248.3, 357.2),
        0.99: (335.1, 466.9),
        0.995: (411.8, 565.7),
    }
    for confidence, (value_at_risk, shortfall) in known.items():
        tail = student_t(0, daily, 4, confidence)
        assert tail.value_at_risk == pytest.approx(value_at_risk, abs=0.06)
        assert tail.expected_shortfall == pytest.approx(shortfall, abs=0.06)


@given(st.floats(-10, 10), st.floats(0, 100), confidences, st.integers(1, 20))
def test_many_degrees_and_no_moments_are_normal(
    mean: float, volatility: float, confidence: float, horizon: int
) -> None:
    expected = normal(mean, volatility, confidence, horizon)
    for tail in (
        student_t(mean, volatility, 1e7, confidence, horizon),
        cornish_fisher(mean, volatility, 0, 0, confidence, horizon),
    ):
        assert tail.value_at_risk == pytest.approx(expected.value_at_risk, rel=1e-5, abs=1e-3)
        assert tail.expected_shortfall == pytest.approx(expected.expected_shortfall, rel=1e-5, abs=1e-3)
    assert normal(0, volatility, confidence, 4).value_at_risk == pytest.approx(
        2 * normal(0, volatility, confidence).value_at_risk
    )


@pytest.mark.parametrize("skewness, kurtosis", [(-0.5, 2.0), (0.3, 1.0), (0.0, 5.0), (-0.8, 3.5)])
def test_the_expansions_shortfall_is_the_mean_of_its_quantiles(skewness: float, kurtosis: float) -> None:
    def loss(level: float) -> float:
        return cornish_fisher(0.1, 2.0, skewness, kurtosis, level).value_at_risk

    mean = integrate.quad(loss, 0.99, 1, limit=200)[0] / 0.01
    assert cornish_fisher(0.1, 2.0, skewness, kurtosis, 0.99).expected_shortfall == pytest.approx(mean, rel=1e-6)


def test_a_worked_case_of_the_expansion() -> None:
    # z = -2.3263: z + 4.4120 S / 6 + (-12.5902 + 6.9790) K / 24 - (-25.1804 + 11.6317) S^2 / 36.
    tail = cornish_fisher(0, 1, -0.5, 2.0, 0.99)
    assert tail.value_at_risk == pytest.approx(
        2.32635 + 4.41189 * 0.5 / 6 + 5.61053 * 2 / 24 - 13.54779 * 0.25 / 36, abs=1e-4
    )
    assert tail.value_at_risk > normal(0, 1, 0.99).value_at_risk


def test_moments_fade_with_the_horizon() -> None:
    ten = cornish_fisher(0, 1, -0.5, 2.0, 0.99, 10)
    same = cornish_fisher(0, 1, -0.5 / np.sqrt(10), 0.2, 0.99)
    assert ten.value_at_risk == pytest.approx(same.value_at_risk * np.sqrt(10))


@pytest.mark.parametrize("skewness, kurtosis", [(2.0, 1.0), (0.0, -1.0), (0.0, 9.0), (1.5, 1.0)])
def test_an_expansion_that_is_no_quantile_is_refused(skewness: float, kurtosis: float) -> None:
    with pytest.raises(NotMonotone, match="no quantile"):
        cornish_fisher(0, 1, skewness, kurtosis, 0.99)


@given(st.floats(-2.5, 2.5), st.floats(-1, 9))
def test_what_is_refused_falls_somewhere_and_what_is_taken_nowhere(skewness: float, kurtosis: float) -> None:
    z = np.linspace(-38, 38, 20_001)
    quantile = z + (z**2 - 1) * skewness / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skewness**2 / 36
    steepest = (np.diff(quantile) / np.diff(z)).min()
    try:
        cornish_fisher(0, 1, skewness, kurtosis, 0.99)
    except NotMonotone:
        assert steepest < 1e-2
    else:
        assert steepest > -1e-9


def test_parameters_that_cannot_be_are_refused() -> None:
    with pytest.raises(OutOfRange, match="volatility"):
        normal(0, -1, 0.95)
    with pytest.raises(NotFinite, match="volatility"):
        normal(np.nan, 1, 0.95)
    with pytest.raises(NotFinite, match="skewness"):
        cornish_fisher(0, 1, np.inf, 0, 0.95)
    with pytest.raises(OutOfRange, match="degrees"):
        student_t(0, 1, 2, 0.95)


# --- simulated

HELD = series([100.0, -50.0, 20.0])
SPREAD = framed([[0.04, 0.01, 0.0], [0.01, 0.09, -0.02], [0.0, -0.02, 0.16]])


def test_the_same_seed_gives_the_same_bits_whatever_threads_there_are() -> None:
    def run(seed: int) -> bytes:
        return monte_carlo(HELD, SPREAD, paths=3 * BLOCK + 5, seed=seed, confidence=0.99).pnl.tobytes()

    first = run(7)
    with threadpool_limits(2):
        assert run(7) == first
    assert run(8) != first


def test_blocks_may_be_reckoned_anywhere_in_any_order() -> None:
    paths = 2 * BLOCK + 100
    whole = monte_carlo(HELD, SPREAD, paths=paths, seed=7, confidence=0.99).pnl
    root = square_root(SPREAD.to_numpy())
    parts = [shocks_of_block(number, paths, root, seed=7) for number in reversed(range(blocks(paths)))]
    alone = np.concatenate([np.einsum("pf,f->p", part, HELD.to_numpy()) for part in reversed(parts)])
    assert alone.tobytes() == whole.tobytes()


@pytest.mark.parametrize("degrees, horizon", [(None, 1), (None, 10), (5.0, 1)])
def test_many_paths_come_to_what_the_formula_says(degrees: float | None, horizon: int) -> None:
    paths = 400_000
    found = monte_carlo(HELD, SPREAD, paths=paths, seed=1, confidence=0.99, horizon=horizon, degrees_of_freedom=degrees)
    volatility = float(np.sqrt(HELD @ SPREAD @ HELD))
    known = normal(0, volatility, 0.99, horizon) if degrees is None else student_t(0, volatility, degrees, 0.99)
    # Five standard errors of a quantile: sqrt(c (1 - c) / n) / density.
    assert found.tail.value_at_risk == pytest.approx(known.value_at_risk, rel=0.02)
    assert found.tail.expected_shortfall == pytest.approx(known.expected_shortfall, rel=0.03)
    assert found.pnl.std() == pytest.approx(volatility * np.sqrt(horizon), rel=0.02)


@given(seeds, sizes)
def test_draws_have_the_covariance_also_where_it_is_singular(seed: int, size: int) -> None:
    spread = a_covariance(seed, size).to_numpy()
    root = square_root(spread)
    np.testing.assert_allclose(root @ root.T, spread, atol=1e-9 * np.abs(spread).max())


def test_what_is_not_linear_is_revalued() -> None:
    # A put on the first one, bought at the money: its loss is what was paid for it at most.
    found = monte_carlo(
        HELD,
        SPREAD,
        paths=20_000,
        seed=3,
        confidence=0.99,
        revalue=lambda shocks: np.maximum(-100 * shocks[:, 0], 0) - 5,
    )
    assert found.tail.value_at_risk == found.tail.expected_shortfall == 5
    assert found.pnl.mean() == pytest.approx(100 * 0.2 / np.sqrt(2 * np.pi) - 5, rel=0.05)


def test_a_simulation_of_nothing_sensible_is_refused() -> None:
    def run(**changed: object) -> None:
        given_ones = {"paths": 1_000, "seed": 1, "confidence": 0.99, **changed}
        values, spread = given_ones.pop("values", HELD), given_ones.pop("spread", SPREAD)
        monte_carlo(values, spread, **given_ones)

    with pytest.raises(OutOfRange, match="paths"):
        run(paths=0)
    with pytest.raises(OutOfRange, match="seed"):
        run(seed=-1)
    with pytest.raises(OutOfRange, match="degrees_of_freedom"):
        run(degrees_of_freedom=2)
    with pytest.raises(TooFewObservations, match="99 observations; 100"):
        run(paths=99)
    with pytest.raises(NotPositiveSemidefinite):
        run(spread=SPREAD - 0.1 * np.eye(3))
    with pytest.raises(LabelsDiffer):
        run(values=HELD.iloc[:2])
    with pytest.raises(WrongShape, match="a series is needed"):
        run(values=[1, 2, 3])
    with pytest.raises(WrongShape, match="revalue"):
        run(revalue=lambda shocks: shocks)
    with pytest.raises(NotFinite, match="revalue"):
        run(revalue=lambda shocks: shocks[:, 0] * np.nan)


def test_student_draws_are_students() -> None:
    root = np.array([[1.0]])
    shocks = np.concatenate([shocks_of_block(n, 8 * BLOCK, root, seed=5, degrees_of_freedom=5) for n in range(8)])
    assert stats.kstest(shocks[:, 0] / np.sqrt(3 / 5), stats.t(5).cdf).pvalue > 1e-3
