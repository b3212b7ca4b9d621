"""Scratch portfolios: schemas that are made for one run and dropped after it, also after one that was killed."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

from psycopg2 import sql

from core.errors import ConfigurationError, LockHeld
from core.postgres.connections import Connection, connect, require_portfolio_name
from core.postgres.errors import translated
from core.postgres.lease import PortfolioLock
from core.postgres.migrations import migrate

_SCRATCH = re.compile(r"^scratch_[0-9a-f]{12}$")
_NAME = "portfolio-manager scratch"


@contextmanager
def scratch_portfolio(dsn: str, keep: str | None) -> Iterator[str]:
    """The name of a migrated, empty portfolio for the block, locked by us.

    `keep` names it and keeps it, unless the block fails: nothing half-done stays. Raises ConfigurationError where a
    portfolio of that name exists already.
    """
    name = require_portfolio_name(keep) if keep is not None else f"scratch_{uuid4().hex[:12]}"
    _remove_abandoned(dsn)
    if _exists(dsn, name):
        raise ConfigurationError(f"`--keep`: a portfolio {name} exists already; choose another name")
    lock = PortfolioLock(dsn, name, "replay")
    lock.acquire(0)
    finished = False
    try:
        migrate(dsn, name)
        yield name
        finished = True
    finally:
        if keep is None or not finished:
            drop_portfolio(dsn, name)
        lock.release()


def drop_portfolio(dsn: str, name: str) -> None:
    """Drop a portfolio's schema and all in it; `main` is refused."""
    if name == "main":
        raise ConfigurationError("the portfolio main is not dropped")
    _run(dsn, sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(require_portfolio_name(name))))


def _remove_abandoned(dsn: str) -> None:
    """Drop the scratch schemas whose run was killed: their lock is free."""
    rows = _run(dsn, sql.SQL("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'scratch%'"))
    for name in (name for (name,) in rows if _SCRATCH.match(name)):
        lock = PortfolioLock(dsn, name, "clean-up")
        try:
            lock.acquire(0)
        except LockHeld:
            continue
        else:
            drop_portfolio(dsn, name)
        finally:
            lock.release()


def _exists(dsn: str, name: str) -> bool:
    query = sql.SQL("SELECT to_regnamespace({}) IS NOT NULL").format(sql.Literal(name))
    return name == "main" or bool(_run(dsn, query)[0][0])


def _run(dsn: str, statement: sql.Composable) -> list[tuple[str]]:
    with closing(_connected(dsn)) as connection, translated(), connection.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
        connection.commit()
    return rows


def _connected(dsn: str) -> Connection:
    return connect(dsn, "main", _NAME)
