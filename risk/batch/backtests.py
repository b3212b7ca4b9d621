"""Whether value at risk was what it said: the P&L beside what the trading day before foresaw, and the tests of such days."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from book.day_ends import DayEnds
from risk.analytics.backtest import backtest
from risk.analytics.refusals import InputRefused
from risk.batch.given import Given
from risk.batch.holdings import held_on, named
from risk.daily import PortfolioRisk
from risk.reckoned import METHODS

# Longer than any holiday.
_LONGEST_PAUSE = 14


class Backtests:
    """By node, what was foreseen for the day, and how earlier days of the window came out."""

    def __init__(self, session: Session, given: Given) -> None:
        self._given = given
        self._made_on = _trading_day_before(session, given)
        columns = (
            PortfolioRisk.portfolio_node_id,
            PortfolioRisk.calculation_date,
            PortfolioRisk.currency,
            PortfolioRisk.measures,
            PortfolioRisk.snapshot["backtests"].label("backtests"),
        )
        asked = (
            select(*columns)
            .where(PortfolioRisk.calculation_date < given.day, PortfolioRisk.calculation_date >= given.oldest)
            .order_by(PortfolioRisk.calculation_date)
        )
        self._before: dict[int, list[Any]] = defaultdict(list)
        for row in session.execute(asked):
            self._before[row.portfolio_node_id].append(row)

    def of(self, row: PortfolioRisk, pnl: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """By method and confidence: VaR that was `made_on` the trading day before, the P&L, whether that is a `breach` (a loss
        above it), and the tests; or the reason why not.
        """
        return {
            f"{method}_{level:.0%}": self._one(f"{method}_{level:.0%}", level, row, pnl)
            for method in METHODS
            for level in self._given.method.confidences
        }

    def _one(self, name: str, confidence: float, row: PortfolioRisk, pnl: Mapping[str, Any]) -> dict[str, Any]:
        foreseen = self._foreseen(name, row)
        if isinstance(foreseen, str):
            return {"reason": foreseen}
        earned = _earned(pnl)
        if isinstance(earned, str):
            return {"reason": earned}
        told = {"made_on": str(self._made_on), "value_at_risk": foreseen, "pnl": earned, "breach": -earned > foreseen}
        days = [*self._days(name, row), (earned, foreseen)][-self._given.method.window :]
        try:
            tests = backtest([day[0] for day in days], [day[1] for day in days], confidence)
        except InputRefused as error:
            return {**told, "tests": {"reason": named(error)}}
        return {**told, "tests": asdict(tests)}

    def _foreseen(self, name: str, row: PortfolioRisk) -> float | str:
        made = [each for each in self._before[row.portfolio_node_id] if each.calculation_date == self._made_on]
        if not made:
            return f"the day before, {self._made_on}, was not reckoned"
        if made[0].currency != row.currency:
            return f"on {self._made_on} it was in {made[0].currency}"
        measure = made[0].measures.get(name)
        return f"on {self._made_on} it was not known" if measure is None else float(measure["value_at_risk"])

    def _days(self, name: str, row: PortfolioRisk) -> list[tuple[float, float]]:
        found = []
        for each in self._before[row.portfolio_node_id]:
            told = (each.backtests or {}).get(name, {})
            if each.currency == row.currency and "breach" in told:
                found.append((float(told["pnl"]), float(told["value_at_risk"])))
        return found


def _earned(pnl: Mapping[str, Any]) -> float | str:
    """The day's P&L, where it is whole."""
    if "reason" in pnl:
        return str(pnl["reason"])
    missing = {name: pnl[name] for name in ("unmarked", "unvalued") if pnl[name]}
    if missing:
        return f"P&L of the day is not whole: {', '.join(f'{count} {name}' for name, count in missing.items())}"
    return "no position was marked on the day" if pnl["day_pnl"] is None else float(pnl["day_pnl"])


def _trading_day_before(session: Session, given: Given) -> date | None:
    """The last day before on which any exchange of what is held trades."""
    exchanges = {each.instrument.exchange or "" for each in held_on(session, given.day)}
    ends = DayEnds(given.calendar, 0)
    days = (given.day - timedelta(days=back) for back in range(1, _LONGEST_PAUSE + 1))
    return next((day for day in days if ends.of_all(exchanges, day) is not None), None)
