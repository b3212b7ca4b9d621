"""PostgreSQL, Redis and `live` processes on machines of a network of their own, and what becomes of the processes."""

import itertools
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psycopg2.extensions

from core.postgres.embedded_account import Account
from core.postgres.embedded_binaries import Programs
from tests.crash.load import ANSWER_WITHIN, ENVIRONMENT, Ledger, Load, Stalls, eventually
from tests.live_process import LiveProcess
from tests.partitions.network import Machine, Network, both_ways
from tests.postgres_server import SharedServer
from tests.queries import rows
from tests.redis_server import RedisServer

SECRET = "a secret of the partitions"
PORT = 5000
NAMES = ("a", "b")
# What ends by itself does so because another one leads.
REPLACED = frozenset({1})
# An instance that ends says so, answers what it was asked, hangs up, and has so long for it: it may be cut off meanwhile.
ENDS_WITHIN = 15.0
_STOPPING = re.compile(r"^(\S+)Z \[info +\] stopping", re.MULTILINE)
# Between what ends it and what it says of it.
HANGS_UP_WITHIN = 0.5
# What one that was paused has not heard, its callers have given up by then.
WAKES_WITHIN = 1.0
_LOOK_EVERY = 0.02
_READ_EVERY = 0.2
_LOG_SHOWN = 5000
# Instances come over TCP, and without a password: these addresses are in this test's namespaces only.
_HBA = "local all all peer map=owner\nhost all all 10.213.0.0/16 trust\n"


class ServerOnAMachine(SharedServer):
    """PostgreSQL that listens on a machine's address besides; the test itself asks it over its Unix socket."""

    def __init__(self, data_dir: Path, machine: Machine) -> None:
        super().__init__(data_dir)
        self._machine = machine
        self._hba = data_dir / "hba.conf"
        self._hba.write_text(_HBA, encoding="ascii")

    def _command(self, account: Account, programs: Programs) -> list[str]:
        settings = [f"listen_addresses={self._machine.address}", f"hba_file={self._hba}"]
        return [*super()._command(account, programs), *(word for one in settings for word in ("-c", one))]

    def start(self) -> str:
        """As EmbeddedServer, on its machine."""
        with self._machine.entered():
            return super().start()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A process that ended by itself: with what exit code, and when it was there again."""

    name: str
    code: int
    stopping_at: float
    died_at: float
    ready_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A while in which an instance need not take anything."""

    instance: str
    since: float
    until: float


class Instance:
    """One `live` on a machine, with a disk of its own; started again as often as it ends, on the same port."""

    def __init__(
        self, name: str, machine: Machine, folder: Path, *arguments: str, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.machine = machine
        self._data = folder / name / "data"
        self._data.mkdir(parents=True)
        self._arguments = ("--host", machine.address, *arguments)
        self._environment = environment
        self.process = self._started()

    @property
    def url(self) -> str:
        """Where it listens, now and after each start."""
        return f"http://{self.machine.address}:{PORT}"

    @property
    def leads(self) -> bool:
        """Whether it says that it leads."""
        if self.process.process.poll() is not None:
            return False
        try:
            status, told = self.process.get("/status")
        except OSError:
            return False
        return status == 200 and told["leader"] is True

    def start_again(self) -> None:
        """After it ended."""
        self.process.__exit__()
        self.process = self._started()

    def _started(self) -> LiveProcess:
        with self.machine.entered():
            return LiveProcess(self._data, *self._arguments, port=PORT, environment=self._environment).__enter__()


class Supervisor:
    """As systemd does it: what ends is started again, by a thread of its own."""

    def __init__(self, instances: list[Instance]) -> None:
        self._instances = instances
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self.ended: list[Ended] = []
        self.failure: Exception | AssertionError | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_LOOK_EVERY):
                for instance in self._instances:
                    self._look_at(instance)
        except (Exception, AssertionError) as failure:  # noqa: BLE001 - the test raises it
            self.failure = failure

    def _look_at(self, instance: Instance) -> None:
        code = instance.process.process.poll()
        if code is None:
            return
        died_at = time.monotonic()
        stopping_at = died_at - _seconds_it_took(instance.process.log())
        instance.start_again()
        ready_at = time.monotonic()
        self.ended.append(
            Ended(name=instance.url, code=code, stopping_at=stopping_at, died_at=died_at, ready_at=ready_at)
        )


def _seconds_it_took(log: str) -> float:
    """From when a process said that it stops until now, when it has just ended; one that was killed said nothing."""
    told = _STOPPING.findall(log)
    if not told:
        return 0.0
    seconds = (datetime.now(UTC) - datetime.fromisoformat(told[-1]).replace(tzinfo=UTC)).total_seconds()
    # Else it was the one before that said so.
    return seconds if seconds < ENDS_WITHIN else 0.0


class Reader:
    """Somebody who looks at every instance all the time: is answered soon, and never told of a failure of the program."""

    PATHS = ("/status", "/ready", "/positions", "/signals", "/db/status", "/orders")

    def __init__(self, instances: list[Instance], stalls: Stalls) -> None:
        self._stalls = stalls
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(one,), name="reader") for one in instances]
        self.slowest = (0.0, "")
        self.failures: list[str] = []
        self.answers = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def require_prompt(self) -> None:
        """It was."""
        seconds, answer = self.slowest
        bound = ANSWER_WITHIN + self._stalls.longest
        assert self.answers > 0
        assert not self.failures, self.failures[:3]
        assert seconds < bound, f"an answer took {seconds:.2f} s, allowed are {bound:.2f} s: {answer}"

    def _read(self, instance: Instance) -> None:
        for path in itertools.cycle(self.PATHS):
            if self._stopping.wait(_READ_EVERY):
                return
            began = time.monotonic()
            try:
                status, answer = instance.process.get(path)
            except OSError:
                # Whether it was to be there, the load tells.
                continue
            self.answers += 1
            self.slowest = max(self.slowest, (time.monotonic() - began, f"{status} of {instance.url}{path}"))
            if status not in (200, 503):
                self.failures.append(f"{status} of {instance.url}{path}: {answer}")


class Cluster:
    """Everything that a portfolio needs, each on a machine of its own, and the test's own beside them."""

    def __init__(
        self,
        network: Network,
        postgres: ServerOnAMachine,
        redis: RedisServer | None,
        folder: Path,
        **environment: str,
    ) -> None:
        self.network = network
        self.postgres = postgres
        self.redis = redis
        self.dsn = postgres.dsn
        leases = {} if redis is None else {"PORTFOLIO_LEADERSHIP__REDIS_URL": redis.url}
        self._environment = {**ENVIRONMENT, "PORTFOLIO_WEBHOOK_SECRET": SECRET, **leases, **environment}
        self._config = folder / "database.json"
        self._write_config()
        self._folder = folder
        self.instances: list[Instance] = []
        self.supervisor = Supervisor(self.instances)
        self._absences: list[Absence] = []

    def _write_config(self) -> None:
        given = psycopg2.extensions.parse_dsn(self.dsn)
        entry = {"host": self.network["postgres"].address, "port": given["port"], "database": given["dbname"]}
        self._config.write_text(json.dumps({"test": {**entry, "user": given["user"], "sslmode": "disable"}}))

    def start(self, name: str, *arguments: str) -> Instance:
        """One more instance."""
        instance = Instance(
            name,
            self.network[name],
            self._folder,
            *("--db-config", str(self._config), "--db-env", "test"),
            *arguments,
            environment=self._environment,
        )
        self.instances.append(instance)
        return instance

    def stop(self) -> None:
        """End all instances."""
        for instance in self.instances:
            instance.process.__exit__()

    @property
    def leader(self) -> Instance:
        """Who leads now; waits for one."""
        found: list[Instance] = []
        eventually(lambda: found.extend(one for one in self.instances if one.leads) or found, "a leader")
        return found[0]

    @property
    def follower(self) -> Instance:
        """The other one of two."""
        leader = self.leader
        return next(one for one in self.instances if one is not leader)

    def load(self, name: str, *, hang_up_after: float | None = 10.0) -> Load:
        """Clients of all instances, who have time: what an instance does not answer promptly is seen. None: they have not."""
        one, *others = (instance.process for instance in self.instances)
        return Load(one, name, *others, pause=0.3, secret=SECRET, hang_up_after=hang_up_after)

    def end(self, instance: Instance, how: signal.Signals) -> None:
        """Have it end, and wait until it was started again."""
        ended, since = len(self.supervisor.ended), time.monotonic()
        instance.process.process.send_signal(how)
        eventually(lambda: len(self.supervisor.ended) > ended, f"an end of {instance.name}, and its next start")
        until = self.supervisor.ended[-1].died_at
        self._absences.append(Absence(instance=instance.url, since=since, until=until))

    @contextmanager
    def paused(self, instance: Instance) -> Iterator[None]:
        """The process does not get on until the block ends."""
        pid, since = instance.process.process.pid, time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
            self._absences.append(Absence(instance=instance.url, since=since, until=time.monotonic() + WAKES_WITHIN))

    @contextmanager
    def cut_off(self, instance: Instance) -> Iterator[None]:
        """It does not reach PostgreSQL until the block ends; everybody else it does."""
        self.network.cut(*both_ways((instance.name, "postgres")))
        try:
            yield
        finally:
            self.network.mend()

    def at_work(self) -> None:
        """Wait until one leads and the others follow it."""
        eventually(self._is_at_work, lambda: f"one that leads and others that follow: {self._told()}")

    def settled(self) -> None:
        """Wait until nothing is left in any queue or spool besides."""
        self.at_work()
        eventually(self._is_idle, lambda: f"nothing that waits: {self._told()}")

    def _is_at_work(self) -> bool:
        told = self._told()
        return sorted((one["http_status"], one["leader"]) for one in told) == [(200, False), (200, True)]

    def _is_idle(self) -> bool:
        return all(told.get("ready") and told["backlog"] == told["spool"]["kept"] == 0 for told in self._told())

    def _told(self) -> list[dict[str, Any]]:
        """What each instance says of itself."""
        if self.supervisor.failure is not None:
            raise self.supervisor.failure
        told: list[dict[str, Any]] = []
        for instance in self.instances:
            try:
                status, answer = instance.process.get("/status")
            except OSError as error:
                status, answer = 0, {"error": str(error)}
            told.append({"leader": False, "ready": False, **answer, "http_status": status})
        return told

    @property
    def term(self) -> int:
        """The one in PostgreSQL."""
        return int(rows(self.dsn, "SELECT term FROM leadership")[0][0])

    def require_history(self, codes: frozenset[int] = REPLACED) -> None:
        """As the journal goes on no term comes back, each is one instance's, and who ended did so with one of these codes."""
        entries = rows(self.dsn, "SELECT seq, term FROM decision_journal ORDER BY seq")
        terms = [term for _, term in entries]
        assert [seq for seq, _ in entries] == list(range(1, len(entries) + 1)), "the journal has gaps"
        assert terms == sorted(terms), "terms interleave in the journal"
        starts = rows(
            self.dsn, "SELECT input ->> 'term', input ->> 'instance_id' FROM decision_journal WHERE kind = 'term'"
        )
        assert len({term for term, _ in starts}) == len(starts), f"a term was begun twice: {starts}"
        decided = rows(
            self.dsn,
            "SELECT DISTINCT term, processed_by_instance FROM decision_journal JOIN signal_log USING (fingerprint)",
        )
        assert len({term for term, _ in decided}) == len(decided), f"two instances decided in one term: {decided}"
        assert self.supervisor.failure is None, self.supervisor.failure
        assert {one.code for one in self.supervisor.ended} <= codes, self.supervisor.ended

    def require_taken(self, ledger: Ledger) -> None:
        """Nobody was turned away but by an instance that was paused, about to end, or not there again yet."""
        ended = [
            Absence(instance=one.name, since=one.stopping_at - HANGS_UP_WITHIN, until=one.ready_at)
            for one in self.supervisor.ended
        ]
        absences = [*self._absences, *ended]
        for one in ledger.turned_away:
            assert any(
                f"http://{one.instance}" == absence.instance and one.until > absence.since and one.since < absence.until
                for absence in absences
            ), f"an instance that lives did not take an alert: {one}, away were: {absences}"

    def require_agreement(self) -> None:
        """Leader and followers show the same, once the last entry was followed."""
        eventually(lambda: len({self._shown(one) for one in self.instances}) == 1, "all instances to show the same")

    @staticmethod
    def _shown(instance: Instance) -> str:
        theirs = ("leader", "led_by", "instance_id", "pid")
        status = instance.process.get("/status")[1]
        positions = instance.process.get("/positions")[1]
        return json.dumps([{name: value for name, value in status.items() if name not in theirs}, positions])


@contextmanager
def network_of(*names: str) -> Iterator[Network]:
    """Machines for these instances and all that they need; the caller is on one that reaches them all."""
    with Network("test", "postgres", "redis", *names) as network, network["test"].entered():
        yield network


@contextmanager
def cluster(
    folder: Path,
    *,
    redis: bool = False,
    network: Network | None = None,
    arguments: Sequence[str] = (),
    **environment: str,
) -> Iterator[Cluster]:
    """PostgreSQL and two instances, of which the first leads and the second follows."""
    with ExitStack() as stack:
        network = network or stack.enter_context(network_of(*NAMES))
        server = ServerOnAMachine(_folder(folder), network["postgres"])
        stack.enter_context(server)
        redis_server = None
        if redis:
            with network["redis"].entered():
                redis_server = RedisServer(folder, address=network["redis"].address)
            stack.callback(redis_server.stop)
        made = Cluster(network, server, redis_server, folder, **environment)
        stack.callback(made.stop)
        stack.callback(network.mend)
        for name in NAMES:
            made.start(name, *arguments)
        try:
            with made.supervisor:
                yield made
        except BaseException:
            # pytest shows it beside the failure.
            for instance in made.instances:
                sys.stdout.write(f"--- {instance.name}\n{instance.process.log()[-_LOG_SHOWN:]}\n")
            raise


def _folder(folder: Path) -> Path:
    made = folder / "server"
    made.mkdir()
    return made
