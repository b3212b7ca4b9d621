"""What a step is given, and how the batch reckons where nobody says otherwise."""

from dataclasses import dataclass, field
from datetime import date, timedelta

from core.trading_calendar import BeyondHorizon, TradingCalendar
from risk.analytics.exposures import MINIMUM_OBSERVATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Returns of the last `window` days at most, `minimum` at least; a price of more than `stale_days` days before is none.

    `days_per_year` makes a day's volatility a year's; `paths` and `seed` are the simulation's; `roll_days` before its expiry a
    contract is left for the next one.
    """

    window: int = 250
    minimum: int = MINIMUM_OBSERVATIONS
    stale_days: int = 10
    days_per_year: float = 250.0
    confidences: tuple[float, ...] = (0.95, 0.99)
    paths: int = 20_000
    seed: int = 1
    roll_days: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The day that is reckoned, when exchanges trade, and the method."""

    day: date
    calendar: TradingCalendar
    method: Method = field(default_factory=Method)

    @property
    def oldest(self) -> date:
        """No bar from before this day is read: the window's days, weekends and holidays among them, and some more."""
        return self.day - timedelta(days=2 * self.method.window + 30)

    def expected_on(self, exchange: str) -> date | None:
        """The last trading day up to the day; None where the calendar does not know."""
        try:
            trades = self.calendar.is_trading_day(exchange, self.day)
            return self.day if trades else self.calendar.trading_day_before(exchange, self.day)
        except BeyondHorizon:
            return None
