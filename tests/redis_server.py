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


class RedisServer:
    """A real one, on a port of its own, keeping nothing."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self.process = self._started()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

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
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)],
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
