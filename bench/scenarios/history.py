"""What 5,000,000 signals and journal entries of the past cost: each figure beside that of the same engine without them."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection

import psycopg2

from bench.history import fill, tell_story
from bench.host import Host, a_child
from bench.load import Load, drive
from bench.measure import Comparisons, in_turns, quantile, values_in_turns
from bench.scenarios.engine import delivered
from bench.scenarios.post import live_command
from bench.stories import Story, settings
from core.db_state_manager import DatabaseStateManager
from live.engine import LiveTradingEngine

SIGNALS, QUICK_SIGNALS = 5_000_000, 200_000
# Enough to fill every page of a list.
FEW_SIGNALS = 1_600
THREADS = 128
_COUNTED = "/webhook/stats"
PATHS = (
    "/status",
    "/signals?limit=100",
    "/journal?limit=100",
    "/positions?limit=100&status=closed",
    "/orders?limit=100",
    _COUNTED,
    "/db/status",
)
_SHORT = f"the same with {FEW_SIGNALS:,} of them"
# Within 20 %.
_SLOWER, _RATE = 1.2, 1 / 1.2
_CLIENTS = (1, 32)
_TURNS = 4
_TURN_SECONDS, _QUICK_TURN_SECONDS = 0.5, 0.15
_BATCHES, _QUICK_BATCHES = 40, 10
# What is slow is not asked for as often.
_GETS, _QUICK_GETS, _GETS_AT_LEAST, _GETS_SECONDS = 40, 10, 3, 2.0
_ANSWER_WITHIN_SECONDS = 30.0
_RESTED_WITHIN_SECONDS = 120.0
_NOT_COUNTED = "SELECT max(id) > (SELECT up_to_id FROM signal_totals) FROM signal_log"
# The story's seconds that each load begins with: no alert is sent twice.
_ENGINE_FROM, _LIVE_FROM = 10_000_000, 100_000_000


def history(host: Host) -> Comparisons:
    """A start of the engine, batches of 128, POSTs, lists: on a database with a history and on one that has just begun."""
    found = Comparisons("history")
    long, short = host.database(), host.database()
    for dsn in (long, short):
        tell_story(dsn)
    fill(long, QUICK_SIGNALS if host.quick else SIGNALS)
    fill(short, FEW_SIGNALS)
    _starts(host, found, long, short)
    _batches(host, found, long, short)
    _requests(host, found, long, short)
    found.notes["signals"] = QUICK_SIGNALS if host.quick else SIGNALS
    return found


def _starts(host: Host, found: Comparisons, long: str, short: str) -> None:
    for number in range(-1, host.rounds):
        ours, raw = values_in_turns(number, partial(_started, long), partial(_started, short))
        if number >= 0:
            found.add("start of the engine", ours * 1000, raw * 1000, unit="ms", limit=_SHORT, target=_SLOWER)


def _started(dsn: str) -> float:
    begun = time.perf_counter()
    with DatabaseStateManager(dsn) as manager:
        engine = _engine(manager)
        engine.start()
        seconds = time.perf_counter() - begun
        engine.stop()
    return seconds


def _engine(manager: DatabaseStateManager) -> LiveTradingEngine:
    return LiveTradingEngine(manager, settings(), clock=lambda: datetime.now(UTC), answer_within=_ANSWER_WITHIN_SECONDS)


def _batches(host: Host, found: Comparisons, long: str, short: str) -> None:
    each = _QUICK_BATCHES if host.quick else _BATCHES
    with ExitStack() as stack:
        rates = [partial(_Engine(stack, dsn).rate, each) for dsn in (long, short)]
        for number in range(-1, host.rounds):
            ours, raw = values_in_turns(number, *rates)
            if number >= 0:
                name = f"engine, {THREADS} threads"
                found.add(name, ours, raw, unit="/s", limit=_SHORT, better="higher", target=_RATE)


class _Engine:
    """A running engine and its story."""

    def __init__(self, stack: ExitStack, dsn: str) -> None:
        self._running = _engine(stack.enter_context(DatabaseStateManager(dsn)))
        self._running.start()
        stack.callback(self._running.stop)
        self._story = Story(_ENGINE_FROM)

    def rate(self, each: int) -> float:
        """Signals a second, of so many a thread."""
        signals = deque(self._story.signal(client) for _ in range(each) for client in range(THREADS))
        count = len(signals)
        return count / delivered(self._running, signals, THREADS)[0]


def _requests(host: Host, found: Comparisons, long: str, short: str) -> None:
    with ExitStack() as stack:
        lives = [stack.enter_context(a_child(host.folder, *live_command(host, dsn))) for dsn in (long, short)]
        ports = [int(line.rpartition(":")[2]) for line in lives]
        bodies: list[Callable[[int], bytes]] = [Story(_LIVE_FROM).body for _ in ports]
        refused: Counter[str] = Counter()
        for number in range(-1, host.rounds):
            told = found if number >= 0 else Comparisons("warm")
            for dsn in (long, short):
                _rested(dsn)
            for path in PATHS:
                _gets(host, told, number, ports, path, refused)
            for clients in _CLIENTS:
                _posts(host, told, number, ports, bodies, clients)
            _gets(host, told, number, ports, _COUNTED, refused, after=" behind a load", target=None)
    found.notes["answers that were no 200"] = dict(refused)


def _rested(dsn: str) -> None:
    """Wait until the leader has counted what came; RuntimeError where it does not."""
    until = time.monotonic() + _RESTED_WITHIN_SECONDS
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while time.monotonic() < until:
            cursor.execute(_NOT_COUNTED)
            if cursor.fetchone() == (False,):
                return
            time.sleep(1.0)
    raise RuntimeError("the signals of the last load are not counted")


def _posts(
    host: Host,
    found: Comparisons,
    number: int,
    ports: Sequence[int],
    bodies: Sequence[Callable[[int], bytes]],
    clients: int,
) -> None:
    loads, seconds = [Load() for _ in ports], _QUICK_TURN_SECONDS if host.quick else _TURN_SECONDS
    for turn in range(_TURNS):
        in_turns(
            number + turn, *(partial(_load, *each, clients, seconds) for each in zip(loads, ports, bodies, strict=True))
        )
    for load in loads:
        load.require_all_good()
    name = f"POST, {clients} client{'s' if clients > 1 else ''}"
    ours, raw = (load.latencies for load in loads)
    found.add_latencies(name, ours, raw, limit=_SHORT, targets=(_SLOWER, _SLOWER))


def _load(load: Load, port: int, body: Callable[[int], bytes], clients: int, seconds: float) -> None:
    load.add(drive(port, clients, seconds, body))


def _gets(
    host: Host,
    found: Comparisons,
    number: int,
    ports: Sequence[int],
    path: str,
    refused: Counter[str],
    *,
    after: str = "",
    target: float | None = _SLOWER,
) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=30))) for port in ports]
        taken: list[list[float]] = [[] for _ in ports]
        turn, until = 0, time.perf_counter() + _GETS_SECONDS
        while turn < (_QUICK_GETS if host.quick else _GETS) and (turn < _GETS_AT_LEAST or time.perf_counter() < until):
            asked = (partial(_get, *each, refused, path) for each in zip(connections, taken, strict=True))
            in_turns(number + turn, *asked)
            turn += 1
    ours, raw = (quantile(seconds, 0.5) * 1000 for seconds in taken)
    found.add(f"GET {path.partition('?')[0]}{after} p50", ours, raw, unit="ms", limit=_SHORT, target=target)


def _get(connection: HTTPConnection, seconds: list[float], refused: Counter[str], path: str) -> None:
    begun = time.perf_counter()
    connection.request("GET", path)
    with connection.getresponse() as response:
        response.read()
        seconds.append(time.perf_counter() - begun)
    if response.status != HTTPStatus.OK:
        refused[f"{path} {response.status}"] += 1
