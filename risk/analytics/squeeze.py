"""How exposed shorts are to a squeeze: what borrowing costs, and how many days all shorts would take to cover."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from risk.analytics.checks import active, columns
from risk.analytics.refusals import OutOfRange, WrongShape

Level = Literal["HIGH", "MEDIUM", "LOW", "UNKNOWN"]
# Above these: per cent a year, and days of average volume.
LIMITS: Mapping[Level, tuple[float, float]] = {"HIGH": (10.0, 5.0), "MEDIUM": (5.0, 3.0)}
_FIGURES = ["cost_to_borrow_percent", "days_to_cover"]
_ORDER: tuple[Level, ...] = ("HIGH", "MEDIUM", "UNKNOWN", "LOW")


@dataclass(frozen=True, slots=True, kw_only=True)
class Squeeze:
    """How high the risk is, and which figures were missing. UNKNOWN: what is there says LOW, and something is missing."""

    level: Level
    missing: tuple[str, ...] = ()


def squeeze(cost_to_borrow_percent: float | None, days_to_cover: float | None) -> Squeeze:
    """HIGH above 10 % a year or 5 days, MEDIUM above 5 % or 3 days, else LOW; missing figures (None, NaN) are never LOW.

    With one figure missing the other one may still say HIGH or MEDIUM, which is then the least that it is.
    The rules are the specification's. Raises OutOfRange for infinite figures and days below 0; a cost may be negative.
    """
    figures = {"cost_to_borrow_percent": cost_to_borrow_percent, "days_to_cover": days_to_cover}
    known = {name: float(value) for name, value in figures.items() if value is not None and not pd.isna(value)}
    if any(map(math.isinf, known.values())) or known.get("days_to_cover", 0.0) < 0:
        raise OutOfRange(
            f"`cost_to_borrow_percent`, `days_to_cover`: {cost_to_borrow_percent}, {days_to_cover} cannot be"
        )
    missing = tuple(name for name in figures if name not in known)
    for level, (cost, days) in LIMITS.items():
        if known.get("cost_to_borrow_percent", -math.inf) > cost or known.get("days_to_cover", 0.0) > days:
            return Squeeze(level=level, missing=missing)
    return Squeeze(level="UNKNOWN" if missing else "LOW", missing=missing)


def squeeze_risks(positions: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """The active shorts with `level` and `missing` (names), the most exposed first, then by cost and days, both falling.

    `positions` has `instrument` and `side` (and `is_active`, else all are); `metrics`, indexed by instrument, each once,
    `cost_to_borrow_percent` and `days_to_cover`. A short that has no metrics is there as UNKNOWN.
    Raises WrongShape, OutOfRange (also for an instrument with two rows of metrics).
    """
    table = columns("positions", positions, ("instrument", "side"))
    figures = columns("metrics", metrics, _FIGURES)
    if not figures.index.is_unique:
        raise OutOfRange("`metrics`: an instrument is there more than once")
    shorts = active(table)
    shorts = shorts[shorts["side"] == "SHORT"]
    known = figures[_FIGURES].reindex(shorts["instrument"])
    try:
        cost, days = (known[name].to_numpy(np.float64, na_value=np.nan) for name in _FIGURES)
    except (TypeError, ValueError) as error:
        raise WrongShape("`metrics`: not numbers") from error
    found = [squeeze(*both) for both in zip(cost, days, strict=True)]
    told = shorts.assign(
        cost_to_borrow_percent=cost,
        days_to_cover=days,
        level=pd.Series([each.level for each in found], index=shorts.index, dtype=object),
        missing=pd.Series([", ".join(each.missing) for each in found], index=shorts.index, dtype=object),
    )
    order = told.assign(place=told["level"].map(_ORDER.index)).sort_values(
        ["place", "cost_to_borrow_percent", "days_to_cover"], ascending=[True, False, False], kind="stable"
    )
    return order.drop(columns="place")
