"""The leader goes; until the instance that followed it has decided an alert. Killed, asked to end, asked to hand over, and
paused for longer than its lease (1 s), with 1,000 open positions. The limit: a bare session that holds a lock is killed, another
one that asks for the lock every 50 ms gets it, and commits a row."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import psycopg2

from bench.host import Child, Host
from bench.measure import Comparisons
from bench.scenarios.restart import with_positions
from bench.stories import Story

COUNT, LAYERS = 1_000, 10
LEASE_SECONDS = 1
BARS = 9  # a client of the story that sends nothing else
ASK_SECONDS = 0.05
# Of which no takeover is to take longer; a lease that has to run out comes before.
WANTED_SECONDS = {"killed": 1.5, "asked to end": 0.1, "asked to hand over": 0.1}
HANDOVER = "asked to hand over"
HOW = {"killed": signal.SIGKILL, "asked to end": signal.SIGTERM, HANDOVER: None, "paused": signal.SIGSTOP}
TOKEN = "the-operator-of-a-benchmark"
_HOLD = (
    "import psycopg2, sys, time; connection = psycopg2.connect(sys.argv[1]); "
    "connection.cursor().execute('SELECT pg_advisory_lock(1)'); connection.commit(); print('ready', flush=True); time.sleep(600)"
)


def takeover(host: Host) -> Comparisons:
    """Two instances over one database; who has ended is started again before the next round."""
    found = Comparisons("takeover")
    dsn = host.database()
    config = with_positions(host, dsn, COUNT, LAYERS)
    slowest = dict.fromkeys(WANTED_SECONDS, 0.0)
    with _Instances(host, dsn, config).running() as instances:
        for number in range(-1, host.rounds):
            for name, how in HOW.items():
                ours, raw = instances.taken_over(how) * 1000, _bare(host, dsn) * 1000
                if number >= 0:
                    slowest[name] = max(slowest.get(name, 0.0), ours / 1000)
                    limit = "a bare lock and a commit, its holder killed"
                    found.add(f"{name}, first decision", ours, raw, unit="ms", limit=limit)
    for name, wanted in WANTED_SECONDS.items():
        figure = f"{name}, the slowest"
        found.add(figure, slowest[name] * 1000, wanted * 1000, unit="ms", limit="the target", target=1.0)
    found.notes["lease_seconds"] = LEASE_SECONDS
    found.notes["slowest answer of the one that ends, ms"] = round(max(instances.last_answers) * 1000, 1)
    return found


class _Instances:
    def __init__(self, host: Host, dsn: str, config: Path) -> None:
        self._host, self._dsn, self._config = host, dsn, config
        self._made = 0
        self._story = Story()
        self._client = httpx.Client(timeout=30)
        self.last_answers: list[float] = [0.0]

    @contextmanager
    def running(self) -> "Iterator[_Instances]":
        """One that leads and one that follows."""
        self._leader, self._follower = self._started(), self._started()
        try:
            yield self
        finally:
            for child, _ in (self._leader, self._follower):
                child.stop()
            self._client.close()

    def taken_over(self, how: signal.Signals | None) -> float:
        """Seconds from the leader's end until an alert that was sent to the follower right then is decided; without a signal
        it is asked to hand over, and follows then."""
        (leader, url), (_, follower_url) = self._leader, self._follower
        self._decided(url)
        self._decided(follower_url)
        begun = time.perf_counter()
        if how is None:
            self._client.post(f"{url}/handover", headers={"Authorization": f"Bearer {TOKEN}"}).raise_for_status()
        else:
            os.kill(leader.process.pid, how)
        if how is signal.SIGTERM:
            with suppress(httpx.HTTPError):
                asked = time.perf_counter()
                self._client.post(f"{url}/webhook", content=self._body())
                self.last_answers.append(time.perf_counter() - asked)
        while True:
            self._decided(follower_url)
            seconds = time.perf_counter() - begun
            if self._leads(follower_url):
                break
        if how is signal.SIGSTOP:
            os.kill(leader.process.pid, signal.SIGCONT)
        if how is None:
            self._leader, self._follower = self._follower, self._leader
            return seconds
        leader.process.wait(30)
        leader.stop()
        self._leader, self._follower = self._follower, self._started()
        return seconds

    def _decided(self, url: str) -> None:
        while self._client.post(f"{url}/webhook", content=self._body()).status_code != httpx.codes.OK:
            pass

    def _body(self) -> bytes:
        # A bar of an instrument that has no position.
        return self._story.body(BARS).replace(b"BENCH_", b"R")

    def _leads(self, url: str) -> bool:
        told = self._client.get(f"{url}/status")
        return told.status_code == httpx.codes.OK and bool(told.json()["leader"])

    def _started(self) -> tuple[Child, str]:
        self._made += 1
        child = Child(
            self._host.folder,
            "portfolio_manager.py",
            "live",
            *("--port", "0", "--data-dir", str(self._host.folder / f"takeover-{self._made}")),
            *("--db-config", str(self._host.database_config(self._dsn)), "--db-env", "local"),
            *("--config", str(self._config)),
            PORTFOLIO_LEADERSHIP__LEASE_SECONDS=str(LEASE_SECONDS),
            PORTFOLIO_OPERATOR_TOKEN=TOKEN,
        )
        return child, child.ready().rpartition(" ")[2]


def _bare(host: Host, dsn: str) -> float:
    """Seconds from the end of a bare holder until another one has the lock and has committed."""
    holder = Child(host.folder, "-c", _HOLD, dsn)
    holder.ready()
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS bare_takeover (at TIMESTAMPTZ)")
        connection.commit()
        begun = time.perf_counter()
        os.kill(holder.process.pid, signal.SIGKILL)
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(1)")
            if (cursor.fetchone() or (False,))[0]:
                break
            connection.commit()
            time.sleep(ASK_SECONDS)
        cursor.execute("INSERT INTO bare_takeover VALUES (now())")
        connection.commit()
        seconds = time.perf_counter() - begun
    holder.process.wait(10)
    holder.stop()
    return seconds
