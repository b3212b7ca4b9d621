"""The limit of a POST: Flask on our waitress; the body read and checked as the webhook does, an answer as long as ours.

A child process of the bench. Nothing is decided and nothing is kept.
"""

import os
from collections.abc import Callable
from datetime import UTC

import msgspec
from flask import Flask, Response, request

from bench.stories import INSTRUMENTS
from core.alert import Alert, parse_alert
from live.server import Server

# As ours to a bar with an open position.
ANSWER = msgspec.json.encode(
    {
        "status": "executed",
        "signal_id": 123456,
        "fingerprint": "0" * 64,
        "journal_seq": 123456,
        "warnings": [],
        "position_id": None,
        "positions": ["BENCH_0-Long_1-0123456789ab"],
        "lots": None,
        "limiter": None,
        "reason": None,
        "sizing": {},
    }
)


def checked_alert() -> Alert:
    """The request's body, checked."""
    return parse_alert(request.get_data(), instruments=INSTRUMENTS, naive_timezone=UTC)


def json_answer(body: bytes) -> Response:
    """A body as every answer of ours is told."""
    response = Response(body, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def echo() -> Response:
    """The same for every alert that is one."""
    checked_alert()
    return json_answer(ANSWER)


def serve(name: str, receive: Callable[[], Response]) -> None:
    """Serve POST /webhook on a free port, and say which."""
    app = Flask(name, static_folder=None)
    app.add_url_rule("/webhook", name, receive, methods=["POST"])
    server = Server(app, "127.0.0.1", 0)
    os.write(1, f"ready on http://127.0.0.1:{server.port}\n".encode())
    server.serve()


if __name__ == "__main__":
    serve("echo", echo)
