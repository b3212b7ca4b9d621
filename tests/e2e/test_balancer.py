"""Two engines behind the balancer as it is shipped: whoever sends alerts never sees that one of them ends."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.balancer import NEEDS_HAPROXY, Balancer, balancer
from tests.crash.load import Ledger, Load, Sent, live_on, prove
from tests.live_process import LiveProcess
from tests.waiting import eventually

pytestmark = NEEDS_HAPROXY
ROUNDS = 3


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account may pass through, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="pm-balancer-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@dataclass
class Pair:
    """Two engines with a data folder each, on one database."""

    dsn: str
    folder: Path
    engines: list[LiveProcess] = field(default_factory=list)

    def start(self, number: int, port: int = 0) -> LiveProcess:
        own = self.folder / f"engine-{number}"
        own.mkdir(exist_ok=True)
        return live_on(self.dsn, own, port=port).__enter__()

    def mend(self) -> None:
        """Start again what has ended, as systemd or Docker would."""
        for number, engine in enumerate(self.engines):
            if engine.process.poll() is not None:
                engine.__exit__()
                self.engines[number] = self.start(number, engine.port)

    @property
    def leader(self) -> LiveProcess:
        found: list[LiveProcess] = []
        assert eventually(lambda: found.extend(filter(leads, self.engines)) or found, 60)
        return found[0]


def leads(engine: LiveProcess) -> bool:
    try:
        status, told = engine.get("/status")
    except OSError:
        return False
    return status == 200 and told["leader"] is True


@contextmanager
def two_behind_a_balancer(dsn: str, folder: Path) -> Iterator[tuple[Pair, Balancer]]:
    pair = Pair(dsn, folder)
    with ExitStack() as stack:
        stack.callback(lambda: [engine.__exit__() for engine in pair.engines])
        for number in range(2):
            pair.engines.append(pair.start(number))
        with balancer(folder / "haproxy.log", *pair.engines) as before_them:
            assert eventually(lambda: before_them.post({})[0] == 400), "no engine is up for the balancer"
            yield pair, before_them


class Taken(Ledger):
    """As its senders saw it: whatever was no 2xx is kept as well."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[tuple[int, Any]] = []

    def note(self, alert: Sent, status: int, answer: Any, seconds: float) -> bool:
        taken = super().note(alert, status, answer, seconds)
        if not taken:
            self.others.append((status, answer))
        return taken


def killed(engine: LiveProcess) -> None:
    os.kill(engine.process.pid, signal.SIGKILL)
    engine.process.wait(10)


def stopped(engine: LiveProcess) -> None:
    os.kill(engine.process.pid, signal.SIGTERM)
    engine.process.wait(20)


@pytest.mark.parametrize("fault", [killed, stopped])
def test_engines_that_end_in_a_burst_are_not_seen_by_who_sends_alerts_to_the_balancer(dsn, folder, note, fault):
    with two_behind_a_balancer(dsn, folder) as (pair, before_them):
        load = Load(before_them, f"balancer {fault.__name__}")
        load.ledger = Taken()
        with load.running():
            for number in range(2 * ROUNDS):
                load.wait_for(answers=20)
                # The one that leads, and the one that follows, turn and turn about.
                fault(pair.leader if number % 2 else next(one for one in pair.engines if one is not pair.leader))
                load.wait_for(answers=20)
                pair.mend()
        assert load.ledger.others == [], (folder / "haproxy.log").read_text()
        prove(load, pair.leader, dsn, note, faults=2 * ROUNDS)
