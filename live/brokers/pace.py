"""No more than so many requests in any second, by the clock of who receives them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from time import monotonic, sleep

_WINDOW_SECONDS = 1.0


class Pace:
    """At most `per_second` requests arrive in any second, of all threads together. `now` is a monotonic clock, in seconds.

    A request arrives some time within its turn, nobody here knows when: its place is free a second after the turn has ended.
    """

    def __init__(
        self, per_second: int, *, now: Callable[[], float] = monotonic, pause: Callable[[float], None] = sleep
    ) -> None:
        self._now = now
        self._pause = pause
        # When each place is free again. Those of turns under way are not in it.
        self._free_at: SimpleQueue[float] = SimpleQueue()
        for _ in range(per_second):
            self._free_at.put(float("-inf"))
        self._lock = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One request is sent and answered within the block; sleeps before it where the second is full."""
        # Who waits keeps the lock: turns are taken in the order of asking, and nobody could have one sooner anyway.
        with self._lock:
            over = self._free_at.get() - self._now()
            if over > 0:
                self._pause(over)
        try:
            yield
        finally:
            self._free_at.put(self._now() + _WINDOW_SECONDS)
