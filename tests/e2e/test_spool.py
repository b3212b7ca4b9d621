"""Real processes while the database is away: what they answered 202 is decided, once, whoever is killed meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.postgres.journal_stream import journal_stream
from live.verify import verify
from tests.command_line import run
from tests.database_file import pointed_to
from tests.e2e.test_live import an_alert
from tests.live_process import LiveProcess
from tests.proxy import Proxy
from tests.queries import rows
from tests.waiting import Stopwatch, eventually


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with Proxy(dsn) as made:
        yield made


@pytest.fixture
def database(proxy: Proxy, tmp_path: Path) -> tuple[str, ...]:
    return pointed_to(proxy.dsn, tmp_path / "database.json")


def decided(dsn: str) -> list[tuple[str, str]]:
    return rows(
        dsn,
        "SELECT input -> 'signal' ->> 'type', outcome ->> 'status' FROM decision_journal WHERE kind = 'signal' ORDER BY seq",
    )


def test_a_start_without_a_database_keeps_alerts_through_a_sigkill_and_decides_them_when_it_is_there(
    dsn, proxy, database, tmp_path
):
    proxy.refuse(True)
    with LiveProcess(tmp_path / "data", *database) as live:
        assert live.get("/ready") == (200, {"ready": True})
        status, answer = live.post(an_alert("EXIT", price=58500, ago=-2))
        assert (status, answer["status"]) == (202, "queued")
        assert len(answer["fingerprint"]) == 64
        assert live.post(an_alert())[0] == 202
        status, answer = live.get("/status")
        assert (status, answer["backlog"], answer["spool"]) == (503, 2, {"kept": 2, "set_aside": 0, "usable": True})
        status, answer = live.get("/db/status")
        assert (status, answer["connected"], answer["backlog"]) == (503, False, 2)
        assert live.post({"type": "nonsense"})[0] == 400
        live.process.kill()
        live.process.wait()
    with LiveProcess(tmp_path / "data", *database) as live:
        assert live.get("/db/status")[1]["backlog"] == 2
        proxy.refuse(False)
        assert eventually(lambda: live.get("/status")[1].get("backlog") == 0)
        assert live.get("/status")[1]["spool"]["kept"] == 0
        # In DOMAIN.md's order, not in that of their arrival.
        assert decided(dsn) == [("BASE_ENTRY", "executed"), ("EXIT", "executed")]
    with journal_stream(dsn, "main") as stream:
        assert verify(stream, "main").signals == 2


def test_a_database_that_goes_away_under_load_turns_nobody_away_and_loses_nothing(dsn, proxy, database, tmp_path):
    with LiveProcess(tmp_path / "data", *database) as live:
        told = []
        for number in range(60):
            proxy.refuse(20 <= number < 40)
            started = Stopwatch()
            status, answer = live.post(an_alert("MARKET_DATA", "", ago=100 - number, price=58500 + number))
            assert started.seconds < 2.5
            told.append((status, answer["fingerprint"]))
        assert {status for status, _ in told} == {200, 202}
        assert eventually(lambda: live.get("/status")[1].get("backlog") == 0)
        logged = rows(dsn, "SELECT fingerprint FROM signal_log WHERE processing_status <> 'received'")
        assert {fingerprint for (fingerprint,) in logged} == {fingerprint for _, fingerprint in told}
        assert len(decided(dsn)) == 60


def test_sigterm_while_the_database_is_away_ends_in_time_and_loses_nothing(dsn, proxy, database, tmp_path):
    with LiveProcess(tmp_path / "data", *database) as live:
        proxy.refuse(True)
        assert live.post(an_alert())[0] == 202
        started = Stopwatch()
        live.process.terminate()
        assert live.process.wait(60) == 0
        assert started.seconds < 8
    proxy.refuse(False)
    with LiveProcess(tmp_path / "data", *database) as live:
        assert eventually(lambda: live.get("/status")[1]["backlog"] == 0)
        assert decided(dsn) == [("BASE_ENTRY", "executed")]


def test_a_backlog_under_another_leader_goes_into_the_leaders_inbox(dsn, proxy, database, tmp_path):
    """The one with the backlog cannot lead: it hands over what it holds, and follows."""
    proxy.refuse(True)
    with LiveProcess(tmp_path / "second", *database) as second:
        assert second.post(an_alert())[0] == 202
        second.process.kill()
        second.process.wait()
    proxy.refuse(False)
    with LiveProcess(tmp_path / "first", *database) as first, LiveProcess(tmp_path / "second", *database) as second:
        assert eventually(lambda: decided(dsn) == [("BASE_ENTRY", "executed")])
        assert second.get("/status")[1]["led_by"]["port"] == first.port
        assert eventually(lambda: second.get("/status")[1]["spool"]["kept"] == 0)


def test_who_may_not_lead_when_the_database_is_back_hands_over_what_it_took(dsn, proxy, database, tmp_path):
    """It started without the database, and another was quicker when that came back."""
    with Proxy(dsn) as open_line:
        proxy.refuse(True)
        with LiveProcess(tmp_path / "second", *database) as second:
            assert second.post(an_alert())[0] == 202
            with LiveProcess(tmp_path / "first", *pointed_to(open_line.dsn, tmp_path / "first.json")):
                proxy.refuse(False)
                assert eventually(lambda: decided(dsn) == [("BASE_ENTRY", "executed")])
                assert eventually(lambda: second.get("/status")[1].get("leader") is False)


def test_a_halt_while_the_database_is_away_fails_within_six_seconds(proxy, database, tmp_path):
    with LiveProcess(tmp_path / "data", *database) as live:
        proxy.refuse(True)
        assert live.post(an_alert())[0] == 202
        started = Stopwatch()
        result = run("halt", "--url", live.url, "--data-dir", str(tmp_path / "data"))
        assert started.seconds < 6.5
        assert result.exit_code == 1
        assert "entries are not halted" in result.stderr
