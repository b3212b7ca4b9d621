"""Links between instances, PostgreSQL and Redis are cut under load, in silence, and mended: nothing is lost or doubled.

Instances have no link between each other that anything depends on: what they know of each other is in PostgreSQL and Redis.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.load import Load, dice_of, eventually, prove
from tests.crash.totals import FULL, Note
from tests.partitions.cluster import Cluster, cluster
from tests.partitions.network import both_ways
from tests.redis_server import NEEDS_REDIS

# The lease of two seconds, and the while for which silence has to last.
LONGER_THAN_A_LEASE = 4.0
# How long PostgreSQL takes at most to notice a lost client by itself.
NOTICED_WITHIN = 12.0
LEASES = ["in PostgreSQL", pytest.param("in Redis", marks=NEEDS_REDIS)]
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
    "what Redis tells the leader": Cut(links=lambda leader, _: [("redis", leader)], replaces=False),
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
# With the lease in Redis a cut of PostgreSQL alone is the same story told again, but for the leader's.
SHORT = {
    "in PostgreSQL": POSTGRES,
    "in Redis": {"the leader's PostgreSQL": POSTGRES["the leader's PostgreSQL"], **REDIS},
}
FULLY = {"in PostgreSQL": POSTGRES, "in Redis": {**POSTGRES, **REDIS}}


@pytest.mark.parametrize("repeat", range(4 if FULL else 1))
@pytest.mark.parametrize("lease", LEASES)
def test_links_that_fall_silent_under_load_lose_and_double_nothing(folder: Path, note: Note, lease: str, repeat: int):
    dice = dice_of("partitions", lease, repeat)
    cuts = list((FULLY if FULL else SHORT)[lease].items())
    dice.shuffle(cuts)
    with cluster(folder, redis=lease == "in Redis") as ours:
        load = ours.load(f"partitions {lease} {repeat}")
        with load.running():
            for name, cut in cuts:
                load.wait_for(answers=10)
                _cut_and_mend(ours, load, name, cut, LONGER_THAN_A_LEASE + (dice.uniform(-3, 8) if FULL else 0.0))
        ours.settled()
        prove(load, ours.leader.process, ours.dsn, note, faults=len(cuts))
        ours.require_history()
        ours.require_agreement()
        ours.require_taken(load.ledger)


def _cut_and_mend(ours: Cluster, load: Load, name: str, cut: Cut, seconds: float) -> None:
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
