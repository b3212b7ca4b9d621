"""Which factors and positions a portfolio's volatility comes from: Euler contributions, which add up to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from risk.analytics.checks import (
    Array,
    columns,
    covariance,
    distinct,
    matrix,
    not_negative,
    series,
    square_frame,
    vector,
)
from risk.analytics.refusals import LabelsDiffer, MissingPairs, OutOfRange, WrongShape

SPECIFIC = "specific"
_PAIRS = ("factor1", "factor2", "covariance")
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorRisk:
    """A portfolio's volatility, in the exposures' unit over the covariance's period, and what it comes from.

    `contributions` has each factor, and `specific`; they add up to `volatility`. A negative one hedges. `by_position` is the
    same volatility told by position, where there are positions.
    """

    volatility: float
    contributions: pd.Series
    by_position: pd.Series | None = None

    @property
    def shares(self) -> pd.Series:
        """The contributions as shares of the volatility; they add up to 1, or are all 0 where nothing moves."""
        return self.contributions / self.volatility if self.volatility else self.contributions


def covariance_from_pairs(pairs: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """The factors' covariance matrix, of rows `factor1`, `factor2`, `covariance` in either order, each pair once, diagonal too.

    Rows of other factors are left aside. Raises MissingPairs naming those that are not there, LabelsDiffer where a pair is
    told twice and otherwise, WrongShape, NotFinite, NotPositiveSemidefinite.
    """
    names = distinct("factors", factors)
    table = columns("pairs", pairs, _PAIRS)
    table = table[table["factor1"].isin(names) & table["factor2"].isin(names)]
    known: dict[tuple[str, str], float] = {}
    for first, second, value in zip(
        table["factor1"], table["factor2"], vector("covariance", table["covariance"]), strict=True
    ):
        for pair in {(first, second), (second, first)}:
            if known.setdefault(pair, float(value)) != value:
                raise LabelsDiffer(f"the covariance of {first} and {second} is both {known[pair]} and {value}")
    lacking = [(a, b) for place, a in enumerate(names) for b in names[place:] if (a, b) not in known]
    if lacking:
        more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        raise MissingPairs(f"no covariance of {', '.join(f'{a}/{b}' for a, b in lacking[:_SHOWN])}{more}")
    values = np.array([[known[a, b] for b in names] for a in names], dtype=np.float64).reshape(len(names), len(names))
    return pd.DataFrame(covariance("pairs", values), index=names, columns=names)


def factor_risk(exposures: pd.Series, factor_covariance: pd.DataFrame, specific_variance: float = 0.0) -> FactorRisk:
    """RC_i = x_i (S x)_i / sqrt(x' S x + v), and for `specific` v / sqrt(x' S x + v): they add up to the volatility.

    `exposures` x: money per unit of the factor's return; `factor_covariance` S: of those returns over one period, labelled
    alike; `specific_variance` v: money squared over the same period, of what no factor explains. Euler's theorem for a
    function homogeneous of degree one: Litterman, Hot Spots and Hedges (1996); Meucci, Risk and Asset Allocation (2005).
    Raises LabelsDiffer, NotFinite, WrongShape, NotSymmetric, NotPositiveSemidefinite, OutOfRange.
    """
    if not isinstance(exposures, pd.Series):
        raise WrongShape(f"`exposures`: a series is needed, not {type(exposures).__name__}")
    factors = _factors(exposures.index)
    held = vector("exposures", exposures)
    spread = covariance("factor_covariance", square_frame("factor_covariance", factor_covariance, factors))
    (specific,) = not_negative("specific_variance", [specific_variance])
    along = spread @ held
    volatility = float(np.sqrt(max(0.0, float(held @ along)) + specific))
    return FactorRisk(volatility=volatility, contributions=_contributions(held * along, specific, volatility, factors))


def position_risk(
    values: pd.Series, betas: pd.DataFrame, factor_covariance: pd.DataFrame, specific_variance: pd.Series
) -> FactorRisk:
    """The same of positions: x = B' w, v = sum of w_p^2 d_p; and by position w_p (B S x)_p + w_p^2 d_p over the volatility.

    `values` w: signed money by position; `betas` B: positions x factors, a position's return per unit of the factor's;
    `specific_variance` d: of each position's return that no factor explains, over the covariance's period, taken as
    uncorrelated between positions. Raises what `factor_risk` does.
    """
    if not isinstance(values, pd.Series):
        raise WrongShape(f"`values`: a series is needed, not {type(values).__name__}")
    positions = distinct("values", values.index)
    held = vector("values", values)
    loadings, factors = _loadings(betas, positions)
    spread = covariance("factor_covariance", square_frame("factor_covariance", factor_covariance, factors))
    own = held**2 * not_negative("specific_variance", series("specific_variance", specific_variance, positions))
    exposed = held @ loadings
    along = spread @ exposed
    specific = float(own.sum())
    volatility = float(np.sqrt(max(0.0, float(exposed @ along)) + specific))
    by_position = (held * (loadings @ along) + own) / volatility if volatility else np.zeros_like(held)
    return FactorRisk(
        volatility=volatility,
        contributions=_contributions(exposed * along, specific, volatility, factors),
        by_position=pd.Series(by_position, index=positions, name="contribution"),
    )


def _loadings(betas: pd.DataFrame, positions: list[str]) -> tuple[Array, list[str]]:
    if not isinstance(betas, pd.DataFrame):
        raise WrongShape(f"`betas`: a frame is needed, not {type(betas).__name__}")
    factors = _factors(betas.columns)
    labelled = distinct("betas", betas.index)
    if labelled != positions:
        if lacking := sorted(map(str, set(positions) - set(labelled))):
            raise LabelsDiffer(f"`betas`: without {', '.join(lacking[:_SHOWN])}")
        betas = betas.loc[positions]
    return matrix("betas", betas), factors


def _factors(labels: pd.Index) -> list[str]:
    factors = distinct("factors", labels)
    if SPECIFIC in factors:
        raise OutOfRange(f"`{SPECIFIC}` is what no factor explains: it cannot be one's name")
    return factors


def _contributions(products: Array, specific: float, volatility: float, factors: list[str]) -> pd.Series:
    terms = np.append(products, specific)
    return pd.Series(terms / volatility if volatility else terms * 0, index=[*factors, SPECIFIC], name="contribution")
