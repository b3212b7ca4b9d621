"""No more than so many requests in any second: a sliding window that sleeps until there is room."""

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep

_WINDOW_SECONDS = 1.0


class Pace:
    """At most `per_second` turns begin in any second, of all threads together. `now` is a monotonic clock, in seconds."""

    def __init__(
        self, per_second: int, *, now: Callable[[], float] = monotonic, pause: Callable[[float], None] = sleep
    ) -> None:
        self._now = now
        self._pause = pause
        self._turns: deque[float] = deque(maxlen=per_second)
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Take a turn; sleeps where the second is full."""
        # Who waits keeps the lock: turns are taken in the order of asking, and nobody could have one sooner anyway.
        with self._lock:
            if len(self._turns) == self._turns.maxlen:
                over = self._turns[0] + _WINDOW_SECONDS - self._now()
                if over > 0:
                    self._pause(over)
            self._turns.append(self._now())
