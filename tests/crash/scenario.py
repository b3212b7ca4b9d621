"""A small story with everything in it, and a child process that is killed at the N-th step of telling it to an engine.

Run as `python -m tests.crash.scenario` it is a zygote: imported once, it forks a child for each line of its stdin,
`{"dsn": ..., "kill_at": N}`, and answers `{"steps": S, "answered": A, "killed": true}` when the child is gone. A step is a
statement before it is sent, a statement whose answer has come, a COMMIT before and after.
"""

import json
import os
import signal as signals
import sys
from decimal import Decimal
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import RealDictCursor

from core.inputs import ClosePositions, Command, Halt, MoveCapital, Resume
from core.models import Signal
from live.answers import Answer
from live.engine import LiveTradingEngine
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine

NOW = minutes(20)
GOLD: dict[str, Any] = {"instrument": "GOLD_MINI", "atr": 500}
SILVER: dict[str, Any] = {"instrument": "SILVER_MINI", "atr": 900}


def story() -> list[Signal | Command]:
    """Entries, pyramids, bars that trail and stop, exits, refusals and commands; three instruments, both sides."""
    return [
        a_signal(timestamp=minutes(16)),
        a_signal(**GOLD, price=72000, stop=71500, timestamp=minutes(16.1)),
        a_signal(layer="Short_1", **SILVER, price=90000, stop=91800, timestamp=minutes(16.2)),
        a_signal("MARKET_DATA", price=53000, timestamp=minutes(16.5)),
        a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(16.6)),
        a_signal("PYRAMID", layer="Long_3", price=53000, stop=52900, atr=100, timestamp=minutes(16.7)),
        MoveCapital(request_id="deposit", amount=Decimal("1234.5"), note="in the middle"),
        a_signal("MARKET_DATA", **GOLD, price=71000, timestamp=minutes(17)),
        a_signal("EXIT", layer="Long_1", **GOLD, price=71000, timestamp=minutes(17.1)),
        Halt(request_id="halt", reason="a test"),
        a_signal(instrument="COPPER", price=800, stop=790, atr=3, timestamp=minutes(17.5)),
        Resume(request_id="resume"),
        a_signal("EXIT", layer="ALL", price=53100, timestamp=minutes(18)),
        ClosePositions(request_id="close", position_id="ALL"),
    ]


def tell(engine: LiveTradingEngine, one: Signal | Command) -> Answer:
    """Give the engine one part of the story."""
    return engine.process_signal(one) if isinstance(one, Signal) else engine.command(one)


class Steps:
    """Counts, and kills the process at the step that was asked for."""

    def __init__(self, kill_at: int) -> None:
        self.count = 0
        self._kill_at = kill_at

    def step(self) -> None:
        """One more."""
        self.count += 1
        if self.count == self._kill_at:
            os.kill(os.getpid(), signals.SIGKILL)


def counted_connections(steps: Steps) -> type[Connection]:
    """A connection class whose every statement and COMMIT is two steps."""

    class Counted:
        def execute(self, *arguments: Any) -> Any:
            steps.step()
            result = super().execute(*arguments)  # type: ignore[misc]
            steps.step()
            return result

    class CountedCursor(Counted, Cursor):
        pass

    class CountedDictCursor(Counted, RealDictCursor):
        pass

    class CountedConnection(Connection):
        def cursor(self, *arguments: Any, **options: Any) -> Any:
            known = {None: CountedCursor, RealDictCursor: CountedDictCursor}
            options["cursor_factory"] = known[options.get("cursor_factory")]
            return super().cursor(*arguments, **options)

        def commit(self) -> None:
            steps.step()
            super().commit()
            steps.step()

    return CountedConnection


def child(dsn: str, kill_at: int, report: int) -> None:
    """Tell the whole story; each answer is noted in `report` before the next part is told."""
    steps = Steps(kill_at)
    connect = psycopg2.connect
    psycopg2.connect = lambda **options: connect(**options, connection_factory=counted_connections(steps))
    with an_engine(dsn, clock=Clock(NOW), instance_id="crash") as engine:
        for one in story():
            tell(engine, one)
            os.write(report, b".")
    os.write(report, f"{steps.count}".encode())


def main() -> None:
    """Fork a child for each request."""
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            try:
                child(request["dsn"], request["kill_at"], writing)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as report:
            told = report.read()
        _, status = os.waitpid(pid, 0)
        answer = {
            "answered": told.count(b"."),
            "steps": int(told.rpartition(b".")[2] or 0),
            "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signals.SIGKILL,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
