"""The session lock of a portfolio: who holds it may start an engine. The term in PostgreSQL is what decides, not this."""

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


class PortfolioLock:
    """Held by an open connection: it ends with the process, however that ends."""

    def __init__(self, dsn: str, portfolio: str, holder: str) -> None:
        self._dsn = dsn
        self._portfolio = portfolio
        self._name = f"portfolio-manager {portfolio} {holder}"
        self._connection: Connection | None = None
        self._lost_at: float | None = None
        self.patience_seconds = PATIENCE_SECONDS

    def acquire(self, wait_seconds: float, stopping: threading.Event | None = None) -> None:
        """Take the lock; LockHeld names the holder if it is still held after `wait_seconds`, or when `stopping` is set."""
        deadline = time.monotonic() + wait_seconds
        pause = stopping or threading.Event()
        while not self._try():
            if time.monotonic() >= deadline or pause.wait(_TRY_EVERY_SECONDS):
                raise LockHeld(f"portfolio {self._portfolio} is already served: {self._holder()}")

    def keep(self) -> None:
        """Take it again if its connection was lost. LockHeld: it was not to be had for ten seconds, another has it.

        For a while the server may hold a lost connection for alive, and our own lock with it; the term fences meanwhile.
        """
        if self._connection is not None and not is_dead(self._connection):
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
        return self._connection is not None and not is_dead(self._connection)

    def release(self) -> None:
        """Give the lock up."""
        connection, self._connection = self._connection, None
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

    def _ask(self, name: str) -> tuple[Any, ...] | None:
        session = self._session()
        with WATCHDOG.over(session, READ_LIMIT_SECONDS), translated(), session.cursor() as cursor:
            cursor.execute(statement(name), {"space": _SPACE, "portfolio": self._portfolio})
            row: tuple[Any, ...] | None = cursor.fetchone()
        return row

    def _session(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._dsn, self._portfolio, self._name)
            self._connection.autocommit = True
        if self._connection.closed:
            self._connection = None
            raise DatabaseAway("the connection that held the portfolio's lock was lost")
        return self._connection
