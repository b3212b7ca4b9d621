"""The database: whether it is there, keeps what it acknowledges, has our tables, and shares our clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from core.errors import ConfigurationError, DatabaseAway, PortfolioError, UnsafeServer
from core.postgres.embedded import EmbeddedServer, EmbeddedServerError
from core.postgres.look import Looked, look
from core.postgres.migrations import head, schema_version
from live.database import database_in_use, dsn_in_use
from live.doctor.findings import Finding, failed, ok, skipped, warning
from live.options import LiveOptions

_OLDEST = 150_000
_DRIFTS = timedelta(seconds=1)
_DRIFTS_TOO_FAR = timedelta(seconds=30)
_MIGRATE = "`live` does it at its start, or run `migrate` with the same --data-dir or --db-config"


class _NotUp(PortfolioError):
    """there is no embedded database that runs; `mend` says how to have one"""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


def check_database(options: LiveOptions, clock: Callable[[], datetime], *, start: bool) -> Iterator[Finding]:
    """Reachable, safe, migrated, and on the same time. Starts nothing, unless the embedded server is to be started."""
    (portfolio,) = options.portfolios
    try:
        with _dsn(options, start=start) as dsn:
            before = clock()
            looked = look(dsn, portfolio)
            after = clock()
            yield _version(looked, after - before)
            yield ok(
                "durability", f"fsync and full_page_writes are on, synchronous_commit is {looked.synchronous_commit}"
            )
            yield _migrations(schema_version(dsn, portfolio), portfolio)
            if options.db_config is not None:
                yield _clocks(looked.now, before, after)
    except _NotUp as error:
        yield skipped("database", str(error), error.mend)
    except UnsafeServer as error:
        yield failed("durability", str(error), "turn it on in postgresql.conf and start the server again")
    except ConfigurationError as error:
        yield failed("database", str(error), "put right what --db-config and --db-env name")
    except (DatabaseAway, EmbeddedServerError) as error:
        yield failed("database", _one_line(error), "see that the server runs, and takes the user, from this machine")


@contextmanager
def _dsn(options: LiveOptions, *, start: bool) -> Iterator[str]:
    """The connection string of a server that runs. Our looking does not make us one of the embedded server's users, of whom the
    last one stops it."""
    if options.db_config is None:
        _require_made(options.data_dir)
    if options.db_config is None and not start:
        _require_running(options.data_dir)
        yield dsn_in_use(options.data_dir, None, options.db_env)
    else:
        with database_in_use(options.data_dir, options.db_config, options.db_env, create=False) as database:
            yield database.dsn


def _require_made(data_dir: Path) -> None:
    try:
        EmbeddedServer.dsn_of(data_dir)
    except EmbeddedServerError as error:
        raise _NotUp(str(error), "start `live`") from None


def _require_running(data_dir: Path) -> None:
    if EmbeddedServer(data_dir, create=False).postmaster_pid is None:
        raise _NotUp(f"the embedded database in {data_dir} does not run", "start `live`, or give --start-database")


def _version(looked: Looked, took: timedelta) -> Finding:
    found = f"PostgreSQL {looked.version}, asked and answered in {took / timedelta(milliseconds=1):.0f} ms"
    if looked.version_number < _OLDEST:
        return failed("database", found, "use PostgreSQL 15 or newer")
    return ok("database", found)


def _migrations(version: str | None, portfolio: str) -> Finding:
    if version == head():
        return ok("migrations", f"portfolio {portfolio} is at version {version}, the newest")
    if version is None:
        return warning("migrations", f"portfolio {portfolio} is not migrated, or was by hand", _MIGRATE)
    if version > head():
        found = f"portfolio {portfolio} is at version {version}, this program knows {head()}"
        return failed("migrations", found, "use the newer program that has migrated it")
    return warning("migrations", f"portfolio {portfolio} is at version {version}, the newest is {head()}", _MIGRATE)


def _clocks(theirs: datetime, before: datetime, after: datetime) -> Finding:
    drift = theirs - (before + (after - before) / 2)
    way = "ahead of" if drift > timedelta() else "behind"
    found = f"the database's clock is {abs(drift.total_seconds()):.2f} s {way} this one"
    if abs(drift) <= max(_DRIFTS, after - before):
        return ok("database clock", found)
    mend = "let NTP (chrony, systemd-timesyncd) keep both"
    return (failed if abs(drift) > _DRIFTS_TOO_FAR else warning)("database clock", found, mend)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
