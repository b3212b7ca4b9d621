"""One portfolio in this process, from its first start to its end: begun anew where it lost the lead or gave it away."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from core.errors import PortfolioError
from core.postgres.embedded import EmbeddedServerError
from live.engine import LiveTradingEngine

AGAIN_SECONDS = 1.0
# What fails again and again waits twice as long each time, up to so many times.
MOST_PAUSES = 16
# Who went on for so long has not failed again.
WENT_ON_SECONDS = 30.0
LOOK_SECONDS = 1.0
# What came back within ten minutes is kept for so long before it is given away again, then for twice as long.
KEEPS_SECONDS = 20.0
CAME_BACK_SECONDS = 600.0
CANNOT = (PortfolioError, EmbeddedServerError)
log = structlog.get_logger(__name__)


class Over:
    """When one life of a portfolio ends: asked to, or because it may not go on."""

    def __init__(self) -> None:
        self.event = threading.Event()
        # Something may have changed, or it is over.
        self.woken = threading.Event()
        self.failure: str | None = None

    def fail(self, reason: str) -> None:
        """It may not go on."""
        self.failure = self.failure or reason
        self.end()

    def end(self) -> None:
        """It has gone on for long enough."""
        self.event.set()
        self.woken.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """From an engine's construction to its end.

    `run` returns once the engine serves or its `over` is set; `stop` lets what waits be decided and gives the lead up;
    `close` ends what requests may still read from; `wanted_elsewhere` tells whether another instance should lead.
    """

    over: Over
    engine: LiveTradingEngine
    run: Callable[[], None]
    stop: Callable[[], None]
    close: Callable[[], None]
    wanted_elsewhere: Callable[[], bool] = lambda: False


class Service:
    """A portfolio's lives, one after the other, by a thread of its own. `fail` ends the process: set where the portfolio is
    the only one of it, so that whoever supervises it begins anew. `begin` is told whether the lead was given away."""

    def __init__(self, name: str, begin: Callable[[bool], Life], fail: Callable[[str], None] | None) -> None:
        self.name = name
        self._begin = begin
        self._fail = fail
        self._life = begin(False)
        self._pauses = 1
        self._gave_away_at = float("-inf")
        self._keeps = KEEPS_SECONDS
        self._ending = threading.Event()
        self._changing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"service-{name}", daemon=True)

    @property
    def engine(self) -> LiveTradingEngine:
        """The engine that serves it now."""
        return self._life.engine

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Decide what waits, and give the lead up."""
        self._ending.set()
        with self._changing:
            self._life.over.end()
        if self._thread.ident is not None:
            self._thread.join()
        self._life.stop()

    def leave_to_the_leader(self) -> None:
        """Put what is kept into the inbox. Whoever leads next decides it: that may be another instance. Never raises."""
        if not self.engine.database_away:
            self.engine.hand_over()

    def close(self) -> None:
        """End the rest of it; stop() comes first."""
        self._life.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._live()
            failure = self._life.over.failure
            if self._fail is not None and failure is not None:
                self._fail(failure)
                return
            if not self._ending.is_set():
                self._begin_anew()

    def _live(self) -> None:
        life, began = self._life, time.monotonic()
        try:
            life.run()
            while not life.over.event.wait(LOOK_SECONDS):
                if life.engine.serving and self._may_give_away and life.wanted_elsewhere():
                    self._give_away(life)
        except CANNOT as error:
            log.error("cannot serve", portfolio=self.name, reason=str(error))
            life.over.fail(str(error))
        except Exception as error:
            log.exception("cannot serve", portfolio=self.name)
            life.over.fail(str(error))
        if time.monotonic() - began > WENT_ON_SECONDS:
            self._pauses = 1

    @property
    def _may_give_away(self) -> bool:
        # Perhaps who should lead cannot: nobody is to be without a leader for that every few seconds.
        return time.monotonic() - self._gave_away_at > self._keeps

    def _give_away(self, life: Life) -> None:
        log.info("another instance is to lead", portfolio=self.name)
        now = time.monotonic()
        came_back = now - self._gave_away_at < CAME_BACK_SECONDS
        self._keeps = min(2 * self._keeps, CAME_BACK_SECONDS) if came_back else KEEPS_SECONDS
        self._gave_away_at = now
        life.over.end()

    def _begin_anew(self) -> None:
        """Until the new engine is there, the old one keeps what comes in the spool, for whoever leads meanwhile."""
        before = self._life
        self._end(before.stop)
        if before.over.failure is not None:
            log.error("the portfolio is begun anew", portfolio=self.name, reason=before.over.failure)
            self._pause()
        while not self._ending.is_set():
            life = self._begun(gave_away=before.over.failure is None)
            if life is None:
                self._pause()
                continue
            with self._changing:
                self._life = life
                if self._ending.is_set():
                    life.over.end()
            life.engine.take_up_the_rest()
            self._end(before.close)
            return

    def _pause(self) -> None:
        """Longer each time; what comes meanwhile is left to whoever leads."""
        for _ in range(self._pauses):
            self.leave_to_the_leader()
            if self._ending.wait(AGAIN_SECONDS):
                return
        self._pauses = min(2 * self._pauses, MOST_PAUSES)

    def _begun(self, *, gave_away: bool) -> Life | None:
        try:
            self.leave_to_the_leader()
            return self._begin(gave_away)
        except CANNOT as error:
            log.error("the portfolio cannot be begun anew", portfolio=self.name, reason=str(error))
        except Exception:
            # Without this thread nobody would ever begin it anew.
            log.exception("the portfolio cannot be begun anew", portfolio=self.name)
        return None

    def _end(self, what: Callable[[], None]) -> None:
        """All of it is undone, whatever a part of it raises."""
        try:
            what()
        except Exception:
            log.exception("a portfolio did not end as it should", portfolio=self.name)
