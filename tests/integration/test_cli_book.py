"""`book`: the tree is made, moved and read by command, in tables for people and JSON for programs."""

from pathlib import Path

import pytest

from tests.command_line import run
from tests.integration.test_cli_database import config_for, shown


@pytest.fixture
def database(empty_dsn: str, tmp_path: Path) -> tuple[str, ...]:
    given = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    shown("migrate", "--book", *given)
    return given


def test_a_tree_is_made_and_read(database: tuple[str, ...]) -> None:
    added = shown("book", "node", "add", "Metals", "--type", "desk", "--parent", "1", *database)
    assert added == {"portfolio_node_id": 2, "changed": True}
    assert run("book", "node", "add", "Metals", "--type", "desk", "--parent", "1", *database).stdout == (
        "node 2: Metals (as before)\n"
    )
    assert shown("book", "node", "hang", "2", *database)["changed"]
    (fund, metals) = shown("book", "tree", *database)["nodes"]
    assert (fund["name"], fund["gross"], metals["depth"], metals["day_pnl"]) == ("default", "0", 1, None)
    lines = run("book", "tree", *database)
    assert "in INR, marked on no day yet" in lines.stderr
    assert [line.split()[:2] for line in lines.stdout.splitlines()[2:]] == [["default", "FUND"], ["Metals", "DESK"]]
    assert [node["portfolios"] for node in shown("book", "node", "list", *database)["nodes"]] == [[], ["main"]]
    assert shown("book", "node", "move", "2", *database) == {"portfolio_node_id": 2, "changed": True}
    assert shown("book", "tree", "--node", "2", "--by", "sector", *database)["by_sector"] == []
    taken = shown("book", "snapshot", *database)["snapshots"]
    assert [each["portfolio_node_id"] for each in taken] == [1, 2]


def test_rates_are_kept_by_day(database: tuple[str, ...]) -> None:
    for day, rate in (("2026-01-12", "85"), ("2026-01-14", "86.5")):
        assert shown("book", "fx", "set", "usd/inr", rate, "--as-of", day, *database)["changed"]
    (then,) = shown("book", "fx", "list", "--as-of", "2026-01-13", *database)["rates"]
    assert then == {"pair": "USD/INR", "rate": "85", "as_of_date": "2026-01-12", "source": "manual"}
    assert "86.5" in run("book", "fx", "list", *database).stdout


@pytest.mark.parametrize(
    "given, told",
    [
        (("tree", "--node", "9"), "there is no node 9"),
        (("tree", "--currency", "rupees"), "`currency`"),
        (("node", "move", "1", "--parent", "1"), "a FUND does not hang on a FUND"),
        (("fx", "set", "INR/INR", "1"), "`pair`"),
        (("node", "add", "default", "--type", "FUND", "--currency", "USD"), "is there already"),
    ],
)
def test_what_is_refused_is_told_in_a_sentence(database: tuple[str, ...], given: tuple[str, ...], told: str) -> None:
    result = run("book", *given, *database)
    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_a_book_it_is_said_what_to_run(dsn: str, tmp_path: Path) -> None:
    result = run("book", "tree", "--db-config", str(config_for(dsn, tmp_path)))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "migrate --book" in result.stderr
