"""Correlations as a heat-map: numbers in the cells of a table while they can be read, else a triangle of squares."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from live.dashboard.words import NOTHING

# Of so many instruments the numbers still fit a screen.
MOST_NUMBERS = 20
SQUARE = 16
_LETTER = 6.2
_ROOM = 10
# From which size of a correlation on it is shown stronger.
_STEPS = (0.05, 0.25, 0.5, 0.75)


class Cell(Struct, frozen=True, kw_only=True):
    """Two instruments: their correlation in words, and its tone: `n4` to `p4`, `c0` for about nothing, `self`, or blank where it
    is not known. `x` and `y` are of its square."""

    text: str
    title: str
    tone: str
    x: int
    y: int


class Label(Struct, frozen=True, kw_only=True):
    """A name at the left of its row, and where its column's begins."""

    name: str
    y: int
    column_x: int
    column_y: int


class Heat(Struct, frozen=True, kw_only=True):
    """The map. `rows` are whole; `squares` are those below the diagonal and on it, drawn where there are too many for numbers."""

    symbols: list[str]
    rows: list[list[Cell]]
    is_drawn: bool
    squares: list[Cell]
    labels: list[Label]
    left: int
    width: int
    height: int
    words: str


def heat_of(found: Mapping[str, Any]) -> Heat:
    """The map of what risk.reckoned.correlations tells."""
    symbols: list[str] = found["symbols"]
    room = round(max((len(symbol) for symbol in symbols), default=0) * _LETTER) + _ROOM
    # A column's name leads up to the right at half a right angle.
    aslant = round(room * 0.75)
    rows = [
        [_cell(symbols, found["matrix"], one, other, room, aslant) for other in range(len(symbols))]
        for one in range(len(symbols))
    ]
    is_drawn = len(symbols) > MOST_NUMBERS
    side = len(symbols) * SQUARE
    return Heat(
        symbols=symbols,
        rows=rows,
        is_drawn=is_drawn,
        squares=[cell for one, row in enumerate(rows) for cell in row[: one + 1]] if is_drawn else [],
        labels=[
            Label(
                name=symbol,
                y=aslant + place * SQUARE + SQUARE * 3 // 4,
                column_x=room + place * SQUARE + SQUARE // 2,
                column_y=aslant + place * SQUARE - 3,
            )
            for place, symbol in enumerate(symbols)
        ],
        left=room - 6,
        width=room + side + aslant,
        height=aslant + side + 1,
        words=_words(symbols, found["matrix"]),
    )


def _cell(
    symbols: Sequence[str], matrix: Sequence[Sequence[float | None]], one: int, other: int, room: int, aslant: int
) -> Cell:
    value = matrix[one][other]
    text = NOTHING if value is None else told(value)
    return Cell(
        text=text,
        title=f"{symbols[one]} and {symbols[other]}: {'not known' if value is None else text}",
        tone="self" if one == other else tone_of(value),
        x=room + other * SQUARE,
        y=aslant + one * SQUARE,
    )


def told(value: float) -> str:
    """Two decimals with a sign; what rounds to nothing has none."""
    rounded = round(value, 2)
    return f"{rounded:+.2f}" if rounded else "0.00"


def tone_of(value: float | None) -> str:
    """How strong a correlation is shown, and on which side."""
    if value is None:
        return ""
    step = sum(abs(value) >= least for least in _STEPS)
    return "c0" if not step else f"{'p' if value > 0 else 'n'}{step}"


def _words(symbols: Sequence[str], matrix: Sequence[Sequence[float | None]]) -> str:
    pairs = [
        (value, symbols[one], symbols[other])
        for one, row in enumerate(matrix)
        for other, value in enumerate(row[:one])
        if value is not None
    ]
    if not pairs:
        return "There is no pair to compare."
    high, low = max(pairs), min(pairs)
    closest = f"{high[2]} and {high[1]} move most alike: {told(high[0])}."
    return closest if len(pairs) == 1 else f"{closest} {low[2]} and {low[1]} least: {told(low[0])}."
