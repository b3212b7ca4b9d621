"""What a process of ours holds in memory: children of the bench, each of which does one thing and says so."""

import gc
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2

from bench.stories import Story, settings
from core.config import load_file_settings
from core.db_state_manager import DatabaseStateManager
from core.postgres.statements import statement
from core.settings import Settings
from live.engine import LiveTradingEngine
from live.logs import configure_logging

_THREADS = 32
_AT_ONCE = 500
_SAMPLES = 40
_ANSWER_WITHIN_SECONDS = 30.0


def resident(pid: int | str = "self") -> int:
    """Bytes of a process that are in memory now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def engine(dsn: str, config: str) -> None:
    """An engine that has loaded what is open; what it holds."""
    with DatabaseStateManager(dsn) as manager:
        running = _started(manager, load_file_settings(Path(config)).settings)
        gc.collect()
        _say("ready", resident())
        running.stop()


def tuples(dsn: str, _config: str) -> None:
    """The same rows as psycopg2's tuples; what these take."""
    with closing(psycopg2.connect(dsn)) as connection:
        with connection.cursor() as cursor:
            cursor.execute(statement("load_positions"))
            rows = cursor.fetchall()
        gc.collect()
        _say("ready", resident(), "with", len(rows))


def soak(dsn: str, count: str) -> None:
    """An engine that is given signal after signal: every so often, how many there were and what it holds by then."""
    story, answers, wanted = Story(), Counter[str](), int(count)
    every = max(_AT_ONCE, wanted // _SAMPLES)
    with DatabaseStateManager(dsn) as manager, ThreadPoolExecutor(_THREADS) as clients:
        running = _started(manager, settings())
        for done in range(_AT_ONCE, wanted + 1, _AT_ONCE):
            signals = [story.signal(number % _THREADS) for number in range(_AT_ONCE)]
            answers.update(str(answer.kind) for answer in clients.map(running.deliver, signals))
            if done % every < _AT_ONCE:
                _say("at", done, resident())
        running.stop()
    _say("answers", dict(answers))


def _started(manager: DatabaseStateManager, given: Settings) -> LiveTradingEngine:
    running = LiveTradingEngine(manager, given, clock=lambda: datetime.now(UTC), answer_within=_ANSWER_WITHIN_SECONDS)
    running.start()
    return running


def _say(*words: Any) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


if __name__ == "__main__":
    configure_logging()
    {"engine": engine, "tuples": tuples, "soak": soak}[sys.argv[1]](*sys.argv[2:])
