"""Answers as waitress writes them: errors in our JSON form, what was begun with, and what the application says."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from waitress.task import ErrorTask, WSGITask
from waitress.utilities import build_http_date

from live.api.encoding import JSON, encode
from live.api.errors import error_body
from live.arriving import ARRIVED_FILE
from live.parser import HttpProblem
from live.short_cut import ARRIVED, BEGUN, DRAINING

_WORDS: Mapping[int, tuple[int, str, str]] = {
    400: (400, "Bad Request", "bad_request"),
    413: (413, "Content Too Large", "too_large"),
    431: (431, "Request Header Fields Too Large", "headers_too_large"),
    500: (503, "Service Unavailable", "internal"),
    501: (400, "Bad Request", "bad_request"),  # an unknown transfer coding is the caller's mistake
}


def answer_of(body: bytes) -> bytes:
    """A 200 with a JSON body, head and all, on a connection that goes on: byte for byte what Task writes."""
    return _HEAD % (len(body), _date(int(time.time()))) + body


_HEAD = (
    b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n"
    b"Content-Type: " + JSON.encode() + b"\r\nDate: %s\r\n\r\n"
)


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return str(build_http_date(second)).encode()


class JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers an error of waitress' own in the form of the API."""

    def execute(self) -> None:
        """Write the answer and close the connection."""
        error = self.request.error
        if isinstance(error, HttpProblem):
            code, reason, name = error.code, error.reason, error.name
        else:
            code, reason, name = _WORDS.get(error.code, _WORDS[400])
        body = encode(error_body(name, str(error.body)))
        self.status = f"{code} {reason}"
        self.response_headers += [("Content-Type", JSON), ("Cache-Control", "no-store")]
        self.content_length = len(body)
        self.set_close_on_finish()
        self.write(body)


class Task(WSGITask):  # type: ignore[misc]
    """A request for the application; while the server drains, its answer is the connection's last."""

    wrote_header: bool

    def execute(self) -> None:
        """Write the answer: what was begun with, or what the application says."""
        if self.channel.server.draining:
            self.set_close_on_finish()
        begun, refusal = self.request.begun, self.request.refusal
        if refusal is not None:
            self.set_close_on_finish()  # the rest of its body is not read
            self.status, self.response_headers, body = refusal
            self.complete, self.content_length = True, len(body)
            self.write(body)
            return
        if begun is None or not begun.answerable:
            super().execute()
            return
        body = begun.body()
        self.complete = True
        self.response_headers += [("Content-Type", JSON), ("Cache-Control", "no-store")]
        self.content_length = len(body)
        try:
            self.write(body)
        finally:  # whether or not anybody was there to take it
            begun.answered()

    def get_environment(self) -> dict[str, Any]:
        """The request as WSGI has it."""
        environment: dict[str, Any] = super().get_environment()
        environment[ARRIVED] = self.channel.queued_at
        environment[DRAINING] = self._draining
        if self.request.begun is not None:
            environment[BEGUN] = self.request.begun
        if self.request.arriving is not None:
            environment[ARRIVED_FILE] = self.request.arriving
        return environment

    def _draining(self) -> bool:
        return bool(self.channel.server.draining)

    def write(self, data: bytes) -> None:
        """Write a part of the answer: head and body together, which saves a system call and a packet."""
        if self.wrote_header or not data or len(data) != self.content_length or not self.has_body:
            super().write(data)
            return
        self.channel.write_soon(self.build_response_header() + data)
        self.wrote_header = True
        self.content_bytes_written = len(data)
