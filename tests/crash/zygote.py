"""The process that forks the children which are killed: imported once, a line of JSON for each child, both ways."""

import json
import subprocess
import sys
from typing import Any, Self

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
        self._process.wait(10)
        self._process.stdout.close()

    def run(self, **request: Any) -> dict[str, Any]:
        """One child; what it told until it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
