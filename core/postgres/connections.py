"""Connections: how they are made, checked, bounded in number and in time."""

import json
import re
import select
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg2
from psycopg2 import extensions, extras, sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from core.config import PORTFOLIO_NAME, DatabaseSettings, validated
from core.errors import ConfigurationError, DatabaseAway, PoolExhausted, UnsafeServer
from core.postgres.errors import ReadOnlyServer, translated
from core.postgres.patience import is_bounded, seconds_left
from core.postgres.servers import SERVERS
from core.postgres.statements import statement
from core.postgres.watchdog import WATCHDOG

__all__ = [
    "Connection",
    "Connections",
    "ReaderPool",
    "connect",
    "dsn_of",
    "is_dead",
    "replica_dsn_of",
    "require_portfolio_name",
    "schema_of",
]

# RELIABILITY.md: a dead server is noticed in seconds, a read-only one is not taken, several hosts are tried in any order.
_DEFAULTS = {
    "connect_timeout": "2",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "2",
    "tcp_user_timeout": "3000",
    "target_session_attrs": "read-write",
    "load_balance_hosts": "random",
}
# Without load_balance_hosts: psql knows it from 16 on.
_OF_SEVERAL = ("connect_timeout", "target_session_attrs")
_SESSION = (
    "-c timezone=UTC -c client_encoding=UTF8 -c statement_timeout=30s -c idle_in_transaction_session_timeout=3s "
    # What is looked for behind a lock must be what is there once the lock is had.
    "-c default_transaction_isolation=read\\ committed "
    # What is asked for is found by an index: workers, which a long history suggests, take longer to start than it to be read.
    "-c max_parallel_workers_per_gather=0 "
    # The server notices a lost client as soon as the client a lost server: its locks go with it.
    "-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2 -c tcp_user_timeout=3000"
)
# json.loads would make one for each value.
_JSON = json.JSONDecoder(parse_float=Decimal)
READ_LIMIT_SECONDS = 3.0
POOL_WAIT_SECONDS = 2.0
# The only trace that a server leaves of it.
_WAIT_CANCELLED = "canceling wait for synchronous replication"
NOT_REPLICATED = "the server acknowledged a COMMIT that its standby may not have"
SAFE_SYNCHRONOUS_COMMIT = {"on", "remote_apply", "remote_write", "local"}


def schema_of(portfolio: str) -> str:
    """The schema that a portfolio's tables live in: `main` in public, any other in its own name's."""
    return "public" if portfolio == "main" else portfolio


_RESERVED = re.compile(r"^(public|book|risk|information_schema|pg_.*)$")


def require_portfolio_name(portfolio: str) -> str:
    """`portfolio` if it may name a schema of ours; ConfigurationError says what is allowed."""
    if not re.fullmatch(PORTFOLIO_NAME, portfolio) or _RESERVED.match(portfolio):
        raise ConfigurationError(
            f"`portfolio`: {portfolio!r} is not allowed; a letter, then up to 29 of a-z, 0-9 and _, "
            "and not public, book, risk, information_schema or pg_*"
        )
    return portfolio


def dsn_of(database: str | DatabaseSettings | Mapping[str, Any]) -> str:
    """The libpq connection string of a database given as one, as settings, or as a mapping of settings."""
    if isinstance(database, str):
        return database
    settings = (
        database if isinstance(database, DatabaseSettings) else validated(DatabaseSettings, dict(database), "database")
    )
    parts = {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.database,
        "user": settings.user,
        "password": settings.password,
        "sslmode": settings.sslmode,
        # Whoever is given this string, psql for one, is to find the right one of several, and not to hang at a dead one.
        **({name: _DEFAULTS[name] for name in _OF_SEVERAL} if "," in settings.host else {}),
    }
    return extensions.make_dsn(**{key: value for key, value in parts.items() if value is not None})


def replica_dsn_of(settings: DatabaseSettings) -> str | None:
    """Where what is only shown may be read: a standby where there is one; None where that is not configured."""
    if settings.reads == "primary":
        return None
    return extensions.make_dsn(dsn_of(settings), target_session_attrs="prefer-standby")


def connect(dsn: str, portfolio: str, application_name: str) -> Connection:
    """A connection to the portfolio's schema, in UTC, on a server that keeps what it acknowledges.

    Raises DatabaseAway where it cannot be had now, UnsafeServer where a crash there could lose acknowledged commits.
    """
    given = extensions.parse_dsn(dsn)
    options = f"{given.pop('options', '')} {_SESSION} -c search_path={schema_of(portfolio)}".strip()
    # Of libpq's own parameters this one beats the session's options, and comes from a DSN or the environment too.
    ours = {
        **_DEFAULTS,
        **given,
        "options": options,
        "application_name": application_name[:63],
        "client_encoding": "UTF8",
    }
    *preferred, everywhere = SERVERS.to_try(given)
    for hosts in preferred:
        with suppress(DatabaseAway):
            return _connected({**ours, **hosts}, given)
    return _connected({**ours, **everywhere}, given)


def _connected(parameters: Mapping[str, Any], given: Mapping[str, str]) -> Connection:
    with translated():
        connection: Connection = psycopg2.connect(**parameters)
    try:
        extras.register_default_jsonb(connection, loads=_JSON.decode)
        with WATCHDOG.over(connection, READ_LIMIT_SECONDS):
            _require_safe(connection)
            SERVERS.admit(connection, given)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_safe(connection: Connection) -> None:
    with translated(), connection.cursor() as cursor:
        cursor.execute(statement("safety_settings"))
        synchronous_commit, fsync, full_page_writes = cursor.fetchone() or ("off", "off", "off")
        connection.rollback()
    wrong = [f"synchronous_commit = {synchronous_commit}"] if synchronous_commit not in SAFE_SYNCHRONOUS_COMMIT else []
    wrong += [
        f"{name} = off" for name, value in (("fsync", fsync), ("full_page_writes", full_page_writes)) if value != "on"
    ]
    if wrong:
        raise UnsafeServer(
            f"the server runs with {', '.join(wrong)}: a crash would lose commits it has acknowledged. "
            "Turn it on in postgresql.conf (or ALTER ROLE/DATABASE ... RESET) and start again"
        )


def commit_replicated(connection: Connection) -> None:
    """COMMIT of what needs no looking up where it fails. Raises DatabaseAway, also where a standby may not have it."""
    del connection.notices[:]
    with translated():
        connection.commit()
    if lacks_its_standby(connection):
        raise DatabaseAway(NOT_REPLICATED)


def confirm(connection: Connection) -> None:
    """Return once what this transaction has read is where a failover finds it too; it is over then, where that took a COMMIT.

    Elsewhere than behind this, rows may be seen whose COMMIT was to wait for a standby, and did not. Raises DatabaseAway.
    """
    with translated(), connection.cursor() as cursor:
        cursor.execute(statement("barrier_of_standbys"))
        (is_replicated,) = cursor.fetchone() or (False,)
    if is_replicated:
        commit_replicated(connection)


def lacks_its_standby(connection: Connection) -> bool:
    """Whether the COMMIT just acknowledged did not wait for the standby that it should have waited for."""
    return any(_WAIT_CANCELLED in notice for notice in connection.notices)


def is_dead(connection: Connection) -> bool:
    """Whether an idle connection is known to be lost: closed here, the server has hung up, or is the primary no more."""
    if connection.closed or SERVERS.is_outdated(connection):
        return True
    # An idle connection has nothing to say: what can be read from it is the end, or a last error.
    # poll, not select: beside a thousand HTTP connections a descriptor may be above 1023.
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


class _StillConnecting(DatabaseAway):
    """a connection is on its way, and its caller does not wait any longer; its place is given back when it has come"""


class Connections:
    """So many at most, of one pool or shared by the pools of several portfolios."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.closed = False
        self.free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        # Each with the portfolio whose schema it is set to.
        self._idle: list[tuple[str, Connection]] = []

    def take(self, portfolio: str) -> tuple[str, Connection] | None:
        """An idle one that is not known to be dead, best of the portfolio's own schema; None: make one. It counts as used."""
        with self._lock:
            self.used += 1
            if self.closed:
                raise DatabaseAway("the connection pool is closed")
            while self._idle:
                own = (number for number, (schema, _) in enumerate(self._idle) if schema == portfolio)
                found = self._idle.pop(next(own, -1))
                if not is_dead(found[1]):
                    return found
                found[1].close()
        return None

    def leave(self, portfolio: str, connection: Connection | None, *, keep: bool = True) -> None:
        """Give the connection back, if there is one, and the place."""
        with self._lock:
            self.used -= 1
            keeps = keep and connection is not None and not connection.closed and not self.closed
            if keeps and connection is not None:
                self._idle.append((portfolio, connection))
        if connection is not None and not keeps:
            connection.close()
        self.free.release()

    def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        with self._lock:
            self.closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()


class ReaderPool:
    """Connections for reading, outside the writer. Waits (bounded) for a free one, and never hands out one known dead.

    What is `shared` belongs to others too, and is closed by whoever made it.
    """

    def __init__(
        self, dsn: str, portfolio: str, application_name: str, size: int, shared: Connections | None = None
    ) -> None:
        self._make = partial(connect, dsn, portfolio, application_name)
        self._portfolio = portfolio
        self._connections = shared or Connections(size)
        self._shares = shared is not None
        self._closed = False
        self.size = self._connections.size
        self.wait_seconds = POOL_WAIT_SECONDS
        self.limit_seconds = READ_LIMIT_SECONDS

    @property
    def in_use(self) -> int:
        """How many connections are out now."""
        return self._connections.used

    @contextmanager
    def connection(self, wait_seconds: float | None = None) -> Iterator[Connection]:
        """A connection of one's own until the block ends, which has to be soon; rolled back there unless committed.

        Raises PoolExhausted; a block that lasts longer than the limit, or than the thread's caller waits, has its
        connection cut.
        """
        patience = seconds_left(self.wait_seconds if wait_seconds is None else wait_seconds)
        if not self._connections.free.acquire(timeout=patience):
            raise PoolExhausted(f"all {self.size} database connections stayed in use for {patience:.1f} s")
        connection = self._taken()
        try:
            with WATCHDOG.over(connection, seconds_left(self.limit_seconds)):
                try:
                    yield connection
                except ReadOnlyServer:
                    connection.close()
                    raise
                finally:
                    # Watched too: a server may fall silent between an answer and the end of its transaction.
                    self._settle(connection)
        finally:
            self._leave(connection)

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """A cursor in a transaction that is rolled back at the end: for reading."""
        with self.connection() as connection, translated(), connection.cursor() as cursor:
            yield cursor

    def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        self._closed = True
        if not self._shares:
            self._connections.close()

    def _taken(self) -> Connection:
        try:
            return self._take()
        except _StillConnecting:
            raise
        except BaseException:
            self._leave(None)
            raise

    def _take(self) -> Connection:
        found = self._connections.take(self._portfolio)
        if found is None:
            return self._made_in_time() if is_bounded() else self._make()
        schema, connection = found
        try:
            self._set_to_ours(schema, connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_to_ours(self, schema: str, connection: Connection) -> None:
        if self._closed:
            raise DatabaseAway("the connection pool is closed")
        if schema == self._portfolio:
            return
        limit = seconds_left(self.limit_seconds)
        with WATCHDOG.over(connection, limit), translated(), connection.cursor() as cursor:
            cursor.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema_of(self._portfolio))))
            connection.commit()

    def _made_in_time(self) -> Connection:
        """A new connection, by a thread of its own: libpq's time-outs are whole seconds, and for each host anew."""
        made: Future[Connection] = Future()
        threading.Thread(target=self._make_for, args=[made], name="database-connect", daemon=True).start()
        try:
            return made.result(seconds_left(self.limit_seconds))
        except TimeoutError:
            # One that comes later is for the next; until it has come or failed its place is taken.
            made.add_done_callback(lambda late: self._leave(None if late.exception() else late.result()))
            raise _StillConnecting("the database did not let us in in time") from None

    def _make_for(self, made: "Future[Connection]") -> None:
        try:
            made.set_result(self._make())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
            made.set_exception(error)

    def _leave(self, connection: Connection | None) -> None:
        """Give the connection back, if there is one, and the place."""
        self._connections.leave(self._portfolio, connection, keep=not self._closed or self._shares)

    @staticmethod
    def _settle(connection: Connection) -> None:
        if connection.closed:
            return
        try:
            connection.rollback()
        except psycopg2.Error:
            connection.close()
