"""Alerts of other shapes through a real engine: once each, in order, whatever is killed or away in between."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from core.config import default_settings
from core.db_state_manager import DatabaseStateManager
from core.fingerprint import fingerprint_of
from core.mapping import read_alerts
from core.postgres.journal_stream import journal_stream
from core.profiles import profile_named
from live.engine import LiveTradingEngine
from live.inbox import hand_over
from live.replay.alert_lines import read_alerts as read_recorded
from live.spool import Spool
from live.verify import verify
from tests.builders import NOON, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio, without_waiting
from tests.fake_engine import an_app
from tests.queries import rows
from tests.waiting import eventually

PROFILE = profile_named(
    "mine",
    {
        "mine": {
            "like": "tradingview",
            "symbols": {"BANKNIFTY1!": "BANK_NIFTY"},
            "distances": {"*": {"stop_points": 350, "atr_points": 350}},
        }
    },
)
SIDES = {-1: "short", 0: "flat", 1: "long"}
NOW = minutes(30)


def order(before: int, after: int, minute: float, price: float = 52000, **fields: Any) -> bytes:
    """The strategy's alert of a move from one size to another."""
    alert = {
        "ticker": "BANKNIFTY1!",
        "action": "buy" if after > before else "sell",
        "contracts": abs(after - before),
        "order_id": "an order",
        "prev_market_position": SIDES[(before > 0) - (before < 0)],
        "market_position": SIDES[(after > 0) - (after < 0)],
        "position_size": after,
        "price": price,
        "time": minutes(minute).isoformat(),
        "timenow": (minutes(minute) + timedelta(seconds=1)).isoformat(),
        **fields,
    }
    return json.dumps(alert).encode()


@contextmanager
def serving(dsn: str, **given: Any) -> Iterator[tuple[FlaskClient, LiveTradingEngine]]:
    # Enough for layers on layers: each has half of the lots before it.
    with an_engine(dsn, clock=Clock(NOW), initial_capital=Decimal(50_000_000), **given) as engine:
        yield client_of(engine), engine


def client_of(engine: LiveTradingEngine) -> FlaskClient:
    options = {"instruments": lambda: default_settings().instruments, "naive_timezone": UTC}
    return an_app(engine, **options, intake=PROFILE).test_client()


def told(response: TestResponse) -> list[str]:
    """`executed`, `rejected: ...` and so on, of each signal of an alert."""
    answer = response.get_json()
    assert response.status_code in (200, 202), answer
    signals = answer.get("signals", [answer])
    return [f"{one['status']}: {one['reason']}" if one.get("reason") else one["status"] for one in signals]


def held(engine: LiveTradingEngine) -> dict[str, int]:
    return {position.layer: position.lots for position in engine.positions.values()}


def proved(dsn: str, engine: LiveTradingEngine) -> None:
    assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")


def test_a_strategys_story_is_told_in_orders_and_told_again_changes_nothing(dsn, tmp_path):
    story = [
        (order(0, 2, 26), ["executed"], ["Long_1"]),
        (order(2, 4, 27, 53000), ["executed"], ["Long_1", "Long_2"]),
        # Two of one bar are two.
        (order(4, 6, 28, 53500), ["executed"], ["Long_1", "Long_2", "Long_3"]),
        (order(6, 8, 28, 54000), ["executed"], ["Long_1", "Long_2", "Long_3", "Long_4"]),
        (order(8, -2, 29, 53900), ["executed", "executed"], ["Short_1"]),
        (order(-2, 0, 30, 53800), ["executed"], []),
    ]
    with serving(dsn) as (client, engine):
        for number, (body, answers, layers) in enumerate(story):
            assert told(client.post("/webhook", data=body)) == answers
            assert sorted(held(engine)) == layers
            # All that was told before is told again, after the state has changed.
            before = engine.portfolio
            for again, expected, _ in story[: number + 1]:
                assert told(client.post("/webhook", data=again)) == ["duplicate"] * len(expected)
            assert engine.portfolio == before
        proved(dsn, engine)
        exported = client.get("/signals").get_data()
    # What was kept needs no profile.
    file = tmp_path / "exported.json"
    file.write_bytes(exported)
    recorded = list(read_recorded(file, instruments=default_settings().instruments, naive_timezone=UTC))
    alerts = [alert for body, _, _ in story for alert in read(body)]
    assert {repr(one.signal) for one in recorded} == {repr(alert.signal) for alert in alerts}


def read(body: bytes) -> tuple[Any, ...]:
    return read_alerts(body, PROFILE, instruments=default_settings().instruments, naive_timezone=UTC)


def test_one_alert_that_comes_many_times_at_once_takes_effect_once(dsn):
    with serving(dsn) as (client, engine):
        assert told(client.post("/webhook", data=order(0, 2, 26))) == ["executed"]
        answers: list[list[str]] = []

        def post(client: FlaskClient, body: bytes) -> None:
            # What could not be answered in time is sent again, as senders do.
            while (answer := client.post("/webhook", data=body)).status_code == 503:
                pass
            answers.append(told(answer))

        bodies = [order(2, 4, 27, 53000), order(4, 6, 27, 53500)] * 8
        # An application each, made before: Python 3.11 cannot compile in several threads, as werkzeug does for its rules.
        threads = [threading.Thread(target=post, args=[client_of(engine), body]) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        decided = [answer for (answer,) in answers if answer != "duplicate"]
        # Which of the two comes first is chance; the lower one does not follow the higher one.
        assert (len(answers), sorted(decided)) in [
            (16, ["executed", "executed"]),
            (16, ["blocked: atr_spacing", "executed"]),
        ]
        assert len(held(engine)) == 1 + decided.count("executed")
        proved(dsn, engine)


def test_a_crash_between_the_two_signals_of_a_flip_is_mended_by_the_same_alert(dsn):
    flip = order(2, -2, 28, 52100)
    leave, _ = read(flip)
    with serving(dsn) as (client, engine):
        assert told(client.post("/webhook", data=order(0, 2, 26))) == ["executed"]
        # What is decided when the process is killed between them.
        engine.deliver(leave.signal, leave.payload)
    with serving(dsn) as (client, engine):
        assert held(engine) == {}
        assert told(client.post("/webhook", data=flip)) == ["duplicate", "executed"]
        assert told(client.post("/webhook", data=flip)) == ["duplicate", "duplicate"]
        assert set(held(engine)) == {"Short_1"}
        proved(dsn, engine)


def test_what_was_received_and_not_decided_is_decided_at_the_next_start_without_the_profile(dsn):
    with serving(dsn) as (client, _):
        assert told(client.post("/webhook", data=order(0, 2, 26))) == ["executed"]
    pyramid, flip = order(2, 4, 27, 53000), order(4, -2, 28, 53100)
    with DatabaseStateManager(dsn) as manager:
        for alert in (*read(pyramid), *read(flip)):
            fingerprint = fingerprint_of("main", alert.signal)
            assert manager.log_signal(alert.signal, fingerprint, received_at=NOW, payload=alert.payload)
    with serving(dsn) as (client, engine):
        assert eventually(lambda: set(held(engine)) == {"Short_1"})
        assert told(client.post("/webhook", data=pyramid)) == ["duplicate"]
        assert told(client.post("/webhook", data=flip)) == ["duplicate"] * 2
        proved(dsn, engine)
    layers = "SELECT layer, status FROM portfolio_positions ORDER BY layer"
    assert rows(dsn, layers) == [("Long_1", "closed"), ("Long_2", "closed"), ("Short_1", "open")]


@pytest.mark.parametrize("handed_over", [False, True])
def test_a_flip_that_was_kept_on_the_disk_is_decided_in_order_by_the_next_process(
    dsn, proxy, tmp_path: Path, handed_over: bool
):
    file = tmp_path / "main-7.sqlite"
    spool = Spool(file)
    flip = order(2, -2, 28, 52100)
    with serving(proxy.dsn, spool=spool) as (client, engine):
        assert told(client.post("/webhook", data=order(0, 2, 26))) == ["executed"]
        proxy.refuse(True)
        response = client.post("/webhook", data=flip)
        assert response.status_code == 202
        assert [one["status"] for one in response.get_json()["signals"]] == ["queued", "queued"]
        assert spool.kept == 2
    spool.close()
    proxy.refuse(False)
    again = Spool(file)
    if handed_over:
        with DatabaseStateManager(dsn) as manager:
            assert len(hand_over(again, manager)) == 2
    try:
        with serving(dsn, spool=again) as (client, engine):
            assert eventually(lambda: set(held(engine)) == {"Short_1"})
            assert told(client.post("/webhook", data=flip)) == ["duplicate"] * 2
            proved(dsn, engine)
    finally:
        again.close()


def test_a_follower_hands_both_signals_to_the_leader_who_finds_the_next_layer(dsn):
    with serving(dsn) as (client, leader):
        assert told(client.post("/webhook", data=order(0, 2, 26))) == ["executed"]
        with DatabaseStateManager(dsn, instance_id="follower") as manager:
            follower = LiveTradingEngine(manager, without_waiting(), clock=Clock(NOW + timedelta(microseconds=1)))
            follower.follow()
            stopping = threading.Event()

            def look() -> None:
                while not stopping.wait(0.02):
                    leader.look_into_inbox()

            looking = threading.Thread(target=look)
            looking.start()
            try:
                asked = client_of(follower)
                assert told(asked.post("/webhook", data=order(2, 4, 27, 53000))) == ["executed"]
                # A follower may have read of it before the leader shows it.
                assert eventually(lambda: set(held(leader)) == {"Long_1", "Long_2"})
                assert told(asked.post("/webhook", data=order(4, -2, 28, 53100))) == ["executed"] * 2
                assert eventually(lambda: set(held(leader)) == {"Short_1"})
                assert told(client.post("/webhook", data=order(4, -2, 28, 53100))) == ["duplicate"] * 2
            finally:
                stopping.set()
                looking.join()
                follower.stop()
        proved(dsn, leader)


def test_an_alerts_age_is_judged_when_it_is_decided_whatever_its_shape(dsn):
    with serving(dsn) as (client, engine):
        late = (NOON - timedelta(hours=1)).isoformat()
        assert told(client.post("/webhook", data=order(0, 2, 26, timenow=late))) == ["rejected: stale"]
        assert told(client.post("/webhook", data=order(0, 2, 27))) == ["executed"]
        assert told(client.post("/webhook", data=order(2, 0, 28, timenow=late))) == ["executed"]
        assert held(engine) == {}
