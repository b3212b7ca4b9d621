"""Two instances under load, and the one that leads is killed, stopped, paused or cut off, again and again."""

import os
import signal as signals
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from core.postgres.embedded import EmbeddedServer
from tests.crash.load import ENVIRONMENT, Load, dice_of, eventually, prove
from tests.crash.totals import FULL
from tests.live_process import LiveProcess
from tests.queries import rows

REPEATS = range(5 if FULL else 1)
ROUNDS = 12 if FULL else 4
# The lease of two seconds, and the while for which silence has to last.
LONGER_THAN_A_LEASE = 3.5


class Instances:
    """Two processes on fixed ports; what has ended is started again."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.processes = [LiveProcess(data, environment=ENVIRONMENT).__enter__()]
        self.processes.append(LiveProcess(data, environment=ENVIRONMENT).__enter__())

    @property
    def leader(self) -> LiveProcess:
        """Who leads now; waits for one."""
        found: list[LiveProcess] = []
        eventually(lambda: found.extend(filter(_leads, self.processes)) or found, "a leader")
        return found[0]

    def mend(self) -> None:
        """Start again what has ended."""
        for number, process in enumerate(self.processes):
            if process.process.poll() is not None:
                port = process.port
                process.__exit__()
                self.processes[number] = LiveProcess(self._data, port=port, environment=ENVIRONMENT).__enter__()

    def stop(self) -> None:
        for process in self.processes:
            process.__exit__()


@contextmanager
def two_instances(data: Path) -> Iterator[Instances]:
    instances = Instances(data)
    try:
        yield instances
    finally:
        instances.stop()


def _leads(live: LiveProcess) -> bool:
    if live.process.poll() is not None:
        return False
    try:
        status, told = live.get("/status")
    except OSError:
        return False
    return status == 200 and told["leader"] is True


def killed(leader: LiveProcess) -> None:
    os.kill(leader.process.pid, signals.SIGKILL)
    leader.process.wait(60)


def stopped(leader: LiveProcess) -> None:
    os.kill(leader.process.pid, signals.SIGTERM)
    leader.process.wait(60)


def paused(leader: LiveProcess) -> None:
    """For longer than its lease: when it goes on it finds that it was replaced, and ends."""
    os.kill(leader.process.pid, signals.SIGSTOP)
    time.sleep(LONGER_THAN_A_LEASE)
    os.kill(leader.process.pid, signals.SIGCONT)
    leader.process.wait(30)


FAULTS: dict[str, Callable[[LiveProcess], None]] = {"killed": killed, "stopped": stopped, "paused": paused}


@pytest.mark.parametrize("repeat", REPEATS)
@pytest.mark.parametrize("name", [*FAULTS, "in turn"])
def test_a_leader_that_ends_under_load_is_replaced_and_nothing_is_lost_or_doubled(folder, note, name, repeat):
    dice = dice_of("failover", name, repeat)
    with two_instances(folder / "data") as instances:
        load = Load(instances.processes[0], f"failover {name} {repeat}", instances.processes[1])
        with load.running():
            for round_number in range(ROUNDS):
                load.wait_for(answers=dice.randrange(10, 40))
                _fault(name, round_number, dice)(instances.leader)
                instances.mend()
        dsn = EmbeddedServer.dsn_of(folder / "data")
        prove(load, instances.leader, dsn, note, faults=ROUNDS)
        terms = [term for (term,) in rows(dsn, "SELECT term FROM decision_journal ORDER BY seq")]
        assert terms == sorted(terms), "terms interleave in the journal"
        assert terms[-1] >= ROUNDS


def _fault(name: str, round_number: int, dice: Random) -> Callable[[LiveProcess], None]:
    return FAULTS[name] if name in FAULTS else list(FAULTS.values())[(round_number + dice.randrange(3)) % 3]
