"""Who leads a portfolio: a session lock, and a lease that says until when its holder is to be taken for alive.

The lock ends with the process that holds it, however that ends. A process that is paused, or cut off, keeps it: once its
lease has expired, another may hang up on its session and take the lock. Neither decides anything: the term in PostgreSQL
does, which every transaction that writes checks.
"""

import threading
import time
from typing import Any

from psycopg2.extensions import connection as Connection

from core.errors import DatabaseAway, LockHeld
from core.postgres.connections import READ_LIMIT_SECONDS, connect, is_dead
from core.postgres.errors import translated
from core.postgres.statements import statement
from core.postgres.watchdog import WATCHDOG

_SPACE = 0x504D  # of all advisory locks of the database, ours: "PM"
_TRY_EVERY_SECONDS = 0.2
PATIENCE_SECONDS = 10.0
LEASE_SECONDS = 2.0


class PortfolioLock:
    """Held by an open connection: it ends with the process, however that ends. `lease_seconds` is how long its holder is
    taken for alive after each `renew()`."""

    def __init__(self, dsn: str, portfolio: str, holder: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._dsn = dsn
        self._portfolio = portfolio
        self._holder_name = holder
        self._lease_seconds = lease_seconds
        self._valid_until: float | None = None
        self._mutex = threading.RLock()
        self._holds = False
        self._name = f"portfolio-manager {portfolio} {holder}"
        self._connection: Connection | None = None
        self._lost_at: float | None = None
        self.patience_seconds = PATIENCE_SECONDS

    def acquire(self, wait_seconds: float, stopping: threading.Event | None = None) -> None:
        """Take the lock; LockHeld names the holder if it is still held after `wait_seconds`, or when `stopping` is set."""
        deadline = time.monotonic() + wait_seconds
        pause = stopping or threading.Event()
        while not self.try_to_hold():
            if time.monotonic() >= deadline or pause.wait(_TRY_EVERY_SECONDS):
                raise LockHeld(f"portfolio {self._portfolio} is already served: {self._holder()}")

    def try_to_hold(self, *, seize: bool = False) -> bool:
        """Take the lock if it is free; with `seize`, also from a holder whose lease has expired. Raises DatabaseAway."""
        with self._mutex:
            if not self.held:
                if self._connection is not None and is_dead(self._connection):
                    self.release()
                # A holder without a word for so long has its session ended; the server needs a moment to let go of the lock.
                self._holds = self._try() or bool(seize and self._ask("end_silent_holder") and self._try())
            return self._holds

    def renew(self) -> None:
        """Say that the holder is alive for another while; needs the schema. Raises DatabaseAway."""
        with self._mutex:
            asked_at = time.monotonic()
            self._ask("renew_lease", holder=self._holder_name[:100], seconds=self._lease_seconds)
            self._valid_until = asked_at + self._lease_seconds

    @property
    def seconds_left(self) -> float:
        """For how long nobody may take the lock away, by this machine's clock; 0 once somebody may, or it is not held."""
        until = self._valid_until
        return max(0.0, until - time.monotonic()) if until is not None and self.held else 0.0

    def keep(self) -> None:
        """Take it again if its connection was lost. LockHeld: it was not to be had for ten seconds, another has it.

        For a while the server may hold a lost connection for alive, and our own lock with it; the term fences meanwhile.
        """
        if self.held:
            return
        self._lost_at = self._lost_at or time.monotonic()
        self.release()
        try:
            self.acquire(0)
        except LockHeld:
            self.release()
            if time.monotonic() - self._lost_at > self.patience_seconds:
                raise
        else:
            self._lost_at = None

    @property
    def held(self) -> bool:
        """Whether it is ours, as far as is known without asking."""
        connection = self._connection
        return self._holds and connection is not None and not is_dead(connection)

    def release(self) -> None:
        """Give the lock up."""
        with self._mutex:
            connection, self._connection = self._connection, None
            self._holds, self._valid_until = False, None
            if connection is not None and not connection.closed:
                connection.close()

    def _try(self) -> bool:
        (held,) = self._ask("try_lock") or (False,)
        return bool(held)

    def _holder(self) -> str:
        row = self._ask("lock_holder")
        if row is None:
            return "its holder has just gone; start again"
        pid, name, since = row
        if since is None:
            # What another role's session says of itself is not shown to us.
            return f"held by another database role (database backend {pid})"
        return f"held by {name!r} (database backend {pid}) since {since:%Y-%m-%d %H:%M:%S} UTC"

    def _ask(self, name: str, **parameters: Any) -> tuple[Any, ...] | None:
        with self._mutex:
            session = self._session()
            with WATCHDOG.over(session, READ_LIMIT_SECONDS), translated(), session.cursor() as cursor:
                cursor.execute(statement(name), {"space": _SPACE, "portfolio": self._portfolio, **parameters})
                return cursor.fetchone() if cursor.description else None

    def _session(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._dsn, self._portfolio, self._name)
            self._connection.autocommit = True
        if self._connection.closed:
            self._connection = None
            raise DatabaseAway("the connection that held the portfolio's lock was lost")
        return self._connection
