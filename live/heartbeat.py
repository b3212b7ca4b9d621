"""Once a second: keep the portfolio's lock, and tell in instance_metadata that this instance is alive."""

import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from core.db_state_manager import DatabaseStateManager
from core.errors import LockHeld, PortfolioError
from core.postgres.lease import PortfolioLock

log = structlog.get_logger(__name__)
EVERY_SECONDS = 1.0


class Heartbeat:
    """A thread of its own; `on_lost` is told when another process has the portfolio now."""

    def __init__(
        self,
        manager: DatabaseStateManager,
        lock: PortfolioLock,
        *,
        last_signal: Callable[[], datetime | None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._manager = manager
        self._lock = lock
        self._last_signal = last_signal
        self._on_lost = on_lost
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._failing = False

    def start(self, *, hostname: str, port: int, version: str) -> None:
        """Register the instance, mark those that died, and begin."""
        manager = self._manager
        manager.reads.run(
            "register_instance", instance_id=manager.instance_id, hostname=hostname, port=port, version=version
        )
        # The portfolio's lock is ours: whoever still calls itself alive has died without a word.
        manager.reads.run("mark_crashed", instance_id=manager.instance_id)
        self._thread.start()

    def stop(self) -> None:
        """Say that this instance leaves, and end."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
            self._beat(status="standby", is_leader=False)

    def _run(self) -> None:
        while True:
            self._beat(status="active", is_leader=True)
            if self._stopping.wait(EVERY_SECONDS):
                return

    def _beat(self, *, status: str, is_leader: bool) -> None:
        manager = self._manager
        try:
            if is_leader:
                self._lock.keep()
            manager.reads.run(
                "heartbeat",
                instance_id=manager.instance_id,
                last_signal=self._last_signal(),
                is_leader=is_leader,
                status=status,
            )
        except LockHeld as error:
            self._on_lost(str(error))
        except PortfolioError as error:
            if not self._failing:
                log.warning("no heartbeat", error=str(error))
            self._failing = True
        else:
            self._failing = False
