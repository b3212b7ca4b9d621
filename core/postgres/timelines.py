"""Which of several servers is the primary of today.

A promotion begins a new timeline. A primary of before that nobody has stopped, because what watched over it is gone, still says
that it takes writes; but it stays on its own timeline. Once a newer one was seen, nothing is asked of it any more.
"""

import threading
from weakref import WeakKeyDictionary

from psycopg2.extensions import connection as Connection

from core.errors import DatabaseAway
from core.postgres.errors import translated
from core.postgres.statements import statement


class Timelines:
    """The newest timeline seen by this process, of each set of servers."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._seen: WeakKeyDictionary[Connection, tuple[str, int]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def admit(self, connection: Connection, servers: str) -> None:
        """Take down the timeline of a new connection, to one of `servers`; DatabaseAway where another one is ahead of it."""
        with translated(), connection.cursor() as cursor:
            cursor.execute(statement("timeline"))
            (timeline,) = cursor.fetchone() or (None,)
            connection.rollback()
        if timeline is None:
            return  # a standby, which follows whoever leads
        with self._lock:
            newest = self._newest[servers] = max(timeline, self._newest.get(servers, 0))
            self._seen[connection] = servers, timeline
        if timeline < newest:
            raise DatabaseAway(f"this server is a primary of timeline {timeline} still, another one leads on {newest}")

    def is_outdated(self, connection: Connection) -> bool:
        """Whether another server has taken the place of this connection's."""
        with self._lock:
            servers, timeline = self._seen.get(connection, ("", 0))
            return timeline < self._newest.get(servers, 0)


TIMELINES = Timelines()
