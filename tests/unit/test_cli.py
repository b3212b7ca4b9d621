"""The command line itself: its group, `live`, its options and what it prints; no database and no network."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import click
import pytest

from core.errors import DatabaseAway, LockHeld, PoolExhausted, PortfolioError, UnsafeServer
from core.orders import OrderState
from live.cli import main, operators, show
from live.cli import output as out
from live.cli.errors import sentence_of
from live.cli.options import Money, Price
from live.operators import Role
from live.options import LiveOptions
from tests.command_line import leaf_commands, run

ROOT = Path(__file__).parents[2]
COMMANDS = leaf_commands()


# --- the group


def test_the_help_of_the_program_lists_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in main.list_commands(click.Context(main)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = run(*name.split(), "--help")
    assert result.exit_code == 0
    assert f"python portfolio_manager.py {name}" in result.stdout


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("live", "completion")])
def test_every_command_that_prints_can_print_json(name: str) -> None:
    assert "--json" in run(*name.split(), "--help").stdout


def test_help_starts_without_the_heavy_packages() -> None:
    code = (
        "import sys; from live.cli import main\n"
        "for arguments in (['--help'], *([name, '--help'] for name in main.list_commands(None))):\n"
        "    main(arguments, standalone_mode=False)\n"
        "heavy = {'flask', 'alembic', 'httpx', 'rich', 'psycopg2', 'pydantic', 'structlog'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_roles_that_can_be_given_are_those_there_are() -> None:
    assert tuple(role.word for role in Role) == operators.ROLES


def test_the_program_runs_as_a_script() -> None:
    done = subprocess.run(
        [sys.executable, "portfolio_manager.py", "status", "--data-dir", "/nonexistent"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "migrate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "given, hint", [("lve", "Did you mean 'live'?"), ("postions", "'positions'"), ("xyzzy", "--help")]
)
def test_an_unknown_command_is_wrong_usage_and_the_nearest_is_named(given: str, hint: str) -> None:
    result = run(given)
    assert result.exit_code == 2
    assert hint in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_one_line_with_a_hint(name: str) -> None:
    command = COMMANDS[name]
    option = next((param.opts[-1] for param in command.params if isinstance(param, click.Option)), "--help")
    for given, hint in ((f"{option}x", f"'{option}'"), ("--xyzzy", "")):
        result = run(*name.split(), given)
        assert (result.exit_code, result.stdout) == (2, "")
        usage, more, empty, error = result.stderr.splitlines()
        assert (usage.partition(":")[0], empty) == ("Usage", "")
        assert f"{name} --help" in more
        assert f"No such option '{given}'" in error
        assert hint in error


@pytest.mark.parametrize("name", ["public", "pg_temp", "Alpha", "a b", ""])
def test_a_portfolio_name_that_cannot_be_is_wrong_usage(name: str) -> None:
    result = run("status", "--portfolio", name)
    assert result.exit_code == 2
    assert "a letter, then up to 29" in result.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:5000", "ftp://host", "http://", "http://host:99999", "http://[::1"])
def test_a_url_that_cannot_be_is_wrong_usage(url: str) -> None:
    result = run("halt", "--url", url)
    assert result.exit_code == 2
    assert "http://127.0.0.1:5000" in result.stderr


def test_a_file_that_is_not_there_is_wrong_usage() -> None:
    assert run("status", "--db-config", "/nonexistent").exit_code == 2
    assert run("send", "/nonexistent").exit_code == 2


@pytest.mark.parametrize(
    "error, part",
    [
        (DatabaseAway("connection to server failed.\n\tIs it running?"), "Check that the server runs"),
        (PoolExhausted(), "try again"),
        (UnsafeServer("fsync = off: turn it on"), "turn it on"),
        (LockHeld("held by live"), "held by live"),
    ],
)
def test_an_expected_error_is_one_line(error: PortfolioError, part: str) -> None:
    assert part in sentence_of(error)
    assert "\n" not in sentence_of(error)


# --- live


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[LiveOptions]:
    given: list[LiveOptions] = []

    def run_live(options: LiveOptions) -> int:
        given.append(options)
        return 1 if options.port == 1 else 0

    monkeypatch.setattr("live.bootstrap.run_live", run_live)
    return given


def test_live_runs_with_its_defaults(started: list[LiveOptions]) -> None:
    assert run("live").exit_code == 0
    assert started == [LiveOptions()]


def test_live_passes_on_what_it_was_asked_for(started: list[LiveOptions], tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("{}")
    arguments = ["--host", "::1", "--port", "0", "--data-dir", str(tmp_path), "--db-config", str(file)]
    arguments += ["--db-env", "production", "--portfolio", "alpha", "--config", str(file), "--capital", "1000.25"]
    arguments += ["--log", "json"]
    assert run("live", *arguments).exit_code == 0
    assert started == [
        LiveOptions(
            host="::1",
            port=0,
            data_dir=tmp_path,
            db_config=file,
            db_env="production",
            portfolios=("alpha",),
            config=file,
            broker="paper",
            capital=Decimal("1000.25"),
            log="json",
        )
    ]


def test_the_exit_code_of_live_is_the_engines(started: list[LiveOptions]) -> None:
    assert run("live", "--port", "1").exit_code == 1


@pytest.mark.parametrize("capital", ["0", "-5", "1.00001", "NaN", "Infinity", "1e16", "a lot", "1,5", "0." + "0" * 70])
def test_a_capital_that_cannot_be_is_wrong_usage(capital: str, started: list[LiveOptions]) -> None:
    assert run("live", "--capital", capital).exit_code == 2
    assert started == []


@pytest.mark.parametrize("arguments", [("--port", "65536"), ("--broker", "real"), ("--capital",), ("--log", "xml")])
def test_wrong_options_of_live_are_wrong_usage(arguments: tuple[str, ...], started: list[LiveOptions]) -> None:
    assert run("live", *arguments).exit_code == 2
    assert started == []


def test_amounts_are_read_exactly() -> None:
    assert Money(positive=True).convert("9999999999999999.9999", None, None) == Decimal("9999999999999999.9999")
    assert Money(positive=False).convert("-1_000", None, None) == -1000
    assert Price().convert("0.00000001", None, None) == Decimal("0.00000001")
    assert Price().convert(Decimal(5), None, None) == 5


# --- what is printed


def test_json_has_plain_decimals_and_utc_times() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    value = {
        "a": Decimal("5E+6"),
        "b": Decimal("-0E-8"),
        "c": Decimal("1.50"),
        "d": datetime(2026, 1, 14, 11, 45, tzinfo=india),
        "e": date(2026, 1, 14),
        "f": (1, None, True),
    }
    assert out.jsonable(value) == {
        "a": "5000000",
        "b": "0",
        "c": "1.5",
        "d": "2026-01-14T06:15:00Z",
        "e": "2026-01-14",
        "f": [1, None, True],
    }


def test_numbers_are_shown_with_separators() -> None:
    assert out.money(Decimal("-1234567.5000")) == "-1,234,567.50"
    assert out.money(Decimal("0.1234")) == "0.1234"
    assert out.money(None) == out.number(None) == out.time(None) == out.text(None) == ""
    assert out.number(Decimal("72000.50000000")) == "72,000.5"
    assert out.number(Decimal("1E+3")) == "1,000"
    assert out.number(1200) == "1,200"
    assert out.time(datetime(2026, 1, 14, 6, 15, 1, 5, tzinfo=UTC)) == "2026-01-14T06:15:01Z"


def test_what_others_wrote_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    out.say("before\x1b[2Jafter\r\n")
    column = out.Column("reason", str)
    out.print_table([column], ["[red]\x1b]0;title\x07"], none="none")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]\\x1b]0;title\\x07" in shown


def test_the_states_that_can_be_asked_for_are_those_there_are() -> None:
    assert tuple(OrderState) == show._ORDER_STATES


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    out.print_table([out.Column("a", str)], [], none="nothing yet")
    assert capsys.readouterr().out == "nothing yet\n"
    out.print_facts({})
    assert capsys.readouterr().out == ""
