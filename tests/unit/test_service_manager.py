"""What is sent to systemd's socket, and that nothing depends on it."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from live.service_manager import READY, STOPPING, tell_service_manager


def a_socket(address: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(10)
    made.bind(address)
    return made


@pytest.fixture
def in_a_file(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify")
    with closing(a_socket(address)) as listening:
        yield address, listening


@pytest.fixture
def abstract() -> Iterator[tuple[str, socket.socket]]:
    name = f"portfolio-tests-{secrets.token_hex(8)}"
    with closing(a_socket(f"\0{name}")) as listening:
        yield f"@{name}", listening


@pytest.mark.parametrize("kind", ["in_a_file", "abstract"])
def test_states_arrive_as_systemd_reads_them(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    address, listening = request.getfixturevalue(kind)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    for state in (READY, STOPPING):
        tell_service_manager(state)
        assert listening.recv(100) == state.encode()
    assert (READY, STOPPING) == ("READY=1", "STOPPING=1")


@pytest.mark.parametrize(
    "address", [None, "", "relative", "/nobody/listens/here", "@nobody-listens-here", "@", "/" * 200]
)
def test_where_nobody_listens_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    tell_service_manager(READY)


def test_a_socket_that_takes_nothing_is_not_waited_for(
    in_a_file: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, listening = in_a_file
    monkeypatch.setattr("live.service_manager._PATIENCE_SECONDS", 0.05)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as filler:
        filler.setblocking(False)
        filler.connect(address)
        with suppress(BlockingIOError):
            while True:
                filler.send(b"full")
    tell_service_manager(READY)
    assert listening.recv(100) == b"full"
