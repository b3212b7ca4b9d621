"""Links between instances, PostgreSQL and Redis are cut under load, in silence, and mended: nothing is lost or doubled.

Instances have no link between each other that anything depends on: what they know of each other is in PostgreSQL and Redis.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.crash.load import Load, dice_of, eventually, prove
from tests.crash.totals import FULL, Note
from tests.partitions.cluster import Cluster, Instance, Reader, cluster
from tests.partitions.network import both_ways
from tests.redis_server import NEEDS_REDIS

# The lease of two seconds, and the while for which silence has to last.
LONGER_THAN_A_LEASE = 3.2
# How long PostgreSQL takes at most to notice a lost client by itself.
NOTICED_WITHIN = 12.0
LEASES = ["in PostgreSQL", pytest.param("in Redis", marks=NEEDS_REDIS)]
ROLES = ("leader", "follower") if FULL else ("leader",)
Links = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What gets lost, by the names of leader and follower; whether the leader is replaced for it, None = it may be."""

    links: Callable[[str, str], Links]
    replaces: bool | None


POSTGRES = {
    "the leader's PostgreSQL": Cut(links=lambda leader, _: both_ways((leader, "postgres")), replaces=True),
    "the follower's PostgreSQL": Cut(links=lambda _, other: both_ways((other, "postgres")), replaces=False),
    "PostgreSQL of both": Cut(
        links=lambda leader, other: both_ways((leader, "postgres"), (other, "postgres")), replaces=None
    ),
    "what the leader tells PostgreSQL": Cut(links=lambda leader, _: [(leader, "postgres")], replaces=True),
    "what PostgreSQL tells the leader": Cut(links=lambda leader, _: [("postgres", leader)], replaces=True),
}
REDIS = {
    "the leader's Redis": Cut(links=lambda leader, _: both_ways((leader, "redis")), replaces=False),
    "the follower's Redis": Cut(links=lambda _, other: both_ways((other, "redis")), replaces=False),
    "Redis of both": Cut(links=lambda leader, other: both_ways((leader, "redis"), (other, "redis")), replaces=False),
    "all of the leader's": Cut(
        links=lambda leader, _: both_ways((leader, "postgres"), (leader, "redis")), replaces=True
    ),
    # Whether it is alive nobody can tell the follower: PostgreSQL hangs up on it in the end.
    "the leader's PostgreSQL, the follower's Redis": Cut(
        links=lambda leader, other: both_ways((leader, "postgres"), (other, "redis")), replaces=True
    ),
    "the leader's Redis, the follower's PostgreSQL": Cut(
        links=lambda leader, other: both_ways((leader, "redis"), (other, "postgres")), replaces=False
    ),
}
ONE_WAY = {
    "what Redis tells the leader": Cut(links=lambda leader, _: [("redis", leader)], replaces=False),
    "what the leader tells Redis": Cut(links=lambda leader, _: [(leader, "redis")], replaces=False),
}
# With the lease in Redis a cut of PostgreSQL alone is the same story told again.
CUTS = {"in PostgreSQL": POSTGRES, "in Redis": {**POSTGRES, **REDIS, **ONE_WAY} if FULL else REDIS}


@pytest.mark.parametrize("repeat", range(4 if FULL else 1))
@pytest.mark.parametrize("lease", LEASES)
def test_links_that_fall_silent_under_load_lose_and_double_nothing(folder: Path, note: Note, lease: str, repeat: int):
    dice = dice_of("partitions", lease, repeat)
    cuts = list(CUTS[lease].items())
    dice.shuffle(cuts)
    at_random = 40 if FULL else 3 * (lease == "in Redis")
    with cluster(folder, redis=lease == "in Redis") as ours:
        load = ours.load(f"partitions {lease} {repeat}")
        with load.running(), Reader(ours.instances, load.stalls) as reader:
            for name, cut in cuts:
                _cut_and_mend(ours, load, name, cut, LONGER_THAN_A_LEASE + (dice.uniform(-3, 8) if FULL else 0.0))
            for _ in range(at_random):
                _cut_at_random(ours, dice)
            load.wait_for(answers=5)
            ours.at_work()
        ours.settled()
        prove(load, ours.leader.process, ours.dsn, note, faults=len(cuts) + at_random)
        ours.require_history()
        ours.require_agreement()
        ours.require_taken(load.ledger)
        reader.require_prompt()


def _cut_and_mend(ours: Cluster, load: Load, name: str, cut: Cut, seconds: float) -> None:
    load.wait_for(answers=5)
    leader, follower, term = ours.leader, ours.follower, ours.term
    ours.network.cut(*cut.links(leader.name, follower.name))
    try:
        time.sleep(seconds)
        if cut.replaces and seconds >= LONGER_THAN_A_LEASE:
            eventually(lambda: ours.term > term, f"another leader after a cut of {name}", NOTICED_WITHIN)
            load.wait_for(answers=5)
    finally:
        ours.network.mend()
    load.wait_for(answers=5)
    ours.at_work()
    if cut.replaces is False:
        assert ours.term == term, f"the leader was replaced for a cut of {name}"


def _cut_at_random(ours: Cluster, dice: Random) -> None:
    """Some ways, each in one direction, for shorter or longer than a lease; not all is well again when the next are cut."""
    ways = both_ways(*((one.name, other) for one in ours.instances for other in ("postgres", "redis")))
    ours.network.cut(*dice.sample(ways, dice.randint(1, 4)))
    time.sleep(dice.choice((0.2, 1.0, 3.0)))
    ours.network.mend()
    time.sleep(dice.choice((0.1, 0.5, 2.0)))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM] if FULL else [signal.SIGKILL])
def test_what_an_instance_took_that_ends_while_it_is_cut_off_is_decided_after_its_next_start(
    folder: Path, note: Note, how: signal.Signals
):
    with cluster(folder) as ours:
        load = ours.load(f"ends cut off {how.name}")
        with load.running():
            for role in ROLES:
                _ended_while_cut_off(ours, load, role, how)
        ours.settled()
        prove(load, ours.leader.process, ours.dsn, note, faults=len(ROLES))
        ours.require_history(frozenset({0, -signal.SIGKILL}))
        ours.require_agreement()
        ours.require_taken(load.ledger)


def _ended_while_cut_off(ours: Cluster, load: Load, role: str, how: signal.Signals) -> None:
    load.wait_for(answers=10)
    instance = getattr(ours, role)
    ours.network.cut(*both_ways((instance.name, "postgres")))
    try:
        eventually(lambda: _kept(instance) > 3, f"alerts in the spool of the {role}")
        # It is started again while it is cut off still, and takes alerts again.
        ours.end(instance, how)
        queued = len(load.ledger.queued)
        eventually(lambda: len(load.ledger.queued) > queued + 5, "alerts that are taken")
    finally:
        ours.network.mend()
    ours.at_work()


def _kept(instance: Instance) -> int:
    try:
        return int(instance.process.get("/status")[1]["spool"]["kept"])
    except (OSError, KeyError):
        return 0
