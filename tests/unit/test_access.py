"""Who may look and who may command: from this machine and from elsewhere, by token and by a browser's session."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec import UNSET
from werkzeug.test import TestResponse

from live.api.access import SESSION_HOURS
from live.api.schema.routes import ROUTES
from live.operators import Operators, Role, add_operator, remove_operator
from tests.fake_engine import BASE_ENTRY, TOKEN, FakeEngine, an_app, error_of

NOW = datetime(2026, 1, 15, 3, 45, tzinfo=UTC)
ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}
HALT = {"reason": "lunch", "request_id": "halt-1"}
FOR_ALL = ("/health", "/ready", "/leader", "/login")
COMMANDS = ("/halt", "/resume", "/capital", "/handover", "/positions/ALL/close", "/reconcile", "/rollover/scan")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "operators.json"


@pytest.fixture
def tokens(file: Path) -> dict[str, str]:
    return {role.word: add_operator(file, f"a-{role.word}", role, NOW) for role in Role}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine, file: Path, tokens: dict[str, str]) -> Iterator[FlaskClient]:
    assert tokens
    with an_app(engine, operators=Operators(TOKEN, file)).test_client() as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def signed_in(client: FlaskClient, token: str, **options: Any) -> TestResponse:
    return client.post("/login", data={"token": token}, **options)


def csrf(client: FlaskClient) -> dict[str, str]:
    return {"X-CSRF-Token": client.get("/session").get_json()["csrf_token"]}


# --- looking


def views(client: FlaskClient) -> list[str]:
    return sorted(
        rule.rule
        for rule in client.application.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not rule.arguments and rule.rule not in FOR_ALL
    )


def test_from_this_machine_everybody_may_look_and_from_elsewhere_a_viewer(
    client: FlaskClient, tokens: dict[str, str]
) -> None:
    assert "/status" in views(client)
    for view in views(client):
        # There is no book behind the fake engine: who may look is told that.
        shown = 409 if view.startswith(("/api/book/", "/api/risk/", "/dashboard/book", "/dashboard/risk")) else 200
        if any((route.method, route.path) == ("GET", view) and route.needed for route in ROUTES):
            shown = 400  # and of what he has to say more
        if view != "/session":
            assert client.get(view).status_code == shown, view
        assert client.get(view, environ_base=ELSEWHERE).status_code == 401, view
        for token in (*tokens.values(), TOKEN):
            assert client.get(view, environ_base=ELSEWHERE, headers=bearer(token)).status_code == shown, view


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        # A page of elsewhere that has its own name lead here.
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:5000"},
        {"Host": "[::bad"},
    ],
)
def test_what_a_proxy_or_a_foreign_name_brings_is_not_from_this_machine(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    assert error_of(client.get("/status", headers=headers))["code"] == "unauthorized"


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost", "[::1]:5000", "127.0.0.9"])
def test_the_names_of_this_machine_are(client: FlaskClient, host: str) -> None:
    assert client.get("/status", headers={"Host": host}).status_code == 200


def test_a_trusted_proxy_says_where_it_comes_from(engine: FakeEngine) -> None:
    client = an_app(engine, trusted_proxies=["127.0.0.1"]).test_client()
    assert client.get("/status", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200
    assert client.get("/status", headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 401


def test_alerts_supervisors_and_balancers_need_no_operator(client: FlaskClient) -> None:
    assert client.post("/webhook", json=BASE_ENTRY, environ_base=ELSEWHERE).status_code == 200
    for path in ("/health", "/ready", "/leader"):
        assert client.get(path, environ_base=ELSEWHERE).status_code == 200
    assert client.get("/nowhere", environ_base=ELSEWHERE).status_code == 404


def test_a_browser_from_elsewhere_is_led_to_the_form(client: FlaskClient) -> None:
    answer = client.get("/status", environ_base=ELSEWHERE, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.location) == (303, "/login")


# --- commands


@pytest.mark.parametrize("role", [role.word for role in Role])
def test_each_command_needs_its_role(client: FlaskClient, tokens: dict[str, str], role: str) -> None:
    allowed = {
        "viewer": set(),
        "trader": set(COMMANDS) - {"/capital", "/handover"},
        "admin": set(COMMANDS),
    }[role]
    for path in COMMANDS:
        answer = client.post(path, json={"amount": "1"} if path == "/capital" else {}, headers=bearer(tokens[role]))
        # 409: the fake has neither a follower nor a broker.
        assert (answer.status_code in (200, 409)) is (path in allowed), path
        if path not in allowed:
            assert (answer.status_code, error_of(answer)["code"]) == (403, "forbidden")


def test_a_command_says_who_gave_it(client: FlaskClient, engine: FakeEngine, tokens: dict[str, str]) -> None:
    client.post("/halt", json=HALT, headers=bearer(tokens["trader"]))
    client.post("/halt", json=HALT, headers=bearer(TOKEN))
    assert [command.operator for command in engine.commands] == ["a-trader", UNSET]


# --- sessions


def test_a_session_is_opened_with_a_token_and_its_cookie_is_strict(client: FlaskClient, tokens: dict[str, str]) -> None:
    answer = signed_in(client, tokens["trader"])
    assert (answer.status_code, answer.location) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert all(part in cookie for part in ("pm_session=", "HttpOnly", "SameSite=Strict", "Path=/"))
    assert "Secure" not in cookie
    assert tokens["trader"].partition(".")[2] not in cookie
    told = client.get("/session", environ_base=ELSEWHERE).get_json()
    assert (told["operator"], told["role"]) == ("a-trader", "trader")


def test_over_an_encrypted_connection_the_cookie_is_kept_to_those(engine: FakeEngine) -> None:
    client = an_app(engine, trusted_proxies=["127.0.0.1"]).test_client()
    assert "Secure" in signed_in(client, TOKEN, headers={"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]
    plain = an_app(engine).test_client()
    assert "Secure" not in signed_in(plain, TOKEN, headers={"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]


def test_a_wrong_token_opens_nothing(client: FlaskClient) -> None:
    answer = signed_in(client, "wrong")
    assert answer.status_code == 401
    assert "not known" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert client.get("/session").status_code == 401


def test_another_sites_page_opens_no_session(client: FlaskClient) -> None:
    answer = signed_in(client, TOKEN, headers={"Sec-Fetch-Site": "cross-site"})
    assert error_of(answer)["code"] == "web_page"


def test_a_sessions_command_needs_its_csrf_token(
    client: FlaskClient, engine: FakeEngine, tokens: dict[str, str]
) -> None:
    signed_in(client, tokens["trader"])
    for headers in ({}, {"X-CSRF-Token": "guessed"}, {"X-CSRF-Token": "ä"}):
        assert error_of(client.post("/halt", json=HALT, headers=headers))["code"] == "csrf"
    assert engine.commands == []
    assert client.post("/halt", json=HALT, headers=csrf(client)).status_code == 200
    assert engine.commands[0].operator == "a-trader"


def test_a_sessions_role_is_what_the_operator_has_by_now(
    client: FlaskClient, file: Path, tokens: dict[str, str]
) -> None:
    signed_in(client, tokens["admin"])
    assert client.post("/capital", json={"amount": "1"}, headers=csrf(client)).status_code == 200
    entries = file.read_text()
    file.write_text(entries.replace('"role": "admin"', '"role": "viewer"'))
    assert client.get("/session").get_json()["role"] == "viewer"
    assert client.post("/capital", json={"amount": "1"}, headers=csrf(client)).status_code == 403


def test_a_session_ends_with_its_token(client: FlaskClient, file: Path, tokens: dict[str, str]) -> None:
    signed_in(client, tokens["trader"])
    assert client.get("/session").status_code == 200
    remove_operator(file, "a-trader")
    assert client.get("/session").status_code == 401


def test_a_session_that_was_closed_stays_closed_for_who_has_its_cookie(
    client: FlaskClient, engine: FakeEngine, tokens: dict[str, str]
) -> None:
    signed_in(client, tokens["trader"])
    cookie, headers = client.get_cookie("pm_session"), csrf(client)
    assert cookie is not None
    assert error_of(client.post("/logout"))["code"] == "csrf"
    assert client.post("/logout", headers=headers).status_code == 200
    assert client.get("/session").status_code == 401
    client.set_cookie("pm_session", cookie.value)
    assert client.get("/session").status_code == 401
    assert client.post("/halt", json=HALT, headers=headers).status_code == 401
    assert engine.commands == []


def test_a_session_ends_after_half_a_day(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    import itsdangerous.timed

    signed_in(client, TOKEN)
    now = itsdangerous.timed.time.time
    monkeypatch.setattr(itsdangerous.timed.time, "time", lambda: now() + SESSION_HOURS * 3600 - 60)
    assert client.get("/session").status_code == 200
    monkeypatch.setattr(itsdangerous.timed.time, "time", lambda: now() + SESSION_HOURS * 3600 + 60)
    assert client.get("/session").status_code == 401


def test_a_session_is_one_at_every_instance_with_the_same_token_and_at_no_other(
    client: FlaskClient, engine: FakeEngine
) -> None:
    signed_in(client, TOKEN)
    cookie = client.get_cookie("pm_session")
    assert cookie is not None
    for token, status in ((TOKEN, 200), ("another-token-than-that", 401)):
        other = an_app(engine, operator_token=token).test_client()
        other.set_cookie("pm_session", cookie.value)
        assert other.get("/session").status_code == status


def test_every_answer_says_what_a_browser_may_do_with_it(client: FlaskClient) -> None:
    for path in ("/status", "/nowhere", "/login"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["Content-Security-Policy"]
    page = client.get("/login")
    with client.get(page.text.split('href="')[1].split('"')[0]) as sheet:
        assert sheet.mimetype == "text/css"
    assert "style=" not in page.text
    assert "<script" not in page.text
