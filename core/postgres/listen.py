"""To be woken by another process over PostgreSQL (LISTEN, NOTIFY): a hint, never the only way to hear of something."""

import select
import threading
from collections.abc import Callable
from contextlib import suppress

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from core.errors import DatabaseAway
from core.postgres.connections import READ_LIMIT_SECONDS, connect
from core.postgres.errors import translated
from core.postgres.servers import SERVERS
from core.postgres.watchdog import WATCHDOG

_AGAIN_SECONDS = 1.0
_LOOK_UP_SECONDS = 0.5  # and so often somebody is asked who says nothing by himself


def inbox_channel(portfolio: str) -> str:
    """The channel on which a portfolio's leader is told that something was put into its inbox."""
    return f"pm_inbox_{portfolio}"


class Listener:
    """A thread of its own, which calls `heard` for what came on a channel, several at once as one. What is sent while the
    connection is lost is not heard: who listens looks by himself from time to time."""

    def __init__(self, dsn: str, portfolio: str, channel: str, heard: Callable[[], None]) -> None:
        self._dsn = dsn
        self._portfolio = portfolio
        self._channel = channel
        self._heard = heard
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listener-{channel}", daemon=True)

    def start(self) -> None:
        """Begin; a server that is away is tried again and again."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; nobody need wait for it."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Whatever it was: who listens looks by himself, and is heard again once this works.
            with suppress(Exception):
                self._listen()
            self._stopping.wait(_AGAIN_SECONDS)

    def _listen(self) -> None:
        connection = connect(self._dsn, self._portfolio, f"portfolio-manager {self._portfolio} listen")
        try:
            connection.autocommit = True
            with translated():
                self._ask(connection, sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                while not self._stopping.is_set():
                    self._hear(connection)
        finally:
            connection.close()

    def _hear(self, connection: Connection) -> None:
        # poll, not select: beside a thousand HTTP connections a descriptor may be above 1023.
        waiting = select.poll()
        waiting.register(connection.fileno(), select.POLLIN)
        if waiting.poll(_LOOK_UP_SECONDS * 1000):
            connection.poll()
        else:
            # A server that stands still, or is cut off, says nothing either; one that is no primary any more never will.
            self._ask(connection, sql.SQL("SELECT 1"))
            if SERVERS.is_outdated(connection):
                raise DatabaseAway("another server is the primary now")
        if connection.notifies:
            del connection.notifies[:]
            self._heard()

    @staticmethod
    def _ask(connection: Connection, query: sql.Composable) -> None:
        with WATCHDOG.over(connection, READ_LIMIT_SECONDS), connection.cursor() as cursor:
            cursor.execute(query)
