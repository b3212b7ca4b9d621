"""Which database a command works on: the embedded one under the data folder, or the one that a file names."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from core.config import load_database_settings
from core.postgres.connections import dsn_of, replica_dsn_of
from core.postgres.embedded import EmbeddedServer, EmbeddedServerError

log = structlog.get_logger(__name__)


DEFAULT_POOL_SIZE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseInUse:
    """Where it is, and on how many hosts; where lists may be read besides, how many connections to read with; how to bring it
    up, where that is ours to do."""

    dsn: str = field(repr=False)
    replica: str | None = field(default=None, repr=False)
    hosts: int = 1
    pool_size: int = DEFAULT_POOL_SIZE
    start: Callable[[], object] = lambda: None

    def revive(self) -> None:
        """Bring it up again, if that can be done; what keeps it from being is logged."""
        try:
            self.start()
        except EmbeddedServerError as error:
            log.error("the embedded server cannot be started again", error=str(error))


@contextmanager
def database_to_be(data_dir: Path, db_config: Path | None, db_env: str, *, create: bool) -> Iterator[DatabaseInUse]:
    """The database that `start()` brings up and the end of the block gives up.

    Without `db_config` that is the embedded server: shared with whoever uses it beside us, stopped by the last one;
    `create` False starts an existing one only. Raises ConfigurationError; `start()` EmbeddedServerError.
    """
    if db_config is not None:
        settings = load_database_settings(db_config, db_env)
        yield DatabaseInUse(
            dsn=dsn_of(settings),
            replica=replica_dsn_of(settings),
            hosts=settings.host.count(",") + 1,
            pool_size=settings.pool_size,
        )
        return
    server = EmbeddedServer(data_dir, create=create)
    starting = threading.Lock()

    def start() -> None:
        # Each portfolio of the process may find it gone, and bring it up again.
        with starting:
            server.start()

    try:
        yield DatabaseInUse(dsn=server.dsn, start=start)
    finally:
        server.stop()


@contextmanager
def database_in_use(data_dir: Path, db_config: Path | None, db_env: str, *, create: bool) -> Iterator[DatabaseInUse]:
    """The same, up for the block. Raises ConfigurationError, EmbeddedServerError."""
    with database_to_be(data_dir, db_config, db_env, create=create) as database:
        database.start()
        yield database


def dsn_in_use(data_dir: Path, db_config: Path | None, db_env: str) -> str:
    """The same connection string, without starting anything. Raises as database_in_use does."""
    if db_config is not None:
        return dsn_of(load_database_settings(db_config, db_env))
    return EmbeddedServer.dsn_of(data_dir)
