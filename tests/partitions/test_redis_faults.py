"""Redis forgets, ends, stands still, or has another time, under load: it is a hint, so nobody is replaced for it alone.

Redis has another time here by what that does to the lease: PEXPIRE moves its end. libfaketime, which would move the clock
itself, does not get on with redis-server's allocator (it hangs at its start).
"""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from live.leadership import redis_client
from tests.crash.load import eventually, prove
from tests.crash.totals import FULL, Note
from tests.partitions.cluster import Cluster, cluster
from tests.redis_server import NEEDS_REDIS

pytestmark = NEEDS_REDIS
KEY = "portfolio-manager:main:leader"
LONGER_THAN_A_LEASE = 3.2
AN_HOUR = 3_600_000


def redis_of(ours: Cluster) -> Any:
    """A client."""
    assert ours.redis is not None
    return redis_client(ours.redis.url)


def forgets(ours: Cluster) -> None:
    """Again and again."""
    for _ in range(3):
        assert redis_of(ours).flushall()
        time.sleep(0.3)


def is_killed_and_comes_back_empty(ours: Cluster) -> None:
    """After longer than a lease."""
    assert ours.redis is not None
    ours.redis.stop()
    time.sleep(LONGER_THAN_A_LEASE)
    with ours.network["redis"].entered():
        ours.redis.restart()


def stands_still(ours: Cluster) -> None:
    """For longer than a lease; what it was asked meanwhile it does then."""
    assert ours.redis is not None
    ours.redis.process.send_signal(signal.SIGSTOP)
    time.sleep(LONGER_THAN_A_LEASE)
    ours.redis.process.send_signal(signal.SIGCONT)


def has_a_clock_that_jumps_forward(ours: Cluster) -> None:
    """Then every lease has ended, again and again."""
    for _ in range(3):
        redis_of(ours).pexpire(KEY, 0)
        time.sleep(0.3)


def has_a_clock_that_jumps_back(ours: Cluster) -> None:
    """Then a lease lasts as long as that."""
    redis_of(ours).pexpire(KEY, AN_HOUR)
    time.sleep(1)


FAULTS: tuple[Callable[[Cluster], None], ...] = (
    forgets,
    is_killed_and_comes_back_empty,
    stands_still,
    has_a_clock_that_jumps_forward,
    has_a_clock_that_jumps_back,
)


def test_nobody_is_replaced_for_what_happens_to_redis_alone(folder: Path, note: Note):
    rounds = 3 if FULL else 1
    with cluster(folder, redis=True) as ours:
        term = ours.term
        load = ours.load("redis")
        with load.running():
            for fault in FAULTS * rounds:
                load.wait_for(answers=5)
                fault(ours)
                load.wait_for(answers=5)
                ours.at_work()
                assert ours.term == term, f"the leader was replaced for a Redis that {fault.__name__}"
        ours.settled()
        prove(load, ours.leader.process, ours.dsn, note, faults=len(FAULTS) * rounds)
        ours.require_history()
        ours.require_agreement()
        ours.require_taken(load.ledger)
        assert ours.supervisor.ended == []


def test_a_leader_that_is_paused_while_the_clock_of_redis_jumps_back_is_replaced_all_the_same(folder: Path, note: Note):
    with cluster(folder, redis=True) as ours:
        load = ours.load("redis jumps back", hang_up_after=None)
        with load.running():
            load.wait_for(answers=5)
            leader, term = ours.leader, ours.term
            with ours.paused(leader):
                assert redis_of(ours).pexpire(KEY, AN_HOUR)
                eventually(lambda: ours.term > term, "another leader", 15.0)
            load.wait_for(answers=5)
            ours.at_work()
        ours.settled()
        prove(load, ours.leader.process, ours.dsn, note, faults=1)
        ours.require_history()
        ours.require_taken(load.ledger)
