"""The shared branch: safe to repeat, the same by hand and offline, and just what the models say."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import text

from book.database import engine_of
from book.models import metadata as of_book
from core.postgres.embedded_binaries import shipped_versions
from core.postgres.errors import StatementFailed
from core.postgres.migrations import (
    SHARED_MIGRATIONS,
    SchemaTooNew,
    head,
    migrate,
    migrate_shared,
    shared_head,
    shared_version,
)
from risk.models import metadata as of_risk
from tests.builders import a_signal
from tests.command_line import run
from tests.engines import an_engine, status_of
from tests.integration.test_cli_database import config_for, shown
from tests.live_process import ROOT
from tests.queries import rows

FILES = sorted(SHARED_MIGRATIONS.glob("*.sql"))
PSQL = shipped_versions()[max(shipped_versions())] / "bin" / "psql"


def alembic(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def psql(dsn: str, *options: str, given: str | None = None) -> None:
    command = [str(PSQL), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, *options]
    subprocess.run(command, check=True, capture_output=True, text=True, input=given)


def described(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that the catalogue says of the book's tables and the risk lab's; the order of columns aside."""
    of_book = "n.nspname IN ('book', 'risk') AND c.relname <> 'alembic_version'"
    tables = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    return {
        "columns": rows(
            dsn,
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,"
            f" pg_get_expr(d.adbin, d.adrelid) FROM {tables} JOIN pg_attribute a ON a.attrelid = c.oid"
            " LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)"
            f" WHERE {of_book} AND c.relkind = 'r' AND a.attnum > 0 ORDER BY n.nspname, 1, 2",
        ),
        "constraints": rows(
            dsn,
            f"SELECT c.relname, k.conname, pg_get_constraintdef(k.oid) FROM {tables}"
            f" JOIN pg_constraint k ON k.conrelid = c.oid WHERE {of_book} ORDER BY n.nspname, 1, 2",
        ),
        "indexes": rows(
            dsn,
            f"SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM {tables}"
            f" JOIN pg_index i ON i.indrelid = c.oid WHERE {of_book} ORDER BY n.nspname, 1, 2",
        ),
    }


# --- migrating


def test_migrating_twice_changes_nothing(empty_dsn: str) -> None:
    assert shared_version(empty_dsn) is None
    assert migrate_shared(empty_dsn) == (None, shared_head())
    before = described(empty_dsn)
    assert migrate_shared(empty_dsn) == (shared_head(), shared_head())
    assert described(empty_dsn) == before


def test_the_book_and_the_kernel_are_migrated_in_any_order(empty_dsn: str) -> None:
    migrate_shared(empty_dsn)
    assert rows(empty_dsn, "SELECT * FROM book.decision_journal") == []
    assert migrate(empty_dsn, "main") == (None, head())
    assert rows(empty_dsn, "SELECT portfolio FROM book.portfolios()") == [("main",)]


def test_the_engine_works_where_there_is_no_book(dsn: str) -> None:
    with an_engine(dsn) as engine:
        assert status_of(engine.process_signal(a_signal())) == "executed"
    assert rows(dsn, "SELECT to_regnamespace('book')") == [(None,)]


def test_a_book_newer_than_the_program_is_refused(book_dsn: str) -> None:
    rows(book_dsn, "UPDATE book.alembic_version SET version_num = 'b999'")
    with pytest.raises(SchemaTooNew, match="b999"):
        migrate_shared(book_dsn)


def test_the_files_can_be_run_by_hand_twice_and_are_recognised(empty_dsn: str, book_dsn: str) -> None:
    for _ in range(2):
        for file in FILES:
            psql(empty_dsn, "-f", str(file))
    assert described(empty_dsn) == described(book_dsn)
    rows(empty_dsn, "INSERT INTO book.portfolio_node (name, node_type, base_ccy) VALUES ('F', 'FUND', 'INR')")
    assert migrate_shared(empty_dsn) == (None, shared_head())
    assert rows(empty_dsn, "SELECT name FROM book.portfolio_node") == [("F",)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_controls_transactions_or_speaks_to_psql(file: Path) -> None:
    text = re.sub(r"\$\$.*?\$\$", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert re.findall(r"(?im)^\s*(BEGIN|COMMIT|ROLLBACK|\\\w+)\b", text) == []
    assert len(file.read_bytes()) < 20_000  # the linter skips what is larger


def test_migrate_does_the_book_where_it_is_asked_to(empty_dsn: str, tmp_path: Path) -> None:
    database = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    assert shown("migrate", *database) == {"portfolio": "main", "before": None, "after": head()}
    assert shared_version(empty_dsn) is None
    told = shown("migrate", "--book", *database)
    assert told == {
        "portfolio": "main",
        "before": head(),
        "after": head(),
        "book": {"before": None, "after": shared_head()},
    }
    assert rows(empty_dsn, "SELECT portfolio FROM book.live_portfolio") == [("main",)]
    again = run("migrate", "--book", *database).stdout.splitlines()
    assert again == [
        f"portfolio main: already at version {head()}, nothing to do",
        f"book: already at version {shared_head()}, nothing to do",
    ]


# --- alembic


def test_alembic_finds_no_difference_between_models_and_database(book_dsn: str) -> None:
    done = alembic("-x", f"dsn={book_dsn}", "check")
    assert (done.returncode, done.stdout.strip()) == (0, "No new upgrade operations detected."), done.stderr


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE book.position ADD COLUMN colour TEXT",
        "ALTER TABLE risk.market_data ADD COLUMN colour TEXT",
        "CREATE INDEX market_data_close_idx ON risk.market_data (close)",
        "ALTER TABLE book.position ALTER COLUMN status DROP NOT NULL",
        "ALTER TABLE book.position ALTER COLUMN status SET DEFAULT 'CLOSED'",
        "ALTER TABLE book.position ALTER COLUMN quantity TYPE NUMERIC(30, 8)",
        "ALTER TABLE book.position DROP CONSTRAINT fk_position_instrument_id",
        "DROP INDEX book.ix_position_instrument_id",
        "CREATE TABLE book.other (id INTEGER)",
    ],
)
def test_alembic_finds_a_difference_where_there_is_one(book_dsn: str, change: str) -> None:
    rows(book_dsn, change)
    done = alembic("-x", f"dsn={book_dsn}", "check")
    assert done.returncode != 0
    assert "New upgrade operations detected" in done.stdout + done.stderr


def test_alembic_says_which_option_names_the_database() -> None:
    done = alembic("check")
    assert done.returncode != 0
    assert "-x dsn=" in done.stdout + done.stderr


def test_alembic_brings_an_empty_database_forward_by_itself(empty_dsn: str, book_dsn: str) -> None:
    done = alembic("-x", f"dsn={empty_dsn}", "upgrade", "head")
    assert done.returncode == 0, done.stderr
    assert shared_version(empty_dsn) == shared_head()
    assert described(empty_dsn) == described(book_dsn)


def test_the_offline_sql_makes_the_same_book(empty_dsn: str, book_dsn: str) -> None:
    done = alembic("upgrade", "head", "--sql")
    assert done.returncode == 0, done.stderr
    for file in FILES:
        assert file.read_text(encoding="utf-8") in done.stdout
    psql(empty_dsn, given=done.stdout)
    assert shared_version(empty_dsn) == shared_head()
    assert described(empty_dsn) == described(book_dsn)


def test_nothing_of_the_shared_branch_is_undone(book_dsn: str) -> None:
    done = alembic("-x", f"dsn={book_dsn}", "downgrade", "-1")
    assert done.returncode != 0
    assert "restore a backup instead" in done.stderr
    assert shared_version(book_dsn) == shared_head()


def test_a_dump_of_the_book_is_restored_elsewhere_as_it_was(book_dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    rows(book_dsn, "INSERT INTO book.portfolio_node (name, node_type, base_ccy) VALUES ('F', 'FUND', 'INR')")
    rows(
        book_dsn,
        "INSERT INTO book.portfolio_node (name, node_type, parent_id, base_ccy) VALUES ('D', 'DESK', 1, 'INR')",
    )
    rows(
        book_dsn,
        "INSERT INTO book.instrument (symbol, name, asset_class, kind, currency, isin)"
        " VALUES ('AAPL', 'Apple', 'EQUITY', 'spot', 'USD', 'US0378331005')",
    )
    rows(book_dsn, "INSERT INTO book.portfolio_snapshot_content (payload_json) VALUES ('{\"a\": 1}')")
    rows(
        book_dsn,
        "INSERT INTO book.decision_drafts (request_id, portfolio, entry_type, author, title, is_locked)"
        " VALUES ('r', 'main', 'NOTE', 'alice', 'Why', TRUE)",
    )
    dump = tmp_path / "book.dump"
    for program, *arguments in (
        ("pg_dump", "--format=custom", "--schema=book", "--schema=risk", f"--file={dump}", f"--dbname={book_dsn}"),
        ("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={empty_dsn}", str(dump)),
    ):
        subprocess.run([str(PSQL.with_name(program)), *arguments], check=True, capture_output=True, text=True)
    made, original = described(empty_dsn), described(book_dsn)
    assert (made["columns"], made["indexes"]) == (original["columns"], original["indexes"])
    # A list of words is written another way once it was dumped, and means the same.
    assert [name for _, name, _ in made["constraints"]] == [name for _, name, _ in original["constraints"]]
    assert rows(empty_dsn, "SELECT content_hash = book.row_hash(d) FROM book.decision_drafts d") == [(True,)]
    contents = "SELECT payload_hash FROM book.portfolio_snapshot_content"
    assert rows(empty_dsn, contents) == rows(book_dsn, contents)
    assert migrate_shared(empty_dsn) == (shared_head(), shared_head())
    assert rows(empty_dsn, "SELECT count(*) FROM book.decision_journal") == [(0,)]


# --- models


def test_tables_made_of_the_models_are_those_that_the_files_make(book_dsn: str) -> None:
    """Alembic compares neither CHECKs nor what a name, an order or a predicate of an index is."""
    by_the_files = described(book_dsn)
    engine = engine_of(book_dsn)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {', '.join([*of_book.tables, *of_risk.tables])} CASCADE"))
        of_book.create_all(connection)
        of_risk.create_all(connection)
    engine.dispose()
    assert described(book_dsn) == by_the_files


def test_constraints_have_names_by_the_convention(book_dsn: str) -> None:
    found = described(book_dsn)
    prefixes = {"p": "pk_", "f": "fk_", "u": "uq_", "c": "ck_"}
    kinds = rows(
        book_dsn,
        "SELECT c.relname, k.contype::TEXT, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
        " WHERE k.connamespace IN ('book'::regnamespace, 'risk'::regnamespace) AND k.contype IN ('p', 'f', 'u', 'c')",
    )
    assert len(kinds) > 100
    wrong = [
        name
        for table, kind, name in kinds
        if table != "alembic_version" and not name.startswith(prefixes[kind] + table)
    ]
    assert wrong == []
    assert all(re.search(r" (?:ix|uq|pk)_", definition) for _, definition in found["indexes"])


def test_every_foreign_key_is_found_by_an_index(book_dsn: str) -> None:
    """Or a row that is referred to could only be deleted by reading all that might."""
    without = rows(
        book_dsn,
        "SELECT k.conname FROM pg_constraint k"
        " WHERE k.connamespace IN ('book'::regnamespace, 'risk'::regnamespace) AND k.contype = 'f'"
        " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indpred IS NULL"
        " AND i.indkey[0] = k.conkey[1])",
    )
    assert without == []


# --- TimescaleDB

HYPERTABLE = """
DO $$
DECLARE
    -- Triggers that see all rows of a statement (of b010) keep a table from becoming a hypertable; on one they may be.
    noting TEXT[];
    one RECORD;
    definition TEXT;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    FOR one IN
        SELECT t.tgname AS name, pg_get_triggerdef(t.oid) AS definition
        FROM pg_catalog.pg_trigger AS t
        WHERE t.tgrelid = 'book.position_pnl_history'::REGCLASS AND coalesce(t.tgoldtable, t.tgnewtable) IS NOT NULL
    LOOP
        noting := noting || one.definition;
        EXECUTE format('DROP TRIGGER %I ON book.position_pnl_history', one.name);
    END LOOP;
    PERFORM create_hypertable(
        'book.position_pnl_history', 'snapshot_date',
        chunk_time_interval => INTERVAL '90 days', if_not_exists => TRUE, migrate_data => TRUE
    );
    FOREACH definition IN ARRAY coalesce(noting, '{}')
    LOOP
        EXECUTE definition;
    END LOOP;
    IF NOT EXISTS (
        SELECT FROM timescaledb_information.hypertables
        WHERE hypertable_schema = 'book' AND hypertable_name = 'position_pnl_history' AND compression_enabled
    ) THEN
        -- Once: what is compressed already was compressed so, and cannot be told otherwise.
        ALTER TABLE book.position_pnl_history SET (
            timescaledb.compress,
            timescaledb.compress_segmentby = 'position_id',
            timescaledb.compress_orderby = 'snapshot_date DESC'
        );
    END IF;
    PERFORM add_compression_policy('book.position_pnl_history', INTERVAL '60 days', if_not_exists => TRUE);
END
$$;
"""


def test_what_is_asked_of_timescaledb_is_rendered_offline() -> None:
    done = alembic("upgrade", "b005:b006", "--sql")
    assert done.returncode == 0, done.stderr
    assert HYPERTABLE in done.stdout


STAND_INS = """
INSERT INTO pg_catalog.pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
VALUES (999999, 'timescaledb', 10, 2200, FALSE, '2');
CREATE TABLE asked (what TEXT);
CREATE FUNCTION create_hypertable(
    relation REGCLASS, time_column_name NAME, chunk_time_interval ANYELEMENT, if_not_exists BOOLEAN, migrate_data BOOLEAN
) RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO asked VALUES (
        format('%s %s %s %s %s', relation, time_column_name, chunk_time_interval, if_not_exists, migrate_data)
    )
$$;
CREATE FUNCTION add_compression_policy(hypertable REGCLASS, compress_after INTERVAL, if_not_exists BOOLEAN) RETURNS VOID
LANGUAGE sql AS $$ INSERT INTO asked VALUES (format('%s %s %s', hypertable, compress_after, if_not_exists)) $$;
CREATE SCHEMA timescaledb_information;
CREATE TABLE timescaledb_information.hypertables (hypertable_schema NAME, hypertable_name NAME, compression_enabled BOOLEAN);
"""


def test_with_timescaledb_its_functions_are_called_as_they_are_declared(book_dsn: str) -> None:
    """Stand-ins with TimescaleDB's own names of arguments: it is not to be had here. What only it can parse ends the block."""
    rows(book_dsn, STAND_INS)
    with pytest.raises(psycopg2.Error, match='unrecognized parameter namespace "timescaledb"'):
        rows(book_dsn, (SHARED_MIGRATIONS / "b006_timescale.sql").read_text(encoding="utf-8"))
    rows(book_dsn, "INSERT INTO timescaledb_information.hypertables VALUES ('book', 'position_pnl_history', TRUE)")
    rows(book_dsn, (SHARED_MIGRATIONS / "b006_timescale.sql").read_text(encoding="utf-8"))
    assert rows(book_dsn, "SELECT what FROM asked") == [
        ("book.position_pnl_history snapshot_date 90 days t t",),
        ("book.position_pnl_history 60 days t",),
    ]
    assert rows(
        book_dsn,
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'book.position_pnl_history'::regclass AND NOT tgisinternal ORDER BY 1",
    ) == [
        ("changed_marks_are_noted",),
        ("deleted_marks_are_noted",),
        ("new_marks_are_noted",),
        ("truncated_marks_are_noted",),
    ]


def test_without_timescaledb_the_history_is_a_plain_table(book_dsn: str) -> None:
    assert rows(book_dsn, "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'") == [(0,)]
    assert rows(book_dsn, "SELECT relkind::TEXT FROM pg_class WHERE oid = 'book.position_pnl_history'::regclass") == [
        ("r",)
    ]


def test_what_timescaledb_asks_of_a_hypertable_holds(book_dsn: str) -> None:
    """Every unique index has the column that chunks are cut by, and no foreign key leads to or from it."""
    unique = rows(
        book_dsn,
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'book.position_pnl_history'::regclass AND indisunique",
    )
    assert len(unique) == 2
    assert all("snapshot_date" in definition for (definition,) in unique)
    keys = rows(
        book_dsn,
        "SELECT conname FROM pg_constraint WHERE contype = 'f'"
        " AND 'book.position_pnl_history'::regclass IN (conrelid, confrelid)",
    )
    assert keys == []


def test_a_role_that_may_not_create_the_schema_is_told_so(empty_dsn: str) -> None:
    rows(empty_dsn, "CREATE ROLE no_book_maker")
    try:
        limited = psycopg2.extensions.make_dsn(empty_dsn, options="-c role=no_book_maker")
        with pytest.raises(StatementFailed, match="permission denied"):
            migrate_shared(limited)
        assert rows(empty_dsn, "SELECT to_regnamespace('book')") == [(None,)]
    finally:
        rows(empty_dsn, "DROP OWNED BY no_book_maker; DROP ROLE no_book_maker")
