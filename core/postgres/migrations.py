"""Bring a portfolio's schema to the version that this code needs. Alembic is imported only where something is missing."""

import re
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2 import sql

from core.errors import Halt
from core.postgres.connections import READ_LIMIT_SECONDS, connect, require_portfolio_name, schema_of
from core.postgres.errors import translated
from core.postgres.watchdog import WATCHDOG

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
# Each statement has its own limit; what has none is a COMMIT that waits for a standby, or a server that stands still.
UPGRADE_LIMIT_SECONDS = 600.0
_NUMBERED = re.compile(r"^(\d{3})_[a-z0-9_]+\.sql$")


class SchemaTooNew(Halt):
    """the database's schema is newer than this program"""


def head() -> str:
    """The newest migration of this code, such as `001`."""
    return max(match.group(1) for match in map(_NUMBERED.match, (file.name for file in MIGRATIONS.iterdir())) if match)


def schema_version(dsn: str, portfolio: str) -> str | None:
    """The version that the portfolio's schema is at; None where it was never migrated (or only by hand)."""
    with (
        closing(connect(dsn, portfolio, "portfolio-manager migrate")) as connection,
        WATCHDOG.over(connection, READ_LIMIT_SECONDS),
        translated(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{schema_of(portfolio)}.alembic_version",))
        if not (cursor.fetchone() or (False,))[0]:
            return None
        cursor.execute(
            sql.SQL("SELECT version_num FROM {}.alembic_version").format(sql.Identifier(schema_of(portfolio)))
        )
        row = cursor.fetchone()
        return None if row is None else str(row[0])


def migrate(dsn: str, portfolio: str) -> tuple[str | None, str]:
    """Run what is missing; the versions before and after. One transaction: it happens whole or not at all.

    Raises SchemaTooNew where the database is ahead of this code, StatementFailed where the role may not create tables.
    """
    require_portfolio_name(portfolio)
    before, target = schema_version(dsn, portfolio), head()
    if before == target:
        return before, target
    if before is not None and before > target:
        raise SchemaTooNew(
            f"the schema of {portfolio} is at {before}, this program knows {target}: use a newer program"
        )
    _upgrade(dsn, portfolio)
    return before, target


def _upgrade(dsn: str, portfolio: str) -> None:
    import sqlalchemy
    from alembic import command
    from alembic.config import Config

    session = connect(dsn, portfolio, "portfolio-manager migrate")
    engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: session, poolclass=sqlalchemy.NullPool)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["schema"] = schema_of(portfolio)
    with translated(), engine.connect() as connection:
        try:
            with WATCHDOG.over(session, UPGRADE_LIMIT_SECONDS), connection.begin():
                raw = connection.connection.cursor()
                # Two starts at once: the second waits here, and then finds nothing left to do.
                raw.execute("SELECT pg_advisory_xact_lock(hashtext('portfolio-manager migrate'))")
                # Looked for first: IF NOT EXISTS asks for the privilege to create even where there is nothing to do.
                raw.execute("SELECT to_regnamespace(%s) IS NULL", (schema_of(portfolio),))
                if (raw.fetchone() or (True,))[0]:
                    raw.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema_of(portfolio))))
                config.attributes["connection"] = connection
                command.upgrade(config, "kernel@head")
        except sqlalchemy.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg2.Error):
                raise error.orig from error
            raise
