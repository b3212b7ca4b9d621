"""Market data and the risk lab: read-only towards the engine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from risk.notebook.lab import Lab


def open(dsn: str, *, timeout_seconds: float = 60.0) -> "Lab":  # noqa: A001 - notebooks read `risk.open(dsn)`
    """What the database has, as frames: read-only, each question cut off after `timeout_seconds`.

    `dsn`: libpq's connection string, or a URL such as postgresql://user@host:5432/database. Raises BookNotMigrated where tables
    are missing, DatabaseAway where there is no server. Arrays and frames are imported here, not by `import risk`.
    """
    from risk.notebook.lab import Lab

    return Lab(dsn, timeout_seconds=timeout_seconds)
