"""How far positions offset each other: one minus their mean correlation, and the diversification ratio."""

import numpy as np
import pandas as pd

from risk.analytics.checks import TOLERANCE, Array, correlation, distinct, not_negative, series, square_frame, vector
from risk.analytics.refusals import WrongShape


def diversification_score(values: pd.Series, correlations: pd.DataFrame) -> float | None:
    """1 - the mean correlation of all pairs of positions, each pair weighted by the product of its absolute values.

    `values`: signed money by position; a short's correlations turn their sign, so it is P&L that is correlated.
    `correlations`: of the positions' returns, labelled alike. 0: all move as one, at any weights; 1: uncorrelated; above 1
    they offset each other (2 for two that cancel). None for fewer than two positions that are worth something.
    Tierens and Anadu, Does It Matter Which Methodology You Use to Measure Average Correlation across Stocks? (2004).
    Raises LabelsDiffer, NotFinite, WrongShape, OutOfRange, NotSymmetric, NotPositiveSemidefinite.
    """
    held, related = _pairs(values, correlations)
    # 1 / scale: weights may be large, and are squared.
    held = held / np.abs(held).max(initial=1.0)
    weights = np.outer(np.abs(held), np.abs(held))
    np.fill_diagonal(weights, 0.0)
    total = float(weights.sum())
    if np.count_nonzero(held) < 2 or not total:
        return None
    return 1.0 - float((weights * np.outer(np.sign(held), np.sign(held)) * related).sum()) / total


def diversification_ratio(values: pd.Series, volatilities: pd.Series, correlations: pd.DataFrame) -> float | None:
    """The sum of the positions' own volatilities in money, by the volatility of all of them: 1 where all move as one.

    `volatilities`: of the positions' returns, 0 or more, over one period; the others as for `diversification_score`.
    None where the whole does not move (nothing held, or a perfect hedge), for then there is no such ratio.
    Choueifaty and Coignard, Toward Maximum Diversification (2008). Raises what `diversification_score` does.
    """
    held, related = _pairs(values, correlations)
    alone = held * not_negative("volatilities", series("volatilities", volatilities, list(values.index)))
    alone = alone / np.abs(alone).max(initial=0.0) if alone.any() else alone
    variance, undiversified = float(alone @ related @ alone), float(np.abs(alone).sum())
    if variance <= TOLERANCE * undiversified**2:
        return None
    return float(undiversified / np.sqrt(variance))


def _pairs(values: pd.Series, correlations: pd.DataFrame) -> tuple[Array, Array]:
    if not isinstance(values, pd.Series):
        raise WrongShape(f"`values`: a series is needed, not {type(values).__name__}")
    held = vector("values", values)
    labels = distinct("values", values.index)
    return held, correlation("correlations", square_frame("correlations", correlations, labels))
