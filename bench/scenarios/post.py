"""POST to durable answer, through HTTP, against a real `live` process."""

import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from pathlib import Path

import psycopg2

from bench.host import BareWriter, Host, a_child, database_of
from bench.load import Load, drive
from bench.measure import Comparisons, in_turns, quantile
from bench.stories import INSTRUMENTS, Recorder, Story

CLIENTS = (1, 32, 128)
ECHO = "echo: same server, framework, checks"
OWN_P50 = "its own p50"
_COMMIT = "bare commit of one signal, one trip"
_PACED = "the same, at the pace of ours"
_TURNS = 4
_TURN_SECONDS = 0.5
_QUICK_TURN_SECONDS = 0.15
_COMMITS_A_SECOND = 500  # half of a turn and less: what follows from so many is known well enough
# Of one client beside a bare commit (p50, p99); of many beside the echo, and of their p99 beside their own p50.
_ALONE = (2.0, 3.0)
_RATE, _TAIL = 0.5, 3.0


def post(host: Host) -> Comparisons:
    """1, 32 and 128 keep-alive clients, beside an echo under the same load and the bare commit of one signal after another."""
    found = Comparisons("post")
    seconds = _QUICK_TURN_SECONDS if host.quick else _TURN_SECONDS
    with ExitStack() as stack:
        dsn = host.database()
        live = stack.enter_context(a_child(host.folder, *live_command(host, dsn)))
        echo = stack.enter_context(a_child(host.folder, "-m", "bench.echo"))
        bare = BareWriter(host.database())
        stack.callback(bare.close)
        ports = [int(line.rpartition(":")[2]) for line in (live, echo)]
        bench = _Bench(found, ports[0], ports[1], bare, seconds)
        # The first loads warm connections, plans and caches, and are not told.
        for round_number in range(-1, host.rounds):
            for clients in CLIENTS:
                bench.round(round_number, clients, told=round_number >= 0)
        found.notes["answers by HTTP status"] = dict(bench.statuses)
        found.notes["signals by outcome"] = _outcomes(dsn)
    found.notes["load"] = "one thread with raw sockets and epoll in the bench's own process"
    return found


class _Bench:
    def __init__(self, found: Comparisons, live: int, echo: int, bare: BareWriter, seconds: float) -> None:
        self._found = found
        self._live, self._echo, self._seconds = live, echo, seconds
        self._bare, self._recorder = bare, Recorder()
        self._story, self._echoed = Story(), Story()
        self.statuses: Counter[int] = Counter()
        # Seconds from one answer to the next, of one client.
        self._pace = 0.0
        bare.write(self._recorder.start())

    def round(self, number: int, clients: int, *, told: bool) -> None:
        """One cell: ours, the echo and the bare commits, in short turns: a noisy moment meets all three."""
        ours, echo, commits, paced = Load(), Load(), list[float](), list[float]()
        for turn in range(_TURNS):
            in_turns(
                number + turn,
                lambda: ours.add(drive(self._live, clients, self._seconds, self._story.body)),
                lambda: echo.add(drive(self._echo, clients, self._seconds, self._echoed.body)),
                partial(self._commit, commits),
                *([partial(self._commit, paced, self._pace)] if clients == 1 else []),
            )
        self.statuses.update(ours.statuses)
        if shed := echo.statuses[HTTPStatus.SERVICE_UNAVAILABLE]:
            # Its threads wait for each other; one that waited for a second is told to come again.
            self._found.notes["shed by the echo"] = self._found.notes.get("shed by the echo", 0) + shed
        if clients == 1:
            self._pace = quantile(ours.latencies, 0.50)
        if told:
            self._tell(clients, ours, echo, commits)
        if told and paced:
            self._found.add_latencies("1 client", ours.latencies, paced, limit=_PACED)

    def _tell(self, clients: int, ours: Load, echo: Load, commits: list[float]) -> None:
        found, alone = self._found, clients == 1
        name = f"{clients} client{'' if alone else 's'}"
        found.add_latencies(name, ours.latencies, commits, limit=_COMMIT, targets=_ALONE if alone else (None, None))
        found.add_latencies(name, ours.latencies, echo.latencies, limit=ECHO)
        rate = partial(found.add, f"{name} rate", ours.rate, unit="/s", better="higher")
        rate(echo.rate, limit=ECHO, target=None if alone else _RATE)
        rate(len(commits) / sum(commits), limit=_COMMIT)
        middle, slow = (quantile(ours.latencies, share) * 1000 for share in (0.50, 0.99))
        found.add(f"{name} p99", slow, middle, unit="ms", limit=OWN_P50, target=None if alone else _TAIL)

    def _commit(self, seconds: list[float], pace: float = 0.0) -> None:
        """One after the other, or one each `pace` seconds: what rests in between takes longer to do its work."""
        documents = [self._recorder.batch((0,)) for _ in range(int(_COMMITS_A_SECOND * self._seconds))]
        for document in documents:
            begun = time.perf_counter()
            self._bare.write(document)
            seconds.append(time.perf_counter() - begun)
            time.sleep(max(0.0, pace - seconds[-1]))


def live_command(host: Host, dsn: str, config: Path | None = None) -> list[str]:
    """A `live` on this database; without a configuration it knows the story's instruments."""
    return [
        "portfolio_manager.py",
        "live",
        *("--port", "0"),
        *("--data-dir", str(host.folder / f"live-{database_of(dsn)}")),
        *("--db-config", str(host.database_config(dsn)), "--db-env", "local"),
        *("--config", str(config or host.configuration(INSTRUMENTS))),
    ]


def _outcomes(dsn: str) -> dict[str, int]:
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT concat_ws(' ', signal_type, processing_status, outcome ->> 'reason'), count(*) "
                "FROM signal_log GROUP BY 1 ORDER BY 1"
            )
            return dict(cursor.fetchall())
    finally:
        connection.close()
