"""Several `live` processes on one portfolio: any of them takes alerts, one decides, a dead or a silent one is replaced."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from core.postgres.embedded import EmbeddedServer
from tests.e2e.test_live import an_alert, folder
from tests.live_process import LiveProcess
from tests.queries import rows
from tests.redis_server import NEEDS_REDIS, redis_server
from tests.verified import verified
from tests.waiting import eventually

__all__ = ["folder", "redis_server"]


@contextmanager
def two(data: Path, **environment: str) -> Iterator[tuple[LiveProcess, LiveProcess]]:
    """The one that leads, and one that follows it."""
    with LiveProcess(data, environment=environment) as leader:
        assert leads(leader)
        assert eventually(lambda: "active" in _instances(EmbeddedServer.dsn_of(data)).values())
        with LiveProcess(data, environment=environment) as follower:
            assert follower.get("/status")[1]["leader"] is False
            yield leader, follower


def leads(live: LiveProcess) -> bool:
    status, told = live.get("/status")
    return status == 200 and told["leader"] is True


def test_a_follower_answers_as_the_leader_does_and_shows_the_same_state(folder):
    with two(folder / "data") as (leader, follower):
        entry = an_alert()
        status, answer = follower.post(entry)
        assert (status, answer["status"], answer["lots"]) == (200, "executed", 2)
        assert answer["sizing"]["risk"]
        assert answer["signal_id"]
        assert answer["journal_seq"]
        for live in (leader, follower):
            again = live.post(entry)[1]
            assert (again["status"], again["first"]["position_id"]) == ("duplicate", answer["position_id"])
            assert live.post({**entry, "lots": 7})[1]["differs"] is True
        assert leader.post(an_alert("PYRAMID", "Long_2", price=58500))[1]["status"] == "blocked"
        assert eventually(lambda: _figures(leader) == _figures(follower))
        assert follower.get("/positions")[1] == leader.get("/positions")[1]
        assert follower.get("/ready")[0] == 200
        told = follower.get("/status")[1]
        assert told["led_by"]["port"] == leader.port
        assert told["term"] == leader.get("/status")[1]["term"]


def _figures(live: LiveProcess) -> dict[str, Any]:
    theirs = ("leader", "led_by", "instance_id", "pid")
    return {name: value for name, value in live.get("/status")[1].items() if name not in theirs}


def test_an_operators_command_is_taken_by_the_leader_only_and_the_follower_says_where_it_is(folder):
    data = folder / "data"
    with two(data) as (leader, follower):
        token = (data / "operator.token").read_text().strip()
        status, answer = follower.post({"reason": "a test"}, "/halt", token)
        assert status == 503
        assert f":{leader.port}" in answer["error"]["message"]
        assert leader.post({"reason": "a test"}, "/halt", token)[0] == 200
        assert eventually(lambda: follower.get("/status")[1]["halted"])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_leader_goes_the_follower_leads_and_nothing_is_lost_or_doubled(folder, how):
    data = folder / "data"
    with two(data) as (leader, follower):
        leader.post(an_alert(ago=250))
        told = _into_the_end_of(leader, follower, how)
        assert eventually(lambda: leads(follower))
        assert all(status in (200, 202) for status, _ in told["follower"].values())
        dsn = EmbeddedServer.dsn_of(data)
        assert eventually(
            lambda: rows(dsn, "SELECT count(*) FROM signal_log WHERE processing_status = 'received'") == [(0,)]
        )
        acknowledged = {answer["fingerprint"] for one in told.values() for _, answer in one.values()}
        kept = {name for (name,) in rows(dsn, "SELECT fingerprint FROM decision_journal WHERE fingerprint IS NOT NULL")}
        assert acknowledged <= kept
        assert follower.get("/status")[1]["failed_invariants"] == []
        ended = "crashed" if how is signal.SIGKILL else "standby"
        assert eventually(lambda: _instances(dsn) == {leader.process.pid: ended, follower.process.pid: "active"})
        verified(EmbeddedServer.dsn_of(data))


def test_the_lead_is_handed_over_and_back_and_no_alert_is_turned_away(folder):
    data = folder / "data"
    with two(data) as (first, second):
        token = (data / "operator.token").read_text().strip()
        told: list[tuple[int, Any]] = []
        over = threading.Event()

        def client(live: LiveProcess, index: int) -> None:
            while not over.wait(0.01):
                told.append(live.post(an_alert("MARKET_DATA", "", price=58000 + index % 7)))
                index += 1

        clients = [threading.Thread(target=client, args=(live, n)) for n, live in enumerate((first, second, first))]
        for one in clients:
            one.start()
        for leader, follower in ((first, second), (second, first), (first, second)):
            assert eventually(lambda leader=leader: leads(leader))
            # A follower is one whose heartbeat has said so.
            assert eventually(lambda leader=leader: leader.post({}, "/handover", token)[0] == 200)
            assert eventually(lambda follower=follower: leads(follower))
            assert eventually(lambda leader=leader: leader.get("/status")[1].get("leader") is False)
        over.set()
        for one in clients:
            one.join()
        assert {status for status, _ in told} <= {200, 202}
        dsn = EmbeddedServer.dsn_of(data)
        acknowledged = {answer["fingerprint"] for _, answer in told}
        decided = "SELECT fingerprint FROM decision_journal WHERE fingerprint IS NOT NULL"
        assert eventually(lambda: acknowledged <= {name for (name,) in rows(dsn, decided)})
        assert first.process.poll() is None
        assert second.process.poll() is None
        terms = first.get("/instances")[1]["terms"]
        assert [row["port"] for row in terms[:4]] == [second.port, first.port, second.port, first.port]
        verified(EmbeddedServer.dsn_of(data))


def _into_the_end_of(leader: LiveProcess, follower: LiveProcess, how: signal.Signals) -> dict[str, dict[int, Any]]:
    """Bars come to both, turn and turn about, while the leader ends; who answered what."""
    told: dict[str, dict[int, Any]] = {"leader": {}, "follower": {}}

    def client(name: str, live: LiveProcess, first: int) -> None:
        with suppress(OSError):
            for index in range(first, 120, 4):
                told[name][index] = live.post(an_alert("MARKET_DATA", "", ago=200 - index, price=58000 + index))

    clients = [
        threading.Thread(target=client, args=("leader" if number % 2 else "follower", live, number))
        for number, live in enumerate((follower, leader, follower, leader))
    ]
    for one in clients:
        one.start()
    while len(told["leader"]) < 15:
        time.sleep(0.001)
    leader.process.send_signal(how)
    for one in clients:
        one.join()
    leader.process.wait(60)
    return told


def _instances(dsn: str) -> dict[int, str]:
    found = rows(dsn, "SELECT instance_id, status FROM instance_metadata")
    return {int(name.split("-")[-2]): status for name, status in found}


@pytest.mark.parametrize("lease", ["in PostgreSQL", pytest.param("in Redis", marks=NEEDS_REDIS)])
def test_a_leader_that_is_paused_is_replaced_and_does_no_harm_when_it_wakes(folder, request, lease):
    data, environment = folder / "data", {}
    if lease == "in Redis":
        environment["PORTFOLIO_LEADERSHIP__REDIS_URL"] = request.getfixturevalue("redis_server").url
    with two(data, **environment) as (leader, follower):
        leader.post(an_alert(ago=250))
        os.kill(leader.process.pid, signal.SIGSTOP)
        try:
            queued = follower.post(an_alert("MARKET_DATA", "", ago=100, price=58500))
            assert queued[0] in (200, 202)
            assert eventually(lambda: leads(follower))
            assert follower.post(an_alert("MARKET_DATA", "", ago=90, price=58600))[0] == 200
        finally:
            os.kill(leader.process.pid, signal.SIGCONT)
        late = None
        with suppress(OSError):
            late = leader.post(an_alert("MARKET_DATA", "", ago=80, price=58700))
        assert late is None or late[0] in (202, 503)
        assert leader.process.wait(60) == 1
        assert follower.post(an_alert("EXIT", "ALL", ago=70, price=58800))[1]["status"] == "executed"
        verified(EmbeddedServer.dsn_of(data))


def test_a_restart_of_postgresql_changes_no_leader_and_loses_nothing(folder):
    data = folder / "data"
    with two(data) as (leader, follower):
        leader.post(an_alert(ago=250))
        postmaster = EmbeddedServer(data).postmaster_pid
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        answers = [
            live.post(an_alert("MARKET_DATA", "", ago=200 - 2 * number, price=58000 + number))
            for number, live in enumerate((follower, leader) * 15)
        ]
        assert {status for status, _ in answers} <= {200, 202}
        dsn = EmbeddedServer.dsn_of(data)
        fingerprints = [answer["fingerprint"] for _, answer in answers]

        def decided() -> bool:
            with suppress(psycopg2.OperationalError):
                return counted() == [(len(fingerprints),)]
            return False

        def counted() -> list[tuple[int]]:
            return rows(
                dsn, "SELECT count(*) FROM decision_journal WHERE fingerprint = ANY(%s::VARCHAR[])", (fingerprints,)
            )

        assert eventually(decided)
        # So long a leader that did not get its lock again would bear it.
        time.sleep(12)
        assert (leads(leader), leads(follower)) == (True, False)
        assert leader.process.poll() is None
        assert follower.get("/status")[1]["spool"]["kept"] == leader.get("/status")[1]["spool"]["kept"] == 0
        verified(EmbeddedServer.dsn_of(data))


def test_orders_and_stops_at_a_broker_go_on_with_the_next_leader(folder):
    data = folder / "data"
    with two(data, PORTFOLIO_EXECUTION__FILLS="broker") as (leader, follower):
        assert follower.post(an_alert())[1]["status"] == "accepted"
        assert eventually(lambda: leader.get("/status")[1]["orders"] == {"stops": 1})
        leader.sigkill()
        assert follower.post(an_alert("EXIT", "ALL", price=58600))[0] in (200, 202)
        dsn = EmbeddedServer.dsn_of(data)
        ended = [("entry", "filled", 2, True), ("stop", "cancelled", 0, True), ("exit", "filled", 2, True)]
        found = "SELECT purpose, state, filled_lots, settled FROM orders ORDER BY journal_seq"
        assert eventually(lambda: rows(dsn, found) == ended)
        assert follower.get("/positions?status=open")[1]["positions"] == []
        verified(EmbeddedServer.dsn_of(data))
