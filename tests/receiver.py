"""A provider for tests: takes what apprise's json:// sends to it, on loopback, and answers as it is told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """`status` is what it answers; while `silent` is set it answers nothing. `got` are the messages, refused ones too."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.status = 200
        self.silent = threading.Event()
        self.ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.got.append({**body, "answered": receiver.status})
                self._answer()

            def do_GET(self) -> None:
                receiver.calls.append(self.path)
                self._answer()

            def _answer(self) -> None:
                while receiver.silent.is_set() and not receiver.ended.wait(0.02):
                    pass
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                with suppress(OSError):  # who asked did not wait
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """As apprise knows it."""
        return f"json://{self.address}/a-secret-path"

    @property
    def taken(self) -> list[dict[str, Any]]:
        """What it said that it took."""
        return [message for message in self.got if message["answered"] == 200]

    def said(self) -> str:
        """All that it took, as one text."""
        return "\n".join(f"{message['title']}\n{message['message']}" for message in self.taken)

    def offered(self) -> str:
        """All that came, taken or not, as one text."""
        return "\n".join(message["message"] for message in self.got)

    def end(self) -> None:
        """Answer nobody any more."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def a_receiver() -> Iterator[Receiver]:
    """One for the block."""
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.end()
