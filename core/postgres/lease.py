"""The session lock of a portfolio: who holds it may start an engine. The term in PostgreSQL is what decides, not this.

It ends with the process that holds it, however that ends. One that is paused, or cut off, keeps it: then another may hang up on
its session (live/leadership.py says when).
"""

import threading
import time
from contextlib import suppress
from typing import Any

from psycopg2.extensions import connection as Connection
from psycopg2.extras import RealDictCursor

from core.errors import DatabaseAway, LockHeld, PortfolioError
from core.postgres.connections import READ_LIMIT_SECONDS, connect, is_dead
from core.postgres.errors import ReadOnlyServer, translated
from core.postgres.reads import Reads, Row
from core.postgres.statements import statement
from core.postgres.watchdog import WATCHDOG

_SPACE = 0x504D  # of all advisory locks of the database, ours: "PM"
_TRY_EVERY_SECONDS = 0.2
PATIENCE_SECONDS = 10.0
GIVE_UP_SECONDS = 0.5


class PortfolioLock:
    """Held by an open connection: it ends with the process, however that ends.

    With `reads` it has that connection only while it is held, and asks over them before: for a process with many portfolios,
    most of which it does not lead.
    """

    def __init__(self, dsn: str, portfolio: str, holder: str, reads: Reads | None = None) -> None:
        self._reads = reads
        self._dsn = dsn
        self._portfolio = portfolio
        self._mutex = threading.RLock()
        self._holds = False
        self._name = _session_name(portfolio, holder)
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

    def try_to_hold(self) -> bool:
        """Take the lock if it is free; True if it is ours. Raises DatabaseAway."""
        with self._mutex:
            if not self.held:
                if self._connection is not None and is_dead(self._connection):
                    self.release()
                    raise DatabaseAway("the session of the portfolio's lock was lost")
                self._holds = self._seems_free() and self._try()
                if self._reads is not None and not self._holds:
                    self.release()
            return self._holds

    def hang_up_on(self, holder: str) -> None:
        """End the session of `holder`, if it has the lock and its lease was not renewed: the lock goes with it. Raises
        DatabaseAway, StatementFailed where that is another role's session."""
        self.ask("end_holder", holder=holder, session=_session_name(self._portfolio, holder))

    def keep(self) -> None:
        """Take it again if its connection was lost. LockHeld: it was not to be had for ten seconds, another has it.

        For a while the server may hold a lost connection for alive, and our own lock with it; the term fences meanwhile.
        """
        with self._mutex:
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
        # What comes in on a connection that nobody asks is its end; while somebody asks, it may be his answer.
        idle = self._mutex.acquire(blocking=False)
        try:
            connection = self._connection
            return self._holds and connection is not None and not (idle and is_dead(connection))
        finally:
            if idle:
                self._mutex.release()

    def give_up(self) -> None:
        """Give the lock up in an orderly way: it is free when this returns, or goes with its session. Never raises."""
        if self.held:
            with suppress(PortfolioError):
                self._asked("unlock", {"space": _SPACE, "portfolio": self._portfolio}, GIVE_UP_SECONDS)
        self.release()

    def release(self) -> None:
        """Close the session, and with it give the lock up."""
        with self._mutex:
            connection, self._connection = self._connection, None
            self._holds = False
            if connection is not None and not connection.closed:
                connection.close()

    def look(self, name: str, **parameters: Any) -> Row | None:
        """The first row of a statement, over whichever connection there is. Raises DatabaseAway."""
        given = {"space": _SPACE, "portfolio": self._portfolio, **parameters}
        if self._reads is not None and self._connection is None:
            return self._reads.one(name, **given)
        return self._asked(name, given)

    def _seems_free(self) -> bool:
        return self._reads is None or bool((self.look("lock_is_free") or {"free": True})["free"])

    def _try(self) -> bool:
        (held,) = self.ask("try_lock") or (False,)
        return bool(held)

    def _holder(self) -> str:
        row = self.ask("lock_holder")
        if row is None:
            return "its holder has just gone; start again"
        pid, name, since = row
        if since is None:
            # What another role's session says of itself is not shown to us.
            return f"held by another database role (database backend {pid})"
        return f"held by {name!r} (database backend {pid}) since {since:%Y-%m-%d %H:%M:%S} UTC"

    def ask(self, name: str, **parameters: Any) -> tuple[Any, ...] | None:
        """The first row of a statement on the lock's own session. Raises DatabaseAway."""
        row = self._asked(name, {"space": _SPACE, "portfolio": self._portfolio, **parameters})
        return None if row is None else tuple(row.values())

    def _asked(self, name: str, parameters: dict[str, Any], limit_seconds: float = READ_LIMIT_SECONDS) -> Row | None:
        with self._mutex:
            session = self._session()
            try:
                with (
                    WATCHDOG.over(session, limit_seconds),
                    translated(),
                    session.cursor(cursor_factory=RealDictCursor) as cursor,
                ):
                    cursor.execute(statement(name), parameters)
                    row: Row | None = cursor.fetchone() if cursor.description else None
                    return row
            except ReadOnlyServer:
                self.release()
                raise

    def _session(self) -> Connection:
        if self._connection is None:
            self._connection = session = connect(self._dsn, self._portfolio, self._name)
            session.autocommit = True
            with WATCHDOG.over(session, READ_LIMIT_SECONDS), translated(), session.cursor() as cursor:
                # A lease is renewed all the time, and need not survive the server.
                cursor.execute("SET synchronous_commit = off")
        if self._connection.closed:
            self._connection = None
            raise DatabaseAway("the connection that held the portfolio's lock was lost")
        return self._connection


def _session_name(portfolio: str, holder: str) -> str:
    # PostgreSQL cuts it there.
    return f"portfolio-manager {portfolio} {holder}".encode()[:63].decode(errors="ignore")
