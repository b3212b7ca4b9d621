"""Before and after: every measure of two sets of positions side by side, and their differences."""

from collections.abc import Mapping
from datetime import datetime

import pandas as pd
from msgspec import Struct
from msgspec.structs import asdict

from risk.what_if.checked import read, written
from risk.what_if.measured import HELD_BY, PORTFOLIO, STRESS_BY_NODE, Key, Measured, Measures
from risk.what_if.refusals import MissingFigure, NotComparable

NOT_MEASURED = "not measured"
_SAME = ("base", "confidence", "horizon")


class Difference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measure before and after: what is not known is None beside its reason. `difference` = after - before."""

    measure: str
    by: str
    label: str
    before: float | None
    after: float | None
    difference: float | None
    before_reason: str | None = None
    after_reason: str | None = None


class Comparison(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every measure before and after, in the currency `base`; as of when the positions of each were."""

    base: str
    confidence: float
    horizon: int
    before_as_of: datetime
    after_as_of: datetime
    rows: tuple[Difference, ...]

    def of(self, measure: str, by: str = PORTFOLIO, label: str = "") -> Difference:
        """One of them. Raises MissingFigure where neither was measured."""
        for row in self.rows:
            if (row.measure, row.by, row.label) == (measure, by, label):
                return row
        raise MissingFigure(f"no {measure} by {by} {label}".rstrip())

    @property
    def factor_exposures(self) -> tuple[Difference, ...]:
        """What became of the exposures to factors."""
        return tuple(row for row in self.rows if row.measure == "factor_exposure")

    def frame(self) -> pd.DataFrame:
        """A row for each, indexed by `measure`, `by` and `label`."""
        columns = list(Difference.__struct_fields__)
        return pd.DataFrame([asdict(row) for row in self.rows], columns=columns).set_index(columns[:3])

    def to_json(self) -> bytes:
        """As JSON: numbers are finite, what is not known is null beside its reason."""
        return written(self)


def comparison_from_json(text: bytes | str) -> Comparison:
    """What such JSON says. Raises WrongShape."""
    return read(text, Comparison, "comparison")


def compare(before: Measures, after: Measures) -> Comparison:
    """The differences of all that either has.

    What adds up over what is held (by position, instrument, node and so on) is 0 where nothing of it is held; any other
    measure that one of them lacks was not measured there, and has no difference.
    Raises NotComparable where they are in different currencies, or of other tails.
    """
    if other := [name for name in _SAME if getattr(before, name) != getattr(after, name)]:
        raise NotComparable(f"these have another {' and '.join(other)}")
    earlier, later = ({row.key: row for row in measures.rows} for measures in (before, after))
    return Comparison(
        base=before.base,
        confidence=before.confidence,
        horizon=before.horizon,
        before_as_of=before.as_of,
        after_as_of=after.as_of,
        rows=tuple(
            _difference(earlier.get(key) or _absent(key, earlier), later.get(key) or _absent(key, later))
            for key in dict.fromkeys([*earlier, *later])
        ),
    )


def _absent(key: Key, rows: Mapping[Key, Measured]) -> Measured:
    measure, by, label = key
    _, is_stress, scenario = measure.partition(STRESS_BY_NODE)
    measured = not is_stress or ("stress", "scenario", scenario) in rows
    if by in HELD_BY and measured:
        return Measured(measure=measure, by=by, label=label, value=0.0)
    return Measured(measure=measure, by=by, label=label, reason=NOT_MEASURED)


def _difference(before: Measured, after: Measured) -> Difference:
    both = before.value is not None and after.value is not None
    return Difference(
        measure=before.measure,
        by=before.by,
        label=before.label,
        before=before.value,
        after=after.value,
        difference=(after.value or 0.0) - (before.value or 0.0) if both else None,
        before_reason=before.reason,
        after_reason=after.reason,
    )
