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


def lead_channel(portfolio: str) -> str:
    """The channel on which its followers are told that a portfolio's leader has given the lead up."""
    return f"pm_lead_{portfolio}"


class Listener:
    """A thread and a connection for any number of channels. What is sent while the connection is lost, or in the half second
    until a new channel is listened to, is not heard: who listens looks by himself from time to time."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._heard_by: dict[str, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def hear(self, channel: str, heard: Callable[[], None]) -> None:
        """`heard` is called for what comes on the channel, several at once as one. Begins with the first channel."""
        with self._lock:
            self._heard_by[channel] = heard
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
                self._thread.start()

    def forget(self, channel: str) -> None:
        """Nobody is told of it any more."""
        with self._lock:
            self._heard_by.pop(channel, None)

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
        connection = connect(self._dsn, "main", "portfolio-manager listen")
        listened: set[str] = set()
        try:
            connection.autocommit = True
            with translated():
                while not self._stopping.is_set():
                    self._follow_changes(connection, listened)
                    self._hear(connection)
        finally:
            connection.close()

    def _follow_changes(self, connection: Connection, listened: set[str]) -> None:
        with self._lock:
            wanted = set(self._heard_by)
        changes = [("LISTEN {}", channel) for channel in sorted(wanted - listened)]
        changes += [("UNLISTEN {}", channel) for channel in sorted(listened - wanted)]
        for change, channel in changes:
            self._ask(connection, sql.SQL(change).format(sql.Identifier(channel)))
        listened.clear()
        listened |= wanted

    def _hear(self, connection: Connection) -> None:
        # poll, not select: beside a thousand HTTP connections a descriptor may be above 1023.
        waiting = select.poll()
        waiting.register(connection.fileno(), select.POLLIN)
        if connection.notifies or waiting.poll(_LOOK_UP_SECONDS * 1000):
            connection.poll()
        else:
            # A server that stands still, or is cut off, says nothing either; one that is no primary any more never will.
            self._ask(connection, sql.SQL("SELECT 1"))
            if SERVERS.is_outdated(connection):
                raise DatabaseAway("another server is the primary now")
        channels = {notify.channel for notify in connection.notifies}
        del connection.notifies[:]
        for channel in channels:
            with self._lock:
                heard = self._heard_by.get(channel)
            if heard is not None:
                heard()

    @staticmethod
    def _ask(connection: Connection, query: sql.Composable) -> None:
        with WATCHDOG.over(connection, READ_LIMIT_SECONDS), connection.cursor() as cursor:
            cursor.execute(query)
