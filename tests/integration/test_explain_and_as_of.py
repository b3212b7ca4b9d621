"""Why a trade had its size, and how the portfolio stood at a time: from the journal, by command."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from core.db_state_manager import DatabaseStateManager
from core.errors import PortfolioError
from core.inputs import MoveCapital
from core.portfolio import Portfolio
from live.as_of import portfolio_then
from live.explain import explanation
from tests.builders import NOON, a_signal, minutes
from tests.command_line import run
from tests.engines import Clock, an_engine
from tests.integration.test_cli_database import config_for
from tests.queries import rows


def explained(dsn: str, identity: str) -> str:
    with DatabaseStateManager(dsn) as manager:
        row = manager.reads.explained_entry(identity)
    assert row is not None
    return "\n".join(explanation(row))


def test_a_trade_is_explained_by_its_position_its_fingerprint_and_its_number(dsn):
    with an_engine(dsn) as engine:
        answer = engine.process_signal(a_signal())
    told = {
        explained(dsn, identity)
        for identity in (answer.outcome["position_id"], answer.fingerprint, str(answer.journal_seq))
    }
    (only,) = told
    assert "BASE_ENTRY BANK_NIFTY Long_1 at 52,000 stop 51,650 atr 350 er 0.82" in only
    assert "executed: 2 lots; volatility bound it" in only
    for figure in ("3.904762  risk", "2.380952  volatility", "11.111111  margin", "71.428571  portfolio risk"):
        assert figure in only
    assert only.count("<- the smallest") == 1
    assert "sizing equity 5,000,000" in only


@pytest.mark.parametrize(
    "signal, words",
    [
        (a_signal(instrument="COPPER", price=800, stop=790, atr=10), "blocked: not one lot fits; volatility bound it"),
        (a_signal("EXIT"), "rejected: nothing was open that it could close"),
        (a_signal("PYRAMID"), "rejected: there was no base position"),
        (a_signal(stop=53000), "rejected: its stop was not on the losing side"),
    ],
)
def test_a_refusal_is_explained_in_words(dsn, signal, words):
    with an_engine(dsn) as engine:
        answer = engine.process_signal(signal)
    assert words in explained(dsn, answer.fingerprint)


def test_commands_are_explained_too_and_the_unknown_is_none(dsn):
    with an_engine(dsn) as engine:
        answer = engine.command(MoveCapital(amount=Decimal(5)))
    assert "capital" in explained(dsn, str(answer.journal_seq))
    with DatabaseStateManager(dsn) as manager:
        for identity in ("999", "f" * 64, "GOLD_MINI-Long_1-000000000000", "no such thing", "9" * 30):
            assert manager.reads.explained_entry(identity) is None


def test_the_portfolio_as_of_each_entry_is_what_it_was_then(dsn):
    clock, seen = Clock(), []
    with an_engine(dsn, clock=clock) as engine:
        for number, signal in enumerate(
            (
                a_signal(),
                a_signal("MARKET_DATA", price=53000, timestamp=minutes(1)),
                a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(1.5)),
                a_signal("EXIT", layer="ALL", price=53100, timestamp=minutes(2)),
            )
        ):
            clock.now = NOON + timedelta(minutes=number + 1)
            engine.process_signal(signal)
            seen.append((clock.now, engine.portfolio))
    with DatabaseStateManager(dsn) as manager:
        for time, portfolio in seen:
            for moment in (time, time + timedelta(seconds=30)):
                assert _same(portfolio_then(manager, moment), portfolio)
        with pytest.raises(PortfolioError, match="had not been started"):
            portfolio_then(manager, NOON - timedelta(days=1))


def _same(one: Portfolio, other: Portfolio) -> bool:
    return (dict(one.positions), one.state, one.totals) == (dict(other.positions), other.state, other.totals)


def test_the_commands_say_it(dsn, tmp_path):
    with an_engine(dsn) as engine:
        answer = engine.process_signal(a_signal())
    ((decided,),) = rows(dsn, "SELECT decided_at FROM decision_journal WHERE kind = 'signal'")
    database = ("--db-config", str(config_for(dsn, tmp_path)))
    told = run("journal", *database, "--explain", answer.outcome["position_id"])
    assert told.exit_code == 0, told.stderr
    assert "volatility bound it" in told.stdout
    assert run("journal", *database, "--explain", "nobody").exit_code == 1
    then = json.loads(run("positions", *database, "--as-of", decided.isoformat(), "--json").stdout)
    assert [position["position_id"] for position in then["positions"]] == [answer.outcome["position_id"]]
    status = json.loads(run("status", *database, "--as-of", decided.isoformat(), "--json").stdout)
    assert (status["open_positions"], status["closed_equity"]) == (1, "5000000")
    assert "as of" in run("status", *database, "--as-of", decided.isoformat()).stdout
    assert run("status", *database, "--as-of", "yesterday").exit_code == 2
    assert run("positions", *database, "--as-of", "2001-01-01").exit_code == 1
    checked = json.loads(run("verify", *database, "--json").stdout)
    assert (checked["verified"], checked["signals"]) == (True, 1)
    assert "verified 4 journal entries" in run("verify", *database).stdout
