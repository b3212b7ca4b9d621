"""Diversification: 0 where all moves as one, at any weights; shorts turn their correlations' sign."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from risk.analytics.diversification import diversification_ratio, diversification_score
from risk.analytics.refusals import LabelsDiffer, NotPositiveSemidefinite, OutOfRange, WrongShape
from tests.unit.risk.samples import a_covariance, correlations_of, framed, generator, seeds, series

weights = st.floats(1e-3, 1e9)
ONE = framed([[1.0, 1.0], [1.0, 1.0]])


@given(weights, weights)
def test_two_that_move_as_one_are_not_diversified_at_any_weights(first: float, second: float) -> None:
    assert diversification_score(series([first, second]), ONE) == pytest.approx(0, abs=1e-12)
    assert diversification_ratio(series([first, second]), series([0.1, 0.3]), ONE) == pytest.approx(1)


@given(weights, weights)
def test_a_long_and_a_short_that_move_as_one_offset_each_other(first: float, second: float) -> None:
    assert diversification_score(series([first, -second]), ONE) == pytest.approx(2)


def test_one_position_has_no_score() -> None:
    assert diversification_score(series([100.0]), framed([[1.0]])) is None
    assert diversification_score(series([]), framed(np.empty((0, 0)))) is None
    assert diversification_score(series([100.0, 0.0]), ONE) is None


def test_a_worked_case_by_hand() -> None:
    # Pairs weigh 2, 3 and 6: the mean is (2 x 0.5 - 3 x 0.2 - 6 x 0.1) / 11; the third one is short.
    related = framed([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])
    held = series([1.0, 2.0, -3.0])
    assert diversification_score(held, related) == pytest.approx(1 - (1.0 - 0.6 - 0.6) / 11)
    alone = np.array([0.1, 0.4, -0.9])
    assert diversification_ratio(held, series([0.1, 0.2, 0.3]), related) == pytest.approx(
        1.4 / np.sqrt(alone @ related.to_numpy() @ alone)
    )


@given(seeds, st.integers(2, 6), st.floats(1e-6, 1e6))
def test_scores_are_between_nothing_and_twice_everything_and_know_no_unit(seed: int, size: int, unit: float) -> None:
    related = correlations_of(a_covariance(seed, size))
    held = series(generator(seed).standard_normal(size))
    score = diversification_score(held, related)
    assert score is not None
    assert -1e-9 <= score <= 2 + 1e-9
    assert diversification_score(held * unit, related) == pytest.approx(score)
    assert diversification_score(-held, related) == pytest.approx(score)


@given(seeds, st.integers(1, 6))
def test_the_ratio_is_never_below_one(seed: int, size: int) -> None:
    related = correlations_of(a_covariance(seed, size))
    ratio = diversification_ratio(
        series(generator(seed).standard_normal(size)), series(generator(seed + 1).random(size)), related
    )
    assume(ratio is not None)
    assert ratio is not None
    assert ratio >= 1 - 1e-9


def test_what_does_not_move_has_no_ratio() -> None:
    assert diversification_ratio(series([100.0, -100.0]), series([0.2, 0.2]), ONE) is None
    assert diversification_ratio(series([0.0, 0.0]), series([0.2, 0.2]), ONE) is None
    assert diversification_ratio(series([1.0, 1.0]), series([0.0, 0.0]), ONE) is None


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(OutOfRange, match="diagonal"):
        diversification_score(series([1, 1]), framed([[1.0, 0.0], [0.0, 0.9]]))
    with pytest.raises(NotPositiveSemidefinite):
        diversification_score(series([1, 1]), framed([[1.0, 1.1], [1.1, 1.0]]))
    with pytest.raises(OutOfRange, match="volatilities"):
        diversification_ratio(series([1, 1]), series([0.1, -0.1]), ONE)
    with pytest.raises(LabelsDiffer):
        diversification_ratio(series([1, 1]), series([0.1]), ONE)
    with pytest.raises(WrongShape):
        diversification_score([1, 1], ONE)
