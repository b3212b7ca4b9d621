"""Amounts as bars from a line of nothing: what is above it to the right, what is below it to the left, the largest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

WIDTH = 1000
HEIGHT = 28
# A bar that would not be seen is drawn so wide.
_LEAST = 1.5


class Bar(Struct, frozen=True, kw_only=True):
    """A row with its bar, in parts of WIDTH. `tone` is `up`, `down`, or blank where it is nothing or not known."""

    row: Mapping[str, Any]
    amount: float | None
    tone: str
    left: str
    width: str


class Bars(Struct, frozen=True, kw_only=True):
    """The bars, where their line of nothing is, and what they come to."""

    bars: list[Bar]
    zero: str
    total: float


def bars_of(rows: Sequence[Mapping[str, Any]], amount: str, *, in_the_middle: bool = False) -> Bars:
    """The bars of a column of rows; what is None is last. With the line in the middle both sides are as long."""
    known = [row[amount] for row in rows if row[amount] is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    if in_the_middle:
        high = max(-low, high)
        low = -high
    span = (high - low) or 1.0
    zero = -low / span * WIDTH if high > low else (WIDTH / 2 if in_the_middle else 0.0)
    ordered = sorted(rows, key=lambda row: (row[amount] is None, -abs(row[amount] or 0.0)))
    return Bars(bars=[_bar(row, row[amount], zero, span) for row in ordered], zero=f"{zero:.2f}", total=sum(known))


def _bar(row: Mapping[str, Any], value: float | None, zero: float, span: float) -> Bar:
    if not value:
        return Bar(row=row, amount=value, tone="", left=f"{zero:.2f}", width="0.00")
    width = max(_LEAST, abs(value) / span * WIDTH)
    left = zero if value > 0 else zero - width
    left = min(max(0.0, left), WIDTH - width)
    return Bar(row=row, amount=value, tone="up" if value > 0 else "down", left=f"{left:.2f}", width=f"{width:.2f}")
