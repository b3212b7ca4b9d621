"""From a spool that takes signals to an engine that decides them, however long the database is away meanwhile."""

import socket
import threading
import time
from collections.abc import Callable

import structlog

from core.errors import DatabaseAway, LeadershipLost, LockHeld, Retryable
from core.postgres.migrations import head, migrate
from live.database import DatabaseInUse
from live.engine import LiveTradingEngine
from live.heartbeat import Heartbeat
from live.leadership import Leadership
from live.spread import precedence

VERSION = "0.1.0"
AGAIN_AFTER_SECONDS = 0.5
# How soon a follower finds that nobody leads any more.
FOLLOW_SECONDS = 0.05
PATIENCE_SECONDS = 0.5
HEAD_START_SECONDS = 2.5
# So long a silent host is asked before the next one is; a leader may do it twice before it has its lock again.
CONNECT_SECONDS = 2.0
HAND_OVER_EVERY_SECONDS = 0.5
PLACE_EVERY_SECONDS = 1.0
LATER = 2
YIELD_SECONDS = 0.2
MOST_SECONDS = 0.5
log = structlog.get_logger(__name__)


class Start:
    """One start, tried until the database is there or the process ends."""

    def __init__(
        self,
        database: DatabaseInUse,
        leadership: Leadership,
        heartbeat: Heartbeat,
        engine: LiveTradingEngine,
        *,
        port: int,
        say_ready: Callable[[], None],
        follow_every: float = FOLLOW_SECONDS,
        keep_warm: bool = True,
        woken: threading.Event | None = None,
        not_before: float = 0.0,
    ) -> None:
        self._database = database
        self._leadership = leadership
        self._heartbeat = heartbeat
        self._engine = engine
        self._port = port
        self._say_ready: Callable[[], None] | None = say_ready
        # Whether the portfolio is ours: its lock taken, its schema brought up to date, the heartbeat told.
        self._prepared = False
        # Who has just led knows that another one does.
        self._refused_at: float | None = time.monotonic() - PATIENCE_SECONDS if not_before else None
        self._follow_every = follow_every
        self._pause = follow_every
        self._keep_warm = keep_warm
        self._woken = woken
        # Whose turn it is when the leader goes, as far as is known.
        self._is_first = True
        self._not_before = time.monotonic() + not_before
        self._asked_for_place_at = float("-inf")
        self._served_since = time.monotonic()
        # Where more than a minority of several hosts is silent, none of them is the primary.
        self._head_start = HEAD_START_SECONDS + 2 * CONNECT_SECONDS * ((database.hosts - 1) // 2)
        self._database_lost_at = float("-inf")
        self._handed_over_at = float("-inf")

    def run(self, ending: threading.Event) -> None:
        """Start the engine; `say_ready` is called once, as soon as signals can be kept. Raises what no waiting mends."""
        self._database.start()
        while not self._tried():
            if self._engine.ready:
                self._tell_ready()
            if self._ends_within(ending, AGAIN_AFTER_SECONDS if self._engine.database_away else self._pause):
                return
            if self._engine.database_away and not self._heartbeat.started:
                self._database.revive()
        self._served_since = time.monotonic()
        self._tell_ready()

    def _ends_within(self, ending: threading.Event, seconds: float) -> bool:
        """Wait, or until something may have changed: the leader has given the lead up. Who is first among the followers then
        has it before the others ask."""
        if self._woken is None:
            return ending.wait(seconds)
        woken = self._woken.wait(seconds)
        self._woken.clear()
        return ending.wait(YIELD_SECONDS if woken and not self._is_first else 0)

    @property
    def served_for(self) -> float:
        """For how many seconds the engine has served, once it does."""
        return time.monotonic() - self._served_since

    def _tried(self) -> bool:
        try:
            if self._prepared and not self._leadership.held:
                # The heartbeat takes it again, or finds that another has it: then that one may lead.
                raise DatabaseAway("the portfolio's lock was lost")
            if not self._prepared and not self._may_lead():
                self._follow()
                return False
            self._prepare()
            self._engine.start()
            self._heartbeat.beat()
        except (LockHeld, LeadershipLost):
            self._engine.replaced = True
            raise
        except Retryable as error:
            if not self._engine.database_away:
                log.warning("the database is away: alerts are kept in the spool until it is back", error=str(error))
            self._engine.database_away = True
            if self._engine.spool is not None:
                self._engine.spool.probe()
            if not self._prepared:
                self._leadership.release()
            self._database_lost_at = time.monotonic()
            return False
        self._engine.database_away = False
        return True

    def _may_lead(self) -> bool:
        following = self._engine.following
        if time.monotonic() < self._not_before:
            self._leadership.ask_the_database()
            return False
        if following and time.monotonic() - self._database_lost_at < self._head_start:
            # The leader has lost the database as we have: it may take its lock again before we do.
            self._leadership.ask_the_database()
            return False
        return self._leadership.try_to_lead(seize=following)

    def _prepare(self) -> None:
        if self._prepared:
            return
        if not self._engine.following or self._engine.db_manager.migration_version() != head():
            self._migrate(self._engine.portfolio_name)
        self._register()
        if self._engine.following:
            self._engine.hand_over()
        self._heartbeat.lead()
        self._prepared = True

    def _migrate(self, portfolio: str) -> None:
        before, version = migrate(self._database.dsn, portfolio)
        if before != version:
            log.info("migrated", portfolio=portfolio, before=before, after=version)

    def _follow(self) -> None:
        """Another instance leads, or the server has not yet noticed that it is gone."""
        self._engine.database_away = False
        self._refused_at = self._refused_at or time.monotonic()
        if time.monotonic() - self._refused_at < PATIENCE_SECONDS:
            return
        if self._engine.following:
            self._engine.follow()
            self._take_place()
            self._hand_over()
            return
        version = self._engine.db_manager.migration_version()
        if version != head():
            # Its leader may be about to migrate it, or to end, and this one to lead after it.
            if not self._engine.hands_on and version is not None:
                log.warning(
                    "the schema is of another version: alerts are handed on to who leads", at=version, needed=head()
                )
                self._engine.hands_on = True
            self._hand_over()
            return
        self._pause = self._follow_every
        self._register()
        self._engine.follow()
        # Whoever asks who could take the lead is told now.
        self._heartbeat.beat()
        log.info("another instance leads; this one takes signals for it, and its place when it is gone")

    def _hand_over(self) -> None:
        if time.monotonic() - self._handed_over_at > HAND_OVER_EVERY_SECONDS:
            self._engine.hand_over()
            self._handed_over_at = time.monotonic()

    def _take_place(self) -> None:
        """Once a second: whose turn is it when the leader goes? That one looks often, so that it nearly always has the lock."""
        if time.monotonic() - self._asked_for_place_at < PLACE_EVERY_SECONDS:
            return
        self._asked_for_place_at = time.monotonic()
        manager = self._engine.db_manager
        followers = {row["instance_id"] for row in manager.reads.all("followers")} | {manager.instance_id}
        self._is_first = precedence(manager.portfolio, followers)[0] == manager.instance_id
        self._pause = min(MOST_SECONDS, self._follow_every) * (1 if self._is_first else LATER)
        if self._keep_warm:
            # Dropped where it was lost, and planned anew where a table has changed: before the leader goes, not after.
            manager.warm_up()

    def _register(self) -> None:
        if not self._heartbeat.started:
            self._heartbeat.start(hostname=socket.gethostname(), port=self._port, version=VERSION)

    def _tell_ready(self) -> None:
        say_ready, self._say_ready = self._say_ready, None
        if say_ready is not None:
            say_ready()
