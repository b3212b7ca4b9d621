"""Factor exposures, the volatility and what it comes from, diversification: of what positions move with."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from risk.analytics.checks import columns, covariance, distinct, square_frame
from risk.analytics.diversification import diversification_ratio, diversification_score
from risk.analytics.factor_risk import SPECIFIC, factor_risk
from risk.analytics.refusals import ConstantSeries, InputRefused
from risk.what_if.checked import require_names
from risk.what_if.measured import PORTFOLIO, Figure, Rows, attempt, known, refusal_of, total
from risk.what_if.positions import HeldPosition, Positions
from risk.what_if.refusals import MissingBeta, MissingFigure

NO_COVARIANCE = "no covariance of factors was given"


def covariance_of_factors(given: object) -> pd.DataFrame:
    """A covariance of factors, rows in the order of the columns; labels are names, each once.

    Raises WrongShape, LabelsDiffer, OutOfRange, NotFinite, NotSymmetric, NotPositiveSemidefinite.
    """
    frame = columns("factor_covariance", given, ())
    names = distinct("factor_covariance", frame.columns)
    for name in names:
        require_names("factor_covariance", factor=name)
    values = covariance("factor_covariance", square_frame("factor_covariance", frame, names))
    return pd.DataFrame(values, index=names, columns=names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volatility:
    """Over one period, in money: the whole, and its contributions by factor (and `specific`) and by position, which add up to
    it; and how far the positions offset each other."""

    volatility: float
    by_factor: dict[str, float]
    by_position: dict[str, float]
    score: Figure
    ratio: Figure


def add_factors(rows: Rows, positions: Positions, exposed: Mapping[str, Figure], given: pd.DataFrame | None) -> Figure:
    """Factor exposures, volatility with its contributions, diversification; gives the volatility, or why there is none.

    `exposed`: each position's exposure in money, or why there is none; `given`: the factors' covariance.
    """
    names = [] if given is None else [*given.columns]
    for name in names:
        parts = {one.position_id: _part(one, name, exposed[one.position_id]) for one in positions.held}
        rows.add("factor_exposure", "factor", name, total(parts))
    if given is None:
        rows.add("factor_exposure", PORTFOLIO, "", MissingFigure(NO_COVARIANCE))
    found = _attempted(positions, exposed, given)
    refused = found if isinstance(found, InputRefused) else None
    told = None if isinstance(found, InputRefused) else found
    for measure, field in (
        ("volatility", "volatility"),
        ("diversification_score", "score"),
        ("diversification_ratio", "ratio"),
    ):
        rows.add(measure, PORTFOLIO, "", refused or getattr(told, field))
    for by, labels, field in (
        ("factor", [*names, SPECIFIC] if names else [], "by_factor"),
        ("position", list(exposed), "by_position"),
    ):
        for label in labels:
            rows.add("contribution", by, label, refused or getattr(told, field)[label])
    return found if isinstance(found, InputRefused) else found.volatility


def _attempted(
    positions: Positions, exposed: Mapping[str, Figure], given: pd.DataFrame | None
) -> Volatility | InputRefused:
    try:
        return volatility_of(positions, exposed, given)
    except InputRefused as refusal:
        return refusal


def volatility_of(positions: Positions, exposed: Mapping[str, Figure], given: pd.DataFrame | None) -> Volatility:
    """The volatility of positions with these exposures, and what it comes from: contributions by Euler (`factor_risk`).

    Positions that move with one thing move as one: what no factor explains of it is the same for all of them, so it is
    reckoned on their sum, and by position in proportion to w_p; what moves with different things is uncorrelated.
    Raises MissingFigure, MissingBeta naming the positions, and what `factor_risk` does.
    """
    if given is None:
        raise MissingFigure(NO_COVARIANCE)
    names = [*given.columns]
    refusal = refusal_of([attempt(_explained, position, names) for position in positions.held])
    if refusal is not None:
        raise refusal
    held = known(exposed)
    of_source: dict[str, HeldPosition] = {position.source: position for position in positions.held}
    values = pd.Series(0.0, index=list(of_source))
    for position in positions.held:
        values[position.source] += held[position.position_id]
    betas = np.array([[(one.betas or {})[name] for name in names] for one in of_source.values()], dtype=float)
    betas = betas.reshape(len(of_source), len(names))
    own = np.array([one.specific_variance or 0.0 for one in of_source.values()])
    spread, worth = given.loc[names, names].to_numpy(float), values.to_numpy()
    exposures = pd.Series(worth @ betas, index=names)
    risk = factor_risk(exposures, given, float((worth**2 * own).sum()))
    marginal = betas @ (spread @ exposures.to_numpy()) + worth * own
    by_source = dict(zip(of_source, marginal / risk.volatility if risk.volatility else marginal * 0.0, strict=True))
    together = pd.DataFrame(betas @ spread @ betas.T + np.diag(own), index=values.index, columns=values.index)
    return Volatility(
        volatility=risk.volatility,
        by_factor={str(name): float(figure) for name, figure in risk.contributions.items()},
        by_position={one.position_id: held[one.position_id] * float(by_source[one.source]) for one in positions.held},
        score=attempt(_score, values, together),
        ratio=attempt(_ratio, values, together),
    )


def _explained(position: HeldPosition, factors: list[str]) -> float:
    """Raises what is not known of a position's return; 0."""
    betas = position.betas or {}
    if lacking := [factor for factor in factors if factor not in betas]:
        raise MissingBeta(f"{position.position_id}: no beta to {', '.join(lacking)}")
    if besides := [factor for factor in betas if factor not in factors and betas[factor]]:
        raise MissingFigure(f"{position.position_id}: a beta to {', '.join(besides)}, of which there is no covariance")
    if position.specific_variance is None:
        raise MissingBeta(f"{position.position_id}: no specific variance")
    return 0.0


def _part(position: HeldPosition, factor: str, exposed: Figure) -> Figure:
    if isinstance(exposed, InputRefused):
        return exposed
    beta = (position.betas or {}).get(factor)
    return MissingBeta(f"{position.position_id}: no beta to {factor}") if beta is None else exposed * beta


def _score(values: pd.Series, together: pd.DataFrame) -> float:
    found = diversification_score(values, _correlations(together))
    if found is None:
        raise MissingFigure("fewer than two things are held")
    return found


def _ratio(values: pd.Series, together: pd.DataFrame) -> float:
    scale = pd.Series(np.sqrt(np.diag(together)), index=values.index)
    found = diversification_ratio(values, scale, _correlations(together))
    if found is None:
        raise MissingFigure("what is held does not move")
    return found


def _correlations(together: pd.DataFrame) -> pd.DataFrame:
    variances = np.diag(together)
    if still := [str(name) for name, variance in zip(together.index, variances, strict=True) if not variance > 0]:
        raise ConstantSeries(f"{', '.join(still)} does not move: it has no correlations")
    related = np.clip(together.to_numpy() / np.sqrt(np.outer(variances, variances)), -1.0, 1.0)
    np.fill_diagonal(related, 1.0)
    return pd.DataFrame(related, index=together.index, columns=together.columns)
