"""The factors and scenarios that the risk lab begins with, read from risk/data/."""

from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from risk.analytics.refusals import ImpossibleShocks

_DATA = Path(__file__).parent.parent / "data"


class Factor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What moves positions. A shock to it is a return (0.1 = 10 %), or a change of a yield or a volatility (0.01 = a point)."""

    name: str
    display_name: str
    category: str
    sort_order: int
    set: Literal["equity", "futures"]
    unit: Literal["return", "change"]
    meaning: str


class Shock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far a factor moves; where that has happened, from what to what, and who says so."""

    shock: float
    start: float | None = field(default=None, name="from")
    end: float | None = field(default=None, name="to")
    source: str | None = None


class Scenario(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Shocks by factor; historical ones are of the days from the first to the last."""

    name: str
    scenario_type: Literal["sensitivity", "historical"]
    sort_order: int
    shocks: dict[str, Shock]
    first_day: date | None = None
    last_day: date | None = None

    def shocks_of(self, factors: Sequence[str]) -> dict[str, float]:
        """The shocks of those of its factors that are among these. Raises ImpossibleShocks where none is: it would say 0."""
        found = {name: each.shock for name, each in self.shocks.items() if name in set(factors)}
        if not found:
            raise ImpossibleShocks(f"{self.name} shocks {', '.join(self.shocks)}, none of which is a factor here")
        return found


class _Factors(Struct, frozen=True, forbid_unknown_fields=True):
    factors: tuple[Factor, ...]


class _Scenarios(Struct, frozen=True, forbid_unknown_fields=True):
    scenarios: tuple[Scenario, ...]


@cache
def factors() -> tuple[Factor, ...]:
    """All factors in their order: eight of shares, then eight of a futures book."""
    read = msgspec.json.decode((_DATA / "factors.json").read_bytes(), type=_Factors)
    return tuple(sorted(read.factors, key=lambda factor: factor.sort_order))


@cache
def scenarios() -> tuple[Scenario, ...]:
    """All scenarios in their order."""
    read = msgspec.json.decode((_DATA / "scenarios.json").read_bytes(), type=_Scenarios)
    return tuple(sorted(read.scenarios, key=lambda scenario: scenario.sort_order))
