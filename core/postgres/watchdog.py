"""A bound on calls that no timeout of libpq bounds: what waits for a stopped server, or a COMMIT for a lost standby.

The watchdog shuts the connection's socket down; the call then fails, and what became of it has to be found out.
"""

import itertools
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from psycopg2.extensions import connection as Connection

from core.postgres.servers import SERVERS


class Watchdog:
    """One thread for all connections of the process; it begins with the first call that is watched. `on_cut` is told of each
    connection that was cut, by the thread that used it."""

    def __init__(self, on_cut: Callable[[Connection], None] = lambda _: None) -> None:
        self.fired = 0
        self._on_cut = on_cut
        self._condition = threading.Condition()
        self._watched: dict[int, tuple[float, socket.socket]] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._sleeps_until = -math.inf

    @contextmanager
    def over(self, connection: Connection, seconds: float) -> Iterator[None]:
        """Cut `connection` if the block takes longer."""
        # A duplicate of the descriptor, taken now: it stays this socket's, whatever libpq's own number becomes meanwhile.
        # Of what kind it is makes no difference to shutdown(), and need not be asked for.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(connection.fileno())) as duplicate:
            number = self._watch(duplicate, time.monotonic() + seconds)
            try:
                yield
            finally:
                with self._condition:
                    was_cut = self._watched.pop(number, None) is None
                if was_cut:
                    self._on_cut(connection)

    def _watch(self, duplicate: socket.socket, deadline: float) -> int:
        with self._condition:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="database-watchdog", daemon=True)
                self._thread.start()
            number = next(self._numbers)
            self._watched[number] = (deadline, duplicate)
            if deadline < self._sleeps_until:
                self._condition.notify()
            return number

    def _run(self) -> None:
        with self._condition:
            while True:
                now = time.monotonic()
                for number, (deadline, duplicate) in list(self._watched.items()):
                    if deadline <= now:
                        self._cut(number, duplicate)
                # It sleeps on when what it watched ended in time: to be woken for each call would cost more than to wake once.
                earliest = min((deadline for deadline, _ in self._watched.values()), default=math.inf)
                self._sleeps_until = earliest
                self._condition.wait(None if earliest == math.inf else max(0.0, earliest - now))

    def _cut(self, number: int, duplicate: socket.socket) -> None:
        # Shutdown acts on the socket behind both descriptors.
        del self._watched[number]
        self.fired += 1
        with suppress(OSError):
            duplicate.shutdown(socket.SHUT_RDWR)


WATCHDOG = Watchdog(SERVERS.suspect)
