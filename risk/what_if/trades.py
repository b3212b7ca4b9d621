"""Closed trades in R, in the order in which they were closed: what `risk.analytics.ruin` draws from; and by tag."""

from collections.abc import Iterable, Mapping

import pandas as pd
from msgspec import Struct

from core.fills import risk_amount
from core.models import Position
from risk.analytics.refusals import LabelsDiffer
from risk.what_if.positions import Tags
from risk.what_if.refusals import NoRisk

STILL_OPEN = "still open"


class Trade(Struct, frozen=True, kw_only=True):
    """A closed position: what it risked and earned (net), in money of its currency, and R = earned / risked."""

    position_id: str
    instrument: str
    risk: float
    pnl: float
    r: float
    tags: Tags = Tags()


class Trades(Struct, frozen=True, kw_only=True):
    """Trades in the order in which they were closed; and the positions that have no R, with why."""

    trades: tuple[Trade, ...]
    without: dict[str, str]

    @property
    def r(self) -> pd.Series:
        """R of each, by position, oldest exit first."""
        return pd.Series(
            [one.r for one in self.trades], index=[one.position_id for one in self.trades], name="r", dtype=float
        )


def r_of_trades(
    positions: Iterable[Position],
    *,
    as_entered: Mapping[str, Position] | None = None,
    tags: Mapping[str, Tags] | None = None,
) -> Trades:
    """R multiples of closed positions, replayed or live: net P&L / (entry to initial stop x entry lots x point value).

    A roll moves entry and stop: of a rolled position `as_entered` has it as it was before its first roll, by id. Positions that
    are open, were rolled and are not there, or had no stop, or a stop beyond the entry, are in `without`, with why.
    `tags` by position; its own strategy is one of them. Raises LabelsDiffer where a position is there twice.
    """
    found: list[Position] = []
    without: dict[str, str] = {}
    seen: set[str] = set()
    risks: dict[str, float] = {}
    for position in positions:
        if position.position_id in seen:
            raise LabelsDiffer(f"position {position.position_id} more than once")
        seen.add(position.position_id)
        try:
            risks[position.position_id] = risk_at_entry(position, (as_entered or {}).get(position.position_id))
            found.append(position)
        except NoRisk as refusal:
            without[position.position_id] = str(refusal)
    found.sort(key=lambda one: (one.exit_timestamp, one.position_id))
    named = tags or {}
    return Trades(
        trades=tuple(_trade(one, risks[one.position_id], named.get(one.position_id, Tags())) for one in found),
        without=without,
    )


def risk_at_entry(position: Position, as_entered: Position | None = None) -> float:
    """Entry to initial stop x entry lots x point value of a closed position, money. Raises NoRisk with why there is none."""
    if position.is_open:
        raise NoRisk(STILL_OPEN)
    entered = position if as_entered is None else as_entered
    if entered.position_id != position.position_id:
        raise NoRisk(f"as entered it is {entered.position_id}")
    if entered.rollover_count:
        raise NoRisk("rolled: its first entry and stop are not told")
    if entered.initial_stop is None:
        raise NoRisk("no initial stop")
    risk = risk_amount(entered.side, entered.entry_price, entered.initial_stop, entered.entry_lots, entered.point_value)
    if not risk:
        raise NoRisk(f"its stop {entered.initial_stop} is not behind its entry {entered.entry_price}")
    return float(risk)


def by_tag(trades: Iterable[Trade]) -> pd.DataFrame:
    """What trades have earned in R by tag: indexed by `kind` (all, regular, strategy) and `tag`.

    `trades`, `won`, `mean_r`, `total_r`, `gained_r` and `lost_r` (0 or less), `best_r`, `worst_r`. A trade of two tags counts
    for both; one without any only for all.
    """
    groups: dict[tuple[str, str], list[float]] = {}
    for trade in trades:
        labels = [("all", ""), *(("regular", tag) for tag in trade.tags.regular)]
        for label in [*labels, *(("strategy", tag) for tag in trade.tags.strategy)]:
            groups.setdefault(label, []).append(trade.r)
    rows = [{"kind": kind, "tag": tag, **_told(r)} for (kind, tag), r in sorted(groups.items())]
    return pd.DataFrame(rows, columns=["kind", "tag", *_told([0.0])]).set_index(["kind", "tag"])


def _told(r: list[float]) -> dict[str, float]:
    return {
        "trades": len(r),
        "won": sum(one > 0 for one in r),
        "mean_r": sum(r) / len(r),
        "total_r": sum(r),
        "gained_r": sum(one for one in r if one > 0),
        "lost_r": sum(one for one in r if one < 0),
        "best_r": max(r),
        "worst_r": min(r),
    }


def _trade(position: Position, risk: float, tags: Tags) -> Trade:
    own = () if position.strategy_id is None else (position.strategy_id,)
    pnl = float(position.realized_pnl)
    return Trade(
        position_id=position.position_id,
        instrument=position.instrument,
        risk=risk,
        pnl=pnl,
        r=pnl / risk,
        tags=Tags(regular=tuple(sorted({*tags.regular})), strategy=tuple(sorted({*tags.strategy, *own}))),
    )
