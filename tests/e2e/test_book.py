"""`live` keeps the book while it leads, and nothing of it is in the way of an alert."""

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from core.postgres.migrations import migrate_shared
from tests.database_file import pointed_to
from tests.e2e.test_live import an_alert
from tests.live_process import LiveProcess
from tests.queries import rows
from tests.waiting import eventually


def options(dsn: str, tmp_path: Path, **book: Any) -> tuple[str, ...]:
    config = tmp_path / "portfolio.json"
    config.write_text(json.dumps({"book": {"enabled": True, "every_seconds": 1, **book}}), encoding="utf-8")
    return ("--config", str(config), *pointed_to(dsn, tmp_path / "database.json"))


def lag(live: LiveProcess) -> float | None:
    with urllib.request.urlopen(f"{live.url}/metrics", timeout=30) as response:
        told = response.read().decode()
    lines = [line for line in told.splitlines() if line.startswith("portfolio_manager_book_lag_entries{")]
    return float(lines[0].rpartition(" ")[2]) if lines else None


def kept(dsn: str) -> list[tuple[Any, ...]]:
    return rows(dsn, "SELECT engine_position_id, is_open FROM book.portfolio_positions ORDER BY id")


def test_who_leads_keeps_it_and_who_takes_over_goes_on(dsn: str, tmp_path: Path) -> None:
    migrate_shared(dsn)
    given = options(dsn, tmp_path)
    with LiveProcess(tmp_path / "first", *given) as leader:
        position = leader.post(an_alert())[1]["position_id"]
        assert eventually(lambda: kept(dsn) == [(position, True)])
        assert eventually(lambda: lag(leader) == 0)
        with LiveProcess(tmp_path / "second", *given) as follower:
            assert lag(follower) is None
            assert follower.get("/api/book/briefings") == (200, {"briefings": [], "next": None})
            leader.sigkill()
            assert eventually(lambda: follower.get("/leader")[1] == {"leader": True})
            assert follower.post(an_alert("EXIT", price=58500, ago=-2))[1]["status"] == "executed"
            assert eventually(lambda: kept(dsn) == [(position, False)])
            assert eventually(lambda: lag(follower) == 0)


def test_where_it_is_not_migrated_that_is_told_once_and_alerts_go_on(dsn: str, tmp_path: Path) -> None:
    with LiveProcess(tmp_path / "data", *options(dsn, tmp_path)) as live:
        assert eventually(lambda: "migrate --book" in live.log())
        assert live.post(an_alert())[1]["status"] == "executed"
        time.sleep(2.5)  # two more turns
        assert live.log().count("migrate --book") == 1
        status, told = live.get("/api/book/briefings")
        assert (status, told["error"]["code"]) == (409, "book_not_migrated")
