"""What a scenario costs: the shocked factors stay as they are shocked, the others move as they would be expected to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import linalg

from risk.analytics.checks import (
    TOLERANCE,
    Array,
    columns,
    correlation,
    distinct,
    matrix,
    not_negative,
    same_labels,
    square_frame,
    vector,
)
from risk.analytics.refusals import ImpossibleShocks, WrongShape

_SEPARATOR = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """A scenario's cost: `shocks` by factor, then P&L in money by position, by factor and by node. Losses are negative."""

    shocks: pd.Series
    by_position: pd.Series
    by_factor: pd.Series
    by_node: pd.Series
    total: float


def uncorrelated_shocks(shocks: Mapping[str, float], factors: Sequence[str]) -> pd.Series:
    """The shocks as given, and 0 for every other factor. Raises ImpossibleShocks for a factor that is not among them."""
    names = distinct("factors", factors)
    given = _known(shocks, names)
    return pd.Series([given.get(name, 0.0) for name in names], index=names, name="shock", dtype=np.float64)


def correlated_shocks(shocks: Mapping[str, float], volatilities: pd.Series, correlations: pd.DataFrame) -> pd.Series:
    """Every factor's shock: as given, or its expectation given those, S_us S_ss^-1 times the given ones.

    S is the covariance, by `volatilities` (over any one period, in the shocks' units, 0 or more) and `correlations`, both
    labelled by factor. That is the conditional mean of jointly normal (or any elliptical) factors: Kupiec, Stress Testing
    in a Value at Risk Framework (1998). A factor whose volatility is 0 is not moved by others.
    Raises ImpossibleShocks where a shocked factor is none of them, does not move, or the shocks cannot happen together
    (two factors that are one, shocked apart); LabelsDiffer, NotFinite, WrongShape, OutOfRange, NotPositiveSemidefinite.
    """
    if not isinstance(volatilities, pd.Series):
        raise WrongShape(f"`volatilities`: a series is needed, not {type(volatilities).__name__}")
    factors = distinct("volatilities", volatilities.index)
    scale = not_negative("volatilities", volatilities)
    related = correlation("correlations", square_frame("correlations", correlations, factors))
    given = _known(shocks, factors)
    expected = np.zeros(len(factors))
    shocked = np.array([name in given for name in factors], dtype=bool)
    if given:
        told = np.array([given[name] for name in factors if name in given])
        expected[shocked] = told
        expected[~shocked] = scale[~shocked] * _expected(related, shocked, _deviations(told, scale[shocked]))
    return pd.Series(expected, index=factors, name="shock")


def _deviations(told: Array, scale: Array) -> Array:
    """Shocks in standard deviations."""
    if ((scale == 0) & (told != 0)).any():
        raise ImpossibleShocks("a factor that does not move (its volatility is 0) is shocked")
    return np.divide(told, scale, out=np.zeros_like(told), where=scale > 0)


def _expected(related: Array, shocked: npt.NDArray[np.bool_], deviations: Array) -> Array:
    inner, across = related[np.ix_(shocked, shocked)], related[np.ix_(~shocked, shocked)]
    # Of factors that are combinations of others the shortest solution is as good as any, provided that there is one.
    solved: Array = linalg.lstsq(inner, deviations, cond=TOLERANCE)[0]
    if not np.allclose(inner @ solved, deviations, rtol=1e-6, atol=1e-6):
        raise ImpossibleShocks(
            "these shocks cannot happen together: some of the shocked factors are combinations of others"
        )
    expected: Array = across @ solved
    return expected


def _known(shocks: Mapping[str, float], factors: Sequence[str]) -> dict[str, float]:
    if unknown := sorted(set(shocks) - set(factors)):
        raise ImpossibleShocks(f"no such factor: {', '.join(unknown)}")
    return dict(zip(shocks, vector("shocks", list(shocks.values())).tolist(), strict=True))


def stress(values: pd.Series, betas: pd.DataFrame, shocks: pd.Series, nodes: pd.Series | None = None) -> Stress:
    """What shocks do to positions: P&L of p = w_p x sum over factors of B_pf x shock_f, in the values' currency.

    `values` w: signed money by position; `betas` B: positions x factors; `shocks`: of every factor, in the unit that the
    betas are per. `nodes`: each position's place in the tree, as `Fund/Desk`; `by_node` has each node with all below it.
    Linear: options are to be revalued (`risk.analytics.greeks`). Raises LabelsDiffer, NotFinite, WrongShape.
    """
    if not isinstance(values, pd.Series) or not isinstance(shocks, pd.Series):
        raise WrongShape("`values` and `shocks`: series are needed")
    loadings = columns("betas", betas, ())
    same_labels("betas", loadings.columns, shocks.index)
    same_labels("betas", loadings.index, distinct("values", values.index))
    sensitivities = matrix("betas", loadings.loc[list(values.index), list(shocks.index)])
    money = vector("values", values)[:, None] * sensitivities * vector("shocks", shocks)
    by_position = pd.Series(money.sum(axis=1), index=values.index, name="pnl")
    return Stress(
        shocks=shocks,
        by_position=by_position,
        by_factor=pd.Series(money.sum(axis=0), index=shocks.index, name="pnl"),
        by_node=_by_node(by_position, nodes),
        total=float(money.sum()),
    )


def _by_node(by_position: pd.Series, nodes: pd.Series | None) -> pd.Series:
    sums: dict[str, float] = {}
    if nodes is not None:
        same_labels("nodes", nodes.index, by_position.index)
        for place, pnl in zip(nodes.loc[list(by_position.index)], by_position, strict=True):
            parts = str(place).split(_SEPARATOR)
            for depth in range(1, len(parts) + 1):
                node = _SEPARATOR.join(parts[:depth])
                sums[node] = sums.get(node, 0.0) + float(pnl)
    return pd.Series(sums, name="pnl", dtype=np.float64).sort_index()
