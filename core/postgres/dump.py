"""A portfolio's schema as pg_dump writes it: made at one moment beside whoever writes, and its rows read out of it again."""

import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, Any

from msgspec import Struct
from psycopg2.extras import RealDictCursor

from core.errors import PortfolioError
from core.postgres.client_programs import client_program, connection_for
from core.postgres.connections import Connection, connect, schema_of
from core.postgres.errors import translated
from core.postgres.statements import statement

PIECE = 1024 * 1024
_LOCK_WAIT = "30s"
_COPY = re.compile(rb"^COPY (?:\S+)\.([a-z_]+) \((.+)\) FROM stdin;\n$")
_END = b"\\.\n"


class DumpFailed(PortfolioError):
    """pg_dump or pg_restore did not do it; the message is what it said"""


class Facts(Struct, frozen=True, kw_only=True):
    """What is in a dump: the journal's end, its entries' number, the highest term, counts."""

    taken_at: datetime
    schema_version: str
    entries: int
    last_hash: str
    term: int
    signals: int
    undecided: int
    open_positions: int


class Moment:
    """One moment of a portfolio, which stays as it is for whoever reads it."""

    def __init__(self, connection: Connection, dsn: str, portfolio: str) -> None:
        self._connection = connection
        self._dsn = dsn
        self._portfolio = portfolio
        exported = self._one("export_snapshot")
        self._snapshot: str = exported["snapshot"]
        self._taken_at: datetime = exported["taken_at"]
        self._program = client_program("pg_dump", exported["server_major"])

    @property
    def major(self) -> int:
        """The major version of PostgreSQL whose pg_dump it is read with."""
        return self._program.major

    def facts(self) -> Facts | None:
        """What there is at that moment; None where nothing was ever decided, or the tables are not there."""
        if not self._one("version_table")["present"]:
            return None
        version, end = self._first("migration_version"), self._first("last_seq")
        if version is None or end is None:
            return None
        return Facts(
            taken_at=self._taken_at,
            schema_version=version["version_num"],
            entries=end["seq"],
            last_hash=end["content_hash"],
            **self._one("backup_facts"),
        )

    @contextmanager
    def dumped(self) -> Iterator[IO[bytes]]:
        """What pg_dump writes of the schema (its custom format). DumpFailed at the end of the block if it did not end well."""
        target, environment = connection_for(self._connection, self._dsn)
        command = [str(self._program.path), "--format=custom", "--no-owner", "--no-privileges"]
        command += [f"--schema={schema_of(self._portfolio)}", f"--snapshot={self._snapshot}"]
        command += [f"--lock-wait-timeout={_LOCK_WAIT}", "--no-password", f"--dbname={target}"]
        with _running(command, environment=environment) as process:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            yield process.stdout

    def _one(self, name: str) -> dict[str, Any]:
        row = self._first(name)
        assert row is not None  # noqa: S101 - these have one row
        return row

    def _first(self, name: str) -> dict[str, Any] | None:
        with translated(), self._connection.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(statement(name))
            row = cursor.fetchone()
        return None if row is None else dict(row)


@contextmanager
def one_moment(dsn: str, portfolio: str) -> Iterator[Moment]:
    """The portfolio as it is now, for as long as the block takes."""
    connection = connect(dsn, portfolio, f"portfolio-manager {portfolio} backup")
    try:
        with translated():
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield Moment(connection, dsn, portfolio)
    finally:
        connection.close()


def require_readable(dump: IO[bytes], major: int) -> None:
    """Have pg_restore read all of it. Raises DumpFailed."""
    with _scripted(dump, major) as script:
        while script.read(PIECE):
            pass


class TableRows:
    """The rows of one table in COPY's text form, as a file that ends with them."""

    def __init__(self, table: str, columns: list[str], script: IO[bytes]) -> None:
        self.table = table
        self.columns = columns
        self._script = script
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Some whole rows, `size` bytes or a little more; nothing at the end."""
        lines, length = [], 0
        while not self._ended and (size < 0 or length < size):
            line = self._script.readline()
            self._ended = line in (_END, b"")
            if not self._ended:
                lines.append(line)
                length += len(line)
        return b"".join(lines)

    readline = read


@contextmanager
def tables_of(dump: IO[bytes], major: int, progress: Callable[[int], None]) -> Iterator[Iterator[TableRows]]:
    """The tables of a dump that pg_dump of that major version made, one after the other: read each to its end.

    `progress` is told how many bytes of the dump have gone by. Raises DumpFailed.
    """
    with _scripted(dump, major, "--data-only", progress=progress) as script:
        yield _tables(script)


def _tables(script: IO[bytes]) -> Iterator[TableRows]:
    while line := script.readline():
        begins = _COPY.match(line)
        if begins is not None:
            columns = [name.strip('"') for name in begins[2].decode().split(", ")]
            rows = TableRows(begins[1].decode(), columns, script)
            yield rows
            while rows.read(PIECE):
                pass


@contextmanager
def _scripted(
    dump: IO[bytes], major: int, *options: str, progress: Callable[[int], None] = lambda _: None
) -> Iterator[IO[bytes]]:
    """What pg_restore makes of it: SQL."""
    command = [str(client_program("pg_restore", major).path), "--file=-", *options]
    with _running(command, given=dump, progress=progress) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        yield process.stdout


@contextmanager
def _running(
    command: list[str],
    *,
    environment: dict[str, str] | None = None,
    given: IO[bytes] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that reads `given` and whose output the block reads; it has ended with the block. Raises DumpFailed."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            command,
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=environment,
            bufsize=PIECE,
        )
        feeding = threading.Thread(target=_feed, args=(process, given, progress), daemon=True)
        feeding.start()
        try:
            yield process
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            feeding.join()
            if process.stdout is not None:
                process.stdout.close()
        if code != 0:
            said.seek(0)
            raise DumpFailed(said.read().decode(errors="replace").strip() or f"{command[0]} ended with {code}")


def _feed(process: "subprocess.Popen[bytes]", given: IO[bytes] | None, progress: Callable[[int], None]) -> None:
    if given is None or process.stdin is None:
        return
    # It may end before it has read all: what it says of that is heard at its end.
    with suppress(BrokenPipeError, ValueError, OSError), process.stdin as pipe:
        while piece := given.read(PIECE):
            pipe.write(piece)
            progress(len(piece))
