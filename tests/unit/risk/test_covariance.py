"""Covariances: each estimator beside another one's figures, repairs only where they are asked for."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from risk.analytics.covariance import (
    annualise,
    exponentially_weighted,
    from_correlations,
    ledoit_wolf,
    repaired,
    require_positive_semidefinite,
    sample,
    volatilities_and_correlations,
)
from risk.analytics.refusals import (
    LabelsDiffer,
    NotFinite,
    NotPositiveSemidefinite,
    NotSymmetric,
    OutOfRange,
    TooFewObservations,
    WrongShape,
)
from tests.unit.risk.samples import a_covariance, framed, generator, names, seeds, series, sizes


def returns(seed: int, periods: int, size: int) -> pd.DataFrame:
    return pd.DataFrame(generator(seed).standard_normal((periods, size)) * 0.01, columns=names(size))


@given(seeds, st.integers(2, 40), sizes)
def test_the_sample_is_pandas_own(seed: int, periods: int, size: int) -> None:
    given_returns = returns(seed, periods, size)
    pd.testing.assert_frame_equal(sample(given_returns), given_returns.cov())


@given(seeds, st.integers(2, 40), sizes, st.floats(0.5, 0.999))
def test_the_newest_weigh_most_as_pandas_weighs_them(seed: int, periods: int, size: int, decay: float) -> None:
    given_returns = returns(seed, periods, size)
    expected = given_returns.ewm(alpha=1 - decay).cov(bias=True).loc[periods - 1]
    np.testing.assert_allclose(exponentially_weighted(given_returns, decay), expected, rtol=1e-7, atol=1e-12)


def test_a_weighted_case_by_hand() -> None:
    # Weights 1/3 and 2/3: mean 2 x 2/3, variance 1/3 (4/3)^2 + 2/3 (2/3)^2.
    weighted = exponentially_weighted(pd.DataFrame({"f0": [0.0, 2.0]}), 0.5)
    assert weighted.loc["f0", "f0"] == pytest.approx(24 / 27)


@given(seeds, st.integers(2, 30), sizes)
def test_shrinkage_keeps_the_mean_variance_and_lifts_the_lowest(seed: int, periods: int, size: int) -> None:
    given_returns = returns(seed, periods, size)
    shrunk = ledoit_wolf(given_returns)
    biased = sample(given_returns).to_numpy() * (periods - 1) / periods
    identity = np.eye(size) * np.trace(biased) / size
    expected = (1 - shrunk.shrinkage) * biased + shrunk.shrinkage * identity
    assert 0 <= shrunk.shrinkage <= 1
    np.testing.assert_allclose(shrunk.covariance, expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(shrunk.covariance, LedoitWolf().fit(given_returns.to_numpy()).covariance_)


def test_more_series_than_periods_are_made_invertible() -> None:
    few = returns(7, 5, 20)
    assert np.linalg.matrix_rank(sample(few)) == 4
    assert np.linalg.eigvalsh(ledoit_wolf(few).covariance)[0] > 0


def test_a_year_has_as_many_periods_as_one_says() -> None:
    daily = framed([[0.0001]])
    assert np.sqrt(annualise(daily, 252).loc["f0", "f0"]) == pytest.approx(0.01 * np.sqrt(252))
    with pytest.raises(OutOfRange, match="periods_per_year"):
        annualise(daily, 0)


@given(seeds, sizes)
def test_a_covariance_is_its_volatilities_and_correlations(seed: int, size: int) -> None:
    spread = a_covariance(seed, size)
    scale, related = volatilities_and_correlations(spread)
    assert (np.diag(related) == 1).all()
    pd.testing.assert_frame_equal(from_correlations(scale, related), spread, rtol=1e-9)


def test_what_does_not_move_correlates_with_itself_alone() -> None:
    scale, related = volatilities_and_correlations(framed([[0.0, 0.0], [0.0, 4.0]]))
    assert scale.to_list() == [0, 2]
    assert related.to_numpy().tolist() == [[1, 0], [0, 1]]


def test_a_matrix_that_cannot_be_is_refused_and_only_repaired_where_asked() -> None:
    # The example of Rebonato and Jaeckel (1999), and what their spectral method makes of it.
    wrong = framed([[1.0, 0.9, 0.7], [0.9, 1.0, 0.3], [0.7, 0.3, 1.0]])
    with pytest.raises(NotPositiveSemidefinite, match=r"-0\.0073"):
        require_positive_semidefinite(wrong)
    with pytest.raises(NotPositiveSemidefinite):
        from_correlations(series([1, 1, 1]), wrong)
    mended = repaired(wrong)
    require_positive_semidefinite(mended)
    np.testing.assert_allclose(np.diag(mended), 1)
    assert mended.to_numpy()[np.triu_indices(3, 1)] == pytest.approx([0.89402, 0.69632, 0.30100], abs=5e-5)


@given(seeds, sizes)
def test_a_repair_keeps_variances_and_leaves_good_ones_alone(seed: int, size: int) -> None:
    spread = a_covariance(seed, size)
    pd.testing.assert_frame_equal(repaired(spread), spread)
    noise = generator(seed).standard_normal((size, size))
    wrong = spread + (noise + noise.T) * float(np.trace(spread))
    np.fill_diagonal(moved := wrong.to_numpy().copy(), np.diag(spread))
    mended = repaired(framed(moved))
    np.testing.assert_allclose(np.diag(mended), np.diag(spread))
    require_positive_semidefinite(mended)


def test_a_small_variance_is_looked_at_as_closely_as_a_large_one() -> None:
    wrong = framed([[1e-9, 2e-9, 0.0], [2e-9, 1e-9, 0.0], [0.0, 0.0, 1.0]])
    with pytest.raises(NotPositiveSemidefinite, match="eigenvalue is -1"):
        require_positive_semidefinite(wrong)
    require_positive_semidefinite(repaired(wrong))
    # A series that stands still, but for rounding, is no reason to refuse the others.
    require_positive_semidefinite(framed([[1e-34, 3e-19], [3e-19, 1e-4]]))
    require_positive_semidefinite(framed(np.zeros((2, 2))))


def test_what_cannot_be_repaired_is_refused() -> None:
    with pytest.raises(NotPositiveSemidefinite, match="a variance is -1"):
        repaired(framed([[-1.0, 0.0], [0.0, 1.0]]))
    with pytest.raises(NotPositiveSemidefinite, match="covaries"):
        repaired(framed([[0.0, 0.5], [0.5, 1.0]]))


@pytest.mark.parametrize("estimate", [sample, exponentially_weighted, ledoit_wolf])
def test_returns_that_are_none_are_refused_by_every_estimator(estimate) -> None:
    with pytest.raises(TooFewObservations, match="1 observations; 2 are needed"):
        estimate(returns(1, 1, 2))
    with pytest.raises(TooFewObservations):
        estimate(pd.DataFrame(index=range(5)))
    with pytest.raises(NotFinite, match="1, f0"):
        estimate(pd.DataFrame({"f0": [0.1, np.nan, 0.2]}))
    with pytest.raises(LabelsDiffer, match="f0 more than once"):
        estimate(pd.DataFrame([[1.0, 2.0], [2.0, 1.0]], columns=["f0", "f0"]))
    with pytest.raises(WrongShape, match="a frame is needed"):
        estimate(np.ones((3, 2)))


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, np.nan])
def test_a_decay_is_between_nothing_and_one(decay: float) -> None:
    with pytest.raises(OutOfRange, match="decay"):
        exponentially_weighted(returns(1, 5, 2), decay)


def test_matrices_of_the_wrong_form_are_refused() -> None:
    with pytest.raises(NotSymmetric):
        annualise(framed([[1.0, 0.1], [0.2, 1.0]]), 252)
    with pytest.raises(WrongShape, match="not square"):
        require_positive_semidefinite(pd.DataFrame([[1.0, 0.1]]))
    with pytest.raises(WrongShape, match="2 values are needed, not 3"):
        from_correlations(series([1, 1, 1]), framed(np.eye(2)))
    with pytest.raises(OutOfRange):
        from_correlations(series([1, -1]), framed(np.eye(2)))
