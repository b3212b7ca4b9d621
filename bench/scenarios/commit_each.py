"""Beside a lock with one commit a request: under load, with 2 ms added to each flush, and when 500 come at once."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from http import HTTPStatus

import psycopg2
from psycopg2 import sql

from bench.host import Host, a_child, database_of
from bench.load import Load, burst, drive
from bench.measure import Comparisons, in_turns, values_in_turns
from bench.scenarios.post import ECHO, live_command
from bench.stories import INSTRUMENTS, Story

CLIENTS = (32, 128)
CONNECTIONS = 500
ADDED_MICROSECONDS = 2000
_LOCK = "a lock, one commit a request"
_TURNS = 4
_TURN_SECONDS, _QUICK_TURN_SECONDS = 0.5, 0.15
_RATES = {"": 4.0, ", flush + 2 ms": 10.0}
_BURST = 1 / 6
_COMMITS, _QUICK_COMMITS = 50, 10


def commit_each(host: Host) -> Comparisons:
    """32 and 128 keep-alive clients, then 500 new connections; the 2 ms are PostgreSQL's own `commit_delay`, for both."""
    found = Comparisons("commit_each")
    with ExitStack() as stack:
        plain, delayed = _Servers(host, stack), _Servers(host, stack, ADDED_MICROSECONDS)
        echo = _port(stack.enter_context(a_child(host.folder, "-m", "bench.echo")))
        flushes = [stack.enter_context(closing(_Commits(host.database(), each))) for each in (0, ADDED_MICROSECONDS)]
        for number in range(-1, host.rounds):
            told = found if number >= 0 else Comparisons("warm")
            for suffix, servers in (("", plain), (", flush + 2 ms", delayed)):
                for clients in CLIENTS:
                    servers.loaded(told, number, clients, suffix)
                servers.at_once(told, number, suffix)
            _echo_at_once(told, number, plain, echo)
            _flushes(told, number, flushes, _QUICK_COMMITS if host.quick else _COMMITS)
    found.notes["flush + 2 ms"] = (
        "commit_delay = 2000 microseconds with commit_siblings = 0: the server sleeps before each flush"
    )
    return found


class _Servers:
    """Ours and the straightforward one, each with its database and its story."""

    def __init__(self, host: Host, stack: ExitStack, added_microseconds: int = 0) -> None:
        self._seconds = _QUICK_TURN_SECONDS if host.quick else _TURN_SECONDS
        ours, other = (_delayed(host.database(), added_microseconds) for _ in range(2))
        self.ours = _Server(stack, host, *live_command(host, ours))
        self.other = _Server(stack, host, "-m", "bench.commit_each", other)

    def loaded(self, found: Comparisons, number: int, clients: int, suffix: str) -> None:
        """One round of keep-alive clients, in short turns: a noisy moment meets both."""
        ours, other = Load(), Load()
        for turn in range(_TURNS):
            in_turns(
                number + turn,
                lambda: ours.add(drive(self.ours.port, clients, self._seconds, self.ours.body)),
                lambda: other.add(drive(self.other.port, clients, self._seconds, self.other.body)),
            )
        ours.require_all_good()
        other.require_all_good(or_shed=True)
        if shed := other.statuses[HTTPStatus.SERVICE_UNAVAILABLE]:
            # Whoever waits there for more than a second is told to come again.
            found.notes["shed by the lock"] = found.notes.get("shed by the lock", 0) + shed
        name, target = f"{clients} clients{suffix} rate", _RATES[suffix]
        found.add(name, ours.rate, other.rate, unit="/s", limit=_LOCK, better="higher", target=target)

    def at_once(self, found: Comparisons, number: int, suffix: str) -> None:
        """One burst each, answered to the last."""
        seconds = values_in_turns(number, self.ours.burst, self.other.burst)
        name = f"{CONNECTIONS} new connections{suffix}"
        found.add(name, seconds[0] * 1000, seconds[1] * 1000, unit="ms", limit=_LOCK, target=_BURST)


class _Server:
    def __init__(self, stack: ExitStack, host: Host, *command: str) -> None:
        self.port = _port(stack.enter_context(a_child(host.folder, *command)))
        self.body = Story().body

    def burst(self) -> float:
        """Seconds until the last of them is answered."""
        return _burst(self.port, self.body)


def _burst(port: int, body: Callable[[int], bytes]) -> float:
    # Bars: in which order they are taken is nobody's to say.
    return burst(port, [body(len(INSTRUMENTS) + number) for number in range(CONNECTIONS)]).seconds


def _echo_at_once(found: Comparisons, number: int, servers: _Servers, echo: int) -> None:
    seconds = values_in_turns(number, servers.ours.burst, partial(_burst, echo, Story().body))
    name = f"{CONNECTIONS} new connections"
    found.add(name, seconds[0] * 1000, seconds[1] * 1000, unit="ms", limit=ECHO)


class _Commits:
    """One row, committed; with so much added to the flush."""

    def __init__(self, dsn: str, added_microseconds: int) -> None:
        self._connection = psycopg2.connect(_delayed(dsn, added_microseconds))
        self._connection.autocommit = True
        self._cursor = self._connection.cursor()
        self._cursor.execute("CREATE TABLE bare_commit (at TIMESTAMPTZ)")

    def seconds(self, commits: int) -> float:
        """The median of so many."""
        taken = []
        for _ in range(commits):
            begun = time.perf_counter()
            self._cursor.execute("INSERT INTO bare_commit VALUES (now())")
            taken.append(time.perf_counter() - begun)
        return statistics.median(taken)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _flushes(found: Comparisons, number: int, flushes: list[_Commits], commits: int) -> None:
    """That what is said to be added is."""
    plain, delayed = values_in_turns(number, *(partial(each.seconds, commits) for each in flushes))
    found.add("bare commit, flush + 2 ms", delayed * 1000, plain * 1000, unit="ms", limit="bare commit")


def _delayed(dsn: str, microseconds: int) -> str:
    """The same database, whose sessions sleep so long before each flush."""
    if microseconds:
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            for setting, value in (("commit_delay", microseconds), ("commit_siblings", 0)):
                command = sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(database_of(dsn)), sql.Identifier(setting), sql.Literal(value)
                )
                connection.cursor().execute(command)
    return dsn


def _port(ready: str) -> int:
    return int(ready.rpartition(":")[2])
