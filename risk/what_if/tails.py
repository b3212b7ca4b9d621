"""Value at risk, expected shortfall and stress: what can happen to positions, options being valued anew."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from risk.analytics.checks import Array, vector
from risk.analytics.covariance import volatilities_and_correlations
from risk.analytics.definitions import Scenario
from risk.analytics.parametric import normal
from risk.analytics.refusals import InputRefused
from risk.analytics.stress import correlated_shocks
from risk.analytics.tails import Tail, historical
from risk.what_if.changes import VOLATILITY_FACTOR, move_of
from risk.what_if.factors import NO_COVARIANCE
from risk.what_if.measured import PORTFOLIO, STRESS_BY_NODE, Figure, Rows, attempt, known, total
from risk.what_if.positions import HeldPosition, Positions, nodes_of
from risk.what_if.pricing import pnl_of, pnl_of_moves
from risk.what_if.refusals import MissingFigure

NO_RETURNS = "no past returns were given"


def add_tails(
    rows: Rows, positions: Positions, volatility: Figure, returns: pd.DataFrame | None, confidence: float, horizon: int
) -> None:
    """Value at risk and expected shortfall: parametric, normal with no mean, of the volatility; and of past returns."""
    for kind, found in (
        ("parametric", _parametric(volatility, confidence, horizon)),
        ("historical", _historical(positions, returns, confidence, horizon)),
    ):
        for name in ("value_at_risk", "expected_shortfall"):
            rows.add(
                f"{kind}_{name}", PORTFOLIO, "", found if isinstance(found, InputRefused) else getattr(found, name)
            )


def _parametric(volatility: Figure, confidence: float, horizon: int) -> Tail | InputRefused:
    return volatility if isinstance(volatility, InputRefused) else normal(0.0, volatility, confidence, horizon)


def _historical(
    positions: Positions, returns: pd.DataFrame | None, confidence: float, horizon: int
) -> Tail | InputRefused:
    try:
        return historical(past_pnl(positions, returns), confidence, horizon)
    except InputRefused as refusal:
        return refusal


def past_pnl(positions: Positions, returns: pd.DataFrame | None) -> Array:
    """What each past period's returns would have earned on these positions, as they are now; money, oldest first.

    Options are valued anew at each, their volatilities as they are. Raises MissingFigure naming what is not known, NotFinite.
    """
    if returns is None:
        raise MissingFigure(NO_RETURNS)
    # The returns are looked up first: what is missing is told of all positions at once.
    known({position.position_id: attempt(_has_returns, position, returns) for position in positions.held})
    series: dict[str, Array] = {
        source: vector(f"returns of {source}", returns[source])
        for source in {position.source for position in positions.held}
    }
    known({position.position_id: attempt(pnl_of, position, 0.0) for position in positions.held})
    earned = np.zeros(len(returns))
    for position in positions.held:
        earned += pnl_of_moves(position, series[position.source])
    return earned


def _has_returns(position: HeldPosition, returns: pd.DataFrame) -> float:
    if position.source not in returns.columns:
        raise MissingFigure(f"{position.position_id}: no past returns of {position.source}")
    return 0.0


def add_stress(
    rows: Rows, positions: Positions, scenarios: Sequence[Scenario], covariance: pd.DataFrame | None
) -> None:
    """What each scenario earns, in all and by node: the other factors move as expected given those that it shocks."""
    for scenario in scenarios:
        shocks = _shocks(scenario, covariance)
        figures: dict[str, Figure] = {
            position.position_id: shocks if isinstance(shocks, InputRefused) else attempt(_stressed, position, shocks)
            for position in positions.held
        }
        whole = shocks if isinstance(shocks, InputRefused) else total(figures)
        rows.add("stress", "scenario", scenario.name, whole)
        by_node: dict[str, dict[str, Figure]] = {}
        for position in positions.held:
            for node in nodes_of(position):
                by_node.setdefault(node, {})[position.position_id] = figures[position.position_id]
        for node, own in sorted(by_node.items()):
            rows.add(f"{STRESS_BY_NODE}{scenario.name}", "node", node, total(own))


def _shocks(scenario: Scenario, covariance: pd.DataFrame | None) -> dict[str, float] | InputRefused:
    if covariance is None:
        return MissingFigure(NO_COVARIANCE)
    try:
        given = scenario.shocks_of([*covariance.columns])
        every = correlated_shocks(given, *volatilities_and_correlations(covariance))
    except InputRefused as refusal:
        return refusal
    return {str(name): float(shock) for name, shock in every.items()}


def _stressed(position: HeldPosition, shocks: dict[str, float]) -> float:
    """Linear, but for options: these have their volatilities changed by that factor's shock, where it is one, too."""
    return pnl_of(position, move_of(position, shocks), shocks.get(VOLATILITY_FACTOR, 0.0))
