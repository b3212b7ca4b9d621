"""A thread of its own that looks again and again, and goes on whatever a look comes to."""

import threading
from collections.abc import Callable

import structlog

JOIN_SECONDS = 1.0
AGAIN_SECONDS = 1.0
log = structlog.get_logger(__name__)


class Rounds:
    """`look` tells in how many seconds it wants to be called again; one that raises is called again in a second."""

    def __init__(self, name: str, look: Callable[[], float], *, first_after: float = 0.0) -> None:
        self._name = name
        self._look = look
        self._first_after = first_after
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a look that is under way is hardly waited for."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        waits = self._first_after
        while not self._stopping.wait(waits):
            try:
                waits = self._look()
            except Exception:
                # Without this thread nobody would look any more, and nobody would say so.
                log.exception("a look has failed: the next one is in a second", of=self._name)
                waits = AGAIN_SECONDS
