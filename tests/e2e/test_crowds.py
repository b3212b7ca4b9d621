"""Who connects and says nothing, or next to nothing, keeps no alert out."""

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from live.channel import CONNECTION_LIMIT
from tests.integration.test_cli_database import config_for
from tests.live_process import LiveProcess
from tests.waiting import Stopwatch

IDLE, DRIPPING, ALERTS = 2000, 300, 30
ANSWERED_WITHIN = 2.0
ASKED = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
BEGINNING = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for the sockets of a crowd in this process too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (IDLE + DRIPPING)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"a process may have {hard} files here, which are too few for the crowd")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """Connections that are of no use; whichever is closed is made again, as who means harm would."""

    def __init__(self, port: int, count: int, said: bytes, then: bytes = b"") -> None:
        self._port, self._said, self._then = port, said, then
        self.made = 0
        self.connections = [self._connection() for _ in range(count)]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _connection(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.setblocking(False)
        with suppress(OSError):
            connection.send(self._said)
        self.made += 1
        return connection

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            for place, connection in enumerate(self.connections):
                if not self._goes_on(connection):
                    connection.close()
                    self.connections[place] = self._connection()

    def _goes_on(self, connection: socket.socket) -> bool:
        """Say what is said now and then; False where the other side has had enough."""
        try:
            connection.send(self._then)
            while connection.recv(4096):
                pass
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def end(self) -> None:
        """Close them all."""
        self._ended.set()
        self._thread.join()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def live(dsn: str, tmp_path: Path) -> Iterator[LiveProcess]:
    with LiveProcess(tmp_path / "data", "--db-config", str(config_for(dsn, tmp_path))) as live:
        yield live


def seconds_of_alerts(live: LiveProcess) -> list[float]:
    """How long each alert took to be decided, from its connection on."""
    took = []
    for number in range(ALERTS):
        fired = (datetime.now(UTC) - timedelta(minutes=ALERTS - number)).isoformat()
        alert = {"type": "MARKET_DATA", "instrument": "BANK_NIFTY", "price": 52000 + number, "atr": 350}
        started = Stopwatch()
        status, answer = live.post({**alert, "timestamp": fired})
        took.append(started.seconds)
        assert status == 200
        assert answer["status"] != "duplicate"
        time.sleep(0.2)
    return took


@pytest.mark.parametrize("said", [b"", ASKED], ids=["that say nothing", "that had an answer and stay"])
def test_two_thousand_idle_and_three_hundred_dripping_connections_keep_no_alert_from_its_answer(
    live: LiveProcess, many_files: None, said: bytes
) -> None:
    crowds = [Crowd(live.port, IDLE, said), Crowd(live.port, DRIPPING, BEGINNING, then=b" ")]
    try:
        took = seconds_of_alerts(live)
    finally:
        for crowd in crowds:
            crowd.end()
    assert sum(crowd.made for crowd in crowds) > CONNECTION_LIMIT
    assert max(took) < ANSWERED_WITHIN, took
    assert "too many connections" in live.log()
