"""A change of equity as a waterfall: a bar from the one equity to the other for everything that made it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct

from live.dashboard.words import kind, money

if TYPE_CHECKING:
    from book.attribution import Attribution

# Of bars that are told apart; the smaller ones are one.
MOST_BARS = 24
WIDTH = 1000
# A bar that would not be seen is drawn so wide.
_LEAST = Decimal("1.5")
_ROOM = Decimal("0.04")
_NO_KEY = {"strategy": "no strategy", "layer": "no layer"}


class Bar(Struct, frozen=True, kw_only=True):
    """A line: what it is, its money, and where its bar is, in parts of WIDTH. `tone` is `whole` for an equity, else `gain`,
    `loss` or blank; `key` is what it can be asked for by."""

    name: str
    amount: str
    tone: str
    left: str
    width: str
    key: str = ""


class Waterfall(Struct, frozen=True, kw_only=True):
    """The bars in their order. `begins_at` is the money at the left edge, blank where that is nothing."""

    bars: list[Bar]
    begins_at: str
    words: str


class _Step(Struct, frozen=True, kw_only=True):
    name: str
    amount: Decimal
    is_whole: bool = False
    key: str = ""


def waterfall_of(found: "Attribution") -> Waterfall:
    """The bars of an attribution: where it has an equity from that one to the other, else from nothing to the P&L."""
    steps = _steps(found)
    edges, at = [], Decimal(0)
    for step in steps:
        start = Decimal(0) if step.is_whole else at
        at = start + step.amount
        edges.append((start, at))
    low, high = _scale(edges, from_zero=found.equity is None)
    span = high - low or Decimal(1)
    bars = []
    for step, (start, end) in zip(steps, edges, strict=True):
        left, right = (max(low, min(start, end)) - low) / span, (max(start, end) - low) / span
        width = max(_LEAST, (right - left) * WIDTH) if step.amount else Decimal(0)
        bars.append(
            Bar(
                name=step.name,
                amount=money(step.amount, signed=not step.is_whole),
                tone="whole" if step.is_whole else kind(step.amount),
                left=f"{min(left * WIDTH, WIDTH - _LEAST):.2f}",
                width=f"{width:.2f}",
                key=step.key,
            )
        )
    return Waterfall(bars=bars, begins_at="" if not low else money(low), words=_words(found))


def _steps(found: "Attribution") -> list[_Step]:
    ordered = sorted(found.lines, key=lambda line: (-abs(line.pnl), line.name))
    shown = ordered[:MOST_BARS]
    steps = [
        _Step(name=line.name or _NO_KEY.get(found.by.value, line.key), amount=line.pnl, key=line.key) for line in shown
    ]
    if rest := ordered[MOST_BARS:]:
        steps.append(_Step(name=f"{len(rest):,} others", amount=sum((line.pnl for line in rest), Decimal(0))))
    equity = found.equity
    if equity is None:
        return [*steps, _Step(name="P&L", amount=found.pnl, is_whole=True)]
    apart = [
        _Step(name="Paid in and out", amount=equity.flows),
        _Step(name="Exchange rates", amount=equity.revaluation),
    ]
    return [
        _Step(name=f"Equity, {found.from_date}", amount=equity.from_equity, is_whole=True),
        *steps,
        *(step for step in apart if step.amount),
        _Step(name=f"Equity, {found.to_date}", amount=equity.to_equity, is_whole=True),
    ]


def _scale(edges: Sequence[tuple[Decimal, Decimal]], *, from_zero: bool) -> tuple[Decimal, Decimal]:
    """The money at both ends: what changed has to be seen, however large the equity is that it changed."""
    points = [point for edge in edges for point in edge] if from_zero else [end for _, end in edges]
    low, high = min(points), max(points)
    if from_zero or low <= 0:
        return min(low, Decimal(0)), max(high, Decimal(0))
    room = (high - low) * _ROOM or low * _ROOM
    return max(Decimal(0), low - 2 * room), high + room / 2


def _words(found: "Attribution") -> str:
    gained = sum(line.pnl > 0 for line in found.lines)
    lost = sum(line.pnl < 0 for line in found.lines)
    what = f"{gained} gained, {lost} lost" if found.lines else "nothing was marked in between"
    return (
        f"From the end of {found.from_date} to that of {found.to_date} positions earned {money(found.pnl, signed=True)} "
        f"{found.currency}: {what}."
    )
