"""Step nine: what each node was on the day, in one document: holdings, P&L by the book, stress, how value at risk came out."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from book.refusals import MissingRate
from book.roll_up import Figures, tree
from risk.batch.backtests import Backtests
from risk.batch.given import Given
from risk.batch.holdings import named
from risk.batch.nodes import nodes_below
from risk.daily import PortfolioRisk, StressResult
from risk.factors import StressScenario


def snapshots(session: Session, given: Given) -> int:
    """Of every node its positions and their values in its currency, the book's P&L, what scenarios cost, how VaR came out."""
    below = {each.node: each for each in nodes_below(session, given.day)}
    costs, foreseen = _stress(session, given), Backtests(session, given)
    kept = session.scalars(select(PortfolioRisk).where(PortfolioRisk.calculation_date == given.day)).all()
    for row in kept:
        of, pnl = below[row.portfolio_node_id], _pnl(session, row, given)
        row.snapshot = {
            "positions": [
                {
                    "position": each.position,
                    "symbol": each.symbol,
                    "direction": each.direction,
                    "quantity": each.quantity,
                    "price": each.price,
                    "value": of.values.get(each.position),
                }
                for each in of.positions
            ],
            "pnl": pnl,
            "stress": costs.get(row.portfolio_node_id, {}),
            "backtests": foreseen.of(row, pnl),
        }
    session.flush()
    return len(kept)


def _stress(session: Session, given: Given) -> dict[int, dict[str, float | None]]:
    asked = (
        select(StressResult.portfolio_node_id, StressScenario.name, StressResult.pnl)
        .join(StressScenario, StressScenario.scenario_id == StressResult.scenario_id)
        .where(StressResult.calculation_date == given.day, StressResult.portfolio_node_id.is_not(None))
    )
    found: dict[int, dict[str, float | None]] = {}
    for row in session.execute(asked):
        found.setdefault(row.portfolio_node_id, {})[row.name] = row.pnl
    return found


def _pnl(session: Session, row: PortfolioRisk, given: Given) -> dict[str, Any]:
    """As the book's tree tells it; where a rate is missing, what it says."""
    try:
        with session.begin_nested():
            found = tree(session, given.day, currency=row.currency, node=row.portfolio_node_id)
    except MissingRate as error:
        return {"reason": named(error)}
    figures: Figures = found.nodes[0].figures
    return {
        name: getattr(figures, name) for name in ("day_pnl", "realized_pnl", "unrealized_pnl", "unmarked", "unvalued")
    }
