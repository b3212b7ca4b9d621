"""Secrets stay where they were given: good and bad requests, faults; then everything that was written is searched."""

import hmac
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.test_live import an_alert
from tests.e2e.test_orders import SYMBOL
from tests.fake_engine import FakeEngine, an_app
from tests.folders import passable_folder
from tests.installed_server import Installed, installed_server
from tests.live_process import ROOT, LiveProcess
from tests.misbehaving_server import Trouble
from tests.openalgo_server import API_KEY, OpenAlgoServer
from tests.proxy import Proxy
from tests.queries import rows
from tests.receiver import Receiver, a_receiver
from tests.redis_server import NEEDS_REDIS, RedisServer
from tests.waiting import eventually

TOKEN = "the-operators-token-3c1f0d"
WEBHOOK = "the-webhooks-secret-91ab7e"
PREVIOUS = "the-webhooks-secret-before-44cd"
DATABASE = "the-databases-password-5d20c4"
WRONG_DATABASE = "another-password-that-is-wrong-77"
REDIS = "the-password-of-redis-e8b6"
LINKS = "the-secret-of-the-links-f02b6c"
SECRETS = {
    "secret of the links": LINKS,
    "operator's token": TOKEN,
    "webhook's secret": WEBHOOK,
    "webhook's secret before this one": PREVIOUS,
    "database's password": DATABASE,
    "wrong database's password": WRONG_DATABASE,
    "password of Redis": REDIS,
    "broker's key": API_KEY,
}


class Seen:
    """Whatever came to light, by where it did; `secrets` are those that must not."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, str]] = []
        self.secrets = dict(SECRETS)

    def add(self, where: str, text: str | bytes) -> None:
        """Something was written there."""
        self._texts.append((where, text.decode(errors="replace") if isinstance(text, bytes) else text))

    def add_files(self, folder: Path, *but: str) -> None:
        """All files below a folder."""
        for file in folder.rglob("*"):
            if file.is_file() and file.name not in but:
                self.add(str(file.relative_to(folder.parent)), file.read_bytes())

    def places(self, prefix: str) -> int:
        """How many there are whose names begin so."""
        return sum(where.startswith(prefix) for where, _ in self._texts)

    def has(self, prefix: str, words: str) -> bool:
        """Whether the words stand in one of those."""
        return any(words in text for where, text in self._texts if where.startswith(prefix))

    def leaks(self) -> list[str]:
        """Which secret came to light where."""
        return [
            f"{name} in {where}"
            for where, text in self._texts
            for name, secret in self.secrets.items()
            if secret in text
        ]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's account may pass."""
    with passable_folder("secrets") as made:
        yield made


@pytest.fixture
def server(folder: Path) -> Iterator[Installed]:
    """A PostgreSQL that asks for passwords, with our role and database."""
    with installed_server(folder) as server:
        server.run(f"CREATE ROLE pm_user LOGIN PASSWORD '{DATABASE}';\nCREATE DATABASE portfolio_manager OWNER pm_user")
        yield server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that asks for a password."""
    from live.leadership import redis_client

    server = RedisServer(tmp_path)
    redis_client(server.url).config_set("requirepass", REDIS)
    yield server
    server.stop()


@contextmanager
def served(
    folder: Path, port: int, openalgo: str, redis_port: int, password: str = DATABASE, told: str | None = None
) -> Iterator[LiveProcess]:
    """`live` with a secret of each kind, given as docs/security.md says."""
    entry = {"host": "127.0.0.1", "port": port, "user": "pm_user", "password": "${PM_DB_PASSWORD}"}
    (folder / "database_config.json").write_text(json.dumps({"local": entry}))
    brokers = {
        "openalgo": {"url": openalgo, "read_seconds": 1},
        "markets": {"BANK_NIFTY": {"symbol": SYMBOL, "exchange": "NFO"}},
    }
    (folder / "webhook.secret").write_text(WEBHOOK)
    (folder / "webhook.secret").chmod(0o600)
    intake = {
        "webhook_secret_file": str(folder / "webhook.secret"),
        "webhook_secret_previous": PREVIOUS,
        "webhook_secret_previous_until": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        "webhook_secret_in": ["body", "path", "signature"],
        "intake": {"profile": "openalgo"},
    }
    # What is a minute late waits for a human, and a channel that takes nothing is told a link.
    more = {"approval": {"late": {"seconds": 60}}, "public_url": "http://127.0.0.1"}
    channels = {} if told is None else {"channels": {"phone": {"url": told}}}
    (folder / "config.json").write_text(json.dumps({**intake, "brokers": brokers, "notifications": channels, **more}))
    environment = {
        "PM_DB_PASSWORD": password,
        "PORTFOLIO_OPERATOR_TOKEN": TOKEN,
        "PORTFOLIO_LINK_SECRET": LINKS,
        "PORTFOLIO_LEADERSHIP__REDIS_URL": f"redis://:{REDIS}@127.0.0.1:{redis_port}/0",
        "PORTFOLIO_BROKERS__OPENALGO__API_KEY": API_KEY,
    }
    options = ["--db-config", str(folder / "database_config.json"), "--config", str(folder / "config.json")]
    with LiveProcess(folder / "data", *options, "--broker", "openalgo", environment=environment) as live:
        yield live


def ask(
    live: LiveProcess,
    seen: Seen,
    method: str,
    path: str,
    body: bytes | None = None,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> int:
    """One request; all that came back, head and body, is seen."""
    headers = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(live.url + path, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            status, answered = response.status, [str(response.headers).encode(), _read(response)]
    except urllib.error.HTTPError as error:
        with error:
            status, answered = error.code, [str(error.headers).encode(), error.read()]
    # Not the address itself, which a sender may have put its secret into.
    seen.add(f"answer {status} to {method} {path.split('/')[1].partition('?')[0]}", b"\n".join(answered))
    return status


def _read(response: HTTPResponse) -> bytes:
    """What it says; a stream lasts a minute and says the same all along: of it the beginning and what comes next."""
    if response.headers.get_content_type() != "text/event-stream":
        return response.read()
    lines: list[bytes] = []
    while sum(line.startswith(b"data:") for line in lines) < 2:
        line = response.readline()
        assert line, f"the stream has ended after {lines}"
        lines.append(line)
    return b"".join(lines)


def alert(**fields: Any) -> bytes:
    return json.dumps(an_alert(**{"secret": WEBHOOK, **fields})).encode()


def every_get() -> list[str]:
    """The addresses that answer GET, with something in the place of what varies."""
    rules = an_app(FakeEngine()).url_map.iter_rules()
    return sorted({rule.rule.replace("<", "a-").replace(">", "") for rule in rules if "GET" in (rule.methods or ())})


BAD = (
    alert(price=None),
    alert(price="not a number"),
    alert(secret=WEBHOOK[:-1]),
    alert(secret=[WEBHOOK]),
    alert(secret={"is": WEBHOOK}),
    alert(instrument="NOBODY_KNOWS"),
    alert()[:-20],
    alert() + b"}",
    alert().replace(b'"type"', b'"secret": "x", "type"'),
    alert().replace(b'"BASE_ENTRY"', b'"\xff\xfe"'),
    b'"' + WEBHOOK.encode() + b'"',
    b"secret=" + WEBHOOK.encode(),
    b"[" * 5000 + WEBHOOK.encode(),
)


def talk(live: LiveProcess, seen: Seen) -> None:
    """Good and bad requests of every kind."""
    for path in every_get():
        ask(live, seen, "GET", path)
        ask(live, seen, "GET", f"{path}?limit={TOKEN[:5]}&token=x", token=TOKEN)
    for body in BAD:
        assert ask(live, seen, "POST", "/webhook", body) in (400, 401)
    assert ask(live, seen, "POST", f"/webhook?secret={WEBHOOK}", alert(price=-1)) == 400
    for token in (None, TOKEN[:-1], f"{TOKEN}x", WEBHOOK):
        assert ask(live, seen, "POST", "/halt", b"{}", token) == 401
    assert ask(live, seen, "POST", "/halt", b'{"reason": "a test", "request_id": "1"}', TOKEN) == 200
    assert ask(live, seen, "POST", "/resume", b"{", TOKEN) == 400
    assert ask(live, seen, "POST", "/resume", b'{"request_id": "2"}', TOKEN) == 200


def send_in_every_form(live: LiveProcess, seen: Seen) -> None:
    """The secret in each place that it may be in, and in each but a little wrong."""
    plain = json.dumps(an_alert("MARKET_DATA", "", ago=-0.5)).encode()
    assert ask(live, seen, "POST", f"/webhook/main/{WEBHOOK}", plain) == 200
    assert ask(live, seen, "POST", f"/webhook/main/{PREVIOUS}", plain) == 200
    for address in (f"/webhook/main/{WEBHOOK}x", f"/webhook/nobody/{WEBHOOK}", f"/webhook/main/{WEBHOOK}/more"):
        assert ask(live, seen, "POST", address, plain) in (401, 404)
    assert ask(live, seen, "POST", f"/webhook/main/{WEBHOOK}", b"{") == 400
    assert ask(live, seen, "GET", f"/webhook/main/{WEBHOOK}") == 405
    assert ask(live, seen, "POST", "/webhook", alert(secret=PREVIOUS, price=-1)) == 400
    assert ask(live, seen, "POST", "/webhook", alert(secret=PREVIOUS[:-1])) == 401
    now = str(int(time.time()))
    signature = hmac.new(WEBHOOK.encode(), f"{now}.".encode() + plain, "sha256").hexdigest()
    seen.secrets["signature"] = signature
    signed = {"X-Timestamp": now, "X-Signature": f"sha256={signature}"}
    assert ask(live, seen, "POST", "/webhook/main", plain, headers=signed) == 200
    assert ask(live, seen, "POST", "/webhook/main", plain + b" ", headers=signed) == 401
    assert ask(live, seen, "POST", "/webhook/main", plain, headers={**signed, "X-Timestamp": "1"}) == 401
    by_key = {"apikey": WEBHOOK, "symbol": "BANK_NIFTY", "action": "SELL", "quantity": "1", "position_size": "0"}
    timed = {"price": "58400", "timestamp": datetime.now(UTC).isoformat()}
    assert ask(live, seen, "POST", "/webhook", json.dumps({**by_key, **timed}).encode()) == 200
    for wrong in ({"apikey": WEBHOOK[:-1]}, {"apikey": [WEBHOOK]}, {"symbol": WEBHOOK}, {"price": WEBHOOK}):
        assert ask(live, seen, "POST", "/webhook", json.dumps({**by_key, **timed, **wrong}).encode()) in (400, 401)


def operate(live: LiveProcess, seen: Seen, folder: Path) -> None:
    """Somebody with a token of his own: added, at work, mistaken, given another one, removed."""
    tokens = []
    for number in range(2):
        added = operators(folder, "add", "alice", "--role", "trader")
        seen.add("stderr of operators add", added.stderr)
        tokens.append(added.stdout.decode().strip())
        seen.secrets[f"alice's token {number}"] = tokens[-1]
        # What only she knows of it: the rest is her name.
        seen.secrets[f"alice's token {number}, without her name"] = tokens[-1].partition(".")[2]
    old, token = tokens
    assert old != token
    assert len(token.partition(".")[2]) > 30
    assert ask(live, seen, "POST", "/halt", b'{"reason": "alice", "request_id": "3"}', token) == 200
    assert ask(live, seen, "POST", "/resume", b'{"request_id": "4"}', token) == 200
    assert ask(live, seen, "POST", "/capital", b'{"amount": "1"}', token) == 403
    for mistaken in (old, token[:-1], f"{token}x", f"bob.{token}", token.upper()):
        assert ask(live, seen, "POST", "/halt", b"{}", mistaken) == 401
        login = urllib.parse.urlencode({"token": mistaken}).encode()
        assert ask(live, seen, "POST", "/login", login, headers=_FORM) == 401
    assert ask(live, seen, "POST", "/login", urllib.parse.urlencode({"token": token}).encode(), headers=_FORM) == 200
    for path in ("/", "/status", "/session", "/journal", "/dashboard/journal", "/nowhere"):
        ask(live, seen, "GET", f"{path}?token={token}")
        ask(live, seen, "GET", path, token=token)
    ask(live, seen, "POST", "/halt", json.dumps({"reason": 1, "token": token}).encode(), token)
    seen.add("operators list", operators(folder, "list").stdout)
    seen.add("operators remove", operators(folder, "remove", "alice").stdout)
    assert ask(live, seen, "POST", "/halt", b"{}", token) == 401


_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}


def operators(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [
            *(sys.executable, str(ROOT / "portfolio_manager.py"), "operators"),
            *(*arguments, "--data-dir", str(folder / "data")),
        ],
        capture_output=True,
        check=True,
        cwd=folder,
    )


def decide_by_a_link(live: LiveProcess, seen: Seen, receiver: Receiver) -> None:
    """Told by a channel that refuses it; opened in all wrong ways, and once in the right one."""
    assert ask(live, seen, "POST", "/webhook", alert(ago=100)) == 200
    assert eventually(lambda: "/link/" in receiver.offered())
    (token,) = set(re.findall(r"/link/(\S+)", receiver.offered()))
    seen.secrets["link"] = token.rpartition(".")[2]
    for path in (f"/nowhere/link/{token}", f"/webhook/link/{token}/x", f"/link/{token}/other"):
        assert ask(live, seen, "GET", path) == 404
    assert ask(live, seen, "GET", f"/link/{token}x") == 403
    assert ask(live, seen, "POST", f"/link/{token}") == 405
    assert ask(live, seen, "POST", f"/link/{token}/approve", b"lots=none") == 400
    assert ask(live, seen, "POST", f"/link/{token}/reject", b"note=too+late") == 200
    assert ask(live, seen, "POST", f"/link/{token}/reject", b"note=too+late") == 410
    assert seen.has("answer 410", "was rejected by link")


def tables(dsn: str, seen: Seen) -> None:
    """Every row of every table, as text."""
    query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    for schema, table in rows(dsn, query):
        for (row,) in rows(dsn, f'SELECT t::text FROM "{schema}"."{table}" t'):
            seen.add(f"table {schema}.{table}", row)


def processes(live: LiveProcess, seen: Seen) -> None:
    """What whoever lists processes sees."""
    ours = psutil.Process(live.process.pid)
    for process in (ours, *ours.children(recursive=True)):
        seen.add(f"command line of {process.pid}", Path(f"/proc/{process.pid}/cmdline").read_bytes())


@NEEDS_REDIS
def test_no_secret_comes_to_light(server: Installed, redis: RedisServer, folder: Path) -> None:
    seen = Seen()
    dsn = server.dsn("pm_user", DATABASE, "portfolio_manager")
    with OpenAlgoServer() as openalgo, Proxy(dsn) as proxy, a_receiver() as receiver:
        receiver.status = 500
        openalgo.exchange.set_quote(SYMBOL, Decimal("58412.60"))
        openalgo.misbehave("placeorder", Trouble.REJECTS)  # with the key in its words
        proxy_port = int(proxy.dsn.split("port=")[1].split()[0])
        with served(folder, proxy_port, openalgo.url, redis.port, told=receiver.url) as live:
            decide_by_a_link(live, seen, receiver)
            assert ask(live, seen, "POST", "/webhook", alert()) == 200
            assert eventually(lambda: rows(dsn, "SELECT count(*) FROM orders WHERE state = 'rejected'") != [(0,)])
            talk(live, seen)
            send_in_every_form(live, seen)
            operate(live, seen, folder)
            ask(live, seen, "POST", "/reconcile", b"{}", TOKEN)
            processes(live, seen)
            proxy.refuse(True)
            assert ask(live, seen, "POST", "/webhook", alert(ago=3)) == 202
            talk_to_one_without_a_database(live, seen)
            seen.add_files(folder / "data")
            redis.stop()
            proxy.refuse(False)
            assert eventually(
                lambda: ask(live, seen, "GET", "/ready") == 200 and live.get("/status")[1]["backlog"] == 0
            )
            live.process.terminate()
            live.process.wait(30)
            assert live.process.stdout is not None
            seen.add("stdout", live.process.stdout.read())
            seen.add("log", live.log())
        commands(folder, seen)
    tables(dsn, seen)
    seen.add_files(folder / "data")
    seen.add("log of the server", (folder / "server.log").read_bytes())
    # It did look: at answers, tables, a spool with something in it, and the broker's words.
    assert seen.places("answer 200") > 10
    assert seen.places("table public.decision_journal") > 3
    assert seen.has("table public.orders", "RMS: margin exceeds")
    assert seen.has("table public.proposals", "too late")
    assert seen.has("log", "a notification was not taken")
    assert seen.places("data/spool") > 0
    assert seen.leaks() == []


def talk_to_one_without_a_database(live: LiveProcess, seen: Seen) -> None:
    assert ask(live, seen, "GET", "/db/status") == 503
    # Each is answered within two seconds: nobody has to wait for all of them.
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda path: ask(live, seen, "GET", path), every_get()))


def commands(folder: Path, seen: Seen) -> None:
    """Commands of a terminal, with the right password and with a wrong one."""
    config = ["--db-config", str(folder / "database_config.json"), "--data-dir", str(folder / "data")]
    (folder / "alert.json").write_bytes(alert(ago=1, price=58413))
    own = {"send": [str(folder / "alert.json"), "--dry-run", "--config", str(folder / "config.json")]}

    def run(command: str, password: str) -> None:
        done = subprocess.run(
            [sys.executable, str(ROOT / "portfolio_manager.py"), command, *config, *own.get(command, [])],
            env={**os.environ, "PM_DB_PASSWORD": password},
            capture_output=True,
            cwd=folder,
        )
        seen.add(f"stdout of {command}", done.stdout)
        seen.add(f"stderr of {command}", done.stderr)

    names = ("status", "signals", "proposals", "orders", "journal", "positions", "dsn", "migrate", "verify", "send")
    # With a wrong password they ask again and again for a while.
    with ThreadPoolExecutor(len(names)) as terminals:
        for password in (DATABASE, WRONG_DATABASE):
            list(terminals.map(run, names, [password] * len(names)))


def test_a_wrong_password_is_told_without_it(server: Installed, folder: Path) -> None:
    seen = Seen()
    with OpenAlgoServer() as openalgo, served(folder, server.port, openalgo.url, 1, WRONG_DATABASE) as live:
        assert eventually(lambda: "authentication failed" in live.log())
        ask(live, seen, "POST", "/webhook", alert())
        talk_to_one_without_a_database(live, seen)
        processes(live, seen)
        time.sleep(1)
        seen.add("log", live.log())
    seen.add_files(folder / "data")
    assert seen.leaks() == []


@pytest.mark.parametrize(
    "variable, value",
    [
        ("PORTFOLIO_OPERATOR_TOKEN", f"{TOKEN} with spaces"),
        ("PORTFOLIO_OPERATOR_TOKEN", TOKEN[:5]),
        ("PORTFOLIO_WEBHOOK_SECRET", WEBHOOK[:7]),
        ("PORTFOLIO_LEADERSHIP__REDIS_URL", f"http://:{REDIS}@127.0.0.1/0"),
        ("PORTFOLIO_LEADERSHIP__REDIS_URL", f"redis://:{REDIS}/with/a/slash@127.0.0.1:6379/0"),
        ("PORTFOLIO_LEADERSHIP__REDIS_URL", f"redis://:{REDIS}@127.0.0.1/0?socket_timeout=soon"),
        ("PORTFOLIO_BROKERS__OPENALGO__API_KEY", API_KEY * 20),
        ("PORTFOLIO_BROKERS", '{"openalgo": {"api_key": "' + API_KEY + '", "unknown": 1}}'),
        ("PORTFOLIO_BROKERS", '{"openalgo": {"api_key": "' + API_KEY),
        ("PORTFOLIO_PORTFOLIOS", '{"alpha": {"webhook_secret": "' + WEBHOOK + '", "unknown": 1}}'),
        ("PORTFOLIO_PORTFOLIOS", '{"alpha": {"webhook_secret": "' + WEBHOOK),
    ],
)
def test_a_secret_that_is_refused_is_not_repeated(variable: str, value: str, tmp_path: Path) -> None:
    options = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--portfolio", "alpha")
    refused = subprocess.run(
        [sys.executable, str(ROOT / "portfolio_manager.py"), "live", *options],
        env={**os.environ, variable: value},
        capture_output=True,
        timeout=60,
        cwd=tmp_path,
    )
    told = (refused.stdout + refused.stderr).decode()
    assert refused.returncode != 0
    assert "cannot serve" in told
    assert "Traceback" not in told
    for secret in (TOKEN, TOKEN[:5], WEBHOOK[:7], REDIS, API_KEY):
        assert secret not in told
