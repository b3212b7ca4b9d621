"""Exposure, P&L and risk of a node and all below it, on a day, in one currency."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from book.fx import raise_missing_rate
from book.nodes import nodes_on, require_currency
from book.refusals import CurrencyNeeded, UnknownNode
from book.statements import rows_of


class Dimension(StrEnum):
    """By what figures are added up."""

    NODE = "node"
    INSTRUMENT = "instrument"
    SECTOR = "sector"
    CURRENCY = "currency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is added up. Money is in the roll-up's currency, rounded to four decimals for each node, instrument and currency.

    `gross` is all notional, `net` long minus short. `positions` are those that were open, of them `unmarked` had no mark yet and
    count at their entry, `unvalued` have no price at all and count for nothing. `day_pnl` is that of the day itself, None where
    nothing was marked on it; `realized_pnl` is of all positions so far, closed ones too; `dv01` and `var_contribution` are None
    where no position has one.
    """

    positions: int
    unmarked: int
    unvalued: int
    gross: Decimal
    net: Decimal
    day_pnl: Decimal | None
    realized_pnl: Decimal
    unrealized_pnl: Decimal
    dv01: Decimal | None
    var_contribution: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Figures of one instrument, sector (blank: of none) or currency."""

    key: str
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLine:
    """Figures of one node with all below it; `depth` is how far below the first one it is."""

    portfolio_node_id: int
    name: str
    node_type: str
    parent_id: int | None
    base_ccy: str
    depth: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Nodes in the order of a tree that is read: each followed by what is below it, by name. `marked_on` is the newest day of
    which there were marks."""

    as_of: date
    currency: str
    marked_on: date | None
    nodes: tuple[NodeLine, ...]


def tree(
    session: Session, day: date, *, currency: str | None = None, node: int | None = None, anew: bool | None = None
) -> Tree:
    """The tree, or a node with all below it, as it was at the end of a day (UTC).

    Without a currency in the node's own, or in that of all roots. `anew`: by all positions, else by the totals that are kept of
    them; without it by whichever is quicker. They come to the same.

    Raises UnknownNode, CurrencyNeeded, MissingRate, NodeNotValid.
    """
    currency, marked_on = _currency(session, day, currency, node), marked_on_or_before(session, day)
    rolled = _rolled(session, by=Dimension.NODE, day=day, marked_on=marked_on, currency=currency, node=node, anew=anew)
    ordered = _in_order({int(row["portfolio_node_id"]): row for row in rolled})
    return Tree(as_of=day, currency=currency, marked_on=marked_on, nodes=tuple(ordered))


def lines(
    session: Session,
    by: Dimension,
    day: date,
    *,
    currency: str | None = None,
    node: int | None = None,
    anew: bool | None = None,
) -> tuple[Line, ...]:
    """The same figures by instrument, sector or currency, each of which positions have been. Raises as `tree`."""
    if by is Dimension.NODE:
        raise ValueError("by node it is a tree")
    currency, marked_on = _currency(session, day, currency, node), marked_on_or_before(session, day)
    rows = _rolled(session, by=by, day=day, marked_on=marked_on, currency=currency, node=node, anew=anew)
    return tuple(Line(key=row["key"], figures=_figures(row)) for row in rows)


def marked_on_or_before(session: Session, day: date) -> date | None:
    """The newest day up to this one of which there are marks."""
    (row,) = rows_of(session, "marked_on", day=day)
    found: date | None = row["marked_on"]
    return found


def _rolled(session: Session, *, by: Dimension, **asked: Any) -> Sequence[RowMapping]:
    rows_of(session, "for_a_roll_up")
    if asked["anew"] is None:
        (row,) = rows_of(session, "much_is_stale", day=asked["day"])
        asked["anew"] = bool(row["much_is_stale"])
    try:
        return rows_of(session, "roll_up", dimension=by.value, **asked)
    except DBAPIError as error:
        raise_missing_rate(error)
        raise


def _currency(session: Session, day: date, given: str | None, node: int | None) -> str:
    known = nodes_on(session, day)
    asked = [row for row in known if (row["parent_id"] is None if node is None else row["portfolio_node_id"] == node)]
    if node is not None and not asked:
        raise UnknownNode(f"there is no node {node} on {day}")
    if given is not None:
        return require_currency(given, "currency")
    currencies = sorted({row["base_ccy"] for row in asked})
    if len(currencies) > 1:
        raise CurrencyNeeded(f"`currency` is required: roots are in {', '.join(currencies)}")
    return currencies[0] if currencies else "USD"


def _in_order(rows: dict[int, RowMapping]) -> list[NodeLine]:
    """Each node followed by its children; the first are those whose parents are not among them."""
    below: dict[int | None, list[RowMapping]] = {}
    for row in rows.values():
        parent = row["parent_id"] if row["parent_id"] in rows else None
        below.setdefault(parent, []).append(row)
    ordered: list[NodeLine] = []

    def add(parent: int | None, depth: int) -> None:
        for row in sorted(below.get(parent, ()), key=lambda each: (each["name"], each["portfolio_node_id"])):
            ordered.append(_node_line(row, depth))
            add(row["portfolio_node_id"], depth + 1)

    add(None, 0)
    return ordered


def _node_line(row: RowMapping, depth: int) -> NodeLine:
    names = ("portfolio_node_id", "name", "node_type", "parent_id", "base_ccy")
    return NodeLine(**{name: row[name] for name in names}, depth=depth, figures=_figures(row))


def _figures(row: RowMapping) -> Figures:
    given: dict[str, Any] = {name: row[name] for name in Figures.__slots__}
    return Figures(**given)
