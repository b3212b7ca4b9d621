"""Once a second, or less often where many portfolios are served: keep the portfolio's lock, tell that this instance is alive, see
whether the database is there, what others have put into the inbox, whether a new day has other contracts, whether positions are
due to be rolled, and whether a proposal's time is over. Beside it whoever leads renews his lease, and is woken for what others
put into the inbox.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from core.db_state_manager import DatabaseStateManager
from core.errors import DatabaseAway, LockHeld, PortfolioError, UnsafeServer
from core.postgres.listen import Listener, inbox_channel, lead_channel
from live.engine import LiveTradingEngine
from live.leadership import Leadership

log = structlog.get_logger(__name__)
EVERY_SECONDS = 1.0
# Of a lease, so many renewals may fail before it expires.
RENEWALS = 5
JOIN_SECONDS = 4.0
# Signals are counted on so long after they were decided, and after whoever writes now began (totals.sql).
COUNT_EVERY_SECONDS = 10.0
SETTLED_SECONDS = 10.0
COUNTED_AT_ONCE = 200_000


class Heartbeat:
    """A thread of its own. `on_lost` is told when another process has the portfolio now, `revive` brings an embedded
    server back that was killed under us. A `listener` may be shared;
    `on_lead_free` is told when a leader has given the lead up."""

    def __init__(
        self,
        manager: DatabaseStateManager,
        leadership: Leadership,
        engine: LiveTradingEngine,
        *,
        revive: Callable[[], None],
        on_lost: Callable[[str], None],
        listener: Listener | None = None,
        on_lead_free: Callable[[], None] = lambda: None,
        every: float = EVERY_SECONDS,
    ) -> None:
        self._manager = manager
        self._leadership = leadership
        self._engine = engine
        self._revive = revive
        self._on_lost = on_lost
        self._leads = False
        self._stopping = threading.Event()
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._listener = listener or Listener(manager.dsn)
        self._shares = listener is not None
        self._on_lead_free = on_lead_free
        self._every = every
        self._count_at = 0.0

    @property
    def started(self) -> bool:
        """Whether the instance is registered and beats."""
        return self._thread.ident is not None

    def start(self, *, hostname: str, port: int, version: str) -> None:
        """Register the instance, and begin."""
        manager = self._manager
        manager.reads.run(
            "register_instance", instance_id=manager.instance_id, hostname=hostname, port=port, version=version
        )
        self._thread.start()
        self._listener.hear(lead_channel(manager.portfolio), self._on_lead_free)

    def lead(self) -> None:
        """The portfolio's lock is ours: keep it from now on, and mark whoever calls itself its leader and is not."""
        self._leadership.renew()
        self._manager.reads.run("mark_crashed", instance_id=self._manager.instance_id)
        self._leads = True
        if self._renewing.ident is None:
            self._renewing.start()
            self._listener.hear(inbox_channel(self._manager.portfolio), self._woken)

    def beat(self) -> None:
        """Tell now what this instance is."""
        self._due.set()

    def stop(self) -> None:
        """Say that this instance leaves, and end."""
        self._stopping.set()
        self._due.set()
        if not self.started:
            return
        until = time.monotonic() + JOIN_SECONDS
        for thread in (self._thread, self._renewing):
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))
        for channel in (inbox_channel, lead_channel):
            self._listener.forget(channel(self._manager.portfolio))
        if not self._shares:
            self._listener.stop()
        if not self._thread.is_alive():
            with suppress(PortfolioError):
                self._manager.reads.run("leave_instance", instance_id=self._manager.instance_id)

    def _renew(self) -> None:
        while not self._stopping.wait(self._leadership.seconds / RENEWALS):
            try:
                if self._leadership.held:
                    self._leadership.renew()
            except PortfolioError as error:
                # What it comes to, the next beat says.
                log.debug("the lease was not renewed", error=str(error))
            except Exception:
                # Without this thread the lease runs out, and no order is sent any more.
                log.exception("a renewal of the lease failed")

    def _woken(self) -> None:
        try:
            self._engine.look_into_inbox()
        except PortfolioError as error:
            log.debug("the inbox was not looked into: the next beat does", error=str(error))
        except Exception:
            log.exception("the inbox could not be looked into")

    def _run(self) -> None:
        while True:
            serving = self._engine.serving
            status = "active" if serving else "standby" if self._engine.following else "recovering"
            try:
                self._beat(status=status, is_leader=serving)
            except Exception:
                # Whatever it was: without this thread nobody would keep the lock, or see the database come back.
                log.exception("a heartbeat failed")
            self._due.wait(self._every)
            self._due.clear()
            if self._stopping.is_set():
                return

    def _beat(self, *, status: str, is_leader: bool) -> None:
        manager = self._manager
        try:
            if self._leads and not self._stopping.is_set():
                self._keep_the_lead()
            manager.reads.run(
                "heartbeat",
                instance_id=manager.instance_id,
                last_signal=self._engine.last_signal_at,
                is_leader=is_leader,
                status=status,
            )
            if not self._stopping.is_set():
                self._engine.look_into_inbox()
                self._engine.look_into_spool()
                self._engine.look_into_contracts()
                self._engine.look_into_rolls()
                self._engine.look_into_proposals()
                self._count_signals(leads=is_leader)
        except LockHeld as error:
            self._on_lost(str(error))
        except (DatabaseAway, UnsafeServer) as error:
            self._away(error)
        except PortfolioError as error:
            # A busy pool, say: the database is there, only this beat is not.
            log.warning("no heartbeat", error=str(error))
        else:
            if self._engine.database_away:
                log.info("the database is back")
            self._engine.database_away = False
            self._engine.database_seen = time.monotonic()

    def _count_signals(self, *, leads: bool) -> None:
        """Count on, so that nobody who asks how many there are has to wait for all of a long history to be counted."""
        now = time.monotonic()
        if not leads or now < self._count_at:
            return
        self._count_at = now + COUNT_EVERY_SECONDS
        try:
            counted = self._manager.reads.run("count_signals", settled_seconds=SETTLED_SECONDS, limit=COUNTED_AT_ONCE)
        except PortfolioError as error:
            # Whoever asks then waits longer; a beat must not fail by it.
            log.warning("signals were not counted on", error=str(error))
            return
        if counted and counted[0]["more"]:
            self._count_at = now

    def _keep_the_lead(self) -> None:
        self._leadership.keep()
        if self._leadership.held:
            self._manager.reads.run("mark_crashed", instance_id=self._manager.instance_id)

    def _away(self, error: PortfolioError) -> None:
        if not self._engine.database_away:
            log.warning("the database is away: alerts are kept in the spool until it is back", error=str(error))
        self._engine.database_away = True
        if self._engine.spool is not None:
            self._engine.spool.probe()
        if not self._stopping.is_set():
            self._revive()
