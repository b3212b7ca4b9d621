"""When positions are rolled by themselves: once on each day on which one is due, at a set time of the exchange's."""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from core.inputs import Roll
from core.portfolio import Portfolio


def exchange_day(portfolio: Portfolio, now: datetime) -> date:
    """Which day it is at the exchange whose contracts are traded; without any, in UTC."""
    listed = next((portfolio.contracts[name] for name in sorted(portfolio.contracts)), None)
    return now.date() if listed is None else listed.day_at(now)


def is_due(portfolio: Portfolio, day: date) -> bool:
    """Whether any open position has to leave its contract by that day."""
    for position in portfolio.positions.values():
        listed = portfolio.contracts.get(position.instrument)
        near = None if listed is None else listed.of_month(position.contract_month)
        if near is not None and day >= near.roll_date:
            return True
    return False


class DailyRoll:
    """One thread's. `roll_at` is the exchange's time of day; None: positions are rolled by command only."""

    def __init__(self, roll_at: time | None) -> None:
        self._roll_at = roll_at
        self._done_on: date | None = None

    def wanted(self, portfolio: Portfolio, now: datetime) -> Roll | None:
        """What is to be asked of the engine now. Its `request_id` is the day's, so that a restart asks for nothing twice."""
        if self._roll_at is None or not portfolio.positions or not portfolio.contracts:
            return None
        timezone = ZoneInfo(portfolio.contracts[min(portfolio.contracts)].timezone)
        day = exchange_day(portfolio, now)
        too_early = now.astimezone(timezone).time() < self._roll_at
        if too_early or day == self._done_on or not is_due(portfolio, day):
            return None
        return Roll(request_id=f"rollover-{day}", day=day, execute=True)

    def done(self, roll: Roll) -> None:
        """It was decided: nothing more on that day."""
        self._done_on = roll.day
