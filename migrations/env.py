"""Alembic's environment: the portfolio's schema is the first of the search path, its version table lives in it."""

import sqlalchemy
from alembic import context

config = context.config
schema = config.attributes.get("schema", "public")


def run_offline() -> None:
    """Print the SQL instead of running it."""
    context.configure(dialect_name="postgresql", version_table="alembic_version", version_table_schema=schema)
    with context.begin_transaction():
        context.run_migrations()


def run_online(connection: sqlalchemy.Connection) -> None:
    """Run what is missing, in the one transaction that the caller commits."""
    context.configure(connection=connection, version_table="alembic_version", version_table_schema=schema)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online(config.attributes["connection"])
