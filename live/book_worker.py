"""The process that does long work of the book, started by live/book_work.py: one task, from stdin; what came of it, on stdout."""

import json
import os
import sys
import threading
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any

from core.errors import Refused, Retryable

NICENESS = 10


def main() -> None:
    """Do the task, and end with whoever asked for it."""
    given: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    _give_way()
    threading.Thread(target=_end_with, args=(given.pop("alive"),), daemon=True).start()
    with open(given.pop("file"), "r+b") as file:  # noqa: PTH123 - a descriptor
        answer = _answer(given.pop("task"), given, file)
    sys.stdout.write(json.dumps(answer, default=str))


def _answer(task: str, given: dict[str, Any], file: IO[bytes]) -> dict[str, Any]:
    from live.book_tasks import TASKS

    given["at"] = datetime.fromisoformat(given["at"])
    for name in ("begins", "ends"):
        if given.get(name) is not None:
            given[name] = date.fromisoformat(given[name])
    try:
        return {"told": TASKS[task](file, **given)}
    except Refused as error:
        return {"refused": type(error).__name__, "message": str(error)}
    except Retryable as error:
        return {"away": str(error)}


def _give_way() -> None:
    """The engine comes first: on the processor, and where memory runs out."""
    os.nice(NICENESS)
    with suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with(alive: int) -> None:
    """Whoever asked holds the other end for as long as he lives."""
    os.read(alive, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
