"""Which database a command works on: the embedded one under the data folder, or the one that a file names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.config import load_database_settings
from core.postgres.connections import dsn_of
from core.postgres.embedded import EmbeddedServer


@contextmanager
def database_in_use(data_dir: Path, db_config: Path | None, db_env: str, *, create: bool) -> Iterator[str]:
    """The libpq connection string of the database in use, up for the block.

    Without `db_config` that is the embedded server: shared with whoever uses it beside us, stopped by the last one;
    `create` False starts an existing one only. Raises ConfigurationError, EmbeddedServerError.
    """
    if db_config is not None:
        yield dsn_of(load_database_settings(db_config, db_env))
        return
    server = EmbeddedServer(data_dir, create=create)
    dsn = server.start()
    try:
        yield dsn
    finally:
        server.stop()


def dsn_in_use(data_dir: Path, db_config: Path | None, db_env: str) -> str:
    """The same connection string, without starting anything. Raises as database_in_use does."""
    if db_config is not None:
        return dsn_of(load_database_settings(db_config, db_env))
    return EmbeddedServer.dsn_of(data_dir)
