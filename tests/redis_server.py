"""A real Redis for tests, on a port of its own."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from live.leadership import redis_client
from tests.waiting import eventually

NEEDS_REDIS = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="there is no redis-server: .ci/run installs it"
)
# Any client is let in, wherever it listens, and nothing is kept.
_SETTINGS = ("--protected-mode", "no", "--save", "")


class RedisServer:
    """A real one, on a port of its own, keeping nothing."""

    def __init__(self, folder: Path, *, address: str = "127.0.0.1") -> None:
        with socket.socket() as free:
            free.bind((address, 0))
            self.port = free.getsockname()[1]
        self._address = address
        self._folder = folder
        self.process = self._started()

    @property
    def url(self) -> str:
        return f"redis://{self._address}:{self.port}/0"

    def restart(self) -> None:
        """It comes back empty."""
        self.stop()
        self.process = self._started()

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", self._address, *_SETTINGS, "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
        )
        assert eventually(self._answers)
        return process

    def _answers(self) -> bool:
        try:
            return bool(redis_client(self.url).ping())
        except Exception:  # noqa: BLE001 - whatever it says, it is not up yet
            return False


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """It ends with the test."""
    server = RedisServer(tmp_path)
    yield server
    server.stop()
