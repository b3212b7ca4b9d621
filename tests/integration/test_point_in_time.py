"""Point-in-time recovery with real WAL archiving: a server that is destroyed comes back with what was kept elsewhere."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

import core.postgres.writer
from core.postgres.embedded import EmbeddedServer
from core.postgres.embedded_account import give, server_account
from core.postgres.embedded_binaries import shipped_versions
from core.postgres.embedded_cluster import Layout
from core.postgres.embedded_process import live_postmaster
from core.postgres.migrations import migrate
from tests.archiving_server import PATIENCE_SECONDS, ArchivingServer
from tests.builders import a_signal, minutes
from tests.command_line import run
from tests.crash.load import a_market, dice_of
from tests.database_file import pointed_to
from tests.engines import Clock, an_engine, status_of
from tests.folders import passable_folder
from tests.live_process import LiveProcess
from tests.queries import rows
from tests.verified import verified
from tests.waiting import eventually

BINARIES = shipped_versions()[max(shipped_versions())] / "bin"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account may pass, unlike pytest's own."""
    with passable_folder("pitr") as made:
        yield made


@pytest.fixture
def server(folder: Path) -> Iterator[ArchivingServer]:
    made = ArchivingServer(folder)
    made.make()
    try:
        yield made
    finally:
        made.stop()


@dataclass
class Alerts:
    """Alerts that are sent one after the other, and the fingerprints of those that were answered 200."""

    served: LiveProcess
    bodies: Iterator[bytes] = field(
        default_factory=lambda: iter([one.body for one in a_market(dice_of("pitr"), range(600))])
    )
    acknowledged: list[str] = field(default_factory=list)

    def send(self, count: int) -> None:
        """So many, each of them answered 200."""
        for _ in range(count):
            status, answer = self.served.post(next(self.bodies))
            assert status == 200, answer
            self.acknowledged.append(answer["fingerprint"])

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Sent for as long as the block takes."""
        ending = threading.Event()

        def send() -> None:
            while not ending.is_set():
                self.send(1)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            ending.set()
            sender.join()


def kept(dsn: str) -> list[str]:
    """The fingerprints that the database has, in the order in which they were decided."""
    return [
        found for (found,) in rows(dsn, "SELECT fingerprint FROM decision_journal WHERE kind = 'signal' ORDER BY seq")
    ]


def goes_on(options: tuple[str, ...], folder: Path, dsn: str, *, next_alert: bytes) -> None:
    """After `restore --recovered` a `live` serves it under a term above all others; entries wait for `resume`."""
    ((before,),) = rows(dsn, "SELECT term FROM leadership")
    told = run("restore", "--recovered", *options, "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["term"] == before + 1_000_000
    with LiveProcess(folder / "after", *options) as served:
        status = served.get("/status")[1]
        assert status["halted"] is True
        assert status["term"] == before + 1_000_001
        assert served.post(next_alert)[0] == 200
    assert verified(dsn)


@dataclass(frozen=True)
class Lost:
    """A server that is gone, and what there is of it elsewhere."""

    server: ArchivingServer
    options: tuple[str, ...]
    base: Path
    acknowledged: list[str]
    at_the_point: int
    at_the_time: int
    archived: int
    time: str


@pytest.fixture
def lost(server: ArchivingServer, folder: Path) -> Lost:
    """Base backup under load, a restore point, a time, an archived end, and some more; then everything is destroyed."""
    server.start()
    migrate(server.dsn, "main")
    options = pointed_to(server.dsn, folder / "config.json")
    base = folder / "base"
    with LiveProcess(folder / "data", *options) as served:
        alerts = Alerts(served)
        alerts.send(5)
        with alerts.under_way():
            server.base_backup(base)
        alerts.send(5)
        rows(server.dsn, "SELECT pg_create_restore_point('before the mistake')")
        at_the_point = len(alerts.acknowledged)
        alerts.send(5)
        at_the_time, ((moment,),) = len(alerts.acknowledged), rows(server.dsn, "SELECT clock_timestamp()::TEXT")
        time.sleep(0.1)
        alerts.send(5)
        server.archive_now()
        archived = len(alerts.acknowledged)
        alerts.send(5)
        server.destroy()
        status, answer = served.post(next(alerts.bodies))
        assert (status, answer["status"]) == (202, "queued")
    return Lost(server, options, base, alerts.acknowledged, at_the_point, at_the_time, archived, moment)


@pytest.mark.parametrize("to", ["the end of the archive", "a restore point", "a time"])
def test_a_destroyed_server_is_recovered_from_base_backup_and_archive(lost: Lost, folder: Path, to: str) -> None:
    target, count = {
        "the end of the archive": ({}, lost.archived),
        "a restore point": ({"recovery_target_name": "before the mistake"}, lost.at_the_point),
        "a time": ({"recovery_target_time": lost.time}, lost.at_the_time),
    }[to]
    lost.server.recover(lost.base, lost.server.archived, **target)
    assert kept(lost.server.dsn) == lost.acknowledged[:count]
    assert verified(lost.server.dsn).entries > count
    # What came when the server was gone waits in the spool of that data folder, and is decided by the next start there.
    goes_on(lost.options, folder, lost.server.dsn, next_alert=next(later_alerts()))
    with LiveProcess(folder / "data", *lost.options):
        assert eventually(lambda: len(kept(lost.server.dsn)) == count + 2, PATIENCE_SECONDS)
    assert verified(lost.server.dsn)


def later_alerts() -> Iterator[bytes]:
    """None of those that were sent before."""
    return iter([one.body for one in a_market(dice_of("later"), range(700, 710))])


def receiving(dsn: str, to: Path, binaries: Path, *options: str) -> "subprocess.Popen[bytes]":
    """pg_receivewal, until it is ended."""
    to.mkdir()
    connection = psycopg2.extensions.make_dsn(dsn, application_name="pm_wal")
    command: list[Any] = [binaries / "pg_receivewal", f"--dbname={connection}", f"--directory={to}", "--slot=pm_wal"]
    subprocess.run([*command, "--create-slot", "--if-not-exists"], check=True, capture_output=True)
    return subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_where_wal_is_received_synchronously_nothing_acknowledged_is_lost(
    server: ArchivingServer, folder: Path
) -> None:
    server.start()
    migrate(server.dsn, "main")
    options = pointed_to(server.dsn, folder / "config.json")
    base, wal = folder / "base", folder / "wal"
    receiver = receiving(server.dsn, wal, server.programs, "--synchronous")
    try:
        with closing(psycopg2.connect(server.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("ALTER SYSTEM SET synchronous_standby_names = 'pm_wal'")
                cursor.execute("SELECT pg_reload_conf()")
        replicas = "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'pm_wal'"
        assert eventually(lambda: rows(server.dsn, replicas) == [("sync",)], PATIENCE_SECONDS)
        with LiveProcess(folder / "data", *options) as served:
            alerts = Alerts(served)
            with alerts.under_way():
                server.base_backup(base)
            alerts.send(20)
            server.destroy()
    finally:
        receiver.terminate()
        receiver.wait()
    server.recover(base, wal)
    assert kept(server.dsn) == alerts.acknowledged
    assert verified(server.dsn)
    goes_on(options, folder, server.dsn, next_alert=next(alerts.bodies))


def test_the_embedded_database_is_recovered_from_base_backup_and_received_wal(folder: Path) -> None:
    data, base, wal = folder / "data", folder / "base", folder / "wal"
    with LiveProcess(data) as served:
        dsn = run("dsn", "--data-dir", str(data)).stdout.strip()
        receiver = receiving(dsn, wal, BINARIES)
        try:
            alerts = Alerts(served)
            with alerts.under_way():
                command = [BINARIES / "pg_basebackup", "--checkpoint=fast", f"--dbname={dsn}", f"--pgdata={base}"]
                subprocess.run(command, check=True, capture_output=True)
            alerts.send(10)
            rows(dsn, "SELECT pg_create_restore_point('before the mistake')")
            count = len(alerts.acknowledged)
            alerts.send(5)
            served.process.kill()
            served.process.wait()
        finally:
            with EmbeddedServer(data, create=False):
                pass  # its last user stops it, and pg_receivewal has all
            receiver.terminate()
            receiver.wait()
    assert live_postmaster(Layout.of(data).cluster) is None
    cluster = Layout.of(data).cluster_folder
    shutil.rmtree(cluster)
    shutil.copytree(base, cluster)
    cluster.chmod(0o700)
    give(wal, server_account(cluster))
    with (cluster / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"""restore_command = 'cp "{wal}/%f" "%p" || cp "{wal}/%f.partial" "%p"'\n""")
        settings.write("recovery_target_name = 'before the mistake'\nrecovery_target_action = 'promote'\n")
    (cluster / "recovery.signal").touch()
    told = run("restore", "--recovered", "--data-dir", str(data), "--json")
    assert told.exit_code == 0, told.output
    with EmbeddedServer(data, create=False):
        assert kept(dsn) == alerts.acknowledged[:count]
        assert verified(dsn)
    with LiveProcess(data) as served:
        assert served.get("/status")[1]["halted"] is True
        alerts.served = served
        alerts.send(1)


@pytest.mark.parametrize("in_doubt", [False, True])
def test_an_engine_under_which_the_database_goes_back_reads_it_anew_and_is_halted(
    dsn: str, monkeypatch: pytest.MonkeyPatch, in_doubt: bool
) -> None:
    """Also where it goes back behind the moment at which a batch in doubt was looked for."""
    doubts = iter([in_doubt])
    name = psycopg2.extensions.parse_dsn(dsn)["dbname"]
    with (
        closing(psycopg2.connect(psycopg2.extensions.make_dsn(dsn, dbname="postgres"))) as connection,
        an_engine(dsn, clock=Clock(minutes(3)), on_fatal=pytest.fail) as engine,
    ):
        connection.autocommit = True
        engine.process_signal(a_signal())
        with connection.cursor() as cursor, nobody_in(cursor, name):
            cursor.execute(f"CREATE DATABASE {name}_then TEMPLATE {name}")
        monkeypatch.setattr(core.postgres.writer, "lacks_its_standby", lambda _: next(doubts, False))
        assert (
            status_of(engine.process_signal(a_signal(timestamp=minutes(1)))) == "rejected: base position already open"
        )
        assert rows(dsn, "SELECT fencing_number FROM leadership") == [(int(in_doubt),)]
        with connection.cursor() as cursor, nobody_in(cursor, name):
            cursor.execute(f"ALTER DATABASE {name} RENAME TO {name}_lost")
            cursor.execute(f"ALTER DATABASE {name}_then RENAME TO {name}")
            cursor.execute(f"DROP DATABASE {name}_lost")
        entries = verified(dsn).entries
        # It would be rejected otherwise too, so that no row but the journal's could tell.
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(2)))) == "blocked: halted"
        assert engine.portfolio.state.halted
        reasons = "SELECT input ->> 'reason' FROM decision_journal WHERE kind = 'halt'"
        assert "the database went back to an earlier time" in rows(dsn, reasons)[0][0]
        assert status_of(engine.process_signal(a_signal("EXIT", layer="ALL", timestamp=minutes(2.5)))) == "executed"
    assert verified(dsn).entries == entries + 3


@contextmanager
def nobody_in(cursor: Any, name: str) -> Iterator[None]:
    """Sessions are ended, and no new one begins in the database that has the name now."""
    cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    assert eventually(lambda: cursor.execute(ending, (name,)) or not cursor.fetchall())
    yield
    for (now,) in names_like(cursor, name):
        cursor.execute(f"ALTER DATABASE {now} ALLOW_CONNECTIONS true")


def names_like(cursor: Any, name: str) -> list[tuple[str]]:
    cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (name,))
    found: list[tuple[str]] = cursor.fetchall()
    return found
