"""A measure is a figure, or the reason why there is none: never a silent 0."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from math import isfinite
from typing import Any

import pandas as pd
from msgspec import Struct
from msgspec.structs import asdict

from risk.analytics.refusals import InputRefused, NotFinite
from risk.what_if.checked import read, written
from risk.what_if.refusals import MissingFigure

# A figure, or why there is none.
Figure = float | InputRefused
Key = tuple[str, str, str]
PORTFOLIO = "portfolio"
# What adds up over what is held: where nothing of it is held, it is 0.
HELD_BY = frozenset({"position", "instrument", "underlying", "node", "currency", "sector", "tag", "strategy"})
# Before a scenario's name.
STRESS_BY_NODE = "stress: "
TOO_LARGE = "too large to be a number"
_SHOWN = 5


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measure of the whole (`by` portfolio) or of a part of it: a `value`, or the `reason` why there is none."""

    measure: str
    by: str
    label: str
    value: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise MissingFigure(f"{self.measure}: a value or a reason")
        if self.value is not None and not isfinite(self.value):
            raise NotFinite(f"{self.measure} by {self.by} {self.label}".rstrip() + f": {self.value}")

    @property
    def key(self) -> Key:
        """What it is a measure of."""
        return self.measure, self.by, self.label


class Measures(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All measures of positions, in the currency `base`: value at risk at `confidence` over `horizon` periods."""

    base: str
    as_of: datetime
    confidence: float
    horizon: int
    rows: tuple[Measured, ...]

    def of(self, measure: str, by: str = PORTFOLIO, label: str = "") -> Measured:
        """One of them. Raises MissingFigure where nothing of that name was measured."""
        for row in self.rows:
            if row.key == (measure, by, label):
                return row
        raise MissingFigure(f"no {measure} by {by} {label}".rstrip())

    def frame(self) -> pd.DataFrame:
        """A row for each, indexed by `measure`, `by` and `label`."""
        columns = ["measure", "by", "label", "value", "reason"]
        return pd.DataFrame([asdict(row) for row in self.rows], columns=columns).set_index(columns[:3])

    def to_json(self) -> bytes:
        """As JSON: numbers are finite, what is not known is null beside its reason."""
        return written(self)


def measures_from_json(text: bytes | str) -> Measures:
    """What such JSON says. Raises WrongShape."""
    return read(text, Measures, "measures")


class Rows:
    """Measures as they are found, each once."""

    def __init__(self) -> None:
        self._found: dict[Key, Measured] = {}

    def add(self, measure: str, by: str, label: str, figure: Any) -> None:
        """One more: a number (0 for -0), or the refusal that says why there is none."""
        if isinstance(figure, InputRefused):
            told = Measured(measure=measure, by=by, label=label, reason=str(figure))
        elif isfinite(figure):
            told = Measured(measure=measure, by=by, label=label, value=float(figure) + 0.0)
        else:
            told = Measured(measure=measure, by=by, label=label, reason=TOO_LARGE)
        self._found[told.key] = told

    def all(self) -> tuple[Measured, ...]:
        """In the order in which they were added."""
        return tuple(self._found.values())


def attempt(work: Callable[..., float], *given: Any) -> Figure:
    """What `work` makes of what is given, or its refusal."""
    try:
        return work(*given)
    except InputRefused as refusal:
        return refusal


def refusal_of(figures: Iterable[Figure]) -> InputRefused | None:
    """Why figures cannot be added up: what is missing, each once; None where they can."""
    missing = [figure for figure in figures if isinstance(figure, InputRefused)]
    if not missing:
        return None
    told = list(dict.fromkeys(str(refusal) for refusal in missing))
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    kind = type(missing[0]) if len({type(refusal) for refusal in missing}) == 1 else InputRefused
    return kind("; ".join(told[:_SHOWN]) + more)


def known(figures: Mapping[str, Figure]) -> dict[str, float]:
    """The figures, where every one is known. Raises what `refusal_of` tells."""
    refusal = refusal_of(figures.values())
    if refusal is not None:
        raise refusal
    return {name: figure for name, figure in figures.items() if not isinstance(figure, InputRefused)}


def total(figures: Mapping[str, Figure]) -> Figure:
    """Their sum, or why there is none."""
    return attempt(lambda: sum(known(figures).values(), 0.0))
