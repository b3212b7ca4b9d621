"""Alembic's environment for what a database has once. `alembic` of the command line reads alembic.ini and comes here, too:
`alembic upgrade head --sql` prints the SQL, `alembic -x dsn="$(python portfolio_manager.py dsn)" check` compares with the models.
"""

import sqlalchemy
from alembic import context
from alembic.util import CommandError

from book.models import metadata as of_book
from core.postgres.migrations import SHARED_SCHEMA, transaction
from risk.models import metadata as of_risk

config = context.config
_SCHEMAS = (SHARED_SCHEMA, "risk")
# What create_hypertable adds of its own accord: an index of the time, named after the table and its column.
_OF_TIMESCALE = {
    f"{table.name}_{column.name}_idx"
    for table in (*of_book.tables.values(), *of_risk.tables.values())
    for column in table.primary_key
    if len(table.primary_key) > 1
}


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether what is in the database is to be compared with the models: of all schemas these two, so that the chunks of
    TimescaleDB and its catalogue are not; and none of the indexes that it makes."""
    if kind == "schema":
        return name in _SCHEMAS
    return not (kind == "index" and name in _OF_TIMESCALE)


def run_offline() -> None:
    """Print the SQL instead of running it. The schema first: the table of the version lives in it."""
    context.configure(dialect_name="postgresql", version_table_schema=SHARED_SCHEMA)
    with context.begin_transaction():
        context.get_context().impl.static_output(f"CREATE SCHEMA IF NOT EXISTS {SHARED_SCHEMA};\n")
        context.run_migrations()


def run_online(connection: sqlalchemy.Connection) -> None:
    """Run what is missing, or compare, in the one transaction that the caller commits."""
    context.configure(
        connection=connection,
        target_metadata=[of_book, of_risk],
        version_table_schema=SHARED_SCHEMA,
        include_schemas=True,
        include_name=is_ours,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def asked_for() -> str:
    """The connection string that -x names."""
    given = context.get_x_argument(as_dictionary=True).get("dsn")
    if not isinstance(given, str):
        raise CommandError('which database? alembic -x dsn="$(python portfolio_manager.py dsn)" ...')
    return given


if context.is_offline_mode():
    run_offline()
elif "connection" in config.attributes:
    run_online(config.attributes["connection"])
else:
    with transaction(asked_for(), "main", SHARED_SCHEMA) as opened:
        run_online(opened)
