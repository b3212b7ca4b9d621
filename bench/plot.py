"""The comparisons that have a target as a picture: how far each is from it, on one scale, as SVG."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.measure import Comparison, spread_of

_ROW, _TOP, _LEFT, _WIDTH, _RIGHT = 22, 52, 350, 480, 90
_BELOW = 40
# Powers of two on either side of the target.
_FURTHEST = 4
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'
_GOOD, _BAD, _LINE, _TEXT = "#2e7d32", "#c62828", "#9e9e9e", "#212121"


def plot(rows: Sequence[Comparison]) -> str:
    """A dot for the median and a line from the worst round to the best; right of the middle the target is met."""
    shown = [row for row in rows if row.target is not None]
    height = _TOP + _ROW * len(shown) + _BELOW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" height="{height}" {_FONT}>',
        "<title>Each figure beside its target</title>",
        f'<rect width="100%" height="100%" fill="white"/>{_scale(_TOP + _ROW * len(shown))}',
        *(_row(row, _TOP + _ROW * place) for place, row in enumerate(shown)),
        "</svg>\n",
    ]
    return "\n".join(parts)


def goodness(row: Comparison, ratio: float) -> float:
    """How many times better than its target a ratio is; below 1 the target is missed."""
    target = row.target or 1.0
    if row.better == "higher":
        return ratio / target
    return target / ratio if ratio else math.inf


def _row(row: Comparison, top: int) -> str:
    ratio = spread_of(row.ratios)
    middle = top + _ROW // 2
    first, last = sorted(_place(goodness(row, each)) for each in (ratio.lowest, ratio.highest))
    colour, at = _GOOD if row.met else _BAD, _place(goodness(row, ratio.median))
    return "\n".join(
        [
            _text(_LEFT - 10, middle, f"{row.scenario}: {row.figure}", "end"),
            f'<line x1="{first:.1f}" y1="{middle}" x2="{last:.1f}" y2="{middle}" stroke="{colour}" stroke-width="2"/>',
            f'<circle cx="{at:.1f}" cy="{middle}" r="4" fill="{colour}"/>',
            _text(_LEFT + _WIDTH + 10, middle, f"{ratio.median:.2f}x", "start"),
        ]
    )


def _scale(bottom: int) -> str:
    lines = [_text(_LEFT + _WIDTH // 2, 16, "worse than the target | better", "middle")]
    for power in range(-_FURTHEST, _FURTHEST + 1):
        at, name = _place(2.0**power), f"{2**power}x" if power >= 0 else f"1/{2**-power}"
        width = 2 if power == 0 else 0.5
        lines.append(
            f'<line x1="{at:.1f}" y1="40" x2="{at:.1f}" y2="{bottom}" stroke="{_LINE}" stroke-width="{width}"/>'
        )
        lines.append(_text(at, 34, name, "middle"))
    lines.append(_text(_LEFT + _WIDTH // 2, bottom + 20, "dot: median; line: the worst round to the best", "middle"))
    return "\n".join(lines)


def _place(good: float) -> float:
    """Where something so many times better is drawn; what is beyond the scale at its end."""
    power = math.log2(good) if 0 < good < math.inf else (_FURTHEST if good else -_FURTHEST)
    return _LEFT + _WIDTH * (min(_FURTHEST, max(-_FURTHEST, power)) + _FURTHEST) / (2 * _FURTHEST)


def _text(x: float, middle: int, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{middle + 4}" text-anchor="{anchor}" fill="{_TEXT}">{escape(text)}</text>'
