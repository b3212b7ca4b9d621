"""Step seven: the measures of each node, and of each that is missing why."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Refused
from risk.analytics.checks import Array
from risk.analytics.covariance import volatilities_and_correlations
from risk.analytics.diversification import diversification_ratio, diversification_score
from risk.analytics.factor_risk import covariance_from_pairs, position_risk
from risk.analytics.monte_carlo import monte_carlo
from risk.analytics.parametric import normal
from risk.analytics.refusals import InputRefused
from risk.analytics.tails import Tail, historical, tail_of
from risk.analytics.valuation import exposure
from risk.batch.given import Given
from risk.batch.history import closes_of, returns_of, together
from risk.batch.holdings import named
from risk.batch.keeping import keep, positions_of
from risk.batch.market import instruments_of
from risk.batch.nodes import Below, nodes_below
from risk.daily import FactorCovariance, InstrumentCovariance, PortfolioRisk, PositionFactorExposure, PositionRisk
from risk.factors import FactorDefinition

_Measure = Callable[[Below], Any]


class NothingHeld(Refused):
    """there is no position that could be measured so"""


def portfolio_metrics(session: Session, given: Given) -> int:
    """Measures of every node, in its currency: exposure, volatility and where it comes from, value at risk, diversification.

    Each is of the positions that it can be reckoned for; the others are left out, and named with the reason.
    """
    known = Known(session, given)
    rows = [known.row(below) for below in nodes_below(session, given.day)]
    return keep(session, PortfolioRisk, given.day, rows)


class FactorModel:
    """A day's betas and covariance of factors, as the fourth step kept them."""

    def __init__(self, session: Session, given: Given) -> None:
        names = {
            row.factor_id: row.name
            for row in session.execute(select(FactorDefinition.factor_id, FactorDefinition.name))
        }
        exposures = select(PositionFactorExposure).where(PositionFactorExposure.calculation_date == given.day)
        pairs = select(FactorCovariance).where(FactorCovariance.calculation_date == given.day)
        rows = [(names[row.factor1_id], names[row.factor2_id], row.covariance) for row in session.scalars(pairs)]
        self.factors = sorted({first for first, _, _ in rows})
        told = pd.DataFrame(rows, columns=["factor1", "factor2", "covariance"])
        self.covariance = covariance_from_pairs(told, self.factors) if rows else pd.DataFrame()
        betas: dict[str, dict[str, float]] = {}
        specific: dict[str, float] = {}
        for each in session.scalars(exposures):
            betas.setdefault(each.position, {})[names[each.factor_id]] = each.beta
            specific[each.position] = each.specific_variance
        self.betas = pd.DataFrame.from_dict(betas, orient="index", columns=self.factors)
        self.specific = pd.Series(specific, dtype=float)
        self.positions = set(betas)


class Known:
    """What a day's measures are made of, read once."""

    def __init__(self, session: Session, given: Given) -> None:
        self._given = given
        self._model = FactorModel(session, given)
        positions = positions_of(session, given.day)
        self._instrument = {each.position: each.instrument_id for each in positions}
        self._covariance = instrument_covariance(session, given.day)
        self._returns = _common_returns(session, positions, given)
        self._last_drawn: tuple[Below | None, Array] = None, np.array([])

    def row(self, below: Below) -> dict[str, Any]:
        """The measures of what is below, or why there are none, as `portfolio_risk` keeps them of a node."""
        measures: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        asked: dict[str, _Measure] = {
            "exposure": _exposure,
            "volatility": self._volatility,
            "diversification": self._diversification,
            **{f"historical_{level:.0%}": self._historical(level) for level in self._given.method.confidences},
            **{f"normal_{level:.0%}": self._normal(level) for level in self._given.method.confidences},
            **{f"monte_carlo_{level:.0%}": self._monte_carlo(level) for level in self._given.method.confidences},
        }
        for name, measure in asked.items():
            try:
                measures[name] = measure(below)
            except (InputRefused, NothingHeld) as error:
                reasons[name] = named(error)
        return {
            "portfolio_node_id": below.node,
            "currency": below.currency,
            "positions": len(below.positions),
            "measures": measures,
            "reasons": reasons,
            "left_out": {name: dict(told) for name, told in below.left_out.items()},
        }

    def _volatility(self, below: Below) -> dict[str, Any]:
        """Of a day, in money, by factors; and where it comes from."""
        values = _some(below.series(self._model.positions), "no position has betas to factors")
        names = list(values.index)
        found = position_risk(values, self._model.betas.loc[names], self._model.covariance, self._model.specific[names])
        exposed = values.to_numpy() @ self._model.betas.loc[names].to_numpy()
        return {
            "daily": found.volatility,
            "annual": found.volatility * float(np.sqrt(self._given.method.days_per_year)),
            "positions": len(names),
            "exposures": dict(zip(self._model.factors, map(float, exposed), strict=True)),
            "by_factor": found.contributions.to_dict(),
            "by_position": {} if found.by_position is None else found.by_position.to_dict(),
        }

    def _normal(self, confidence: float) -> _Measure:
        return lambda below: _told(normal(0.0, self._volatility(below)["daily"], confidence))

    def _historical(self, confidence: float) -> _Measure:
        def measure(below: Below) -> dict[str, Any]:
            by_instrument = self._by_instrument(below, set(self._returns.columns))
            pnl = self._returns[list(by_instrument.index)] @ by_instrument
            return _told(historical(pnl, confidence))

        return measure

    def _monte_carlo(self, confidence: float) -> _Measure:
        return lambda below: _told(tail_of(self._simulated(below), confidence, 1))

    def _simulated(self, below: Below) -> Array:
        """A node's P&L by path: drawn once for all confidences."""
        drawn_for, pnl = self._last_drawn
        # Itself, not its node: of one node there are as many as there are tags.
        if drawn_for is not below:
            by_instrument = self._by_instrument(below, set(self._covariance.columns))
            names, method = list(by_instrument.index), self._given.method
            pnl = monte_carlo(
                by_instrument,
                self._covariance.loc[names, names],
                paths=method.paths,
                seed=method.seed,
                confidence=method.confidences[0],
            ).pnl
            self._last_drawn = below, pnl
        return pnl

    def _diversification(self, below: Below) -> dict[str, Any]:
        """Of instruments: two positions of one are as one."""
        values = self._by_instrument(below, set(self._covariance.columns))
        names = list(values.index)
        volatilities, related = volatilities_and_correlations(self._covariance.loc[names, names])
        return {
            "score": diversification_score(values, related),
            "ratio": diversification_ratio(values, volatilities, related),
            "instruments": len(names),
        }

    def _by_instrument(self, below: Below, among: set[int]) -> pd.Series:
        return by_instrument(below, self._instrument, among)


def by_instrument(below: Below, instruments: Mapping[str, int], among: set[int]) -> pd.Series:
    """The net value of each instrument among these, by its number; `instruments` are the positions'. Raises NothingHeld."""
    sums: dict[int, float] = {}
    for position, value in below.values.items():
        number = instruments[position]
        if number in among:
            sums[number] = sums.get(number, 0.0) + value
    return _some(pd.Series(sums, dtype=float).sort_index(), "no position has returns on days in common with the others")


def _some(values: pd.Series, otherwise: str) -> pd.Series:
    if not len(values):
        raise NothingHeld(otherwise)
    return values


def _exposure(below: Below) -> dict[str, Any]:
    if below.positions:
        _some(pd.Series(below.values, dtype=float), "no position has a value")
    return asdict(exposure(pd.Series(below.values, dtype=float)))


def _told(tail: Tail) -> dict[str, Any]:
    return {"value_at_risk": tail.value_at_risk, "expected_shortfall": tail.expected_shortfall}


def instrument_covariance(session: Session, day: date) -> pd.DataFrame:
    """A day's covariance of what positions are of, as the sixth step kept it; empty where there is none."""
    asked = select(
        InstrumentCovariance.instrument1_id, InstrumentCovariance.instrument2_id, InstrumentCovariance.covariance
    ).where(InstrumentCovariance.calculation_date == day)
    rows = [tuple(row) for row in session.execute(asked)]
    if not rows:
        return pd.DataFrame()
    told = pd.DataFrame(rows, columns=["factor1", "factor2", "covariance"])
    instruments: list[Any] = sorted({first for first, _, _ in rows})
    return covariance_from_pairs(told, instruments)


def _common_returns(session: Session, positions: list[PositionRisk], given: Given) -> pd.DataFrame:
    closes = closes_of(session, instruments_of(session, positions), given)
    series: dict[int, pd.Series] = {}
    for number in sorted(closes):
        try:
            series[number] = returns_of(closes[number], given.method.window)
        except Refused:
            # The sixth step said why.
            continue
    return together(series, given.method.minimum)[0]
