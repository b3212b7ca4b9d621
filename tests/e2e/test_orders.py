"""A real `live` whose fills come from a broker: the paper one's book, and an OpenAlgo-compatible server."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.postgres.journal_stream import journal_stream
from live.verify import verify
from tests.database_file import pointed_to
from tests.e2e.test_live import an_alert
from tests.live_process import LiveProcess
from tests.misbehaving_server import Trouble
from tests.openalgo_server import API_KEY, OpenAlgoServer
from tests.queries import rows
from tests.waiting import eventually

SYMBOL = "BANKNIFTY27JAN26FUT"


@pytest.fixture
def database(dsn: str, tmp_path: Path) -> tuple[str, ...]:
    """What points `live` to the test's database, by its socket."""
    return pointed_to(dsn, tmp_path / "database.json")


def settled(dsn: str, count: int) -> bool:
    """Besides the stops at the broker, which wait as long as their position is open."""
    query = "SELECT count(*), bool_and(settled) FROM orders WHERE purpose <> 'stop'"
    return rows(dsn, query) == [(count, True)]


def lots(live: LiveProcess) -> list[int]:
    return [position["lots"] for position in live.get("/positions?status=open")[1]["positions"]]


def test_orders_go_through_the_paper_brokers_book_and_survive_a_sigkill(dsn, database, tmp_path):
    environment = {"PORTFOLIO_EXECUTION__FILLS": "broker"}
    with LiveProcess(tmp_path / "data", *database, environment=environment) as live:
        status, answer = live.post(an_alert())
        assert (status, answer["status"], answer["lots"]) == (200, "accepted", 2)
        live.sigkill()
    with LiveProcess(tmp_path / "data", *database, environment=environment) as live:
        # A price for what was perhaps sent and never filled.
        live.post(an_alert("MARKET_DATA", "", price=58412.6, ago=-1))
        assert eventually(lambda: settled(dsn, 1))
        assert lots(live) == [2]
        assert live.post(an_alert("EXIT", price=58500, ago=-2))[1]["status"] == "accepted"
        assert eventually(lambda: settled(dsn, 2))
        assert lots(live) == []
    assert (tmp_path / "data" / "broker" / "main" / "paper.sqlite").exists()
    with journal_stream(dsn, "main") as stream:
        assert verify(stream, "main").fills == 2


@contextmanager
def an_openalgo(tmp_path: Path, **changes: Any) -> Iterator[tuple[OpenAlgoServer, tuple[str, ...]]]:
    with OpenAlgoServer() as server:
        server.exchange.set_quote(SYMBOL, Decimal("58412.60"))
        brokers = {
            "openalgo": {"url": server.url, "read_seconds": 1, **changes},
            "markets": {"BANK_NIFTY": {"symbol": SYMBOL, "exchange": "NFO"}},
        }
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"brokers": brokers}))
        yield server, ("--config", str(file), "--broker", "openalgo")


KEY = {"PORTFOLIO_BROKERS__OPENALGO__API_KEY": API_KEY}


def test_an_alert_becomes_one_order_at_openalgo_although_its_answer_is_lost(dsn, database, tmp_path):
    with an_openalgo(tmp_path) as (server, options):
        server.misbehave("placeorder", Trouble.LOST_AFTER)
        with LiveProcess(tmp_path / "data", *database, *options, environment=KEY) as live:
            assert live.post(an_alert())[1]["status"] == "accepted"
            gold = {"instrument": "GOLD_MINI", "price": 138000, "stop": 137500, "atr": 500}
            assert live.post(an_alert(**gold))[1]["status"] == "accepted"
            assert eventually(lambda: settled(dsn, 2))
            assert lots(live) == [2]
            assert eventually(lambda: rows(dsn, "SELECT state FROM orders WHERE purpose = 'stop'") == [("working",)])
            assert live.post(an_alert("EXIT", price=58500, ago=-2))[1]["status"] == "accepted"
            assert eventually(lambda: settled(dsn, 3))
            assert lots(live) == []
            assert live.get("/status")[1]["frozen"] == {}
        # The entry, the stop that protected it, and once that was cancelled the exit.
        assert [order.quantity for order in server.exchange.accepted()] == [60, 60, 60]
        assert not any(server.exchange.positions().values())
        # What names no market is not traded, and says so.
        assert rows(dsn, "SELECT message FROM orders WHERE instrument = 'GOLD_MINI'") == [
            ("GOLD_MINI is not traded here",)
        ]
        assert API_KEY not in live.log()


def test_a_broker_in_the_wrong_mode_and_one_without_settings_are_told_in_a_sentence(database, tmp_path):
    with an_openalgo(tmp_path, analyze=True) as (_, options):
        refused = LiveProcess(tmp_path / "data", *database, *options, environment=KEY)
        assert refused.process.wait(30) == 1
        assert "analyze" in refused.log()
        assert "Traceback" not in refused.log()
        assert API_KEY not in refused.log()
        refused.__exit__()
    without = LiveProcess(tmp_path / "other", *database, "--broker", "openalgo")
    assert without.process.wait(30) == 1
    assert "`openalgo` has to be set" in without.log()
    without.__exit__()


def test_the_paper_book_is_private(dsn, database, tmp_path):
    with LiveProcess(tmp_path / "data", *database, environment={"PORTFOLIO_EXECUTION__FILLS": "broker"}):
        mode = os.stat(tmp_path / "data" / "broker" / "main").st_mode  # noqa: PTH116 - the mode alone
    assert mode & 0o777 == 0o700


def test_contracts_are_configured_by_instrument_and_what_has_no_rules_is_named(dsn, database, tmp_path):
    """Whatever day it is: months that the calendar does not reach are refused, and journalled as that."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"brokers": {"markets": {"COPPER": {"exchange": "MCX", "contracts": True}}}}))
    with LiveProcess(tmp_path / "data", *database, "--config", str(file)):
        ((document,),) = rows(dsn, "SELECT input -> 'contracts' FROM decision_journal WHERE kind = 'contracts'")
    assert set(document) == {"COPPER"}
    assert len(document["COPPER"]["known"]) + len(document["COPPER"]["refused"]) == 16
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")
    coin = {"lot_size": 1, "point_value": 1, "margin_per_lot": 1}
    file.write_text(
        json.dumps(
            {"instruments": {"COIN": coin}, "brokers": {"markets": {"COIN": {"exchange": "X", "contracts": True}}}}
        )
    )
    refused = LiveProcess(tmp_path / "other", *database, "--config", str(file))
    assert refused.process.wait(30) == 1
    assert "there are no contract rules of COIN" in refused.log()
    refused.__exit__()
