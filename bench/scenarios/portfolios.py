"""One process with 1, 10 and 50 portfolios: what each costs at rest, and what all of them answer together."""

import itertools
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psutil
import psycopg2

from bench.host import Child, Host, a_child
from bench.load import Load, drive
from bench.measure import Comparisons
from bench.scenarios.post import ECHO
from bench.stories import INSTRUMENTS, Story

COUNTS = (1, 10, 50)
CLIENTS = 32
_TURNS = 4
_REST_SECONDS, _QUICK_REST_SECONDS = 5.0, 2.0
_STATEMENTS = "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database"
_CONNECTED = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = current_database()"
)


def portfolios(host: Host) -> Comparisons:
    """Each process by itself, at rest and then under 32 clients, beside the bare echo under the same load."""
    found = Comparisons("portfolios")
    with a_child(host.folder, "-m", "bench.echo") as echo:
        echo_port = int(echo.rpartition(":")[2])
        for count in COUNTS:
            found.notes[f"{count} at rest"] = _one(host, found, count, echo_port)
    return found


def _one(host: Host, found: Comparisons, count: int, echo_port: int) -> dict[str, Any]:
    dsn = host.database()
    begun = time.perf_counter()
    child = Child(host.folder, *_live(host, dsn, count))
    try:
        port = int(child.ready().rpartition(":")[2])
        ready = time.perf_counter() - begun
        told = _at_rest(host, dsn, child.process.pid)
        ours_body, echo_body = _bodies(count), Story().body
        seconds = 0.15 if host.quick else 0.5
        for number in range(-1, host.rounds):
            ours, echo = Load(), Load()
            for _ in range(_TURNS):
                ours.add(drive(port, CLIENTS, seconds, ours_body))
                echo.add(drive(echo_port, CLIENTS, seconds, echo_body))
            if number >= 0:
                name = f"{count} portfolio{'s' if count > 1 else ''}, {CLIENTS} clients"
                found.add(f"{name} rate", ours.rate, echo.rate, unit="/s", limit=ECHO, better="higher")
                found.add_latencies(name, ours.latencies, echo.latencies, limit=ECHO)
        return {"ready after, s": round(ready, 2), **told}
    finally:
        child.stop()


def _bodies(count: int) -> Callable[[int], bytes]:
    """Bars, for each portfolio in turn."""
    story, numbers = Story(), itertools.count()

    def body(client: int) -> bytes:
        bar = story.body(client + len(INSTRUMENTS))
        return bar[:-1] + b',"portfolio":"%s"}' % _name(next(numbers) % count).encode()

    return body


def _at_rest(host: Host, dsn: str, pid: int) -> dict[str, Any]:
    process, rest = psutil.Process(pid), _QUICK_REST_SECONDS if host.quick else _REST_SECONDS
    time.sleep(1.0)
    before, statements = _cpu_of(process), _asked(dsn, _STATEMENTS)
    time.sleep(rest)
    return {
        "cpu, % of one": round((_cpu_of(process) - before) / rest * 100, 1),
        "transactions /s": round((_asked(dsn, _STATEMENTS) - statements) / rest),
        "connections": _asked(dsn, _CONNECTED) - 1,
        "threads": process.num_threads(),
        "memory, MB": round(process.memory_info().rss / 2**20),
    }


def _cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _asked(dsn: str, query: str) -> int:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return int((cursor.fetchone() or (0,))[0])


def _name(number: int) -> str:
    return f"p{number:03d}"


def _live(host: Host, dsn: str, count: int) -> list[str]:
    return [
        "portfolio_manager.py",
        "live",
        *("--port", "0", "--data-dir", str(host.folder / f"live-{count}")),
        *("--db-config", str(host.database_config(dsn)), "--db-env", "local"),
        *("--config", str(host.configuration(INSTRUMENTS))),
        *(argument for number in range(count) for argument in ("--portfolio", _name(number))),
    ]
