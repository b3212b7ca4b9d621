"""The real server on a real socket: what waitress does with what nobody's client library would send."""

import errno
import http.client
import json
import logging
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from core.errors import ConfigurationError
from live import channel
from live.answers import Answer
from live.server import Server, _allow_many_files
from tests.fake_engine import BASE_ENTRY, TOKEN, FakeEngine, an_app, decided
from tests.waiting import Stopwatch

ALERT = json.dumps(BASE_ENTRY).encode()
PATIENCE = 10.0
Reply = tuple[int, dict[str, str], Any]


@contextmanager
def serving(engine: FakeEngine, application: Any = None, **options: Any) -> Iterator[Server]:
    """A server that answers, stopped behind the block."""
    application = application or an_app(engine)
    webhook = getattr(application, "webhook", None)
    begin = None if webhook is None else webhook.begin
    server = Server(application, "127.0.0.1", 0, begin=begin, **{"threads": 4, **options})
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture(params=[False, True], ids=["", "short cut"])
def engine(request: pytest.FixtureRequest) -> FakeEngine:
    return FakeEngine(begins=request.param)


@pytest.fixture
def waiting_engine() -> FakeEngine:
    """One whose requests all wait in a thread."""
    return FakeEngine()


@pytest.fixture
def server(engine: FakeEngine) -> Iterator[Server]:
    with serving(engine) as server:
        yield server


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def reply_of(connection: socket.socket) -> Reply:
    """One answer as it comes over the socket; its body read from JSON."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    body = response.read()
    response.close()
    assert response.getheader("Content-Type") == "application/json"
    assert response.getheader("Server") is None
    return response.status, dict(response.getheaders()), json.loads(body)


def exchange(server: Server, *pieces: bytes) -> Reply:
    """What the server answers to these bytes."""
    with connected(server) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return reply_of(connection)


def request(body: bytes, *, method: str = "POST", path: str = "/webhook", headers: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def chunked(*chunks: bytes) -> bytes:
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- bodies -------------------------------------------------------------------------------------------------------


def test_an_alert_is_answered(server: Server, engine: FakeEngine) -> None:
    status, headers, body = exchange(server, request(ALERT, headers="Content-Type: text/plain\r\n"))
    assert (status, body["status"], body["lots"]) == (200, "executed", 2)
    assert len(engine.signals) == 1
    assert "Connection" not in headers


def test_a_chunked_alert_is_answered(server: Server, engine: FakeEngine) -> None:
    status, _, body = exchange(server, chunked(ALERT[:10], ALERT[10:]))
    assert (status, body["status"]) == (200, "executed")
    assert len(engine.signals) == 1


@pytest.mark.parametrize(
    "trusted, headers, expected",
    [
        ("127.0.0.1", "X-Forwarded-For: 52.89.214.238\r\n", 200),
        ("127.0.0.1", "X-Forwarded-For: 52.89.214.238\r\nX-Forwarded-For: 203.0.113.9\r\n", 403),
        ("127.0.0.1", "X_Forwarded_For: 52.89.214.238\r\n", 403),
        ("127.0.0.1", "", 403),
        ("127.0.0.2", "X-Forwarded-For: 52.89.214.238\r\n", 403),
    ],
)
def test_the_address_of_a_sender_is_what_a_trusted_proxy_says(
    engine: FakeEngine, trusted: str, headers: str, expected: int
) -> None:
    application = an_app(engine, allowed_addresses=("52.89.214.238",), trusted_proxies=(trusted,))
    with serving(engine, application) as server:
        assert exchange(server, request(ALERT, headers=headers))[0] == expected


@pytest.mark.parametrize("size", [65_537, 70_000, 1_000_000, 5_000_000])
def test_a_chunked_body_above_the_bound_is_refused_not_cut(server: Server, engine: FakeEngine, size: int) -> None:
    # The alert stands first: cut to the bound it would be a valid one.
    whole = ALERT.ljust(size)
    pieces = [whole[start : start + 8000] for start in range(0, size, 8000)]
    status, _, body = exchange(server, chunked(*pieces))
    assert (status, body["error"]["code"]) == (413, "too_large")
    assert engine.signals == []


@pytest.mark.parametrize("size", [65_537, 1_000_000, 5_000_000])
def test_a_large_body_is_read_to_its_end_so_that_its_sender_sees_the_413(
    server: Server, engine: FakeEngine, size: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    for _ in range(3):  # on one connection: nothing of the body is taken for the next request
        connection.request("POST", "/webhook", body=ALERT.ljust(size))
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "too_large")
    connection.close()
    assert engine.signals == []


def test_a_body_of_64_kib_is_read(server: Server) -> None:
    assert exchange(server, request(ALERT.ljust(65_536)))[0] == 200
    assert exchange(server, chunked(ALERT, b" " * (65_536 - len(ALERT))))[0] == 200


@pytest.mark.parametrize("declared", [b"9000000", b"99999999999999999999"])
def test_a_body_declared_as_huge_is_refused_before_it_comes(server: Server, declared: bytes) -> None:
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: " + declared + b"\r\n\r\n"
    status, headers, body = exchange(server, head)
    assert (status, body["error"]["code"], headers["Connection"]) == (413, "too_large", "close")


def test_a_sender_that_waits_to_be_told_to_go_on_is_told_to(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(
            request(b"", headers="").replace(b"Content-Length: 0", b"Content-Length: %d" % len(ALERT))[:-2]
            + b"Expect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(ALERT)
        assert reply_of(connection)[0] == 200


BAD = {
    "not JSON": b"hello",
    "empty": b"",
    "a NUL": b'{"type":"EXIT\\u0000"}',
    "a raw NUL": ALERT.replace(b"Long_1", b"Long\0_1"),
    "bad UTF-8": b'{"type":"\xff\xfe"}',
    "UTF-16": ALERT.decode().encode("utf-16"),
    "nested 8,000 deep": b'{"a":' * 8000 + b"1" + b"}" * 8000,
    "a list nested 8,000 deep": b"[" * 8000 + b"]" * 8000,
    "a duplicate key": b'{"price":1,"price":2}',
    "NaN": ALERT.replace(b"52000", b"NaN"),
    "an absurd number": ALERT.replace(b"52000", b"1e999"),
    "a placeholder": ALERT.replace(b"52000", b'"{{close}}"'),
    "half a surrogate": ALERT.replace(b"Long_1", b"\\ud800"),
}


@pytest.mark.parametrize("encode", [request, chunked], ids=["with a length", "chunked"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_400_that_says_what_is_wrong(
    server: Server, engine: FakeEngine, name: str, encode: Callable[[bytes], bytes]
) -> None:
    body = BAD[name]
    sent = encode(body) if body else request(b"")
    status, _, answer = exchange(server, sent)
    assert status == 400
    assert answer["error"]["message"]
    assert engine.signals == []


# --- requests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"])
def test_a_wrong_method_is_a_405_with_those_allowed(server: Server, method: str) -> None:
    status, headers, body = exchange(server, request(ALERT, method=method))
    assert (status, headers["Allow"], body["error"]["code"]) == (405, "OPTIONS, POST", "method_not_allowed")


@pytest.mark.parametrize(
    "sent, status, code",
    [
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
        (b"get / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n", 400, "bad_request"),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 404, "not_found"),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"POST /webhook HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "bad_request"),
        (b"POST /webhook HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n", 400, "bad_request"),
        (b"POST /webhook HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "bad_request"),
        (b"POST /webhook HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
        (b"POST /webhook HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, "headers_too_large"),
    ],
)
def test_what_is_no_proper_request_is_refused_in_the_same_form(
    server: Server, sent: bytes, status: int, code: str
) -> None:
    answer = exchange(server, sent)
    assert (answer[0], answer[2]["error"]["code"]) == (status, code)
    assert exchange(server, request(ALERT))[0] == 200


def test_a_keep_alive_connection_serves_many(server: Server, engine: FakeEngine) -> None:
    with connected(server) as connection:
        for _ in range(20):
            connection.sendall(request(ALERT))
            assert reply_of(connection)[0] == 200
    assert len(engine.signals) == 20


def test_head_and_options_have_no_body_and_keep_the_connection(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    for method, length in (("HEAD", "84"), ("OPTIONS", "0"), ("GET", "84")):
        connection.request(method, "/status")
        response = connection.getresponse()
        assert (response.status, response.getheader("Content-Length")) == (200, length)
        assert bool(response.read()) == (method == "GET")
    connection.close()


def test_pipelined_requests_are_all_answered(server: Server, engine: FakeEngine) -> None:
    with connected(server) as connection:
        connection.sendall(request(ALERT) * 3)
        stream = connection.makefile("rb")
        text = b""
        while text.count(b"HTTP/1.1 200") < 3 or text.count(b'"executed"') < 3:
            text += stream.read1(10_000)
    assert len(engine.signals) == 3


def test_a_fault_in_the_application_is_a_503_and_the_log_has_no_body(
    waiting_engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down() -> Answer:
        raise RuntimeError("boom")

    waiting_engine.answers = break_down
    with serving(waiting_engine) as server:
        status, _, body = exchange(server, request(json.dumps({**BASE_ENTRY, "note": "own words"}).encode()))
    assert (status, body["error"]["code"]) == (503, "internal")
    assert "own words" not in "".join(capsys.readouterr())


def test_a_fault_outside_the_application_is_a_503_in_the_same_form() -> None:
    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        raise RuntimeError("boom")

    server = Server(application, "127.0.0.1", 0, threads=1)
    thread = threading.Thread(target=server.serve)
    thread.start()
    status, _, body = exchange(server, request(ALERT))
    assert (status, body["error"]["code"]) == (503, "internal")
    server.stop()
    thread.join(PATIENCE)


def test_an_operators_command_works_over_the_socket(server: Server, engine: FakeEngine) -> None:
    assert exchange(server, request(b"", path="/halt"))[0] == 401
    assert exchange(server, request(b"", path="/halt", headers=f"Authorization: Bearer {TOKEN}\r\n"))[0] == 200
    assert len(engine.commands) == 1


# --- time ---------------------------------------------------------------------------------------------------------


def drip(connection: socket.socket, sent: bytes, every: float) -> None:
    """A byte now and then until the other side has had enough."""
    for number in range(len(sent)):
        try:
            connection.sendall(sent[number : number + 1])
        except OSError:
            return
        time.sleep(every)


@pytest.mark.parametrize(
    "head, dripped",
    [
        (b"", request(ALERT)),
        (request(ALERT)[:-100], b"x" * 100),
        (b"POST /webhook HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 50),
    ],
    ids=["in the head", "in the body", "in chunks"],
)
def test_a_dripping_byte_does_not_put_off_the_deadline(engine: FakeEngine, head: bytes, dripped: bytes) -> None:
    with serving(engine, arrival_seconds=0.5) as server, connected(server) as connection:
        started = Stopwatch()
        connection.sendall(head)
        dripping = threading.Thread(target=drip, args=(connection, dripped, 0.1))
        dripping.start()
        status, headers, body = reply_of(connection)
        assert started.seconds < 4
        assert (status, body["error"]["code"], headers["Connection"]) == (408, "request_timeout", "close")
        connection.shutdown(socket.SHUT_RDWR)
        dripping.join(PATIENCE)
        assert exchange(server, request(ALERT))[0] == 200
    assert len(engine.signals) == 1


def test_a_connection_that_says_nothing_is_closed(engine: FakeEngine) -> None:
    with serving(engine, arrival_seconds=0.3) as server, connected(server) as connection:
        assert connection.recv(1000) == b""


@pytest.mark.parametrize("said", [b"\r\n", b"\r\n" * 50], ids=["one", "many"])
def test_blank_lines_are_not_a_request(engine: FakeEngine, said: bytes) -> None:
    with serving(engine, arrival_seconds=0.3) as server, connected(server) as connection:
        drip(connection, said, 0.02)
        assert connection.recv(1000)[9:12] in (b"408", b"")


def test_a_connection_that_is_kept_alive_may_be_silent_for_longer_than_a_request_may_take(engine: FakeEngine) -> None:
    with serving(engine, arrival_seconds=0.3) as server, connected(server) as connection:
        for _ in range(2):
            connection.sendall(request(ALERT))
            assert reply_of(connection)[0] == 200
            time.sleep(1.5)
        connection.sendall(request(ALERT))
        assert reply_of(connection)[0] == 200


def test_the_deadline_holds_for_every_request_of_a_connection(engine: FakeEngine) -> None:
    with serving(engine, arrival_seconds=0.3) as server, connected(server) as connection:
        connection.sendall(request(ALERT) + request(ALERT)[:-5])
        assert reply_of(connection)[0] == 200
        assert reply_of(connection)[0] == 408


def test_two_hundred_silent_connections_starve_nobody(server: Server) -> None:
    silent = [connected(server) for _ in range(200)]
    try:
        for connection in silent:
            connection.sendall(b"POST /webhook HTTP/1.1\r\n")
        assert exchange(server, request(ALERT))[0] == 200
    finally:
        for connection in silent:
            connection.close()


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it, or does so in a moment."""
    connection.settimeout(1)
    try:
        return connection.recv(1000) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_above_the_limit_the_connection_longest_without_a_request_makes_room(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(channel, "CONNECTION_LIMIT", 3)
    first, second, third = (connected(server) for _ in range(3))
    for connection in (first, third, first):  # the second never says anything
        connection.sendall(request(ALERT))
        assert reply_of(connection)[0] == 200
    second.sendall(b"POST /webhook HTTP/1.1\r\n")
    time.sleep(2 * channel.ARRIVING_SECONDS_SPARED)
    with connected(server) as fourth, connected(server) as fifth:
        assert is_closed(second)
        assert is_closed(third)
        for connection in (first, fourth, fifth):
            connection.sendall(request(ALERT))
            assert reply_of(connection)[0] == 200
    for connection in (first, second, third):
        connection.close()
    assert capsys.readouterr().err.count("too many connections") == 1


def test_above_the_limit_a_connection_that_waits_for_its_answer_stays(
    server: Server, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "CONNECTION_LIMIT", 1)
    connections: list[socket.socket] = []
    with stuck(engine) as release:
        post_in(connections, server, 3)
        wait_until(lambda: len(engine.signals) == 3)
        with connected(server) as idle:
            assert is_closed(idle)
        release.set()
        assert [reply_of(connection)[0] for connection in connections] == [200, 200, 200]
    for connection in connections:
        connection.close()


def test_no_more_are_taken_while_too_many_wait_for_their_answers(
    server: Server, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "CONNECTION_LIMIT", 1)
    monkeypatch.setattr(channel, "ACCEPTED_AT_ONCE", 1)
    connections: list[socket.socket] = []
    with stuck(engine) as release:
        post_in(connections, server, 4)
        wait_until(lambda: len(engine.signals) == 2)
        time.sleep(0.5)
        assert len(engine.signals) == 2
        release.set()
        assert [reply_of(connection)[0] for connection in connections] == [200, 200, 200, 200]
    for connection in connections:
        connection.close()


# --- shedding -----------------------------------------------------------------------------------------------------


@contextmanager
def stuck(engine: FakeEngine) -> Iterator[threading.Event]:
    """An engine that answers nothing until it is released (by the block's end at the latest)."""
    release = threading.Event()

    def wait() -> Answer:
        release.wait(PATIENCE)
        return decided()

    engine.answers = wait
    try:
        yield release
    finally:
        release.set()


def waiting_in(server: Server) -> int:
    return len(server._workers.queue)


def post_in(connections: list[socket.socket], server: Server, count: int) -> None:
    for _ in range(count):
        connection = connected(server)
        connections.append(connection)
        connection.sendall(request(ALERT))


def test_requests_that_wait_too_long_for_a_worker_are_shed_at_once(
    waiting_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "QUEUED_SECONDS_LIMIT", 0.2)
    connections: list[socket.socket] = []
    with serving(waiting_engine, threads=1) as server, stuck(waiting_engine) as release:
        post_in(connections, server, 1)
        wait_until(lambda: len(waiting_engine.signals) == 1)
        post_in(connections, server, 2)
        wait_until(lambda: waiting_in(server) == 2)
        time.sleep(0.3)
        release.set()
        answers = [reply_of(connection) for connection in connections]
        assert [status for status, _, _ in answers] == [200, 503, 503]
        assert answers[1][2]["error"]["code"] == "overloaded"
        assert exchange(server, request(ALERT))[0] == 200
    assert len(waiting_engine.signals) == 2
    for connection in connections:
        connection.close()


def test_more_requests_than_may_wait_are_shed(waiting_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "QUEUE_LIMIT", 2)
    connections: list[socket.socket] = []
    with serving(waiting_engine, threads=1) as server, stuck(waiting_engine) as release:
        post_in(connections, server, 1)
        wait_until(lambda: len(waiting_engine.signals) == 1)
        post_in(connections, server, 5)
        wait_until(lambda: waiting_in(server) == 5)
        release.set()
        statuses = [reply_of(connection)[0] for connection in connections]
        assert statuses == [200, 503, 503, 200, 200, 200]
    for connection in connections:
        connection.close()


# --- start and stop -----------------------------------------------------------------------------------------------


def test_the_port_is_had_from_construction_on_and_connections_wait_until_it_serves(engine: FakeEngine) -> None:
    server = Server(an_app(engine), "127.0.0.1", 0, threads=1)
    with connected(server) as connection:
        connection.sendall(request(ALERT))
        thread = threading.Thread(target=server.serve)
        thread.start()
        assert reply_of(connection)[0] == 200
        server.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_port_in_use_is_refused_by_name(server: Server, engine: FakeEngine) -> None:
    with pytest.raises(ConfigurationError, match=rf"^port {server.port} on 127\.0\.0\.1 is in use$"):
        Server(an_app(engine), "127.0.0.1", server.port)


@pytest.mark.parametrize(
    "host, port, words",
    [
        ("127.0.0.1", 70_000, "`--port` must be 0 to 65535"),
        ("no such host", 0, "`--host`: no such host is not an address"),
        ("192.0.2.1", 0, "cannot listen on port 0 of 192.0.2.1"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused_by_name(engine: FakeEngine, host: str, port: int, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Server(an_app(engine), host, port)


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.EACCES, "port 80 on 127.0.0.1 needs more rights"),
        (errno.EADDRINUSE, "port 80 on 127.0.0.1 is in use"),
        (errno.ENOBUFS, "cannot listen on port 80 of 127.0.0.1"),
    ],
)
def test_what_keeps_it_from_listening_is_said(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(number, "no")

    monkeypatch.setattr("live.server._bound", refuse)
    with pytest.raises(ConfigurationError, match=words):
        Server(an_app(engine), "127.0.0.1", 80)


@pytest.mark.parametrize(
    "soft, hard, wanted",
    [(1024, 1_048_576, [4096]), (1024, 2048, [2048]), (1024, -1, [4096]), (-1, -1, []), (9000, 9000, [])],
)
def test_there_is_room_for_its_connections_among_the_open_files(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, wanted: list[int]
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits[0]))
    _allow_many_files()
    assert set_to == wanted


def test_localhost_is_every_loopback_address_of_the_machine_at_one_port(engine: FakeEngine) -> None:
    server = Server(an_app(engine), "localhost", 0, threads=1)
    thread = threading.Thread(target=server.serve)
    thread.start()
    assert exchange(server, request(ALERT))[0] == 200
    server.stop()
    thread.join(PATIENCE)


def stopped(server: Server, thread: threading.Thread) -> float:
    started = Stopwatch()
    server.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return started.seconds


def started(engine: FakeEngine, **options: Any) -> tuple[Server, threading.Thread]:
    application = an_app(engine)
    server = Server(application, "127.0.0.1", 0, begin=application.webhook.begin, **{"threads": 2, **options})
    thread = threading.Thread(target=server.serve)
    thread.start()
    return server, thread


def test_stopping_an_idle_server_takes_a_moment_and_frees_the_port(engine: FakeEngine) -> None:
    server, thread = started(engine)
    with connected(server) as kept_alive:
        kept_alive.sendall(request(ALERT))
        reply_of(kept_alive)
        assert stopped(server, thread) < 1
        assert kept_alive.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connected(server)
    server.stop()  # again does no harm


def test_a_running_request_is_answered_while_the_server_stops(engine: FakeEngine) -> None:
    server, thread = started(engine)
    with connected(server) as connection, stuck(engine) as release:
        connection.sendall(request(ALERT))
        wait_until(lambda: len(engine.signals) == 1)
        server.stop()
        wait_until(lambda: not accepts(server))
        assert thread.is_alive()
        release.set()
        assert reply_of(connection)[0] == 200
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_request_that_waits_for_a_worker_is_answered_too_and_is_its_connections_last(engine: FakeEngine) -> None:
    server, thread = started(engine, threads=1)
    first, second = connected(server), connected(server)
    with first, second, stuck(engine) as release:
        first.sendall(request(ALERT))
        wait_until(lambda: len(engine.signals) == 1)
        second.sendall(request(ALERT))
        wait_until(lambda: waiting_in(server) == 1)
        server.stop()
        wait_until(lambda: not accepts(server))
        release.set()
        assert reply_of(first)[0] == 200
        status, headers, _ = reply_of(second)
        assert (status, headers["Connection"]) == (200, "close")
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_stopping_waits_for_no_request_longer_than_its_bound(engine: FakeEngine) -> None:
    server, thread = started(engine, drain_seconds=0.3)
    with connected(server) as connection, stuck(engine):
        connection.sendall(request(ALERT))
        wait_until(lambda: len(engine.signals) == 1)
        assert stopped(server, thread) < 2


def accepts(server: Server) -> bool:
    try:
        connected(server).close()
    except ConnectionError:
        return False
    return True


# --- the log ------------------------------------------------------------------------------------------------------


def test_waitress_says_nothing_on_stderr_of_its_own(
    server: Server, engine: FakeEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    with stuck(engine) as release, connected(server) as connection:
        connection.sendall(request(ALERT))
        connection.close()  # the client hangs up before it is answered
        wait_until(lambda: len(engine.signals) == 1)
        release.set()
        for _ in range(20):
            exchange(server, request(ALERT))
    assert all("] signal " in line for line in capfd.readouterr().err.splitlines())
    assert not logging.getLogger("waitress").propagate
