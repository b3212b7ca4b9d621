"""Commands that read or migrate a database, against a real one."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

from core.db_state_manager import DatabaseStateManager
from core.inputs import Halt
from core.models import PortfolioState
from core.postgres.errors import StatementFailed
from core.postgres.journal_stream import JournalStream
from core.postgres.migrations import head
from core.postgres.reads import Reads
from core.settings import Settings
from live.engine import LiveTradingEngine
from live.recovery import load_one_moment
from tests.builders import NOON, a_signal
from tests.command_line import run

TABLES = ("portfolio_positions", "portfolio_state", "pyramiding_state", "signal_log", "decision_journal", "leadership")
GOLD = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500, "er": "0.75"}
GOLD_ALERT = {
    "type": "BASE_ENTRY",
    "instrument": "GOLD_MINI",
    "position": "Long_1",
    "price": "72000",
    "stop": "71500",
    "atr": 500,
    "er": 0.75,
    "timestamp": "2026-01-14T06:15:00Z",
}


def shown(*arguments: str, given: str | None = None) -> Any:
    result = run(*arguments, "--json", given=given)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def config_for(dsn: str, folder: Path, **others: str) -> Path:
    parts = psycopg2.extensions.parse_dsn(dsn)
    names = {"host": "host", "port": "port", "dbname": "database", "user": "user", "password": "password"}
    entry = {names[name]: value for name, value in parts.items() if name in names}
    file = folder / "database_config.json"
    file.write_text(json.dumps({"local": {**entry, "port": int(entry.get("port", 5432)), **others}}))
    return file


def rows_of(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        rows = {}
        for table in TABLES:
            cursor.execute(f"SELECT * FROM {table} ORDER BY 1")
            rows[table] = cursor.fetchall()
        return rows


@pytest.fixture
def empty_database(empty_dsn: str, tmp_path: Path) -> tuple[str, str]:
    """The options that name a database without a table."""
    return "--db-config", str(config_for(empty_dsn, tmp_path))


@pytest.fixture
def database(dsn: str, tmp_path: Path) -> tuple[str, str]:
    """The options that name a migrated database."""
    return "--db-config", str(config_for(dsn, tmp_path))


@pytest.fixture
def engine(dsn: str, settings: Settings) -> Iterator[LiveTradingEngine]:
    """An engine that runs, a minute after NOON."""
    with DatabaseStateManager(dsn) as manager:
        engine = LiveTradingEngine(manager, settings, clock=lambda: NOON + timedelta(minutes=1))
        engine.start()
        try:
            yield engine
        finally:
            engine.stop()


@pytest.fixture
def one_minute_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of --dry-run."""

    def now() -> datetime:
        return NOON + timedelta(minutes=1)

    monkeypatch.setattr("live.bootstrap.utc_now", now)


# --- migrate


def test_migrate_says_the_versions_before_and_after(empty_database: tuple[str, str]) -> None:
    assert shown("migrate", *empty_database) == {"portfolio": "main", "before": None, "after": head()}
    assert shown("migrate", *empty_database) == {"portfolio": "main", "before": head(), "after": head()}
    assert "nothing to do" in run("migrate", *empty_database).stdout
    result = run("migrate", *empty_database, "--portfolio", "alpha")
    assert f"portfolio alpha: migrated from version none to {head()}" in result.stdout
    assert shown("status", *empty_database, "--portfolio", "alpha")["migration_version"] == head()


@pytest.mark.parametrize("command", ["status", "positions", "orders", "signals", "journal"])
def test_a_database_without_tables_is_told_with_the_way_out(command: str, empty_database: tuple[str, str]) -> None:
    result = run(command, *empty_database)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "run `python portfolio_manager.py migrate --portfolio main`" in result.stderr


def test_a_portfolio_without_tables_is_told_with_the_way_out(database: tuple[str, str]) -> None:
    result = run("status", *database, "--portfolio", "alpha")
    assert result.exit_code == 1
    assert "migrate --portfolio alpha" in result.stderr


def test_a_database_that_is_away_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.cli.options._CONNECT_FOR_SECONDS", 0.1)
    file = config_for("host=127.0.0.1 port=1 dbname=x user=x", tmp_path)
    for command in ("status", "migrate"):
        result = run(command, "--db-config", str(file))
        assert result.exit_code == 1
        assert "Check that the server runs" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_wrong_database_configuration_names_the_key(tmp_path: Path) -> None:
    file = config_for("host=127.0.0.1 dbname=x user=x", tmp_path, pool_size="many")
    assert "`pool_size`" in run("status", "--db-config", str(file)).stderr
    result = run("status", "--db-config", str(file), "--db-env", "production")
    assert result.exit_code == 1
    assert "it has: local" in result.stderr


# --- dsn


def test_the_connection_string_leaves_the_password_out_unless_asked(tmp_path: Path) -> None:
    file = config_for("host=db.example port=5433 dbname=book user=pm password=hushhush", tmp_path)
    result = run("dsn", "--db-config", str(file))
    assert result.exit_code == 0
    assert psycopg2.extensions.parse_dsn(result.stdout.strip()) == {
        "host": "db.example",
        "port": "5433",
        "dbname": "book",
        "user": "pm",
        "sslmode": "prefer",
    }
    assert "PGPASSWORD" in result.stderr
    assert "hush" not in result.output
    asked = run("dsn", "--db-config", str(file), "--show-password")
    assert psycopg2.extensions.parse_dsn(asked.stdout.strip())["password"] == "hushhush"
    assert asked.stderr == ""


def test_without_a_password_nothing_is_said_of_one(tmp_path: Path) -> None:
    file = config_for("host=db.example dbname=book user=pm", tmp_path)
    result = run("dsn", "--db-config", str(file), "--json")
    assert (json.loads(result.stdout)["password_left_out"], result.stderr) == (False, "")


# --- the embedded database


def test_reading_commands_make_no_database(tmp_path: Path) -> None:
    for command in ("status", "dsn"):
        result = run(command, "--data-dir", str(tmp_path))
        assert result.exit_code == 1
        assert "`python portfolio_manager.py migrate`" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_commands_share_the_embedded_database(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path))
    assert shown("migrate", *where)["after"] == head()
    assert shown("status", *where)["started"] is False
    assert "dbname=" in run("dsn", *where).stdout
    assert run("positions", *where).stdout == "no such positions\n"


# --- what is shown


def test_a_portfolio_that_never_started_is_told_as_such(database: tuple[str, str]) -> None:
    result = run("status", *database)
    assert result.exit_code == 0
    assert "has not been started yet" in result.stderr
    assert "no signals yet" in result.stdout
    assert shown("positions", *database) == {"positions": [], "next": None}
    assert run("journal", *database).stdout == "no journal entries\n"
    for command in ("positions", "orders", "signals"):
        assert run(command, *database).stdout == f"no such {command}\n"


def test_the_status_is_that_of_the_running_engine(database: tuple[str, str], engine: LiveTradingEngine) -> None:
    engine.deliver(a_signal(**GOLD, timestamp=NOON))
    engine.command(Halt(reason="lunch"))
    engine.db_manager.save_pyramiding_state("COPPER", Decimal(5), None, "abc: \x1b[31mbroken")
    found = shown("status", *database)
    measured = engine.portfolio_state_manager.measure()
    for name in ("closed_equity", "blended_equity", "total_risk_amount", "margin_used", "total_vol_percent"):
        assert Decimal(found[name]) == measured[name]
    assert (found["started"], found["halted"], found["open_positions"]) == (True, True, 1)
    assert found["frozen"] == {"COPPER": "abc: \x1b[31mbroken"}
    assert found["signals"] == [
        {"signal_type": "BASE_ENTRY", "processing_status": "executed", "signals": 1, "duplicates": 0}
    ]
    text = run("status", *database).stdout
    assert "5,000,000.00" in text
    assert "halted" in text
    assert "\x1b" not in text


def test_a_portfolio_written_by_hand_is_measured_with_the_default_settings(
    database: tuple[str, str], manager: DatabaseStateManager
) -> None:
    capital = Decimal(1000)
    state = PortfolioState(initial_capital=capital, closed_equity=capital, equity_high=capital)
    manager.save_portfolio_state(state)
    found = shown("status", *database)
    assert (found["open_equity"], found["drawdown_percent"]) == ("1000", "0")


def test_what_the_server_refuses_for_another_reason_is_told_as_it_is(
    database: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise StatementFailed("42501: permission denied for table portfolio_positions")

    monkeypatch.setattr(Reads, "all", refused)
    result = run("positions", *database)
    assert (result.exit_code, result.stderr) == (1, "Error: 42501: permission denied for table portfolio_positions\n")


def test_the_last_instance_is_told(database: tuple[str, str], engine: LiveTradingEngine) -> None:
    assert "none yet" in run("status", *database).stdout
    engine.reads.run("register_instance", instance_id="b2c1", hostname="desk", port=5000, version="0.1.0")
    assert shown("status", *database)["instance"]["instance_id"] == "b2c1"
    assert "b2c1 (recovering) on desk" in run("status", *database).stdout


def test_positions_are_listed_by_status_instrument_and_page(
    database: tuple[str, str], engine: LiveTradingEngine
) -> None:
    gold = engine.deliver(a_signal(**GOLD, timestamp=NOON)).outcome["position_id"]
    nifty = engine.deliver(a_signal(timestamp=NOON)).outcome["position_id"]
    engine.close_position(gold, Decimal(73000), "news")

    def ids(*arguments: str) -> list[str]:
        return [row["position_id"] for row in shown("positions", *database, *arguments)["positions"]]

    assert ids() == [nifty]
    assert ids("--status", "closed") == [gold]
    assert set(ids("--status", "all")) == {gold, nifty}
    assert ids("--status", "open, closed", "--instrument", "gold_mini") == [gold]
    first = shown("positions", *database, "--status", "all", "--limit", "1")
    assert first["next"] == first["positions"][0]["position_id"]
    rest = shown("positions", *database, "--status", "all", "--limit", "1", "--before", first["next"])
    assert {first["next"], rest["positions"][0]["position_id"]} == {gold, nifty}
    assert rest["next"] is None
    closed = run("positions", *database, "--status", "closed").stdout
    assert "20,000.00" in closed
    assert "news" in closed
    assert "exited" not in run("positions", *database).stdout


def test_wrong_filters_are_told(database: tuple[str, str]) -> None:
    assert run("positions", *database, "--status", "opne").exit_code == 2
    assert run("signals", *database, "--limit", "0").exit_code == 2
    result = run("positions", *database, "--before", "nobody")
    assert (result.exit_code, "there is no position nobody" in result.stderr) == (1, True)


def test_signals_and_journal_tell_what_was_decided(database: tuple[str, str], engine: LiveTradingEngine) -> None:
    engine.deliver(a_signal(**GOLD, timestamp=NOON))
    engine.deliver(a_signal("EXIT", timestamp=NOON))
    text = run("signals", *database).stdout
    assert text.index("EXIT") < text.index("BASE_ENTRY")
    assert "no open position" in text
    (rejected,) = shown("signals", *database, "--status", "rejected,blocked")["signals"]
    assert rejected["signal_type"] == "EXIT"
    page = shown("signals", *database, "--limit", "1")
    assert page["next"] == rejected["id"]
    assert shown("signals", *database, "--before", str(page["next"]))["signals"][0]["signal_type"] == "BASE_ENTRY"
    journal = run("journal", *database).stdout
    assert "EXIT BANK_NIFTY Long_1" in journal
    assert "genesis" in journal
    entries = shown("journal", *database, "--limit", "2")["journal"]
    assert [entry["outcome"]["status"] for entry in entries] == ["rejected", "executed"]


# --- send --dry-run


def test_a_dry_run_decides_in_order_with_figures_and_changes_nothing(
    database: tuple[str, str], engine: LiveTradingEngine, dsn: str, one_minute_past: None
) -> None:
    engine.deliver(a_signal(timestamp=NOON))
    before = rows_of(dsn)
    pyramid = {**GOLD_ALERT, "type": "PYRAMID", "position": "Long_2", "price": "73000", "stop": "72500"}
    alerts = "\n".join(json.dumps(alert) for alert in (pyramid, GOLD_ALERT, GOLD_ALERT))
    result = run("send", "-", "--dry-run", "--json", *database, given=alerts)
    assert (result.exit_code, result.stderr) == (0, "")
    base, again, added = map(json.loads, result.stdout.splitlines())
    assert (base["status"], base["lots"], base["limiter"]) == ("executed", 2, "volatility")
    assert base["sizing"]["risk"] == "7.5"
    assert (again["status"], again["first"]["lots"]) == ("duplicate", 2)
    assert (added["status"], added["lots"], added["limiter"]) == ("executed", 1, "discipline")
    assert "volatility 2" in run("send", "-", "--dry-run", *database, given=alerts).stdout
    assert rows_of(dsn) == before


def test_a_dry_run_gives_what_the_engine_then_gives(
    database: tuple[str, str], engine: LiveTradingEngine, one_minute_past: None
) -> None:
    foreseen = shown("send", "-", "--dry-run", *database, given=json.dumps(GOLD_ALERT))
    told = engine.deliver(a_signal(**GOLD, timestamp=NOON))
    assert {name: foreseen[name] for name in ("status", "lots", "limiter", "position_id", "fingerprint")} == {
        "fingerprint": told.fingerprint,
        **{name: told.outcome[name] for name in ("status", "lots", "limiter", "position_id")},
    }
    again = shown("send", "-", "--dry-run", *database, given=json.dumps(GOLD_ALERT))
    assert (again["status"], again["first"]["position_id"]) == ("duplicate", foreseen["position_id"])


def test_a_signal_that_waits_undecided_is_decided_by_a_dry_run(
    database: tuple[str, str], manager: DatabaseStateManager, one_minute_past: None
) -> None:
    signal = a_signal(**GOLD, timestamp=NOON)
    fingerprint = shown("send", "-", "--dry-run", *database, given=json.dumps(GOLD_ALERT))["fingerprint"]
    manager.log_signal(signal, fingerprint, received_at=NOON)
    # Nothing was ever started here: it is decided on the capital that a start would give.
    assert shown("send", "-", "--dry-run", *database, given=json.dumps(GOLD_ALERT))["lots"] == 2


def test_a_dry_run_decides_on_the_settings_it_is_given_and_says_that_they_differ(
    database: tuple[str, str], engine: LiveTradingEngine, tmp_path: Path, one_minute_past: None
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"limits": {"volatility_percent": "0.1"}}')
    arguments = ("send", "-", "--dry-run", *database, "--config", str(file), "--json")
    result = run(*arguments, given=json.dumps(GOLD_ALERT))
    assert json.loads(result.stdout)["limiter"] == "portfolio_volatility"
    assert "not those that `live` last decided with" in result.stderr


def test_a_dry_run_wants_the_instruments_that_are_open(
    database: tuple[str, str], dsn: str, settings: Settings, one_minute_past: None
) -> None:
    tin = settings.instruments["COPPER"]
    known = settings.model_copy(update={"instruments": {**settings.instruments, "TIN": tin}})
    with DatabaseStateManager(dsn) as manager:
        engine = LiveTradingEngine(manager, known, clock=lambda: NOON)
        engine.start()
        opened = engine.deliver(a_signal(instrument="TIN", price=800, stop=795, atr=2, er=1, timestamp=NOON))
        engine.stop()
    assert opened.outcome["status"] == "executed"
    result = run("send", "-", "--dry-run", *database, given=json.dumps(GOLD_ALERT))
    assert result.exit_code == 1
    assert "TIN has open positions" in result.stderr


def test_an_old_entry_is_stale_in_a_dry_run_too(database: tuple[str, str]) -> None:
    told = shown("send", "-", "--dry-run", *database, given=json.dumps(GOLD_ALERT))
    assert (told["status"], told["reason"]) == ("rejected", "stale")


def test_a_state_that_changes_while_it_is_read_is_read_as_of_one_moment(
    database: tuple[str, str],
    manager: DatabaseStateManager,
    monkeypatch: pytest.MonkeyPatch,
    one_minute_past: None,
) -> None:
    original, seen = JournalStream.pyramiding, []

    def moving(self: JournalStream) -> Any:
        manager.save_pyramiding_state("COPPER", Decimal(5 + len(seen)), None)
        seen.append(original(self).get("COPPER"))
        return original(self)

    manager.load()
    monkeypatch.setattr(JournalStream, "pyramiding", moving)
    assert shown("send", "-", "--dry-run", *database, given=json.dumps(GOLD_ALERT))["lots"] == 2
    assert seen == [None]
    loaded, _ = load_one_moment(manager)
    assert [row.last_pyramid_price for row in loaded.pyramiding if row.instrument == "COPPER"] == [5]
