"""`risk batch`, `show`, `scenarios` and `factors`: a day is reckoned and told; what is missing is said in a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from book.database import engine_of, transaction
from tests.command_line import run
from tests.integration.test_cli_database import config_for, shown
from tests.live_process import ROOT
from tests.risk_world import a_world

DATE = ("--date", "2026-01-14")


@pytest.fixture
def database(empty_dsn: str, tmp_path: Path) -> tuple[str, ...]:
    given = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    shown("migrate", "--book", *given)
    engine = engine_of(empty_dsn)
    with transaction(engine) as session:
        a_world(session)
    engine.dispose()
    return given


def test_a_day_is_reckoned_once_and_told(database: tuple[str, ...]) -> None:
    first = shown("risk", "batch", *DATE, *database)
    assert (first["run"], first["changed"], len(first["steps"])) == (1, True, 9)
    again = shown("risk", "batch", *DATE, *database)
    assert (again["changed"], {step["records"] for step in again["steps"]}) == (False, {None})
    assert shown("risk", "batch", *DATE, "--again", *database)["run"] == 2
    nodes = {node["name"]: node for node in shown("risk", "show", *DATE, *database)["nodes"]}
    assert {"Fund", "Desk"} <= set(nodes)
    fund = shown("risk", "show", *DATE, "--node", str(nodes["Fund"]["portfolio_node_id"]), *database)
    assert [each["symbol"] for each in fund["positions"]] == ["BANK_NIFTY", "GOLD_MINI", "COPPER"]
    assert len(fund["stress"]) == 8
    printed = run("risk", "show", *DATE, "--node", str(nodes["Fund"]["portfolio_node_id"]), *database).stdout
    for told in ("specific", "Market Down 10%", "ImpossibleShocks", "TooFewObservations: 60 observations", "UNKNOWN"):
        assert told in printed
    listed = run("risk", "show", *DATE, *database).stdout
    assert "Desk" in listed
    assert "nothing was left to do" in run("risk", "batch", *DATE, *database).stdout


def test_what_failed_is_told(database: tuple[str, ...], empty_dsn: str) -> None:
    from tests.queries import rows

    shown("risk", "batch", *DATE, *database)
    rows(
        empty_dsn,
        "UPDATE risk.calculation_audit_log SET status = 'failed', records_processed = NULL, error_message = 'on fire'"
        " WHERE calculation_type = 'greeks'",
    )
    assert "on fire" in run("risk", "show", *DATE, *database).stdout


def test_factors_are_told_by_what_one_says(database: tuple[str, ...]) -> None:
    def told_by() -> dict[str, list[str]]:
        return {each["name"]: each["told_by"] for each in shown("risk", "factors", *database)["factors"]}

    assert {name: by for name, by in told_by().items() if by} == {"index": ["NIFTY"], "gold": ["here/gold"]}
    shown("risk", "factors", "--set", "copper=COPPER", "--set", "rates=here/gold", "--set", "index=", *database)
    assert {name: by for name, by in told_by().items() if by} == {
        "copper": ["COPPER"],
        "rates": ["here/gold"],
        "gold": ["here/gold"],
    }
    assert "nothing" in run("risk", "factors", *database).stdout
    scenarios = shown("risk", "scenarios", *database)["scenarios"]
    assert [len(each["shocks"]) for each in scenarios] == [2, 2, 1, 1, 1, 1, 9, 9]
    assert "oil +0.05" in run("risk", "scenarios", *database).stdout


@pytest.mark.parametrize(
    "given, code, told",
    [
        (("batch",), 2, "--date"),
        (("batch", "--date", "2026-01-17"), 1, "no exchange of what is held trades then"),
        (("factors", "--set", "gold"), 2, "must be like gold=GOLD_MINI"),
        (("factors", "--set", "tin=GOLD_MINI"), 1, "no such factor"),
        (("factors", "--set", "gold=TIN"), 1, "not in the master"),
        (("factors", "--set", "gold=here/TIN"), 1, "has no series TIN"),
    ],
)
def test_what_is_refused_is_told(database: tuple[str, ...], given: tuple[str, ...], code: int, told: str) -> None:
    result = run("risk", *given, *database)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr


def test_a_day_that_was_not_reckoned_is_told_so(database: tuple[str, ...]) -> None:
    assert "`risk batch --date 2026-01-13` does" in run("risk", "show", "--date", "2026-01-13", *database).stdout


def test_without_the_tables_it_is_said_what_to_run(dsn: str, tmp_path: Path) -> None:
    result = run("risk", "batch", *DATE, "--db-config", str(config_for(dsn, tmp_path)))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "migrate --book" in result.stderr


@pytest.mark.parametrize(
    "missing, of", [("numpy", "risk"), ("QuantLib", "risk"), ("sklearn", "risk"), ("pyarrow", "book")]
)
def test_without_an_extra_it_is_said_what_to_install(missing: str, of: str) -> None:
    program = (
        "import sys\n"
        f"sys.modules['{missing}'] = None\n"
        "from live.cli import main\n"
        "main(['risk', 'batch', '--date', '2026-01-14'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {missing}: not installed: pip install --requirement requirements-{of}.txt\n"


def test_help_and_lists_import_no_arrays() -> None:
    program = (
        "import sys; from live.cli import main\n"
        "import risk.reading, risk.seeds\n"
        "try: main(['risk', 'batch', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(', '.join({'pandas', 'numpy', 'QuantLib', 'scipy', 'sklearn'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
