"""nginx and Caddy as deploy/ has them: their own check takes the files, and before an engine only alerts get through."""

import json
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from core.config import load_file_settings
from core.strict_json import MAX_BODY_BYTES
from live.client import ANSWER_SECONDS
from live.server import Server
from tests.fake_engine import BASE_ENTRY, FakeEngine, an_app
from tests.free_ports import free_ports
from tests.live_process import listens
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
NGINX = ROOT / "deploy" / "nginx" / "portfolio-manager.conf"
CADDY = ROOT / "deploy" / "caddy" / "Caddyfile"
TRADINGVIEW = {"52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7"}
HANGS_UP_SECONDS = 3
needs_nginx = pytest.mark.skipif(
    shutil.which("nginx") is None or shutil.which("openssl") is None, reason="nginx and openssl are not both installed"
)
needs_caddy = pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")


# --- the files themselves


@pytest.mark.parametrize("file", [NGINX, CADDY])
def test_both_let_tradingview_in_and_wait_longer_than_it_does(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert set(re.findall(r"\d+\.\d+\.\d+\.\d+", text)) == TRADINGVIEW | {"127.0.0.1"}
    waits = re.search(r"(?:proxy_read_timeout|response_header_timeout) (\d+)s", text)
    assert waits is not None
    assert int(waits[1]) > HANGS_UP_SECONDS > ANSWER_SECONDS
    assert re.search(r"(?:max_body_size|max_size) 64(?:k;|KiB)", text)
    assert MAX_BODY_BYTES == 64 * 1024


def test_what_the_files_want_of_the_engine_is_a_setting(tmp_path: Path) -> None:
    for file in (NGINX, CADDY):
        (setting,) = re.findall(r'trusted_proxies = \["127\.0\.0\.1"\]', file.read_text(encoding="utf-8"))
        written = tmp_path / "portfolio.toml"
        written.write_text(setting)
        assert load_file_settings(written).trusted_proxies == ("127.0.0.1",)


@needs_caddy
def test_caddy_takes_its_file() -> None:
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(CADDY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    formatted = subprocess.run(["caddy", "fmt", str(CADDY)], capture_output=True, text=True, timeout=60, check=True)
    assert formatted.stdout.strip() == CADDY.read_text(encoding="utf-8").strip()


@needs_nginx
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    # As it stands, but for the certificate, which is made for this test.
    done = subprocess.run([*_nginx(tmp_path), "-t"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "test is successful" in done.stderr


def _nginx(folder: Path, changed: Callable[[str], str] = lambda text: text) -> list[str]:
    """nginx with our file in the place that its own configuration includes; it writes below `folder` only."""
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=alerts.example.com"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], capture_output=True, timeout=60, check=True)
    ours = changed(NGINX.read_text(encoding="utf-8")).replace("/etc/letsencrypt/live/alerts.example.com", str(folder))
    ours = ours.replace("/var/log/nginx", str(folder))
    (folder / "ours.conf").write_text(ours, encoding="utf-8")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; user root; events {{}}\n"
        f"http {{ access_log off; {places}\ninclude {folder}/ours.conf; }}",
        encoding="utf-8",
    )
    return ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


# --- before an engine


class Behind:
    """An engine that remembers, behind a proxy at `port`."""

    def __init__(self, engine: FakeEngine, port: int, folder: Path, *, tls: bool) -> None:
        self.engine = engine
        self._folder = folder
        self._port = port
        self._tls = tls

    def logs(self) -> str:
        """All that the proxy has written."""
        return "".join(file.read_text(errors="replace") for file in self._folder.glob("*.log"))

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body."""
        trusts_all = ssl._create_unverified_context()
        connection = (
            HTTPSConnection("127.0.0.1", self._port, timeout=30, context=trusts_all)
            if self._tls
            else HTTPConnection("127.0.0.1", self._port, timeout=30)
        )
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def _engine() -> Iterator[tuple[FakeEngine, Server]]:
    engine = FakeEngine()
    # Only a sender that the proxy names is let in: the address that it saw, and not one that was written into the header.
    app = an_app(engine, allowed_addresses=["127.0.0.1"], trusted_proxies=["127.0.0.1"])
    server = Server(app, "127.0.0.1", 0, begin=app.webhook.begin)
    serving = threading.Thread(target=server.serve)
    serving.start()
    try:
        yield engine, server
    finally:
        server.stop()
        serving.join(30)


@contextmanager
def _running(command: list[str], port: int, log: Path, **environment: str) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
        )
    try:
        assert eventually(lambda: listens(port) or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(60)


def _behind_nginx(folder: Path, engine: int, port: int) -> list[str]:
    def changed(text: str) -> str:
        text = text.replace("listen [::]:443 ssl;\n", "\n").replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
        return text.replace("server 127.0.0.1:5000;", f"server 127.0.0.1:{engine};").replace(
            "        deny all;\n\n        proxy_pass",
            "        allow 127.0.0.1;\n        deny all;\n\n        proxy_pass",
        )

    return _nginx(folder, changed)


def _behind_caddy(folder: Path, engine: int, port: int) -> list[str]:
    text = CADDY.read_text(encoding="utf-8")
    # A certificate for the name would be asked for on the Internet.
    text = text.replace("\nalerts.example.com {", f"\nhttp://127.0.0.1:{port} {{").replace(
        "\n{\n", "\n{\n\tadmin off\n", 1
    )
    text = text.replace("remote_ip ", "remote_ip 127.0.0.1 ").replace("127.0.0.1:5000", f"127.0.0.1:{engine}")
    (folder / "Caddyfile").write_text(text, encoding="utf-8")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@pytest.fixture(params=[pytest.param("nginx", marks=needs_nginx), pytest.param("caddy", marks=needs_caddy)])
def behind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Behind]:
    (port,) = free_ports(1)
    build = {"nginx": _behind_nginx, "caddy": _behind_caddy}[request.param]
    with _engine() as (engine, server):
        command = build(tmp_path, server.port, port)
        with _running(command, port, tmp_path / "proxy.log", HOME=str(tmp_path)):
            yield Behind(engine, port, tmp_path, tls=request.param == "nginx")


def test_alerts_get_through_and_nothing_else_does(behind: Behind) -> None:
    alert = json.dumps(BASE_ENTRY).encode()
    for path in ("/webhook", "/webhook/main", "/webhook/main/The-Secret.in~it"):
        status, body = behind.ask("POST", path, alert, {"Content-Type": "text/plain"})
        assert (status, json.loads(body)["status"]) == (200, "executed")
    assert len(behind.engine.signals) == 3
    assert "The-Secret" not in behind.logs()
    for method, path in (
        ("GET", "/status"),
        ("GET", "/positions"),
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("POST", "/halt"),
        ("POST", "/webhookx"),
        ("POST", "/webhook/main/more/still"),
        ("POST", "/webhook/../halt"),
        ("GET", "/webhook/stats"),
        ("GET", "/webhook"),
    ):
        status, body = behind.ask(method, path, b"{}" if method == "POST" else None)
        assert status in (403, 404), (method, path)
        assert b"closed_equity" not in body
    assert behind.engine.commands == []


def test_the_engine_is_told_the_address_that_the_proxy_saw_and_no_other(behind: Behind) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9"}
    assert behind.ask("POST", "/webhook", json.dumps(BASE_ENTRY).encode(), forged)[0] == 200


def test_an_engines_refusal_comes_back_as_it_is(behind: Behind) -> None:
    status, body = behind.ask("POST", "/webhook", b"{}")
    assert (status, json.loads(body)["error"]["field"]) == (400, "type")


def test_a_body_that_is_too_large_reaches_no_engine(behind: Behind) -> None:
    try:
        status, _ = behind.ask("POST", "/webhook", b" " * (4 * MAX_BODY_BYTES))
    except (HTTPException, OSError):
        status = 413  # hung up on while it was still being sent
    assert status in (413, 502)
    assert behind.engine.signals == []


def test_while_no_engine_runs_the_answer_is_one_that_tradingview_sends_again_for(tmp_path: Path) -> None:
    builders: dict[str, Any] = {"nginx": _behind_nginx, "caddy": _behind_caddy}
    there = [name for name in builders if shutil.which(name)]
    if not there:
        pytest.skip("neither nginx nor caddy is installed")
    for name in there:
        folder = tmp_path / name
        folder.mkdir()
        port, nobody = free_ports(2)
        with _running(builders[name](folder, nobody, port), port, folder / "proxy.log", HOME=str(folder)):
            status, _ = Behind(FakeEngine(), port, folder, tls=name == "nginx").ask("POST", "/webhook", b"{}")
            assert 500 <= status <= 599
            assert status != 504
