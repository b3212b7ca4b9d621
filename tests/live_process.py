"""A real `live` process for tests: started from the command line, spoken to over HTTP, ended by signals."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
READY = re.compile(r"ready on (http://\S+)")
READY_WITHIN = 60.0


class Served:
    """Whatever speaks our HTTP at `url`."""

    url: str

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET."""
        return self.ask("GET", path)

    def post(self, body: Any, path: str = "/webhook", token: str | None = None) -> tuple[int, Any]:
        """Status and JSON of a POST; `body` as JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body, default=str).encode()
        return self.ask("POST", path, data, token)

    def ask(self, method: str, path: str, data: bytes | None = None, token: str | None = None) -> tuple[int, Any]:
        """One request. OSError where nobody answers."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())
        except HTTPException as error:
            raise OSError(f"no whole answer: {error!r}") from error


class LiveProcess(Served):
    """`python portfolio_manager.py live ...` in a folder of the test's own. Use as a context manager."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        checkout: Path = ROOT,
    ) -> None:
        self._token_file = data_dir / "operator.token"
        self.data_dir = data_dir
        self.log_file = data_dir.parent / f"{data_dir.name}.log"
        command = [
            sys.executable,
            str(checkout / "portfolio_manager.py"),
            "live",
            "--data-dir",
            str(data_dir),
            "--port",
            str(port),
        ]
        with self.log_file.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                cwd=data_dir.parent,
            )
        self.url = ""

    def __enter__(self) -> Self:
        self.url = self._ready_line()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET, which from another machine than its own needs a token."""
        elsewhere = not self.url.startswith("http://127.0.0.1:")
        return self.ask("GET", path, token=self._token_file.read_text().strip() if elsewhere else None)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def sigkill(self) -> None:
        """SIGKILL the process that /status names."""
        pid = self.get("/status")[1]["pid"]
        assert pid == self.process.pid
        os.kill(pid, signal.SIGKILL)
        self.process.wait(60)

    def log(self) -> str:
        """What it wrote to stderr."""
        if self.process.poll() is None:
            time.sleep(0.2)  # lines are written together, a moment later
        return self.log_file.read_text()

    def _ready_line(self) -> str:
        assert self.process.stdout is not None
        deadline, line = time.monotonic() + READY_WITHIN, ""
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                line = self.process.stdout.readline().decode()
                match = READY.search(line)
                if match:
                    return match.group(1)
            if self.process.poll() is not None:
                self.process.stdout.close()
                break
        raise AssertionError(f"live is not ready: exit code {self.process.poll()}, {line!r}, log:\n{self.log()}")


def listens(port: int) -> bool:
    """Whether anybody listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
