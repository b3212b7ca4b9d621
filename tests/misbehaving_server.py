"""An HTTP server that does what a test tells it to do wrong, where and how often."""

import json
import socket
import threading
import time
from collections import defaultdict, deque
from contextlib import suppress
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


class Trouble(Enum):
    """What happens to the next requests of an endpoint."""

    LOST_BEFORE = "nothing is done, the connection is cut"
    LOST_AFTER = "it is done, the connection is cut before the answer"
    CUT_SHORT = "it is done, the connection is cut inside the answer"
    FAILS_BEFORE = "nothing is done, the answer is 500"
    FAILS_AFTER = "it is done, the answer is 500"
    GARBLED = "it is done, the answer is a proxy's page"
    HANGS_BEFORE = "nothing comes; it is done late, when nobody waits any more"
    HANGS_AFTER = "it is done at once, nothing comes"
    SLOW = "it is done, the answer takes its time"
    TOO_MANY = "nothing is done, the answer is 429"
    REJECTS = "nothing is done, the broker says no"
    REJECTS_LATER = "it is taken, and then rejected in the book"
    DUPLICATED = "every row is there twice"
    OUT_OF_ORDER = "the rows come in reverse"


_BEFORE = {Trouble.HANGS_BEFORE}
_NOT_DONE = {Trouble.LOST_BEFORE, Trouble.FAILS_BEFORE, Trouble.TOO_MANY, Trouble.REJECTS}
_CUT = {Trouble.LOST_BEFORE, Trouble.LOST_AFTER, Trouble.HANGS_BEFORE, Trouble.HANGS_AFTER}
_FAILS = {Trouble.FAILS_BEFORE, Trouble.FAILS_AFTER}


class MisbehavingServer:
    """Listens on a free port of an address, a thread a request. A context manager; children answer in `perform`."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.requests: list[tuple[str, dict[str, Any]]] = []
        # By endpoint when each of its requests was there, whole: seconds of the monotonic clock.
        self.received: dict[str, list[float]] = defaultdict(list)
        self._troubles: dict[str, deque[tuple[Trouble, float]]] = defaultdict(deque)
        self._stopping = threading.Event()
        self._server = _Server((address, 0), _Handler, self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def misbehave(self, endpoint: str, trouble: Trouble, *, times: int = 1, seconds: float = 0.0) -> None:
        """Have the next `times` requests of an endpoint meet trouble, after what was ordered before."""
        self._troubles[endpoint].extend([(trouble, seconds)] * times)

    def asked(self, endpoint: str) -> int:
        """How many requests of an endpoint came."""
        return sum(name == endpoint for name, _ in self.requests)

    def endpoint_of(self, method: str, path: str) -> str:
        """The name of an endpoint in `misbehave`."""
        raise NotImplementedError

    def perform(self, endpoint: str, fields: dict[str, Any], trouble: Trouble | None) -> tuple[int, Any]:
        """Do it; status and body. `trouble` is there for those that are the endpoint's own."""
        raise NotImplementedError

    def refusal(self, trouble: Trouble) -> tuple[int, Any]:
        """Status and body of a request that is turned away."""
        raise NotImplementedError

    def serve(self, handler: "_Handler", endpoint: str, fields: dict[str, Any]) -> None:
        """Answer one request, or not."""
        self.received[endpoint].append(time.monotonic())
        self.requests.append((endpoint, fields))
        waiting = self._troubles[endpoint]
        trouble, seconds = waiting.popleft() if waiting else (None, 0.0)
        if trouble in _BEFORE:
            self._stopping.wait(seconds)
        if trouble in _NOT_DONE:
            status, body = self.refusal(trouble)
        else:
            status, body = self.perform(endpoint, fields, trouble)
        if trouble in (Trouble.SLOW, Trouble.HANGS_AFTER):
            self._stopping.wait(seconds)
        if trouble in _CUT:
            handler.cut()
        elif trouble in _FAILS:
            handler.answer(500, b'{"status": "error", "message": "Failed to place order due to internal error"}')
        elif trouble is Trouble.GARBLED:
            handler.answer(200, b"<html>a proxy's page</html>")
        elif trouble is Trouble.CUT_SHORT:
            handler.answer(status, json.dumps(body).encode(), cut_after=8)
        else:
            handler.answer(status, json.dumps(body).encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], handler: type["_Handler"], owner: MisbehavingServer) -> None:
        super().__init__(address, handler)
        self.owner = owner

    def handle_error(self, request: object, client_address: object) -> None:
        """Who was told nothing may be gone when we speak."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._serve(json.loads(content) if content else {})

    def do_GET(self) -> None:
        self._serve(dict(parse_qsl(urlsplit(self.path).query)))

    def _serve(self, fields: dict[str, Any]) -> None:
        owner = self.server.owner
        owner.serve(self, owner.endpoint_of(self.command, urlsplit(self.path).path), fields)

    def cut(self) -> None:
        """End the connection without a word."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, status: int, content: bytes, *, cut_after: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:cut_after])
        if cut_after is not None:
            self.cut()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Tests do not want to see it."""
