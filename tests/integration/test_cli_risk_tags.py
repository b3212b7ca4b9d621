"""`risk tag` and `risk by-tag`: what is told in JSON and in tables, and what is refused in a sentence."""

import os
from getpass import getuser
from pathlib import Path

import pytest

from book.database import engine_of, transaction
from tests.command_line import run
from tests.integration.test_cli_database import config_for, shown
from tests.queries import rows
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


@pytest.fixture
def desk(database: tuple[str, ...], empty_dsn: str) -> str:
    ((number,),) = rows(empty_dsn, "SELECT portfolio_node_id FROM book.portfolio_node WHERE name = 'Desk'")
    return f"node/{number}"


def test_a_tag_goes_its_way(database: tuple[str, ...], desk: str) -> None:
    made = shown("risk", "tag", "create", "Metals", "--colour", "#0A7F3C", *database)
    assert (made["tag"], made["tag_type"], made["changed"]) == ("Metals", "regular", True)
    assert not shown("risk", "tag", "create", "metals", *database)["changed"]
    assert shown("risk", "tag", "add", "metals", desk, "--by", "ada", *database)["changed"]
    assert not shown("risk", "tag", "add", "METALS", desk, *database)["changed"]
    assert (
        f"{desk} has the regular tag metals (as before)" in run("risk", "tag", "add", "metals", desk, *database).stdout
    )
    (listed,) = shown("risk", "tag", "list", *database)["tags"]
    assert [listed[name] for name in ("name", "colour", "nodes", "positions")] == ["Metals", "#0a7f3c", 1, 0]
    (told,) = shown("risk", "tag", "show", "position/2", *database)["tags"]
    assert [told[name] for name in ("tag", "tag_type", "on", "added_by")] == ["Metals", "regular", desk, "ada"]
    assert "position/1 had no tag" in run("risk", "tag", "show", "position/1", *database).stdout
    assert desk in run("risk", "tag", "show", "position/2", *database).stdout
    assert shown("risk", "tag", "remove", "metals", desk, *database)["changed"]
    assert not shown("risk", "tag", "remove", "metals", desk, *database)["changed"]
    (was,) = shown("risk", "tag", "show", "Metals", *database)["on"]
    assert (was["on"], was["added_by"], was["removed_by"]) == (desk, "ada", getuser())
    printed = run("risk", "tag", "show", "Metals", *database).stdout
    assert all(word in printed for word in ("#0a7f3c", desk, "ada", getuser()))
    shown("risk", "tag", "add", "metals", desk, *database)
    retired = shown("risk", "tag", "retire", "metals", *database)
    assert (retired["tag"], retired["taken_off"], retired["changed"]) == ("Metals", 1, True)
    assert not shown("risk", "tag", "retire", "metals", *database)["changed"]
    assert shown("risk", "tag", "list", *database)["tags"] == []
    assert "there is no tag" in run("risk", "tag", "list", *database).stdout
    assert "Metals" in run("risk", "tag", "list", "--all", *database).stdout


def test_an_account_without_a_name_is_told_by_its_number(
    database: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("live.cli.risk_tags.getuser", nameless)
    shown("risk", "tag", "create", "core", *database)
    assert shown("risk", "tag", "show", "core", *database)["created_by"] == f"uid {os.getuid()}"


def test_a_day_is_told_by_tag(database: tuple[str, ...], desk: str) -> None:
    shown("risk", "batch", *DATE, *database)
    shown("risk", "tag", "create", "metals", *database)
    shown("risk", "tag", "add", "metals", desk, *database)
    # On that day nothing had the tag; by the tags of a later one it is told so.
    asked = ("risk", "by-tag", *DATE, "--tagged-on", "2099-01-01")
    assert [each["tag_type"] for each in shown("risk", "by-tag", *DATE, *database)["tags"]] == ["all"]
    found = shown(*asked, *database)
    assert (found["date"], found["tagged_on"], found["currency"]) == ("2026-01-14", "2099-01-01", "INR")
    everything, metals = found["tags"]
    assert (everything["tag_type"], metals["tag"], len(metals["positions"])) == ("all", "metals", 2)
    assert metals["measures"]["volatility"]["daily"] > 0
    assert metals["measures"]["exposure"]["gross"] < everything["measures"]["exposure"]["gross"]
    assert len(metals["stress"]) == 8
    printed = run(*asked, *database).stdout
    for word in ("(all)", "metals", "Market Down 10%", "ImpossibleShocks", "NoMark", "no position was closed"):
        assert word in printed
    of_desk = shown(*asked, "--node", desk.removeprefix("node/"), "--type", "strategy", *database)
    assert [each["tag_type"] for each in of_desk["tags"]] == ["all"]
    assert of_desk["tags"][0]["positions"] == metals["positions"]


def test_what_was_closed_is_told_with_its_r_or_why_there_is_none(database: tuple[str, ...], empty_dsn: str) -> None:
    rows(
        empty_dsn,
        "UPDATE book.portfolio_positions SET is_open = FALSE, exit_timestamp = '2026-01-09T10:00Z', realized_pnl_base = 5"
        " WHERE id = 1",
    )
    shown("risk", "batch", *DATE, *database)
    printed = run("risk", "by-tag", *DATE, *database).stdout
    assert "the engine does not know it" in printed
    assert "win rate" in printed
    (everything,) = shown("risk", "by-tag", *DATE, *database)["tags"]
    assert (everything["trades"]["closed"], everything["trades"]["trades"]) == (1, 0)
    assert everything["measures"]["closed_pnl"] == 5


@pytest.mark.parametrize(
    "given, code, told",
    [
        (("tag", "create", " "), 1, "`name`"),
        (("tag", "create", "x", "--type", "other"), 2, "other"),
        (("tag", "create", "x", "--colour", "red"), 1, "`colour`"),
        (("tag", "add", "tin", "node/1"), 1, "there is no regular tag 'tin'"),
        (("tag", "add", "tin", "desk"), 1, "is not like node/1"),
        (("tag", "show", "tin"), 1, "there is no regular tag 'tin'"),
        (("by-tag",), 2, "--date"),
        (("by-tag", *DATE), 1, "`risk batch --date 2026-01-14` does"),
        (("by-tag", *DATE, "--node", "99"), 1, "there is no node 99"),
    ],
)
def test_what_is_refused_is_told(database: tuple[str, ...], given: tuple[str, ...], code: int, told: str) -> None:
    result = run("risk", *given, *database)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
