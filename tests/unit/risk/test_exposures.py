"""Regressions: NIST's certified figures, scikit-learn's, and refusals of what cannot be told apart."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from risk.analytics.exposures import exposures
from risk.analytics.refusals import (
    CollinearFactors,
    ConstantSeries,
    LabelsDiffer,
    NotFinite,
    OutOfRange,
    TooFewObservations,
    WrongShape,
)
from tests.unit.risk.samples import generator, names, seeds

# NIST Statistical Reference Datasets, Longley: y, then x1 to x6.
LONGLEY = """
60323 83.0 234289 2356 1590 107608 1947
61122 88.5 259426 2325 1456 108632 1948
60171 88.2 258054 3682 1616 109773 1949
61187 89.5 284599 3351 1650 110929 1950
63221 96.2 328975 2099 3099 112075 1951
63639 98.1 346999 1932 3594 113270 1952
64989 99.0 365385 1870 3547 115094 1953
63761 100.0 363112 3578 3350 116219 1954
66019 101.2 397469 2904 3048 117388 1955
67857 104.6 419180 2822 2857 118734 1956
68169 108.4 442769 2936 2798 120445 1957
66513 110.8 444546 4681 2637 121950 1958
68655 112.6 482704 3813 2552 123366 1959
69564 114.2 502601 3931 2514 125368 1960
69331 115.7 518173 4806 2572 127852 1961
70551 116.9 554894 4007 2827 130081 1962
"""
CERTIFIED = {
    "x1": (15.0618722713733, 84.9149257747669),
    "x2": (-0.0358191792925910, 0.0334910077722432),
    "x3": (-2.02022980381683, 0.488399681651699),
    "x4": (-1.03322686717359, 0.214274163161675),
    "x5": (-0.0511041056535807, 0.226073200069370),
    "x6": (1829.15146461355, 455.478499142212),
}


def drawn(seed: int, periods: int, series: int, factors: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    numbers = generator(seed)
    x = pd.DataFrame(numbers.standard_normal((periods, factors)), columns=names(factors))
    y = x.to_numpy() @ numbers.standard_normal((factors, series)) + numbers.standard_normal((periods, series)) * 0.3 + 1
    return pd.DataFrame(y, columns=[f"s{number}" for number in range(series)]), x


def test_nists_certified_figures_of_longleys_data_are_met() -> None:
    rows = np.array([[float(word) for word in line.split()] for line in LONGLEY.split("\n") if line])
    data = pd.DataFrame(rows, columns=["y", *CERTIFIED])
    found = exposures(data[["y"]], data[list(CERTIFIED)], minimum=16)
    for name, (beta, error) in CERTIFIED.items():
        assert found.betas.loc["y", name] == pytest.approx(beta, rel=1e-7)
        assert found.standard_errors.loc["y", name] == pytest.approx(error, rel=1e-7)
    assert found.alphas["y"] == pytest.approx(-3482258.63459582, rel=1e-7)
    assert found.alpha_errors["y"] == pytest.approx(890420.383607373, rel=1e-7)
    assert found.r_squared["y"] == pytest.approx(0.995479004577296, rel=1e-9)
    assert np.sqrt(found.specific_variance["y"]) == pytest.approx(304.854073561965, rel=1e-7)
    assert found.observations == 16


@given(seeds, st.integers(5, 60))
def test_one_factor_is_what_scipy_says(seed: int, periods: int) -> None:
    y, x = drawn(seed, periods, 1, 1)
    found, expected = exposures(y, x, minimum=5), stats.linregress(x["f0"], y["s0"])
    assert found.betas.loc["s0", "f0"] == pytest.approx(expected.slope)
    assert found.standard_errors.loc["s0", "f0"] == pytest.approx(expected.stderr)
    assert found.alphas["s0"] == pytest.approx(expected.intercept)
    assert found.alpha_errors["s0"] == pytest.approx(expected.intercept_stderr)
    assert found.r_squared["s0"] == pytest.approx(expected.rvalue**2)


@given(seeds, st.floats(0.01, 100))
def test_a_ridge_is_scikit_learns_on_standardised_factors(seed: int, ridge: float) -> None:
    y, x = drawn(seed, 40, 3, 4)
    found = exposures(y, x * 7 + 3, ridge=ridge, minimum=40)
    scaler = StandardScaler().fit(x.to_numpy() * 7 + 3)
    model = Ridge(alpha=ridge).fit(scaler.transform(x.to_numpy() * 7 + 3), y.to_numpy())
    np.testing.assert_allclose(found.betas, model.coef_ / scaler.scale_, rtol=1e-7)
    predicted = model.predict(scaler.transform(x.to_numpy() * 7 + 3))
    np.testing.assert_allclose(found.alphas + (x * 7 + 3).to_numpy()[0] @ found.betas.to_numpy().T, predicted[0])
    free = exposures(y, x * 7 + 3, minimum=40)
    assert (found.standard_errors.to_numpy() > 0).all()
    assert np.linalg.norm(found.betas) < np.linalg.norm(free.betas)


def test_a_ridges_errors_are_what_they_are_when_the_noise_is_drawn_again() -> None:
    numbers, ridge = generator(3), 20.0
    x = pd.DataFrame(numbers.standard_normal((40, 2)) @ np.array([[1.0, 0.9], [0.0, 0.3]]), columns=names(2))
    many = pd.DataFrame(numbers.standard_normal((40, 4_000)) * 0.1 + 0.2)
    found = exposures(many, x, ridge=ridge, minimum=40)
    assert found.specific_variance.mean() == pytest.approx(0.01, rel=0.02)
    np.testing.assert_allclose(found.betas.std(), found.standard_errors.mean(), rtol=0.05)
    assert found.alphas.std() == pytest.approx(found.alpha_errors.mean(), rel=0.05)


def test_only_common_periods_count_whatever_their_order() -> None:
    y, x = drawn(1, 30, 2, 2)
    expected = exposures(y.iloc[5:25], x.iloc[5:25], minimum=20)
    found = exposures(y.iloc[:25].sample(frac=1, random_state=1), x.iloc[5:], minimum=20)
    assert found.observations == 20
    pd.testing.assert_frame_equal(found.betas, expected.betas)


def test_collinear_factors_are_named_and_the_others_are_not() -> None:
    y, x = drawn(2, 30, 1, 3)
    with pytest.raises(CollinearFactors, match=r"^f0, f2, sum cannot be told apart$"):
        exposures(y, x.assign(sum=x["f0"] - 2 * x["f2"]), minimum=30)
    with pytest.raises(CollinearFactors, match=r"^f1, twin cannot be told apart$"):
        exposures(y, x.assign(twin=x["f1"] * 3 + 5), minimum=30)
    held = exposures(y, x.assign(twin=x["f1"] * 3 + 5), ridge=1.0, minimum=30)
    assert np.isfinite(held.betas.to_numpy()).all()


def test_series_that_are_too_short_are_refused() -> None:
    y, x = drawn(1, 30, 1, 2)
    with pytest.raises(TooFewObservations, match="30 observations; 60 are needed"):
        exposures(y, x)
    with pytest.raises(TooFewObservations, match="3 observations; 4 are needed"):
        exposures(y.iloc[:3], x, minimum=1)


def test_bad_input_is_refused_by_name() -> None:
    y, x = drawn(1, 30, 1, 2)
    with pytest.raises(ConstantSeries, match="f1 does not move"):
        exposures(y, x.assign(f1=0.1), minimum=30)
    with pytest.raises(ConstantSeries, match="s0 does not move"):
        exposures(y.assign(s0=0.0), x, minimum=30)
    with pytest.raises(NotFinite, match="3, s0"):
        exposures(y.where(y.index.to_series() != 3, axis=0), x, minimum=30)
    with pytest.raises(OutOfRange, match="ridge"):
        exposures(y, x, ridge=-1, minimum=30)
    with pytest.raises(OutOfRange, match="minimum"):
        exposures(y, x, minimum=0)
    with pytest.raises(LabelsDiffer, match="a period is there more than once"):
        exposures(pd.concat([y, y]), x, minimum=30)
    with pytest.raises(WrongShape):
        exposures(y["s0"], x, minimum=30)


def test_without_factors_everything_is_specific() -> None:
    y, x = drawn(1, 30, 1, 2)
    alone = exposures(y, x[[]], minimum=30)
    assert alone.r_squared["s0"] == pytest.approx(0)
    assert alone.specific_variance["s0"] == pytest.approx(y["s0"].var())
