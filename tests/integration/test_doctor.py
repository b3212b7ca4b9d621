"""`doctor` against real databases: what it finds, and that it starts, makes and changes nothing."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import make_dsn

from core.postgres.embedded import EmbeddedServer
from core.postgres.migrations import head, migrate
from live.doctor.database import check_database
from live.doctor.findings import Finding
from live.options import LiveOptions
from tests.command_line import run
from tests.folders import passable_folder
from tests.free_ports import free_ports
from tests.integration.test_cli_database import config_for, rows_of
from tests.live_process import LiveProcess


def now() -> datetime:
    return datetime.now(UTC)


def found_in(dsn: str, folder: Path, clock: Any = now, portfolio: str = "main") -> dict[str, Finding]:
    options = LiveOptions(data_dir=folder, db_config=config_for(dsn, folder), portfolios=(portfolio,))
    return {finding.check: finding for finding in check_database(options, clock, start=False)}


def ends(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.outcome.value for name, finding in findings.items()}


def test_a_migrated_database_is_in_order_and_stays_as_it_is(dsn: str, tmp_path: Path) -> None:
    before = rows_of(dsn)
    found = found_in(dsn, tmp_path)
    assert ends(found) == dict.fromkeys(("database", "durability", "migrations", "database clock"), "ok")
    assert "PostgreSQL 1" in found["database"].found
    assert head() in found["migrations"].found
    assert rows_of(dsn) == before


def test_tables_that_are_not_there_are_not_made(empty_dsn: str, tmp_path: Path) -> None:
    found = found_in(empty_dsn, tmp_path, portfolio="alpha")
    assert ends(found)["migrations"] == "warning"
    assert "migrate" in found["migrations"].mend
    with closing(psycopg2.connect(empty_dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname <> ALL(%s)",
            (["pg_catalog", "information_schema", "pg_toast"],),
        )
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT to_regnamespace('alpha') IS NULL")
        assert cursor.fetchone() == (True,)


@pytest.mark.parametrize("version, expected", [("001", "warning"), ("999", "failed")])
def test_tables_of_another_version_are_told(dsn: str, tmp_path: Path, version: str, expected: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE alembic_version SET version_num = %s", (version,))
    assert ends(found_in(dsn, tmp_path))["migrations"] == expected


def test_a_server_that_may_lose_commits_has_failed(dsn: str, tmp_path: Path) -> None:
    name = psycopg2.extensions.parse_dsn(dsn)["dbname"]
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name)))
    found = found_in(dsn, tmp_path)
    assert ends(found) == {"durability": "failed"}
    assert "synchronous_commit = off" in found["durability"].found


@pytest.mark.parametrize("off_by, expected", [(0, "ok"), (5, "warning"), (-5, "warning"), (120, "failed")])
def test_a_clock_that_differs_is_told(dsn: str, tmp_path: Path, off_by: int, expected: str) -> None:
    found = found_in(dsn, tmp_path, lambda: now() - timedelta(seconds=off_by))
    assert ends(found)["database clock"] == expected
    assert off_by == 0 or ("ahead of" if off_by > 0 else "behind") in found["database clock"].found


def test_an_old_server_has_failed(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.doctor.database._OLDEST", 990_000)
    found = found_in(dsn, tmp_path)
    assert (ends(found)["database"], found["database"].mend) == ("failed", "use PostgreSQL 15 or newer")


def test_a_server_that_is_not_there_has_failed_without_its_password(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    dsn = f"host=127.0.0.1 port={port} dbname=book user=trader password=hush-hush"
    found = found_in(dsn, tmp_path)
    assert ends(found) == {"database": "failed"}
    assert "hush" not in found["database"].found
    file = config_for(dsn, tmp_path)
    file.write_text("{}")
    options = LiveOptions(data_dir=tmp_path, db_config=file)
    (wrong,) = check_database(options, now, start=False)
    assert (wrong.outcome.value, "no environment `local`" in wrong.found) == ("failed", True)


def test_a_server_that_hangs_is_given_up_in_time(dsn: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hangs = make_dsn(dsn, host="127.0.0.1", port=silent.getsockname()[1])
        arguments = ("--data-dir", str(tmp_path), "--db-config", str(config_for(hangs, tmp_path)), "--within", "1")
        result = run("doctor", "--port", "0", "--json", *arguments)
    assert result.exit_code == 1
    findings = {row["check"]: row for row in json.loads(result.stdout)["findings"]}
    assert findings["database"]["found"] == "no answer within 1 s"
    assert findings["disk"]["outcome"] == "ok"


# --- the embedded server


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Below a folder that the server's account may pass."""
    with passable_folder("doctor") as folder:
        yield folder / "data"


def doctored(data_dir: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    (port,) = free_ports(1)
    result = run("doctor", "--data-dir", str(data_dir), "--port", str(port), "--json", *arguments)
    assert result.exit_code == 0, result.output
    return {row["check"]: row for row in json.loads(result.stdout)["findings"]}


def test_an_embedded_database_is_neither_made_nor_started_unless_that_is_asked_for(data_dir: Path) -> None:
    for arguments in ((), ("--start-database",)):
        assert doctored(data_dir, *arguments)["database"]["outcome"] == "skipped"
        assert not data_dir.exists()
    with EmbeddedServer(data_dir) as server:
        migrate(server.dsn, "main")
        assert doctored(data_dir)["migrations"]["outcome"] == "ok"
    skipped = doctored(data_dir)["database"]
    assert (skipped["outcome"], "--start-database" in skipped["mend"]) == ("skipped", True)
    assert server.postmaster_pid is None
    assert doctored(data_dir, "--start-database")["migrations"]["outcome"] == "ok"
    assert server.postmaster_pid is None


def test_beside_a_running_instance_it_finds_all_in_order_and_ends_nothing(data_dir: Path) -> None:
    data_dir.parent.mkdir(exist_ok=True)
    secret = {"PORTFOLIO_WEBHOOK_SECRET": "kPq3-vT8_zL0wXy7Rb2NcD5fGh1JmS4aEu6iOo9K"}
    with LiveProcess(data_dir, environment=secret) as live:
        before = live.get("/webhook/stats"), live.get("/journal")
        result = run("doctor", "--data-dir", str(data_dir), "--port", str(live.port), "--json")
        assert result.exit_code == 0, result.output
        findings = {row["check"]: row for row in json.loads(result.stdout)["findings"]}
        for name in ("database", "durability", "migrations", "disk", "port", "broker", "webhook"):
            assert findings[name]["outcome"] == "ok", findings[name]
        assert (live.get("/webhook/stats"), live.get("/journal")) == before
        assert live.get("/ready")[0] == 200
