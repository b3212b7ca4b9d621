"""SQLite files of ours: what is committed is on the disk, and a newer program's file is refused."""

import sqlite3
from pathlib import Path

from core.errors import ConfigurationError


def make_durable(connection: sqlite3.Connection, *, alone: bool = False) -> None:
    """Every COMMIT from now on is on the disk when it returns. `alone`: nobody else opens the file, so that it needs no shared
    memory beside it, and can be read on a full disk."""
    if alone:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # On macOS a plain fsync does not reach the disk.
    connection.execute("PRAGMA fullfsync = ON")


def format_of(connection: sqlite3.Connection, known: int, name: str, file: Path) -> int:
    """The file's format, 0 for a new one. Raises ConfigurationError where it is newer than what this program knows."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > known:
        raise ConfigurationError(
            f"the {name} {file} has format {found}, this program knows {known}: use a newer program"
        )
    return int(found)


def set_format(connection: sqlite3.Connection, known: int) -> None:
    """The file is of this format from now on."""
    connection.execute(f"PRAGMA user_version = {known}")
