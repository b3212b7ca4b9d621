"""The operator's commands, without a network."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from live.order_desk import SWITCH
from tests.command_line import FakeEngine, answer, refusal, run, served_by

TOKEN = "a-token-of-enough-length"
Engine = Callable[..., FakeEngine]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return lambda *answers: served_by(monkeypatch, FakeEngine(*answers))


@pytest.mark.parametrize(
    "arguments, path, fields",
    [
        (("halt", "--reason", "lunch"), "/halt", {"reason": "lunch"}),
        (("halt",), "/halt", {}),
        (("halt", "--instrument", "gold_mini"), "/halt", {"instrument": "GOLD_MINI"}),
        (("resolve", "pm4-a-e1", "--state", "cancelled"), "/orders/pm4-a-e1/resolve", {"state": "cancelled"}),
        (
            ("resolve", "pm4-a-e1", "--state", "filled", "--lots", "2", "--price", "58412.5"),
            "/orders/pm4-a-e1/resolve",
            {"state": "filled", "lots": "2", "price": "58412.5"},
        ),
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
        (
            ("adopt", "gold_mini", "Long_1", "--lots", "2", "--price", "72000.5"),
            "/reconcile/adopt",
            {"instrument": "GOLD_MINI", "layer": "Long_1", "lots": "2", "price": "72000.5"},
        ),
        (
            (
                "adopt",
                "COPPER",
                "Short_2",
                "--lots",
                "1",
                "--price",
                "8e2",
                "--stop",
                "850",
                "--atr",
                "9",
                "--symbol",
                "X",
            ),
            "/reconcile/adopt",
            {"instrument": "COPPER", "layer": "Short_2", "lots": "1", "price": "800", "stop": "850", "atr": "9"}
            | {"symbol": "X"},
        ),
        (("write-off", "p/1", "--price", "71800"), "/reconcile/write-off", {"position_id": "p/1", "price": "71800"}),
        (
            ("write-off", "p", "--price", "1", "--lots", "1", "--reason", "sold by hand"),
            "/reconcile/write-off",
            {"position_id": "p", "price": "1", "lots": "1", "reason": "sold by hand"},
        ),
        (("ignore", "gold_mini", "100"), "/reconcile/ignore", {"instrument": "GOLD_MINI", "difference": "100"}),
        (("ignore", "COPPER", "-250.5"), "/reconcile/ignore", {"instrument": "COPPER", "difference": "-250.5"}),
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
    fake = engine(httpx.ReadTimeout)
    result = run("close", "p", "--token", TOKEN)
    (request_id,) = {body["request_id"] for body in fake.bodies}
    assert result.exit_code == 1
    assert len(fake.requests) > 1
    assert f"--request-id {request_id}" in result.stderr


def test_a_halt_that_is_not_done_says_so_soon_and_what_to_do_instead(engine: Engine, tmp_path: Path) -> None:
    fake = engine(refusal(503, "unknown, send again"))
    result = run("halt", "--token", TOKEN, "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert f"make the file {tmp_path / 'broker' / SWITCH}" in result.stderr
    for part in ("entries are not halted", "stop the process of `live`", "exits neither", "--request-id"):
        assert part in result.stderr
    assert all(request.extensions["timeout"]["read"] <= 6 for request in fake.requests)
    assert "broker" not in run("capital", "5", "--token", TOKEN).stderr


def test_where_nothing_listens_nothing_was_done_and_it_is_said(engine: Engine) -> None:
    engine(httpx.ConnectError)
    result = run("close", "p", "--token", TOKEN)
    assert result.exit_code == 1
    assert "nothing was done" in result.stderr
    assert "--request-id" not in result.stderr


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
    "arguments",
    [
        ("close", "all"),
        ("capital", "0"),
        ("capital", "x"),
        ("close", "p", "--price", "0"),
        ("adopt", "COPPER", "Long_1", "--lots", "1"),
        ("adopt", "COPPER", "Long_1", "--lots", "0", "--price", "1"),
        ("adopt", "COPPER", "Long_1", "--lots", "1", "--price", "1", "--stop", "0"),
        ("write-off", "p"),
        ("write-off", "p", "--price", "-1"),
        ("ignore", "COPPER"),
        ("ignore", "COPPER", "all"),
        ("ignore", "COPPER", "1e12"),
        ("ignore", "COPPER", "0.000000001"),
    ],
)
def test_wrong_usage_of_the_operators_commands_sends_nothing(arguments: tuple[str, ...], engine: Engine) -> None:
    fake = engine()
    assert (run(*arguments, "--token", TOKEN).exit_code, fake.requests) == (2, [])


def test_a_resolution_needs_lots_and_price_together(engine: Engine) -> None:
    fake = engine()
    result = run("resolve", "pm4-a-e1", "--state", "filled", "--lots", "2", "--token", TOKEN)
    assert (result.exit_code, fake.bodies) == (2, [])


def test_what_stays_frozen_is_told(engine: Engine) -> None:
    engine(answer(sizing={"frozen_reason": "quantity differs: X"}))
    result = run("write-off", "p", "--price", "1", "--token", TOKEN)
    assert result.exit_code == 0
    assert "stay frozen until `resume --instrument`: quantity differs: X" in result.stderr


@pytest.mark.parametrize("status,said", [("handed_over", "handed over"), ("follower", "does not lead")])
def test_handover_says_who_follows_now(engine: Engine, status: str, said: str) -> None:
    asked = engine(answer(status=status))
    result = run("handover", "--token", TOKEN)
    assert (result.exit_code, [request.url.path for request in asked.requests]) == (0, ["/handover"])
    assert said in result.stdout
    assert run("handover", "--token", TOKEN, "--json").exit_code == 0


def test_handover_without_another_instance_fails_with_the_reason(engine: Engine) -> None:
    engine(refusal(409, "there is no other instance that follows and could lead"))
    result = run("handover", "--token", TOKEN)
    assert result.exit_code == 1
    assert "no other instance" in result.stderr
