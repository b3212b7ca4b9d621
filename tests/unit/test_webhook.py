"""POST /webhook: who may send, what is well formed, for which portfolio, and how each outcome is told."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from core.errors import ConfigurationError
from live.answers import Answer, AnswerKind
from tests.fake_engine import BASE_ENTRY, EXECUTED, FakeEngine, an_app, decided, error_of

SECRET = "correct-horse-é"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> FlaskClient:
    return an_app(engine).test_client()


def body_of(**changes: Any) -> bytes:
    return json.dumps(BASE_ENTRY | changes).encode()


def send(client: FlaskClient, body: bytes | None = None, path: str = "/webhook", **options: Any) -> TestResponse:
    return client.post(path, data=body_of() if body is None else body, **options)


# --- what is taken ------------------------------------------------------------------------------------------------


def test_an_executed_signal_is_told_with_all_keys_of_the_contract(client: FlaskClient, engine: FakeEngine) -> None:
    response = send(client)
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    answer = response.get_json()
    assert answer.pop("fingerprint") == json.loads(send(client).data)["fingerprint"]
    assert answer == {
        "status": "executed",
        "signal_id": 7,
        "position_id": "BANK_NIFTY-Long_1-0123456789ab",
        "positions": [],
        "lots": 2,
        "limiter": "volatility",
        "reason": None,
        "sizing": {"lot_r": "3.904762", "lot_v": "2.38", "lot_m": "11.11", "lots": 2},
        "journal_seq": 12,
        "warnings": [],
    }
    signal, payload = engine.signals[0]
    assert (signal.instrument, payload["price"]) == ("BANK_NIFTY", "52000")


@pytest.mark.parametrize("status", ["rejected", "blocked", "failed", "accepted", "proposed"])
def test_a_decided_signal_is_a_200_whatever_was_decided(client: FlaskClient, engine: FakeEngine, status: str) -> None:
    engine.answers = lambda: decided(status=status, reason="stale", lots=None, position_id=None)
    answer = send(client)
    assert answer.status_code == 200
    assert (answer.get_json()["status"], answer.get_json()["reason"]) == (status, "stale")


def test_an_outcome_that_lacks_keys_is_told_with_them_empty(client: FlaskClient, engine: FakeEngine) -> None:
    engine.answers = lambda: Answer(kind=AnswerKind.DECIDED, outcome={"status": "failed", "reason": "poison"})
    answer = send(client).get_json()
    assert (answer["positions"], answer["sizing"], answer["lots"], answer["signal_id"]) == ([], {}, None, None)


@pytest.mark.parametrize("differs", [False, True])
def test_a_duplicate_is_told_with_the_first_outcome(client: FlaskClient, engine: FakeEngine, differs: bool) -> None:
    engine.answers = lambda: Answer(
        kind=AnswerKind.DUPLICATE, outcome=EXECUTED, signal_id=7, journal_seq=12, differs=differs
    )
    response = send(client)
    answer = response.get_json()
    assert response.status_code == 200
    assert (answer["status"], answer["signal_id"], answer["differs"]) == ("duplicate", 7, differs)
    assert (answer["first"]["status"], answer["first"]["lots"]) == ("executed", 2)
    assert answer["first"]["sizing"]["lot_v"] == "2.38"


def test_the_first_outcome_reads_the_same_as_when_it_was_told_first(client: FlaskClient, engine: FakeEngine) -> None:
    first = send(client).get_json()
    engine.answers = lambda: Answer(kind=AnswerKind.DUPLICATE, outcome=EXECUTED)
    again = send(client).get_json()["first"]
    assert again == {key: first[key] for key in again}


def test_unknown_fields_are_named_as_warnings(client: FlaskClient) -> None:
    assert send(client, body_of(comment="x")).get_json()["warnings"] == ["comment"]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
def test_the_body_is_read_whatever_its_content_type_says(client: FlaskClient, content_type: str) -> None:
    assert send(client, content_type=content_type).status_code == 200


def test_a_chunked_body_without_a_length_is_read(client: FlaskClient) -> None:
    environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": None}
    assert send(client, environ_overrides=environ).status_code == 200


# --- what the engine could not keep -------------------------------------------------------------------------------


def test_an_unknown_outcome_is_a_503_that_says_send_again(client: FlaskClient, engine: FakeEngine) -> None:
    engine.answers = lambda: Answer(kind=AnswerKind.UNKNOWN)
    response = send(client)
    assert response.status_code == 503
    assert error_of(response) == {"code": "unknown", "message": "unknown, send again"}


@pytest.mark.parametrize(
    "message, told",
    [
        ("the engine is stopping", "the engine is stopping; send again"),
        ("full, send again", "full, send again"),
        ("", "nothing was kept; send again"),
    ],
)
def test_what_was_not_taken_is_a_503_with_its_reason(
    client: FlaskClient, engine: FakeEngine, message: str, told: str
) -> None:
    engine.answers = lambda: Answer(kind=AnswerKind.NOT_TAKEN, message=message)
    response = send(client)
    assert response.status_code == 503
    assert error_of(response) == {"code": "unavailable", "message": told}


def test_what_is_kept_on_the_disk_is_a_202_with_its_fingerprint(client: FlaskClient, engine: FakeEngine) -> None:
    engine.answers = lambda: Answer(kind=AnswerKind.QUEUED, message="kept on local disk")
    response = send(client)
    assert response.status_code == 202
    body = response.get_json()
    assert (body["status"], body["reason"], body["journal_seq"]) == ("queued", "kept on local disk", None)
    assert len(body["fingerprint"]) == 64


def test_what_the_database_refuses_in_every_form_is_a_503_with_nothing_kept(
    client: FlaskClient, engine: FakeEngine
) -> None:
    engine.answers = lambda: Answer(kind=AnswerKind.UNDECIDABLE, message="refused")
    response = send(client)
    assert (response.status_code, error_of(response)["code"]) == (503, "unavailable")


def test_a_fault_of_ours_is_a_503_logged_with_its_traceback_but_without_the_body(
    client: FlaskClient, engine: FakeEngine
) -> None:
    def break_down() -> Answer:
        raise ZeroDivisionError("boom")

    engine.answers = break_down
    with capture_logs() as logs:
        response = send(client, body_of(reason="the body's own words"))
    assert response.status_code == 503
    assert error_of(response)["code"] == "internal"
    (entry,) = [log for log in logs if log["event"] == "request failed"]
    assert "ZeroDivisionError: boom" in entry["traceback"]
    assert "own words" not in repr(logs)


# --- address, secret, portfolio -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "remote, status",
    [("52.89.214.238", 200), ("10.1.2.3", 200), ("10.2.0.1", 403), ("127.0.0.1", 403), ("", 403), ("fe80::1", 403)],
)
def test_only_allowed_addresses_may_send(engine: FakeEngine, remote: str, status: int) -> None:
    client = an_app(engine, allowed_addresses=("52.89.214.238", "10.1.0.0/16")).test_client()
    response = send(client, environ_overrides={"REMOTE_ADDR": remote})
    assert response.status_code == status
    if status == 403:
        assert error_of(response)["code"] == "forbidden_address"
        assert engine.signals == []


def test_an_address_is_looked_at_before_anything_is_read(engine: FakeEngine) -> None:
    client = an_app(engine, allowed_addresses=("10.0.0.1",)).test_client()
    assert send(client, b"x" * 100_000).status_code == 403


def test_an_allowed_address_that_is_none_is_refused_at_the_start(engine: FakeEngine) -> None:
    with pytest.raises(ConfigurationError, match=r"`allowed_addresses`.*tradingview\.com"):
        an_app(engine, allowed_addresses=("tradingview.com",))


@pytest.mark.parametrize(
    "given_secret, status",
    [(SECRET, 200), (None, 401), ("", 401), ("wrong", 401), (SECRET + "x", 401), (SECRET.upper(), 401)],
)
def test_a_configured_secret_has_to_be_in_the_body(engine: FakeEngine, given_secret: str | None, status: int) -> None:
    client = an_app(engine, webhook_secret=SECRET).test_client()
    with capture_logs() as logs:
        response = send(client, body_of(secret=given_secret))
    assert response.status_code == status
    assert len(engine.signals) == (status == 200)
    if status == 401:
        assert (error_of(response)["code"], error_of(response)["field"]) == ("unauthorized", "secret")
    assert SECRET not in response.text
    assert SECRET not in repr(logs) + repr(engine.signals)


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": SECRET},
        {"timestamp": f"2026-01-14T06:15:00Z ... {'x' * 25}{SECRET}"},
        {"price": SECRET, "secret": 1},
        {"portfolio": SECRET},
        {"type": f"{SECRET}ENTRY"},
        {"instrument": SECRET},
    ],
    ids=["a value", "cut", "another one", "the portfolio", "a part of it", "the instrument"],
)
def test_a_secret_that_a_broken_body_puts_elsewhere_is_not_shown(engine: FakeEngine, changes: dict[str, Any]) -> None:
    client = an_app(engine, webhook_secret=SECRET).test_client()
    with capture_logs() as logs:
        response = send(client, body_of(**{"secret": SECRET, **changes}))
    assert response.status_code in (400, 404)
    assert error_of(response)["message"]
    for start in range(len(SECRET) - 7):
        assert SECRET[start : start + 8] not in response.text + repr(logs)


def test_what_a_broken_body_says_elsewhere_is_shown(engine: FakeEngine) -> None:
    client = an_app(engine, webhook_secret=SECRET).test_client()
    assert "half past six" in error_of(send(client, body_of(secret=SECRET, timestamp="half past six")))["message"]


@pytest.mark.parametrize(
    "changes",
    [{"comment": f"my {SECRET}!"}, {"note": {"deep": [SECRET]}}, {SECRET: 1}, {"reason": SECRET, "comment": SECRET}],
)
def test_a_secret_in_a_field_that_is_kept_is_struck_out_and_the_alert_taken(
    engine: FakeEngine, changes: dict[str, Any]
) -> None:
    client = an_app(engine, webhook_secret=SECRET).test_client()
    with capture_logs() as logs:
        response = send(client, body_of(secret=SECRET, **changes))
    assert response.status_code == 200
    ((signal, payload),) = engine.signals
    assert SECRET not in f"{signal} {payload} {response.get_data(as_text=True)} {logs}"
    assert "***" in str(payload)


def test_a_secret_of_digits_that_a_number_holds_keeps_no_alert_from_being_taken(engine: FakeEngine) -> None:
    client = an_app(engine, webhook_secret="52000000").test_client()
    assert send(client, body_of(secret="52000000", volume=1520000007)).status_code == 200
    assert engine.signals[0][1]["volume"] == 1520000007


def test_without_a_configured_secret_one_in_the_body_is_dropped(client: FlaskClient, engine: FakeEngine) -> None:
    assert send(client, body_of(secret=SECRET)).status_code == 200
    assert "secret" not in engine.signals[0][1]


@pytest.mark.parametrize(
    "path, given_portfolio, status, code",
    [
        ("/webhook", None, 200, None),
        ("/webhook", "main", 200, None),
        ("/webhook", "MAIN", 200, None),
        ("/webhook/main", None, 200, None),
        ("/webhook/Main", "main", 200, None),
        ("/webhook?portfolio=main", None, 200, None),
        ("/webhook", "alpha", 404, "unknown_portfolio"),
        ("/webhook/alpha", None, 404, "unknown_portfolio"),
        ("/webhook/alpha", "alpha", 404, "unknown_portfolio"),
        ("/webhook?portfolio=alpha", None, 404, "unknown_portfolio"),
        ("/webhook/main", "alpha", 400, "malformed"),
        ("/webhook/alpha", "main", 400, "malformed"),
        ("/webhook/main?portfolio=alpha", None, 400, "malformed"),
        ("/webhook/%00", None, 404, "unknown_portfolio"),
        ("/webhook/%ff", None, 404, "unknown_portfolio"),
        ("/webhook/stats", None, 404, "unknown_portfolio"),
    ],
)
def test_a_portfolio_may_be_named_and_has_to_be_the_one_served(
    client: FlaskClient, engine: FakeEngine, path: str, given_portfolio: str | None, status: int, code: str | None
) -> None:
    response = send(client, body_of(portfolio=given_portfolio), path)
    assert response.status_code == status
    assert len(engine.signals) == (status == 200)
    if code:
        assert (error_of(response)["code"], error_of(response)["field"]) == (code, "portfolio")


# --- bad input ----------------------------------------------------------------------------------------------------

BAD_BODIES = [
    (b"", 400, "malformed", None),
    (b"hello", 400, "malformed", None),
    (b"[]", 400, "malformed", None),
    (b"\xff\xfe", 400, "malformed", None),
    (body_of(price="{{close}}"), 400, "malformed", "price"),
    (body_of(price=-1), 400, "malformed", "price"),
    (body_of(price="1e999"), 400, "malformed", "price"),
    (body_of(price=float("nan")), 400, "malformed", "price"),
    (body_of(instrument="BANKNIFTY"), 400, "unknown_instrument", "instrument"),
    (body_of(position="Long_9"), 400, "malformed", "position"),
    (body_of(seq=-1), 400, "malformed", "seq"),
    (body_of(seq="{{plot_3}}"), 400, "malformed", "seq"),
    (body_of(position_size="many"), 400, "malformed", "position_size"),
    (body_of(position_size=-1, market_position="long"), 400, "malformed", "position_size"),
    (body_of(market_position="{{strategy.market_position}}"), 400, "malformed", "market_position"),
    (body_of(market_position="up"), 400, "malformed", "market_position"),
    (body_of(reason="a\0b"), 400, "malformed", "reason"),
    (b'{"price":1,"price":2}', 400, "malformed", "price"),
    (b'{"x":' * 8000, 400, "malformed", None),
    (b"x" * 65537, 413, "too_large", None),
    (b"x" * 1_000_000, 413, "too_large", None),
]


@pytest.mark.parametrize("body, status, code, field", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_bad_input_is_refused_by_field_and_rule_logged_and_reaches_no_engine(
    client: FlaskClient, engine: FakeEngine, body: bytes, status: int, code: str, field: str | None
) -> None:
    with capture_logs() as logs:
        response = send(client, body)
    error = error_of(response)
    assert (response.status_code, error["code"], error.get("field")) == (status, code, field)
    assert engine.signals == []
    (entry,) = logs
    assert (entry["event"], entry["code"], entry["field"]) == ("alert refused", code, field)
    assert (entry["message"], entry["remote"]) == (error["message"], "127.0.0.1")


def test_a_body_one_byte_too_long_is_refused_though_no_length_was_declared(client: FlaskClient) -> None:
    environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": None}
    assert send(client, body_of().ljust(65536), environ_overrides=environ).status_code == 200
    assert send(client, body_of().ljust(65537), environ_overrides=environ).status_code == 413


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/webhook", "/webhook/main"])
def test_only_post_delivers(client: FlaskClient, engine: FakeEngine, method: str, path: str) -> None:
    response = client.open(path, method=method, data=body_of())
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert engine.signals == []
    if method != "HEAD":
        assert error_of(response)["code"] == "method_not_allowed"


@given(body=st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_answered_200_or_4xx(body: bytes) -> None:
    response = send(an_app(FakeEngine()).test_client(), body)
    assert response.status_code == 200 or error_of(response)
    assert response.status_code == 200 or 400 <= response.status_code < 500


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@given(changes=st.dictionaries(st.sampled_from([*BASE_ENTRY, "secret", "portfolio", "roc", "note"]), JSON_VALUES))
@settings(deadline=None)
def test_any_alert_is_answered_200_or_4xx(changes: dict[str, Any]) -> None:
    response = send(an_app(FakeEngine()).test_client(), body_of(**changes))
    assert response.status_code == 200 or 400 <= response.status_code < 500
    if response.status_code != 200:
        error_of(response)


# --- the log ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer, status",
    [
        (decided(), "executed"),
        (Answer(kind=AnswerKind.DUPLICATE, outcome=EXECUTED), "duplicate"),
        (Answer(kind=AnswerKind.UNKNOWN), "unknown"),
        (Answer(kind=AnswerKind.NOT_TAKEN, message="stopping"), "not_taken"),
        (Answer(kind=AnswerKind.QUEUED), "queued"),
    ],
)
def test_each_outcome_is_one_line_of_the_log(
    client: FlaskClient, engine: FakeEngine, answer: Answer, status: str
) -> None:
    engine.answers = lambda: answer
    with capture_logs() as logs:
        send(client)
    (entry,) = [log for log in logs if log["log_level"] == "info"]
    assert (entry["event"], entry["status"], entry["instrument"]) == ("signal", status, "BANK_NIFTY")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_web_page_in_the_users_browser_cannot_send_alerts(
    client: FlaskClient, engine: FakeEngine, headers: dict[str, str]
) -> None:
    response = send(client, headers=headers)
    assert (response.status_code, error_of(response)["code"]) == (403, "web_page")
    assert engine.signals == []
