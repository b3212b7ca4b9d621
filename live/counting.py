"""How often a signal came again: counted beside the answers, best effort. A count that is lost changes no state."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from core.errors import PortfolioError

MOST_WAITING = 1000
DRAIN_SECONDS = 1.0


class DeliveryCounter:
    """A thread that begins with the first count. Nobody waits for it: one count can take as long as the database may."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="delivery-counter", daemon=True)
        self._beginning = threading.Lock()

    def count(self, fingerprint: str) -> None:
        """Count one more delivery, some time soon."""
        with self._beginning:
            if self._thread.ident is None:
                self._thread.start()
        with suppress(queue.Full):
            self._waiting.put_nowait(fingerprint)

    def stop(self) -> None:
        """Count what waits, for a moment."""
        if self._thread.ident is not None:
            with suppress(queue.Full):
                self._waiting.put_nowait(None)
            self._thread.join(DRAIN_SECONDS)

    def _run(self) -> None:
        while (fingerprint := self._waiting.get()) is not None:
            with suppress(PortfolioError):
                self._count(fingerprint)
