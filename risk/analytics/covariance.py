"""Covariances of returns: sample, exponentially weighted, shrunk; annualised; split, joined, and repaired where asked."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.covariance import ledoit_wolf as _ledoit_wolf

from risk.analytics.checks import (
    Array,
    above_zero,
    columns,
    correlation,
    covariance,
    distinct,
    matrix,
    negative_eigenvalue,
    not_negative,
    observations,
    share,
    symmetric,
)
from risk.analytics.refusals import NotPositiveSemidefinite

RISKMETRICS_DECAY = 0.94
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """A covariance, and how far (0..1) it was drawn from the sample's towards a multiple of the identity."""

    covariance: pd.DataFrame
    shrinkage: float


def sample(returns: pd.DataFrame) -> pd.DataFrame:
    """The sample covariance (n - 1) of `returns`, periods x series, per period squared.

    Raises WrongShape, NotFinite, LabelsDiffer, TooFewObservations (two are needed).
    """
    values = _returns(returns)
    return _frame(np.atleast_2d(np.cov(values, rowvar=False, ddof=1)), returns)


def exponentially_weighted(returns: pd.DataFrame, decay: float = RISKMETRICS_DECAY) -> pd.DataFrame:
    """The covariance with weights decay^age that sum to 1, the last row being the newest, around the weighted mean.

    `decay` is between 0 and 1; RiskMetrics' 0.94 for days forgets half in 11 of them (RiskMetrics Technical Document, 4th
    edition, 1996; it takes the mean for 0, here it is taken out). Raises OutOfRange, and what `sample` does.
    """
    values, kept = _returns(returns), share("decay", decay)
    weights = kept ** np.arange(len(values) - 1, -1, -1, dtype=np.float64)
    return _frame(np.atleast_2d(np.cov(values, rowvar=False, ddof=0, aweights=weights)), returns)


def ledoit_wolf(returns: pd.DataFrame) -> Shrunk:
    """The sample covariance (n) drawn towards the identity times the mean variance, as far as is best in the mean square.

    Ledoit and Wolf, A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices (2004), by scikit-learn.
    Also good where there are more series than periods. Raises what `sample` does.
    """
    # Rounding may leave a little less than nothing to shrink by.
    matrix_, shrinkage = _ledoit_wolf(_returns(returns))
    return Shrunk(covariance=_frame(matrix_, returns), shrinkage=min(1.0, max(0.0, float(shrinkage))))


def annualise(per_period: pd.DataFrame, periods_per_year: float) -> pd.DataFrame:
    """A covariance per year of one per period, taking periods as independent: times `periods_per_year` (days traded, say).

    Volatilities grow with its square root. Raises OutOfRange, NotSymmetric, NotPositiveSemidefinite, WrongShape, NotFinite.
    """
    values = covariance("per_period", columns("per_period", per_period, ()))
    return _like(values * above_zero("periods_per_year", periods_per_year), per_period)


def volatilities_and_correlations(given: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """A covariance's volatilities and correlations, labelled as it is. What does not move correlates with itself alone.

    Raises NotSymmetric, NotPositiveSemidefinite, WrongShape, NotFinite.
    """
    values = covariance("covariance", columns("covariance", given, ()))
    scale = np.sqrt(np.maximum(np.diag(values), 0.0))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    related = np.clip(values * np.outer(inverse, inverse), -1.0, 1.0)
    np.fill_diagonal(related, 1.0)
    return pd.Series(scale, index=given.index, name="volatility"), _like(related, given)


def from_correlations(volatilities: pd.Series, correlations: pd.DataFrame) -> pd.DataFrame:
    """The covariance of volatilities (0 or more) and correlations in the same order: s_i s_j r_ij.

    Raises OutOfRange, NotSymmetric, NotPositiveSemidefinite, WrongShape, NotFinite.
    """
    related = correlation("correlations", columns("correlations", correlations, ()))
    scale = not_negative("volatilities", volatilities, length=len(related))
    return _like(related * np.outer(scale, scale), correlations)


def require_positive_semidefinite(given: pd.DataFrame) -> None:
    """Raises NotPositiveSemidefinite with the lowest eigenvalue, NotSymmetric, WrongShape, NotFinite; else nothing."""
    covariance("covariance", columns("covariance", given, ()))


def repaired(given: pd.DataFrame) -> pd.DataFrame:
    """A positive semi-definite covariance near `given`, with the same variances; `given` itself where it is one already.

    Negative eigenvalues become 0, then rows and columns are scaled to the variances that were: the spectral method of
    Rebonato and Jaeckel, The Most General Methodology to Create a Valid Correlation Matrix (1999). Nothing here calls it:
    a repair hides that the input was wrong, so it is done where somebody asks for it.
    Raises NotPositiveSemidefinite for a negative variance, or one of 0 that covaries; NotSymmetric, WrongShape, NotFinite.
    """
    values = symmetric("covariance", columns("covariance", given, ()))
    variances = np.diag(values)
    if (variances < 0).any():
        raise NotPositiveSemidefinite(f"`covariance`: a variance is {variances.min():.6g}")
    if not negative_eigenvalue(values):
        return given.astype(np.float64)
    scale = np.sqrt(variances)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    roots, vectors = np.linalg.eigh(values * np.outer(inverse, inverse))
    root = vectors * np.sqrt(np.maximum(roots, 0.0))
    lengths = np.sqrt((root**2).sum(axis=1))
    if (np.abs(values[scale == 0]) > 0).any():
        raise NotPositiveSemidefinite("`covariance`: what has no variance covaries")
    root *= np.divide(scale, lengths, out=np.zeros_like(scale), where=lengths > 0)[:, None]
    return _like(root @ root.T, given)


def _returns(returns: pd.DataFrame) -> Array:
    values = matrix("returns", columns("returns", returns, ()))
    distinct("returns", returns.columns)
    observations(len(values), _FEWEST)
    if not values.shape[1]:
        observations(0, 1)
    return values


def _frame(values: Array, returns: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(values, index=returns.columns, columns=returns.columns)


def _like(values: Array, frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(values, index=frame.index, columns=frame.columns)
