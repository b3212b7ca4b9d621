"""The process that forks the children which are killed: imported once, a line of JSON for each child, both ways."""

import json
import os
import signal as signals
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Self

from live.logs import configure_logging
from tests.live_process import ROOT


class Zygote:
    """Runs `module`, whose children take `kill_at` (0: never) and what else it asks for. A context manager."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def run(self, **request: Any) -> dict[str, Any]:
        """One child; what it told until it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def fork_children(tell: Callable[[dict[str, Any], int], None]) -> None:
    """The zygote's own side: a child for each request, which is given it and a descriptor to report to.

    It writes a dot for each answer that it was given and at last, unless it was killed before, JSON: what it `told`.
    """
    configure_logging()
    for line in sys.stdin:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            try:
                tell(json.loads(line), writing)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as report:
            reported = report.read()
        told = reported.lstrip(b".")
        _, status = os.waitpid(pid, 0)
        answer = {
            "answered": len(reported) - len(told),
            "told": json.loads(told or b"null"),
            "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signals.SIGKILL,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
