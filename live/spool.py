"""Signals kept on local disk while PostgreSQL cannot commit: SQLite, synced before anything is answered.

The order in which signals are decided is the writer's queue's; the spool only makes what waits there outlive the process.
"""

import fcntl
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from core.errors import ConfigurationError, PortfolioError
from core.inputs import SignalInput
from core.postgres.connections import require_portfolio_name
from live.durable_sqlite import format_of, make_durable, set_format

log = structlog.get_logger(__name__)

MOST_SIGNALS = 100_000
_FORMAT = 1
_REMOVED_AT_ONCE = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS signals (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT NOT NULL UNIQUE,
    input TEXT NOT NULL,
    payload TEXT NOT NULL,
    set_aside TEXT
);
CREATE INDEX IF NOT EXISTS ix_signals_set_aside ON signals (number) WHERE set_aside IS NOT NULL;
CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY CHECK (id = 1), probes INTEGER NOT NULL);
"""


class SpoolUnusable(PortfolioError):
    """the spool cannot keep a signal now; nothing was kept"""


class _Entry:
    """A signal on its way to the disk. `added`: it was not there yet, or was set aside."""

    __slots__ = ("added", "done", "error", "fingerprint", "row")

    def __init__(self, fingerprint: str, row: tuple[str, str]) -> None:
        self.fingerprint = fingerprint
        self.row = row
        self.added = False
        self.done = False
        self.error: SpoolUnusable | None = None


class Spooled(Struct, frozen=True, kw_only=True):
    """A signal as it was kept."""

    given: SignalInput
    payload: dict[str, Any]


class Spool:
    """One file, one process, any thread. `most` is how many signals it holds at most.

    Raises ConfigurationError where the file cannot be used at all.
    """

    def __init__(self, file: Path, *, most: int = MOST_SIGNALS) -> None:
        self.file = file
        self.kept = 0
        self.set_aside_count = 0
        self._most = most
        self._writable = True
        self._decided: set[str] = set()
        self._lock = threading.RLock()
        self._joining = threading.Lock()
        self._joined: list[_Entry] = []
        new = not file.exists()
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=1.0)
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise ConfigurationError(f"the spool {file} cannot be used: {error}. {_advice(error)}") from error
        except ConfigurationError:
            self._connection.close()
            raise
        if new:
            _sync_folder(file.parent)

    @property
    def usable(self) -> bool:
        """Whether a signal could be kept now, as far as the last attempt tells."""
        return self._writable and self._waiting < self._most

    @property
    def _waiting(self) -> int:
        return self.kept + self.set_aside_count

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def keep(self, given: SignalInput, payload: dict[str, Any]) -> bool:
        """Keep a signal; on return it is on the disk. False: it was there already, with an earlier delivery of it.

        Who comes while the disk is busy joins the next write: many wait for one sync. Raises SpoolUnusable: nothing was
        kept.
        """
        entry = _Entry(given.fingerprint, (msgspec.json.encode(given).decode(), msgspec.json.encode(payload).decode()))
        with self._joining:
            self._joined.append(entry)
        with self._lock:
            if not entry.done:
                with self._joining:
                    entries, self._joined = self._joined, []
                self._keep_all(entries)
        if entry.error is not None:
            raise entry.error
        return entry.added

    def _keep_all(self, entries: list[_Entry]) -> None:
        try:
            with self._changing() as connection:
                waiting = self._waiting
                connection.execute("BEGIN IMMEDIATE")
                for entry in entries:
                    waiting += self._keep_one(connection, entry, waiting)
                connection.execute("COMMIT")
                self._count(waiting)
        except SpoolUnusable as error:
            for entry in entries:
                entry.error = error
        for entry in entries:
            entry.done = True

    def _keep_one(self, connection: sqlite3.Connection, entry: _Entry, waiting: int) -> int:
        """How many rows it adds."""
        found = connection.execute(
            "SELECT set_aside IS NOT NULL FROM signals WHERE fingerprint = ?", (entry.fingerprint,)
        ).fetchone()
        if found is not None:
            entry.added = bool(found[0])
            if entry.added:
                connection.execute("UPDATE signals SET set_aside = NULL WHERE fingerprint = ?", (entry.fingerprint,))
            return 0
        if waiting >= self._most:
            entry.error = SpoolUnusable(f"the spool is full: {self._most} signals wait")
            return 0
        connection.execute(
            "INSERT INTO signals (fingerprint, input, payload) VALUES (?, ?, ?)", (entry.fingerprint, *entry.row)
        )
        entry.added = True
        return 1

    def remove(self, fingerprints: Collection[str]) -> None:
        """Forget signals that PostgreSQL has. Never raises: what cannot be removed now is removed with the next ones."""
        with suppress(SpoolUnusable), self._changing(also=fingerprints) as connection:
            removed, waiting = sorted(self._decided), self._waiting
            for start in range(0, len(removed), _REMOVED_AT_ONCE):
                chunk = removed[start : start + _REMOVED_AT_ONCE]
                marks = ", ".join("?" * len(chunk))
                query = f"DELETE FROM signals WHERE fingerprint IN ({marks})"  # noqa: S608 - nothing but question marks
                waiting -= connection.execute(query, chunk).rowcount
                self._decided.difference_update(chunk)
                self._count(waiting)

    def set_aside(self, fingerprint: str, reason: str) -> None:
        """Keep a signal that PostgreSQL refuses whatever is done, out of the others' way, for a human. Never raises."""
        log.error("a kept signal cannot be decided and is set aside", fingerprint=fingerprint, reason=reason)
        with suppress(SpoolUnusable), self._changing() as connection:
            connection.execute("UPDATE signals SET set_aside = ? WHERE fingerprint = ?", (reason, fingerprint))
            self._count(self._waiting)

    def probe(self) -> None:
        """See whether a signal could be kept now; `usable` tells."""
        with suppress(SpoolUnusable):
            if self._decided:
                self.remove(())
            with self._changing() as connection:
                connection.execute("INSERT INTO probe VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET probes = probes + 1")

    def load(self) -> list[Spooled]:
        """What is kept, in the order it came; what was set aside is tried again."""
        with self._changing() as connection:
            if self.set_aside_count:
                connection.execute("UPDATE signals SET set_aside = NULL WHERE set_aside IS NOT NULL")
                self._count(self._waiting)
        found = []
        for fingerprint, given, payload in self.rows():
            try:
                found.append(
                    Spooled(
                        given=msgspec.json.decode(given, type=SignalInput),
                        payload=msgspec.json.decode(payload, type=dict[str, Any]),
                    )
                )
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                self.set_aside(fingerprint, f"it cannot be read: {error}")
        return found

    def rows(self) -> list[tuple[str, str, str]]:
        """Fingerprint, input and payload of each signal, as they are written, in the order they came."""
        with self._changing() as connection:
            return connection.execute("SELECT fingerprint, input, payload FROM signals ORDER BY number").fetchall()

    def adopt(self, other: "Spool") -> None:
        """Take over what another process left behind; it is gone there only once it is kept here."""
        rows = other.rows()
        with self._changing() as connection:
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO signals (fingerprint, input, payload) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows
            )
            connection.execute("COMMIT")
            self._count(self._rows())
        other.remove([fingerprint for fingerprint, _, _ in rows])

    def _prepare(self) -> None:
        # The file is ours alone, its lock file says so.
        make_durable(self._connection, alone=True)
        if format_of(self._connection, _FORMAT, "spool", self.file) != _FORMAT:
            self._connection.executescript(_SCHEMA)
            set_format(self._connection, _FORMAT)
        self._count(self._rows())

    def _rows(self) -> int:
        (rows,) = self._connection.execute("SELECT count(*) FROM signals").fetchone()
        return int(rows)

    def _count(self, waiting: int) -> None:
        (aside,) = self._connection.execute("SELECT count(*) FROM signals WHERE set_aside IS NOT NULL").fetchone()
        self.kept, self.set_aside_count = waiting - aside, aside

    @contextmanager
    def _changing(self, also: Collection[str] = ()) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._decided.update(also)
            try:
                yield self._connection
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                if self._writable:
                    log.error("the spool cannot be written", file=str(self.file), error=str(error))
                self._writable = False
                raise SpoolUnusable(f"the spool cannot be written: {error}") from error
            self._writable = True


def _advice(error: sqlite3.Error) -> str:
    if isinstance(error, sqlite3.OperationalError):
        return "Free some space, or give this user the right to it, and start again; what it holds is not lost"
    return "It may hold signals that are not decided yet: keep a copy, move it away, and start again"


@contextmanager
def open_spool(folder: Path, portfolio: str) -> Iterator[Spool]:
    """The portfolio's spool of this process below `folder`, with whatever processes that have ended left in theirs.

    Each process has a file of its own, the first that no other holds. Raises ConfigurationError.
    """
    require_portfolio_name(portfolio)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(folder.parent)
        number, own_lock = next(
            (number, lock)
            for number in count(1)
            if (lock := _locked(folder / f"{portfolio}-{number}.lock")) is not None
        )
    except OSError as error:
        raise ConfigurationError(
            f"`--data-dir`: the spool's folder {folder} cannot be used: {error.strerror}"
        ) from error
    with own_lock, closing(Spool(folder / f"{portfolio}-{number}.sqlite")) as spool:
        for file in sorted(folder.glob(f"{portfolio}-*.sqlite")):
            if file != spool.file:
                _adopt_if_abandoned(spool, file)
        yield spool


def _adopt_if_abandoned(spool: Spool, file: Path) -> None:
    lock = _locked(file.with_suffix(".lock"))
    if lock is None:
        return
    with lock, closing(Spool(file)) as abandoned:
        waiting = abandoned.kept + abandoned.set_aside_count
        if waiting:
            log.info("signals that another process left behind are taken over", file=str(file), signals=waiting)
            spool.adopt(abandoned)


def waiting_in(folder: Path, portfolio: str) -> int | None:
    """How many signals the portfolio's spools below `folder` hold now, beside the processes that use them; None where
    that cannot be seen."""
    found = 0
    with tempfile.TemporaryDirectory() as temporary, suppress(OSError, sqlite3.Error):
        for file in folder.glob(f"{portfolio}-*.sqlite"):
            copied = Path(temporary) / file.name
            # A process keeps its file to itself; a copy, with the log that SQLite keeps beside it, can be read.
            for part in (file, file.with_name(f"{file.name}-wal")):
                if part.exists():
                    shutil.copyfile(part, copied.with_name(part.name))
            with closing(sqlite3.connect(copied)) as connection:
                found += connection.execute("SELECT count(*) FROM signals").fetchone()[0]
        return found
    return None


class _Lock:
    """A file that is locked for as long as the process lives, or the block lasts."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _locked(file: Path) -> _Lock | None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return _Lock(descriptor)


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
