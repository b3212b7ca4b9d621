"""What a run measures on: a real embedded PostgreSQL of its own, databases on it, a bare connection, child processes."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import psycopg2
from psycopg2 import extensions, sql
from psycopg2.extensions import connection as Connection
from psycopg2.extras import RealDictCursor

from core.postgres.embedded import EmbeddedServer
from core.postgres.forms import Form, form_of, preparation
from core.postgres.migrations import migrate
from core.postgres.writer import PLANNING

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN_SECONDS = 60.0
INSTRUMENT: dict[str, Any] = {"lot_size": "1", "point_value": "1", "margin_per_lot": "100", "max_pyramids": 5}


class BenchServer(EmbeddedServer):
    """As in production, fsync and all, with connections for a few managers at once."""

    max_connections: ClassVar[int] = 300


class Host:
    """A temporary folder with a server. `seconds` is how long one cell of a round loads, `quick` asks for less of all."""

    def __init__(self, folder: Path, dsn: str, *, rounds: int, quick: bool) -> None:
        self.folder = folder
        self.dsn = dsn
        self.rounds = rounds
        self.quick = quick
        self._made = 0
        self._template = ""

    @property
    def data_dir(self) -> Path:
        """The data directory of the server, for a `live` that shares it."""
        return self.folder / "data"

    def database(self) -> str:
        """The DSN of a fresh, migrated database."""
        if not self._template:
            self._template = "bench_template"
            migrate(self._create(self._template, ""), "main")
        self._made += 1
        return self._create(f"bench_{self._made}", self._template)

    def database_config(self, dsn: str) -> Path:
        """A database_config.json that names this database."""
        given = extensions.parse_dsn(dsn)
        entry = {"host": given["host"], "port": given["port"], "database": given["dbname"], "user": given["user"]}
        path = self.folder / f"{given['dbname']}.json"
        path.write_text(json.dumps({"local": entry}), encoding="utf-8")
        return path

    def configuration(self, instruments: Sequence[str]) -> Path:
        """A configuration file with these instruments besides the shipped ones."""
        path = self.folder / f"config-{len(instruments)}.json"
        path.write_text(json.dumps({"instruments": dict.fromkeys(instruments, INSTRUMENT)}), encoding="utf-8")
        return path

    def _create(self, name: str, template: str) -> str:
        source = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        with closing(psycopg2.connect(extensions.make_dsn(self.dsn, dbname="postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), source))
        return extensions.make_dsn(self.dsn, dbname=name)


@contextmanager
def a_host(*, rounds: int, quick: bool) -> Iterator[Host]:
    """A host for one scenario; its folder is one that another account may pass through, and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pm-bench-"))
    folder.chmod(0o755)
    try:
        with BenchServer(folder / "data") as server:
            yield Host(folder, server.dsn, rounds=rounds, quick=quick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_LEAD = """
INSERT INTO leadership (id, term, instance_id) VALUES (1, 1, 'bench')
ON CONFLICT (id) DO UPDATE SET term = 1
"""


def database_of(dsn: str) -> str:
    """The name of a database."""
    return str(extensions.parse_dsn(dsn)["dbname"])


class Document(NamedTuple):
    """A batch as it is written: `commit_batch`'s one parameter, and the form of it that writes all of that."""

    form: Form
    text: str


def document_of(rows: Mapping[str, Any]) -> Document:
    """The document of a batch's rows."""
    return Document(form_of(rows), msgspec.json.encode(rows).decode())


class BareWriter:
    """The limit: one psycopg2 connection that runs the same statements, prepared, and commits it in one round trip."""

    def __init__(self, dsn: str) -> None:
        self._connection: Connection = psycopg2.connect(dsn)
        self._connection.autocommit = True
        self._cursor = self._connection.cursor(cursor_factory=RealDictCursor)
        self._cursor.execute(PLANNING)
        for form in Form:
            self._cursor.execute(preparation(form))
        self._cursor.execute(_LEAD)

    def write(self, document: Document) -> None:
        """One batch, durable when this returns; RuntimeError where the statement has refused it and nothing was written."""
        self._cursor.execute(f"EXECUTE {document.form} (%s)", (document.text,))
        kept: dict[str, Any] = self._cursor.fetchone() or {}
        if not kept["effects"]:
            raise RuntimeError(f"a document was not written: {kept}")

    def journalled(self) -> int:
        """How many entries have really been kept."""
        self._cursor.execute("SELECT count(*) AS entries FROM decision_journal")
        return int((self._cursor.fetchone() or {"entries": 0})["entries"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Child:
    """A child process that prints a line with `ready` when it is. Ended with SIGTERM."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self._log = folder / "child.log"
        with self._log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            )

    def ready(self) -> str:
        """Its line; RuntimeError with its log if it does not come."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 1.0)[0]:
                line = self.process.stdout.readline().decode()
                if "ready" in line:
                    return line.strip()
                if not line:
                    break
        raise RuntimeError(f"{self.process.args!r} is not ready: {self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Ask it to end, and insist after ten seconds."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def a_child(folder: Path, *arguments: str) -> Iterator[str]:
    """The ready line of a child that runs during the block."""
    child = Child(folder, *arguments)
    try:
        yield child.ready()
    finally:
        child.stop()
