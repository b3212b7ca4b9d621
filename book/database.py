"""Sessions with the book's database, over connections made as the engine's are: safe, in UTC, numbers exact."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import cast

import msgspec
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.orm import Session, sessionmaker

from core.errors import PoolExhausted, Refused
from core.postgres.connections import Connection, connect
from core.postgres.errors import translated
from core.postgres.patience import seconds_left
from core.postgres.watchdog import WATCHDOG

_NAME = "portfolio-manager book"
# Longer than a roll-up of a million positions takes; a request's own deadline comes before it.
LIMIT_SECONDS = 20.0
# Between two statements of a transaction.
IDLE_SECONDS = 60
# For a connection that is free: of the two seconds of a request something is left to say that there is none.
WAIT_SECONDS = 1.0
_NO_TABLE_COLUMN_FUNCTION_OR_SCHEMA = ("42P01", "42703", "42883", "3F000")
# Decimals and times are written as text, so that they stay what they are. A float that is no number is refused.
_written = partial(json.dumps, default=msgspec.to_builtins, allow_nan=False)


def engine_of(dsn: str, *, connections: int = 5, idle_seconds: int = IDLE_SECONDS) -> Engine:
    """SQLAlchemy's engine on the database that a connection string names, with so many connections; `dispose()` closes them.
    The server ends a transaction of which it has not heard for `idle_seconds`.

    Connecting raises DatabaseAway where it cannot be had now, UnsafeServer where it could lose what it acknowledges.
    """
    return create_engine(
        "postgresql+psycopg2://",
        creator=partial(_patient_connection, dsn, idle_seconds),
        pool_pre_ping=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
        json_serializer=_written,
        json_deserializer=partial(json.loads, parse_float=Decimal),
    )


def _patient_connection(dsn: str, idle_seconds: int) -> Connection:
    """The engine's own transactions are never idle for long; those that read a file, or reckon in between, may be."""
    connection = connect(dsn, "main", _NAME)
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{idle_seconds}s'")
    connection.commit()
    return connection


def sessions_on(engine: Engine) -> sessionmaker[Session]:
    """`with sessions.begin() as session:` is a transaction, committed at its end."""
    return sessionmaker(engine)


class BookNotMigrated(Refused):
    """the book's tables are not there or not up to date: run `python portfolio_manager.py migrate --book`"""


@contextmanager
def transaction(engine: Engine, *, limit_seconds: float = LIMIT_SECONDS) -> Iterator[Session]:
    """A session in a transaction that is committed at the block's end, and cut where it lasts longer than the limit, or than
    the thread's caller waits.

    Raises BookNotMigrated where tables are missing, DatabaseAway, PoolExhausted, and DataRefused for what a constraint refuses.
    """
    with translated(), Session(engine) as session:
        try:
            with session.begin():
                raw = cast("Connection", session.connection().connection.driver_connection)
                with WATCHDOG.over(raw, seconds_left(limit_seconds)):
                    yield session
        except NoneFree as error:
            raise PoolExhausted from error
        except DBAPIError as error:
            if error.orig is None:
                raise
            if getattr(error.orig, "pgcode", None) in _NO_TABLE_COLUMN_FUNCTION_OR_SCHEMA:
                raise BookNotMigrated from error
            raise error.orig from error
