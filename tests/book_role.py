"""The role of docs/book.md, made by its own words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from tests.integration.test_docs import blocks_of
from tests.queries import rows


@contextmanager
def a_book_role(dsn: str) -> Iterator[str]:
    """Its connection string; roles are the server's: each database has one of its own."""
    name = "pm_book_" + psycopg2.extensions.parse_dsn(dsn)["dbname"][5:]
    for block in blocks_of("docs/book.md"):
        if block.language == "sql" and block.how.startswith("the role"):
            rows(dsn, re.sub(r"\bpm_book\b", name, block.text))
    try:
        yield psycopg2.extensions.make_dsn(dsn, options=f"-c role={name}")
    finally:
        rows(dsn, f"DROP OWNED BY {name}; DROP ROLE {name}")
