"""Two instances under load on a cluster that fails, and what is seen of each fault; for the tests and for `make ha-demo`."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.crash.load import Load, TurnedAway, decided_in, eventually, lost_and_doubled
from tests.ha.cluster import Cluster, cluster_in, wait_until
from tests.ha.pair import Pair, pair_on, status_of
from tests.queries import rows

CLIENTS = 6
# Alerts a second and client: the market of `seconds` lasts for a story, and its times stay near the clock's.
PAUSE = 0.25
SECONDS = range(-290, 900)
_COMPARED = (
    "term",
    "closed_equity",
    "open_equity",
    "open_positions",
    "total_risk_amount",
    "version",
    "failed_invariants",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What clients saw of one fault: alerts taken meanwhile, those of them that were only kept, seconds."""

    fault: str
    alerts: int
    queued: int
    slowest: float
    slowest_answer: str
    gap: float
    not_taken: list[TurnedAway]
    ended: list[str]

    def told(self) -> str:
        """One line of it."""
        return (
            f"{self.fault}: {self.alerts} alerts, {self.queued} of them answered 202, the slowest after {self.slowest:.1f} s; "
            f"nothing was decided for {self.gap:.1f} s"
        )


class Story:
    """A cluster, two instances, and a load that goes on from `begun` to its end."""

    def __init__(self, cluster: Cluster, pair: Pair, name: str) -> None:
        self.cluster = cluster
        self.pair = pair
        one, other = pair.processes
        self.load = Load(one, name, other, pause=PAUSE, hang_up_after=10.0, seconds=SECONDS)

    def through(self, name: str, fault: Callable[[Cluster], None]) -> Seen:
        """Let it happen, until the cluster is whole and everything that was taken meanwhile is decided."""
        ledger = self.load.ledger
        self.load.wait_for(answers=20)
        taken, queued, not_taken, ended = (
            len(ledger.sent),
            len(ledger.queued),
            len(ledger.turned_away),
            len(self.pair.ends),
        )
        ledger.slowest = (0.0, "")
        ((began,),) = rows(self.cluster.dsn, "SELECT clock_timestamp()")
        fault(self.cluster)
        self.cluster.wait_until_whole()
        self.pair.mend()
        self.load.wait_for(answers=20)
        self.wait_until_decided()
        ((gap,),) = rows(self.cluster.dsn, _LONGEST_GAP, (began,))
        slowest, answer = ledger.slowest
        return Seen(
            fault=name,
            alerts=len(ledger.sent) - taken,
            queued=len(ledger.queued) - queued,
            slowest=slowest,
            slowest_answer=answer,
            gap=float(gap or 0),
            not_taken=ledger.turned_away[not_taken:],
            ended=self.pair.ends[ended:],
        )

    def wait_until_decided(self) -> None:
        """What was taken until now is decided in the end, and nothing of it twice."""
        ledger = self.load.ledger
        known = set(ledger.acknowledged) | set(ledger.queued)
        eventually(lambda: known <= decided_in(self.cluster.dsn), "a decision on all that was taken", every=0.3)
        assert not self.lost_and_doubled()[1]

    def lost_and_doubled(self) -> tuple[set[str], set[str]]:
        """Of what was taken so far."""
        return lost_and_doubled(self.load.ledger, self.cluster.dsn)

    def wait_until_both_agree(self) -> None:
        """Both tell the same of the portfolio, and one of them leads."""

        def agree() -> bool:
            told = [status_of(live) for live in self.pair.processes]
            if None in told or sorted(one["leader"] for one in told) != [False, True]:
                return False
            return len({json.dumps([one.get(name) for name in _COMPARED]) for one in told}) == 1

        wait_until(agree, lambda: f"instances that agree: {[status_of(live) for live in self.pair.processes]}")

    def require_terms_in_order(self) -> None:
        """No instance wrote under a term that another had followed."""
        terms = [term for (term,) in rows(self.cluster.dsn, "SELECT term FROM decision_journal ORDER BY seq")]
        assert terms == sorted(terms), "terms interleave in the journal"


_LONGEST_GAP = """
SELECT extract(EPOCH FROM max(recorded_at - before))
FROM (SELECT recorded_at, lag(recorded_at) OVER (ORDER BY seq) AS before FROM decision_journal) AS entries
WHERE recorded_at > %s
"""


@contextmanager
def story_in(folder: Path, name: str, tell: Callable[[str], None] = lambda _: None, **entry: str) -> Iterator[Story]:
    """A whole cluster and two instances, one of which leads, below a folder that another account may enter.

    `entry` goes over the cluster's entry of database_config.json. What fails in the block leaves the ends of all logs on stdout.
    """
    started = time.monotonic()
    try:
        with cluster_in(folder) as cluster:
            tell(f"three nodes of PostgreSQL under Patroni and an etcd are up after {time.monotonic() - started:.0f} s")
            with pair_on(cluster, folder, **entry) as pair:
                yield Story(cluster, pair, name)
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            sys.stdout.write(f"--- the end of {log.name}\n{log.read_text(errors='replace')[-6000:]}\n")
        raise
