"""What a page shows of a day that was reckoned: as much of it as a page can hold, however many positions there are.

Nothing here needs arrays or frames.
"""

from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Double, Subquery, case, cast, column, func, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from book.nodes import node_of, nodes_on
from risk.daily import PortfolioRisk, PositionRisk, StressResult
from risk.factors import StressScenario
from risk.reckoned import days, floats


class Beside(NamedTuple):
    """A day, those that were reckoned next to it, and the newest one; None where there is none."""

    day: date | None
    is_reckoned: bool
    before: date | None
    after: date | None
    newest: date | None


def beside(session: Session, day: date | None) -> Beside:
    """The day that is asked for, or else the newest one that was reckoned, and the days beside it."""
    newest = next(iter(days(session, most=1)), None)
    at = day or newest
    if at is None:
        return Beside(None, is_reckoned=False, before=None, after=None, newest=None)
    column_of = PortfolioRisk.calculation_date
    before = session.scalar(select(func.max(column_of)).where(column_of < at))
    after = session.scalar(select(func.min(column_of)).where(column_of > at))
    found = session.scalar(select(column_of).where(column_of == at).limit(1))
    return Beside(at, is_reckoned=found is not None, before=before, after=after, newest=newest)


def tree(session: Session, day: date) -> dict[int, dict[str, Any]]:
    """By number the nodes that were reckoned on a day, each below its parent and with its depth: `name`, `parent_id`, `currency`,
    `positions`, how many of them are `left_out` of something, and a few measures (None where there is none).
    """
    as_they_were = {row["portfolio_node_id"]: row for row in nodes_on(session, day)}
    found = {row["portfolio_node_id"]: row for row in _few_measures(session, day)}
    below: dict[int | None, list[int]] = {}
    for number, row in found.items():
        told = as_they_were.get(number)
        row |= {
            "name": told["name"] if told else node_of(session, number).name,
            "parent_id": told["parent_id"] if told and told["parent_id"] in found else None,
        }
        below.setdefault(row["parent_id"], []).append(number)
    ordered: dict[int, dict[str, Any]] = {}

    def add(parent: int | None, depth: int) -> None:
        for number in sorted(below.get(parent, ()), key=lambda each: str(found[each]["name"])):
            ordered[number] = {**found[number], "depth": depth}
            add(number, depth + 1)

    add(None, 0)
    return ordered


def _few_measures(session: Session, day: date) -> list[dict[str, Any]]:
    measures = PortfolioRisk.measures
    names = func.jsonb_object_keys(PortfolioRisk.left_out).table_valued("name")
    asked = select(
        PortfolioRisk.portfolio_node_id,
        PortfolioRisk.currency,
        PortfolioRisk.positions,
        select(func.count()).select_from(names).scalar_subquery().label("left_out"),
        measures["exposure"]["gross"].label("gross"),
        measures["exposure"]["net"].label("net"),
        measures["volatility"]["daily"].label("volatility"),
        measures["historical_95%"]["value_at_risk"].label("historical"),
        measures["normal_99%"]["value_at_risk"].label("normal"),
    ).where(PortfolioRisk.calculation_date == day)
    return [floats(row) for row in session.execute(asked).mappings()]


def node_on(session: Session, day: date, node: int) -> dict[str, Any]:
    """What was reckoned of a node on a day, but for its positions: `measures`, the `reasons` of those that are missing, what is
    `left_out`, the book's P&L of the day, and whether the day's snapshot was taken.
    """
    names = ("portfolio_node_id", "currency", "positions", "measures", "reasons", "left_out")
    asked = select(
        *(getattr(PortfolioRisk, name) for name in names),
        PortfolioRisk.snapshot["pnl"]["day_pnl"].astext.label("day_pnl"),
        PortfolioRisk.snapshot.is_not(None).label("has_snapshot"),
    ).where(PortfolioRisk.calculation_date == day, PortfolioRisk.portfolio_node_id == node)
    told: dict[str, Any] = floats(session.execute(asked).mappings().one())
    # What the book knows exactly was kept as text.
    return {**told, "day_pnl": None if told["day_pnl"] is None else Decimal(told["day_pnl"])}


def largest_positions(session: Session, day: date, node: int, most: int) -> list[dict[str, Any]]:
    """The positions of a node with the largest values, at most so many, each as it was reckoned, and `value_here`: in the node's
    currency, None where that is not known.
    """
    held = _held(day, node)
    names = [each.name for each in PositionRisk.__table__.columns if each.name != "created_at"]
    asked = (
        select(*(getattr(PositionRisk, name) for name in names), held.c.value_here)
        .join(held, held.c.position == PositionRisk.position)
        .where(PositionRisk.calculation_date == day)
        .order_by(func.abs(held.c.value_here).desc().nulls_last(), PositionRisk.position)
        .limit(most)
    )
    return [dict(row) for row in session.execute(asked).mappings()]


def stress_by_position(session: Session, day: date, node: int, scenario: str, most: int) -> list[dict[str, Any]]:
    """What a scenario would earn a node's positions, those that it moves most first, at most so many: `pnl` in the `currency` of
    each, `pnl_here` in the node's, at the rates that its values are told at; None where it is not known, with the `reason` if
    that is of the position.
    """
    held = _held(day, node)
    # Stress is linear, so that what is worth nothing earns nothing.
    rate = held.c.value_here / func.nullif(PositionRisk.value, 0)
    here = case((PositionRisk.value == 0, StressResult.pnl), else_=StressResult.pnl * rate)
    of_position = (StressResult.calculation_date == day) & (StressResult.position == PositionRisk.position)
    columns = (PositionRisk.position, PositionRisk.symbol, PositionRisk.direction)
    asked = (
        select(*columns, StressResult.currency, StressResult.pnl, StressResult.reason, here.label("pnl_here"))
        .join(held, held.c.position == PositionRisk.position)
        .join(StressResult, of_position)
        .join(StressScenario, StressScenario.scenario_id == StressResult.scenario_id)
        .where(PositionRisk.calculation_date == day, StressScenario.name == scenario)
        .order_by(func.abs(here).desc().nulls_last(), PositionRisk.position)
        .limit(most)
    )
    return [dict(row) for row in session.execute(asked).mappings()]


def _held(day: date, node: int) -> Subquery:
    """The names of a node's positions, and their values in its currency, as its snapshot has them."""
    each = func.jsonb_array_elements(PortfolioRisk.snapshot["positions"]).table_valued(column("value", JSONB))
    asked = (
        select(
            each.c.value["position"].astext.label("position"),
            cast(each.c.value["value"].astext, Double).label("value_here"),
        )
        .select_from(PortfolioRisk)
        .join(each, true())
        .where(PortfolioRisk.calculation_date == day, PortfolioRisk.portfolio_node_id == node)
    )
    return asked.subquery("held")
