"""`live` has days reckoned while it leads, by a worker of its own that ends with it, and its own process knows no arrays."""

import json
import urllib.request
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from book.database import engine_of, transaction
from core.postgres.migrations import migrate, migrate_shared
from risk.batch.run import STEPS
from tests.book_world import a_held_position, a_node, an_instrument
from tests.database_file import pointed_to
from tests.e2e.test_live import an_alert
from tests.live_process import LiveProcess
from tests.queries import rows
from tests.waiting import eventually
from tests.workers import workers_of

# What the calendar does not know trades always; its days end at midnight in UTC.
EXCHANGE = "ELSEWHERE"
ARRAYS = ("numpy", "pandas", "scipy", "QuantLib", "sklearn")


@pytest.fixture
def held(dsn: str) -> str:
    """Something that has been held for a week."""
    migrate(dsn, "main")
    migrate_shared(dsn)
    engine = engine_of(dsn)
    with transaction(engine, limit_seconds=120) as session:
        number = an_instrument(session, "BTC", exchange=EXCHANGE, kind="spot").instrument_id
        since = datetime.now(UTC) - timedelta(days=7)
        a_held_position(session, a_node(session).portfolio_node_id, number, entry_timestamp=since)
    engine.dispose()
    return dsn


def options(dsn: str, tmp_path: Path, **risk: Any) -> tuple[str, ...]:
    config = tmp_path / "portfolio.json"
    given = {"enabled": True, "every_seconds": 1, "catch_up_days": 2, "retry_seconds": 1, **risk}
    config.write_text(json.dumps({"risk": given}), encoding="utf-8")
    return ("--config", str(config), *pointed_to(dsn, tmp_path / "database.json"))


def attempts(dsn: str) -> list[tuple[Any, ...]]:
    asked = "SELECT calculation_date, calculation_type, attempt, status FROM risk.calculation_audit_log ORDER BY id"
    return rows(dsn, asked)


def metric(live: LiveProcess, name: str) -> float | None:
    with urllib.request.urlopen(f"{live.url}/metrics", timeout=30) as response:
        told = response.read().decode()
    lines = [line for line in told.splitlines() if line.startswith(f"portfolio_manager_risk_{name} ")]
    return float(lines[0].rpartition(" ")[2]) if lines else None


def last_day(live: LiveProcess) -> date | None:
    seconds = metric(live, "last_day_timestamp_seconds")
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date()


def yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


def test_who_leads_has_days_reckoned_and_alerts_are_decided_beside_it(held: str, tmp_path: Path) -> None:
    with LiveProcess(tmp_path / "data", *options(held, tmp_path)) as live:
        assert live.post(an_alert())[1]["status"] == "executed"
        # Midnight may come between: the day that was yesterday is then due too.
        assert eventually(lambda: last_day(live) == yesterday())
        assert metric(live, "failures_total") == 0
        told = live.get("/api/risk/nodes")[1]
        assert (told["date"], told["nodes"][0]["positions"]) == (str(yesterday()), 1)
        assert live.get("/api/risk/steps")[1]["steps"][-1]["status"] == "completed"
        loaded = Path(f"/proc/{live.process.pid}/maps").read_text()
        assert [name for name in ARRAYS if f"/{name}" in loaded] == []
        assert live.log().count("day reckoned") >= 2
    days = {day for day, *_ in attempts(held)}
    assert {yesterday(), yesterday() - timedelta(days=1)} <= days
    assert [row[1:] for row in attempts(held) if row[0] == yesterday()] == [(step, 1, "completed") for step in STEPS]


def test_a_killed_leaders_worker_ends_with_it_and_who_takes_over_goes_on_there(held: str, tmp_path: Path) -> None:
    given = options(held, tmp_path, catch_up_days=1)
    engine = engine_of(held)
    with engine.connect() as other:
        other.exec_driver_sql("LOCK TABLE risk.stress_results IN ACCESS EXCLUSIVE MODE")
        with LiveProcess(tmp_path / "first", *given) as leader, LiveProcess(tmp_path / "second", *given) as follower:
            assert eventually(lambda: any(row[1:] == ("stress_tests", 1, "running") for row in attempts(held)))
            workers = workers_of(leader.process.pid)
            assert len(workers) == 1
            assert workers_of(follower.process.pid) == []
            assert last_day(follower) is None
            leader.sigkill()
            assert eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
            other.rollback()
            assert eventually(lambda: follower.get("/leader")[1] == {"leader": True})
            assert eventually(lambda: last_day(follower) == yesterday())
    engine.dispose()
    of_it = [row for row in attempts(held) if row[0] == yesterday()]
    assert [row[2:] for row in of_it if row[1] == "stress_tests"] == [(1, "failed"), (2, "completed")]
    assert [row[2:] for row in of_it if row[1] == "greeks"] == [(1, "completed")]


def test_where_its_tables_are_missing_that_is_told_once_and_alerts_go_on(dsn: str, tmp_path: Path) -> None:
    with LiveProcess(tmp_path / "data", *options(dsn, tmp_path)) as live:
        assert eventually(lambda: "migrate --book" in live.log())
        assert live.post(an_alert())[1]["status"] == "executed"
        assert eventually(lambda: live.get("/api/risk/days")[0] == 409)
    assert live.log().count("migrate --book") == 1


def test_asked_to_end_it_does_so_at_once_whatever_a_step_waits_for(held: str, tmp_path: Path) -> None:
    engine = engine_of(held)
    with engine.connect() as other:
        other.exec_driver_sql("LOCK TABLE risk.stress_results IN ACCESS EXCLUSIVE MODE")
        with LiveProcess(tmp_path / "data", *options(held, tmp_path)) as live:
            assert eventually(lambda: any(row[1:] == ("stress_tests", 1, "running") for row in attempts(held)))
            (worker,) = workers_of(live.process.pid)
            live.process.terminate()
            assert live.process.wait(30) == 0
            assert eventually(lambda: not Path(f"/proc/{worker}").exists())
        other.rollback()
    engine.dispose()
    assert "a day was not reckoned" not in live.log()
