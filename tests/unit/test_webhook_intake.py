"""POST /webhook for senders of other shapes, and for secrets in other places than the body."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from core.profiles import profile_named
from live.answers import Answer, AnswerKind
from live.short_cut import Posted
from live.webhook_secrets import Credential, WebhookSecrets
from tests.builders import NOON
from tests.fake_engine import BASE_ENTRY, FakeEngine, an_app, decided, error_of

SECRET = "correct-horse-battery"
TRADINGVIEW = profile_named("tradingview", {})
LONG = {
    "ticker": "BANK_NIFTY",
    "action": "buy",
    "market_position": "long",
    "prev_market_position": "flat",
    "position_size": 2,
    "price": 52000,
    "stop": 51650,
    "atr": 350,
    "time": "2026-01-14T06:15:00Z",
}
FLIP = {**LONG, "prev_market_position": "short"}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> FlaskClient:
    return an_app(engine, intake=TRADINGVIEW).test_client()


def body(alert: dict[str, Any]) -> bytes:
    return json.dumps(alert).encode()


def protected(*places: Any) -> WebhookSecrets:
    return WebhookSecrets(clock=lambda: NOON, current=SECRET, places=places)


# --- shapes -------------------------------------------------------------------------------------------------------


def test_an_alert_of_another_shape_is_answered_as_one_of_ours(client: FlaskClient, engine: FakeEngine) -> None:
    answer = client.post("/webhook", data=body({**LONG, "note": "x"})).get_json()
    assert (answer["status"], answer["warnings"], answer["signal_id"]) == ("executed", ["note"], 7)
    ((signal, payload),) = engine.signals
    assert (signal.type, signal.layer, payload["type"]) == ("BASE_ENTRY", "Long_1", "BASE_ENTRY")
    assert payload["original"]["ticker"] == "BANK_NIFTY"


def test_ours_are_taken_beside_the_others(client: FlaskClient, engine: FakeEngine) -> None:
    assert client.post("/webhook", data=body(BASE_ENTRY)).status_code == 200
    assert "original" not in engine.signals[0][1]


def test_the_two_signals_of_a_flip_are_decided_in_order_and_answered_together(
    client: FlaskClient, engine: FakeEngine
) -> None:
    engine.answers = lambda: decided(status="executed" if len(engine.signals) == 1 else "blocked", reason="halted")
    with capture_logs() as logs:
        response = client.post("/webhook", data=body(FLIP))
    answer = response.get_json()
    assert (response.status_code, answer["status"]) == (200, "blocked")
    assert [told["status"] for told in answer["signals"]] == ["executed", "blocked"]
    assert [signal.type.value for signal, _ in engine.signals] == ["EXIT", "BASE_ENTRY"]
    assert len({told["fingerprint"] for told in answer["signals"]}) == 2
    assert [line["type"] for line in logs if line["event"] == "signal"] == ["EXIT", "BASE_ENTRY"]


def test_a_flip_of_which_one_is_queued_is_a_202(client: FlaskClient, engine: FakeEngine) -> None:
    engine.answers = lambda: Answer(kind=AnswerKind.QUEUED) if len(engine.signals) == 2 else decided()
    response = client.post("/webhook", data=body(FLIP))
    assert response.status_code == 202
    assert [told["status"] for told in response.get_json()["signals"]] == ["executed", "queued"]


def test_an_entry_is_not_decided_before_the_exit_of_its_flip_is_kept(client: FlaskClient, engine: FakeEngine) -> None:
    engine.answers = lambda: Answer(kind=AnswerKind.NOT_TAKEN, message="full")
    assert client.post("/webhook", data=body(FLIP)).status_code == 503
    assert [signal.type.value for signal, _ in engine.signals] == ["EXIT"]


def test_refusals_name_the_senders_field_and_hold_no_secret(client: FlaskClient, engine: FakeEngine) -> None:
    with capture_logs() as logs:
        response = client.post("/webhook", data=body({**LONG, "ticker": "NOTHING", "secret": SECRET}))
    assert response.status_code == 400
    assert (error_of(response)["code"], error_of(response)["field"]) == ("unknown_instrument", "ticker")
    assert SECRET not in response.text + repr(logs)
    assert engine.signals == []


def test_the_secret_is_asked_for_by_the_senders_name(engine: FakeEngine) -> None:
    app = an_app(engine, intake=profile_named("openalgo", {}), secrets=protected("body"))
    shape = {**LONG, "symbol": "BANK_NIFTY", "quantity": 2}
    assert error_of(app.test_client().post("/webhook", data=body(shape)))["field"] == "apikey"
    assert app.test_client().post("/webhook", data=body({**shape, "apikey": SECRET})).status_code == 200
    assert SECRET not in repr(engine.signals)


def begun(engine: FakeEngine, alert: dict[str, Any], path: str = "/webhook", **options: Any) -> Any:
    headers = {} if "headers" not in options else options.pop("headers")
    posted = Posted(path=path, query="", headers=headers, peer="127.0.0.1", read_body=lambda: body(alert))
    return an_app(engine, intake=TRADINGVIEW, **options).webhook.begin(posted, lambda: None)


def test_one_signal_of_another_shape_takes_the_short_cut_and_two_do_not() -> None:
    engine = FakeEngine(begins=True)
    assert begun(engine, LONG).alert.signal.layer == "Long_1"
    assert begun(engine, FLIP) is None
    assert len(engine.begun) == 1


# --- places of the secret -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"/webhook/main/{SECRET}", f"/webhook/MAIN/{SECRET}"])
def test_the_secret_in_the_address_lets_an_alert_in(engine: FakeEngine, path: str) -> None:
    client = an_app(engine, secrets=protected("path")).test_client()
    assert client.post(path, data=body(BASE_ENTRY)).status_code == 200
    engine = FakeEngine(begins=True)
    assert begun(engine, BASE_ENTRY, path, secrets=protected("path")) is not None


def test_a_sender_from_elsewhere_needs_no_operators_token(engine: FakeEngine) -> None:
    client = an_app(engine, secrets=protected("path")).test_client()
    elsewhere = {"REMOTE_ADDR": "52.89.214.238"}
    response = client.post(f"/webhook/main/{SECRET}", data=body(BASE_ENTRY), environ_overrides=elsewhere)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "path, status",
    [
        ("/webhook/main/wrong", 401),
        ("/webhook/main", 401),
        ("/webhook", 401),
        (f"/webhook/{SECRET}", 404),
        (f"/webhook/other/{SECRET}", 404),
        (f"/webhook/main/{SECRET}/", 404),
        (f"/webhook/main/{SECRET}/more", 404),
        (f"/webhook//{SECRET}", 404),
    ],
)
def test_an_address_with_anything_else_does_not(engine: FakeEngine, path: str, status: int) -> None:
    client = an_app(engine, secrets=protected("path")).test_client()
    with capture_logs() as logs:
        response = client.post(path, data=body({**BASE_ENTRY, "secret": SECRET}))
    if path == f"/webhook/{SECRET}":  # without the secret where it belongs it is a portfolio's name
        assert response.status_code in (401, 404)
    else:
        assert response.status_code == status
    assert SECRET not in response.text + repr(logs)
    assert engine.signals == []
    assert begun(FakeEngine(begins=True), BASE_ENTRY, path, secrets=protected("path")) is None


def test_without_a_configured_secret_one_in_the_address_is_as_good_as_none(engine: FakeEngine) -> None:
    assert an_app(engine).test_client().post("/webhook/main/anything", data=body(BASE_ENTRY)).status_code == 200


def test_a_signed_request_is_taken_on_either_way(engine: FakeEngine) -> None:
    content = body(BASE_ENTRY)
    headers = Credential.of(SECRET, ["signature"], lambda: NOON).headers(content)
    client = an_app(engine, secrets=protected("signature")).test_client()
    assert client.post("/webhook", data=content, headers=headers).status_code == 200
    assert client.post("/webhook", data=content + b" ", headers=headers).status_code == 401
    assert error_of(client.post("/webhook", data=content))["message"] == "`X-Signature` is required"
    wsgi = {name.upper().replace("-", "_"): value for name, value in headers.items()}
    assert begun(FakeEngine(begins=True), BASE_ENTRY, headers=wsgi, secrets=protected("signature")) is not None


def test_nothing_of_a_body_is_told_to_who_does_not_show_the_secret_before_it(engine: FakeEngine) -> None:
    client = an_app(engine, secrets=protected("path")).test_client()
    response = client.post("/webhook/main/wrong", data=body({"type": "nonsense"}))
    assert (response.status_code, error_of(response)["code"]) == (401, "unauthorized")


def test_a_failure_is_logged_without_what_is_below_the_webhooks_address(engine: FakeEngine) -> None:
    def fails() -> Answer:
        raise RuntimeError("a fault of ours")

    engine.answers = fails
    client = an_app(engine, secrets=protected("path")).test_client()
    with capture_logs() as logs:
        assert client.post(f"/webhook/main/{SECRET}", data=body(BASE_ENTRY)).status_code == 503
    (line,) = [line for line in logs if line["event"] == "request failed"]
    assert line["path"] == "/webhook/***"
    assert SECRET not in repr(logs)
