"""A day by tag: what the positions of each tag are worth together, what can happen to them, what they and those before earned."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from book.pnl_scope import scope_of
from book.portfolio_management import PortfolioPosition, PositionPnLHistory
from risk.batch.given import Given
from risk.batch.holdings import Rates, Tree
from risk.batch.keeping import positions_of
from risk.batch.nodes import Below
from risk.batch.portfolio import Known
from risk.daily import PositionRisk, StressResult
from risk.factors import StressScenario
from risk.reading import require_reckoned
from risk.tag_trades import NO_TRADES, Closed, Group, groups_of, trades_by_group
from risk.tagged import Tagged, TagOf, end_of
from risk.what_if.positions import Tags

_OF_A_POSITION = (
    "id",
    "portfolio_node_id",
    "base_ccy",
    "strategy_ids",
    "portfolio",
    "engine_position_id",
    "realized_pnl_base",
    "exit_timestamp",
)
_OF_HOLDINGS = "NoMark: the book keeps no P&L of holdings that were uploaded"


class OfTag(Struct, frozen=True, kw_only=True):
    """One tag, or all (`tag_type` all): its open `positions`, and their measures in the node's currency.

    Measures are those of `portfolio_risk`, and besides `day_pnl`, of those that were closed on the day too, `pnl_since_entry`, of
    what is open, and `closed_pnl`, of what was closed up to the day. `reasons` says of a measure why there is none, `left_out`
    which positions are not in which.
    """

    tag: str
    tag_type: str
    positions: tuple[str, ...]
    measures: dict[str, Any]
    reasons: dict[str, str]
    left_out: dict[str, dict[str, str]]
    stress: list[dict[str, Any]]
    trades: dict[str, Any]


class ByTag(Struct, frozen=True, kw_only=True):
    """A day by tag, of a node with all below it (None: of all), in `currency`; `tagged_on` is the day whose tags they are."""

    day: date
    tagged_on: date
    node: int | None
    currency: str
    of: tuple[OfTag, ...]


def day_by_tag(
    session: Session,
    given: Given,
    *,
    node: int | None = None,
    tag_type: str | None = None,
    tagged_on: date | None = None,
) -> ByTag:
    """Every tag that a position has, after all positions together; of one type where that is told. A position with two tags
    counts for both, so tags do not add up to all. The tags are those of the day, or of `tagged_on`.

    Raises NotReckoned before the batch of the day, UnknownNode, CurrencyNeeded where roots are in different currencies.
    """
    day = given.day
    currency = scope_of(session, day, node=node).currency
    require_reckoned(session, day)
    members = _Members(session, day, node, Tagged(session, tagged_on or day))
    rates = Rates(session, day)
    earned = _Earned(session, given, members, rates, currency)
    groups = _grouped(members, earned, rates, currency)
    trades = trades_by_group(session, members.closed)
    known, costs = Known(session, given), _Costs(session, day)
    found = []
    for kind, tag in sorted(groups, key=_order):
        if kind not in ("all", tag_type or kind):
            continue
        group = groups[kind, tag]
        row = known.row(group.below)
        earned.add(row, group)
        found.append(
            OfTag(
                tag=tag,
                tag_type=kind,
                positions=tuple(each.position for each in group.below.positions),
                measures=row["measures"],
                reasons=row["reasons"],
                left_out=row["left_out"],
                stress=costs.of(group.below),
                trades=trades.get((kind, tag)) or NO_TRADES,
            )
        )
    return ByTag(day=day, tagged_on=tagged_on or day, node=node, currency=currency, of=tuple(found))


def _grouped(members: "_Members", earned: "_Earned", rates: Rates, currency: str) -> dict[Group, "_Group"]:
    """What there is of each tag, and of all."""
    found: dict[Group, _Group] = defaultdict(lambda: _Group(Below(node=members.node or 0, currency=currency)))
    for position in members.open:
        for group in members.groups(position.position):
            found[group].below.add(position, rates)
    for closed in members.closed:
        for group in groups_of(closed.tags):
            found[group].closed.append(closed)
    for name in earned.on_the_day:
        for group in members.groups(name):
            found[group].on_the_day.append(name)
    return found if ("all", "") in found else {**found, ("all", ""): _Group(Below(node=0, currency=currency))}


def _order(group: Group) -> tuple[str, str, str]:
    return group[0], group[1].lower(), group[1]


class _Group:
    """What counts for one tag."""

    def __init__(self, below: Below) -> None:
        self.below = below
        self.closed: list[Closed] = []
        self.on_the_day: list[str] = []


class _Members:
    """The positions below a node (None: all) that were ever entered up to a day, with their tags."""

    def __init__(self, session: Session, day: date, node: int | None, tagged: Tagged) -> None:
        self.node = node
        tree, end = Tree(session, day), end_of(day)
        inside = {each for each in tree.nodes if node in tree.above(each)}
        # As columns: of a long history each as an object of the model's takes gigabytes.
        asked = select(*(getattr(PortfolioPosition, name) for name in _OF_A_POSITION))
        self.entered = {
            f"position/{each.id}": each
            for each in session.execute(asked.where(PortfolioPosition.entry_timestamp < end))
            if node is None or each.portfolio_node_id in inside
        }
        self.open: list[PositionRisk] = [
            each for each in positions_of(session, day) if node is None or each.portfolio_node_id in inside
        ]
        nodes = {name: each.portfolio_node_id for name, each in self.entered.items()}
        nodes |= {each.position: each.portfolio_node_id for each in self.open}
        self._tags = {
            name: _tags(tagged.of(name, own, self.entered[name].strategy_ids if name in self.entered else []))
            for name, own in nodes.items()
        }
        self.closed = [
            Closed(
                position=name,
                portfolio=each.portfolio,
                engine_position_id=each.engine_position_id,
                currency=each.base_ccy,
                pnl=float(each.realized_pnl_base),
                closed_on=each.exit_timestamp.date(),
                tags=self._tags[name],
            )
            for name, each in self.entered.items()
            if each.exit_timestamp is not None and each.exit_timestamp < end
        ]

    def groups(self, name: str) -> list[Group]:
        """What a position counts for."""
        return groups_of(self._tags[name])


def _tags(found: Iterable[TagOf]) -> Tags:
    told = list(found)
    return Tags(
        regular=tuple(each.tag for each in told if each.tag_type == "regular"),
        strategy=tuple(each.tag for each in told if each.tag_type == "strategy"),
    )


class _Earned:
    """P&L by position, by the book's marks: of the day, and since the entry by the last mark that is not stale."""

    def __init__(self, session: Session, given: Given, members: _Members, rates: Rates, currency: str) -> None:
        self._given, self._members, self._rates, self._currency = given, members, rates, currency
        marks = (
            select(PositionPnLHistory)
            .where(PositionPnLHistory.snapshot_date <= given.day)
            .where(PositionPnLHistory.snapshot_date >= given.day - timedelta(days=given.method.stale_days))
            .ext(distinct_on(PositionPnLHistory.position_id))
            .order_by(PositionPnLHistory.position_id, PositionPnLHistory.snapshot_date.desc())
        )
        found = {f"position/{mark.position_id}": mark for mark in session.scalars(marks)}
        self._last = {name: mark for name, mark in found.items() if name in members.entered}
        marked = [name for name, mark in self._last.items() if mark.snapshot_date == given.day]
        # What was closed on the day and has no mark of it is missing, and is to be told.
        closed = [each.position for each in members.closed if each.closed_on == given.day]
        self.on_the_day = list(dict.fromkeys([*marked, *closed]))

    def add(self, row: dict[str, Any], group: _Group) -> None:
        """The P&L of a group to its measures."""
        open_now = [each.position for each in group.below.positions]
        self._sum(row, "day_pnl", dict.fromkeys([*open_now, *group.on_the_day]), self._of_the_day)
        self._sum(row, "pnl_since_entry", dict.fromkeys(open_now), self._since_entry)
        closed = {each.position: each for each in group.closed}
        self._sum(row, "closed_pnl", closed, lambda name: closed[name].pnl)

    def _sum(self, row: dict[str, Any], measure: str, names: Mapping[str, Any], of: Any) -> None:
        """Of those that are known; the others are left out, and where none is known there is no figure."""
        known = []
        for name in names:
            figure = of(name)
            if not isinstance(figure, str):
                rate = self._rates.between(self._money(name), self._currency)
                figure = rate if isinstance(rate, str) else figure * rate
            if isinstance(figure, str):
                row["left_out"].setdefault(name, {})[measure] = figure
            else:
                known.append(figure)
        if names and not known:
            row["reasons"][measure] = f"NothingHeld: of none of {len(names)} positions it is known"
        else:
            row["measures"][measure] = float(sum(known))

    def _money(self, name: str) -> str:
        return str(self._members.entered[name].base_ccy)

    def _of_the_day(self, name: str) -> float | str:
        mark = self._last.get(name)
        if mark is None or mark.snapshot_date != self._given.day:
            return self._unmarked(name, f"the book has no mark of it on {self._given.day}")
        return float(mark.daily_pnl_base)

    def _since_entry(self, name: str) -> float | str:
        mark = self._last.get(name)
        if mark is None:
            return self._unmarked(
                name, f"the book has no mark of it in the {self._given.method.stale_days} days before"
            )
        return float(mark.unrealized_pnl_base + mark.realized_pnl_base)

    @staticmethod
    def _unmarked(name: str, otherwise: str) -> str:
        return _OF_HOLDINGS if name.startswith("holding/") else f"NoMark: {otherwise}"


class _Costs:
    """What each scenario earns each position, as the batch kept it."""

    def __init__(self, session: Session, day: date) -> None:
        asked = (
            select(StressScenario.name, StressResult.position, StressResult.pnl, StressResult.reason)
            .join(StressScenario, StressScenario.scenario_id == StressResult.scenario_id)
            .where(StressResult.calculation_date == day, StressResult.position.is_not(None))
            .order_by(StressScenario.sort_order, StressScenario.name)
        )
        self._by_scenario: dict[str, dict[str, tuple[float | None, str | None]]] = defaultdict(dict)
        for row in session.execute(asked):
            self._by_scenario[row.name][row.position] = (row.pnl, row.reason)

    def of(self, below: Below) -> list[dict[str, Any]]:
        """What they earn these together, by scenario, in their order."""
        return [self._one(name, results, below) for name, results in self._by_scenario.items()]

    @staticmethod
    def _one(name: str, results: Mapping[str, tuple[float | None, str | None]], below: Below) -> dict[str, Any]:
        known: list[float] = []
        reasons: list[str] = []
        for each in below.positions:
            pnl, reason = results.get(each.position, (None, None))
            if pnl is None or each.position not in below.values:
                reasons.append(reason or below.left_out.get(each.position, {}).get("value") or "it was not stressed")
            else:
                known.append(pnl * below.rates[each.currency])
        return {"scenario": name, **_pnl_of(known, reasons)}


def _pnl_of(known: Sequence[float], reasons: Sequence[str]) -> dict[str, Any]:
    if reasons and not known:
        told = list(dict.fromkeys(reasons))
        return {"pnl": None, "left_out": len(reasons), "reason": "; ".join(told[:3])}
    return {"pnl": float(sum(known)), "left_out": len(reasons), "reason": None}
