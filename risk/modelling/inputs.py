"""What a session's positions are measured by: kept with it, so that its figures stay the same whatever is reckoned later."""

import hashlib
from datetime import date

import pandas as pd
from msgspec import Struct

from risk.analytics.definitions import Scenario, Shock
from risk.what_if.checked import read, written
from risk.what_if.measures import RiskInputs


class Shocks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario: how far it moves which factor."""

    name: str
    shocks: dict[str, float]


class Inputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Factors and their covariance a day, as the batch of `batch_day` kept them; `returns` of instruments on `days`, the oldest
    first; scenarios. `expiries`: the day on which a position's contract ends, where that is known. `notes`: by position what is
    not known of it, and why."""

    batch_day: date | None = None
    factors: tuple[str, ...] = ()
    covariance: tuple[tuple[float, ...], ...] = ()
    days: tuple[date, ...] = ()
    returns: dict[str, tuple[float, ...]] = {}
    scenarios: tuple[Shocks, ...] = ()
    confidence: float = 0.99
    horizon: int = 1
    expiries: dict[str, date] = {}
    notes: dict[str, tuple[str, ...]] = {}

    def to_json(self) -> bytes:
        """All of it as JSON."""
        return written(self)

    @property
    def content_hash(self) -> str:
        """SHA-256 hex of all that is in it."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @property
    def covariance_frame(self) -> pd.DataFrame | None:
        """The factors' covariance a day, labelled; None where no batch told it."""
        names = list(self.factors)
        return pd.DataFrame(list(self.covariance), index=names, columns=names) if names else None

    def for_measures(self) -> RiskInputs:
        """The same as the measures take it."""
        return RiskInputs(
            factor_covariance=self.covariance_frame,
            returns=pd.DataFrame(self.returns, index=list(self.days)) if self.returns else None,
            scenarios=tuple(_scenario(number, told) for number, told in enumerate(self.scenarios)),
            confidence=self.confidence,
            horizon=self.horizon,
        )


def _scenario(number: int, told: Shocks) -> Scenario:
    shocks = {name: Shock(shock=shock) for name, shock in told.shocks.items()}
    return Scenario(name=told.name, scenario_type="sensitivity", sort_order=number, shocks=shocks)


def inputs_from_json(text: bytes | str) -> Inputs:
    """What such JSON says. Raises WrongShape."""
    return read(text, Inputs, "inputs")
