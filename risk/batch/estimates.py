"""Steps four and six: betas and the factors' covariance; the covariance of what positions are of."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from risk.analytics.covariance import ledoit_wolf
from risk.analytics.exposures import Exposures, exposures
from risk.analytics.refusals import InputRefused
from risk.batch.given import Given
from risk.batch.history import NoPrices, NotAPrice, closes_of, factor_moves, returns_of, together
from risk.batch.holdings import named
from risk.batch.keeping import keep, positions_of, say
from risk.batch.market import instruments_of
from risk.daily import FactorCovariance, InstrumentCovariance, PositionFactorExposure, PositionRisk
from risk.factors import FactorDefinition


def factor_covariance(session: Session, given: Given) -> int:
    """The active factors' covariance, drawn as Ledoit and Wolf draw it, and each position's betas to all of those, by least
    squares. Factors that nothing tells are left aside; a position that cannot be regressed says why."""
    factors = list(session.scalars(active_factors()))
    moves, _ = factor_moves(session, factors, given)
    frame, _ = together(moves, given.method.minimum)
    rows = _covariance(frame, "factor")
    kept = keep(session, FactorCovariance, given.day, rows)
    positions = positions_of(session, given.day)
    found = _regressed(session, positions, frame, given)
    betas: list[dict[str, Any]] = []
    for position in positions:
        of = found[position.instrument_id]
        say(position, "factors", of if isinstance(of, str) else None)
        if not isinstance(of, str):
            betas += _betas(position, of)
    session.flush()
    return kept + keep(session, PositionFactorExposure, given.day, betas)


def active_factors() -> Any:
    """The factors that are in use, in their order."""
    return (
        select(FactorDefinition)
        .where(FactorDefinition.is_active)
        .order_by(FactorDefinition.sort_order, FactorDefinition.name)
    )


def _regressed(
    session: Session, positions: list[PositionRisk], factors: pd.DataFrame, given: Given
) -> dict[int, Exposures | str]:
    """By instrument the regression, or why there is none."""
    closes = closes_of(session, instruments_of(session, positions), given)
    found: dict[int, Exposures | str] = {}
    for number in sorted({each.instrument_id for each in positions}):
        if not len(factors.columns):
            found[number] = "NoFactors: nothing tells any factor for long enough; `risk factors` says of each why"
        elif number not in closes:
            found[number] = "NoPrices: there are no daily bars"
        else:
            try:
                own = returns_of(closes[number], given.method.window).to_frame(number)
                found[number] = exposures(own, factors, minimum=given.method.minimum)
            except (InputRefused, NoPrices, NotAPrice) as error:
                found[number] = named(error)
    return found


def _betas(position: PositionRisk, of: Exposures) -> list[dict[str, Any]]:
    number = position.instrument_id
    return [
        {
            "position": position.position,
            "factor_id": int(factor),
            "beta": float(of.betas.loc[number, factor]),
            "standard_error": float(of.standard_errors.loc[number, factor]),
            "r_squared": float(of.r_squared[number]),
            "specific_variance": float(of.specific_variance[number]),
            "observations": of.observations,
        }
        for factor in of.betas.columns
    ]


def correlations(session: Session, given: Given) -> int:
    """The covariance of what positions are of, drawn as the factors' is; what has too few days in common with the others is
    left aside, and says so."""
    positions = positions_of(session, given.day)
    closes = closes_of(session, instruments_of(session, positions), given)
    series: dict[int, pd.Series] = {}
    reasons: dict[int, str] = {}
    for number in sorted({each.instrument_id for each in positions}):
        if number not in closes:
            reasons[number] = "NoPrices: there are no daily bars"
            continue
        try:
            series[number] = returns_of(closes[number], given.method.window)
        except (InputRefused, NoPrices, NotAPrice) as error:
            reasons[number] = named(error)
    frame, short = together(series, given.method.minimum)
    told: Mapping[int, str] = {**reasons, **short}
    for position in positions:
        say(position, "correlations", told.get(position.instrument_id))
    session.flush()
    return keep(session, InstrumentCovariance, given.day, _covariance(frame, "instrument"))


def _covariance(frame: pd.DataFrame, of: str) -> list[dict[str, Any]]:
    """Each pair once, and each variance."""
    if not len(frame.columns):
        return []
    ordered = frame[sorted(frame.columns)]
    shrunk = ledoit_wolf(ordered)
    numbers, values = [int(number) for number in ordered.columns], shrunk.covariance.to_numpy()
    return [
        {
            f"{of}1_id": first,
            f"{of}2_id": second,
            "covariance": float(values[place, other]),
            "shrinkage": shrunk.shrinkage,
            "observations": len(ordered),
        }
        for place, first in enumerate(numbers)
        for other, second in enumerate(numbers[place:], place)
    ]
