"""Frames of days that the batch has reckoned, and what came of them; and of tags."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from book.portfolio_management import PortfolioPosition
from book.reference_data import Instrument
from risk import reading
from risk.analytics.covariance import volatilities_and_correlations
from risk.analytics.factor_risk import covariance_from_pairs
from risk.batch.given import Given
from risk.batch.holdings import Tree, held_on
from risk.by_tag import OfTag, day_by_tag
from risk.daily import (
    FactorCovariance,
    InstrumentCovariance,
    PortfolioRisk,
    PositionFactorExposure,
    PositionRisk,
    StressResult,
)
from risk.factors import FactorDefinition, StressScenario
from risk.notebook.frames import Told, day_told, floats, frame, reasons
from risk.notebook.market import calendar
from risk.notebook.reader import Reader
from risk.tagged import Tagged, TagOf

_POSITION = {
    "position": "text",
    "portfolio_node_id": "whole",
    "symbol": "text",
    "direction": "text",
    "currency": "text",
    "quantity": "number",
    "price": "number",
    "price_date": "day",
    "price_source": "text",
    "value": "number",
    "day_return": "number",
    "observations": "count",
    "volatility": "number",
    "squeeze_level": "text",
}
_GREEKS = ("delta", "gamma", "vega_per_point", "theta_per_day", "rho_per_point")
_TRADES = ("closed", "trades", "won")
_R = ("win_rate", "mean_r", "total_r", "best_r", "worst_r")
_VALUE_AT_RISK = "_value_at_risk"
# The figures of each measure; what is not listed is a tail. Of none: it is a figure itself.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "exposure": ("long", "short", "gross", "net"),
    "volatility": ("daily", "annual", "positions"),
    "diversification": ("score", "ratio", "instruments"),
    "day_pnl": (),
    "pnl_since_entry": (),
    "closed_pnl": (),
}
_OF_A_TAIL = ("value_at_risk", "expected_shortfall")


class DayFrames(Reader):
    """What the book was worth on days, and what could happen to it. A day that was not reckoned raises NotReckoned."""

    def positions(self, day: Told) -> pd.DataFrame:
        """Each position of a day: value and Greeks in its `currency`, volatility a day as a fraction; `reasons` says what of it
        is not known, and why."""
        with self.reading() as session:
            asked = select(PositionRisk).where(PositionRisk.calculation_date == _reckoned(session, day))
            rows = [
                (
                    *(getattr(each, name) for name in _POSITION),
                    *((each.greeks or {}).get(name) for name in _GREEKS),
                    reasons(each.reasons),
                )
                for each in session.scalars(asked.order_by(PositionRisk.position))
            ]
        return frame(rows, {**_POSITION, **dict.fromkeys(_GREEKS, "number"), "reasons": "text"}, index="position")

    def nodes(self, day: Told) -> pd.DataFrame:
        """Each node of a day with all below it, in its own `currency`: a column for each measure and part (`exposure_gross`,
        `volatility_daily`, `historical_95%_value_at_risk`), NaN where there is none, and `reasons` why."""
        with self.reading() as session:
            found = reading.nodes(session, _reckoned(session, day))
        rows = [
            (each["portfolio_node_id"], each["name"], each["currency"], each["positions"], len(each["left_out"]))
            for each in found
        ]
        kinds = {"node": "whole", "name": "text", "currency": "text", "positions": "whole", "left_out": "whole"}
        head = frame(rows, kinds, index="node")
        return _with_measures(head, found)

    def contributions(self, day: Told) -> pd.DataFrame:
        """Where each node's volatility a day comes from, in money: by `node` and `factor`, `specific` what no factor explains.
        Of a node they add up to it."""
        with self.reading() as session:
            found = reading.nodes(session, _reckoned(session, day))
        rows = [
            (each["portfolio_node_id"], factor, of.get("exposures", {}).get(factor), contribution)
            for each in found
            for of in [each["measures"].get("volatility", {})]
            for factor, contribution in of.get("by_factor", {}).items()
        ]
        kinds = {"node": "whole", "factor": "text", "exposure": "number", "contribution": "number"}
        return frame(rows, kinds, index=["node", "factor"])

    def exposures(self, day: Told) -> pd.DataFrame:
        """Positions' betas by `position` and `factor`, with what a regression says of them; `.beta.unstack()` is the matrix."""
        numbers = ("beta", "standard_error", "r_squared", "specific_variance")
        with self.reading() as session:
            asked = (
                select(
                    PositionFactorExposure.position,
                    FactorDefinition.name,
                    *(getattr(PositionFactorExposure, name) for name in numbers),
                    PositionFactorExposure.observations,
                )
                .join(FactorDefinition, FactorDefinition.factor_id == PositionFactorExposure.factor_id)
                .where(PositionFactorExposure.calculation_date == _reckoned(session, day))
                .order_by(PositionFactorExposure.position, FactorDefinition.sort_order, FactorDefinition.name)
            )
            rows = session.execute(asked).all()
        kinds = {"position": "text", "factor": "text", **dict.fromkeys(numbers, "number"), "observations": "whole"}
        return frame(rows, kinds, index=["position", "factor"])

    def factor_covariance(self, day: Told) -> pd.DataFrame:
        """The factors' covariance of a day: returns and changes, squared, a day. Empty where nothing tells any factor."""
        first, second = aliased(FactorDefinition), aliased(FactorDefinition)
        with self.reading() as session:
            asked = (
                select(first.name, second.name, FactorCovariance.covariance)
                .join(first, first.factor_id == FactorCovariance.factor1_id)
                .join(second, second.factor_id == FactorCovariance.factor2_id)
                .where(FactorCovariance.calculation_date == _reckoned(session, day))
            )
            return _matrix(session.execute(asked).all())

    def instrument_covariance(self, day: Told) -> pd.DataFrame:
        """The covariance of the returns of what positions are of, a day."""
        first, second = aliased(Instrument), aliased(Instrument)
        with self.reading() as session:
            asked = (
                select(first.symbol, second.symbol, InstrumentCovariance.covariance)
                .join(first, first.instrument_id == InstrumentCovariance.instrument1_id)
                .join(second, second.instrument_id == InstrumentCovariance.instrument2_id)
                .where(InstrumentCovariance.calculation_date == _reckoned(session, day))
            )
            return _matrix(session.execute(asked).all())

    def correlations(self, day: Told) -> pd.DataFrame:
        """The correlations of the returns of what positions are of."""
        covariance = self.instrument_covariance(day)
        return covariance if covariance.empty else volatilities_and_correlations(covariance)[1]

    def stress(self, day: Told) -> pd.DataFrame:
        """What each scenario earns each position and node (`of`: position/12, node/1), in its `currency`: NaN where that is not
        known, with the reason; a node's is of all but `left_out` positions."""
        with self.reading() as session:
            asked = (
                select(StressResult, StressScenario.name)
                .join(StressScenario, StressScenario.scenario_id == StressResult.scenario_id)
                .where(StressResult.calculation_date == _reckoned(session, day))
                .order_by(
                    StressScenario.sort_order,
                    StressScenario.name,
                    StressResult.portfolio_node_id,
                    StressResult.position,
                )
            )
            rows = [
                (
                    name,
                    each.position or f"node/{each.portfolio_node_id}",
                    each.currency,
                    each.pnl,
                    each.left_out,
                    each.reason,
                )
                for each, name in session.execute(asked)
            ]
        kinds = {
            "scenario": "text",
            "of": "text",
            "currency": "text",
            "pnl": "number",
            "left_out": "whole",
            "reason": "text",
        }
        return frame(rows, kinds, index=["scenario", "of"])

    def value_at_risk(self, node: int, begins: Told | None = None, ends: Told | None = None) -> pd.DataFrame:
        """A node's value at risk on each day that was reckoned, a column for each measure, and how it came out, as the batch of
        the trading day after tells it: `gained` on that day (`gained_on`), `breach_...`, whether more was lost, or the `reason`.

        Money in the node's `currency` of the day. Raises NotReckoned where there is no such day.
        """
        with self.reading() as session:
            kept = _kept_of(session, node, begins, ends)
        outcomes = [_outcome(row, following) for row, following in zip_longest(kept, kept[1:])]
        last = date.max if ends is None else day_told(ends)
        found = [(row, outcome) for row, outcome in zip(kept, outcomes, strict=True) if row.calculation_date <= last]
        rows = [(row.calculation_date, row.currency, out.on, out.gained, out.reason) for row, out in found]
        kinds = {"day": "day", "currency": "text", "gained_on": "day", "gained": "number", "reason": "text"}
        head = frame(rows, kinds, index="day")
        flat = [_flat(row.measures, row.reasons) for row, _ in found]
        names = [
            name for name in dict.fromkeys(name for each in flat for name in each) if name.endswith(_VALUE_AT_RISK)
        ]
        measures = frame([[each.get(name) for name in names] for each in flat], dict.fromkeys(names, "number"))
        breaches = {f"breach_{name.removesuffix(_VALUE_AT_RISK)}": name.removesuffix(_VALUE_AT_RISK) for name in names}
        told = frame(
            [[out.breach.get(name) for name in breaches.values()] for _, out in found], dict.fromkeys(breaches, "yes")
        )
        parts = [head[["currency"]], measures.set_index(head.index), head[["gained_on", "gained"]]]
        return pd.concat([*parts, told.set_index(head.index), head[["reason"]]], axis=1)

    def tags(self, day: Told) -> pd.DataFrame:
        """The tags of all nodes and of what was held at the end of a day, and what each was put on (`on`): itself, or a node
        above it; a strategy that a position came with has no `added_by`. The day need not be reckoned."""
        asked = day_told(day)
        with self.reading() as session:
            tagged = Tagged(session, asked)
            found = [(f"node/{node}", tagged.of_node(node)) for node in sorted(Tree(session, asked).nodes)]
            held = held_on(session, asked)
            strategies = _strategies(session, [each.position for each in held])
            found += [
                (each.position, tagged.of(each.position, each.portfolio_node_id, strategies.get(each.position, [])))
                for each in held
            ]
        rows = [(of, *_tag_row(each)) for of, own in found for each in own]
        kinds = {"of": "text", "tag": "text", "tag_type": "text", "on": "text", "added_by": "text", "added_at": "time"}
        return frame(rows, kinds, index="of")

    def by_tag(
        self, day: Told, *, node: int | None = None, tag_type: str | None = None, tagged_on: Told | None = None
    ) -> pd.DataFrame:
        """A day by tag (`tag_type` all: all together), in the node's `currency`: the columns of `nodes`, `day_pnl`,
        `pnl_since_entry`, `closed_pnl`, and what closed positions earned in R."""
        with self.reading() as session:
            given = Given(day=_reckoned(session, day), calendar=calendar())
            on = None if tagged_on is None else day_told(tagged_on)
            found = day_by_tag(session, given, node=node, tag_type=tag_type, tagged_on=on)
        rows = [
            (each.tag_type, each.tag, found.currency, len(each.positions), len(each.left_out), *_trades_row(each))
            for each in found.of
        ]
        kinds = {"tag_type": "text", "tag": "text", "currency": "text", "positions": "whole", "left_out": "whole"}
        trades = {**dict.fromkeys(_TRADES, "whole"), **dict.fromkeys(_R, "number")}
        head = frame(rows, {**kinds, **trades}, index=["tag_type", "tag"])
        return _with_measures(head, [{"measures": each.measures, "reasons": each.reasons} for each in found.of])


def _reckoned(session: Session, told: Told) -> date:
    day = day_told(told)
    reading.require_reckoned(session, day)
    return day


def _flat(measures: Mapping[str, Any], names: Iterable[str] = ()) -> dict[str, float | None]:
    """A figure for each measure and part, None for those of `names` that are missing; what is by factor or position is told by
    other frames."""
    found: dict[str, float | None] = {}
    for name in dict.fromkeys([*measures, *names]):
        parts = _PARTS.get(name, _OF_A_TAIL)
        if parts:
            found |= {f"{name}_{part}": _number(measures.get(name, {}).get(part)) for part in parts}
        else:
            found[name] = _number(measures.get(name))
    return found


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _with_measures(head: pd.DataFrame, found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    flat = [_flat(each["measures"], each["reasons"]) for each in found]
    names = list(dict.fromkeys(name for each in flat for name in each))
    measures = pd.DataFrame({name: floats([each.get(name) for each in flat]) for name in names}, index=head.index)
    told = pd.DataFrame(
        {"reasons": pd.array([reasons(each["reasons"]) for each in found], dtype="str")}, index=head.index
    )
    return pd.concat([head, measures, told], axis=1)


def _matrix(pairs: Sequence[Any]) -> pd.DataFrame:
    """The square of such pairs, of which each is told once, by name."""
    if not pairs:
        return pd.DataFrame(dtype=np.float64)
    names: list[Any] = sorted({first for first, _, _ in pairs})
    return covariance_from_pairs(pd.DataFrame(pairs, columns=["factor1", "factor2", "covariance"]), names)


class _Outcome(Struct, frozen=True, kw_only=True):
    """What came of a day's value at risk: when, how much was gained, by measure whether more was lost; or why nobody knows."""

    on: date | None = None
    gained: float | None = None
    breach: dict[str, bool] = {}
    reason: str = ""


def _outcome(row: Any, following: Any) -> _Outcome:
    """As the batch of the next day that was reckoned tells it, where that is the trading day after."""
    if following is None:
        return _Outcome(reason="no day after it was reckoned")
    backtests: Mapping[str, Any] = following.backtests or {}
    made = {name: told for name, told in backtests.items() if told.get("made_on") == str(row.calculation_date)}
    if not made:
        # Of a measure that there was not on the day nothing was to be told.
        why = dict.fromkeys(backtests[name]["reason"] for name in row.measures if "reason" in backtests.get(name, {}))
        return _Outcome(reason="; ".join(why) or f"the batch of {following.calculation_date} did not tell")
    gained = float(next(iter(made.values()))["pnl"])
    breach = {name: bool(told["breach"]) for name, told in made.items()}
    return _Outcome(on=following.calculation_date, gained=gained, breach=breach)


def _kept_of(session: Session, node: int, begins: Told | None, ends: Told | None) -> Sequence[Any]:
    """The days from the first one on: what came of the last one is told by one behind it."""
    names = ("calculation_date", "currency", "measures", "reasons")
    backtests = PortfolioRisk.snapshot["backtests"].label("backtests")
    asked = select(*(getattr(PortfolioRisk, name) for name in names), backtests)
    asked = asked.where(PortfolioRisk.portfolio_node_id == node).order_by(PortfolioRisk.calculation_date)
    if begins is not None:
        asked = asked.where(PortfolioRisk.calculation_date >= day_told(begins))
    found = session.execute(asked).all()
    if not found or (ends is not None and found[0].calculation_date > day_told(ends)):
        raise reading.NotReckoned(
            f"of node {node} no day was reckoned from {begins or 'the first'} to {ends or 'the last'}"
        )
    return found


def _strategies(session: Session, positions: Sequence[str]) -> dict[str, list[str]]:
    numbers = [int(name.removeprefix("position/")) for name in positions if name.startswith("position/")]
    asked = select(PortfolioPosition.id, PortfolioPosition.strategy_ids).where(PortfolioPosition.id.in_(numbers))
    return {f"position/{row.id}": row.strategy_ids for row in session.execute(asked)}


def _tag_row(each: TagOf) -> tuple[Any, ...]:
    return each.tag, each.tag_type, each.on, each.added_by, each.added_at


def _trades_row(each: OfTag) -> tuple[Any, ...]:
    return (*(each.trades.get(name, 0) for name in _TRADES), *(each.trades.get(name) for name in _R))
