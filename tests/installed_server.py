"""A PostgreSQL as one installs it: a superuser, passwords, TCP on loopback, nothing of ours."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from core.postgres.embedded_account import make_private_folder, run_as, server_account, write_owned
from core.postgres.embedded_binaries import programs_for
from tests.free_ports import free_ports

SUPERUSER_PASSWORD = "of the superuser"
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Installed:
    """A fresh server with a superuser `postgres`."""

    port: int

    def dsn(self, user: str = "postgres", password: str = SUPERUSER_PASSWORD, database: str = "postgres") -> str:
        """Its connection string for a role."""
        return psycopg2.extensions.make_dsn(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname=database, connect_timeout=10
        )

    def run(self, statements: str, **who: str) -> list[tuple[Any, ...]]:
        """Run statements one by one, each committed; the last one's rows."""
        with closing(psycopg2.connect(self.dsn(**who))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in filter(str.strip, statements.split(";\n")):
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []


@contextmanager
def installed_server(folder: Path) -> Iterator[Installed]:
    """One below `folder`, which another account may pass, from the binaries that we have: scram passwords, no TLS."""
    data, password_file = folder / "cluster", folder / "password"
    account = server_account(data)
    programs = programs_for(account, None, folder)
    make_private_folder(data, account)
    write_owned(password_file, f"{SUPERUSER_PASSWORD}\n", account)
    initdb = [str(programs.folder / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8", "--locale=C"]
    initdb += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync", "--no-instructions"]
    done = run_as(account, initdb, working_folder=data)
    assert done.returncode == 0, done.stderr
    server = Installed(free_ports(1)[0])
    command = [str(programs.folder / "postgres"), "-D", str(data), "-c", "listen_addresses=127.0.0.1"]
    command += ["-c", f"port={server.port}", "-c", "unix_socket_directories="]
    as_account: dict[str, Any] = (
        {} if account.is_ours else {"user": account.uid, "group": account.gid, "extra_groups": []}
    )
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=data, stdin=subprocess.DEVNULL, stdout=log, stderr=log, umask=0o077, **as_account
        )
    try:
        _wait_until_it_answers(server, process, folder / "server.log")
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_SECONDS)


def _wait_until_it_answers(server: Installed, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            psycopg2.connect(server.dsn()).close()
        except psycopg2.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.02)
        else:
            return
