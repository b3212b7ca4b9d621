"""The command line, without a database and without a network."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner, Result

import live.client
from core.errors import DatabaseAway, LockHeld, PoolExhausted, PortfolioError, UnsafeServer
from live.cli import main
from live.cli import output as out
from live.cli.errors import sentence_of
from live.cli.options import Money, Price
from live.options import LiveOptions

ROOT = Path(__file__).parents[2]
COMMANDS = main.list_commands(click.Context(main))
TOKEN = "a-token-of-enough-length"
BASE = (
    '{"type":"BASE_ENTRY","instrument":"GOLD_MINI","position":"Long_1","price":72000.50,"stop":71500,"lots":3,'
    '"atr":500,"er":0.75,"timestamp":"2026-01-14T06:15:00Z"}'
)
PYRAMID = BASE.replace("BASE_ENTRY", "PYRAMID").replace("Long_1", "Long_2")
EXIT = '{"type":"EXIT","instrument":"GOLD_MINI","position":"ALL","price":1,"timestamp":"2026-01-14T06:15:00Z"}'
BAD = BASE.replace('"stop"', '"stopp"')

Engine = Callable[..., "FakeEngine"]


class FakeEngine:
    """A running engine: answers each path as told, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | type[httpx.TransportError]) -> None:
        self._answers = list(answers) or [httpx.Response(200, json={"status": "executed", "journal_seq": 7})]
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, content=answer.content)
        raise answer("", request=request)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


def answer(status: str = "executed", **fields: Any) -> httpx.Response:
    return httpx.Response(200, json={"status": status, "journal_seq": 7, **fields})


def refusal(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": "malformed", "message": message, "field": "price"}})


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTFOLIO_OPERATOR_TOKEN", raising=False)
    monkeypatch.delenv("PORTFOLIO_WEBHOOK_SECRET", raising=False)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    def made(*answers: httpx.Response | type[httpx.TransportError]) -> FakeEngine:
        fake = FakeEngine(*answers)
        client = partial(live.client.EngineClient, transport=httpx.MockTransport(fake), pause=lambda _: None)
        monkeypatch.setattr(live.client, "EngineClient", client)
        return fake

    return made


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=given, prog_name="portfolio_manager.py")


# --- the group


def test_the_help_of_the_program_lists_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"python portfolio_manager.py {name}" in result.stdout


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "live"])
def test_every_command_that_prints_can_print_json(name: str) -> None:
    assert "--json" in run(name, "--help").stdout


def test_help_starts_without_the_heavy_packages() -> None:
    code = (
        "import sys; from live.cli import main\n"
        "for arguments in (['--help'], *([name, '--help'] for name in main.list_commands(None))):\n"
        "    main(arguments, standalone_mode=False)\n"
        "heavy = {'flask', 'alembic', 'httpx', 'rich', 'psycopg2', 'pydantic', 'structlog'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


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


def test_an_unknown_command_is_wrong_usage() -> None:
    assert run("lve").exit_code == 2


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
    assert run("live", *arguments).exit_code == 0
    assert started == [
        LiveOptions(
            host="::1",
            port=0,
            data_dir=tmp_path,
            db_config=file,
            db_env="production",
            portfolio="alpha",
            config=file,
            broker="paper",
            capital=Decimal("1000.25"),
        )
    ]


def test_the_exit_code_of_live_is_the_engines(started: list[LiveOptions]) -> None:
    assert run("live", "--port", "1").exit_code == 1


@pytest.mark.parametrize("capital", ["0", "-5", "1.00001", "NaN", "Infinity", "1e16", "a lot", "1,5", "0." + "0" * 70])
def test_a_capital_that_cannot_be_is_wrong_usage(capital: str, started: list[LiveOptions]) -> None:
    assert run("live", "--capital", capital).exit_code == 2
    assert started == []


@pytest.mark.parametrize("arguments", [("--port", "65536"), ("--broker", "real"), ("--capital",)])
def test_wrong_options_of_live_are_wrong_usage(arguments: tuple[str, ...], started: list[LiveOptions]) -> None:
    assert run("live", *arguments).exit_code == 2
    assert started == []


def test_amounts_are_read_exactly() -> None:
    assert Money(positive=True).convert("9999999999999999.9999", None, None) == Decimal("9999999999999999.9999")
    assert Money(positive=False).convert("-1_000", None, None) == -1000
    assert Price().convert("0.00000001", None, None) == Decimal("0.00000001")
    assert Price().convert(Decimal(5), None, None) == 5


# --- the operator's commands


@pytest.mark.parametrize(
    "arguments, path, fields",
    [
        (("halt", "--reason", "lunch"), "/halt", {"reason": "lunch"}),
        (("halt",), "/halt", {}),
        (("resume",), "/resume", {}),
        (("resume", "--instrument", "gold_mini"), "/resume", {"instrument": "GOLD_MINI"}),
        (("capital", "250000.5", "--note", "January"), "/capital", {"amount": "250000.5", "note": "January"}),
        (("capital", "-100000"), "/capital", {"amount": "-100000"}),
        (("capital", "1e3"), "/capital", {"amount": "1000"}),
        (("close", "GOLD_MINI-Long_1-abc"), "/positions/GOLD_MINI-Long_1-abc/close", {}),
        (
            ("close", "p/1", "--price", "72000.5", "--reason", "news"),
            "/positions/p%2F1/close",
            {"price": "72000.5", "reason": "news"},
        ),
        (("close-all", "--yes"), "/positions/ALL/close", {}),
    ],
)
def test_a_command_posts_its_fields_with_a_fresh_request_id(
    arguments: tuple[str, ...], path: str, fields: dict[str, str], engine: Engine
) -> None:
    fake = engine()
    for _ in range(2):
        result = run(*arguments, "--token", TOKEN)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "done (journal entry 7)" in result.stdout
    first, second = fake.bodies
    assert first.pop("request_id") != second.pop("request_id")
    assert first == second == fields
    assert fake.requests[0].url.raw_path.decode() == f"{path}?portfolio=main"
    assert fake.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_repeat_carries_the_request_id_it_is_given(engine: Engine) -> None:
    fake = engine(answer("duplicate", first={"status": "executed"}, differs=False))
    result = run("halt", "--token", TOKEN, "--request-id", "r-1", "--portfolio", "alpha")
    assert (result.exit_code, fake.bodies) == (0, [{"request_id": "r-1"}])
    assert "nothing changed now" in result.stderr
    assert fake.requests[0].url.params["portfolio"] == "alpha"


def test_what_was_closed_is_told(engine: Engine) -> None:
    engine(answer(positions=["a", "b"], lots=3))
    assert "closed 3 lots: a, b" in run("close-all", "--yes", "--token", TOKEN).stdout


@pytest.mark.parametrize(
    "told, part",
    [
        (answer("rejected", reason="no open position"), "rejected: no open position"),
        (answer("failed"), "no reason given"),
        (answer("duplicate", first={"status": "rejected", "reason": "no open position"}), "no open position"),
        (answer("duplicate", first={"status": "executed"}, differs=True), "belongs to another command"),
        (refusal(404, "there is no position `p`"), "there is no position"),
        (refusal(401, "the operator's token is required"), "does not take the token of --token"),
    ],
)
def test_a_command_that_is_not_carried_out_exits_1_with_a_sentence(
    told: httpx.Response, part: str, engine: Engine
) -> None:
    engine(told)
    result = run("close", "p", "--token", TOKEN)
    assert (result.exit_code, result.stdout) == (1, "")
    assert part in result.stderr


def test_json_of_a_command_is_its_answer_with_the_request_id(engine: Engine) -> None:
    engine(answer("rejected", reason="no open position"))
    result = run("close", "p", "--token", TOKEN, "--request-id", "r-1", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "status": "rejected",
        "journal_seq": 7,
        "reason": "no open position",
        "http_status": 200,
        "request_id": "r-1",
    }


def test_json_of_a_command_is_all_that_stdout_holds(engine: Engine) -> None:
    engine()
    assert json.loads(run("halt", "--token", TOKEN, "--json").stdout)["status"] == "executed"


def test_with_the_engine_away_the_same_request_is_tried_and_its_id_told(engine: Engine) -> None:
    fake = engine(httpx.ConnectError)
    result = run("close", "p", "--token", TOKEN)
    (request_id,) = {body["request_id"] for body in fake.bodies}
    assert result.exit_code == 1
    assert len(fake.requests) > 1
    assert f"--request-id {request_id}" in result.stderr


def test_the_token_comes_from_the_option_then_the_environment_then_the_file(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = engine()
    file = tmp_path / "operator.token"
    file.write_text("token-of-the-data-dir\n")
    file.chmod(0o600)
    assert run("halt", "--data-dir", str(tmp_path)).exit_code == 0
    monkeypatch.setenv("PORTFOLIO_OPERATOR_TOKEN", "token-of-the-environment")
    assert run("halt", "--data-dir", str(tmp_path)).exit_code == 0
    assert run("halt", "--data-dir", str(tmp_path), "--token", TOKEN).exit_code == 0
    tokens = [request.headers["Authorization"].removeprefix("Bearer ") for request in fake.requests]
    assert tokens == ["token-of-the-data-dir", "token-of-the-environment", TOKEN]


def test_without_a_token_the_places_are_named_and_none_is_made(engine: Engine, tmp_path: Path) -> None:
    fake = engine()
    result = run("halt", "--data-dir", str(tmp_path))
    assert (result.exit_code, fake.requests) == (1, [])
    for place in ("--token", "PORTFOLIO_OPERATOR_TOKEN", str(tmp_path / "operator.token")):
        assert place in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_close_all_asks_first(engine: Engine) -> None:
    fake = engine()
    result = run("close-all", "--token", TOKEN, given="n\n")
    assert (result.exit_code, fake.requests) == (1, [])
    assert "portfolio main" in result.stderr
    assert run("close-all", "--token", TOKEN, given="").exit_code == 1
    assert fake.requests == []
    assert run("close-all", "--token", TOKEN, given="y\n").exit_code == 0
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    "arguments", [("close", "all"), ("capital", "0"), ("capital", "x"), ("close", "p", "--price", "0")]
)
def test_wrong_usage_of_the_operators_commands_sends_nothing(arguments: tuple[str, ...], engine: Engine) -> None:
    fake = engine()
    assert (run(*arguments, "--token", TOKEN).exit_code, fake.requests) == (2, [])


# --- send


@pytest.mark.parametrize(
    "content, line",
    [
        (BASE, 1),
        (f"\ufeff\n  {BASE}\n", 2),
        (json.dumps(json.loads(BASE), indent=2), 1),
        (f"{BASE}\r\n\r\n", 1),
        (f"[\n\n{BASE}\n]", 3),
    ],
)
def test_one_alert_is_sent_as_it_is_however_the_file_is_written(content: str, line: int, engine: Engine) -> None:
    fake = engine(answer(lots=2))
    result = run("send", "-", "--json", given=content.encode())
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["line"] == line
    assert fake.requests[0].content.decode() in content
    assert fake.bodies == [json.loads(BASE)]
    assert fake.requests[0].url.path == "/webhook/main"


@pytest.mark.parametrize("content", [f"[{PYRAMID} , {BASE},\n{EXIT}]", f"{PYRAMID}\n{BASE}\n\n{EXIT}"])
def test_signals_go_out_in_the_order_they_are_decided_in_with_their_own_bytes(content: str, engine: Engine) -> None:
    fake = engine()
    result = run("send", "-", given=content)
    assert result.exit_code == 0
    assert [request.content.decode() for request in fake.requests] == [EXIT, BASE, PYRAMID]
    words = result.stdout.split()
    assert words.index("EXIT") < words.index("BASE_ENTRY") < words.index("PYRAMID")
    assert words[-2:] == ["executed", "3"]


def test_a_decided_refusal_is_an_answer(engine: Engine) -> None:
    engine(answer("blocked", reason="halted"), answer("duplicate", first={"status": "rejected"}, differs=True))
    result = run("send", "-", given=f"{BASE}\n{PYRAMID}")
    assert result.exit_code == 0
    assert "blocked  halted" in result.stdout
    assert "duplicate  (first: rejected)  (with another body)" in result.stdout


def test_the_answer_is_told_in_a_line(engine: Engine) -> None:
    engine(answer(lots=2, limiter="volatility", position_id="GOLD_MINI-Long_1-abc", warnings=["comment"]))
    line, *_ = run("send", "-", given=BASE).stdout.splitlines()
    assert (
        line.split()
        == (
            "2026-01-14T06:15:00Z BASE_ENTRY GOLD_MINI Long_1 executed 2 lots volatility GOLD_MINI-Long_1-abc "
            "(unknown fields: comment)"
        ).split()
    )


def test_a_bad_line_is_named_before_anything_is_sent(engine: Engine) -> None:
    fake = engine()
    result = run("send", "-", given=f"{BASE}\n{BAD}\nnot json\n")
    assert (result.exit_code, result.stdout, fake.requests) == (1, "", [])
    assert "line 2: `stop` is required; did you mean it by `stopp`?" in result.stderr
    assert "line 3: the body is not JSON" in result.stderr
    assert "nothing was sent" in result.stderr


def test_with_keep_going_bad_lines_are_skipped_and_the_exit_code_says_so(engine: Engine) -> None:
    fake = engine()
    result = run("send", "-", "--keep-going", "--json", given=f"{BAD}\n{BASE}")
    first, second = map(json.loads, result.stdout.splitlines())
    assert (result.exit_code, len(fake.requests)) == (1, 1)
    assert (first["line"], first["status"], second["line"], second["status"]) == (1, "not taken", 2, "executed")


@pytest.mark.parametrize("content", [b"\xff\xfe" + BASE.encode(), b"[" * 100_000, b'{"type": 1} {"type": 2}', b"[3]"])
def test_what_is_no_alert_is_told_without_a_traceback(content: bytes, engine: Engine) -> None:
    fake = engine()
    result = run("send", "-", given=content)
    assert (result.exit_code, fake.requests) == (1, [])
    assert result.stderr.startswith("Error: line 1: ")


def test_an_empty_file_is_told(engine: Engine) -> None:
    for content in ("", " \n", "[]"):
        result = run("send", "-", given=content)
        assert result.exit_code == 1
        assert "holds no alert" in result.stderr


def test_an_alert_of_another_portfolio_is_not_sent(engine: Engine) -> None:
    fake = engine()
    content = BASE.replace("{", '{"portfolio":"alpha",')
    assert "give --portfolio alpha" in run("send", "-", given=content).stderr
    assert fake.requests == []
    assert run("send", "-", "--portfolio", "alpha", given=content).exit_code == 0
    assert fake.requests[0].url.path == "/webhook/alpha"


@pytest.mark.parametrize("secret", ['"secret":null,', '"secret":"",', ""])
def test_an_alert_without_a_secret_is_given_one_and_keeps_its_figures(
    secret: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = engine()
    monkeypatch.setenv("PORTFOLIO_WEBHOOK_SECRET", "of the environment")
    content = BASE.replace("{", "{" + secret)
    assert run("send", "-", given=content).exit_code == 0
    assert run("send", "-", "--secret", "hush hush", given=content).exit_code == 0
    assert [body["secret"] for body in fake.bodies] == ["of the environment", "hush hush"]
    assert b'"price":72000.50' in fake.requests[0].content
    assert fake.bodies[0] == {**json.loads(BASE), "secret": "of the environment"}


def test_a_secret_of_its_own_is_left_and_never_printed(engine: Engine) -> None:
    fake = engine()
    content = BASE.replace("{", '{"secret":"its own one",')
    result = run("send", "-", "--secret", "hush hush", "--json", given=content)
    assert fake.bodies[0]["secret"] == "its own one"
    assert "its own" not in result.output
    assert "hush" not in result.output


@pytest.mark.parametrize(
    "trouble, part",
    [(refusal(401, "`secret` is required"), "`secret` is required"), (httpx.ConnectError, "nothing listens there")],
)
def test_a_signal_that_is_not_taken_ends_the_run(
    trouble: httpx.Response | type[httpx.TransportError], part: str, engine: Engine
) -> None:
    engine(trouble)
    result = run("send", "-", given=f"{EXIT}\n{BASE}\n{PYRAMID}")
    assert result.exit_code == 1
    assert f"not taken: {part}" in result.stdout.replace("no answer from http://127.0.0.1:5000: ", "")
    assert "BASE_ENTRY" not in result.stdout
    assert "2 more not sent" in result.stderr


def test_with_keep_going_the_next_signals_are_sent_all_the_same(engine: Engine) -> None:
    fake = engine(refusal(400, "`price` must be above 0"), answer())
    result = run("send", "-", "--keep-going", "--json", given=f"{EXIT}\n{BASE}")
    first, second = map(json.loads, result.stdout.splitlines())
    assert (result.exit_code, len(fake.requests)) == (1, 2)
    assert first["status"] == "not taken"
    assert first["http_status"] == 400
    assert first["error"] == {"code": "malformed", "message": "`price` must be above 0", "field": "price"}
    assert second["status"] == "executed"


def test_a_busy_engine_is_asked_again_with_the_same_body(engine: Engine) -> None:
    fake = engine(refusal(503, "unknown, send again"), httpx.ReadTimeout, answer())
    assert run("send", "-", given=BASE).exit_code == 0
    assert [request.content.decode() for request in fake.requests] == [BASE] * 3


def test_an_instrument_of_the_configuration_is_known(engine: Engine, tmp_path: Path) -> None:
    engine()
    content = BASE.replace("GOLD_MINI", "TIN")
    assert "TIN is not configured" in run("send", "-", given=content).stderr
    file = tmp_path / "config.json"
    file.write_text('{"instruments": {"TIN": {"lot_size": "1", "point_value": "1", "margin_per_lot": "10"}}}')
    assert run("send", "-", "--config", str(file), given=content).exit_code == 0


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
        "g": LiveOptions,
    }
    assert out.jsonable(value) == {
        "a": "5000000",
        "b": "0",
        "c": "1.5",
        "d": "2026-01-14T06:15:00Z",
        "e": "2026-01-14",
        "f": [1, None, True],
        "g": LiveOptions,
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


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    out.print_table([out.Column("a", str)], [], none="nothing yet")
    assert capsys.readouterr().out == "nothing yet\n"
    out.print_facts({})
    assert capsys.readouterr().out == ""
