"""Two `live` processes under load on a real Patroni cluster, whose servers fail in every way that a cluster fails."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.load import Load, prove
from tests.ha.cluster import cluster_in, what_is_missing
from tests.ha.pair import pair_on
from tests.queries import rows

MISSING = what_is_missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account may pass through, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="pm-ha-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_switchover(folder, note):
    with cluster_in(folder) as cluster, pair_on(cluster, folder) as pair:
        load = Load(pair.processes[0], "ha", pair.processes[1])
        with load.running():
            load.wait_for(answers=100)
            cluster.switch_over()
            load.wait_for(answers=100)
            cluster.wait_until_whole()
        prove(load, pair.leader, cluster.dsn, note, faults=1)
        terms = [term for (term,) in rows(cluster.dsn, "SELECT term FROM decision_journal ORDER BY seq")]
        assert terms == sorted(terms), "terms interleave in the journal"
        print(load.ledger.slowest, len(load.ledger.queued), len(load.ledger.acknowledged), terms[-1], pair.ends)
