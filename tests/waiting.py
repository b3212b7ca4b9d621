"""Waiting for what another thread or process is about to do."""

import threading
import time
from collections.abc import Callable
from math import inf


def eventually(holds: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether it holds within so many seconds: as many as a busy machine may need, none of which is a measure of anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


class Stopwatch:
    """The seconds since it was made, without those in which a busy machine kept this process from running.

    For what must not wait for something: that is told apart from a machine on which everything takes longer. It is read once.
    """

    _STEP = 0.01
    _LONGEST = 120.0

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._ended = inf
        self._late = 0.0
        self._read = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """How many until now."""
        self._ended = time.monotonic()
        self._read.set()
        self._thread.join()
        return self._ended - self._began - self._late

    def _watch(self) -> None:
        now = self._began
        while not self._read.is_set() and now - self._began < self._LONGEST:
            before = now
            self._read.wait(self._STEP)
            now = min(time.monotonic(), self._ended)
            self._late += max(0.0, now - before - self._STEP)
