"""The webhook's secrets, shown rightly and wrongly in every way: no log, table, spool, answer or process list has them."""

import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from core.postgres.embedded import EmbeddedServer
from tests.e2e.test_live import an_alert, folder
from tests.live_process import ROOT, LiveProcess
from tests.queries import rows

__all__ = ["folder"]

CURRENT, PREVIOUS, OVER = "current-secret-5b1f", "previous-secret-77aa", "secret-that-is-over-93c0"
ALL = (CURRENT, PREVIOUS, OVER)


class Sender:
    """Whoever posts; it keeps every answer."""

    def __init__(self, live: LiveProcess) -> None:
        self._live = live
        self._ago = 0
        self.answers: list[str] = []

    def alert(self, **fields: object) -> dict[str, object]:
        self._ago += 1
        return an_alert("MARKET_DATA", ago=100 - self._ago, **fields)

    def post(self, body: Any, path: str = "/webhook/main", headers: dict[str, str] | None = None) -> int:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data, headers)

    def signed(self, secret: str, body: dict[str, object], *, later: int = 0, spoilt: bytes = b"") -> int:
        data = json.dumps(body).encode()
        at = str(int(datetime.now(UTC).timestamp()) + later)
        digest = hmac.new(secret.encode(), at.encode() + b"." + data, hashlib.sha256).hexdigest()
        return self.post(data + spoilt, headers={"X-Timestamp": at, "X-Signature": f"sha256={digest}"})

    def request(self, method: str, path: str, data: bytes | None, headers: dict[str, str] | None = None) -> int:
        asked = urllib.request.Request(self._live.url + path, data=data, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(asked, timeout=10) as response:
                self.answers.append(response.read().decode())
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                self.answers.append(error.read().decode())
                return error.code

    def raw(self, sent: bytes) -> int:
        """Bytes that are no proper request, and the status of what comes back."""
        with socket.create_connection(("127.0.0.1", self._live.port), timeout=10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            told = b"".join(iter(lambda: connection.recv(65536), b""))
        self.answers.append(told.decode(errors="replace"))
        return int(told.split()[1])


@pytest.fixture
def config(folder: Path) -> Path:
    secret = folder / "webhook.secret"
    secret.write_text(CURRENT + "\n")
    secret.chmod(0o600)
    before = folder / "webhook.previous"
    before.write_text(PREVIOUS + "\n")
    before.chmod(0o600)
    file = folder / "config.json"
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    shared: dict[str, Any] = {"webhook_secret_file": str(secret), "webhook_secret_in": ["body", "path", "signature"]}
    over = {
        "webhook_secret_previous": OVER,
        "webhook_secret_previous_until": (tomorrow - timedelta(days=2)).isoformat(),
    }
    shared |= {"webhook_secret_previous_file": str(before), "webhook_secret_previous_until": tomorrow.isoformat()}
    own = {"other": {"webhook_secret_file": str(secret), **over}}
    file.write_text(json.dumps({**shared, "intake": {"profile": "openalgo"}, "portfolios": own}))
    file.chmod(0o600)
    return file


def good_requests(sender: Sender) -> Iterator[int]:
    for secret in (CURRENT, PREVIOUS):
        yield sender.post(sender.alert(secret=secret))
        yield sender.post(sender.alert(), f"/webhook/main/{secret}")
        yield sender.signed(secret, sender.alert())
    # Shown rightly, and besides where it has no business.
    yield sender.post(sender.alert(secret=CURRENT, apikey=CURRENT, note={"password": CURRENT, "Secret-2": PREVIOUS}))
    yield sender.post(sender.alert(secret=CURRENT), f"/webhook/main/{CURRENT}")
    order = {"symbol": "BANK_NIFTY", "action": "BUY", "quantity": 1, "position_size": 1, "price": 58412.6}
    times = {"timestamp": datetime.now(UTC).isoformat(), "stop": 57985, "atr": 285}
    yield sender.post({**order, **times, "apikey": CURRENT, "webhook_secret": CURRENT})


def bad_requests(sender: Sender) -> Iterator[tuple[int, int]]:
    """What is answered, and what should be."""
    yield sender.post(sender.alert()), 401
    yield sender.post(sender.alert(secret=CURRENT + "x")), 401
    yield sender.post(sender.alert(apikey=CURRENT)), 401
    yield sender.post({**sender.alert(secret=CURRENT), "price": -1}), 400
    yield sender.post(json.dumps(sender.alert(secret=CURRENT)).encode()[:-1]), 400
    yield sender.post(f'{{"secret": "{CURRENT}", "secret": "{CURRENT}"}}'.encode()), 400
    yield sender.post({**sender.alert(), "secret": [CURRENT]}), 400
    yield sender.post(sender.alert(secret=CURRENT, more="x" * 70_000)), 413
    yield sender.post(sender.alert(secret=OVER), "/webhook/other"), 401
    yield sender.post(sender.alert(), f"/webhook/other/{OVER}"), 401
    yield sender.post(sender.alert(), f"/webhook/main/{CURRENT}x"), 401
    yield sender.post(sender.alert(), f"/webhook/{CURRENT}"), 404
    yield sender.post(sender.alert(), f"/webhook/nobody/{CURRENT}"), 404
    yield sender.post(sender.alert(), f"/webhook/main/{CURRENT}/more"), 404
    yield sender.post(sender.alert(), f"/webhok/main/{CURRENT}"), 404
    yield sender.post(sender.alert(), f"/webhook/main?secret={CURRENT}"), 401
    yield sender.post({**sender.alert(), "price": -1}, f"/webhook/main/{CURRENT}"), 400
    yield sender.post(b"x" * 70_000, f"/webhook/main/{CURRENT}"), 413
    yield sender.post(sender.alert(), f"/webhook/main/{CURRENT}", {"Origin": "http://a.page"}), 403
    yield sender.request("GET", f"/webhook/main/{CURRENT}", None), 405
    yield sender.request("PUT", f"/webhook/main/{CURRENT}", b"{}"), 405
    yield sender.signed(CURRENT, sender.alert(), later=-4000), 401
    yield sender.signed(CURRENT, sender.alert(), spoilt=b" "), 401
    yield sender.signed("another-secret", sender.alert()), 401
    yield sender.post(sender.alert(), headers={"X-Signature": CURRENT, "X-Timestamp": CURRENT}), 401
    line = f"POST /webhook/main/{CURRENT} HTTP/1.1\r\nHost: x\r\n".encode()
    yield sender.raw(line + b"Content-Length: many\r\n\r\n"), 400
    yield sender.raw(line + b"Transfer-Encoding: chunked\r\n\r\nnot a chunk\r\n"), 400
    yield sender.raw(line + b"Transfer-Encoding: strange\r\n\r\n"), 400
    yield sender.raw(f"POST http://[{CURRENT}/webhook HTTP/1.1\r\n\r\n".encode()), 400


def test_no_secret_of_the_webhook_is_anywhere_after_good_and_bad_requests_of_every_kind(
    folder: Path, config: Path
) -> None:
    data = folder / "data"
    arguments = ("--config", str(config), "--portfolio", "main", "--portfolio", "other", "--log", "json")
    with LiveProcess(data, *arguments) as live:
        sender = Sender(live)
        assert [status for status in good_requests(sender) if status != 200] == [], sender.answers
        answered = list(bad_requests(sender))
        assert [pair for pair in answered if pair[0] != pair[1]] == [], answered
        sent = _send(folder, config, live.url, sender.alert())
        assert "MARKET_DATA" in sent
        shown = "".join(
            urllib.request.urlopen(f"{live.url}{path}?portfolio=main").read().decode()
            for path in ("/signals", "/journal", "/status", "/webhook/stats")
        )
        metrics = urllib.request.urlopen(f"{live.url}/metrics").read().decode()
        assert '"original"' in shown
        processes = _process_list()
        assert str(config) in processes  # what is looked for would be seen there
        log = live.log()
    with EmbeddedServer(data) as server:
        tables = _everything_in(server.dsn)
    assert "BANK_NIFTY" in tables
    files = b"".join(path.read_bytes() for path in (data / "spool").iterdir())
    assert "alert refused" in log
    for secret in ALL:
        _assert_absent(secret, log=log, tables=tables, spool=files.decode(errors="replace"), processes=processes)
        _assert_absent(secret, answers="".join(sender.answers), shown=shown, metrics=metrics, sent=sent)


def test_no_secret_is_logged_while_the_database_is_away(folder: Path, config: Path) -> None:
    data = folder / "data"
    with LiveProcess(data, "--config", str(config)) as live:
        sender = Sender(live)
        with psycopg2.connect(_dsn(data)) as connection, connection.cursor() as cursor:
            # Whoever asks waits for this transaction, and is answered that it is kept.
            cursor.execute("LOCK TABLE leadership IN ACCESS EXCLUSIVE MODE")
            assert sender.post(sender.alert(secret=CURRENT)) == 202
            assert sender.post(sender.alert(), f"/webhook/main/{CURRENT}") == 202
            assert sender.signed(CURRENT, sender.alert()) == 202
            files = b"".join(path.read_bytes() for path in (data / "spool").iterdir())
            assert b"BANK_NIFTY" in files
        connection.close()
        log = live.log()
    _assert_absent(CURRENT, log=log, spool=files.decode(errors="replace"), answers="".join(sender.answers))


def _assert_absent(secret: str, **places: str) -> None:
    assert [name for name, content in places.items() if secret in content] == []


def _send(folder: Path, config: Path, url: str, alert: dict[str, object]) -> str:
    """What `send` prints; while it runs, its command line holds no secret either."""
    file = folder / "alert.json"
    file.write_text(json.dumps(alert))
    command = [sys.executable, str(ROOT / "portfolio_manager.py"), "send", str(file), "--config", str(config)]
    done = subprocess.run([*command, "--url", url], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _process_list() -> str:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            for name in ("cmdline", "comm"):
                try:
                    found.append((process / name).read_bytes().decode(errors="replace"))
                except OSError:
                    continue
    return "\n".join(found)


def _dsn(data: Path) -> str:
    command = [sys.executable, str(ROOT / "portfolio_manager.py"), "dsn", "--data-dir", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _everything_in(dsn: str) -> str:
    """Every row of every table, as text."""
    tables = rows(
        dsn,
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables"
        " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')",
    )
    found = [rows(dsn, f"SELECT t::text FROM {name} t") for (name,) in tables]
    return "\n".join(text for table in found for (text,) in table)
