"""Entries with the ATR of their instrument's last bar, through a real engine: kept in the database, and found again."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from core.config import default_settings, load_file_settings
from core.db_state_manager import DatabaseStateManager
from core.postgres.journal_stream import journal_stream
from core.settings import Settings
from live.cli.alerts import read_alerts
from live.cli.dry_run import DryRun
from live.engine import LiveTradingEngine
from live.verify import verify
from tests.builders import a_signal, minutes, settings_with
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of, without_waiting
from tests.fake_engine import an_app
from tests.queries import rows
from tests.waiting import eventually

CONFIGURATION = {
    "timing": {"exit_wait_seconds": 0},
    "intake": {
        "profile": "mine",
        "profiles": {
            "mine": {
                "like": "tradingview",
                "symbols": {"BANKNIFTY1!": "BANK_NIFTY"},
                "distances": {"*": {"stop_atr": 1, "atr": "last_bar", "atr_max_age_seconds": 600}},
            }
        },
    },
}
KEPT = "SELECT instrument, last_bar_atr, last_bar_time FROM pyramiding_state ORDER BY instrument"
NIFTY_BAR = ("BANK_NIFTY", Decimal(350), minutes(26))


def configured(tmp_path: Path) -> Any:
    file = tmp_path / "portfolio.json"
    file.write_text(json.dumps(CONFIGURATION), encoding="utf-8")
    return load_file_settings(file)


@contextmanager
def serving(dsn: str, file_settings: Any, **given: Any) -> Iterator[tuple[FlaskClient, LiveTradingEngine]]:
    with an_engine(dsn, settings=file_settings.settings, clock=Clock(minutes(30)), **given) as engine:
        options = {"instruments": lambda: default_settings().instruments, "naive_timezone": UTC}
        yield an_app(engine, **options, intake=file_settings.intake_profile()).test_client(), engine


def bar(minute: float = 26, **fields: Any) -> bytes:
    alert = {"type": "MARKET_DATA", "instrument": "BANK_NIFTY", "price": 52000, "atr": 350, **fields}
    return json.dumps({**alert, "timestamp": minutes(minute).isoformat()}).encode()


def strategy_alert(minute: float = 27, **fields: Any) -> bytes:
    alert = {
        "ticker": "BANKNIFTY1!",
        "action": "buy",
        "contracts": "2",
        "order_id": "Long",
        "market_position": "long",
        "prev_market_position": "flat",
        "position_size": "2",
        "price": "52000",
        "time": minutes(minute).isoformat(),
        "timenow": minutes(minute).isoformat(),
    }
    return json.dumps({**alert, **fields}).encode()


def proved(dsn: str, engine: LiveTradingEngine) -> None:
    assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")


def test_the_charts_bar_gives_the_strategys_alert_its_stop_and_atr_also_after_a_restart(dsn, tmp_path):
    file_settings = configured(tmp_path)
    with serving(dsn, file_settings) as (client, engine):
        without = client.post("/webhook", data=strategy_alert(25)).get_json()
        assert (without["status"], without["reason"]) == ("rejected", "no bar's atr is kept")
        assert client.post("/webhook", data=bar()).get_json()["status"] == "executed"
        assert rows(dsn, KEPT) == [NIFTY_BAR]
        proved(dsn, engine)
    with serving(dsn, file_settings) as (client, engine):
        told = client.post("/webhook", data=strategy_alert()).get_json()
        assert told["status"] == "executed", told
        assert {name: Decimal(told["sizing"][name]) for name in ("atr", "stop", "atr_age_seconds")} == {
            "atr": 350,
            "stop": 51650,
            "atr_age_seconds": 60,
        }
        (position,) = engine.positions.values()
        assert (position.atr, position.initial_stop, position.lots) == (350, 51650, told["lots"])
        # Told again it is the first outcome, although the bar of today is another one.
        client.post("/webhook", data=bar(28, atr=500))
        again = client.post("/webhook", data=strategy_alert()).get_json()
        assert (again["status"], again["first"]["sizing"]) == ("duplicate", told["sizing"])
        proved(dsn, engine)
    old = strategy_alert(29, action="sell", market_position="flat", prev_market_position="long", position_size="0")
    with serving(dsn, file_settings) as (client, engine):
        assert client.post("/webhook", data=old).get_json()["status"] == "executed"
        refused = client.post("/webhook", data=strategy_alert(29.5, time=minutes(45).isoformat())).get_json()
        assert refused["reason"] == "in the future"
        proved(dsn, engine)


def test_a_bar_that_is_too_old_is_told_with_its_age(dsn, tmp_path):
    with serving(dsn, configured(tmp_path)) as (client, engine):
        client.post("/webhook", data=bar(10))
        told = client.post("/webhook", data=strategy_alert(28)).get_json()
        assert (told["status"], told["reason"]) == ("rejected", "the last bar's atr is too old")
        assert told["sizing"] | {"strategy_position": "long"} == {
            "atr_age_seconds": 1080,
            "atr_max_age_seconds": "600",
            "strategy_position": "long",
        }
        proved(dsn, engine)


def test_a_dry_run_finds_the_bar_in_the_database(dsn, tmp_path):
    file_settings = configured(tmp_path)
    with serving(dsn, file_settings) as (client, _):
        client.post("/webhook", data=bar())
    with DatabaseStateManager(dsn) as manager:
        dry_run = DryRun(manager, file_settings, clock=Clock(minutes(28)))
        assert dry_run.warning is None
        ((alert,), _) = read_alerts(strategy_alert(), file_settings, portfolio="main", secret=None)
        told = dry_run.decide(alert.signals[0])
    assert (told["status"], told["sizing"]["atr"], told["sizing"]["stop"]) == ("executed", 350, 51650)


def test_who_follows_leads_on_with_the_bar_that_it_has_heard_of(dsn):
    settings = without_waiting(settings_with(bars={"keep_atr": True}))
    entry = a_signal(stop=None, atr=None, stop_atr=Decimal(1), atr_max_age_seconds=Decimal(600), timestamp=minutes(27))
    with DatabaseStateManager(dsn, instance_id="follower") as manager:
        with an_engine(dsn, settings=settings, clock=Clock(minutes(30))) as leader:
            follower = LiveTradingEngine(manager, settings, clock=Clock(minutes(30)))
            follower.follow()
            leader.process_signal(a_signal("MARKET_DATA", timestamp=minutes(26)))
            assert eventually(lambda: follower.portfolio == leader.portfolio)
            assert follower.portfolio.pyramiding_of("BANK_NIFTY").last_bar_atr == 350
        follower.start()
        try:
            answer = follower.process_signal(entry)
            assert status_of(answer) == "executed"
            proved(dsn, follower)
        finally:
            follower.stop()


def test_an_entry_that_was_kept_undecided_is_decided_on_the_bar_of_its_time(dsn):
    settings = without_waiting(settings_with(bars={"keep_atr": True}))
    with an_engine(dsn, settings=settings, clock=Clock(minutes(28))) as engine:
        engine.process_signal(a_signal("MARKET_DATA", timestamp=minutes(26)))
    payload = {
        "type": "BASE_ENTRY",
        "instrument": "BANK_NIFTY",
        "position": "Long_1",
        "price": "52000",
        "er": "1",
        "stop_atr": "1.5",
        "atr_max_age_seconds": "600",
        "timestamp": minutes(27).isoformat(),
    }
    signal = a_signal(
        stop=None, atr=None, er=1, stop_atr=Decimal("1.5"), atr_max_age_seconds=Decimal(600), timestamp=minutes(27)
    )
    with DatabaseStateManager(dsn) as manager:
        assert manager.log_signal(signal, "a" * 64, received_at=minutes(27), payload=payload)
    with an_engine(dsn, settings=settings, clock=Clock(minutes(28))) as engine:
        assert eventually(lambda: len(engine.positions) == 1)
        (position,) = engine.positions.values()
        assert (position.atr, position.initial_stop) == (350, 51475)
        proved(dsn, engine)


def journalled_settings(dsn: str) -> list[Any]:
    return [
        document
        for (document,) in rows(dsn, "SELECT input -> 'settings' FROM decision_journal WHERE kind = 'settings'")
    ]


def test_settings_that_an_earlier_program_has_journalled_are_the_same_to_this_one(dsn, tmp_path):
    plain: Settings = without_waiting()
    for _ in range(2):
        with an_engine(dsn, settings=plain):
            pass
    (document,) = journalled_settings(dsn)
    assert "bars" not in document
    with an_engine(dsn, settings=configured(tmp_path).settings):
        pass
    with an_engine(dsn, settings=plain):
        pass
    assert [one.get("bars") for one in journalled_settings(dsn)] == [None, {"keep_atr": True}, None]


def test_a_bar_writes_no_row_besides_unless_it_is_kept(dsn):
    entries = [a_signal(), a_signal("MARKET_DATA", timestamp=minutes(1))]
    before = "SELECT xmin::TEXT FROM pyramiding_state"
    with an_engine(dsn, clock=Clock(minutes(2))) as engine:
        engine.process_signal(entries[0])
        row = rows(dsn, before)
        engine.process_signal(entries[1])
        assert rows(dsn, before) == row
        assert rows(dsn, "SELECT count(*) FROM pyramiding_state WHERE last_bar_time IS NOT NULL") == [(0,)]
