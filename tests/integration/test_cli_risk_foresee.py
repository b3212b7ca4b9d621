"""`risk foresee`: the answers of `send --dry-run`, with every measure before and after; nothing is written."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from book.database import engine_of, transaction
from core.alert import canonical_payload
from live.bootstrap import utc_now
from live.cli.output import jsonable
from tests.builders import a_signal
from tests.command_line import run
from tests.engines import an_engine
from tests.integration.test_cli_database import config_for, shown
from tests.modelling_world import everything_else
from tests.queries import rows
from tests.risk_world import a_world


@pytest.fixture
def database(empty_dsn: str, tmp_path: Path) -> tuple[str, ...]:
    """The world of the batch's tests, reckoned; the engine holds two lots of GOLD_MINI."""
    given = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    shown("migrate", "--book", *given)
    with an_engine(empty_dsn, clock=utc_now) as engine:
        # Not the second in which a test asks about another one: it would be the same signal.
        fired = utc_now() - timedelta(seconds=5)
        gold = a_signal(
            "BASE_ENTRY", instrument="GOLD_MINI", price=72_000, stop=71_500, atr=500, er="0.75", timestamp=fired
        )
        (tmp_path / "gold.json").write_text(json.dumps(jsonable(canonical_payload(gold))))
        assert engine.process_signal(gold).outcome["status"] == "executed"
    made = engine_of(empty_dsn)
    with transaction(made) as session:
        a_world(session)
    made.dispose()
    shown("risk", "batch", "--date", "2026-01-14", *given)
    return given


def an_alert(**changed: Any) -> str:
    fields = {"type": "BASE_ENTRY", "instrument": "BANK_NIFTY", "position": "Long_1", "price": 52000, "stop": 51650}
    fired = {"atr": 350, "er": 0.82, "timestamp": datetime.now(UTC).isoformat()}
    return json.dumps({**fields, **fired, **changed})


def told(result: Any) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_answer_is_that_of_a_dry_run_with_every_measure_before_and_after(
    database: tuple[str, ...], empty_dsn: str
) -> None:
    before, alert = everything_else(empty_dsn), an_alert(odd=1)
    found = told(run("risk", "foresee", "--alert", "-", "--json", *database, given=alert))
    dry = told(run("send", "--dry-run", "--json", "-", *database, given=alert))
    (answer,) = found["answers"]
    assert answer == {name: value for name, value in dry.items() if name != "line"}
    assert (answer["status"], answer["lots"], answer["warnings"]) == ("executed", 2, ["odd"])
    assert (found["currency"], found["batch_day"], found["notes"]) == ("INR", "2026-01-14", {})
    gross, margin = found["impact"]["gross"], found["impact"]["margin"]
    assert (gross["before"], gross["after"]) == (2 * 10 * 72_000, 2 * 10 * 72_000 + 2 * 30 * 52_000)
    assert margin["difference"] == 2 * 270_000
    assert found["impact"]["volatility"]["difference"] > 0
    assert found["impact"]["open_heat"]["difference"] == 2 * 30 * 350
    assert everything_else(empty_dsn) == before


def test_what_is_refused_and_what_was_decided_before_are_told(database: tuple[str, ...], tmp_path: Path) -> None:
    again = told(run("risk", "foresee", "--alert", str(tmp_path / "gold.json"), "--json", *database))
    assert (again["answers"][0]["status"], again["answers"][0]["first"]["lots"]) == ("duplicate", 2)
    assert again["impact"]["gross"]["difference"] == 0
    two = f"{an_alert(instrument='GOLD_MINI', price=72100, stop=71600)}\n{an_alert()}"
    printed = run("risk", "foresee", "--alert", "-", *database, given=two)
    assert printed.exit_code == 0
    for words in ("base position already open", "executed", "volatility", "parametric value at risk"):
        assert words in printed.stdout


@pytest.mark.parametrize(
    "alert, told_of",
    [("{", "line 1"), ("", "no alert"), (an_alert(price=None), "price"), (an_alert(type="NOD"), "type")],
)
def test_what_is_no_alert_is_told(database: tuple[str, ...], alert: str, told_of: str) -> None:
    result = run("risk", "foresee", "--alert", "-", *database, given=alert)
    assert (result.exit_code, result.stdout) == (1, "")
    assert told_of in result.stderr


def test_what_no_batch_knows_is_told(database: tuple[str, ...], empty_dsn: str) -> None:
    rows(empty_dsn, "DELETE FROM risk.calculation_audit_log")
    printed = run("risk", "foresee", "--alert", "-", *database, given=an_alert())
    assert "no batch was reckoned by then" in printed.stdout


def test_a_portfolio_that_hangs_nowhere_is_told(database: tuple[str, ...], empty_dsn: str) -> None:
    shown("migrate", "--portfolio", "alpha", *database)
    result = run("risk", "foresee", "--alert", "-", "--portfolio", "alpha", *database, given=an_alert())
    assert (result.exit_code, result.stdout) == (1, "")
    assert "`book sync`" in result.stderr
