"""A database with the kernel's tables and the book's, one of its own for each test."""

from collections.abc import Iterator

import psycopg2.extensions
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from book.database import engine_of, sessions_on
from core.postgres.migrations import migrate, migrate_shared
from tests.postgres_server import drop_database, fresh_database


@pytest.fixture(scope="session")
def book_template(server_dsn: str) -> Iterator[str]:
    """A database to copy."""
    dsn = fresh_database(server_dsn)
    migrate(dsn, "main")
    migrate_shared(dsn)
    yield psycopg2.extensions.parse_dsn(dsn)["dbname"]
    drop_database(dsn)


@pytest.fixture
def book_dsn(server_dsn: str, book_template: str) -> Iterator[str]:
    """A database of one's own."""
    dsn = fresh_database(server_dsn, template=book_template)
    yield dsn
    drop_database(dsn)


@pytest.fixture
def book_engine(book_dsn: str) -> Iterator[Engine]:
    """SQLAlchemy's engine on it."""
    made = engine_of(book_dsn)
    yield made
    made.dispose()


@pytest.fixture
def sessions(book_engine: Engine) -> sessionmaker[Session]:
    """Transactions in it."""
    return sessions_on(book_engine)
