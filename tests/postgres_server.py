"""One real PostgreSQL for a whole test run, shared by its workers, and fresh databases on it in milliseconds."""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from core.postgres.embedded import EmbeddedServer

_PREFIX = "portfolio-tests-"


class SharedServer(EmbeddedServer):
    """As in production, with connections for all workers."""

    max_connections: ClassVar[int] = 400


@contextmanager
def shared_server() -> Iterator[str]:
    """The DSN of the run's server. The last worker that leaves stops it and removes its folder."""
    _remove_abandoned()
    folder = _run_folder()
    with _sharing(folder) as lock:
        server = SharedServer(folder)
        server.start()
        try:
            yield server.dsn
        finally:
            server.stop()
            _remove_if_last(folder, lock)


def fresh_database(dsn: str, *, template: str | None = None) -> str:
    """Make an empty database, or a copy of `template` (which nobody may be connected to), and return its DSN."""
    name = f"test_{secrets.token_hex(8)}"
    source = sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template)) if template else sql.SQL("")
    _administer(dsn, sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), source))
    return psycopg2.extensions.make_dsn(dsn, dbname=name)


def drop_database(dsn: str) -> None:
    """Drop the database that the DSN names, with whoever is still connected to it."""
    name = psycopg2.extensions.parse_dsn(dsn)["dbname"]
    _administer(dsn, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _administer(dsn: str, statement: sql.Composable) -> None:
    with closing(psycopg2.connect(psycopg2.extensions.make_dsn(dsn, dbname="postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


def _run_folder() -> Path:
    """The same for all workers of a run (pytest-xdist gives them its id), another for every run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{os.geteuid()}-{run[:16]}"


@contextmanager
def _sharing(folder: Path) -> Iterator[int]:
    """Hold `folder`.lock shared: nobody removes the folder meanwhile."""
    while True:
        descriptor = os.open(_lock_file(folder), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            # Who had it last may have removed it between our opening and our locking.
            if _lock_file(folder).exists() and os.path.samestat(os.fstat(descriptor), _lock_file(folder).stat()):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove_if_last(folder: Path, lock: int) -> None:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        _lock_file(folder).unlink(missing_ok=True)


def _remove_abandoned() -> None:
    """Stop the servers of runs that were killed, and remove their folders."""
    for lock_file in Path(tempfile.gettempdir()).glob(f"{_PREFIX}{os.geteuid()}-*.lock"):
        with suppress(FileNotFoundError, BlockingIOError):
            descriptor = os.open(lock_file, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _stop_and_remove(lock_file.with_suffix(""))
                lock_file.unlink()
            finally:
                os.close(descriptor)


def _stop_and_remove(folder: Path) -> None:
    server = SharedServer(folder, create=False)
    if server.postmaster_pid is not None:
        server.start()
        server.stop()
    shutil.rmtree(folder, ignore_errors=True)
