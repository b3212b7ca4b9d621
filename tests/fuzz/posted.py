"""Requests that nobody should send: bodies from nothing, valid alerts with something wrong in them, odd heads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.builders import NOON
from tests.fake_engine import BASE_ENTRY

T = TypeVar("T")
SECRET = "a secret of the webhook"
TOGETHER = 20
_BYTES = 64
_TIME = NOON.isoformat()
ALERTS: tuple[dict[str, Any], ...] = (
    BASE_ENTRY | {"lots": 3, "supertrend": 51650.5, "roc": 2.4, "timestamp": _TIME, "secret": SECRET},
    {
        "type": "PYRAMID",
        "instrument": "BANK_NIFTY",
        "position": "Long_2",
        "price": 52700,
        "stop": 52350,
        "atr": 350,
        "er": 0.82,
        "timestamp": _TIME,
        "bar_time": _TIME,
        "seq": 7,
        "secret": SECRET,
    },
    {
        "type": "EXIT",
        "instrument": "BANK_NIFTY",
        "position": "ALL",
        "price": 52100,
        "reason": "STOP",
        "timestamp": _TIME,
        "position_size": 0,
        "market_position": "flat",
        "secret": SECRET,
    },
    {
        "type": "MARKET_DATA",
        "instrument": "GOLD_MINI",
        "price": 72000,
        "atr": 500,
        "timestamp": _TIME,
        "secret": SECRET,
        "portfolio": "main",
    },
)
_TEXTS = tuple(json.dumps(alert).encode() for alert in ALERTS)
_NAMES = (*sorted({name for alert in ALERTS for name in alert}), "unknown", "", "__class__", "\ud800", "Type")
# As they stand in JSON, or as nothing that may stand there.
_VALUES = (
    *("null", "true", "false", "[]", "{}", '""', '" "', "0", "-0", "-1", "1", "1e999", "-1e999", "1e-999", "NaN"),
    *(
        "Infinity",
        "-Infinity",
        "1" * 400,
        "0." + "1" * 400,
        "1e400000000",
        "9" * 17,
        "999999999999.99999999",
        "01",
        "+1",
    ),
    *(
        '"{{close}}"',
        '"\\u0000"',
        '"\\ud800"',
        '"\\uffff"',
        '"x' + "y" * 5000 + '"',
        '"52000"',
        '"5,2"',
        "1.",
        ".5",
        "0x1F",
    ),
    *("[1]", '{"a": 1}', '"ALL"', '"Long_9"', '"Short_1"', '"long_1 "', '"Long_1\\n"', '"2026-01-14"', f'"{_TIME}"'),
    *('"9999-12-31T23:59:59.999999+23:59"', '"0001-01-01T00:00:00Z"', '"2026-02-30T00:00:00Z"', "1768371300", "'a'"),
    *(
        '"BASE_ENTRY"',
        '"MARKET_DATA"',
        '"EXIT"',
        '"PYRAMID"',
        '"GOLD_MINI"',
        '"\u0663\u0664"',
        '"\U0001f4c8"',
        "[" * 200,
    ),
    *("[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, "", ",", '"', "\\", "/**/", "undefined"),
)
_BAD_BYTES = (
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xf4\x90\x80\x80",
    b"\x00",
    b"\x1b[31m",
    b"\r\n",
    b"\\",
    b'"',
)
_HEADERS = (
    *(("HTTP_X_SIGNATURE", text) for text in ("sha256=00", "\xff", "0" * 64)),
    *(("HTTP_X_TIMESTAMP", text) for text in ("1e9", "-1", "\xff")),
    *(
        ("CONTENT_TYPE", text)
        for text in ("application/json", "text/plain", "multipart/form-data", "a/b; charset=utf-16", "\xff")
    ),
    *(("HTTP_CONTENT_ENCODING", text) for text in ("gzip", "identity")),
    *(("HTTP_ORIGIN", "http://a.page"), ("HTTP_SEC_FETCH_SITE", "cross-site"), ("HTTP_SEC_FETCH_SITE", "none")),
    *(("HTTP_X_FORWARDED_FOR", text) for text in ("203.0.113.9", "1.2.3.4, ,x", "::1", "\xff", "1" * 4000)),
    *(("HTTP_HOST", text) for text in ("", "..", "a" * 300, "\xff", "[::1", "x:99999")),
    *(("HTTP_UPGRADE", "websocket"), ("HTTP_AUTHORIZATION", "Bearer x"), ("HTTP_COOKIE", "session=\xff; ;;=")),
    *(("HTTP_X_HTTP_METHOD_OVERRIDE", "DELETE"), ("HTTP_TRANSFER_ENCODING", "chunked"), ("HTTP_ACCEPT", "text/html")),
)
_PATHS = (
    *("/webhook",) * 6,
    "/webhook/main",
    f"/webhook/main/{SECRET}",
    "/webhook/main/guessed",
    f"/webhook/main/{SECRET}/",
    "/webhook/MAIN",
    "/webhook/other",
    "/webhook/%00",
    "/webhook/",
    "/webhook/\xff",
    "/webhook//",
)
_QUERIES = (*("",) * 6, "portfolio=main", "portfolio=other", "portfolio=main&portfolio=x", "%ff=%", "a[]=1&&;")


@dataclass(frozen=True, slots=True)
class Request:
    """A POST, with its headers as WSGI names them."""

    body: bytes
    path: str = "/webhook"
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class _Choices:
    """Choices, made by bytes that Hypothesis draws: one draw for a request, where one for each choice takes longer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def bytes(self, count: int) -> bytes:
        """The next ones; zeros behind the last."""
        taken = self._data[self._at : self._at + count].ljust(count, b"\0")
        self._at += count
        return taken

    def below(self, limit: int) -> int:
        """A number."""
        return int.from_bytes(self.bytes(2)) % limit

    def of(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.below(len(options))]


def _with_members(choices: _Choices) -> bytes:
    """A valid alert with members of another name or value in it: some are there twice."""
    kept = {name: json.dumps(value) for name, value in choices.of(ALERTS).items()}
    twice = []
    for _ in range(1 + choices.below(4)):
        name, value = choices.of(_NAMES), choices.of(_VALUES)
        if name in kept and choices.below(3) == 2:
            twice.append((name, value))
        else:
            kept[name] = value
    text = ", ".join(f"{json.dumps(name)}: {value}" for name, value in [*kept.items(), *twice])
    return f"{{{text}}}".encode("utf-8", errors="surrogatepass")


def _spoilt(choices: _Choices) -> bytes:
    """A valid alert with bytes put into it, over it, or cut out of it."""
    body = choices.of(_TEXTS)
    for _ in range(1 + choices.below(4)):
        start, cut = choices.below(len(body) + 1), choices.of((0, 0, 1, 2, 40))
        put = choices.of(_BAD_BYTES) if choices.below(2) else choices.bytes(choices.below(5))
        body = body[:start] + put + body[start + cut :]
    return body


def _padded(choices: _Choices) -> bytes:
    return choices.of(_TEXTS).ljust(choices.of((4096, 4097, 65_536, 65_537)))


def _from_nothing(choices: _Choices) -> bytes:
    return choices.bytes(choices.below(60))


def _a_value(choices: _Choices) -> bytes:
    return choices.of(_VALUES).encode("utf-8", errors="surrogatepass")


_KINDS = (*(_with_members,) * 8, *(_spoilt,) * 16, *(_from_nothing,) * 4, *(_a_value,) * 3, _padded)


def request_of(data: bytes) -> Request:
    """The request that these bytes choose."""
    choices = _Choices(data)
    body = choices.of(_KINDS)(choices)
    if choices.below(2):
        return Request(body)
    headers = tuple(choices.of(_HEADERS) for _ in range(choices.below(3)))
    return Request(body, path=choices.of(_PATHS), query=choices.of(_QUERIES), headers=headers)


def requests_of(data: bytes) -> list[Request]:
    """Each piece chooses one."""
    return [request_of(data[start : start + _BYTES]) for start in range(0, len(data), _BYTES)]


# Many at a time: Hypothesis takes as long for one draw as the application for a request.
several_requests = st.binary(min_size=TOGETHER * _BYTES, max_size=TOGETHER * _BYTES).map(requests_of)
