"""A dead man's heartbeat: a URL that is called while a portfolio is led here and its database is there. Whoever has the URL
tells somebody when it is called no longer, whatever the reason."""

from collections.abc import Callable

import structlog

from live.engine import LiveTradingEngine
from live.notify.rounds import Rounds

CALL_SECONDS = 10.0
_UNWELL_SECONDS = 1.0  # that all is well again is said as soon as it is so
log = structlog.get_logger(__name__)


class Pinger(Rounds):
    """One portfolio's, by a thread of its own."""

    def __init__(self, url: str, every_seconds: float, engine_now: Callable[[], LiveTradingEngine]) -> None:
        super().__init__("notify-heartbeat", self._call_if_well)
        self._url = url
        self._every = every_seconds
        self._engine_now = engine_now
        self._failing = False

    def _call_if_well(self) -> float:
        engine = self._engine_now()
        if not (engine.serving and engine.database_answers):
            return _UNWELL_SECONDS
        self._said(called(self._url))
        return self._every

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
