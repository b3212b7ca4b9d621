"""The whole program from the command line: alert in, position kept, SIGKILL, the same state again, once."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.alert import parse_alert
from core.config import default_settings
from core.postgres.embedded import EmbeddedServer
from core.postgres.journal_stream import journal_stream
from live.verify import verify
from tests.engines import Clock, an_engine, without_waiting
from tests.folders import passable_folder
from tests.live_process import ROOT, LiveProcess, listens
from tests.queries import rows
from tests.states import state_of
from tests.waiting import Stopwatch

SECRET = "correct horse battery"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account may pass through, unlike pytest's own."""
    with passable_folder("e2e") as made:
        yield made
        # What a SIGKILLed process left running is stopped by its last user: us.
        with EmbeddedServer(made / "data"):
            pass


@pytest.fixture
def clean_folder() -> Iterator[Path]:
    with passable_folder("e2e") as made:
        yield made


def an_alert(kind: str = "BASE_ENTRY", layer: str = "Long_1", ago: float = 0, **fields: object) -> dict[str, object]:
    """DOMAIN.md's first example, fired `ago` seconds before now."""
    fired = datetime.now(UTC) - timedelta(seconds=ago)
    return {
        "type": kind,
        "instrument": "BANK_NIFTY",
        "position": layer,
        "price": 58412.6,
        "stop": 57985.0,
        "lots": 3,
        "atr": 285.4,
        "er": 0.86,
        "supertrend": 57985.0,
        "roc": 2.4,
        "timestamp": fired.isoformat(),
        **fields,
    }


def a_story() -> list[dict[str, object]]:
    """Entries, pyramids, bars, exits on three instruments and both sides, as alerts in the order they fire."""
    story: list[dict[str, object]] = []

    def tell(kind: str, layer: str, **fields: object) -> None:
        story.append(an_alert(kind, layer, ago=120 - len(story), **fields))

    gold = {"instrument": "GOLD_MINI", "atr": 500}
    silver = {"instrument": "SILVER_MINI", "atr": 900}
    tell("BASE_ENTRY", "Long_1")
    tell("BASE_ENTRY", "Long_1", **gold, price=138000, stop=137500)
    tell("BASE_ENTRY", "Short_1", **silver, price=90000, stop=91800)
    for step in range(1, 6):
        tell("MARKET_DATA", "", price=58412 + 150 * step)
        tell("MARKET_DATA", "", **gold, price=138000 + 300 * step)
        tell("MARKET_DATA", "", **silver, price=90000 - 400 * step)
    tell("PYRAMID", "Long_2", price=59200, stop=59100, atr=100)
    tell("PYRAMID", "Long_2", **gold, price=139600, stop=139400)
    tell("PYRAMID", "Short_2", **silver, price=87000, stop=87500)
    for step in range(1, 6):
        tell("MARKET_DATA", "", price=59300 + 50 * step)
        tell("MARKET_DATA", "", **silver, price=87000 - 100 * step)
    tell("EXIT", "Long_2", **gold, price=139500, reason="TRAILING_STOP")
    tell("EXIT", "ALL", **silver, price=86900, reason="SuperTrend")
    tell("BASE_ENTRY", "Long_1", instrument="COPPER", price=800, stop=790, atr=10)
    return story


def test_an_alert_becomes_a_sized_position_in_postgresql_and_survives_a_sigkill(folder):
    alert = an_alert()
    with LiveProcess(folder / "data") as live:
        status, answer = live.post(alert)
        assert (status, answer["status"], answer["lots"], answer["limiter"]) == (200, "executed", 2, "volatility")
        dsn = EmbeddedServer.dsn_of(folder / "data")
        ((position_id, lots, quantity, stop),) = rows(
            dsn, "SELECT position_id, lots, quantity, current_stop FROM portfolio_positions"
        )
        assert (position_id, lots, quantity, stop) == (answer["position_id"], 2, 60, 57985)
        before, port = state_of(dsn), live.port
        live.sigkill()
    assert not listens(port)
    with LiveProcess(folder / "data", port=port) as live:
        assert state_of(dsn) == before
        status, again = live.post(alert)
        assert (status, again["status"], again["first"]["position_id"]) == (200, "duplicate", position_id)
        assert live.get("/status")[1]["term"] == 2


def test_killed_anywhere_in_a_story_and_redelivered_the_state_is_what_it_would_be(folder, dsn):
    story, dice = a_story(), random.Random(7)
    kills = sorted(dice.sample(range(1, len(story)), 4))
    data, unanswered, port = folder / "data", list(story), 0
    for kill in [*kills, None]:
        with LiveProcess(data, port=port) as live:
            port = live.port
            while unanswered:
                if kill is not None and len(story) - len(unanswered) >= kill:
                    sender = threading.Thread(target=_send_into_the_kill, args=(live, unanswered[0]))
                    sender.start()
                    time.sleep(dice.random() * 0.01)
                    os.kill(live.process.pid, signal.SIGKILL)
                    live.process.wait()
                    sender.join()
                    assert not listens(port)
                    break
                status, answer = live.post(unanswered[0])
                assert status == 200, answer
                unanswered.pop(0)
            if kill is None:
                assert live.get("/status")[1]["failed_invariants"] == []
                disturbed = state_of(EmbeddedServer.dsn_of(data))
    settings = default_settings()
    with an_engine(dsn, settings=without_waiting(settings), clock=Clock(datetime.now(UTC))) as engine:
        for alert in story:
            parsed = parse_alert(
                json.dumps(alert).encode(), instruments=settings.instruments, naive_timezone=ZoneInfo("UTC")
            )
            engine.deliver(parsed.signal, parsed.payload)
    undisturbed = state_of(dsn)
    # The settings differ in the wait that tests leave out; they decide nothing here.
    for state in (disturbed, undisturbed):
        state[-1] = [row for row in state[-1] if '"settings_changed"' not in row[1]]
    assert disturbed == undisturbed
    with EmbeddedServer(data) as server, journal_stream(server.dsn, "main") as stream:
        assert verify(stream, "main").signals == len(story)
    assert {row[1] for row in disturbed[3]} >= {"executed", "blocked"}


def _send_into_the_kill(live: LiveProcess, alert: dict[str, object]) -> None:
    with suppress(OSError):
        live.post(alert)


def test_killed_in_a_burst_of_eight_clients_nothing_acknowledged_is_lost_and_nothing_doubled(folder):
    data, dice = folder / "data", random.Random(11)
    alerts = [an_alert("MARKET_DATA", "", ago=330 - number, price=58000 + number) for number in range(320)]
    with LiveProcess(data) as live:
        live.post(an_alert(ago=250))
        acknowledged = _burst_into_a_kill(live, alerts, kill_after=60 + dice.randrange(60))
        port = live.port
    assert not listens(port)
    with LiveProcess(data, port=port) as live:
        dsn = EmbeddedServer.dsn_of(data)
        logged = {row[0] for row in state_of(dsn)[3]}
        assert set(acknowledged.values()) <= logged
        for alert in alerts:
            status, _ = live.post(alert)
            assert status == 200
        state = state_of(dsn)
        assert len(state[3]) == len(alerts) + 1
        assert len(state[0]) == 1
        assert live.get("/status")[1]["failed_invariants"] == []


def _burst_into_a_kill(live: LiveProcess, alerts: list[dict[str, object]], kill_after: int) -> dict[int, str]:
    """Eight clients send; the process is killed after so many answers; the fingerprints that were acknowledged."""
    acknowledged: dict[int, str] = {}

    def client(number: int) -> None:
        with suppress(OSError):
            for index in range(number, len(alerts), 8):
                status, answer = live.post(alerts[index])
                assert status == 200
                acknowledged[index] = answer["fingerprint"]

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < kill_after:
        time.sleep(0.002)
    live.sigkill()
    for thread in threads:
        thread.join()
    return acknowledged


def test_the_servers_own_sigkill_is_survived_too(folder):
    with LiveProcess(folder / "data") as live:
        live.post(an_alert())
        server = EmbeddedServer(folder / "data")
        postmaster = server.postmaster_pid
        assert postmaster is not None
        live.sigkill()
        os.kill(postmaster, signal.SIGKILL)
    with LiveProcess(folder / "data") as live:
        assert len(live.get("/positions")[1]["positions"]) == 1


def test_a_server_killed_under_a_running_process_is_started_again_and_nobody_is_turned_away(folder):
    with LiveProcess(folder / "data") as live:
        live.post(an_alert())
        server = EmbeddedServer(folder / "data")
        killed = server.postmaster_pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        statuses, deadline = [], time.monotonic() + 20
        # What the killed server's processes had in hand they may still answer: it is back with a 200 after a 202.
        while time.monotonic() < deadline and (202 not in statuses or statuses[-1] != 200):
            assert live.get("/ready")[0] == 200
            statuses.append(live.post(an_alert("MARKET_DATA", "", ago=-len(statuses) / 10, price=58500))[0])
            time.sleep(0.02)
        assert set(statuses) == {200, 202}
        assert server.postmaster_pid not in (killed, None)
        assert live.get("/db/status")[0] == 200
        assert len(live.get("/positions")[1]["positions"]) == 1


def test_sigterm_drains_and_stops_cleanly_within_five_seconds(clean_folder):
    with LiveProcess(clean_folder / "data") as live:
        live.post(an_alert())
        port, postmaster = live.port, EmbeddedServer(clean_folder / "data").postmaster_pid
        started = Stopwatch()
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(60) == 0
        assert started.seconds < 5
        assert not listens(port)
    assert postmaster is not None
    assert not Path(f"/proc/{postmaster}").exists()
    assert "Traceback" not in live.log()


def test_every_line_of_the_log_can_be_an_object(clean_folder):
    with LiveProcess(clean_folder / "data", "--log", "json") as live:
        answered = live.post(an_alert())[1]
        refused = live.post({"type": "BASE_ENTRY"})[0]
        assert refused == 400
    lines = [json.loads(line) for line in live.log().splitlines()]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    (signal_line,) = [line for line in lines if line["event"] == "signal"]
    # By this a signal is found in the log, in signal_log and in the journal.
    assert signal_line["fingerprint"] == answered["fingerprint"]


def test_a_log_that_nobody_reads_stops_nobody(clean_folder):
    """stderr is a pipe whose reader stands still: a pipe holds 64 KiB, some 200 alerts' lines."""
    os.mkfifo(clean_folder / "data.log")
    reader = os.open(clean_folder / "data.log", os.O_RDONLY | os.O_NONBLOCK)
    with LiveProcess(clean_folder / "data") as live:
        live.post(an_alert(ago=700))
        for number in range(600):
            bar = an_alert("MARKET_DATA", "", ago=650 - number, price=58500)
            assert live.post(bar)[0] == 200
        assert live.get("/status")[1]["ready"] is True
        live.process.terminate()
        assert live.process.wait(60) == 0
        told = os.read(reader, 1 << 20)
    os.close(reader)
    assert len(told) > 40_000
    assert told.count(b"] signal ") < 600


def test_a_second_portfolio_is_served_beside_the_first_from_a_schema_of_its_own(folder):
    with (
        LiveProcess(folder / "data") as main,
        LiveProcess(folder / "data", "--portfolio", "alpha", "--capital", "1000000") as alpha,
    ):
        assert main.post(an_alert())[1]["lots"] == 2
        status, answer = alpha.post(an_alert(), "/webhook/alpha")
        assert (status, answer["status"], answer["lots"]) == (200, "blocked", 0)
        assert alpha.get("/status")[1]["initial_capital"] == "1000000"
        assert main.get("/status?portfolio=alpha")[0] == 404


def why_not_started(*arguments: object) -> str:
    """What a `live` that is refused says."""
    command = (sys.executable, ROOT / "portfolio_manager.py", "live", *arguments)
    refused = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    return refused.stderr


def test_a_port_in_use_is_told_before_a_term_is_taken(folder):
    with LiveProcess(folder / "data") as live:
        told = why_not_started("--data-dir", folder / "data", "--portfolio", "alpha", "--port", live.port)
        assert f"port {live.port}" in told
        dsn = EmbeddedServer.dsn_of(folder / "data")
        assert rows(dsn, "SELECT to_regclass('alpha.leadership')") == [(None,)]


def test_a_data_folder_that_cannot_be_made_is_told_in_a_sentence(clean_folder):
    (clean_folder / "file").write_text("")
    told = why_not_started("--data-dir", clean_folder / "file" / "data")
    assert "--data-dir" in told
    assert "Traceback" not in told


def test_a_bind_wider_than_loopback_without_a_secret_is_refused(clean_folder):
    told = why_not_started("--data-dir", clean_folder / "data", "--host", "0.0.0.0")
    assert "PORTFOLIO_WEBHOOK_SECRET" in told


def test_the_secret_is_demanded_and_kept_nowhere(folder):
    environment = {"PORTFOLIO_WEBHOOK_SECRET": SECRET}
    with LiveProcess(folder / "data", environment=environment) as live:
        assert live.post(an_alert())[0] == 401
        assert live.post(an_alert(secret="wrong horse battery"))[0] == 401
        status, answer = live.post(an_alert(secret=SECRET))
        assert (status, answer["status"]) == (200, "executed")
        dump = (
            str(state_of(EmbeddedServer.dsn_of(folder / "data")))
            + str(live.get("/signals"))
            + str(live.get("/journal"))
        )
        assert SECRET not in dump
        assert "wrong horse" not in dump
        assert SECRET not in live.log()
        assert "wrong horse" not in live.log()


def test_the_operators_token_is_made_at_the_first_start_and_demanded_on_loopback_too(folder):
    with LiveProcess(folder / "data") as live:
        token_file = folder / "data" / "operator.token"
        assert token_file.stat().st_mode & 0o777 == 0o600
        assert live.post({}, "/halt")[0] == 401
        assert live.post({"reason": "lunch"}, "/halt", token_file.read_text().strip())[0] == 200
        assert live.post(an_alert())[1]["reason"] == "halted"
        assert live.get("/ready")[0] == 200
