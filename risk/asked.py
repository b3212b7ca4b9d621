"""What is asked of reckoned days: a day's nodes, positions, exposures and stress, in pages, with what is missing and why.

Nothing here needs arrays or frames.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import ARRAY, Label, Select, Text, cast, column, func, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from book.hierarchy import PortfolioNode
from book.refusals import UnknownNode
from core.errors import Refused
from risk import reading, reckoned
from risk.daily import CalculationAuditLog, PortfolioRisk, PositionFactorExposure, PositionRisk, StressResult
from risk.factors import FactorDefinition, StressScenario
from risk.reckoned import floats

MOST_LEFT_OUT = 100
SPECIFIC = "specific"
_MONEY = ("day_pnl", "realized_pnl", "unrealized_pnl")
_COUNTS = ("unmarked", "unvalued")
_OF_A_POSITION = (
    "position",
    "portfolio_node_id",
    "symbol",
    "direction",
    "quantity",
    "currency",
    "price",
    "price_date",
    "price_source",
    "value",
    "day_return",
    "observations",
    "volatility",
    "squeeze_level",
    "greeks",
    "reasons",
)


class UnknownDay(Refused):
    """nothing was reckoned of that day"""


class UnknownScenario(Refused):
    """there is no such scenario, or it was not reckoned on that day"""


class Node(Struct, frozen=True, kw_only=True):
    """A node of which something was reckoned on a day; `complete`: what it holds is kept, its batch has come to its end."""

    day: date
    portfolio_node_id: int
    name: str
    currency: str
    complete: bool

    def require_complete(self) -> None:
        """Raise UnknownDay where what it holds is not kept."""
        if not self.complete:
            raise UnknownDay(f"{self.day} is not reckoned to its end: `risk batch --date {self.day}` goes on with it")


def days(session: Session, *, before: date | None, most: int) -> list[dict[str, Any]]:
    """The days that nodes were reckoned of, the newest first; `complete`: to the batch's end."""
    day, ended = PortfolioRisk.calculation_date, PortfolioRisk.snapshot.is_not(None)
    asked = select(day, func.count().label("nodes"), func.bool_and(ended).label("complete"))
    if before is not None:
        asked = asked.where(day < before)
    found = session.execute(asked.group_by(day).order_by(day.desc()).limit(most))
    return [{"date": row.calculation_date, "nodes": row.nodes, "complete": row.complete} for row in found]


def day_of(session: Session, given: date | None) -> date:
    """The day that is asked for; without one the newest that was reckoned to its end. Raises UnknownDay."""
    day = PortfolioRisk.calculation_date
    asked = select(day).limit(1)
    if given is None:
        found = session.scalar(asked.where(PortfolioRisk.snapshot.is_not(None)).order_by(day.desc()))
        if found is None:
            raise UnknownDay("no day was reckoned yet: `risk batch --date DAY` does")
        return found
    if session.scalar(asked.where(day == given)) is None:
        raise UnknownDay(f"nothing was reckoned of {given}: `risk batch --date {given}` does")
    return given


def nodes(session: Session, day: date, *, node: int | None, after: int, most: int) -> list[dict[str, Any]]:
    """A day's nodes behind a number, or one of them: measures, reasons, what is left out, and the P&L by the book.

    Raises UnknownNode.
    """
    columns = [getattr(PortfolioRisk, name) for name in ("portfolio_node_id", "currency", "positions", "reasons")]
    asked = _with_names(day, *columns, _own_measures(), *_left_out(), PortfolioRisk.snapshot["pnl"].label("pnl"))
    if node is not None:
        asked = asked.where(PortfolioRisk.portfolio_node_id == node)
    asked = asked.where(PortfolioRisk.portfolio_node_id > after).order_by(PortfolioRisk.portfolio_node_id).limit(most)
    found = [_node_told(dict(row)) for row in session.execute(asked).mappings()]
    if node is not None and not found and not after:
        raise _unknown(node, day)
    return found


def node_of(session: Session, day: date, node: int) -> Node:
    """One of them. Raises UnknownNode."""
    complete = PortfolioRisk.snapshot.is_not(None).label("complete")
    row = _one(session, day, node, PortfolioRisk.portfolio_node_id, PortfolioRisk.currency, complete)
    return Node(day=day, **row)


def positions(
    session: Session, day: date, *, node: int | None, after: str | None, most: int
) -> tuple[list[dict[str, Any]], Node | None]:
    """A day's positions behind a name, of a node with all below it or of all, and the node.

    Of a node each has its value there, its contribution to the volatility, and why it is left out.
    Raises UnknownNode, UnknownDay.
    """
    columns = [getattr(PositionRisk, name) for name in _OF_A_POSITION]
    # By bytes, as Python sorts too.
    place = PositionRisk.position.collate("C")
    asked = select(*columns).where(PositionRisk.calculation_date == day).order_by(place).limit(most)
    of = None if node is None else node_of(session, day, node)
    there = None if of is None else _below(session, of, after, most)
    if there is not None:
        asked = asked.where(PositionRisk.position.in_(there))
    elif after is not None:
        asked = asked.where(place > after)
    rows = session.execute(asked).mappings().all()
    betas = _betas(session, day, [row["position"] for row in rows])
    return [_position_told(dict(row), betas, there) for row in rows], of


def exposures(session: Session, day: date, node: int) -> dict[str, Any]:
    """A node's exposure to each factor, what it contributes to the volatility and what share that is; what no factor explains is
    `specific`. Raises UnknownNode."""
    of = _one(session, day, node, PortfolioRisk.currency, PortfolioRisk.reasons, _own_measures())
    volatility = floats(of["measures"]).get("volatility")
    told = {"portfolio_node_id": node, "name": of["name"], "currency": of["currency"]}
    told["reason"] = of["reasons"].get("volatility")
    if volatility is None:
        return {**told, "volatility": None, "positions": 0, "factors": []}
    daily, exposed, by_factor = (volatility[name] for name in ("daily", "exposures", "by_factor"))
    names = select(FactorDefinition.name, FactorDefinition.display_name).order_by(
        FactorDefinition.sort_order, FactorDefinition.name
    )
    shown = {row.name: row.display_name for row in session.execute(names)} | {SPECIFIC: "Of no factor"}
    factors = [
        {
            "factor": name,
            "display_name": shown[name],
            "exposure": exposed.get(name),
            "contribution": by_factor[name],
            "share": by_factor[name] / daily if daily else None,
        }
        for name in shown
        if name in by_factor
    ]
    return {**told, "volatility": daily, "positions": volatility["positions"], "factors": factors}


def stress(session: Session, day: date, node: int, *, scenario: str | None) -> dict[str, Any]:
    """What each scenario, or one of them, would have earned a node. Raises UnknownNode, UnknownScenario."""
    of = node_of(session, day, node)
    found = reading.stress_of(session, day, node)
    if scenario is not None:
        found = [each for each in found if each["name"] == scenario]
        if not found:
            raise UnknownScenario(f"`scenario`: {scenario} was not reckoned on {day}")
    told = [{name: each[name] for name in ("name", "pnl", "left_out", "reason")} for each in found]
    return {"portfolio_node_id": node, "name": of.name, "currency": of.currency, "scenarios": told}


def stressed_positions(
    session: Session, day: date, node: int, scenario: str, *, after: str | None, most: int
) -> list[dict[str, Any]]:
    """What a scenario would have earned each position of a node, in the position's currency, or why that is not known."""
    names = _below(session, node_of(session, day, node), after, most)
    asked = (
        select(
            StressResult.position,
            PositionRisk.symbol,
            StressResult.currency,
            StressResult.pnl,
            StressResult.reason,
        )
        .join(StressScenario, StressScenario.scenario_id == StressResult.scenario_id)
        .join(
            PositionRisk,
            (PositionRisk.position == StressResult.position) & (PositionRisk.calculation_date == day),
        )
        .where(StressResult.calculation_date == day, StressScenario.name == scenario, StressResult.position.in_(names))
        .order_by(StressResult.position.collate("C"))
    )
    return [dict(row) for row in session.execute(asked).mappings()]


def value_at_risk(
    session: Session, node: int, begins: date, ends: date, *, method: str, confidence: str
) -> dict[str, Any]:
    """Days with what was foreseen, how many were breaches, and the tests as the newest of them knew them. Raises UnknownNode."""
    asked = select(PortfolioRisk.calculation_date).where(PortfolioRisk.portfolio_node_id == node).limit(1)
    if session.scalar(asked) is None:
        raise UnknownNode(f"nothing was reckoned of node {node}")
    found = reckoned.value_at_risk_days(session, node, begins, ends, method=method, confidence=confidence)
    tested = next((each for each in reversed(found) if each["tests"] is not None), None)
    tests = None if tested is None else {"as_of": tested["day"], **tested["tests"]}
    told = ("currency", "made_on", "value_at_risk", "pnl", "breach", "reason")
    rows = [{"date": each["day"], **{name: each[name] for name in told}} for each in found]
    return {"breaches": reckoned.breaches(found), "tests": tests, "days": rows}


def steps(session: Session, given: date | None) -> tuple[date, list[dict[str, Any]]]:
    """The attempts at a day's steps, the first one first; without a day at those of the newest. Raises UnknownDay."""
    day = given or session.scalar(select(func.max(CalculationAuditLog.calculation_date)))
    found = [] if day is None else reading.steps(session, day)
    if day is None or not found:
        raise UnknownDay("no batch was run yet" if day is None else f"no batch of {day} was run yet")
    return day, found


def _with_names(day: date, *columns: Any) -> Select[Any]:
    joined = PortfolioNode.portfolio_node_id == PortfolioRisk.portfolio_node_id
    asked = select(PortfolioNode.name, *columns).select_from(PortfolioRisk).join(PortfolioNode, joined)
    return asked.where(PortfolioRisk.calculation_date == day)


def _own_measures() -> Label[Any]:
    """Without what each position contributes: thousands, of which a list of nodes tells none."""
    by_position = cast(["volatility", "by_position"], ARRAY(Text))
    return PortfolioRisk.measures.op("#-", return_type=JSONB)(by_position).label("measures")


def _left_out() -> tuple[Label[Any], Label[Any]]:
    """The first positions that are left out, with why, and of how many."""
    each = func.jsonb_each(PortfolioRisk.left_out).table_valued("key", "value", name="each")
    some = select(each.c.key, each.c.value).order_by(each.c.key.collate("C")).limit(MOST_LEFT_OUT).lateral("some")
    first = select(func.jsonb_object_agg(some.c.key, cast(some.c.value, JSONB))).scalar_subquery()
    all_keys = func.jsonb_object_keys(PortfolioRisk.left_out).table_valued("key", name="all_keys")
    count = select(func.count()).select_from(all_keys).scalar_subquery()
    return first.label("left_out"), count.label("more_left_out")


def _one(session: Session, day: date, node: int, *columns: Any) -> dict[str, Any]:
    asked = _with_names(day, *columns).where(PortfolioRisk.portfolio_node_id == node)
    row = session.execute(asked).mappings().one_or_none()
    if row is None:
        raise _unknown(node, day)
    return dict(row)


def _below(session: Session, of: Node, after: str | None, most: int) -> dict[str, Mapping[str, Any]]:
    """A page of what a node holds, by position, with its value, contribution and reasons there.

    Found by the database: of thousands nobody beside the engine is to read more than he tells. Raises UnknownDay.
    """
    of.require_complete()
    held = func.jsonb_array_elements(PortfolioRisk.snapshot["positions"]).table_valued(
        column("value", JSONB), name="held"
    )
    name = held.c.value["position"].astext
    asked = _of(of, held, name.label("position"), held.c.value["value"].label("value"))
    if after is not None:
        asked = asked.where(name.collate("C") > after)
    rows = session.execute(asked.order_by(name.collate("C")).limit(most)).all()
    names = [row.position for row in rows]
    contributions = _values(session, of, PortfolioRisk.measures["volatility"]["by_position"], names)
    left_out = _values(session, of, PortfolioRisk.left_out, names)
    return {
        row.position: {
            "node_value": floats(row.value),
            "contribution": floats(contributions.get(row.position)),
            "left_out": left_out.get(row.position, {}),
        }
        for row in rows
    }


def _values(session: Session, of: Node, document: Any, names: Sequence[str]) -> dict[str, Any]:
    """What a node's document has of these names, all at once: name by name it would be unpacked as often."""
    each = func.jsonb_each(document).table_valued("key", column("value", JSONB), name="each")
    asked = _of(of, each, each.c.key, each.c.value).where(each.c.key.in_(names))
    return {row.key: row.value for row in session.execute(asked)}


def _of(of: Node, parts: Any, *columns: Any) -> Select[Any]:
    asked = select(*columns).select_from(PortfolioRisk).join(parts, true())
    return asked.where(
        PortfolioRisk.calculation_date == of.day, PortfolioRisk.portfolio_node_id == of.portfolio_node_id
    )


def _unknown(node: int, day: date) -> UnknownNode:
    return UnknownNode(f"node {node} was not reckoned on {day}")


def _node_told(row: Mapping[str, Any]) -> dict[str, Any]:
    first = row["left_out"] or {}
    return {
        **row,
        "measures": {name: _numbers(parts) for name, parts in floats(row["measures"]).items()},
        "left_out": first,
        "more_left_out": row["more_left_out"] - len(first),
        "pnl": None if row["pnl"] is None else _pnl_told(row["pnl"]),
    }


def _numbers(parts: Mapping[str, Any]) -> dict[str, float | None]:
    """What a measure is; by what it comes from factors and positions tell."""
    return {name: value for name, value in parts.items() if not isinstance(value, Mapping)}


def _pnl_told(kept: Mapping[str, Any]) -> dict[str, Any]:
    """As the book told it, exact: its numbers were kept as text."""
    money = {name: None if kept.get(name) is None else Decimal(str(kept[name])) for name in _MONEY}
    return {**money, **{name: kept.get(name) for name in _COUNTS}, "reason": kept.get("reason")}


def _position_told(
    row: Mapping[str, Any], betas: Mapping[str, Mapping[str, float]], there: Mapping[str, Any] | None
) -> dict[str, Any]:
    name = row["position"]
    told = {**row, "greeks": None if row["greeks"] is None else floats(row["greeks"]), "betas": betas.get(name, {})}
    if there is None:
        return {**told, "node_value": None, "contribution": None, "left_out": {}}
    return {**told, **there[name]}


def _betas(session: Session, day: date, names: Sequence[str]) -> dict[str, dict[str, float]]:
    asked = (
        select(PositionFactorExposure.position, FactorDefinition.name, PositionFactorExposure.beta)
        .join(FactorDefinition, FactorDefinition.factor_id == PositionFactorExposure.factor_id)
        .where(PositionFactorExposure.calculation_date == day, PositionFactorExposure.position.in_(names))
        .order_by(FactorDefinition.sort_order, FactorDefinition.name)
    )
    found: dict[str, dict[str, float]] = {}
    for row in session.execute(asked):
        found.setdefault(row.position, {})[row.name] = row.beta
    return found
