"""What a straightforward program does: each request decides under one lock and commits its own rows before the next one may.

A child process of the bench: the same server, framework, check of the body, decision and statement as ours.
"""

import sys
import threading
from contextlib import closing
from datetime import UTC, datetime

import msgspec
from flask import Response, request

from bench.echo import checked_alert, json_answer, serve
from bench.host import BareWriter
from bench.stories import Recorder
from core.fingerprint import fingerprint_of
from core.inputs import SignalInput


class CommitEach:
    """One connection, one lock, one commit a request."""

    def __init__(self, writer: BareWriter) -> None:
        self._writer, self._recorder, self._lock = writer, Recorder(), threading.Lock()
        writer.write(self._recorder.start())

    def receive(self) -> Response:
        """Decide one alert, commit it, answer."""
        alert = checked_alert()
        fingerprint = fingerprint_of("main", alert.signal)
        given = SignalInput(signal=alert.signal, fingerprint=fingerprint, received_at=datetime.now(UTC))
        with self._lock:
            self._writer.write(self._recorder.document([(given, request.get_data())]))
            (outcome,) = self._recorder.outcomes
        return json_answer(
            msgspec.json.encode({"fingerprint": fingerprint, "warnings": alert.warnings, "outcome": outcome})
        )


if __name__ == "__main__":
    with closing(BareWriter(sys.argv[1])) as writer:
        serve("commit_each", CommitEach(writer).receive)
