"""That the trading calendar ends soon, or has ended: nothing is guessed beyond its last day."""

from collections.abc import Iterator
from datetime import datetime

from core.notifications import Level
from core.trading_calendar import TradingCalendar
from live.notify.watch import Trouble

WARN_DAYS = 30
_MEND = "give `contracts.calendar` a longer one"


def endings(calendar: TradingCalendar, at: datetime) -> Iterator[Trouble]:
    """Of each table that ends within thirty days of an aware instant, or ended before it."""
    for table in calendar.tables:
        names, exchange = ", ".join(table.exchanges), table.exchanges[0]
        left = calendar.days_left(exchange, calendar.day_of(exchange, at))
        if left < 0:
            told = f"{table.last_day} was its last day, none after it is kept or reckoned: {_MEND}"
            yield Trouble(Level.ERROR, f"the trading calendar of {names} has ended", told)
        elif left <= WARN_DAYS:
            told = f"{table.last_day} is its last day, {left} days from now; none after it will be kept or reckoned: {_MEND}"
            yield Trouble(Level.WARNING, f"the trading calendar of {names} ends soon", told)
