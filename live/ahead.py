"""What lets the writer decide a batch while the one before it is on its way: where the next one comes from, and who commits."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from core.db_state_manager import DatabaseStateManager, Kept
from core.postgres.written import Written
from live.deliveries import Delivery


class Upcoming(Protocol):
    """What is to be decided next."""

    def more(self, over: Callable[[], bool]) -> list[Delivery]:
        """As much as is worth a batch of its own, once so much is there; nothing once `over`, which is asked at first and
        whenever look_again() was called."""

    def look_again(self) -> None:
        """Have `over` asked. Any thread's; does not block."""


class Nothing:
    """Nothing is to be decided next."""

    def more(self, _over: Callable[[], bool]) -> list[Delivery]:
        """Never anything."""
        return []

    def look_again(self) -> None:
        """It never waits."""


NOTHING = Nothing()


class Committer:
    """A thread that commits one batch after the other."""

    def __init__(self, manager: DatabaseStateManager) -> None:
        self._manager = manager
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"commit-{manager.portfolio}")
        # It is there from now on: where no thread can be had, that is better known before there is anything to commit.
        self._thread.submit(bool)

    def begin(self, written: Written) -> Future[Kept]:
        """Commit a batch: its result is what the manager's commit() gives or raises."""
        begun = threading.Event()

        def commit() -> Kept:
            begun.set()
            return self._manager.commit(written)

        under_way = self._thread.submit(commit)
        # From here it goes on until it waits for the database: otherwise it might wait for the interpreter while we decide.
        begun.wait()
        return under_way

    def close(self) -> None:
        """End the thread, once nothing is under way."""
        self._thread.shutdown(wait=False)
