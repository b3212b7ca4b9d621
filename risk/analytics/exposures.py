"""What positions' returns have to do with factors' returns: betas by regression, and how sure they are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg

from risk.analytics.checks import Array, columns, distinct, matrix, observations, whole
from risk.analytics.refusals import CollinearFactors, ConstantSeries, LabelsDiffer, OutOfRange

MINIMUM_OBSERVATIONS = 60
# Belsley, Kuh and Welsch (1980) call 30 strong and 100 severe; beyond this a third of a float's digits is lost.
HIGHEST_CONDITION = 100_000.0
# Of the combination that does not move, in standard deviations: what has less than this is no part of it.
_LOADING = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposures:
    """Regressions of some series on the same factors; all frames and series are labelled by series, then by factor.

    `betas`: return per unit of the factor's return; `alphas`: return per period; `specific_variance`: of the residuals,
    per period squared, by the degrees of freedom that are left; `r_squared` 0..1 (a constant series has none: refused).
    """

    betas: pd.DataFrame
    alphas: pd.Series
    standard_errors: pd.DataFrame
    alpha_errors: pd.Series
    r_squared: pd.Series
    specific_variance: pd.Series
    observations: int


def exposures(
    returns: pd.DataFrame, factors: pd.DataFrame, *, ridge: float = 0.0, minimum: int = MINIMUM_OBSERVATIONS
) -> Exposures:
    """Least squares of each column of `returns` on all columns of `factors`, with a constant; rows are the same periods.

    Both are labelled by period; periods that only one of them has are left aside, `minimum` common ones are needed, and two
    more than there are factors. With `ridge` above 0 its multiple of the squared betas of *standardised* factors is added
    to the squares (the constant is not held back): betas are drawn to 0, standard errors are those of the biased betas, and
    collinear factors are no error. Errors are the usual ones, s^2 (X'X)^-1, for ridge s^2 A X'X A with A = (X'X + k I)^-1:
    Greene, Econometric Analysis; Hoerl and Kennard, Ridge Regression (1970), with s^2 by the
    trace of (I - H)^2, H the hat matrix: a strong ridge's bias is in s^2, and makes them too large.
    Raises TooFewObservations, CollinearFactors (naming them), ConstantSeries, NotFinite, WrongShape, LabelsDiffer, OutOfRange.
    """
    if not (np.isfinite(ridge) and ridge >= 0):
        raise OutOfRange(f"`ridge`: {ridge} is not 0 or more")
    y, x = _aligned(returns, factors, whole("minimum", minimum))
    count, width = x.shape
    y_mean, x_mean, x_scale = y.mean(axis=0), x.mean(axis=0), x.std(axis=0)
    _require_moving(factors, x, x_scale)
    _require_moving(returns, y, y.std(axis=0))
    standard = (x - x_mean) / x_scale
    _, singular, directions = linalg.svd(standard, full_matrices=False)
    if not ridge:
        _require_apart(singular, directions, list(factors.columns))
    # The normal equations in the factors' own directions: A = V diag(1 / (s^2 + k)) V'.
    shrunk = 1 / (singular**2 + ridge)
    left = (y - y_mean).T @ standard @ directions.T
    standardised = left * shrunk @ directions
    betas = standardised / x_scale
    residuals = y - y_mean - standard @ standardised.T
    hat = singular**2 * shrunk
    freedom = count - 1 - float((2 * hat - hat**2).sum())
    variance = (residuals**2).sum(axis=0) / freedom
    spread = (directions.T * (singular * shrunk) ** 2) @ directions / np.outer(x_scale, x_scale)
    alpha_error = np.sqrt(variance * (1 / count + x_mean @ spread @ x_mean))
    names, labels = list(returns.columns), list(factors.columns)
    return Exposures(
        betas=pd.DataFrame(betas, index=names, columns=labels),
        alphas=pd.Series(y_mean - betas @ x_mean, index=names, name="alpha"),
        standard_errors=pd.DataFrame(
            np.sqrt(np.outer(variance, np.diag(spread))).reshape(len(names), width), index=names, columns=labels
        ),
        alpha_errors=pd.Series(alpha_error, index=names, name="alpha_error"),
        r_squared=pd.Series(
            1 - (residuals**2).sum(axis=0) / ((y - y_mean) ** 2).sum(axis=0), index=names, name="r_squared"
        ),
        specific_variance=pd.Series(variance, index=names, name="specific_variance"),
        observations=count,
    )


def _aligned(returns: pd.DataFrame, factors: pd.DataFrame, minimum: int) -> tuple[Array, Array]:
    for name, frame in (("returns", returns), ("factors", factors)):
        distinct(name, columns(name, frame, ()).columns)
        if not frame.index.is_unique:
            raise LabelsDiffer(f"`{name}`: a period is there more than once")
    common = factors.index.intersection(returns.index)
    observations(len(common), max(minimum, len(factors.columns) + 2))
    return matrix("returns", returns.loc[common]), matrix("factors", factors.loc[common])


def _require_moving(frame: pd.DataFrame, values: Array, deviations: Array) -> None:
    still = deviations <= np.abs(values).max(axis=0, initial=0.0) * np.finfo(np.float64).eps * len(values)
    if still.any():
        raise ConstantSeries(f"{', '.join(str(each) for each in frame.columns[still])} does not move")


def _require_apart(singular: Array, directions: Array, factors: list[str]) -> None:
    if not len(singular) or singular[0] <= HIGHEST_CONDITION * singular[-1]:
        return
    weak = singular * HIGHEST_CONDITION < singular[0]
    together = np.abs(directions[weak]).max(axis=0) > _LOADING
    named = [str(factor) for factor, among in zip(factors, together, strict=True) if among]
    raise CollinearFactors(f"{', '.join(named)} cannot be told apart")
