"""A dead man's heartbeat: a URL that is called while a portfolio is led here and its database is there. Whoever has the URL
tells somebody when it is called no longer, whatever the reason."""

import threading
from collections.abc import Callable

import structlog

from live.engine import LiveTradingEngine

CALL_SECONDS = 10.0
_JOIN_SECONDS = 1.0
log = structlog.get_logger(__name__)


class Pinger:
    """One portfolio's, by a thread of its own."""

    def __init__(self, url: str, every_seconds: float, engine_now: Callable[[], LiveTradingEngine]) -> None:
        self._url = url
        self._every = every_seconds
        self._engine_now = engine_now
        self._failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a call that is under way is not waited for."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        waits = 0.0
        while not self._stopping.wait(waits):
            engine = self._engine_now()
            well = engine.serving and engine.database_answers
            waits = self._every if well else 1.0  # said as soon as it is so
            if well:
                self._said(called(self._url))

    def _said(self, reason: str | None) -> None:
        if reason is not None and not self._failing:
            log.warning("the heartbeat was not taken", reason=reason)
        self._failing = reason is not None


def called(url: str) -> str | None:
    """Call it once; None where it was taken, else why not, without the URL, which is a secret. Never raises."""
    # Imported where it is used: no heartbeat, no httpx.
    import httpx

    try:
        status = httpx.get(url, timeout=CALL_SECONDS, follow_redirects=True).status_code
    except Exception as error:  # noqa: BLE001 - whatever keeps it from being called
        return type(error).__name__
    return None if httpx.codes.is_success(status) else f"it answered {status}"
