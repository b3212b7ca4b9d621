"""Which of several servers to ask, and which no more.

A promotion begins a new timeline. A primary of before that nobody has stopped, because what watched over it is gone, still says
that it takes writes; but it stays on its own timeline. Once a newer one was seen, nothing is asked of it any more. One that had
to be cut off, because it stood still or waited for a standby, is asked after the others for a while.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from psycopg2.extensions import connection as Connection

from core.errors import DatabaseAway
from core.postgres.errors import translated
from core.postgres.statements import statement

SUSPECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Where a connection leads: to which of which servers, on which timeline (of a standby 0: it follows whoever leads)."""

    servers: str
    address: tuple[str, str]
    timeline: int


class Servers:
    """What this process knows of the servers it was told of; of one server alone it knows nothing."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._suspect_until: dict[tuple[str, str], float] = {}
        self._seen: WeakKeyDictionary[Connection, _Seen] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def to_try(self, given: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """Hosts and ports to connect to: those that nothing is held against, and where that fails all of them."""
        addresses = _addresses(given)
        with self._lock:
            now = time.monotonic()
            good = [one for one in addresses if self._suspect_until.get(one, now) <= now]
        if good and len(good) < len(addresses):
            yield {"host": ",".join(host for host, _ in good), "port": ",".join(port for _, port in good)}
        yield {}

    def admit(self, connection: Connection, given: Mapping[str, str]) -> None:
        """Take down where a new connection leads; DatabaseAway where another server is ahead of that."""
        if len(_addresses(given)) == 1:
            return
        with translated(), connection.cursor() as cursor:
            cursor.execute(statement("timeline"))
            (timeline,) = cursor.fetchone() or (None,)
            connection.rollback()
        servers = f"{given['host']} {given.get('port', '')} {given.get('dbname', '')}"
        address = (connection.info.host, str(connection.info.port))
        with self._lock:
            self._seen[connection] = seen = _Seen(servers=servers, address=address, timeline=timeline or 0)
            newest = self._newest[servers] = max(seen.timeline, self._newest.get(servers, 0))
        if 0 < seen.timeline < newest:
            raise DatabaseAway(f"this server is a primary of timeline {timeline} still, another one leads on {newest}")

    def is_outdated(self, connection: Connection) -> bool:
        """Whether another server has taken the place of this connection's."""
        with self._lock:
            seen = self._seen.get(connection)
            return seen is not None and 0 < seen.timeline < self._newest[seen.servers]

    def suspect(self, connection: Connection) -> None:
        """This connection had to be cut: ask the others first."""
        with self._lock:
            seen = self._seen.get(connection)
            if seen is not None:
                self._suspect_until[seen.address] = time.monotonic() + SUSPECT_SECONDS


def _addresses(given: Mapping[str, str]) -> list[tuple[str, str]]:
    hosts, ports = given.get("host", "").split(","), given.get("port", "5432").split(",")
    return list(zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=False))


SERVERS = Servers()
