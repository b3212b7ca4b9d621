"""Contributions add up to the volatility, whatever the exposures; what is not known is not taken for 0."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.analytics.factor_risk import SPECIFIC, covariance_from_pairs, factor_risk, position_risk
from risk.analytics.refusals import (
    LabelsDiffer,
    MissingPairs,
    NotFinite,
    NotPositiveSemidefinite,
    NotSymmetric,
    OutOfRange,
    WrongShape,
)
from tests.unit.risk.samples import a_covariance, framed, generator, names, seeds, series, sizes


def pairs_of(covariance: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {"factor1": a, "factor2": b, "covariance": covariance.loc[a, b]}
        for a, b in itertools.combinations_with_replacement(covariance.index, 2)
    ]
    return pd.DataFrame(rows)


def test_a_worked_case_by_hand() -> None:
    # Variances 0.04 and 0.09, correlation 0.5: x'Sx = 100^2 0.04 + 200^2 0.09 + 2 100 200 0.03 = 400 + 3600 + 1200.
    risk = factor_risk(series([100, 200]), framed([[0.04, 0.03], [0.03, 0.09]]), specific_variance=900)
    total = np.sqrt(5_200 + 900)
    assert risk.volatility == pytest.approx(total)
    np.testing.assert_allclose(risk.contributions, np.array([400 + 600, 3_600 + 600, 900]) / total)
    assert risk.contributions.index.to_list() == ["f0", "f1", SPECIFIC]
    assert risk.shares.sum() == pytest.approx(1)


def test_a_factors_own_variance_counts() -> None:
    # The specification's query joins each pair once, by least and greatest, and so must not lose the diagonal.
    assert factor_risk(series([10.0]), framed([[0.04]])).contributions.to_list() == pytest.approx([2.0, 0.0])


def test_a_hedge_takes_risk_away() -> None:
    risk = factor_risk(series([100, -50]), framed([[0.04, 0.05], [0.05, 0.09]]))
    assert risk.contributions["f1"] < 0 < risk.contributions["f0"]


@given(seeds, sizes, st.floats(0, 1e6))
def test_contributions_add_up_to_the_volatility(seed: int, size: int, specific: float) -> None:
    exposures = series(generator(seed).standard_normal(size) * 1_000)
    risk = factor_risk(exposures, a_covariance(seed, size), specific)
    # Terms may cancel: what they add up to is exact to the largest of them.
    largest = np.abs(risk.contributions).max()
    assert risk.contributions.sum() == pytest.approx(risk.volatility, rel=1e-9, abs=1e-7 * largest)


@given(seeds, sizes, st.integers(1, 8))
def test_positions_and_factors_tell_the_same_volatility(seed: int, size: int, count: int) -> None:
    drawn = generator(seed)
    positions = [f"p{number}" for number in range(count)]
    values = series(drawn.standard_normal(count) * 100, positions)
    betas = pd.DataFrame(drawn.standard_normal((count, size)), index=positions, columns=names(size))
    own = series(drawn.random(count) * 0.01 + 0.001, positions)
    spread = a_covariance(seed, size)
    risk = position_risk(values, betas, spread, own)
    assert risk.by_position is not None
    assert risk.by_position.sum() == pytest.approx(risk.volatility)
    assert risk.contributions.sum() == pytest.approx(risk.volatility)
    whole = betas.to_numpy() @ spread.to_numpy() @ betas.to_numpy().T + np.diag(own)
    assert risk.volatility == pytest.approx(np.sqrt(values @ whole @ values.to_numpy()))
    shuffled = position_risk(values, betas.iloc[::-1, ::-1], spread, own.iloc[::-1])
    assert shuffled.volatility == pytest.approx(risk.volatility)


def test_nothing_held_is_no_risk() -> None:
    risk = factor_risk(series([0.0, 0.0]), framed(np.eye(2)))
    assert risk.volatility == 0
    assert risk.shares.to_list() == risk.contributions.to_list() == [0, 0, 0]
    empty = position_risk(
        pd.Series(dtype=float), pd.DataFrame(index=[], columns=["f0"]), framed([[1.0]]), pd.Series(dtype=float)
    )
    assert empty.volatility == 0


@given(seeds, sizes)
def test_a_matrix_told_by_its_pairs_is_the_same_in_whatever_order(seed: int, size: int) -> None:
    spread = a_covariance(seed, size)
    pairs = pairs_of(spread)
    turned = pairs.rename(columns={"factor1": "factor2", "factor2": "factor1"}).sample(frac=1, random_state=seed % 1000)
    for told in (pairs, turned, pd.concat([pairs, turned])):
        pd.testing.assert_frame_equal(covariance_from_pairs(told, names(size)), spread)


@pytest.mark.parametrize("lost", [("f0", "f0"), ("f0", "f1"), ("f1", "f2"), ("f2", "f2")])
def test_a_pair_that_is_missing_is_named(lost: tuple[str, str]) -> None:
    pairs = pairs_of(framed(np.eye(3)))
    kept = pairs[(pairs["factor1"] != lost[0]) | (pairs["factor2"] != lost[1])]
    with pytest.raises(MissingPairs, match=f"no covariance of {lost[0]}/{lost[1]}$"):
        covariance_from_pairs(kept, names(3))


def test_of_many_missing_pairs_some_are_named_and_all_counted() -> None:
    with pytest.raises(MissingPairs, match=r"f0/f0.* and 11 more"):
        covariance_from_pairs(pairs_of(framed(np.eye(2), ["a", "b"])), names(6))


def test_pairs_that_contradict_each_other_or_cannot_be_are_refused() -> None:
    pairs = pairs_of(framed(np.eye(2)))
    twice = pd.concat([pairs, pd.DataFrame([{"factor1": "f1", "factor2": "f0", "covariance": 0.5}])])
    with pytest.raises(LabelsDiffer, match="both"):
        covariance_from_pairs(twice, names(2))
    with pytest.raises(NotPositiveSemidefinite, match="lowest eigenvalue is -1"):
        covariance_from_pairs(pairs_of(framed([[1.0, 2.0], [2.0, 1.0]])), names(2))
    with pytest.raises(LabelsDiffer, match="a more than once"):
        covariance_from_pairs(pairs, ["a", "a"])


def test_bad_input_is_refused_by_name() -> None:
    good = framed(np.eye(2))
    with pytest.raises(LabelsDiffer, match="without g; unknown f1"):
        factor_risk(series([1, 2], ["f0", "g"]), good)
    with pytest.raises(NotFinite, match="not finite at f1"):
        factor_risk(series([1, np.nan]), good)
    with pytest.raises(NotFinite, match="not finite at f0, f1"):
        factor_risk(series([1, 1]), framed([[1.0, np.inf], [np.inf, 1.0]]))
    with pytest.raises(NotSymmetric, match=r"0\.5 at \(0, 1\)"):
        factor_risk(series([1, 1]), framed([[1.0, 0.5], [0.4, 1.0]]))
    with pytest.raises(OutOfRange, match="specific_variance"):
        factor_risk(series([1, 1]), good, -1.0)
    with pytest.raises(OutOfRange, match="no factor explains"):
        factor_risk(series([1], [SPECIFIC]), framed([[1.0]], [SPECIFIC]))
    with pytest.raises(WrongShape, match="a series is needed"):
        factor_risk([1, 1], good)
    with pytest.raises(WrongShape, match="a frame is needed"):
        factor_risk(series([1, 1]), np.eye(2))


def test_positions_need_betas_and_variances_of_their_own() -> None:
    values, own = series([1, 1], ["p", "q"]), series([0, 0], ["p", "q"])
    betas = pd.DataFrame([[1.0], [1.0]], index=["p", "q"], columns=["f0"])
    with pytest.raises(LabelsDiffer, match="without q"):
        position_risk(values, betas.loc[["p"]], framed([[1.0]]), own)
    with pytest.raises(LabelsDiffer, match="p, q more than once"):
        position_risk(values, pd.concat([betas, betas]), framed([[1.0]]), own)
    with pytest.raises(OutOfRange, match="below 0"):
        position_risk(values, betas, framed([[1.0]]), own - 1)
    with pytest.raises(WrongShape, match="betas"):
        position_risk(values, [[1.0]], framed([[1.0]]), own)
    with pytest.raises(WrongShape, match="values"):
        position_risk([1, 1], betas, framed([[1.0]]), own)
    with pytest.raises(WrongShape, match="a series is needed"):
        position_risk(values, betas, framed([[1.0]]), [0, 0])
