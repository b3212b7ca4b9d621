"""`live` tells somebody what happens, from the command line on: who takes over does, and nothing waits for a provider."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.database_file import pointed_to
from tests.e2e.test_live import an_alert
from tests.live_process import LiveProcess
from tests.queries import rows
from tests.receiver import Receiver, a_receiver
from tests.waiting import Stopwatch, eventually

SECRET = "tgrem://123456789:a-secret-token/12345"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as made:
        yield made


def options(dsn: str, tmp_path: Path, **notifications: Any) -> tuple[str, ...]:
    config = tmp_path / "portfolio.json"
    config.write_text(json.dumps({"notifications": notifications}), encoding="utf-8")
    return ("--config", str(config), "--log", "json", *pointed_to(dsn, tmp_path / "database.json"))


def test_who_takes_over_goes_on_telling_and_the_heartbeat_goes_with_the_lead(
    dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    heartbeat = {"url": f"http://{receiver.address}/ping/{{portfolio}}", "every_seconds": 1}
    given = options(dsn, tmp_path, channels={"phone": {"url": receiver.url}}, heartbeat=heartbeat)
    with LiveProcess(tmp_path / "first", *given) as leader:
        assert leader.post(an_alert())[1]["status"] == "executed"
        assert eventually(lambda: "BANK_NIFTY BASE_ENTRY Long_1 executed" in receiver.said())
        with LiveProcess(tmp_path / "second", *given) as follower:
            assert eventually(lambda: len(receiver.calls) > 2)
            leader.sigkill()
            assert eventually(lambda: "leads since term 2" in receiver.said())
            so_far = len(receiver.calls)
            assert eventually(lambda: len(receiver.calls) > so_far + 1)
            answer = follower.post(an_alert("EXIT", price=58500, ago=-2))[1]
            assert answer["status"] == "executed"
            assert eventually(lambda: answer["fingerprint"] in receiver.said())
    assert set(receiver.calls) == {"/ping/main"}
    assert receiver.said().count("BASE_ENTRY Long_1 executed") == 1


def test_a_url_that_nobody_knows_ends_the_start_and_is_not_shown(dsn: str, tmp_path: Path) -> None:
    live = LiveProcess(tmp_path / "data", *options(dsn, tmp_path, channels={"phone": {"url": SECRET}}))
    assert live.process.wait(60) == 1
    assert live.process.stdout is not None
    live.process.stdout.close()
    log = live.log()
    assert "`notifications.channels.phone.url`: apprise knows no such URL" in log
    assert "a-secret-token" not in log


def test_a_provider_that_hangs_keeps_neither_an_alert_nor_the_end_of_the_process_waiting(
    dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.silent.set()
    with LiveProcess(tmp_path / "data", *options(dsn, tmp_path, channels={"phone": {"url": receiver.url}})) as live:
        assert live.post(an_alert())[1]["status"] == "executed"
        assert eventually(lambda: receiver.got)
        began = Stopwatch()
        for number in range(20):
            status, answer = live.post(an_alert("MARKET_DATA", "", price=58000 + number, ago=-number - 1))
            assert (status, answer["status"]) == (200, "executed")
        assert began.seconds < 10
        live.process.terminate()
        assert live.process.wait(30) == 0
    log = live.log()
    assert "a-secret-path" not in log
    assert rows(dsn, "SELECT sending_seq IS NOT NULL FROM notification_cursors") == [(True,)]


def test_a_refusing_provider_is_told_of_in_the_log_as_json_without_the_url(
    dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.status = 401
    with LiveProcess(tmp_path / "data", *options(dsn, tmp_path, channels={"phone": {"url": receiver.url}})) as live:
        assert live.post(an_alert())[1]["status"] == "executed"
        assert eventually(lambda: "a notification was not taken" in live.log())
        log = live.log()
    lines = [json.loads(line) for line in log.splitlines()]
    (first, *_) = [line for line in lines if line["event"] == "a notification was not taken"]
    assert (first["channel"], "401" in first["reason"]) == ("phone", True)
    assert "a-secret-path" not in log


def test_a_database_that_goes_away_is_told_of_though_nothing_can_be_kept(
    dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    with LiveProcess(tmp_path / "data", *options(dsn, tmp_path, channels={"phone": {"url": receiver.url}})) as live:
        assert live.post(an_alert())[1]["status"] == "executed"
        name = dsn.split("dbname=")[1].split()[0]
        rows(dsn.replace(f"dbname={name}", "dbname=postgres"), f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        rows(dsn.replace(f"dbname={name}", "dbname=postgres"), end)
        try:
            assert eventually(lambda: "the database is away" in receiver.said())
        finally:
            rows(dsn.replace(f"dbname={name}", "dbname=postgres"), f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert eventually(lambda: "over: the database is away" in receiver.said())
        assert "told by" in receiver.said()
