"""`send`, without a database and without a network."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from live.webhook_secrets import signature_of
from tests.command_line import FakeEngine, answer, refusal, run, served_by

BASE = (
    '{"type":"BASE_ENTRY","instrument":"GOLD_MINI","position":"Long_1","price":72000.50,"stop":71500,"lots":3,'
    '"atr":500,"er":0.75,"timestamp":"2026-01-14T06:15:00Z"}'
)
PYRAMID = BASE.replace("BASE_ENTRY", "PYRAMID").replace("Long_1", "Long_2")
EXIT = '{"type":"EXIT","instrument":"GOLD_MINI","position":"ALL","price":1,"timestamp":"2026-01-14T06:15:00Z"}'
BAD = BASE.replace('"stop"', '"stopp"')
Engine = Callable[..., FakeEngine]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return lambda *answers: served_by(monkeypatch, FakeEngine(*answers))


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
    assert line.split() == [
        "2026-01-14T06:15:00Z",
        "BASE_ENTRY",
        "GOLD_MINI",
        "Long_1",
        "executed",
        "2",
        "lots",
        "volatility",
        "GOLD_MINI-Long_1-abc",
        "(unknown",
        "fields:",
        "comment)",
    ]


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
    [
        (refusal(401, "`secret` is required"), "`secret` is required"),
        (httpx.ConnectError, "nothing was done: nothing listens at"),
    ],
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


# --- alerts of other shapes, and secrets in other places

FLIP = (
    '{"ticker":"GOLD_MINI","action":"buy","market_position":"long","prev_market_position":"short","position_size":2,'
    '"price":72000,"stop":71500,"atr":500,"time":"2026-01-14T06:15:00Z"}'
)


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., str]:
    def made(**settings: object) -> str:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(settings))
        return str(file)

    return made


def test_both_signals_of_an_alert_are_told(engine: Engine, configured: Callable[..., str]) -> None:
    both = [{"status": "executed", "lots": 2}, {"status": "blocked", "reason": "halted"}]
    fake = engine(answer("blocked", signals=both))
    config = configured(intake={"profile": "tradingview"})
    result = run("send", "-", "--config", config, "--json", given=FLIP)
    first, second = map(json.loads, result.stdout.splitlines())
    assert [(line["type"], line["status"], line["http_status"]) for line in (first, second)] == [
        ("EXIT", "executed", 200),
        ("BASE_ENTRY", "blocked", 200),
    ]
    assert first["fingerprint"] != second["fingerprint"]
    assert [request.content.decode() for request in fake.requests] == [FLIP]


def test_without_the_profile_such_an_alert_is_bad(engine: Engine) -> None:
    assert "`type` is required" in run("send", "-", given=FLIP).stderr


def test_an_alert_of_another_shape_that_is_not_taken_is_told_once(
    engine: Engine, configured: Callable[..., str]
) -> None:
    engine(refusal(401, "`secret` is required"))
    result = run("send", "-", "--config", configured(intake={"profile": "tradingview"}), given=FLIP)
    assert result.exit_code == 1
    assert result.stdout.count("not taken: `secret` is required") == 1


def test_the_secret_is_put_where_the_sender_would_put_it(engine: Engine, configured: Callable[..., str]) -> None:
    fake = engine(answer(signals=[{"status": "executed"}] * 2))
    given = json.dumps({**json.loads(FLIP), "symbol": "GOLD_MINI", "quantity": 4})
    config = configured(intake={"profile": "openalgo"}, webhook_secret="of the file")
    assert run("send", "-", "--config", config, given=given).exit_code == 0
    assert (fake.bodies[0]["apikey"], "secret" in fake.bodies[0]) == ("of the file", False)


def test_the_secret_is_shown_in_the_address_or_signs_the_body(
    engine: Engine, configured: Callable[..., str], tmp_path: Path
) -> None:
    fake, file = engine(), tmp_path / "secret"
    file.write_text("of-the-file\n")
    file.chmod(0o600)
    for places in (["path"], ["signature", "path"]):
        config = configured(webhook_secret_file=str(file), webhook_secret_in=places)
        result = run("send", "-", "--config", config, given=BASE)
        assert result.exit_code == 0
        assert "of-the-file" not in result.output
    in_path, signed = fake.requests
    assert (in_path.url.path, signed.url.path) == ("/webhook/main/of-the-file", "/webhook/main")
    text = f"{signed.headers['X-Timestamp']}.{BASE}".encode()
    assert signed.headers["X-Signature"] == signature_of("of-the-file", text)
    assert fake.bodies == [json.loads(BASE)] * 2
