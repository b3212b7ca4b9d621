"""A live engine in a process that can be killed, spoken to line by line.

Run as `python -m tests.crash.machine_child` it is a zygote: imported once, it forks a child for each line of its stdin.
The child connects to the Unix socket that the line names, says its pid, then `ready` once its engine serves, and answers
each request by its number. It ends with the connection, or where its fuse burns down: with SIGKILL, at a step as
tests/crash/scenario.py counts them.
"""

import json
import os
import signal as signals
import socket
import sqlite3
import sys
import threading
import time
import traceback
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import psycopg2

import live.engine
from core.alert import parse_alert
from core.db_state_manager import DatabaseStateManager
from core.errors import PortfolioError
from core.inputs import Command
from core.settings import Settings
from live.answers import Answer
from live.deliveries import Delivery, Waiting
from live.engine import LiveTradingEngine
from live.logs import configure_logging
from live.spool import Spool
from tests.builders import settings_with
from tests.crash.scenario import counted_connections, counted_files
from tests.engines import Clock

GATHER_SECONDS = 1.0
STOP_SECONDS = 0.3


class Fuse:
    """Ends the process as SIGKILL does, so many steps after it was lit; 0: never."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        """One step less."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signals.SIGKILL)


class Gathering(Waiting):
    """A queue that, told so, lets the writer begin only once so many wait: what is sent at once is then one batch."""

    together = 1

    def take(self, timeout: float | None) -> list[Delivery]:
        with self._condition:
            if not len(self) and not self.closed:
                self._condition.wait(timeout)
        deadline = time.monotonic() + GATHER_SECONDS
        while 0 < len(self) < self.together and not self.closed and time.monotonic() < deadline:
            time.sleep(0.001)
        self.together = 1
        return super().take(0)


class Child:
    """One engine, and the connection over which it is asked."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(request["socket"])
        self._lock = threading.Lock()
        self.tell(pid=os.getpid())
        self._request = request
        self._fuse = Fuse(request["kill_at"])
        self._clock = Clock(datetime.fromisoformat(request["now"]))
        self._settings = settings_with(**request["settings"])

    def run(self) -> None:
        """Serve until the connection ends."""
        self._count_steps()
        try:
            manager = DatabaseStateManager(
                self._request["dsn"], instance_id=self._request["instance"], commit_limit=self._request["commit_limit"]
            )
            engine = self._engine(manager)
            engine.start()
        except PortfolioError as error:
            self.tell(failed=f"{type(error).__name__}: {error}")
            return
        # What a start was to be killed in has been survived.
        self._fuse.left = 0
        self.tell(ready=True)
        with self._connection.makefile("rb") as requests:
            for line in requests:
                self._take(engine, json.loads(line))
        engine.stop(STOP_SECONDS)
        manager.close()

    def _count_steps(self) -> None:
        connect, open_file = psycopg2.connect, sqlite3.connect
        connection, file = counted_connections(self._fuse), counted_files(self._fuse)  # type: ignore[arg-type]
        psycopg2.connect = lambda **options: connect(**options, connection_factory=connection)
        sqlite3.connect = lambda *given, **options: open_file(*given, **options, factory=file)

    def tell(self, **answer: Any) -> None:
        """One line to whoever asked."""
        # Who has hung up does not listen.
        with self._lock, suppress(OSError):
            self._connection.sendall(msgspec.json.encode(answer) + b"\n")

    def _engine(self, manager: DatabaseStateManager) -> LiveTradingEngine:
        live.engine.Waiting = Gathering
        engine = LiveTradingEngine(
            manager,
            self._settings,
            clock=self._clock,
            initial_capital=Decimal(self._request["capital"]),
            answer_within=self._request["answer_within"],
            on_fatal=lambda reason: self.tell(fatal=reason),
            spool=Spool(Path(self._request["spool"])) if self._request["spool"] else None,
        )
        assert isinstance(engine._waiting, Gathering)
        self._waiting = engine._waiting
        return engine

    def _take(self, engine: LiveTradingEngine, request: dict[str, Any]) -> None:
        """What sets something is done at once; what waits for the engine gets a thread."""
        match request:
            case {"now": now}:
                self._clock.now = datetime.fromisoformat(now)
            case {"together": count}:
                self._waiting.together = count
            case {"kill_in": steps}:
                self._fuse.left = steps
            case _:
                threading.Thread(target=self._answer, args=(engine, request), daemon=True).start()

    def _answer(self, engine: LiveTradingEngine, request: dict[str, Any]) -> None:
        match request:
            case {"id": number, "alert": body}:
                self.tell(id=number, **_told(_deliver(engine, self._settings, body)))
            case {"id": number, "command": command}:
                self.tell(id=number, **_told(engine.command(msgspec.convert(command, Command))))
            case {"id": number, "memory": _}:
                self.tell(id=number, **_memory(engine))


def _deliver(engine: LiveTradingEngine, settings: Settings, body: str) -> Answer:
    alert = parse_alert(body.encode(), instruments=settings.instruments, naive_timezone=ZoneInfo("Asia/Kolkata"))
    return engine.deliver(alert.signal, alert.payload)


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "kind": answer.kind.value,
        "outcome": answer.outcome,
        "fingerprint": answer.fingerprint,
        "differs": answer.differs,
        "seq": answer.journal_seq,
        "message": answer.message,
    }


def _memory(engine: LiveTradingEngine) -> dict[str, Any]:
    """What the engine shows to others, all of it."""
    cached = engine.db_manager.cache.current
    return {
        **engine.backlog(),
        "serving": engine.serving,
        "portfolio": {
            "positions": dict(engine.portfolio.positions),
            "state": engine.portfolio.state,
            "pyramiding": dict(engine.portfolio.pyramiding),
        },
        "cache": {
            "positions": dict(cached.positions),
            "state": cached.state,
            "pyramiding": dict(cached.pyramiding),
        },
    }


def main() -> None:
    """Fork a child for each request."""
    configure_logging()
    for line in sys.stdin:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            try:
                Child(json.loads(line)).run()
            except BaseException:  # noqa: BLE001 - nobody above would say it
                traceback.print_exc()
            finally:
                os._exit(0)


if __name__ == "__main__":
    main()
