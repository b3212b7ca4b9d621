"""Alerts that are begun with as they arrive and answered when they are decided, on a real socket; no thread waits for them."""

import errno
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from waitress import wasyncore

from live import channel, webhook
from live.answers import Answer, AnswerKind
from live.deliveries import Delivery
from live.server import Server
from tests.fake_engine import BASE_ENTRY, FakeEngine, an_app, decided
from tests.integration import test_http_server as http_server
from tests.integration.test_http_server import ALERT, PATIENCE, Reply, connected, reply_of, request, wait_until


class BeginningEngine(FakeEngine):
    """Begins with what comes, and decides what the test says, when it says so."""

    def __init__(self) -> None:
        super().__init__(begins=True)
        self.finished = 0

    def settled_by_itself(self, delivery: Delivery) -> None:
        """Nothing is."""

    def finish(self, delivery: Delivery) -> Answer:
        self.finished += 1
        return super().finish(delivery)

    def decide(self, number: int = -1, **changes: Any) -> None:
        """Settle one of the deliveries."""
        self.begun[number].settle(decided(**changes))


@pytest.fixture
def engine() -> BeginningEngine:
    return BeginningEngine()


@contextmanager
def serving(
    engine: FakeEngine, *, drain_seconds: float | None = None, threads: int = 2, **options: Any
) -> Iterator[Server]:
    """A server that begins with alerts; its application has the options."""
    drain = {} if drain_seconds is None else {"drain_seconds": drain_seconds}
    with http_server.serving(engine, an_app(engine, **options), threads=threads, **drain) as server:
        yield server


@contextmanager
def posted(server: Server, engine: FakeEngine, sent: bytes | None = None) -> Iterator[socket.socket]:
    """A connection whose alert has been begun with."""
    before = len(engine.begun)
    with connected(server) as connection:
        connection.sendall(request(ALERT) if sent is None else sent)
        wait_until(lambda: len(engine.begun) == before + 1)
        yield connection


def replies_of(connection: socket.socket, count: int) -> list[tuple[int, Any]]:
    """So many answers, which may come together: status and body of each."""
    replies = []
    with connection.makefile("rb") as told:
        for _ in range(count):
            status = int(told.readline().split()[1])
            headers = http.client.parse_headers(told)
            replies.append((status, json.loads(told.read(int(headers["Content-Length"])))))
    return replies


def test_more_alerts_than_there_are_threads_wait_at_once_and_are_all_answered(engine: BeginningEngine) -> None:
    with serving(engine, threads=1) as server:
        connections = [connected(server) for _ in range(40)]
        for connection in connections:
            connection.sendall(request(ALERT))
        wait_until(lambda: len(engine.begun) == 40)
        for number in range(40):
            engine.decide(number)
        assert [reply_of(connection)[0] for connection in connections] == [200] * 40
        for connection in connections:
            connection.close()
    assert engine.finished == 0


def test_the_answer_is_the_one_that_a_thread_would_have_given(engine: BeginningEngine) -> None:
    with serving(engine) as server, posted(server, engine) as connection:
        engine.decide(lots=3)
        begun = reply_of(connection)
        engine.begins, engine.answers = False, lambda: decided(lots=3)
        connection.sendall(request(ALERT))
        waited = reply_of(connection)
    begun[2]["fingerprint"] = waited[2]["fingerprint"]  # the fake's answer has none
    begun[1].pop("Date"), waited[1].pop("Date")
    assert without_length(begun) == without_length(waited)


def without_length(reply: Reply) -> Reply:
    return reply[0], {name: value for name, value in reply[1].items() if name != "Content-Length"}, reply[2]


def test_an_answer_that_the_connection_takes_in_parts_arrives_whole(
    engine: BeginningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = channel.Channel.send

    def a_part(connection: channel.Channel, data: bytes, do_close: bool = True) -> int:
        return int(send(connection, data[:50], do_close=do_close))

    monkeypatch.setattr(channel.Channel, "send", a_part)
    with serving(engine) as server, posted(server, engine) as connection:
        for lots in range(3, 8):
            engine.decide(lots=lots)
            assert reply_of(connection)[2]["lots"] == lots
            connection.sendall(request(ALERT))
            wait_until(lambda seen=lots: len(engine.begun) == seen - 1)
        # What was sent is let go, but for the last one.
        (channel_of_it,) = (each for listener in server._listeners for each in listener.active_channels.values())
        (buffer,) = channel_of_it.outbufs
        assert len(buffer) == 0
        assert len(buffer.buf.file.getvalue()) < 1000
        engine.decide()


def test_a_connection_that_takes_nothing_any_more_is_closed(
    engine: BeginningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> int:
        raise OSError(errno.EHOSTUNREACH, "no route to host")

    with serving(engine) as server, posted(server, engine) as connection:
        with monkeypatch.context() as patched:
            patched.setattr(channel.Channel, "send", unreachable)
            engine.decide()
            assert connection.recv(1) == b""
        with posted(server, engine) as again:
            engine.decide()
            assert reply_of(again)[0] == 200


def test_what_was_begun_with_is_answered_as_such_whatever_routing_would_say(
    engine: BeginningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_is_routed", lambda _: True)
    sent = request(ALERT, headers="Connection: upgrade\r\nUpgrade: websocket\r\n")
    with serving(engine) as server, posted(server, engine, sent) as connection:
        engine.begun[0].settle(Answer(kind=AnswerKind.DUPLICATE, outcome={"status": "executed"}))
        assert (reply_of(connection)[0], engine.finished) == (200, 1)


def test_what_takes_long_is_left_to_a_thread_and_answered_once(
    engine: BeginningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "CROWDED_SECONDS", 0.2)
    with serving(engine) as server, posted(server, engine) as connection:
        wait_until(lambda: engine.finished == 1)
        engine.decide()
        assert reply_of(connection)[0] == 200
        # The connection goes on: what is told late of the first request is not taken for the next one's answer.
        connection.sendall(request(ALERT))
        wait_until(lambda: len(engine.begun) == 2)
        engine.begun[0].hurry()
        time.sleep(0.1)
        engine.decide(1, lots=5)
        assert reply_of(connection)[2]["lots"] == 5
    assert engine.finished == 1


def test_what_need_not_be_waited_for_any_longer_is_kept_by_a_thread(engine: BeginningEngine) -> None:
    with serving(engine) as server, posted(server, engine) as connection:
        engine.begun[0].hurry()
        wait_until(lambda: engine.finished == 1)
        status, _, body = reply_of(connection)
    assert (status, body["status"], body["reason"]) == (202, "queued", "kept")


@pytest.mark.parametrize(
    "answer, status, told",
    [
        (Answer(kind=AnswerKind.NOT_TAKEN, message="the engine stops"), 503, "unavailable"),
        (Answer(kind=AnswerKind.UNKNOWN), 503, "unknown"),
        (Answer(kind=AnswerKind.DUPLICATE, outcome={"status": "executed"}), 200, "duplicate"),
    ],
)
def test_any_other_answer_is_given_by_a_thread(engine: BeginningEngine, answer: Answer, status: int, told: str) -> None:
    with serving(engine) as server, posted(server, engine) as connection:
        engine.begun[0].settle(answer)
        reply = reply_of(connection)
    assert (reply[0], reply[2].get("status") or reply[2]["error"]["code"]) == (status, told)
    assert engine.finished == 1


RIGHT = json.dumps({**BASE_ENTRY, "secret": "right"}).encode()
ELSEWHERE = {
    "another address": request(ALERT, path="/webhooks"),
    "a portfolio's name with a slash": request(ALERT, path="/webhook/main/"),
    "no name": request(ALERT, path="/webhook/"),
    "an unknown portfolio": request(ALERT, path="/webhook/other"),
    "a query": request(ALERT, path="/webhook?portfolio=other"),
    "a web page": request(ALERT, headers="Origin: http://example.com\r\n"),
    "a web page's request": request(ALERT, headers="Sec-Fetch-Site: cross-site\r\n"),
    "no alert": request(b"hello"),
    "a wrong secret": request(json.dumps({**BASE_ENTRY, "secret": "wrong"}).encode()),
    "no secret": request(json.dumps(BASE_ENTRY).encode()),
    "another method": request(ALERT, method="PUT"),
    "a host that is no name": request(RIGHT).replace(b"Host: x", b"Host: a..b"),
    "a host with too long a name": request(RIGHT).replace(b"Host: x", b"Host: " + 64 * b"a"),
    "a websocket": request(RIGHT, headers="Connection: upgrade\r\nUpgrade: websocket\r\n"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_nothing_is_begun_with_what_is_refused(engine: BeginningEngine, name: str) -> None:
    with serving(engine, webhook_secret="right") as server, connected(server) as connection:
        connection.sendall(ELSEWHERE[name])
        assert reply_of(connection)[0] in (400, 401, 403, 404, 405)
        assert engine.begun == []
        # One that is right is begun with, on the same connection.
        connection.sendall(request(RIGHT, path="/webhook/main"))
        wait_until(lambda: len(engine.begun) == 1)
        engine.decide()
        assert reply_of(connection)[0] == 200


def test_a_body_that_takes_long_to_look_at_is_left_to_a_thread(engine: BeginningEngine) -> None:
    with serving(engine) as server, connected(server) as connection:
        connection.sendall(request(json.dumps({**BASE_ENTRY, "more": [0] * 20_000}).encode()))
        assert reply_of(connection)[0] == 200
        assert (engine.begun, len(engine.signals)) == ([], 1)


def test_nothing_is_begun_with_for_an_address_that_is_not_allowed(engine: BeginningEngine) -> None:
    options: dict[str, Any] = {"allowed_addresses": ("52.89.214.238",), "trusted_proxies": ("127.0.0.1",)}
    with serving(engine, **options) as server, connected(server) as connection:
        for headers in ("", "X-Forwarded-For: 203.0.113.9\r\n"):
            connection.sendall(request(ALERT, headers=headers))
            assert reply_of(connection)[0] == 403
        assert engine.begun == []
        connection.sendall(request(ALERT, headers="X-Forwarded-For: 52.89.214.238\r\n"))
        wait_until(lambda: len(engine.begun) == 1)
        engine.decide()
        assert reply_of(connection)[0] == 200


def test_what_stands_behind_an_alert_on_its_connection_is_answered_behind_it(engine: BeginningEngine) -> None:
    all_three = request(ALERT) + request(b"hello") + request(ALERT)
    with serving(engine) as server, posted(server, engine, all_three) as connection:
        engine.decide(0, lots=1)
        assert [status for status, _ in replies_of(connection, 3)] == [200, 400, 200]
        # A thread answered the second one, and so had the third to itself.
        assert len(engine.begun) == 1


def test_a_sender_that_hangs_up_disturbs_nobody(engine: BeginningEngine) -> None:
    with serving(engine) as server:
        with posted(server, engine):
            pass
        with posted(server, engine) as other:
            engine.decide(0)
            engine.decide(1, lots=4)
            assert reply_of(other)[2]["lots"] == 4


def test_a_server_that_ends_answers_what_it_has_begun_with(engine: BeginningEngine) -> None:
    with serving(engine) as server, posted(server, engine) as connection:
        server.stop()
        time.sleep(0.2)
        engine.decide()
        status, headers, _ = reply_of(connection)
    assert (status, headers["Connection"]) == (200, "close")


def test_a_server_that_is_stopped_while_it_answers_does_not_sleep_on_it(
    engine: BeginningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep, body = wasyncore.loop, webhook.BegunAlert.body

    def noted(timeout: float, **options: Any) -> None:
        if server._stopping:
            slept.append(timeout)
        sleep(timeout=timeout, **options)

    def stopped(begun: webhook.BegunAlert) -> bytes:
        server.stop()  # as a signal handler does, where the main thread serves
        return body(begun)

    with serving(engine) as server, posted(server, engine) as connection:
        monkeypatch.setattr(wasyncore, "loop", noted)
        monkeypatch.setattr(webhook.BegunAlert, "body", stopped)
        engine.decide()
        assert reply_of(connection)[0] == 200
        assert connection.recv(1) == b""
    assert slept
    assert max(slept) < 0.1


def test_nobody_waits_for_the_log_of_his_answer_and_it_is_written_though_he_is_gone(
    engine: BeginningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, goes_on = [], threading.Event()

    def slowly(event: str, **fields: Any) -> None:
        assert goes_on.wait(PATIENCE)
        told.append((event, fields["status"]))

    monkeypatch.setattr(webhook.log, "info", slowly, raising=False)
    with serving(engine) as server:
        with posted(server, engine) as connection:
            engine.decide()
            assert reply_of(connection)[0] == 200
            assert told == []
            goes_on.set()
            wait_until(lambda: len(told) == 1)
        with posted(server, engine) as connection:
            # So that the server is told at once that nobody is there.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        engine.decide()
        wait_until(lambda: len(told) == 2)
    assert told == [("signal", "executed")] * 2


def test_a_server_that_ends_waits_no_longer_than_its_bound(engine: BeginningEngine) -> None:
    with serving(engine, drain_seconds=0.3) as server, posted(server, engine) as connection:
        server.stop()
        assert connection.recv(1) == b""
    engine.decide()  # nobody is there any more to be told


def test_an_answer_that_cannot_be_written_down_is_a_503_and_no_end(engine: BeginningEngine) -> None:
    with serving(engine) as server, posted(server, engine) as connection:
        engine.decide(lots=object())
        status, _, body = reply_of(connection)
        assert (status, body["error"]["code"]) == (503, "internal")
        with posted(server, engine) as again:
            engine.decide()
            assert reply_of(again)[0] == 200


def test_what_cannot_be_begun_with_for_a_fault_of_ours_is_left_to_the_application(
    engine: BeginningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: Any) -> Delivery:
        raise RuntimeError("a fault")

    with serving(engine) as server, posted(server, engine, 2 * request(ALERT)) as connection:
        monkeypatch.setattr(engine, "begin", faulty)
        # The second one is looked at by the I/O thread when it has answered the first.
        engine.decide(lots=1)
        assert [body["lots"] for _, body in replies_of(connection, 2)] == [1, 2]
        connection.sendall(request(ALERT))
        assert reply_of(connection)[2]["lots"] == 2


def test_a_connection_that_cannot_be_answered_is_closed_and_no_other(
    engine: BeginningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_: channel.Channel) -> None:
        raise OSError(errno.EHOSTUNREACH, "no route to host")

    # The next request waits to be told to continue: waitress does so when the one before it is answered.
    next_one = b"POST /webhook HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    with serving(engine) as server, posted(server, engine) as other:
        with monkeypatch.context() as patched, posted(server, engine, request(ALERT) + next_one) as connection:
            patched.setattr(channel.Channel, "send_continue", unreachable)
            engine.decide(1)
            assert reply_of(connection)[0] == 200
            assert connection.recv(1) == b""
        engine.decide(0)
        assert reply_of(other)[0] == 200
