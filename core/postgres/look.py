"""One look at a server, over a connection of its own: for who wants to know whether it can be used."""

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from core.postgres.connections import READ_LIMIT_SECONDS, connect
from core.postgres.errors import translated
from core.postgres.statements import statement
from core.postgres.watchdog import WATCHDOG


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a server that keeps what it acknowledges says of itself; `now` is its clock."""

    version: str
    version_number: int
    synchronous_commit: str
    now: datetime


def look(dsn: str, portfolio: str) -> Looked:
    """Ask it. Raises DatabaseAway where it cannot be asked, UnsafeServer where it would lose commits in a crash."""
    with (
        closing(connect(dsn, portfolio, "portfolio-manager doctor")) as connection,
        WATCHDOG.over(connection, READ_LIMIT_SECONDS),
        translated(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement("server_looked_at"))
        (row,) = cursor.fetchall()
        connection.rollback()
    version, version_number, synchronous_commit, now = row
    return Looked(version=version, version_number=version_number, synchronous_commit=synchronous_commit, now=now)
