"""Bring a portfolio's schema, or the book's, to the version that this code needs. Alembic is imported where something is missing.

The kernel's migrations are run for each portfolio. Those of migrations/shared are run once a database, when they are asked for:
the engine needs none of them.
"""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psycopg2
from psycopg2 import sql

from core.errors import Halt
from core.postgres.connections import READ_LIMIT_SECONDS, Connection, connect, require_portfolio_name, schema_of
from core.postgres.errors import translated
from core.postgres.watchdog import WATCHDOG

if TYPE_CHECKING:
    import sqlalchemy

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
# Each statement has its own limit; what has none is a COMMIT that waits for a standby, or a server that stands still.
UPGRADE_LIMIT_SECONDS = 600.0
# Between two statements modules are imported and files read, which takes a busy machine longer than sessions may be idle else.
_IDLE = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
_NUMBERED = re.compile(r"^(\d{3})_[a-z0-9_]+\.sql$")
SHARED_MIGRATIONS = MIGRATIONS / "shared"
# The shared version table lives in it.
SHARED_SCHEMA = "book"
# Each follows another one, in whatever order they are called: those of the book are b..., those of the risk lab r...
_FOLLOWS = re.compile(r'^revision = "(\w+)"\ndown_revision = (?:"(\w+)"|None)$', re.MULTILINE)

_TABLE = re.compile(r"^CREATE TABLE IF NOT EXISTS ([a-z_]+)", re.MULTILINE)
_FUNCTION = re.compile(r"^CREATE OR REPLACE FUNCTION ([a-z_]+)", re.MULTILINE)


class SchemaTooNew(Halt):
    """the database's schema is newer than this program"""


@cache
def _versions() -> tuple[str, ...]:
    """A portfolio's, in their order."""
    names = (file.name for file in MIGRATIONS.iterdir())
    return tuple(sorted(match.group(1) for match in map(_NUMBERED.match, names) if match))


@cache
def _shared_versions() -> tuple[str, ...]:
    """The shared ones, in their order."""
    files = (SHARED_MIGRATIONS / "versions").glob("*.py")
    told = (_FOLLOWS.search(file.read_text(encoding="utf-8")) for file in files)
    after = {match.group(2): match.group(1) for match in told if match}
    found: list[str] = []
    while (following := after.get(found[-1] if found else None)) is not None:
        found.append(following)
    return tuple(found)


def head() -> str:
    """The newest migration of this code, such as `001`."""
    return _versions()[-1]


def shared_head() -> str:
    """The newest shared migration of this code, such as `r003`."""
    return _shared_versions()[-1]


@cache
def tables() -> frozenset[str]:
    """The names of a portfolio's tables, by the migrations; with the one in which Alembic keeps the version."""
    return frozenset(_named(_TABLE)) | {"alembic_version"}


@cache
def functions() -> frozenset[str]:
    """The names of a portfolio's functions."""
    return frozenset(_named(_FUNCTION))


def _named(pattern: re.Pattern[str]) -> list[str]:
    files = (file for file in MIGRATIONS.iterdir() if _NUMBERED.match(file.name))
    return [name for file in files for name in pattern.findall(file.read_text(encoding="utf-8"))]


def schema_version(dsn: str, portfolio: str) -> str | None:
    """The version that the portfolio's schema is at; None where it was never migrated (or only by hand)."""
    return _version_in(dsn, portfolio, schema_of(portfolio))


def shared_version(dsn: str) -> str | None:
    """The version that the book's schema is at; None where there is none (or it was made by hand)."""
    return _version_in(dsn, "main", SHARED_SCHEMA)


def _version_in(dsn: str, portfolio: str, schema: str) -> str | None:
    with (
        closing(connect(dsn, portfolio, "portfolio-manager migrate")) as connection,
        WATCHDOG.over(connection, READ_LIMIT_SECONDS),
        translated(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{schema}.alembic_version",))
        if not (cursor.fetchone() or (False,))[0]:
            return None
        cursor.execute(sql.SQL("SELECT version_num FROM {}.alembic_version").format(sql.Identifier(schema)))
        row = cursor.fetchone()
        return None if row is None else str(row[0])


def migrate(dsn: str, portfolio: str) -> tuple[str | None, str]:
    """Run what is missing; the versions before and after. One transaction: it happens whole or not at all.

    Raises SchemaTooNew where the database is ahead of this code, StatementFailed where the role may not create tables.
    """
    require_portfolio_name(portfolio)
    before, target = schema_version(dsn, portfolio), head()
    if _is_behind(before, _versions(), f"the schema of {portfolio}"):
        with migration(dsn, portfolio) as upgrading:
            upgrading.upgrade()
    return before, target


def migrate_shared(dsn: str) -> tuple[str | None, str]:
    """Run what is missing of the shared migrations; the versions before and after. Raises as `migrate` does."""
    before, target = shared_version(dsn), shared_head()
    if _is_behind(before, _shared_versions(), "the book's schema"):
        with transaction(dsn, "main", SHARED_SCHEMA) as connection:
            _upgrade(connection, SHARED_MIGRATIONS, SHARED_SCHEMA, "shared@head")
    return before, target


def _is_behind(version: str | None, known: tuple[str, ...], what: str) -> bool:
    if version is not None and version not in known:
        raise SchemaTooNew(f"{what} is at {version}, this program knows {known[-1]}: use a newer program")
    return version != known[-1]


class Migration:
    """A transaction in which a portfolio's schema is brought forward."""

    def __init__(self, connection: "sqlalchemy.Connection", portfolio: str) -> None:
        self._connection = connection
        self._portfolio = portfolio

    @property
    def connection(self) -> Connection:
        """psycopg2's connection, in the transaction. It is committed by the block that made it, not by its user."""
        return cast("Connection", self._connection.connection.driver_connection)

    def upgrade(self, version: str = "kernel@head") -> None:
        """Run what is missing up to that version, such as `001`; without one, all there is."""
        _upgrade(self._connection, MIGRATIONS, schema_of(self._portfolio), version)


def _upgrade(connection: "sqlalchemy.Connection", folder: Path, schema: str, version: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["schema"] = schema
    config.attributes["connection"] = connection
    command.upgrade(config, version)


@contextmanager
def migration(dsn: str, portfolio: str, *, limit_seconds: float = UPGRADE_LIMIT_SECONDS) -> Iterator[Migration]:
    """A transaction that is committed at the block's end, in the portfolio's schema, which is made where there is none."""
    with transaction(dsn, portfolio, schema_of(portfolio), limit_seconds=limit_seconds) as connection:
        yield Migration(connection, portfolio)


@contextmanager
def transaction(
    dsn: str, portfolio: str, schema: str, *, limit_seconds: float = UPGRADE_LIMIT_SECONDS
) -> Iterator["sqlalchemy.Connection"]:
    """SQLAlchemy's connection in a transaction that is committed at the block's end; `schema` is made where it is not there."""
    import sqlalchemy

    session = connect(dsn, portfolio, "portfolio-manager migrate")
    engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: session, poolclass=sqlalchemy.NullPool)
    with translated(), engine.connect() as connection:
        try:
            with WATCHDOG.over(session, limit_seconds), connection.begin():
                raw = connection.connection.cursor()
                raw.execute(_IDLE)
                # Two starts at once: the second waits here, and then finds nothing left to do.
                raw.execute("SELECT pg_advisory_xact_lock(hashtext('portfolio-manager migrate'))")
                # Looked for first: IF NOT EXISTS asks for the privilege to create even where there is nothing to do.
                raw.execute("SELECT to_regnamespace(%s) IS NULL", (schema,))
                if (raw.fetchone() or (True,))[0]:
                    raw.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
                yield connection
        except sqlalchemy.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg2.Error):
                raise error.orig from error
            raise
