"""`risk session` and `risk exports`: a what-if from its beginning to its file; what is refused says what to do."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from book.database import engine_of, transaction
from tests.command_line import run
from tests.integration.test_cli_database import config_for, shown
from tests.live_process import ROOT
from tests.risk_world import a_world

SESSION = ("risk", "session")
Database = tuple[str, ...]


@pytest.fixture
def database(empty_dsn: str, tmp_path: Path) -> Database:
    """The world of the batch's tests, reckoned; its fund is node 2."""
    given = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    shown("migrate", "--book", *given)
    engine = engine_of(empty_dsn)
    with transaction(engine) as session:
        a_world(session)
    engine.dispose()
    shown("risk", "batch", "--date", "2026-01-14", *given)
    return given


@pytest.fixture
def begun(database: Database) -> Database:
    """A session on the fund."""
    asked = ("--node", "2", "--as-of", "2026-01-14", "--name", "Less metal", "--by", "ada", "--description", "a test")
    assert shown(*SESSION, "begin", *asked, *database)["session_id"] == 1
    return database


def printed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_a_session_from_its_beginning_to_its_files(begun: Database, tmp_path: Path) -> None:
    resized = shown(*SESSION, "resize", "1", "position/2", "0.1", "--by", "bob", *begun)
    assert resized["version"] == 2
    assert resized["impact"]["short"]["before"] == pytest.approx(4 * resized["impact"]["short"]["after"])
    assert "change 2, version 3" in printed(*SESSION, "add", "1", "GOLD_MINI", "-1", "--stop", "70000", *begun)
    shocked = printed(*SESSION, "shock", "1", "--factor", "index=-10%", "--correlated", *begun)
    assert "volatility" in shocked
    shown(*SESSION, "roll", "1", "position/1", "2026-02", "--spread", "-30", *begun)
    told = printed(*SESSION, "show", "1", *begun)
    for line in (
        r"1 +resize +position/2 to 0.1 lots +bob",
        r"2 +add +new/1: -1 lots of GOLD_MINI",
        r"3 +shock_factors +gold -0\.\d+, index -0.1",
        r"4 +roll +position/1 into 2026-02, -30 points",
        r"position/1 +BANK_NIFTY +2026-02 +Fund +2 +2",
        r"new/1 +GOLD_MINI +Fund +- +-1",
        r"for +a test",
    ):
        assert re.search(line, told), told
    assert shown(*SESSION, "undo", "1", "3", *begun)["version"] == 6
    taken = shown(*SESSION, "snapshot", "1", *begun)
    assert (taken["snapshot_id"], taken["session_version"]) == (1, 6)
    assert re.search(r"snapshot +of version +by +taken +\n", printed(*SESSION, "show", "1", "--all", *begun))
    for form, kind in (("csv", None), ("json", None), ("fix", None), ("csv", "portfolio"), ("json", "trades")):
        file = tmp_path / f"{kind}.{form}"
        more = () if kind is None else ("--what", kind)
        done = shown(*SESSION, "export", "1", "--format", form, "--output", str(file), *more, *begun)
        assert done["content_hash"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert json.loads((tmp_path / "None.json").read_bytes())["session_id"] == "1"
    assert (tmp_path / "None.csv").read_text().startswith("measure,by,label,before,after,difference,")
    orders = json.loads((tmp_path / "trades.json").read_bytes())
    assert [(order["instrument"], order["contract"], order["side"], order["lots"]) for order in orders] == [
        ("BANK_NIFTY", "", "SELL", 2.0),
        ("BANK_NIFTY", "2026-02", "BUY", 2.0),
        ("GOLD_MINI", "", "SELL", 1.0),
        ("GOLD_MINI", "", "BUY", 0.3),
    ]
    assert (tmp_path / "None.fix").read_bytes().count(b"\x0135=D\x01") == 4
    found = shown("risk", "exports", *begun)["exports"]
    assert [row["export_type"] for row in found] == [
        "trades",
        "portfolio",
        "trades",
        "modeling_session",
        "modeling_session",
    ]
    assert "None.fix" in printed("risk", "exports", *begun)
    assert "hashes hold" in printed(*SESSION, "verify", "1", *begun)
    assert "session 1 is completed" in printed(*SESSION, "complete", "1", "--by", "eve", *begun)
    assert re.search(r"ended +.*Z by eve", printed(*SESSION, "show", "1", *begun))
    assert [row["status"] for row in shown(*SESSION, "list", *begun)["sessions"]] == ["completed"]
    assert re.search(r"1 +Less metal +2 +2026-01-15T00:00:00Z +completed", printed(*SESSION, "list", *begun))
    whole = shown(*SESSION, "show", "1", *begun)
    assert [position["position_id"] for position in whole["positions"]["before"]] == [
        f"position/{n}" for n in (1, 2, 3)
    ]
    assert (whole["ended_by"], len(whole["snapshots"])) == ("eve", 1)
    assert (tmp_path / "None.json").read_bytes().count(b'"change":') == 3


def test_sessions_and_snapshots_are_compared(begun: Database) -> None:
    shown(*SESSION, "begin", "--node", "2", "--as-of", "2026-01-14", "--name", "None", *begun)
    shown(*SESSION, "remove", "1", "position/2", *begun)
    same = shown(*SESSION, "compare", "1", "2", *begun)
    assert same["same_inputs"]
    (short,) = (row for row in same["impact"] if (row["measure"], row["by"]) == ("short", "portfolio"))
    assert short["before"] == 0
    assert short["after"] < 0
    shown(*SESSION, "begin", "--node", "3", "--as-of", "2026-01-14", "--name", "Desk", *begun)
    result = run(*SESSION, "compare", "1", "3", *begun)
    assert re.search(r"measure +of +session 1 +session 3 +difference", result.stdout)
    assert "different inputs" in result.stderr
    for number in ("1", "2"):
        assert "snapshot" in printed(*SESSION, "snapshot", number, *begun)
    assert shown(*SESSION, "compare", "1", "2", "--snapshots", *begun)["same_inputs"]
    assert shown(*SESSION, "cancel", "2", *begun)["status"] == "cancelled"
    assert shown(*SESSION, "list", "--status", "active", "--limit", "1", *begun)["next"] == 3


def test_what_the_book_tells_otherwise_is_named_and_fails(begun: Database, empty_dsn: str) -> None:
    from tests.queries import rows

    rows(empty_dsn, "UPDATE book.portfolio_positions SET quantity = 30 WHERE id = 1")
    result = run(*SESSION, "verify", "1", *begun)
    assert (result.exit_code, result.stdout) == (1, "position/1: signed_quantity\n")
    assert "begin another one" in result.stderr
    result = run(*SESSION, "verify", "1", "--json", *begun)
    assert (result.exit_code, json.loads(result.stdout)["untouched"]) == (1, False)


def test_what_is_not_known_of_positions_is_told(database: Database) -> None:
    assert "no batch was reckoned by then" in printed(
        *SESSION, "begin", "--node", "2", "--as-of", "2026-01-13", "--name", "Before", *database
    )
    assert "nothing: no batch was reckoned" in printed(*SESSION, "show", "1", *database)


@pytest.mark.parametrize(
    "given, code, told",
    [
        (("begin", "--node", "2"), 2, "--name"),
        (("begin", "--node", "99", "--name", "x"), 1, "there is no node 99"),
        (("begin", "--node", "2", "--name", " "), 1, "is no name"),
        (("begin", "--node", "2", "--name", "x", "--as-of", "2999-01-01"), 1, "leave --as-of out"),
        (("begin", "--node", "2", "--name", "x", "--as-of", "2026-01-14T10:00:00"), 2, "of which zone"),
        (("show", "9"), 1, "`risk session list`"),
        (("resize", "1", "tin", "1"), 1, "`risk session show 1`"),
        (("resize", "1", "position/1", "0"), 1, "to sell all, remove it"),
        (("resize", "1", "position/1", "1", "--if-version", "7"), 1, "version 1, not 7"),
        (("roll", "1", "position/1", " ", "--spread", "5"), 1, "is no name"),
        (("add", "1", "TIN", "1"), 1, "`book instruments`"),
        (("add", "1", "GOLD_MINI", "0"), 1, "nothing is held"),
        (("add", "1", "GOLD_MINI", "1", "--position", "position/1"), 1, "already"),
        (("shock", "1"), 2, "one kind a change"),
        (("shock", "1", "--price", "GOLD_MINI=1%", "--factor", "index=1%"), 2, "one kind a change"),
        (("shock", "1", "--price", "GOLD_MINI=1%", "--correlated"), 2, "give --factor"),
        (("shock", "1", "--price", "GOLD_MINI"), 2, "must be like index=-0.1"),
        (("shock", "1", "--price", "GOLD_MINI=nan"), 2, "must be like index=-0.1"),
        (("shock", "1", "--price", "TIN=1%"), 1, "nothing held moves with TIN"),
        (("shock", "1", "--volatility", "GOLD_MINI=1%"), 1, "no options are held on"),
        (("shock", "1", "--factor", "oil=1%"), 1, "no beta to oil"),
        (("undo", "1"), 1, "none to undo"),
        (("export", "1", "--format", "csv", "--output", "a.csv"), 1, "`risk session snapshot 1`"),
        (("export", "1", "--format", "csv", "--output", "/"), 2, "is a directory"),
        (("compare", "1", "9"), 1, "no session 9"),
    ],
)
def test_what_is_refused_says_what_to_do_and_changes_nothing(
    begun: Database, given: tuple[str, ...], code: int, told: str
) -> None:
    result = run(*SESSION, *given, *begun)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
    assert [row["version"] for row in shown(*SESSION, "list", *begun)["sessions"]] == [1]


def test_what_cannot_be_written_is_not_recorded(begun: Database, tmp_path: Path) -> None:
    shown(*SESSION, "snapshot", "1", *begun)
    nowhere = tmp_path / "nowhere" / "a.csv"
    result = run(*SESSION, "export", "1", "--format", "csv", "--output", str(nowhere), *begun)
    assert result.exit_code == 1
    assert "cannot be written to" in result.stderr
    assert (
        "no orders" in run(*SESSION, "export", "1", "--format", "fix", "--output", str(tmp_path / "a"), *begun).stderr
    )
    assert shown("risk", "exports", *begun)["exports"] == []
    assert not (tmp_path / "a").exists()


def test_a_file_that_cannot_have_its_name_leaves_its_record_and_nothing_else(begun: Database, tmp_path: Path) -> None:
    shown(*SESSION, "snapshot", "1", *begun)
    folder = tmp_path / "out"
    folder.mkdir()
    # More bytes than a file system gives a name, in no more letters than the record has.
    output = folder / ("é" * 200)
    result = run(*SESSION, "export", "1", "--format", "csv", "--output", str(output), *begun)
    assert result.exit_code == 1
    assert "`risk exports`" in result.stderr
    assert list(folder.iterdir()) == []
    assert [row["file_name"] for row in shown("risk", "exports", *begun)["exports"]] == ["é" * 200]


def test_a_file_that_is_there_is_replaced_whole_or_stays(begun: Database, tmp_path: Path) -> None:
    output = tmp_path / "a.fix"
    output.write_text("before")
    shown(*SESSION, "snapshot", "1", *begun)
    asked = ("export", "1", "--format", "fix", "--output", str(output))
    assert run(*SESSION, *asked, *begun).exit_code == 1
    assert output.read_text() == "before"
    shown(*SESSION, "remove", "1", "position/2", *begun)
    shown(*SESSION, "snapshot", "1", *begun)
    shown(*SESSION, *asked, *begun)
    assert output.read_bytes().startswith(b"8=FIX.4.4\x019=")


def test_without_the_tables_it_is_said_what_to_run(dsn: str, tmp_path: Path) -> None:
    result = run(*SESSION, "begin", "--node", "1", "--name", "x", "--db-config", str(config_for(dsn, tmp_path)))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "migrate --book" in result.stderr


def test_without_the_extra_it_is_said_what_to_install() -> None:
    program = (
        "import sys\nsys.modules['numpy'] = None\nfrom live.cli import main\nmain(['risk', 'session', 'show', '1'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: numpy: not installed: pip install --requirement requirements-risk.txt\n"


def test_help_and_lists_import_no_arrays() -> None:
    program = (
        "import sys; from live.cli import main\n"
        "import risk.modelling.listing\n"
        "try: main(['risk', 'session', 'begin', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(', '.join({'pandas', 'numpy', 'QuantLib', 'scipy', 'sklearn'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
