"""Large files into the book over HTTP: who may, how much, one at a time; alerts are decided meanwhile, nothing is left over."""

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_live import an_alert, folder
from tests.live_process import ROOT, LiveProcess
from tests.waiting import eventually
from tests.workers import workers_of

__all__ = ["folder"]
MOST = 300_000
PATIENCE = 60.0
UPLOAD = "/api/book/uploads?kind=fx&format=csv"


@pytest.fixture
def live(folder: Path) -> Iterator[LiveProcess]:
    with LiveProcess(folder / "data", environment={"PORTFOLIO_BOOK__UPLOAD_MAX_BYTES": str(MOST)}) as live:
        command = [sys.executable, str(ROOT / "portfolio_manager.py"), "migrate", "--book", "--data-dir"]
        migrated = subprocess.run([*command, str(folder / "data")], check=False, capture_output=True, text=True)
        assert migrated.returncode == 0, migrated.stderr
        yield live


def token_of(live: LiveProcess) -> str:
    return (live.data_dir / "operator.token").read_text().strip()


def rates(rows: int, rate: str = "85") -> bytes:
    """A file of so many rates, each of a day of its own; a row has 24 bytes and more."""
    days = (f"{2000 + row // 336}-{row % 336 // 28 + 1:02}-{row % 28 + 1:02}" for row in range(rows))
    return "\n".join(["pair,as_of_date,rate", *(f"USD/INR,{day},{rate}" for day in days), ""]).encode()


LARGE = rates(6000)


@contextmanager
def sending(live: LiveProcess, length: int, **headers: str) -> Iterator[socket.socket]:
    """A connection whose head is sent, of a body of so many bytes."""
    given = {"Authorization": f"Bearer {token_of(live)}", "Content-Length": str(length), "Host": "127.0.0.1", **headers}
    head = f"POST {UPLOAD} HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in given.items() if text)
    with socket.create_connection(("127.0.0.1", live.port), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}\r\n".encode())
        yield connection


@contextmanager
def admitted(live: LiveProcess) -> Iterator[socket.socket]:
    """A connection that has the place, and was told to send LARGE."""
    with sending(live, len(LARGE), Expect="100-continue") as connection:
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        yield connection


def reply(connection: socket.socket) -> tuple[int, dict[str, object]]:
    with closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        return response.status, json.loads(response.read())


def upload(live: LiveProcess, body: bytes, address: str = UPLOAD, **headers: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=PATIENCE)
    given = {"Authorization": f"Bearer {token_of(live)}", **headers}
    connection.request("POST", address, body, given)
    with connection.getresponse() as response:
        told = json.loads(response.read())
    connection.close()
    return response.status, told


def test_a_large_file_is_taken_once_and_alerts_are_decided_while_it_comes(live: LiveProcess) -> None:
    assert len(LARGE) > 128 * 1024
    with admitted(live) as connection:
        connection.sendall(LARGE[:-1])
        assert live.post(an_alert())[1]["status"] == "executed"
        # One at a time: the second is told at once, whether it is small or large.
        for size in (100, len(LARGE)):
            status, told = upload(live, LARGE[:size])
            assert (status, told["error"]["code"]) == (429, "busy")
        connection.sendall(LARGE[-1:])
        status, told = reply(connection)
    assert (status, told["status"], told["rows_taken"], told["already"]) == (200, "COMPLETED", 6000, False)
    status, again = upload(live, LARGE, UPLOAD + "&name=other.csv")
    assert (status, again["batch_id"], again["already"]) == (200, told["batch_id"], True)
    listed = live.get("/api/book/uploads")[1]["uploads"]
    assert [(one["rows_total"], one["uploaded_by"]) for one in listed] == [(6000, "operator")]
    assert listed[0]["content_hash"] == hashlib.sha256(b"fx\n" + LARGE).hexdigest()


def test_who_may_not_is_told_before_his_file_is_read(live: LiveProcess) -> None:
    for header, code in (({"Authorization": ""}, 401), ({"Authorization": "Bearer wrong"}, 401)):
        with sending(live, len(LARGE), **header) as connection:
            connection.sendall(LARGE[: 16 * 1024])
            status, told = reply(connection)
        assert (status, told["error"]["code"]) == (code, "unauthorized")
    # And what is wrong with the address, and what is too large; none of it holds the place.
    with sending(live, MOST + 1) as connection:
        assert reply(connection)[0] == 413
    status, told = upload(live, LARGE, "/api/book/uploads?kind=cows&format=csv")
    assert (status, told["error"]["field"]) == (400, "kind")
    assert upload(live, LARGE)[0] == 200


def test_who_asks_first_is_told_to_go_on_only_if_he_may(live: LiveProcess) -> None:
    with sending(live, len(LARGE), Expect="100-continue", Authorization="Bearer wrong") as connection:
        assert connection.recv(12) == b"HTTP/1.1 401"
    with admitted(live) as connection:
        connection.sendall(LARGE)
        assert reply(connection)[0] == 200


def test_a_body_of_unknown_length_is_a_small_one(live: LiveProcess) -> None:
    chunk = b"%x\r\n%s\r\n" % (len(LARGE), LARGE)
    with sending(live, 0, **{"Content-Length": "", "Transfer-Encoding": "chunked"}) as connection:
        connection.sendall(chunk + b"0\r\n\r\n")
        assert reply(connection)[0] == 413


def test_who_hangs_up_leaves_his_place_and_no_file(live: LiveProcess) -> None:
    with admitted(live) as connection:
        connection.sendall(LARGE[:-1])
        assert upload(live, b"x")[0] == 429
    assert eventually(lambda: upload(live, rates(10))[0] == 200)
    assert list((live.data_dir / "uploads").iterdir()) == []


def test_a_kill_in_the_middle_leaves_nothing_and_the_file_is_taken_behind_it(folder: Path, live: LiveProcess) -> None:
    with sending(live, len(LARGE)) as connection:
        connection.sendall(LARGE)
        assert eventually(lambda: workers_of(live.process.pid))
        workers = workers_of(live.process.pid)
        live.sigkill()
    assert eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    with LiveProcess(folder / "data") as again:
        # What the killed one had begun with in the database may be seen to its end first: 503, send again.
        assert eventually(lambda: upload(again, LARGE)[1].get("status") == "COMPLETED")
        assert [one["rows_taken"] for one in again.get("/api/book/uploads")[1]["uploads"]] == [6000]


def held(workers: list[int]) -> bool:
    """Pause them, so that nothing is done before what is tested: whether there was any."""
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    return bool(workers)


def test_a_stop_in_the_middle_is_not_waited_for(live: LiveProcess) -> None:
    with sending(live, len(LARGE)) as connection:
        connection.sendall(LARGE)
        assert eventually(lambda: held(workers_of(live.process.pid)))
        live.process.terminate()
        status, told = reply(connection)
        assert (status, told["error"]["code"]) == (503, "unavailable")
    assert live.process.wait(PATIENCE) == 0
