"""A small story with everything in it, and a child process that is killed at the N-th step of telling it to an engine.

Run as `python -m tests.crash.scenario` it is a zygote: imported once, it forks a child for each line of its stdin,
`{"dsn": ..., "spool": ..., "kill_at": N}`, and answers `{"told": S, "answered": A, "killed": true}` when the child is gone,
with the number of its steps if it was not killed. A step is a statement before it is sent, a batch and a COMMIT before and
after; and each statement to the spool, before it and after it has been synced to the disk.
"""

import os
import signal as signals
import socket
import sqlite3
import time
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import RealDictCursor

from core.fingerprint import fingerprint_of
from core.inputs import ApproveProposal, ClosePositions, Command, Halt, MoveCapital, RejectProposal, Resume
from core.models import Signal
from core.proposals import proposal_id_of
from live.answers import Answer, AnswerKind
from live.engine import LiveTradingEngine
from live.spool import Spool
from tests.builders import a_signal, minutes, settings_with
from tests.crash.zygote import fork_children
from tests.engines import Clock, an_engine, without_waiting

NOW = minutes(20)
GOLD: dict[str, Any] = {"instrument": "GOLD_MINI", "atr": 500}
SILVER: dict[str, Any] = {"instrument": "SILVER_MINI", "atr": 900}
ON_LAST_BAR: dict[str, Any] = {"atr_max_age_seconds": Decimal(120), "stop_atr": Decimal(1)}
COPPER: dict[str, Any] = {"instrument": "COPPER", "price": 800, "stop": 790, "atr": 3}
# What is older than this when it is decided waits for a human.
SETTINGS = without_waiting(settings_with(approval={"late": {"seconds": 250}}, bars={"keep_atr": True}))
ASKED_OF_HUMANS = [a_signal(**COPPER, timestamp=minutes(15.5)), a_signal(**COPPER, timestamp=minutes(15.6))]
NOT_DONE, DONE = (proposal_id_of(fingerprint_of("main", signal)) for signal in ASKED_OF_HUMANS)

AWAY, BACK = "the database goes away", "the database is back"
Part = Signal | Command | str


def story() -> list[Part]:
    """Entries, pyramids, bars that trail and stop, exits, refusals, proposals and commands; four instruments, both sides. In
    the middle the database is away, and what comes then is kept in the spool."""
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
        a_signal(**COPPER, timestamp=minutes(17.5)),
        Resume(request_id="resume"),
        ASKED_OF_HUMANS[0],
        RejectProposal(request_id="reject", proposal_id=NOT_DONE, note="a test"),
        ASKED_OF_HUMANS[1],
        ApproveProposal(request_id="approve", proposal_id=DONE, price=Decimal(801), lots=1),
        AWAY,
        # Its ATR and stop are of the bar above, also where it is read again from the disk.
        a_signal(**{**GOLD, "atr": None}, price=72000, stop=None, **ON_LAST_BAR, timestamp=minutes(17.7)),
        a_signal("EXIT", layer="Long_1", **GOLD, price=72100, timestamp=minutes(17.8)),
        a_signal("MARKET_DATA", price=53050, timestamp=minutes(17.9)),
        BACK,
        a_signal("EXIT", layer="ALL", price=53100, timestamp=minutes(18)),
        ClosePositions(request_id="close", position_id="ALL"),
    ]


def tell(engine: LiveTradingEngine, one: Part) -> Answer | None:
    """Give the engine one part of the story, and see that it was taken; the database stays as it is."""
    if isinstance(one, str):
        return None
    answer = engine.process_signal(one) if isinstance(one, Signal) else engine.command(one)
    assert answer.kind in (AnswerKind.DECIDED, AnswerKind.DUPLICATE, AnswerKind.QUEUED), answer
    return answer


def drain(engine: LiveTradingEngine, seconds: float = 20.0) -> None:
    """Wait until everything kept is decided."""
    deadline = time.monotonic() + seconds
    while (backlog := engine.backlog())["backlog"] or (backlog["spool"] and backlog["spool"]["kept"]):
        assert time.monotonic() < deadline, backlog
        time.sleep(0.002)


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


class Database:
    """psycopg2.connect, counted, and there or away."""

    def __init__(self, steps: Steps) -> None:
        self._made: list[Connection] = []
        self._away = False
        self._connect = psycopg2.connect
        self._class = counted_connections(steps)

    def connect(self, **options: Any) -> Connection:
        """As psycopg2's own."""
        if self._away:
            raise psycopg2.OperationalError("the database is away")
        connection = self._connect(**options, connection_factory=self._class)
        self._made.append(connection)
        return connection

    def be(self, what: str) -> None:
        """Go away, with every connection, or come back."""
        self._away = what == AWAY
        for connection in self._made if self._away else []:
            if not connection.closed:
                with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
                    wire.shutdown(socket.SHUT_RDWR)


def counted_connections(steps: Steps) -> type[Connection]:
    """A connection class whose every statement is a step, before it is sent, and whose every COMMIT is two, also that which is
    part of a batch.

    Once another was answered nothing happens until the next one that anybody could see: killed there is killed before that.
    """

    class Counted:
        def execute(self, *arguments: Any) -> Any:
            steps.step()
            answer = super().execute(*arguments)  # type: ignore[misc]
            if isinstance(arguments[0], bytes) and arguments[0].startswith(b"EXECUTE commit_"):
                steps.step()
            return answer

    class CountedCursor(Counted, Cursor):
        pass

    class CountedDictCursor(Counted, RealDictCursor):
        pass

    class CountedConnection(Connection):
        def cursor(self, *arguments: Any, **options: Any) -> Any:
            known = {None: CountedCursor, Cursor: CountedCursor, RealDictCursor: CountedDictCursor}
            options["cursor_factory"] = known[options.get("cursor_factory")]
            return super().cursor(*arguments, **options)

        def commit(self) -> None:
            steps.step()
            super().commit()
            steps.step()

    return CountedConnection


def counted_files(steps: Steps) -> type[sqlite3.Connection]:
    """A connection to a spool whose every statement, and so every sync, is a step, before it is made; see above."""

    class CountedFile(sqlite3.Connection):
        def execute(self, *arguments: Any) -> Any:
            steps.step()
            return super().execute(*arguments)

        def executescript(self, *arguments: Any) -> Any:
            steps.step()
            return super().executescript(*arguments)

    return CountedFile


def child(request: dict[str, Any], report: int) -> None:
    """Tell the whole story; each answer is noted in `report` before the next part is told, the steps at the end."""
    steps = Steps(request["kill_at"])
    database, open_file = Database(steps), sqlite3.connect
    psycopg2.connect = database.connect
    sqlite3.connect = lambda *given, **options: open_file(*given, **options, factory=counted_files(steps))
    with (
        closing(Spool(Path(request["spool"]))) as spool,
        an_engine(request["dsn"], settings=SETTINGS, clock=Clock(NOW), instance_id="crash", spool=spool) as engine,
    ):
        for one in story():
            if isinstance(one, str):
                database.be(one)
                if one == BACK:
                    drain(engine)
                continue
            tell(engine, one)
            os.write(report, b".")
    os.write(report, f"{steps.count}".encode())


if __name__ == "__main__":
    fork_children(child)
