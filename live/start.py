"""From a spool that takes signals to an engine that decides them, however long the database is away meanwhile."""

import socket
import threading
from collections.abc import Callable

import structlog

from core.errors import DatabaseAway, LeadershipLost, LockHeld, Retryable
from core.postgres.lease import PortfolioLock
from core.postgres.migrations import migrate
from live.database import DatabaseInUse
from live.engine import LiveTradingEngine
from live.heartbeat import Heartbeat

VERSION = "0.1.0"
LOCK_WAIT_SECONDS = 10.0
AGAIN_AFTER_SECONDS = 0.5
log = structlog.get_logger(__name__)


class Start:
    """One start, tried until the database is there or the process ends."""

    def __init__(
        self,
        database: DatabaseInUse,
        lock: PortfolioLock,
        heartbeat: Heartbeat,
        engine: LiveTradingEngine,
        *,
        port: int,
        say_ready: Callable[[], None],
    ) -> None:
        self._database = database
        self._lock = lock
        self._heartbeat = heartbeat
        self._engine = engine
        self._port = port
        self._say_ready: Callable[[], None] | None = say_ready

    def run(self, ending: threading.Event) -> None:
        """Start the engine; `say_ready` is called once, as soon as signals can be kept. Raises what no waiting mends."""
        self._database.start()
        while not self._tried(ending):
            if self._engine.ready:
                self._tell_ready()
            if ending.wait(AGAIN_AFTER_SECONDS):
                return
            if not self._heartbeat.started:
                self._database.revive()
        self._tell_ready()

    def _tried(self, ending: threading.Event) -> bool:
        try:
            if not self._heartbeat.started:
                self._prepare(ending)
            elif not self._lock.held:
                # The heartbeat takes it again, or finds that another has it: then that one may lead.
                raise DatabaseAway("the portfolio's lock was lost")
            self._engine.start()
        except (LockHeld, LeadershipLost):
            self._engine.replaced = True
            raise
        except Retryable as error:
            if not self._engine.database_away:
                log.warning("the database is away: alerts are kept in the spool until it is back", error=str(error))
            self._engine.database_away = True
            if self._engine.spool is not None:
                self._engine.spool.probe()
            if not self._heartbeat.started:
                self._lock.release()
            return False
        self._engine.database_away = False
        return True

    def _prepare(self, ending: threading.Event) -> None:
        portfolio = self._engine.portfolio_name
        self._lock.acquire(LOCK_WAIT_SECONDS, ending)
        before, version = migrate(self._database.dsn, portfolio)
        if before != version:
            log.info("migrated", portfolio=portfolio, before=before, after=version)
        self._heartbeat.start(hostname=socket.gethostname(), port=self._port, version=VERSION)

    def _tell_ready(self) -> None:
        say_ready, self._say_ready = self._say_ready, None
        if say_ready is not None:
            say_ready()
