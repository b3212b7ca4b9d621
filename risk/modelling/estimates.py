"""What a day's batch has reckoned of instruments and factors, and past returns: what a session's copy is measured by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pandas as pd
from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session

from book.reference_data import Instrument
from core.errors import Refused
from risk.batch.given import Given
from risk.batch.history import Closes, returns_of, together
from risk.batch.portfolio import FactorModel
from risk.daily import CalculationAuditLog, PositionFactorExposure, PositionRisk
from risk.factors import FactorDefinition, StressScenario, StressScenarioShock
from risk.modelling.inputs import Inputs, Shocks

_LAST_STEP = "snapshots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """By instrument: betas to factors and the variance that no factor explains, a day, or why there are none."""

    batch_day: date | None = None
    factors: tuple[str, ...] = ()
    covariance: tuple[tuple[float, ...], ...] = ()
    betas: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    specific: Mapping[int, float] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)


def estimates_of(session: Session, until: date, given: Given) -> Estimates:
    """Those of the last day up to `until` whose batch came to its end; nothing where none did."""
    asked = select(func.max(CalculationAuditLog.calculation_date)).where(
        CalculationAuditLog.calculation_type == _LAST_STEP,
        CalculationAuditLog.status == "completed",
        CalculationAuditLog.calculation_date <= until,
    )
    day = session.scalar(asked)
    if day is None:
        return Estimates()
    model = FactorModel(session, Given(day=day, calendar=given.calendar, method=given.method))
    betas: dict[int, dict[str, float]] = {}
    specific: dict[int, float] = {}
    for instrument, factor, beta, variance in session.execute(_exposures(day)):
        # Positions of one instrument have one regression: the first one's is that of all.
        betas.setdefault(instrument, {}).setdefault(factor, _plain(beta))
        specific.setdefault(instrument, _plain(variance))
    told = select(PositionRisk.instrument_id, PositionRisk.reasons).where(PositionRisk.calculation_date == day)
    return Estimates(
        batch_day=day,
        factors=tuple(model.factors),
        covariance=tuple(tuple(map(_plain, row)) for row in model.covariance.to_numpy()),
        betas=betas,
        specific=specific,
        reasons={
            row.instrument_id: row.reasons["factors"] for row in session.execute(told) if "factors" in row.reasons
        },
    )


def _exposures(day: date) -> Select[int, str, float, float]:
    exposure, position = PositionFactorExposure, PositionRisk
    return (
        select(position.instrument_id, FactorDefinition.name, exposure.beta, exposure.specific_variance)
        .join(
            position,
            and_(position.calculation_date == exposure.calculation_date, position.position == exposure.position),
        )
        .join(FactorDefinition, FactorDefinition.factor_id == exposure.factor_id)
        .where(exposure.calculation_date == day)
        .order_by(exposure.position)
    )


def active_scenarios(session: Session) -> tuple[Shocks, ...]:
    """The desk's active scenarios in their order, with their shocks."""
    asked = (
        select(StressScenario.name, FactorDefinition.name.label("factor"), StressScenarioShock.shock)
        .join(StressScenarioShock, StressScenarioShock.scenario_id == StressScenario.scenario_id)
        .join(FactorDefinition, FactorDefinition.factor_id == StressScenarioShock.factor_id)
        .where(StressScenario.is_active)
        .order_by(StressScenario.sort_order, StressScenario.name, FactorDefinition.sort_order)
    )
    found: dict[str, dict[str, float]] = {}
    for row in session.execute(asked):
        found.setdefault(row.name, {})[row.factor] = _plain(row.shock)
    return tuple(Shocks(name=name, shocks=shocks) for name, shocks in found.items())


def inputs_of(session: Session, estimates: Estimates, returns: pd.DataFrame, **others: Any) -> Inputs:
    """What measures by these estimates and past returns, and by the active scenarios; `others` are fields of Inputs."""
    days = [stamp.date() if isinstance(stamp, datetime) else stamp for stamp in returns.index] if len(returns) else []
    return Inputs(
        batch_day=estimates.batch_day,
        factors=estimates.factors,
        covariance=estimates.covariance,
        days=tuple(days),
        returns={str(name): tuple(map(_plain, returns[name])) for name in sorted(returns.columns)},
        scenarios=active_scenarios(session),
        **others,
    )


def past_returns(closes: Mapping[int, Closes], instruments: Iterable[Instrument], given: Given) -> pd.DataFrame:
    """Daily returns by symbol, on the days that all have that have enough of them; no columns where none has."""
    series: dict[int, pd.Series] = {}
    for each in instruments:
        if each.instrument_id in closes:
            try:
                series[each.instrument_id] = returns_of(closes[each.instrument_id], given.method.window)
            except Refused:
                # Its measure says that there are none.
                continue
    symbols = {each.instrument_id: each.symbol for each in instruments}
    frame, _ = together(series, given.method.minimum)
    return frame.rename(columns=symbols)


def _plain(value: float) -> float:
    """0 for -0: they are the same, are written otherwise, and the database keeps one of them."""
    return float(value) + 0.0
