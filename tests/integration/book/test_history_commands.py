"""`book calendar` and `book attribution`: in tables for people, and for programs what the API answers."""

from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.book_world import TODAY
from tests.command_line import run
from tests.integration.book.test_attribution import DAY, a_desk, started
from tests.integration.test_cli_database import config_for, shown

PERIOD = ("--from", str(TODAY - DAY), "--to", str(TODAY))


@pytest.fixture
def database(book_dsn: str, sessions: sessionmaker[Session], tmp_path: Path) -> tuple[str, ...]:
    started(book_dsn, "public", 1_000_000, [("2026-01-14 23:30+00", 500)])
    with sessions.begin() as session:
        a_desk(session)
    return ("--db-config", str(config_for(book_dsn, tmp_path)))


def test_days_are_told_with_their_sum(database: tuple[str, ...]) -> None:
    told = shown("book", "calendar", *PERIOD, *database)
    assert told == {
        "from_date": "2026-01-13",
        "to_date": "2026-01-14",
        "currency": "INR",
        "days": [
            {"date": "2026-01-13", "daily_pnl": "63", "positions": 4},
            {"date": "2026-01-14", "daily_pnl": "1", "positions": 4},
        ],
        "total": "64",
    }
    lines = run("book", "calendar", *PERIOD, "--of", "MAIN", *database).stdout.splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["2026-01-13", "Tue", "60.00", "3"],
        ["2026-01-14", "Wed", "-3.00", "3"],
        ["2", "days:", "57.00"],
    ]
    assert shown("book", "calendar", "--to", "0001-01-01", *database)["days"] == []


def test_a_change_is_told_from_equity_to_equity(database: tuple[str, ...]) -> None:
    told = shown("book", "attribution", *PERIOD, "--by", "layer", *database)
    assert told["lines"][1] == {"key": "Long_1", "name": "Long_1", "pnl": "-10"}
    assert (told["by"], told["pnl"], told["equity"]["flows"]) == ("layer", "1", "500")
    assert shown("book", "attribution", *database)["to_date"] == "2026-01-14"
    lines = run("book", "attribution", *PERIOD, *database).stdout.splitlines()
    assert [line.split()[-1] for line in lines[2:]] == ["1,000,063.00", "24.00", "-23.00", "500.00", "1,000,564.00"]


def test_what_cannot_be_told_is_said_in_a_sentence(database: tuple[str, ...]) -> None:
    for given, words in (
        (("--from", "2026-01-14", "--to", "2026-01-14"), "`from`"),
        (("--node", "99"), "there is no node 99"),
        (("--of", "nobodys"), "hangs on no node"),
        (("--currency", "EUR"), "there is no rate between INR and EUR"),
    ):
        result = run("book", "attribution", *given, *database)
        assert (result.exit_code, result.stdout) == (1, "")
        assert words in result.stderr
