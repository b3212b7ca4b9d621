"""A database with the book's tables and the risk lab's, and what the engine trades in the master of instruments."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.integration.book.conftest import book_dsn, book_engine, book_template, sessions
from tests.queries import rows

__all__ = ["book_dsn", "book_engine", "book_template", "sessions"]


@pytest.fixture
def session(book_dsn: str, sessions: sessionmaker[Session]) -> Iterator[Session]:
    """A transaction, and four instruments."""
    rows(
        book_dsn,
        "INSERT INTO book.instrument (symbol, name, asset_class, kind, currency, exchange)"
        " SELECT symbol, symbol, 'OTHER', 'future', 'INR', exchange FROM (VALUES"
        " ('BANK_NIFTY', 'NSE'), ('GOLD_MINI', 'MCX'), ('RELIANCE', 'NSE'), ('COPPER', 'MCX')) AS told (symbol, exchange)",
    )
    with sessions() as opened:
        yield opened
        opened.rollback()
