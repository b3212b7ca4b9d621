"""A bound on calls that no timeout of libpq bounds: a COMMIT that waits for a stopped server or a lost standby.

The watchdog shuts the connection's socket down; the call then fails, and what became of it has to be found out.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg2.extensions import connection as Connection


class Watchdog:
    """One thread for one connection at a time; `limit` in seconds. Used by the writer only, which is one thread."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.fired = 0
        self._condition = threading.Condition()
        self._connection: Connection | None = None
        self._deadline = 0.0
        self._stopped = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, connection: Connection) -> Iterator[None]:
        """Cut `connection` if the block takes longer than the limit."""
        with self._condition:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="database-watchdog", daemon=True)
                self._thread.start()
            self._connection, self._deadline = connection, time.monotonic() + self.limit
            self._condition.notify()
        try:
            yield
        finally:
            with self._condition:
                self._connection = None

    def stop(self) -> None:
        """End the thread."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._condition:
            while not self._stopped:
                left = self._deadline - time.monotonic() if self._connection is not None else None
                if left is not None and left <= 0:
                    self._cut()
                    continue
                self._condition.wait(left)

    def _cut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or connection.closed:
            return
        self.fired += 1
        # A duplicate, so that libpq's own descriptor stays libpq's; shutdown acts on the socket behind both.
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
