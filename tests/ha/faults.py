"""What goes wrong with a cluster, one thing at a time, and how it is made whole again."""

import signal
import time
from collections.abc import Callable

from tests.ha.cluster import TTL, Cluster, Node, wait_until

# How long the load goes on where two servers take themselves for the primary.
BESIDE_EACH_OTHER = 8.0


def postmaster_killed(cluster: Cluster) -> None:
    """The primary's postmaster gets SIGKILL; Patroni is there, and brings it or another one up."""
    postmaster = cluster.of_role("leader").postmaster()
    assert postmaster is not None
    postmaster.kill()


def node_killed(cluster: Cluster) -> None:
    """Patroni and PostgreSQL of the primary, as in a power cut."""
    node = cluster.of_role("leader")
    node.send(signal.SIGKILL)
    _wait_for_another(cluster, node)
    node.start()


def switched_over(cluster: Cluster) -> None:
    """As an operator has it done."""
    cluster.switch_over()


def standby_killed(cluster: Cluster) -> None:
    """Patroni and PostgreSQL of the synchronous standby: COMMIT waits until there is another one."""
    node = cluster.of_role("sync_standby")
    node.send(signal.SIGKILL)
    wait_until(lambda: cluster.of_role("sync_standby") is not node, "another synchronous standby")
    node.start()


def etcd_frozen(cluster: Cluster) -> None:
    """For longer than the leader's key lasts; with failsafe_mode the primary asks the others instead, and stays."""
    primary = cluster.of_role("leader")
    cluster.etcd.send(signal.SIGSTOP)
    time.sleep(TTL + 5)
    cluster.etcd.send(signal.SIGCONT)
    assert cluster.of_role("leader") is primary, "the primary gave up although every standby was there"


def node_frozen(cluster: Cluster) -> None:
    """Patroni and PostgreSQL of the primary stand still, its connections stay open; then they go on where they were."""
    node = cluster.of_role("leader")
    node.send(signal.SIGSTOP)
    _wait_for_another(cluster, node)
    time.sleep(BESIDE_EACH_OTHER / 4)
    node.send(signal.SIGCONT)


def patroni_killed(cluster: Cluster) -> None:
    """PostgreSQL goes on without anybody who would stop it: once another node leads there are two primaries."""
    node = cluster.of_role("leader")
    for process in node.patroni():
        process.kill()
    _wait_for_another(cluster, node)
    assert node.postmaster() is not None, "the unsupervised PostgreSQL has ended"
    time.sleep(BESIDE_EACH_OTHER)
    assert node.postmaster() is not None, "the unsupervised PostgreSQL has ended"
    node.start()


FAULTS: dict[str, Callable[[Cluster], None]] = {
    "postmaster killed": postmaster_killed,
    "node killed": node_killed,
    "switchover": switched_over,
    "synchronous standby killed": standby_killed,
    "etcd frozen": etcd_frozen,
    "node frozen": node_frozen,
    "only Patroni killed": patroni_killed,
}


def _wait_for_another(cluster: Cluster, node: Node) -> None:
    wait_until(lambda: cluster.of_role("leader") is not node, "another primary", 2 * TTL + 30)
