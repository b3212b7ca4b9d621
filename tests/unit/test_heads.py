"""A head that came before is not parsed again, and means what waitress read in it the first time."""

from io import BytesIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from live.heads import LONGEST_HEAD, MOST_HEADS, Heads, WholeBody
from live.parser import Parser

SETTINGS = Adjustments(max_request_header_size=16 * 1024, max_request_body_size=64 * 1024)
ALERT = b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\n"


def read(data: bytes, heads: Heads | None) -> tuple[int, Parser]:
    """How many bytes it took, and what was read of them."""
    parser = Parser(SETTINGS, heads=heads)
    return parser.received(data), parser


def whole(data: bytes, heads: Heads | None) -> tuple[int, Parser]:
    """The same to the request's end."""
    taken, parser = read(data, heads)
    while not parser.completed and taken < len(data):
        taken += parser.received(data[taken:])
    return taken, parser


def told(parser: Parser, names: set[str]) -> dict[str, Any]:
    """What was read, as it is compared: a buffer by what it holds, an error by what it says."""
    noted = {name: getattr(parser, name, None) for name in names - {"body_rcv", "_admission", "_heads"}}
    return {
        **noted,
        "error": parser.error and parser.error.body,
        "kept": parser.read_body(),
        "body": parser.get_body_stream().read(),
    }


def was_known(data: bytes, heads: Heads) -> bool:
    return isinstance(read(data, heads)[1].body_rcv, WholeBody)


lines = st.sampled_from(
    [
        b"Host: localhost",
        b"Host: other",
        b"Content-Type: application/json",
        b"Content-Length: 0",
        b"Content-Length: 3",
        b"Content-Length: 7",
        b"content-length: 7",
        b"Content-Length: +7",
        b"Content-Length: 70000",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"X-Forwarded-For: 1.2.3.4",
        b" folded",
        b"no header",
        b"under_score: 1",
        b"",
    ]
)
firsts = st.sampled_from(
    [
        b"POST /webhook HTTP/1.1",
        b"POST /webhook/main/secret?a=b#c HTTP/1.1",
        b"POST /webhook HTTP/1.0",
        b"POST http://host/webhook HTTP/1.1",
        b"POST /%ff HTTP/1.1",
        b"GET /status HTTP/1.1",
        b"post /webhook HTTP/1.1",
        b"POST /webhook",
        b"",
        b"\r\nPOST /webhook HTTP/1.1",
    ]
)
heads_of_requests = st.builds(lambda first, rest: b"\r\n".join([first, *rest, b"", b""]), firsts, st.lists(lines))


@given(heads_of_requests, st.binary(max_size=20), st.binary(max_size=20))
@example(ALERT, b'{"a":1}', b'{"b":2}')
@example(ALERT, b'{"a":1}', b'{"b":2}POST /webhook HTTP/1.1\r\n')
@example(ALERT, b'{"a":1}', b"half")
@example(b"\r\n" + ALERT, b'{"a":1}', b'{"b":2}')
def test_a_request_is_read_alike_whether_or_not_its_head_came_before(head: bytes, first: bytes, second: bytes) -> None:
    heads = Heads()
    whole(head + first, heads)
    (taken, ours), (waitress_took, waitress) = whole(head + second, heads), whole(head + second, None)
    names = {*vars(ours), *vars(waitress), "completed", "empty", "chunked", "expect_continue"}
    assert taken == waitress_took
    assert told(ours, names) == told(waitress, names)


def test_the_second_alert_of_a_sender_is_not_parsed() -> None:
    heads = Heads()
    assert not was_known(ALERT + b'{"a":1}', heads)
    assert was_known(ALERT + b'{"b":2}', heads)


def test_a_requests_headers_are_its_own() -> None:
    heads = Heads()
    read(ALERT + b'{"a":1}', heads)
    _, second = read(ALERT + b'{"b":2}', heads)
    second.headers["HOST"] = "spoilt"
    _, third = read(ALERT + b'{"c":3}', heads)
    assert third.headers["HOST"] == "localhost"
    assert third.read_body() == b'{"c":3}'


def test_a_body_that_comes_later_is_waited_for() -> None:
    heads = Heads()
    read(ALERT + b'{"a":1}', heads)
    taken, parser = read(ALERT + b'{"b"', heads)
    assert taken == len(ALERT)
    for part in (b'{"b"', b":2}"):
        assert not parser.completed
        parser.received(part)
    assert parser.completed
    assert parser.read_body() == b'{"b":2}'


@pytest.mark.parametrize(
    "header",
    [
        "Authorization: Bearer token",
        "Cookie: session=1",
        "X-Signature: 0123",
        "X-Api-Key: 1",
        "X_Token: 1",
        "Host: another",
        f"User-Agent: {'x' * LONGEST_HEAD}",
        "Expect: 100-continue",
    ],
)
def test_a_head_that_is_not_plain_is_not_kept(header: str) -> None:
    assert not is_kept(ALERT[:-2] + header.encode() + b"\r\n\r\n")


@pytest.mark.parametrize(
    "address",
    [
        "/webhook/main/secret",
        "/webhook/main/",
        "/webhooks/secret",
        "/webhook?token=1",
        "/webhook#token",
        "http://user:secret@localhost/webhook",
        "/link/signed/approve",
        "/api/book/uploads",
        "/",
    ],
)
def test_an_address_that_may_hold_a_secret_is_not_kept(address: str) -> None:
    assert not is_kept(ALERT.replace(b"/webhook", address.encode()))


@pytest.mark.parametrize("address", ["/webhook", "/webhook/main"])
def test_an_alerts_address_is_kept(address: str) -> None:
    assert is_kept(ALERT.replace(b"/webhook", address.encode()))


def is_kept(head: bytes) -> bool:
    heads = Heads()
    read(head + b'{"a":1}', heads)
    return was_known(head + b'{"b":2}', heads)


def test_so_many_heads_are_kept_and_the_oldest_goes() -> None:
    heads = Heads()
    senders = [ALERT.replace(b"localhost", f"host{number}".encode()) + b'{"a":1}' for number in range(MOST_HEADS + 1)]
    for sent in senders:
        read(sent, heads)
    assert was_known(senders[-1], heads)
    assert was_known(senders[1], heads)
    assert not was_known(senders[0], heads)


def test_a_whole_body_is_what_waitress_needs_of_one() -> None:
    body = WholeBody(b"body")
    assert (len(body), body.getbuf().get(), body.completed, body.error) == (4, b"body", True, None)
    stream = body.getfile()
    assert isinstance(stream, BytesIO)
    assert stream.read() == b"body"
    body.close()
