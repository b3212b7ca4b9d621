"""Age and future: what `now` may decide, and nothing else."""

from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from core.decide.decision import Decision, rejected
from core.inputs import SignalInput
from core.models import ENTRIES
from core.portfolio import Portfolio


def timing_refusal(portfolio: Portfolio, given: SignalInput, now: datetime) -> Decision | None:
    """`stale` for an old entry, `in the future` for any signal from there; None where time allows it."""
    signal, rules = given.signal, portfolio.settings.timing
    latest = max(time for time in (signal.timestamp, signal.bar_time) if time is not None)
    # A clock that went back since it came does not make a signal one of the future.
    clock = max(now, given.received_at)
    if latest - clock > duration(rules.max_future_seconds):
        return rejected(portfolio, "in the future", seconds_ahead=round((latest - clock).total_seconds()))
    if signal.type not in ENTRIES or rules.max_entry_age_seconds is None:
        return None
    age = now - (signal.timestamp or given.received_at)
    if age > duration(rules.max_entry_age_seconds):
        return rejected(portfolio, "stale", age_seconds=round(age.total_seconds()))
    return None


@lru_cache(maxsize=64)
def duration(seconds: Decimal) -> timedelta:
    """A setting in seconds as a duration, to the microsecond."""
    return timedelta(microseconds=int(seconds * 1_000_000))
