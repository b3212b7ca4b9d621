"""Step eight: what each scenario costs each position and node."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from risk.analytics.covariance import volatilities_and_correlations
from risk.analytics.refusals import ImpossibleShocks, InputRefused
from risk.analytics.stress import correlated_shocks, stress
from risk.batch.given import Given
from risk.batch.holdings import named
from risk.batch.keeping import keep, positions_of
from risk.batch.nodes import Below, nodes_below
from risk.batch.portfolio import FactorModel
from risk.daily import PositionRisk, StressResult
from risk.factors import FactorDefinition, StressScenario, StressScenarioShock

_LONGEST = 500
_Row = dict[str, Any]


def stress_tests(session: Session, given: Given) -> int:
    """Each active scenario: the shocked factors as they are shocked, the others as they are then expected to move.

    A position is told in its currency, a node with all below it in its own. What cannot be reckoned says why; a node's figure
    is of the positions that could, and says how many could not.
    """
    model = FactorModel(session, given)
    positions, nodes = positions_of(session, given.day), nodes_below(session, given.day)
    scenarios = (
        select(StressScenario).where(StressScenario.is_active).order_by(StressScenario.sort_order, StressScenario.name)
    )
    rows: list[_Row] = []
    for scenario in session.scalars(scenarios):
        try:
            moved = _shocks(session, scenario, model)
        except InputRefused as error:
            rows += _all_without(scenario, positions, nodes, named(error))
            continue
        pnl = _by_position(positions, model, moved)
        rows += _of_positions(scenario, positions, pnl)
        rows += [_of_node(scenario, below, pnl) for below in nodes]
    return keep(
        session, StressResult, given.day, [{"position": None, "portfolio_node_id": None, **row} for row in rows]
    )


def _shocks(session: Session, scenario: StressScenario, model: FactorModel) -> pd.Series:
    asked = (
        select(FactorDefinition.name, StressScenarioShock.shock)
        .join(FactorDefinition, FactorDefinition.factor_id == StressScenarioShock.factor_id)
        .where(StressScenarioShock.scenario_id == scenario.scenario_id)
        .order_by(FactorDefinition.sort_order)
    )
    told = {row.name: row.shock for row in session.execute(asked)}
    known = {name: shock for name, shock in told.items() if name in model.factors}
    if not known:
        raise ImpossibleShocks(
            f"{scenario.name} shocks {', '.join(told) or 'nothing'}: of none of it there is a covariance"
        )
    return correlated_shocks(known, *volatilities_and_correlations(model.covariance))


def _by_position(positions: list[PositionRisk], model: FactorModel, moved: pd.Series) -> dict[str, float]:
    values = {
        each.position: each.value for each in positions if each.value is not None and each.position in model.positions
    }
    if not values:
        return {}
    held = pd.Series(values, dtype=float)
    found = stress(held, model.betas.loc[list(values)], moved)
    return {str(name): float(pnl) for name, pnl in found.by_position.items()}


def _of_positions(scenario: StressScenario, positions: list[PositionRisk], pnl: dict[str, float]) -> Iterator[_Row]:
    for each in positions:
        reason = None if each.position in pnl else each.reasons.get("value") or each.reasons.get("factors")
        yield {
            "scenario_id": scenario.scenario_id,
            "position": each.position,
            "currency": each.currency,
            "pnl": pnl.get(each.position),
            "left_out": 0,
            "reason": reason,
        }


def _of_node(scenario: StressScenario, below: Below, pnl: dict[str, float]) -> _Row:
    """In the node's currency, at the rates that its values are."""
    by_name = {each.position: each for each in below.positions}
    known = [name for name in below.values if name in pnl]
    total = sum(pnl[name] * below.rates[by_name[name].currency] for name in known)
    nothing = bool(below.positions) and not known
    return {
        "scenario_id": scenario.scenario_id,
        "portfolio_node_id": below.node,
        "currency": below.currency,
        "pnl": None if nothing else float(total),
        "left_out": len(below.positions) - len(known),
        "reason": f"NothingHeld: none of {len(below.positions)} positions could be stressed" if nothing else None,
    }


def _all_without(
    scenario: StressScenario, positions: list[PositionRisk], nodes: list[Below], reason: str
) -> Iterator[_Row]:
    told = {"scenario_id": scenario.scenario_id, "pnl": None, "reason": reason[:_LONGEST]}
    for each in positions:
        yield {**told, "position": each.position, "currency": each.currency, "left_out": 0}
    for below in nodes:
        yield {**told, "portfolio_node_id": below.node, "currency": below.currency, "left_out": len(below.positions)}
