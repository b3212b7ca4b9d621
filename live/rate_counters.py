"""Rates of the library `limits`, counted in memory that is bounded: its own storage is not (decision 0020)."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from math import ceil

from limits import parse
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

# About 2 MB. One address more, and the counter that was begun first is forgotten: a crowd of addresses keeps nobody out.
MOST_COUNTERS = 10_000
Clock = Callable[[], float]


class Rate:
    """So many in a second, minute, hour or day from the first one on, for each key."""

    def __init__(self, allowed: str, *, clock: Clock = time.monotonic, most: int = MOST_COUNTERS) -> None:
        """`allowed` is like `600/minute`."""
        self._allowed = parse(allowed)
        self._clock = clock
        self._counters = _Counters(clock, most)
        self._limiter = FixedWindowRateLimiter(self._counters)

    def count(self, key: str) -> int | None:
        """One more; None, or where that is too many the seconds until there may be more."""
        return None if self._limiter.hit(self._allowed, key) else self._seconds_left(key)

    def take_back(self, key: str) -> None:
        """One less."""
        self._limiter.hit(self._allowed, key, cost=-1)

    def seconds_until_more(self, key: str) -> int | None:
        """None where one more is allowed, else in how many seconds it is."""
        return None if self._limiter.test(self._allowed, key) else self._seconds_left(key)

    def _seconds_left(self, key: str) -> int:
        return max(1, ceil(self._counters.get_expiry(self._allowed.key_for(key)) - self._clock()))


class _Counters(Storage):
    """Of each key how many there were, and until when they count."""

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock, most: int) -> None:
        super().__init__()
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        # In the order in which they were begun.
        self._counted: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """Nothing here fails."""
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count, and how many there are then."""
        now = self._clock()
        with self._lock:
            count, until = self._counted.get(key, (0, now))
            if until <= now:
                count, until = 0, now + expiry
                self._counted.pop(key, None)
            self._counted[key] = count + amount, until
            if len(self._counted) > self._most:
                self._counted.popitem(last=False)
        return count + amount

    def get(self, key: str) -> int:
        """How many there are."""
        count, until = self._counted.get(key, (0, 0.0))
        return count if self._clock() < until else 0

    def get_expiry(self, key: str) -> float:
        """Until when they count, on our clock."""
        return self._counted.get(key, (0, 0.0))[1]

    def check(self) -> bool:
        """It is always there."""
        return True

    def reset(self) -> int:
        """Forget all."""
        with self._lock:
            forgotten = len(self._counted)
            self._counted.clear()
        return forgotten

    def clear(self, key: str) -> None:
        """Forget one."""
        with self._lock:
            self._counted.pop(key, None)
