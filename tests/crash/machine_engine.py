"""The test's end of a killable engine: tests/crash/machine_child.py is the other one."""

import json
import os
import select
import signal as signals
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.live_process import ROOT

PATIENCE_SECONDS = 60.0


class EngineZygote:
    """The process that forks engines; their log is a file below `folder`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pm-machine-")
        folder = Path(self._folder.name)
        self._address, self._log = str(folder / "engines"), folder / "log"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._address)
        self._listener.listen()
        self._listener.settimeout(PATIENCE_SECONDS)
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "tests.crash.machine_child"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, cwd=ROOT)

    def fork(self, **request: Any) -> "EngineProcess":
        """An engine's process; it may have been killed, or have failed, before it served."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"socket": self._address, **request}).encode() + b"\n")
        self._process.stdin.flush()
        connection, _ = self._listener.accept()
        return EngineProcess(connection, self._log)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._listener.close()
        self._folder.cleanup()


class EngineProcess:
    """An engine that answers, until it is killed."""

    def __init__(self, connection: socket.socket, log: Path) -> None:
        self._connection, self._log = connection, log
        self._unread = b""
        self._sent = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self.alive = True
        self.ready = False
        self.failed: str | None = None
        self._read_until(lambda: self.ready or self.failed is not None)
        if not self.ready:
            self._bury()

    @property
    def log_tail(self) -> str:
        """How the log of this engine and those before it ends."""
        return self._log.read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.alive:
            signals.pidfd_send_signal(self._pidfd, signals.SIGKILL)
            self._read_until(lambda: False)

    def stop(self) -> None:
        """Let it decide what waits and end by itself."""
        if self.alive:
            self._connection.shutdown(socket.SHUT_WR)
            self._read_until(lambda: False)

    def tell(self, **request: Any) -> None:
        """Set something there."""
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            self._read_until(lambda: False)

    def ask(
        self, requests: list[dict[str, Any]], meanwhile: Callable[[], None] | None = None, after: float = 0.0
    ) -> list[dict[str, Any] | None]:
        """Ask all at once; the answers in the same order, None where it was killed before it answered.

        `meanwhile` is done `after` so many seconds, if not all have answered by then.
        """
        numbers = range(self._sent + 1, self._sent + 1 + len(requests))
        self._sent += len(requests)
        for number, request in zip(numbers, requests, strict=True):
            self.tell(id=number, **request)
        if meanwhile is not None:
            self._read_until(lambda: self._answers.keys() >= set(numbers), within=after)
            meanwhile()
        self._read_until(lambda: self._answers.keys() >= set(numbers))
        return [self._answers.pop(number, None) for number in numbers]

    def _read_until(self, holds: Callable[[], bool], within: float | None = None) -> None:
        """Read until something holds, the process is gone, or so many seconds have passed."""
        deadline = time.monotonic() + (PATIENCE_SECONDS if within is None else within)
        while self.alive and not holds():
            left = deadline - time.monotonic()
            if left <= 0:
                assert within is not None, f"the engine does not answer; its log ends:\n{self.log_tail}"
                return
            if select.select([self._connection], [], [], left)[0]:
                self._read()

    def _read(self) -> None:
        try:
            data = self._connection.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._bury()
            return
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._note(json.loads(line))

    def _note(self, told: dict[str, Any]) -> None:
        match told:
            case {"pid": pid}:
                self._pidfd = os.pidfd_open(pid)
            case {"ready": _}:
                self.ready = True
            case {"failed": reason}:
                self.failed = reason
            case {"fatal": reason}:
                raise AssertionError(f"the engine gave up: {reason}; its log ends:\n{self.log_tail}")
            case {"id": number}:
                self._answers[number] = told

    def _bury(self) -> None:
        if self.alive:
            self.alive = False
            self._connection.close()
            # Its connection ends before the process does: its locks may still be held for a moment.
            select.select([self._pidfd], [], [], PATIENCE_SECONDS)
            os.close(self._pidfd)
