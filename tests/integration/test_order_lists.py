"""Orders as they are listed and explained: by HTTP and by command, from real rows."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.inputs import OrderReport
from core.orders import Fill, OrderState
from core.postgres.reads import Reads
from live.engine import LiveTradingEngine
from tests.builders import a_signal, minutes, settings_with
from tests.command_line import run
from tests.engines import Clock, an_engine, status_of, without_waiting
from tests.fake_engine import an_app
from tests.integration.test_cli_database import config_for
from tests.queries import rows

GOLD = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}


@pytest.fixture
def engine(dsn: str) -> Iterator[LiveTradingEngine]:
    """An engine whose fills come from a broker, which is the test."""
    settings = without_waiting(settings_with(execution={"fills": "broker", "stop_atr": None}))
    with an_engine(dsn, settings=settings, clock=Clock(minutes(20))) as engine:
        yield engine


@pytest.fixture
def ids(engine: LiveTradingEngine) -> list[str]:
    """An entry filled in two parts and settled, one in doubt, and the intent of an exit: the newest first."""
    entry = _intended(engine, a_signal(timestamp=minutes(16)))
    _told(engine, entry, state=OrderState.SENT, broker_order_id="1001")
    _told(engine, entry, fills=(_fill("f-2", "52010.5"),))
    _told(engine, entry, fills=(_fill("f-1", "52000"),), settled=True)
    doubtful = _intended(engine, a_signal(**GOLD, timestamp=minutes(16)))
    _told(engine, doubtful, state=OrderState.IN_DOUBT, message="timed out\x1b[2J")
    leaving = _intended(engine, a_signal("EXIT", price=52500, timestamp=minutes(17)))
    return [leaving, doubtful, entry]


@pytest.fixture
def database(dsn: str, tmp_path: Path) -> tuple[str, str]:
    return "--db-config", str(config_for(dsn, tmp_path))


def _intended(engine: LiveTradingEngine, signal: Any) -> str:
    known = set(engine.portfolio.orders)
    assert status_of(engine.process_signal(signal)) == "accepted"
    (order,) = set(engine.portfolio.orders) - known
    return order


def _told(engine: LiveTradingEngine, client_order_id: str, **report: Any) -> None:
    assert status_of(engine.order_input(OrderReport(client_order_id=client_order_id, **report))) == "executed"


def _fill(fill_id: str, price: str) -> Fill:
    return Fill(fill_id=fill_id, lots=1, price=Decimal(price), filled_at=minutes(18))


def shown(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_orders_are_told_by_their_columns_with_their_fills(dsn, engine, ids):
    told = an_app(engine).test_client().get("/orders").get_json()
    assert told["next"] is None
    assert [order["client_order_id"] for order in told["orders"]] == ids
    leaving, doubtful, entry = told["orders"]
    columns = rows(dsn, "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders'")
    assert set(entry) == {name for (name,) in columns} | {"fills"}
    assert (entry["state"], entry["settled"], entry["filled_lots"], entry["average_price"]) == (
        *("filled", True, 2, "52005.25"),
    )
    assert (entry["broker_order_id"], entry["risk_reserved"], entry["plan"]["stop"]) == ("1001", "0", "51650")
    assert [(fill["fill_id"], fill["number"], fill["lots"], fill["price"]) for fill in entry["fills"]] == [
        ("f-2", 1, 1, "52010.5"),
        ("f-1", 2, 1, "52000"),
    ]
    assert set(entry["fills"][0]) == {"fill_id", "number", "lots", "price", "filled_at", "journal_seq"}
    assert entry["fills"][0]["filled_at"] == "2026-01-14T06:33:00Z"
    assert (doubtful["state"], doubtful["fills"]) == ("in_doubt", [])
    assert (leaving["purpose"], leaving["reason"], leaving["plan"], leaving["fills"]) == ("exit", "EXIT", None, [])


def test_orders_are_listed_by_state_instrument_and_page(engine, ids, database):
    client = an_app(engine).test_client()

    def by_http(query: str) -> list[str]:
        return [order["client_order_id"] for order in client.get(f"/orders?{query}").get_json()["orders"]]

    def by_command(*arguments: str) -> list[str]:
        return [order["client_order_id"] for order in shown("orders", *database, *arguments)["orders"]]

    leaving, doubtful, entry = ids
    assert by_http("state=in_doubt,filled") == by_command("--state", "in_doubt,filled") == [doubtful, entry]
    assert by_http("instrument=bank_nifty") == by_command("--instrument", "bank_nifty") == [leaving, entry]
    assert by_http("state=sent") == by_command("--state", "sent") == []
    first = client.get("/orders?limit=2").get_json()
    assert first["next"] == shown("orders", *database, "--limit", "2")["next"] == doubtful
    assert by_http(f"limit=2&before={doubtful}") == by_command("--limit", "2", "--before", doubtful) == [entry]
    assert client.get("/orders?before=pm9-nobody-e1").status_code == 400


def test_exits_of_one_alert_are_told_apart_by_page(engine):
    base = _intended(engine, a_signal(timestamp=minutes(16)))
    lots = engine.portfolio.orders[base].lots
    fills = (Fill(fill_id="f", lots=lots, price=Decimal(52000), filled_at=minutes(16)),)
    _told(engine, base, fills=fills, settled=True)
    bar = a_signal("MARKET_DATA", price=53000, timestamp=minutes(17))
    assert status_of(engine.process_signal(bar)) == "executed"
    pyramid = _intended(engine, a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(17.5)))
    lots = engine.portfolio.orders[pyramid].lots
    fills = (Fill(fill_id="f", lots=lots, price=Decimal(53000), filled_at=minutes(18)),)
    _told(engine, pyramid, fills=fills, settled=True)
    exit_all = a_signal("EXIT", layer="ALL", price=53100, timestamp=minutes(19))
    assert status_of(engine.process_signal(exit_all)) == "accepted"
    client, before, seen = an_app(engine).test_client(), "", []
    while before is not None:
        page = client.get(f"/orders?limit=1{before and f'&before={before}'}").get_json()
        seen += [(order["journal_seq"], order["client_order_id"]) for order in page["orders"]]
        before = page["next"]
    assert len({seq for seq, _ in seen[:2]}) == 1
    assert [order for _, order in seen[2:]] == [pyramid, base]
    assert len(set(seen)) == 4


def test_a_fill_that_is_committed_while_the_page_is_read_waits_for_the_next_answer(engine, ids, monkeypatch):
    """What an order counts and what its fills sum up to are the same, though two statements read them."""
    once = Reads._once

    def earlier(self: Reads, name: str, parameters: Any) -> Any:
        found = once(self, name, parameters)
        return [{**row, "filled_lots": min(row["filled_lots"], 1)} for row in found] if name == "list_orders" else found

    monkeypatch.setattr(Reads, "_once", earlier)
    *_, entry = engine.reads.orders(states=None, instrument=None, limit=10, before=None)
    assert [fill["fill_id"] for fill in entry["fills"]] == ["f-2"]


def test_the_command_shows_a_table_and_refuses_what_is_wrong(ids, database):
    table = run("orders", *database).stdout
    assert table.index(ids[0]) < table.index(ids[1]) < table.index(ids[2])
    for part in ("52,005.25", "in_doubt", "2/2", "Long_1", "buy 2 entry", "sell 2 exit", "timed out\\x1b[2J", "EXIT"):
        assert part in table
    assert "\x1b" not in table
    assert run("orders", *database, "--state", "open").exit_code == 2
    result = run("orders", *database, "--before", "nobody")
    assert (result.exit_code, "there is no order nobody" in result.stderr) == (1, True)


def test_no_order_is_wider_than_120_columns_and_what_matters_stays(engine, ids, database):
    words = "RMS: margin exceeds, required 2,70,000.00, available 1,20,000.00, shortfall 1,50,000.00 in segment FO"
    _told(engine, ids[0], state=OrderState.REJECTED, message=words)
    lines = run("orders", *database).stdout.splitlines()
    assert max(map(len, lines)) <= 120
    (rejected,) = [line for line in lines if ids[0] in line]
    for part in ("BANK_NIFTY", "Long_1", "sell 2 exit", "rejected", "0/2", "RMS: margin exceeds"):
        assert part in rejected
    assert rejected.rstrip().endswith("…")
    assert shown("orders", *database)["orders"][0]["message"] == words


def test_the_journal_says_what_was_told_of_an_order(dsn, ids, database):
    listed = run("journal", *database).stdout
    assert f"{ids[1]} in_doubt" in listed
    asked, *reports = (
        run("journal", *database, "--explain", str(seq)).stdout
        for (seq,) in rows(
            dsn, "SELECT seq FROM decision_journal WHERE kind IN ('signal', 'report') ORDER BY seq LIMIT 4"
        )
    )
    assert "accepted: the broker was asked to enter 2 lots; volatility bound it" in asked
    assert "<- the smallest" in asked
    sent, first, second = reports
    assert f"of order {ids[2]} it was told: sent, the broker's id of it is 1001\n" in sent
    assert "no lots changed hands" in sent
    assert "it was told: 1 lot filled at 52,010.5 (fill f-2)\n" in first
    assert "executed: 1 lot booked on BANK_NIFTY-Long_1-" in second
    assert "(fill f-1), nothing more comes of it" in second
    ((doubt,),) = rows(dsn, "SELECT seq FROM decision_journal WHERE input ->> 'state' = 'in_doubt'")
    told = run("journal", *database, "--explain", str(doubt)).stdout
    assert "perhaps sent" in told
    assert '"timed out\\x1b[2J"' in told
    ((leaving,),) = rows(dsn, "SELECT max(seq) FROM decision_journal WHERE kind = 'signal'")
    assert "the broker was asked to close 2 lots" in run("journal", *database, "--explain", str(leaving)).stdout
