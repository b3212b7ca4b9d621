"""Drafts and briefings: free to change until they are locked, and never after; the hash is over every column."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from book.models import Base, DailyBriefing, DecisionDraft
from tests.book_world import NOON, briefing_values, draft_values, kept
from tests.integration.test_docs import blocks_of
from tests.queries import rows

LOCKABLE: dict[str, tuple[type[Base], Callable[..., dict[str, Any]]]] = {
    "decision_drafts": (DecisionDraft, draft_values),
    "daily_briefings": (DailyBriefing, briefing_values),
}
# Something else than it was, by the column's type.
_OTHER = {
    "text": "coalesce({column}, '') || '!'",
    "character varying": "coalesce({column}, '') || '!'",
    "bigint": "coalesce({column}, 0) + 1",
    "boolean": "NOT {column}",
    "jsonb": "CASE jsonb_typeof({column}) WHEN 'array' THEN '[\"x\"]'::JSONB ELSE '{{\"x\": null}}'::JSONB END",
    "date": "{column} + 1",
    "timestamp with time zone": "coalesce({column}, now()) + INTERVAL '1 microsecond'",
    "ARRAY": "{column} || 'x'::TEXT",
}


@pytest.fixture(params=LOCKABLE)
def table(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def add(sessions: sessionmaker[Session], table: str, **others: Any) -> None:
    model, values = LOCKABLE[table]
    with sessions.begin() as session:
        session.add(model(**values(**others)))


def sealed(dsn: str, table: str) -> tuple[Any, ...]:
    (row,) = rows(dsn, f"SELECT is_locked, locked_at IS NOT NULL, content_hash = book.row_hash(t) FROM book.{table} t")
    return row


def test_a_draft_is_changed_and_deleted_freely(sessions: sessionmaker[Session], book_dsn: str, table: str) -> None:
    add(sessions, table)
    assert sealed(book_dsn, table) == (False, False, None)
    rows(book_dsn, f'UPDATE book.{table} SET portfolio_snapshot = \'{{"equity": "1"}}\'')
    assert rows(book_dsn, f"SELECT portfolio_snapshot FROM book.{table}") == [({"equity": "1"},)]
    rows(book_dsn, f"DELETE FROM book.{table}")
    assert rows(book_dsn, f"SELECT * FROM book.{table}") == []


def test_locking_seals_a_row_with_a_hash_of_its_own(sessions: sessionmaker[Session], book_dsn: str, table: str) -> None:
    add(sessions, table)
    rows(book_dsn, f"UPDATE book.{table} SET is_locked = TRUE")
    assert sealed(book_dsn, table) == (True, True, True)


def test_a_row_may_be_locked_from_the_beginning(sessions: sessionmaker[Session], book_dsn: str, table: str) -> None:
    add(sessions, table, is_locked=True)
    assert sealed(book_dsn, table) == (True, True, True)


def test_nobody_gives_a_row_another_hash_or_an_unlocked_one_any(
    sessions: sessionmaker[Session], book_dsn: str, table: str
) -> None:
    add(sessions, table, content_hash="0" * 64, locked_at=NOON)
    assert sealed(book_dsn, table) == (False, False, None)
    rows(book_dsn, f"UPDATE book.{table} SET is_locked = TRUE, content_hash = repeat('0', 64)")
    assert sealed(book_dsn, table) == (True, True, True)


@pytest.mark.parametrize(
    "command",
    [
        "UPDATE book.{table} SET portfolio_snapshot = '{{\"x\": 1}}'",
        "UPDATE book.{table} SET is_locked = FALSE",
        "UPDATE book.{table} SET portfolio = portfolio",
        "DELETE FROM book.{table}",
        "TRUNCATE book.{table}",
        "TRUNCATE book.{table} CASCADE",
    ],
)
def test_a_locked_row_is_neither_changed_nor_removed(
    sessions: sessionmaker[Session], book_dsn: str, table: str, command: str
) -> None:
    add(sessions, table, is_locked=True)
    before = rows(book_dsn, f"SELECT * FROM book.{table}")
    for mode in ("", "SET session_replication_role = replica; "):
        with pytest.raises(psycopg2.errors.RestrictViolation, match="is refused"):
            rows(book_dsn, mode + command.format(table=table))
    assert rows(book_dsn, f"SELECT * FROM book.{table}") == before


def test_drafts_beside_a_locked_row_are_deleted_and_it_stays(
    sessions: sessionmaker[Session], book_dsn: str, table: str
) -> None:
    add(sessions, table, is_locked=True)
    add(sessions, table, portfolio="alpha", **({"request_id": "note-2"} if table == "decision_drafts" else {}))
    rows(book_dsn, f"DELETE FROM book.{table} WHERE NOT is_locked")
    assert rows(book_dsn, f"SELECT portfolio FROM book.{table}") == [("main",)]


def test_a_draft_that_is_locked_while_another_session_changes_it_stays_as_it_was_locked(
    sessions: sessionmaker[Session], book_dsn: str, table: str
) -> None:
    add(sessions, table)
    with closing(psycopg2.connect(book_dsn)) as locking, locking.cursor() as cursor:
        cursor.execute(f"UPDATE book.{table} SET is_locked = TRUE")
        with closing(psycopg2.connect(book_dsn)) as changing, changing.cursor() as other:
            other.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                other.execute(f"DELETE FROM book.{table}")
            changing.rollback()
            locking.commit()
            with pytest.raises(psycopg2.errors.RestrictViolation):
                other.execute(f"DELETE FROM book.{table}")


def test_the_hash_changes_with_every_single_column(sessions: sessionmaker[Session], book_dsn: str, table: str) -> None:
    add(sessions, table, is_locked=True)
    columns = rows(
        book_dsn,
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'book' AND table_name = %s"
        " AND column_name <> 'content_hash'",
        (table,),
    )
    assert len(columns) > 12
    rows(book_dsn, f"ALTER TABLE book.{table} DISABLE TRIGGER USER")
    for column, _ in columns:
        rows(book_dsn, f"ALTER TABLE book.{table} DROP CONSTRAINT IF EXISTS ck_{table}_{column}")
    rows(book_dsn, f"ALTER TABLE book.{table} DROP CONSTRAINT ck_{table}_locked")
    rows(book_dsn, f"ALTER TABLE book.{table} ALTER COLUMN id SET GENERATED BY DEFAULT")
    for column, kind in columns:
        connection = psycopg2.connect(book_dsn)
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(f"UPDATE book.{table} SET {column} = {_OTHER[kind].format(column=column)}")
            cursor.execute(f"SELECT content_hash = book.row_hash(t) FROM book.{table} t")
            assert cursor.fetchall() == [(False,)], column
            connection.rollback()
    assert sealed(book_dsn, table) == (True, True, True)


def test_the_hash_is_the_same_in_every_time_zone_and_after_a_column_was_added(
    sessions: sessionmaker[Session], book_dsn: str, table: str
) -> None:
    add(sessions, table, is_locked=True)
    rows(book_dsn, f"ALTER TABLE book.{table} ADD COLUMN added_later TEXT")
    for zone in ("UTC", "Asia/Kolkata", "America/New_York"):
        found = rows(book_dsn, f"SET timezone = '{zone}'; SELECT content_hash = book.row_hash(t) FROM book.{table} t")
        assert found == [(True,)], zone


def test_the_guides_queries_find_what_was_changed_past_the_triggers(
    sessions: sessionmaker[Session], book_dsn: str, table: str
) -> None:
    (queries,) = (found.text for found in blocks_of("docs/book.md") if found.how == "finds nothing")
    (query,) = (line for line in queries.splitlines() if f"book.{table}" in line)
    add(sessions, table, is_locked=True)
    assert rows(book_dsn, query) == []
    rows(book_dsn, f"ALTER TABLE book.{table} DISABLE TRIGGER USER; UPDATE book.{table} SET portfolio = 'alpha'")
    assert rows(book_dsn, query) == [(1,)]


def test_a_model_knows_its_hash_once_it_is_locked(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        draft = kept(session, DecisionDraft(**draft_values()))
        assert (draft.is_locked, draft.content_hash) == (False, None)
        draft.is_locked = True
        session.flush()
        session.refresh(draft)
        assert draft.content_hash is not None
        assert draft.locked_at is not None
    with sessions() as session, pytest.raises(IntegrityError, match="is locked: UPDATE is refused"):
        session.execute(text("UPDATE book.decision_drafts SET title = 'x'"))
