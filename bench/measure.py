"""The arithmetic of a bench: quantiles, ratios of pairs, medians and spreads. Nothing here reads a clock."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

Better = Literal["lower", "higher"]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1) of the values do not exceed: one that was really measured."""
    if not values:
        raise ValueError("a quantile of nothing")
    if not 0 <= share <= 1:
        raise ValueError(f"share must be 0..1, not {share}")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What is told of several rounds."""

    median: float
    lowest: float
    highest: float


def spread_of(values: Sequence[float]) -> Spread:
    """Median, lowest and highest of some rounds; ValueError for none."""
    if not values:
        raise ValueError("a spread of nothing")
    return Spread(median=statistics.median(values), lowest=min(values), highest=max(values))


@dataclass(slots=True, kw_only=True)
class Comparison:
    """One figure of ours and the raw limit's, a value of each from every round.

    `target` is the ratio that is wanted: at most that where lower is better, else at least; None = none is.
    """

    scenario: str
    figure: str
    unit: str
    limit: str
    better: Better
    target: float | None = None
    ours: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)

    def add(self, ours: float, raw: float) -> None:
        """Note one round."""
        self.ours.append(ours)
        self.raw.append(raw)

    @property
    def ratios(self) -> list[float]:
        """Ours over the limit's, round by round: what slowed a whole round down is in both, and cancels."""
        return [ours / raw if raw else math.inf for ours, raw in zip(self.ours, self.raw, strict=True)]

    @property
    def met(self) -> bool | None:
        """Whether the median of the ratios meets the target; None without one. Told, and never more than that."""
        if self.target is None:
            return None
        ratio = statistics.median(self.ratios)
        return ratio <= self.target if self.better == "lower" else ratio >= self.target


class Comparisons:
    """The comparisons of one scenario, made as they are first named, in that order; and what else is worth telling."""

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.found: dict[tuple[str, str], Comparison] = {}
        self.notes: dict[str, Any] = {}

    def add(
        self,
        figure: str,
        ours: float,
        raw: float,
        *,
        unit: str,
        limit: str,
        better: Better = "lower",
        target: float | None = None,
    ) -> None:
        """Note one round of one figure."""
        known = self.found.get((figure, limit))
        if known is None:
            known = Comparison(
                scenario=self.scenario, figure=figure, unit=unit, limit=limit, better=better, target=target
            )
            self.found[figure, limit] = known
        known.add(ours, raw)

    def add_rate(self, figure: str, ours: float, wanted: float) -> None:
        """Note one round of a figure that is to be so many a second."""
        self.add(figure, ours, wanted, unit="/s", limit="the target", better="higher", target=1.0)

    def add_latencies(
        self,
        figure: str,
        ours: Sequence[float],
        raw: Sequence[float],
        *,
        limit: str,
        targets: tuple[float | None, float | None] = (None, None),
    ) -> None:
        """Note p50 and p99 of one round's durations, given in seconds, told in milliseconds; `targets` are theirs."""
        for (name, share), target in zip((("p50", 0.50), ("p99", 0.99)), targets, strict=True):
            mine, other = quantile(ours, share) * 1000, quantile(raw, share) * 1000
            self.add(f"{figure} {name}".strip(), mine, other, unit="ms", limit=limit, target=target)

    @property
    def rows(self) -> list[Comparison]:
        """All of them, in the order of their first round."""
        return list(self.found.values())


def in_turns(round_number: int, *parts: Callable[[], None]) -> None:
    """Run the parts of a round, each round beginning with another one, so that none always comes first."""
    first = round_number % len(parts)
    for part in (*parts[first:], *parts[:first]):
        part()


def values_in_turns(round_number: int, *parts: Callable[[], float]) -> list[float]:
    """The same for parts that give a figure; the figures in the parts' own order."""
    values: dict[int, float] = {}
    in_turns(round_number, *(partial(_note, values, place, part) for place, part in enumerate(parts)))
    return [values[place] for place in range(len(parts))]


def _note(values: dict[int, float], place: int, part: Callable[[], float]) -> None:
    values[place] = part()
