"""An instrument's contracts as a curve: the price of each by the days to its expiry."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct

from live.dashboard.risk_history import Tick, ticks
from live.dashboard.words import count, price, short_amount

if TYPE_CHECKING:
    from risk.term_structure import Contract, TermStructure

HEIGHT = 240
TOP, BOTTOM = 18, 30
_LABELS = 6
# Of the width, so that labels have room at both ends.
_MARGIN, _BETWEEN = 7.0, 86.0


class Point(Struct, frozen=True, kw_only=True):
    """A contract, per cent to the right and pixels down."""

    at: str
    y: str
    title: str
    held: bool


class Curve(Struct, frozen=True, kw_only=True):
    """The points, the pieces between them, and the lines with their labels."""

    points: list[Point]
    pieces: list[tuple[Point, Point]]
    prices: list[Tick]
    expiries: list[Tick]


def curve_of(contracts: Sequence["Contract"]) -> Curve | None:
    """The curve of the contracts that have a price; None where none has."""
    known = [(each, float(each.price)) for each in contracts if each.price is not None]
    if not known:
        return None
    amounts = ticks(min(value for _, value in known), max(value for _, value in known))
    low, high = amounts[0], amounts[-1]
    first, last = known[0][0].days, known[-1][0].days
    points = [
        Point(
            at=f"{_MARGIN + _BETWEEN * ((each.days - first) / (last - first) if last > first else 0.5):.3f}%",
            y=f"{TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM):.2f}",
            title=f"{each.expiry}: {price(each.price)}{', held' if each.held else ''}",
            held=each.held,
        )
        for each, value in known
    ]
    every = -(-len(known) // _LABELS)
    return Curve(
        points=points,
        pieces=list(pairwise(points)),
        prices=[
            Tick(at=f"{TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM):.2f}", label=short_price(value))
            for value in amounts
        ],
        expiries=[
            Tick(at=point.at, label=f"{each.expiry:%-d %b}")
            for point, (each, _) in list(zip(points, known, strict=True))[::every]
        ],
    )


def short_price(value: float) -> str:
    """Prices lie near each other: all digits while they fit."""
    return f"{value:,.10g}" if abs(value) < 1e6 else short_amount(value)


def words_of(found: "TermStructure") -> str:
    """The curve in a sentence or two."""
    if not found.contracts:
        return "Every contract had expired by then."
    shapes = {
        "contango": "contango: the later a contract expires the dearer it is",
        "backwardation": "backwardation: the later a contract expires the cheaper it is",
        "flat": "flat: all cost the same",
        "mixed": "neither all dearer nor all cheaper the later they expire",
    }
    shape = shapes[found.shape] if found.shape else "no spread between two of them is known"
    held = next((each for each in found.contracts if each.held), None)
    own = "" if held is None else f" A position would be in the one of {held.expiry}."
    return f"{count(len(found.contracts), 'contract')}, {shape}.{own}"
