"""The schema: every statement fits it, every promise of DESIGN.md's tables is in it, and migrating is safe to repeat."""

import subprocess
import threading
import time
from pathlib import Path

import psycopg2
import pytest

from core.db_state_manager import DatabaseStateManager
from core.postgres.embedded_binaries import shipped_versions
from core.postgres.errors import StatementFailed
from core.postgres.migrations import MIGRATIONS, SchemaTooNew, head, migrate, migration, schema_version
from core.postgres.rows import ORDER_COLUMNS, POSITION_COLUMNS, PROPOSAL_COLUMNS, PYRAMIDING_COLUMNS, STATE_COLUMNS
from core.postgres.statements import parameters_of, statement, statements
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, status_of
from tests.queries import rows

OURS = {"created_at", "updated_at", "id"}
NEVER_EXPLAINED = {"barrier", "lock_leadership"}


@pytest.mark.parametrize("name", sorted(statements()))
def test_every_statement_is_planned_against_the_schema(dsn, name):
    parameters = dict.fromkeys(parameters_of(name))
    if name == "commit_batch":
        parameters = {"batch": "{}"}
    plan = rows(dsn, f"EXPLAIN {statement(name)}", parameters)
    assert plan


def test_every_statement_says_in_one_line_what_it_is_for():
    for name, text in statements().items():
        assert text.startswith("-- "), name


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("load_positions", {}),
        ("find_signal", {"fingerprint": "0" * 64}),
        ("last_seq", {}),
        ("last_settings", {}),
        ("last_contracts", {}),
        ("load_received", {"after_id": 0, "limit": 10}),
        ("load_orders", {}),
        ("load_proposals", {}),
        ("positions_by_id", {"position_ids": ["x", "y"]}),
        ("orders_by_id", {"client_order_ids": ["x", "y"]}),
        ("signals_by_fingerprint", {"fingerprints": ["0" * 64, "1" * 64]}),
        ("fills_of_entries", {"seqs": [1, 2], "client_order_ids": ["x", "y"]}),
        ("recent_broker_orders", {}),
        ("list_orders", {"before": None, "instrument": None, "state": None, "limit": 10}),
        ("list_orders", {"before": "x", "instrument": "GOLD_MINI", "state": ["sent"], "limit": 10}),
        ("fills_of_orders", {"client_order_ids": ["x", "y"]}),
        ("list_signals", {"before": 5, "instrument": None, "status": None, "limit": 10}),
        ("list_journal", {"before": 5, "limit": 10}),
        ("journal_marks", {"seq": 5}),
        ("journal_to_tell", {"after_seq": 5, "up_to_seq": 10}),
    ],
)
def test_what_a_decision_or_a_start_reads_is_found_by_an_index(dsn, name, parameters):
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statement(name)}", parameters)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    connection.close()
    assert "Seq Scan" not in plan


def test_a_batch_finds_its_rows_by_index_whatever_has_been_closed_before(dsn):
    """The plan is made on small tables and kept: what it does on large ones is counted, not guessed from EXPLAIN."""
    with an_engine(dsn, clock=Clock(minutes(3))) as engine:
        engine.process_signal(a_signal())
        rows(
            dsn,
            "INSERT INTO portfolio_positions SELECT (jsonb_populate_record(p, jsonb_build_object("
            "'position_id', 'old-' || n, 'status', 'closed', 'lots', 0, 'quantity', 0))).*"
            " FROM portfolio_positions p, generate_series(1, 2000) n",
        )
        scanned = (
            "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname IN ('portfolio_positions', 'signal_log')"
        )
        before = _settled(dsn, scanned)
        for number in range(1, 21):
            bar = a_signal("MARKET_DATA", price=52000 + number, timestamp=minutes(number / 10))
            assert status_of(engine.process_signal(bar)) == "executed"
        assert _settled(dsn, scanned) - before < 500


def _settled(dsn: str, query: str) -> int:
    """A figure of the statistics once they have arrived: a backend reports them when it has been idle for a second."""
    time.sleep(1.2)
    ((value,),) = rows(dsn, query)
    return int(value or 0)


@pytest.mark.parametrize(
    "table, columns",
    [
        ("portfolio_positions", POSITION_COLUMNS),
        ("portfolio_state", STATE_COLUMNS),
        ("pyramiding_state", PYRAMIDING_COLUMNS),
        ("orders", ORDER_COLUMNS),
        ("proposals", (*PROPOSAL_COLUMNS, "instrument", "signal_type", "layer")),
    ],
)
def test_objects_have_the_columns_of_their_rows(dsn, table, columns):
    found = {
        name
        for (name,) in rows(dsn, "SELECT column_name FROM information_schema.columns WHERE table_name = %s", (table,))
    }
    assert found - OURS == set(columns)


def test_every_table_and_index_that_was_promised_exists(dsn):
    tables = {name for (name,) in rows(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert tables == {
        *("portfolio_positions", "portfolio_state", "pyramiding_state", "signal_log", "instance_metadata"),
        *("leadership", "decision_journal", "capital_flows", "orders", "fills", "leader_lease", "alembic_version"),
        *("leadership_history", "signal_totals", "notification_cursors", "proposals"),
    }
    indexed = {
        (table, columns)
        for table, columns in rows(
            dsn,
            "SELECT tablename, substring(indexdef FROM '\\((.*?)\\)(?: WHERE|$)') FROM pg_indexes WHERE schemaname = 'public'",
        )
    }
    assert indexed >= {
        ("portfolio_positions", "instrument, status"),
        ("portfolio_positions", "status"),
        ("portfolio_positions", "created_at"),
        ("portfolio_positions", "instrument, entry_timestamp"),
        ("portfolio_positions", "rollover_status, expiry"),
        ("signal_log", "fingerprint"),
        ("signal_log", "processed_at"),
        ("signal_log", "instrument, signal_timestamp"),
        ("signal_log", "processing_status, id"),
        ("orders", "state, journal_seq"),
        ("orders", "instrument, journal_seq"),
        ("instance_metadata", "last_heartbeat"),
    }


def test_constraints_have_names_of_ours(dsn):
    names = [
        name
        for (name,) in rows(
            dsn, "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
        )
    ]
    assert [name for name in names if not name.startswith(("pk_", "ck_", "uq_", "fk_", "alembic_"))] == []


@pytest.mark.parametrize(
    "change, constraint",
    [
        ("status = 'half'", "ck_portfolio_positions_status"),
        ("side = 'up'", "ck_portfolio_positions_side"),
        ("rollover_status = 'perhaps'", "ck_portfolio_positions_rollover_status"),
        ("lots = -1", "ck_portfolio_positions_lots"),
        ("lots = 1, quantity = 30", "ck_portfolio_positions_status_fits_lots"),
        ("quantity = 1", "ck_portfolio_positions_quantity"),
        ("version = 0", "ck_portfolio_positions_version"),
    ],
)
def test_a_row_that_no_position_can_be_is_refused_by_the_database(dsn, change, constraint):
    with an_engine(dsn) as engine:
        assert status_of(engine.process_signal(a_signal())) == "executed"
    with pytest.raises(psycopg2.IntegrityError, match=f'"{constraint}'):
        rows(dsn, f"UPDATE portfolio_positions SET {change}")


@pytest.mark.parametrize("wrong", ["", "0" * 63, "0" * 62 + "\n", "A" * 64, "g" * 64, "0" * 63 + " ", "0" * 63 + "\n"])
@pytest.mark.parametrize("table, column", [("signal_log", "fingerprint"), ("decision_journal", "content_hash")])
def test_what_is_no_hash_is_refused_by_the_database(dsn, table, column, wrong):
    (given,) = rows(
        dsn, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", (f"ck_{table}_{column}",)
    )
    condition = given[0].removeprefix("CHECK ").removesuffix(" NOT VALID")
    asked = f"SELECT {condition} FROM (VALUES (%s::VARCHAR)) AS given ({column})"
    assert rows(dsn, asked, (wrong,)) == [(False,)]
    assert rows(dsn, asked, ("0123456789abcdef" * 4,)) == [(True,)]


def test_there_is_one_portfolio_state_and_one_leadership_row_at_most(dsn):
    for table, columns in (
        ("portfolio_state", "(id, initial_capital, closed_equity, equity_high) VALUES (2, 1, 1, 1)"),
        ("leadership", "(id, term, instance_id) VALUES (2, 1, 'x')"),
    ):
        with pytest.raises(psycopg2.errors.CheckViolation):
            rows(dsn, f"INSERT INTO {table} {columns}")


def test_the_migration_inserts_no_row(dsn):
    for table in (
        "portfolio_positions",
        "portfolio_state",
        "pyramiding_state",
        "signal_log",
        "leadership",
        "decision_journal",
    ):
        assert rows(dsn, f"SELECT count(*) FROM {table}") == [(0,)]


# --- migrating


def test_migrating_twice_changes_nothing(empty_dsn):
    assert migrate(empty_dsn, "main") == (None, head())
    assert migrate(empty_dsn, "main") == (head(), head())


def test_a_schema_made_by_hand_is_recognised_and_keeps_its_rows(empty_dsn):
    _by_hand(empty_dsn)
    with an_engine(empty_dsn) as engine:
        engine.process_signal(a_signal())
    assert schema_version(empty_dsn, "main") is None
    assert migrate(empty_dsn, "main") == (None, head())
    assert rows(empty_dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]


def test_the_files_can_be_run_by_hand_twice(empty_dsn):
    for _ in range(2):
        _by_hand(empty_dsn)


def test_a_journal_that_began_under_001_goes_on(empty_dsn):
    _psql(empty_dsn, MIGRATIONS / "001_initial_schema.sql")
    rows(
        empty_dsn,
        "INSERT INTO decision_journal (seq, format, kind, input, figures, outcome, events, term, rules_version, decided_at,"
        " content_hash) VALUES (1, 1, 'halt', '{}', '{}', '{}', '[]', 1, 1, now(), repeat('0', 64))",
    )
    assert migrate(empty_dsn, "main") == (None, head())
    assert rows(empty_dsn, "SELECT kind FROM decision_journal") == [("halt",)]


def test_each_portfolio_has_a_schema_of_its_own(empty_dsn):
    migrate(empty_dsn, "main")
    migrate(empty_dsn, "alpha")
    with DatabaseStateManager(empty_dsn, portfolio="alpha") as alpha, an_engine(empty_dsn) as engine:
        engine.process_signal(a_signal())
        assert alpha.take_term() == 1
        assert alpha.load().positions == ()
        assert alpha.migration_version() == head()
    assert rows(empty_dsn, "SELECT alpha.cleanup_old_signals(1)") == [(0,)]


def test_two_starts_migrate_at_once(empty_dsn):
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(migrate(empty_dsn, "main"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [after for _, after in outcomes] == [head(), head()]


def test_a_schema_newer_than_the_program_is_refused(dsn):
    rows(dsn, "UPDATE alembic_version SET version_num = '999'")
    with pytest.raises(SchemaTooNew, match="999"):
        migrate(dsn, "main")


def test_a_role_that_may_not_create_is_told_so(empty_dsn):
    rows(empty_dsn, "CREATE ROLE nobody_much; GRANT USAGE ON SCHEMA public TO nobody_much")
    try:
        limited = psycopg2.extensions.make_dsn(empty_dsn, options="-c role=nobody_much")
        with pytest.raises(StatementFailed, match="permission denied"):
            migrate(limited, "main")
    finally:
        rows(empty_dsn, "DROP OWNED BY nobody_much; DROP ROLE nobody_much")


def _by_hand(dsn: str) -> None:
    for file in sorted(MIGRATIONS.glob("*.sql")):
        _psql(dsn, file)


def _psql(dsn: str, file: Path) -> None:
    newest = shipped_versions()[max(shipped_versions())]
    command = [str(newest / "bin" / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", str(file)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def test_a_migration_may_be_slow_between_two_statements(empty_dsn):
    """What is imported meanwhile takes a busy machine seconds; other sessions may not be idle in a transaction for so long."""
    with migration(empty_dsn, "main") as slow:
        time.sleep(4)
        slow.upgrade()
    assert schema_version(empty_dsn, "main") == head()
