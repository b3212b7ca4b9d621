"""Contracts from the start to the broker: engine, PostgreSQL, order desk, and brokers that know symbols only."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.alert import Alert
from core.config import ContractFiles, FileSettings
from core.contract_rules import BeyondRules
from core.db_state_manager import DatabaseStateManager
from core.errors import ConfigurationError
from core.postgres.journal_stream import journal_stream
from core.postgres.lease import PortfolioLock
from core.postgres.statements import statement
from core.settings import Settings
from live.as_of import portfolio_then
from live.brokers.settings import BrokersSettings
from live.cli.alerts import FileSignal
from live.cli.dry_run import DryRun
from live.contracts_desk import ContractsDesk
from live.contracts_file import DEFAULT_CALENDAR
from live.engine import LiveTradingEngine
from live.explain import explanation
from live.heartbeat import Heartbeat
from live.order_desk import order_desk
from live.reconcile import FindingKind
from live.verify import verify
from tests.builders import NOON, a_signal, minutes, settings_with
from tests.contracts import FEBRUARY, JANUARY, a_contracts_desk
from tests.engines import Clock, an_engine, led_by, rows_as_portfolio, status_of, without_waiting
from tests.integration.test_cli_database import config_for, shown
from tests.openalgo_server import API_KEY, OpenAlgoServer
from tests.queries import rows
from tests.simulated_exchange import Resting
from tests.waiting import eventually

JAN, FEB = "BANKNIFTY27JAN26FUT", "BANKNIFTY24FEB26FUT"
BY_BROKER = without_waiting(settings_with(execution={"fills": "broker", "stop_atr": None, "legs": False}))
MARKETS = {"BANK_NIFTY": {"exchange": "NFO", "contracts": True}}
# The first day on which January is due to be rolled, at noon in Kolkata.
ROLL_DAY = datetime(2026, 1, 21, 6, 30, tzinfo=UTC)


@contextmanager
def trading(
    dsn: str, desk: ContractsDesk | None = None, *, clock: Clock | None = None, settings: Settings | None = None
) -> Iterator[LiveTradingEngine]:
    """An engine whose BANK_NIFTY is traded by contract, filled on paper inside the decision."""
    desk = desk or a_contracts_desk("BANK_NIFTY")
    with an_engine(dsn, clock=clock or Clock(minutes(3)), settings=settings, contracts_on=desk.document_on) as engine:
        yield engine


@contextmanager
def at_a_broker(
    dsn: str,
    folder: Path,
    *,
    clock: Clock | None = None,
    desk: ContractsDesk | None = None,
    **brokers: Any,
) -> Iterator[LiveTradingEngine]:
    """The same with its orders at a broker: the paper one of `folder`, or what `brokers` says."""
    clock = clock or Clock(minutes(3))
    desk = desk or a_contracts_desk("BANK_NIFTY")
    parts = BrokersSettings.model_validate({"markets": MARKETS, **brokers})
    with (
        trading(dsn, desk, clock=clock, settings=BY_BROKER) as engine,
        order_desk(
            engine, BY_BROKER, parts, folder / "broker" / "main", clock=clock, may_send=lambda: True, contracts=desk
        ) as start,
    ):
        start()
        yield engine


def quiet(engine: LiveTradingEngine) -> bool:
    return not engine.portfolio.orders


def journalled(dsn: str) -> list[dict[str, Any]]:
    """The contracts that were ever set, in order."""
    found = rows(dsn, "SELECT input -> 'contracts' FROM decision_journal WHERE kind = 'contracts' ORDER BY seq")
    return [document for (document,) in found]


def proved(dsn: str, engine: LiveTradingEngine) -> None:
    assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")


# --- in the journal


def test_contracts_are_journalled_by_the_first_start_and_by_one_that_has_others(dsn, tmp_path):
    for _ in range(2):
        with trading(dsn) as engine:
            proved(dsn, engine)
    (first,) = journalled(dsn)
    assert set(first) == {"BANK_NIFTY"}
    assert len(first["BANK_NIFTY"]["known"]) == 15
    assert [gap["month"] for gap in first["BANK_NIFTY"]["refused"]] == ["2027-01"]
    for _ in range(2):
        desk = a_contracts_desk("BANK_NIFTY", folder=tmp_path, BANK_NIFTY={"2026-01": {"lot_size": "15"}})
        with trading(dsn, desk) as engine:
            proved(dsn, engine)
    assert len(journalled(dsn)) == 2
    with an_engine(dsn) as engine:
        assert not engine.portfolio.contracts
        proved(dsn, engine)
    assert journalled(dsn)[2:] == [{}]


def test_a_portfolio_without_contracts_journals_none(dsn):
    with an_engine(dsn) as engine:
        proved(dsn, engine)
    assert journalled(dsn) == []


def test_the_contracts_in_force_are_found_by_their_own_index_whatever_the_history(dsn):
    with trading(dsn):
        pass
    # Through the primary key it would read the whole history of a portfolio that has none.
    explain = f"SET enable_seqscan = off; SET enable_sort = off; EXPLAIN {statement('last_contracts')}"
    assert "ix_decision_journal_contracts" in "\n".join(line for (line,) in rows(dsn, explain))


def test_a_restart_knows_the_contract_its_money_and_what_it_is_worth(dsn, tmp_path):
    desk = a_contracts_desk("BANK_NIFTY", folder=tmp_path, BANK_NIFTY={"2026-01": {"margin_per_lot": "300000"}})
    with trading(dsn, desk) as engine:
        assert status_of(engine.process_signal(a_signal())) == "executed"
        assert engine.status()["margin_used"] == 600_000
        before = engine.portfolio
        proved(dsn, engine)
    with trading(dsn, desk) as engine:
        assert engine.portfolio == before
        (position,) = engine.positions.values()
        assert (position.contract_month, position.expiry, position.futures_symbol) == ("2026-01", JANUARY, JAN)
        assert status_of(engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(2)))) == "executed"
        proved(dsn, engine)


def test_a_correction_at_a_start_moves_the_margin_and_can_be_seen_as_of_then(dsn, tmp_path):
    clock = Clock(minutes(3))
    with trading(dsn, clock=clock) as engine:
        engine.process_signal(a_signal())
    clock.forward(minutes=10)
    desk = a_contracts_desk("BANK_NIFTY", folder=tmp_path, BANK_NIFTY={"2026-01": {"margin_per_lot": "300000"}})
    with trading(dsn, desk, clock=clock) as engine:
        assert engine.status()["margin_used"] == 600_000
        proved(dsn, engine)
        then = portfolio_then(engine.db_manager, minutes(5))
        assert then.totals.margin == 540_000
        assert then.contracts["BANK_NIFTY"].of_month("2026-01").margin_per_lot == 270_000
        assert portfolio_then(engine.db_manager, minutes(15)) == engine.portfolio


def test_settings_and_contracts_that_change_together_are_decided_again_by_verify(dsn):
    with trading(dsn) as engine:
        engine.process_signal(a_signal())
    dearer = without_waiting(settings_with(instruments={"BANK_NIFTY": {"margin_per_lot": 280_000}}))
    with trading(dsn, a_contracts_desk("BANK_NIFTY", settings=dearer), settings=dearer) as engine:
        assert engine.status()["margin_used"] == 560_000
        proved(dsn, engine)


def test_a_refusal_is_answered_and_explained(dsn):
    clock = Clock(datetime(2026, 12, 30, 6, 1, tzinfo=UTC))
    with trading(dsn, clock=clock) as engine:
        answer = engine.process_signal(a_signal(timestamp=clock.now - timedelta(seconds=1)))
        assert status_of(answer) == "blocked: contract"
        assert answer.outcome["sizing"]["month"] == "2027-01"
        proved(dsn, engine)
        row = engine.reads.explained_entry(answer.fingerprint)
    told = "\n".join(explanation(row))
    assert "no contract could be told for it" in told
    assert "2027-01" in told


def test_a_pyramid_waits_for_the_roll_and_an_exit_does_not(dsn):
    clock = Clock(minutes(3))
    with trading(dsn, clock=clock) as engine:
        engine.process_signal(a_signal())
        clock.now = ROLL_DAY + timedelta(seconds=1)
        answer = engine.process_signal(a_signal("PYRAMID", price=53000, stop=52650, timestamp=ROLL_DAY))
        assert status_of(answer) == "blocked: contract"
        assert "roll due" in "\n".join(explanation(engine.reads.explained_entry(answer.fingerprint)))
        assert status_of(engine.process_signal(a_signal("EXIT", price=52500, timestamp=ROLL_DAY))) == "executed"
        later = a_signal(timestamp=ROLL_DAY + timedelta(seconds=1))
        assert status_of(engine.process_signal(later)) == "executed"
        assert [position.expiry for position in engine.positions.values()] == [FEBRUARY]
        proved(dsn, engine)


def test_send_dry_run_decides_in_the_contracts_that_live_has_set(dsn, tmp_path):
    desk = a_contracts_desk("BANK_NIFTY", folder=tmp_path, BANK_NIFTY={"2026-01": {"lot_size": "15"}})
    with trading(dsn, desk):
        pass
    with DatabaseStateManager(dsn) as manager:
        dry = DryRun(manager, FileSettings(), clock=lambda: NOON)
        alert = FileSignal(alert=Alert(signal=a_signal(), payload={}), fingerprint="f" * 64)
        decided = dry.decide(alert)
    assert (decided["status"], decided["lots"]) == ("executed", 4)


def test_what_works_at_a_broker_counts_for_a_dry_run_and_the_status_of_the_rows(dsn, tmp_path):
    slow = {"latency_seconds": "3600"}
    with at_a_broker(dsn, tmp_path, paper=slow) as engine:
        engine.process_signal(a_signal())
        with DatabaseStateManager(dsn) as manager:
            dry = DryRun(manager, FileSettings(), clock=lambda: minutes(3))
            again = a_signal(timestamp=minutes(2))
            alert = FileSignal(alert=Alert(signal=again, payload={}), fingerprint="f" * 64)
            assert dry.decide(alert)["reason"] == "entry already working"
        status = shown("status", "--db-config", str(config_for(dsn, tmp_path)))
        assert Decimal(status["margin_percent"]) == engine.status()["margin_percent"] == Decimal("10.8")


# --- the days go by


def test_another_month_brings_another_contract_and_is_journalled_once(dsn):
    clock = Clock(minutes(3))
    with trading(dsn, clock=clock) as engine:
        for _ in range(2):
            engine.look_into_contracts()
        clock.forward(days=1)
        engine.look_into_contracts()
        assert len(journalled(dsn)) == 1
        clock.now = datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC)
        for _ in range(2):
            engine.look_into_contracts()
        assert len(journalled(dsn)) == 2
        listed = engine.portfolio.contracts["BANK_NIFTY"].contracts
        assert (listed.known[0].month, listed.refused[-1].month) == ("2025-11", "2027-02")
        assert isinstance(
            engine.portfolio.contracts["BANK_NIFTY"].front_at(clock.now + timedelta(days=330)), BeyondRules
        )
        proved(dsn, engine)


def test_the_heartbeat_looks_at_the_day(dsn):
    clock = Clock(minutes(3))
    with trading(dsn, clock=clock) as engine:
        lock = PortfolioLock(dsn, "main", "the test")
        lock.acquire(1)
        heartbeat = Heartbeat(engine.db_manager, led_by(lock), engine, revive=lambda: None, on_lost=pytest.fail)
        heartbeat.start(hostname="here", port=1, version="0")
        try:
            clock.now = datetime(2026, 2, 1, 1, tzinfo=UTC)
            assert eventually(lambda: len(journalled(dsn)) == 2)
        finally:
            heartbeat.stop()
            lock.release()


# --- at a broker


def test_an_order_goes_to_the_contract_and_an_exit_after_the_roll_day_too(dsn, tmp_path):
    clock = Clock(minutes(3))
    with at_a_broker(dsn, tmp_path, clock=clock) as engine:
        assert status_of(engine.process_signal(a_signal())) == "accepted"
        assert eventually(lambda: quiet(engine))
        assert [position.futures_symbol for position in engine.positions.values()] == [JAN]
        (finding,) = engine.reconcile()
        assert (finding.kind, finding.symbol, finding.ours) == (FindingKind.MATCHED, JAN, 60)
        proved(dsn, engine)
    clock.now = ROLL_DAY + timedelta(seconds=3)
    with at_a_broker(dsn, tmp_path, clock=clock) as engine:
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=ROLL_DAY))
        assert eventually(lambda: quiet(engine) and not engine.positions)
        engine.process_signal(a_signal(timestamp=ROLL_DAY + timedelta(seconds=2)))
        assert eventually(lambda: quiet(engine) and engine.positions)
        assert [position.futures_symbol for position in engine.positions.values()] == [FEB]
        proved(dsn, engine)
    orders = rows(dsn, "SELECT purpose, symbol, state FROM orders ORDER BY journal_seq")
    assert orders == [("entry", JAN, "filled"), ("exit", JAN, "filled"), ("entry", FEB, "filled")]


def test_parts_of_an_order_are_whole_lots_of_its_contract(dsn, tmp_path):
    desk = a_contracts_desk("BANK_NIFTY", folder=tmp_path, BANK_NIFTY={"2026-01": {"lot_size": "15"}})
    paper = {"fill_fractions": ["0.3", "0.7"]}
    with at_a_broker(dsn, tmp_path, desk=desk, paper=paper) as engine:
        engine.process_signal(a_signal())
        assert eventually(lambda: quiet(engine))
        assert [(position.lots, position.quantity) for position in engine.positions.values()] == [(4, 60)]
        assert rows(dsn, "SELECT lots FROM fills ORDER BY number") == [(1,), (3,)]
        proved(dsn, engine)


def test_parts_of_an_order_under_a_fixed_symbol_are_whole_lots_too(dsn, tmp_path):
    fixed = {"BANK_NIFTY": {"symbol": JAN, "exchange": "NFO"}}
    paper = {"fill_fractions": ["0.6", "0.4"]}
    with at_a_broker(dsn, tmp_path, desk=a_contracts_desk(), markets=fixed, paper=paper) as engine:
        engine.process_signal(a_signal())
        assert eventually(lambda: quiet(engine))
        assert rows(dsn, "SELECT lots FROM fills ORDER BY number") == [(1,), (1,)]


def test_openalgo_is_asked_for_the_contract_in_units_of_its_lot(dsn, tmp_path):
    desk = a_contracts_desk("BANK_NIFTY", folder=tmp_path, BANK_NIFTY={"2026-01": {"lot_size": "15"}})
    with OpenAlgoServer() as server:
        server.exchange.set_quote(JAN, Decimal(52000))
        openalgo = {"url": server.url, "api_key": API_KEY}
        with at_a_broker(dsn, tmp_path, desk=desk, use="openalgo", openalgo=openalgo) as engine:
            engine.process_signal(a_signal())
            assert eventually(lambda: quiet(engine))
            (order,) = server.exchange.orders.values()
            assert (order.symbol, order.exchange, order.quantity) == (JAN, "NFO", 60)
            assert [finding.kind for finding in engine.reconcile()] == [FindingKind.MATCHED]
            engine.process_signal(a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500))
            assert eventually(lambda: quiet(engine))
            proved(dsn, engine)
            # Somebody buys the next contract by hand: that is BANK_NIFTY's too, and freezes it.
            server.exchange.set_quote(FEB, Decimal(52300))
            server.exchange.add(bought_by_hand(FEB, 30))
            kinds = {finding.symbol: finding.kind for _ in range(2) for finding in engine.reconcile()}
            assert kinds == {JAN: FindingKind.MATCHED, FEB: FindingKind.UNKNOWN}
            assert set(engine.status()["frozen"]) == {"BANK_NIFTY"}
    told = rows(dsn, "SELECT symbol, message FROM orders WHERE instrument = 'GOLD_MINI'")
    assert told == [(None, "GOLD_MINI is not traded here")]


def test_where_a_broker_counts_lots_an_order_does_too(dsn, tmp_path):
    desk = a_contracts_desk("GOLD_MINI")
    markets = {"GOLD_MINI": {"exchange": "MCX", "contracts": True}}
    with OpenAlgoServer() as server:
        server.exchange.set_quote("GOLDM05FEB26FUT", Decimal(72000))
        openalgo = {"url": server.url, "api_key": API_KEY, "lots_on": ["MCX"]}
        with at_a_broker(dsn, tmp_path, desk=desk, use="openalgo", openalgo=openalgo, markets=markets) as engine:
            engine.process_signal(a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500))
            assert eventually(lambda: quiet(engine))
            (order,) = server.exchange.orders.values()
            assert (order.symbol, order.quantity) == ("GOLDM05FEB26FUT", 2)
            assert [finding.kind for finding in engine.reconcile()] == [FindingKind.MATCHED]


def test_what_is_open_under_a_fixed_symbol_is_not_taken_for_a_contract(dsn, tmp_path):
    fixed = {"BANK_NIFTY": {"symbol": JAN, "exchange": "NFO"}}
    with at_a_broker(dsn, tmp_path, desk=a_contracts_desk(), markets=fixed) as engine:
        engine.process_signal(a_signal())
        assert eventually(lambda: quiet(engine))
        assert [position.futures_symbol for position in engine.positions.values()] == [None]
        assert [finding.symbol for finding in engine.reconcile()] == [JAN]
    refused = pytest.raises(ConfigurationError, match="BANK_NIFTY has something open without a contract")
    with refused, at_a_broker(dsn, tmp_path):
        pass
    with at_a_broker(dsn, tmp_path, desk=a_contracts_desk(), markets=fixed) as engine:
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(2)))
        assert eventually(lambda: quiet(engine) and not engine.positions)
    with at_a_broker(dsn, tmp_path) as engine:
        assert set(engine.portfolio.contracts) == {"BANK_NIFTY"}
        proved(dsn, engine)


def test_what_was_bought_in_a_contract_is_sold_in_it_under_a_fixed_symbol_too(dsn, tmp_path):
    with at_a_broker(dsn, tmp_path) as engine:
        engine.process_signal(a_signal())
        assert eventually(lambda: quiet(engine))
    fixed = {"BANK_NIFTY": {"symbol": FEB, "exchange": "NFO"}}
    with at_a_broker(dsn, tmp_path, desk=a_contracts_desk(), markets=fixed) as engine:
        assert [(finding.symbol, finding.kind) for finding in engine.reconcile()] == [(JAN, FindingKind.MATCHED)]
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(2)))
        assert eventually(lambda: quiet(engine) and not engine.positions)
        assert engine.reconcile() == ()
        proved(dsn, engine)
    assert rows(dsn, "SELECT DISTINCT symbol FROM orders") == [(JAN,)]


def test_within_hours_asks_the_calendar_that_is_configured(dsn, tmp_path):
    calendar = json.loads(DEFAULT_CALENDAR.read_text())
    for table in calendar["tables"]:
        table["days"]["2026-01-14"] = {"name": "a holiday of this test"}
    file = tmp_path / "calendar.json"
    file.write_text(json.dumps(calendar))
    desk = ContractsDesk(ContractFiles(calendar=file), BY_BROKER, ["BANK_NIFTY"])
    with at_a_broker(dsn, tmp_path, desk=desk, limits={"within_hours": True}) as engine:
        engine.process_signal(a_signal())
        assert eventually(lambda: quiet(engine))
    assert rows(dsn, "SELECT state, message FROM orders") == [("cancelled", "NFO is closed")]


def bought_by_hand(symbol: str, quantity: int) -> Resting:
    return Resting(
        order_id="by hand",
        symbol=symbol,
        exchange="NFO",
        buys=True,
        quantity=Decimal(quantity),
        limit=None,
        trigger=None,
        tag="hand",
        product="NRML",
    )
