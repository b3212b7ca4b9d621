"""Sessions with the book's database, over connections made as the engine's are: safe, in UTC, numbers exact."""

import json
from decimal import Decimal
from functools import partial

import msgspec
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from core.postgres.connections import connect

_NAME = "portfolio-manager book"
# Decimals and times are written as text, so that they stay what they are. A float that is no number is refused.
_written = partial(json.dumps, default=msgspec.to_builtins, allow_nan=False)


def engine_of(dsn: str) -> Engine:
    """SQLAlchemy's engine on the database that a connection string names; `dispose()` closes its connections.

    Connecting raises DatabaseAway where it cannot be had now, UnsafeServer where it could lose what it acknowledges.
    """
    return create_engine(
        "postgresql+psycopg2://",
        creator=partial(connect, dsn, "main", _NAME),
        pool_pre_ping=True,
        json_serializer=_written,
        json_deserializer=partial(json.loads, parse_float=Decimal),
    )


def sessions_on(engine: Engine) -> sessionmaker[Session]:
    """`with sessions.begin() as session:` is a transaction, committed at its end."""
    return sessionmaker(engine)
