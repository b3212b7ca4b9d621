"""The kernel's journals as the book sees them: all of them, as they are, and never written."""

import re
from collections.abc import Iterator

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from book.database import engine_of, sessions_on
from book.decision_journal import DecisionJournal, entries_of
from core.postgres.migrations import SHARED_MIGRATIONS, migrate, tables
from core.postgres.scratch import drop_portfolio, scratch_portfolio
from tests.book_role import a_book_role
from tests.book_world import a_position
from tests.builders import a_signal
from tests.engines import an_engine, status_of
from tests.live_process import ROOT
from tests.queries import rows

_WRITES = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?|ALTER\s+TABLE|DROP\s+TABLE|CREATE\s+(?:TABLE|TRIGGER)|ON|COPY)"
    r"\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+|ONLY\s+)?([a-z_.]+)",
    re.IGNORECASE,
)


@pytest.fixture
def traded(book_dsn: str) -> str:
    """A database in which the engine has decided something."""
    with an_engine(book_dsn) as engine:
        assert status_of(engine.process_signal(a_signal())) == "executed"
    return book_dsn


def test_the_view_shows_what_the_journal_holds(traded: str) -> None:
    columns = (
        "seq, format, kind, fingerprint, request_id, input, figures, outcome, events, term, rules_version, decided_at,"
        " recorded_at, content_hash"
    )
    kept = rows(traded, f"SELECT {columns} FROM public.decision_journal ORDER BY seq")
    assert len(kept) > 2
    assert rows(traded, f"SELECT {columns} FROM book.decision_journal WHERE portfolio = 'main' ORDER BY seq") == kept
    own = rows(
        traded,
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = 'decision_journal'",
    )
    assert {name for (name,) in own} == set(columns.replace(",", " ").split())


def test_the_model_reads_it_whole_or_by_numbers(traded: str, sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        entries = session.scalars(select(DecisionJournal).order_by(DecisionJournal.seq)).all()
        assert [entry.portfolio for entry in entries] == ["main"] * len(entries)
        signal = next(entry for entry in entries if entry.kind == "signal")
        assert signal.outcome["status"] == "executed"
        assert signal.decided_at.utcoffset() is not None
        some = session.execute(entries_of("main", after_seq=1, up_to_seq=3)).all()
        assert [(row.seq, row.content_hash) for row in some] == [(e.seq, e.content_hash) for e in entries[1:3]]


def test_entries_are_found_by_number_without_reading_the_journal(traded: str) -> None:
    connection = psycopg2.connect(traded)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("EXPLAIN SELECT seq FROM public.decision_journal WHERE seq > 5 AND seq <= 9 ORDER BY seq")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    connection.close()
    assert "pk_decision_journal" in plan
    assert "Sort" not in plan


def test_every_portfolio_is_there_as_soon_as_it_is_made_and_gone_when_it_is_dropped(traded: str) -> None:
    migrate(traded, "alpha")
    rows(
        traded,
        "INSERT INTO alpha.decision_journal (seq, format, kind, input, figures, outcome, events, term, rules_version,"
        " decided_at, content_hash) VALUES (1, 1, 'halt', '{}', '{}', '{}', '[]', 1, 1, now(), repeat('0', 64))",
    )
    found = rows(
        traded, "SELECT portfolio, count(*) > 0 FROM book.decision_journal GROUP BY portfolio ORDER BY portfolio"
    )
    assert found == [("alpha", True), ("main", True)]
    drop_portfolio(traded, "alpha")
    assert rows(traded, "SELECT DISTINCT portfolio FROM book.decision_journal") == [("main",)]


def test_what_a_replay_makes_for_itself_is_no_portfolio(traded: str) -> None:
    with scratch_portfolio(traded, None):
        assert rows(traded, "SELECT portfolio FROM book.portfolios()") == [("main",)]


def test_the_kernels_tables_may_be_altered_and_restored_beneath_it(traded: str) -> None:
    """A view over the tables themselves would forbid the one, and show the old journal after the other."""
    rows(traded, "ALTER TABLE public.decision_journal ALTER COLUMN kind TYPE VARCHAR(30)")
    rows(traded, "CREATE SCHEMA aside; ALTER TABLE public.decision_journal SET SCHEMA aside")
    assert rows(traded, "SELECT DISTINCT portfolio FROM book.decision_journal") == [("aside",)]


def test_a_portfolio_that_is_not_there_is_named(book_dsn: str) -> None:
    with pytest.raises(psycopg2.errors.InvalidSchemaName, match="no portfolio beta"):
        rows(book_dsn, "SELECT * FROM book.journal_entries('beta')")
    with pytest.raises(psycopg2.errors.InvalidSchemaName, match="no portfolio"):
        rows(book_dsn, "SELECT * FROM book.journal_entries('public; DROP TABLE fills')")


@pytest.mark.parametrize(
    "command",
    [
        "INSERT INTO book.decision_journal (portfolio, seq) VALUES ('main', 99)",
        "UPDATE book.decision_journal SET kind = 'x'",
        "DELETE FROM book.decision_journal",
    ],
)
def test_nobody_writes_to_the_view(traded: str, command: str) -> None:
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
        rows(traded, command)


# --- read, never written


def test_no_file_of_the_shared_branch_names_a_table_to_be_written_but_the_books() -> None:
    for file in sorted(SHARED_MIGRATIONS.glob("*.sql")):
        text = re.sub(r"--[^\n]*", "", file.read_text(encoding="utf-8"))
        written = {name.lower() for name in _WRITES.findall(text) if not name.startswith(("book.", "risk."))}
        # BEFORE UPDATE OF a column, UPDATE OR DELETE, BEFORE TRUNCATE ON, ON UPDATE or DELETE CASCADE; and a join's ON.
        of_joins = {"tables.relnamespace", "s.snapshot_id"}
        assert written <= {"of", "or", "on", "update", "delete", "cascade", *of_joins}, file.name


def test_no_statement_of_the_book_writes_to_a_table_but_its_own() -> None:
    for file in sorted((ROOT / "book" / "sql").glob("*.sql")):
        text = re.sub(r"--[^\n]*", "", file.read_text(encoding="utf-8"))
        written = re.findall(r"(?i)\b(?:insert\s+into|delete\s+from|update)\s+([a-z_.]+)", text)
        assert [name for name in written if not name.startswith("book.") and name != "SET"] == [], file.name
        assert re.findall(r"(?i)\b(truncate|alter|create|drop|grant)\b", text) == [], file.name


def test_no_model_is_of_a_table_of_the_kernels() -> None:
    import book.models

    assert {table.schema for table in book.models.metadata.tables.values()} == {"book"}
    source = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "book").glob("*.py")))
    assert re.findall(r"(?i)\b(insert into|delete from|update \w+ set|truncate|text\(\"(?:with|select))", source) == []
    assert "core.postgres" in source  # they are connected by it, and by nothing else
    used = set(re.findall(r"from core\.postgres\.(\w+)", source))
    # How it is connected, how long it waits, what its errors are called, and how statements are read from files.
    assert used == {"connections", "errors", "patience", "statements", "watchdog"}


@pytest.fixture
def reader(book_dsn: str) -> Iterator[str]:
    with a_book_role(book_dsn) as role:
        yield role


def test_the_books_role_reads_the_engines_tables_and_writes_none_of_them(book_dsn: str, reader: str) -> None:
    with an_engine(book_dsn) as engine:
        engine.process_signal(a_signal())
    assert rows(reader, "SELECT count(*) > 2 FROM book.decision_journal") == [(True,)]
    rights = rows(
        reader,
        "SELECT c.relname, p FROM pg_class c, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) p"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND has_table_privilege(c.oid, p)",
    )
    assert rights == []
    assert {
        name for (name,) in rows(book_dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    } == tables()
    for table in sorted(tables()):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            rows(reader, f"DELETE FROM public.{table}")
    for command in ("CREATE TABLE public.mine ()", "CREATE TABLE book.mine ()", "DROP TABLE book.position"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            rows(reader, command)


def test_the_books_role_writes_the_books_tables(reader: str) -> None:
    engine = engine_of(reader)
    with sessions_on(engine).begin() as session:
        a_position(session)
    engine.dispose()
    assert rows(reader, "SELECT count(*) FROM book.portfolio_positions") == [(1,)]
    for version in ("book.alembic_version", "public.alembic_version"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            rows(reader, f"UPDATE {version} SET version_num = 'b999'")


def test_a_role_sees_the_portfolios_that_it_may_read(book_dsn: str, reader: str) -> None:
    migrate(book_dsn, "alpha")
    assert rows(book_dsn, "SELECT portfolio FROM book.portfolios() ORDER BY 1") == [("alpha",), ("main",)]
    assert rows(reader, "SELECT portfolio FROM book.portfolios()") == [("main",)]


# --- docs/book.md


def test_the_guide_lists_every_table_and_view_with_its_columns(book_dsn: str) -> None:
    found: dict[str, set[str]] = {}
    for table, column in rows(
        book_dsn, "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'book'"
    ):
        found.setdefault(table, set()).add(column)
    found.pop("alembic_version")
    guide = (ROOT / "docs" / "book.md").read_text(encoding="utf-8")
    listed = {
        name: set(re.findall(r"`(\w+)`", columns))
        for name, columns in re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|$", guide, re.MULTILINE)
    }
    assert listed == found
