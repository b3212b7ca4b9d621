"""The embedded server killed, stopped, paused, starved and filled up under load: nothing lost, nothing doubled."""

import os
import signal as signals
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from random import Random

import psycopg2
import psycopg2.extensions
import pytest

from core.postgres.connections import is_dead
from core.postgres.embedded import EmbeddedServer
from tests.crash.load import ENVIRONMENT, Load, dice_of, eventually, prove
from tests.crash.totals import FULL
from tests.live_process import LiveProcess
from tests.queries import rows

REPEATS = range(4 if FULL else 1)
TMPFS_MEGABYTES = 160
BALLAST_PIECE = 256 * 1024


_OF_THE_ENGINE = (
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    " AND application_name LIKE 'portfolio-manager%'"
)


class Server:
    """The server of a `live` process, and what befalls it. Only processes of this data folder are ever signalled."""

    def __init__(self, data: Path) -> None:
        self._embedded = EmbeddedServer(data)
        self.dsn = EmbeddedServer.dsn_of(data)

    @property
    def postmaster(self) -> int:
        """Its pid, once it runs."""
        eventually(lambda: self._embedded.postmaster_pid is not None, "a postmaster")
        pid = self._embedded.postmaster_pid
        assert pid is not None
        return pid

    def processes(self) -> list[int]:
        """The postmaster, then its children."""
        postmaster = self.postmaster
        return [postmaster, *map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]

    def backends(self) -> list[int]:
        """The processes that serve the engine's connections; none while the server recovers."""
        with suppress(psycopg2.OperationalError):
            return [pid for (pid,) in rows(self.dsn, _OF_THE_ENGINE)]
        return []

    def ended(self, pid: int) -> None:
        """Wait until the postmaster is gone."""
        eventually(lambda: self._embedded.postmaster_pid != pid, "the end of a postmaster")


# --- faults under load: each returns how many there were


def stopped_immediately(server: Server, dice: Random) -> int:
    """`pg_ctl stop -m immediate`."""
    return _postmaster_signalled(server, signals.SIGQUIT)


def postmaster_killed(server: Server, dice: Random) -> int:
    """The postmaster, by SIGKILL."""
    return _postmaster_signalled(server, signals.SIGKILL)


def _postmaster_signalled(server: Server, number: signals.Signals) -> int:
    postmaster = server.postmaster
    os.kill(postmaster, number)
    server.ended(postmaster)
    return 1


def backend_killed(server: Server, dice: Random) -> int:
    """A backend, by SIGKILL: the postmaster ends all others and recovers."""
    backends: list[int] = []
    eventually(lambda: backends.extend(server.backends()) or backends, "a backend")
    os.kill(dice.choice(backends), signals.SIGKILL)
    return 1


def backends_terminated(server: Server, dice: Random) -> int:
    """`pg_terminate_backend` of every connection, again and again."""
    terminated, connection = 0, psycopg2.connect(server.dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for _ in range(40):
            cursor.execute(f"SELECT count(pg_terminate_backend(pid)) FROM ({_OF_THE_ENGINE}) AS others")
            (count,) = cursor.fetchone() or (0,)
            terminated += count
            time.sleep(dice.uniform(0.0, 0.06))
    connection.close()
    return terminated


def paused(server: Server, dice: Random) -> int:
    """Every process of the server stands still for a while, its sockets open, then goes on."""
    processes = server.processes()
    try:
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signals.SIGSTOP)
        time.sleep(dice.uniform(2.0, 4.5))
    finally:
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signals.SIGCONT)
    return 1


def connections_taken(server: Server, dice: Random) -> int:
    """Other clients hold every connection: what the engine loses meanwhile, it cannot have back before they leave."""
    postmaster, until = server.postmaster, time.monotonic() + dice.uniform(2.0, 4.0)
    with ExitStack() as others:
        one = _another_client(others, server)
        assert one is not None
        one.autocommit = True
        while time.monotonic() < until:
            while _another_client(others, server) is not None:
                pass
            with one.cursor() as cursor:
                cursor.execute(f"SELECT count(pg_terminate_backend(pid)) FROM ({_OF_THE_ENGINE}) AS others")
            time.sleep(0.05)
    assert server.postmaster == postmaster, "the server was ended because its connections are in use"
    return 1


def _another_client(others: ExitStack, server: Server) -> psycopg2.extensions.connection | None:
    """A connection, None where there is none to be had."""
    try:
        connection = psycopg2.connect(server.dsn, application_name="another client")
    except psycopg2.OperationalError as error:
        if "too many clients" not in str(error):
            raise
        return None
    others.callback(connection.close)
    return connection


FAULTS = {
    "pg_ctl stop -m immediate": (stopped_immediately, 2),
    "kill -9 of the postmaster": (postmaster_killed, 2),
    "kill -9 of backends": (backend_killed, 2),
    "pg_terminate_backend storm": (backends_terminated, 1),
    "server paused": (paused, 1),
    "out of connections": (connections_taken, 1),
}


@pytest.mark.parametrize("repeat", REPEATS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_server_that_fails_under_load_loses_and_doubles_nothing(folder, note, name, repeat):
    dice = dice_of(name, repeat)
    fault, rounds = FAULTS[name]
    rounds *= 2 if FULL else 1
    with LiveProcess(folder / "data", environment=ENVIRONMENT) as live:
        server, faults = Server(folder / "data"), 0
        load = Load(live, f"{name} {repeat}")
        with load.running():
            for _ in range(rounds):
                load.wait_for(answers=dice.randrange(10, 40))
                faults += fault(server, dice)
        prove(load, live, server.dsn, note, faults=faults)


# --- a full disk


@contextmanager
def a_small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own in the place of `folder`, empty."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MEGABYTES}m,mode=755", "pm-crash", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: what a failed test left running there must not keep it mounted for ever.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def a_full_disk(disk: Path) -> Iterator[None]:
    """Not a byte is free, for the length of the block."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(BALLAST_PIECE))
        yield
    finally:
        ballast.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount the small disk that is filled")
@pytest.mark.parametrize("repeat", REPEATS)
@pytest.mark.parametrize("what", ["postgres", "everything"])
def test_a_full_disk_under_load_loses_and_doubles_nothing(folder, note, what, repeat):
    """PostgreSQL's disk alone, and one that it shares with all else that the engine keeps; the process is killed too."""
    data, name = folder / "data", f"full disk of {what} {repeat}"
    dice = dice_of(name)
    with ExitStack() as stack:
        disk = stack.enter_context(a_small_disk(data / "postgres" if what == "postgres" else data))
        stack.callback(_end_server, data)
        live = stack.enter_context(LiveProcess(data, environment=ENVIRONMENT))
        server, load = Server(data), Load(live, name)
        with load.running():
            for killed in (False, True):
                load.wait_for(answers=dice.randrange(10, 40))
                with a_full_disk(disk):
                    _use_up_the_log(server)
                    time.sleep(dice.uniform(1.0, 3.0))
                    if killed:
                        os.kill(live.process.pid, signals.SIGKILL)
                        live.process.wait(60)
            live = stack.enter_context(LiveProcess(data, port=live.port, environment=ENVIRONMENT))
        prove(load, live, server.dsn, note, faults=3)
        assert load.ledger.queued or what == "everything"


def _use_up_the_log(server: Server) -> None:
    """Begin new segments of the log until there is no room for one: PostgreSQL panics, and every connection ends."""
    with suppress(psycopg2.OperationalError), closing(psycopg2.connect(server.dsn)) as witness:
        witness.autocommit = True

        def panicked() -> bool:
            with suppress(psycopg2.Error), witness.cursor() as cursor:
                cursor.execute("SELECT pg_switch_wal()")
            return is_dead(witness)

        eventually(panicked, "a panic for want of disk")


def _end_server(data: Path) -> None:
    """Whatever became of the test, nothing of it may go on writing to the disk that is about to go."""
    with EmbeddedServer(data):
        pass
