"""`watch`: one screen of a running instance, what it warns of, and how it ends."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console, RenderableType

from live.cli.frame import Seen, away, frame
from tests.builders import minutes
from tests.command_line import FakeEngine, refusal, run, served_by

ROOT = Path(__file__).parents[2]
STATUS: dict[str, Any] = {
    "portfolio": "main",
    "leader": True,
    "term": 3,
    "pid": 4711,
    "ready": True,
    "halted": False,
    "failed_invariants": [],
    "frozen": {},
    "proposals": 0,
    "spool": {"kept": 0, "set_aside": 0, "usable": True},
    "closed_equity": "5000000",
    "open_equity": "5012345.5",
    "unrealized_total": "12345.5",
    "total_risk_percent": "3.456789",
    "total_vol_percent": "1.2",
    "margin_percent": "41.5",
    "drawdown_percent": "0",
    "open_positions": 2,
    "backlog": 0,
    "orders": {"in_doubt": 1},
}
POSITION = {
    "position_id": "GOLD_MINI-Long_1-0a1b2c3d4e5f",
    "lots": 2,
    "entry_lots": 3,
    "entry_price": "72000",
    "current_stop": "71500.5",
    "mark_price": None,
    "unrealized_pnl": "-1234.5",
    "risk_contribution": "10000",
}
SIGNAL = {
    "received_at": "2026-01-14T06:15:02Z",
    "signal_type": "PYRAMID",
    "instrument": "GOLD_MINI",
    "position": "Long_2",
    "processing_status": "blocked",
    "outcome": {"lots": None, "reason": "drawdown", "limiter": None},
}


def seen(status: dict[str, Any] | None = None, *, positions: int = 1, signals: int = 1) -> Seen:
    return Seen(
        url="http://127.0.0.1:5000",
        at=minutes(0),
        status={**STATUS, **(status or {})},
        positions=[POSITION] * positions,
        signals=[SIGNAL] * signals,
    )


def shown(what: RenderableType, width: int = 120) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


# --- a frame


def test_a_frame_tells_figures_positions_and_the_last_signals() -> None:
    told = shown(frame(seen()))
    for part in ("main  trading  leads, term 3", "5,012,345.50", "3.46 %", "41.50 %", "1 in doubt"):
        assert part in told
    position = next(line for line in told.splitlines() if "0a1b2c3d4e5f" in line)
    assert position.split()[1:] == ["2/3", "72,000", "71,500.5", "-1,234.50", "10,000.00"]
    signal_line = next(line for line in told.splitlines() if "PYRAMID" in line)
    assert signal_line.split() == ["2026-01-14T06:15:02Z", "PYRAMID", "GOLD_MINI", "Long_2", "blocked", "drawdown"]


@pytest.mark.parametrize(
    "status, warning",
    [
        ({"halted": True}, "HALTED"),
        ({"leader": False}, "follows"),
        ({"ready": False}, "not ready: signals cannot be kept"),
        ({"failed_invariants": ["equity"]}, "failed at the start: equity"),
        ({"proposals": 3}, "3 waiting for you: `proposals`, then `approve` or `reject`"),
        ({"frozen": {"GOLD_MINI": "missed alerts"}}, "entries of GOLD_MINI are frozen: missed alerts"),
        ({"spool": {"kept": 1200, "set_aside": 0, "usable": True}}, "1,200 signals wait in the spool"),
        ({"spool": {"kept": 0, "set_aside": 2, "usable": True}}, "2 signals were set aside by the spool"),
        ({"spool": {"kept": 0, "set_aside": 0, "usable": False}}, "the spool cannot be used"),
    ],
)
def test_what_a_person_has_to_look_at_is_said(status: dict[str, Any], warning: str) -> None:
    assert warning not in shown(frame(seen()))
    assert warning in shown(frame(seen(status)))


def test_nothing_open_and_no_signals_are_sentences() -> None:
    told = shown(frame(seen({"spool": None}, positions=0, signals=0)))
    assert "nothing is open" in told
    assert "no signals yet" in told


@pytest.mark.parametrize("height", [24, 40, 60])
@pytest.mark.parametrize("positions, signals", [(0, 0), (0, 50), (200, 0), (3, 50), (200, 50)])
def test_a_frame_fits_the_terminal_and_counts_what_it_leaves_out(height: int, positions: int, signals: int) -> None:
    what = seen({"frozen": {"GOLD_MINI": "missed alerts: " * 20}}, positions=positions, signals=signals)
    told = shown(frame(what, height=height), width=80).splitlines()
    assert len(told) <= height
    for count, part, rest in ((positions, "GOLD_MINI-Lon", "more positions"), (signals, "PYRAMID", "more signals")):
        lines = sum(part in line for line in told)
        left_out = [int(line.split()[1]) for line in told if rest in line]
        assert lines + sum(left_out) == count
        assert lines >= min(count, 3)


def test_numbers_stay_whole_where_the_terminal_is_narrow() -> None:
    told = shown(frame(seen(), height=24), width=70)
    assert "71,500.5" in told
    assert "-1,234.50" in told


def test_what_others_wrote_cannot_move_the_cursor() -> None:
    row = {**SIGNAL, "outcome": {"reason": "[red]\x1b[2J"}}
    told = shown(frame(Seen(url="u", at=minutes(0), status=STATUS, positions=[], signals=[row])))
    assert "\x1b" not in told
    assert "[red]\\x1b[2J" in told


def test_what_was_seen_last_stays_while_nothing_is_seen() -> None:
    told = shown(away("no answer from http://127.0.0.1:5000", seen(), now=minutes(2), height=40))
    assert told.startswith("2026-")
    assert "no answer from http://127.0.0.1:5000" in told
    assert "as it was at" in told
    assert "5,012,345.50" in told
    assert shown(away("no answer", None, now=minutes(2), height=40)).endswith("no answer\n")


# --- the command


def json_answer(body: dict[str, Any], status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=body)


def test_once_prints_one_frame_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = (json_answer(STATUS), json_answer({"positions": [POSITION]}), json_answer({"signals": [SIGNAL]}))
    fake = served_by(monkeypatch, FakeEngine(*answers))
    result = run("watch", "--once", "--portfolio", "alpha", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 0
    assert "5,012,345.50" in result.stdout
    assert "\x1b" not in result.stdout
    assert [request.url.path for request in fake.requests] == ["/status", "/positions", "/signals"]
    assert {request.url.params["portfolio"] for request in fake.requests} == {"alpha"}


def test_a_token_goes_with_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = (json_answer(STATUS), json_answer({"positions": []}), json_answer({"signals": []}))
    fake = served_by(monkeypatch, FakeEngine(*answers))
    assert run("watch", "--once", "--token", "a-viewers-token").exit_code == 0
    assert {request.headers["Authorization"] for request in fake.requests} == {"Bearer a-viewers-token"}


def test_json_is_what_the_api_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = (json_answer(STATUS), json_answer({"positions": [POSITION]}), json_answer({"signals": [SIGNAL]}))
    served_by(monkeypatch, FakeEngine(*answers))
    told = json.loads(run("watch", "--json").stdout)
    assert told == {"status": STATUS, "positions": [POSITION], "signals": [SIGNAL]}


@pytest.mark.parametrize(
    "answer, part",
    [
        (httpx.ConnectError, "start `live`, or give --url"),
        (httpx.ReadTimeout, "it took too long"),
        (refusal(503, "the database is away"), "the database is away"),
        (refusal(401, "the operator's token is required"), "give --token, or PORTFOLIO_OPERATOR_TOKEN"),
        (refusal(404, "no portfolio `beta` is served here"), "no portfolio `beta`"),
    ],
)
def test_an_instance_that_tells_nothing_is_one_sentence(
    answer: Any, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_by(monkeypatch, FakeEngine(answer))
    result = run("watch", "--once")
    assert result.exit_code == 1
    assert part in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_where_there_is_no_terminal_it_says_what_to_do() -> None:
    result = run("watch")
    assert result.exit_code == 2
    assert "give --once" in result.stderr


# --- on a terminal


class _Instance(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = self.server.asked  # type: ignore[attr-defined]
        asked.append(self.path)
        rows = {"/positions": {"positions": [POSITION]}, "/signals": {"signals": [SIGNAL]}}
        halted = {**STATUS, "halted": len(asked) > 6}
        body = json.dumps(rows.get(self.path.partition("?")[0], halted)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def instance() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Instance)
    server.asked = []  # type: ignore[attr-defined]
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield server
    server.shutdown()
    serving.join()
    server.server_close()


def test_on_a_terminal_it_is_refreshed_until_ctrl_c_and_leaves_the_terminal_as_it_was(
    instance: ThreadingHTTPServer,
) -> None:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    url = f"http://127.0.0.1:{instance.server_port}"
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, str(ROOT / "portfolio_manager.py"), "watch", "--url", url],
        {**os.environ, "TERM": "xterm-256color"},
        file_actions=[(os.POSIX_SPAWN_DUP2, its, number) for number in (0, 1, 2)],
        # Whoever runs the tests in the background has it ignored.
        setsigdef=[signal.SIGINT],
    )
    os.close(its)
    output = b""
    try:
        until = time.monotonic() + 60
        # The third look says halted.
        while b"HALTED" not in output and time.monotonic() < until:
            if select.select([ours], [], [], 0.2)[0]:
                output += os.read(ours, 65536)
        os.kill(process, signal.SIGINT)
        while time.monotonic() < until:
            try:
                output += os.read(ours, 65536)
            except OSError:  # its end is closed
                break
        else:
            os.kill(process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    finally:
        os.close(ours)
    assert b"HALTED" in output
    assert code == 0
    assert b"Traceback" not in output
    assert b"Abort" not in output
    # Colours, on a screen of its own that is left.
    assert b"\x1b[32m" in output or b"\x1b[1;32m" in output
    assert output.index(b"\x1b[?1049h") < output.index(b"\x1b[?1049l")
