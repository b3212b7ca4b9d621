"""What active positions are worth: signed quantity x price x point value, in a base currency."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from risk.analytics.checks import Array, above_zero, active, columns, not_negative, vector
from risk.analytics.refusals import LabelsDiffer, MissingRate, OutOfRange

SIGNS = {"LONG": 1.0, "SHORT": -1.0}
NEEDED = ("side", "quantity", "price", "point_value", "currency")


def value_positions(positions: pd.DataFrame, rates: Mapping[str, float], base: str) -> pd.DataFrame:
    """The active positions, one row each as given, with what they are worth in the currency `base`.

    `positions` is indexed by position and has `side` (LONG, SHORT), `quantity` (lots, 0 or more), `price` (points; it may be
    negative, as oil's was), `point_value` (money per point per lot, above 0), `currency`; and, if it is there, `is_active`
    (what is not is left out) and `entry_price` (points). `rates` are units of `base` for one of the currency; `base` is 1.

    Added: `signed_quantity` (long +, short -), `value` = signed quantity x price x point value x rate (a future's notional),
    and with an entry price `unrealized_pnl` = signed quantity x (price - entry price) x point value x rate.
    Raises WrongShape, NotFinite, OutOfRange (a side or quantity that is none), LabelsDiffer, MissingRate.
    """
    table = columns("positions", positions, NEEDED)
    if not table.index.is_unique:
        raise LabelsDiffer("`positions`: a position is there more than once")
    held = active(table)
    if unknown := sorted(set(held["side"]) - set(SIGNS), key=str):
        raise OutOfRange(f"`side`: {', '.join(map(str, unknown))} is neither LONG nor SHORT")
    signed = held["side"].map(SIGNS).to_numpy(np.float64) * not_negative("quantity", held["quantity"])
    prices, points = vector("price", held["price"]), vector("point_value", held["point_value"])
    if (points <= 0).any():
        raise OutOfRange(f"`point_value`: {points.min()} is not above 0")
    per_point = signed * points * _rates_of(held["currency"], rates, base)
    valued = held.assign(signed_quantity=signed, value=per_point * prices)
    if "entry_price" in held.columns:
        valued = valued.assign(unrealized_pnl=per_point * (prices - vector("entry_price", held["entry_price"])))
    return valued


def _rates_of(currencies: pd.Series, rates: Mapping[str, float], base: str) -> Array:
    known = {**rates, base: 1.0}
    if lacking := sorted(set(currencies) - set(known), key=str):
        raise MissingRate(f"there is no rate from {', '.join(map(str, lacking))} to {base}")
    used = {currency: above_zero(f"rate of {currency}", known[currency]) for currency in set(currencies)}
    each: Array = currencies.map(used).to_numpy(np.float64)
    return each


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Sums of positions' values, in the base currency. `short` is 0 or negative; gross = long - short, net = long + short."""

    long: float
    short: float
    gross: float
    net: float


def exposure(values: pd.Series) -> Exposure:
    """What signed values (base currency) add up to, by side. Raises NotFinite, WrongShape."""
    array = vector("values", values)
    long, short = float(array[array > 0].sum()), float(array[array < 0].sum())
    return Exposure(long=long, short=short, gross=long - short, net=long + short)
