"""The client of our HTTP API: repeats what is safe to repeat, and says why it gives up."""

import socket
from collections.abc import Callable
from time import monotonic, sleep

import httpx
import pytest

from core.errors import Refused, Retryable
from live.client import EngineAway, EngineClient, EngineRefused
from tests.waiting import Stopwatch

URL = "http://127.0.0.1:5000"
BODY = b'{"type": "EXIT",  "price": 1.50}'
TAKEN = httpx.Response(200, json={"status": "executed", "lots": 2})


class ScriptedEngine:
    """Answers with one step after the other: a response, or an error that is raised; the last one for ever."""

    def __init__(self, *steps: httpx.Response | type[httpx.TransportError]) -> None:
        self._steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, httpx.Response):
            return httpx.Response(step.status_code, content=step.content, headers=step.headers)
        raise step("it went wrong", request=request)

    def client(self, url: str = URL, **options: str) -> EngineClient:
        return EngineClient(url, transport=httpx.MockTransport(self), pause=self.pauses.append, **options)


def test_a_signal_goes_out_with_its_own_bytes_and_the_answer_comes_back() -> None:
    engine = ScriptedEngine(TAKEN)
    with engine.client() as client:
        answer = client.send(BODY, portfolio="alpha")
    (request,) = engine.requests
    assert (request.method, request.url.path, request.content) == ("POST", "/webhook/alpha", BODY)
    assert request.headers["Content-Type"] == "application/json"
    assert "Authorization" not in request.headers
    assert answer == {"status": "executed", "lots": 2, "http_status": 200}


def test_a_queued_signal_is_taken() -> None:
    with ScriptedEngine(httpx.Response(202, json={"status": "queued"})).client() as client:
        assert client.send(BODY, portfolio="main") == {"status": "queued", "http_status": 202}


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError,
        httpx.ReadTimeout,
        httpx.RemoteProtocolError,
        httpx.Response(503, json={"error": {"code": "unknown", "message": "unknown, send again"}}),
        httpx.Response(429, json={"error": {"code": "too_many", "message": "slower"}}),
        httpx.Response(502, content=b"<html>a proxy's page</html>"),
    ],
)
def test_the_same_bytes_are_sent_again_while_the_engine_is_away_or_busy(
    trouble: httpx.Response | type[httpx.TransportError],
) -> None:
    engine = ScriptedEngine(trouble, trouble, TAKEN)
    with engine.client() as client:
        assert client.send(BODY, portfolio="main")["status"] == "executed"
    assert [request.content for request in engine.requests] == [BODY] * 3
    assert len(engine.pauses) == 2


def test_a_command_carries_token_portfolio_and_the_same_request_id_on_every_try() -> None:
    engine = ScriptedEngine(httpx.ReadTimeout, TAKEN)
    with engine.client(token="t" * 20) as client:
        client.command("/halt", {"reason": None, "request_id": "r-1"}, portfolio="main")
    assert [request.content for request in engine.requests] == [b'{"request_id":"r-1"}'] * 2
    assert engine.requests[0].headers["Authorization"] == f"Bearer {'t' * 20}"
    assert engine.requests[0].url.params["portfolio"] == "main"


@pytest.mark.parametrize(
    "trouble, http_status, part",
    [
        (httpx.ConnectError, None, "nothing was done: nothing listens at"),
        (httpx.ReadTimeout, None, "it took too long"),
        (httpx.RemoteProtocolError, None, "it went wrong"),
        (httpx.Response(503, json={"error": {"code": "unknown", "message": "database away"}}), 503, "database away"),
        (httpx.Response(500, content=b"boom"), 500, "Internal Server Error"),
    ],
)
def test_tries_are_bounded_and_the_last_trouble_is_told(
    trouble: httpx.Response | type[httpx.TransportError], http_status: int | None, part: str
) -> None:
    engine = ScriptedEngine(trouble)
    with engine.client() as client, pytest.raises(EngineAway, match=part) as caught:
        client.send(BODY, portfolio="main")
    assert caught.value.http_status == http_status
    assert isinstance(caught.value, Retryable)
    assert len(engine.requests) == 8
    assert max(engine.pauses) <= 2.0


def test_all_tries_together_are_bounded_where_it_is_asked_for() -> None:
    engine = ScriptedEngine(httpx.Response(503, json={"error": {"code": "unknown", "message": "database away"}}))
    with EngineClient(
        URL, within=2.5, transport=httpx.MockTransport(lambda request: sleep(0.2) or engine(request))
    ) as client:
        started = Stopwatch()
        with pytest.raises(EngineAway, match=r"database away \([2-4] tries\)"):
            client.command("/halt", {"request_id": "r-1"}, portfolio="main")
        assert started.seconds < 1.5
    timeouts = [request.extensions["timeout"]["read"] for request in engine.requests]
    assert 2 <= len(timeouts) <= 4
    assert all(2.0 < timeout <= 2.5 for timeout in timeouts)


def test_a_silent_engine_is_not_waited_for_longer_than_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began, waited = monotonic(), Stopwatch()
        with EngineClient(url, within=0.5) as client, pytest.raises(EngineAway, match=r"it took too long$"):
            client.command("/halt", {"request_id": "r-1"}, portfolio="main")
        assert monotonic() - began > 0.4
        assert waited.seconds < 1.5


def test_a_refusal_is_told_with_its_code_and_field_and_not_repeated() -> None:
    error = {"code": "malformed", "message": "`price` must be above 0", "field": "price"}
    engine = ScriptedEngine(httpx.Response(400, json={"error": error}))
    with engine.client() as client, pytest.raises(EngineRefused, match="above 0") as caught:
        client.send(BODY, portfolio="main")
    assert (caught.value.http_status, caught.value.code, caught.value.field) == (400, "malformed", "price")
    assert isinstance(caught.value, Refused)
    assert len(engine.requests) == 1


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, content=b"<html>another server</html>"),
        httpx.Response(404, content=b"nothing here"),
        httpx.Response(302, content=b"", headers={"Location": "/login"}),
    ],
)
def test_another_server_at_the_url_is_told_as_such(response: httpx.Response) -> None:
    with ScriptedEngine(response).client() as client, pytest.raises(EngineRefused, match="check --url"):
        client.send(BODY, portfolio="main")


@pytest.mark.parametrize(
    "url, uses_proxies",
    [
        ("http://127.0.0.1:5000", False),
        ("http://localhost:5000", False),
        ("http://[::1]:5000", False),
        ("http://engine.example:5000", True),
    ],
)
def test_no_proxy_stands_between_us_and_our_own_machine(
    url: str, uses_proxies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bool] = []
    original: Callable[..., None] = httpx.Client.__init__

    def noting(self: httpx.Client, **options: bool) -> None:
        given.append(options["trust_env"])
        original(self, **options)

    monkeypatch.setattr(httpx.Client, "__init__", noting)
    ScriptedEngine(TAKEN).client(url).__exit__(None, None, None)
    assert given == [uses_proxies]
