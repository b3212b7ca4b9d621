"""A PostgreSQL of one's own, on loopback, whose WAL is kept elsewhere; it can be destroyed, and recovered from a base backup."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psycopg2
import psycopg2.extensions

from core.postgres.embedded_account import give, make_private_folder, run_as, server_account, write_owned
from core.postgres.embedded_binaries import programs_for
from tests.free_ports import free_ports
from tests.queries import rows

PATIENCE_SECONDS = 60.0
ARCHIVE_COMMAND = 'test ! -f "{folder}/%f" && cp "%p" "{folder}/%f"'


class ArchivingServer:
    """In a folder that its account may pass. What is `archived` is there whatever becomes of the server."""

    def __init__(self, folder: Path, major: int | None = None) -> None:
        self.folder = folder
        self.data = folder / "cluster"
        self.archived = folder / "archived"
        self.account = server_account(self.data)
        self.programs = programs_for(self.account, major, folder).folder
        (self.port,) = free_ports(1)
        make_private_folder(self.archived, self.account)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """As the superuser."""
        return psycopg2.extensions.make_dsn(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres")

    def make(self) -> None:
        """A new cluster."""
        make_private_folder(self.data, self.account)
        initdb = [str(self.programs / "initdb"), "-D", str(self.data), "-U", "postgres", "-E", "UTF8", "--locale=C"]
        done = run_as(self.account, [*initdb, "--auth=trust", "--no-sync"], working_folder=self.data)
        assert done.returncode == 0, done.stderr

    def start(self, **settings: str) -> None:
        """Start it, and wait until it is no standby any more."""
        keep = ARCHIVE_COMMAND.format(folder=self.archived)
        given = {"archive_mode": "on", "archive_command": keep, **settings}
        command = [str(self.programs / "postgres"), "-D", str(self.data), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", f"port={self.port}", "-c", "unix_socket_directories="]
        command += [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        who = {} if self.account.is_ours else {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.data, stdin=subprocess.DEVNULL, stdout=log, stderr=log, umask=0o077, **who
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._takes_writes():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def stop(self) -> None:
        """Cleanly, where it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_SECONDS)

    def destroy(self) -> None:
        """Kill it, and remove all it has but what was archived."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)
        shutil.rmtree(self.data)

    def base_backup(self, to: Path) -> None:
        """pg_basebackup, beside whoever writes."""
        command = [self.programs / "pg_basebackup", "--checkpoint=fast", f"--dbname={self.dsn}", f"--pgdata={to}"]
        subprocess.run(command, check=True, capture_output=True)

    def archive_now(self) -> None:
        """All that is written so far is in the archive when this returns."""
        ((name,),) = rows(self.dsn, "SELECT pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (self.archived / name).exists():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def recover(self, base: Path, wal: Path, **target: str) -> None:
        """Put the base backup in place, and start it up to the target, or to the end of what is there."""
        shutil.copytree(base, self.data)
        for part in (self.data, wal):
            give(part, self.account)
        self.data.chmod(0o700)
        get = f'cp "{wal}/%f" "%p" || cp "{wal}/%f.partial" "%p"'
        settings = {"restore_command": get, "recovery_target_action": "promote", **target}
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        write_owned(self.data / "postgresql.auto.conf", text, self.account)
        write_owned(self.data / "recovery.signal", "", self.account)
        self.start()

    def log(self) -> str:
        """What it printed."""
        return (self.folder / "server.log").read_text()

    def _takes_writes(self) -> bool:
        try:
            return rows(self.dsn, "SELECT pg_is_in_recovery()") == [(False,)]
        except psycopg2.OperationalError:
            return False
