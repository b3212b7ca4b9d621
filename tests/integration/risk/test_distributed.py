"""Items on a real cluster of two workers: the bits are those of this process, and what goes wrong is said."""

import operator
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from core.settings import Drawdown
from risk import distributed
from risk.analytics import monte_carlo as simulation
from risk.analytics import ruin
from risk.analytics.monte_carlo import monte_carlo
from risk.analytics.ruin import live_rule, simulate
from risk.distributed import ClusterAway, ClusterDiffers, in_turn, mapped, mapper
from tests.dask_cluster import DaskCluster, a_cluster
from tests.free_ports import free_ports
from tests.unit.risk.samples import a_covariance, series


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with a_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def test_results_of_two_workers_are_in_the_items_order(cluster: DaskCluster) -> None:
    told: list[int] = []
    numbers = list(range(20))
    assert mapped(partial(operator.add, 1), numbers, cluster.address, done=told.append) == [n + 1 for n in numbers]
    assert sum(told) == 20
    workers = mapped(_who, numbers, cluster.address)
    assert len(set(workers)) == 2
    assert os.getpid() not in workers


def test_a_simulation_on_a_cluster_has_the_bits_of_one_thread(cluster: DaskCluster) -> None:
    held, spread = series(np.linspace(-1, 1, 40) * 1e6), a_covariance(3, 40)
    told = {"paths": 12 * simulation.BLOCK + 77, "seed": 5, "confidence": 0.99, "degrees_of_freedom": 5.0}
    alone, there = (monte_carlo(held, spread, **told, over=over) for over in (in_turn, mapper(cluster.address)))
    assert alone.pnl.tobytes() == there.pnl.tobytes()
    assert alone.tail == there.tail


def test_ruin_on_a_cluster_has_the_bits_of_one_thread(cluster: DaskCluster) -> None:
    told = {"initial_equity": 5e6, "ruin_equity": 4.7e6, "trades_per_path": 60, "paths": 5 * ruin.BLOCK + 9, "seed": 5}
    trades, rule = [-1.0, -1.0, 0.5, 3.0], live_rule(2.0, Drawdown(), risk_per_lot=10_000.0)
    alone, there = (simulate(trades, rule, **told, over=over) for over in (in_turn, mapper(cluster.address)))
    assert 0 < alone.probability == there.probability
    assert alone.final_equity.tobytes() == there.final_equity.tobytes()


def test_what_an_item_raises_on_a_worker_is_raised_here(cluster: DaskCluster) -> None:
    with pytest.raises(ZeroDivisionError):
        mapped(partial(operator.truediv, 1), [1, 0, 2], cluster.address)


def test_a_worker_with_another_program_is_refused(cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_digest", lambda: "another")
    with pytest.raises(ClusterDiffers, match=r"the worker tcp://127.0.0.1:\d+ has program \w{12}, not another"):
        mapped(abs, [1], cluster.address)


def test_a_worker_without_the_program_is_refused(tmp_path: Path) -> None:
    with (
        a_cluster(tmp_path, workers=1, where=tmp_path, PYTHONPATH="") as cluster,
        pytest.raises(ClusterDiffers, match=r"cannot run this program: .*No module named 'risk'"),
    ):
        mapped(abs, [1], cluster.address)


def test_where_nobody_listens_the_cluster_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "CONNECT_SECONDS", 0.5)
    (port,) = free_ports(1)
    with pytest.raises(ClusterAway, match=rf"tcp://127.0.0.1:{port} cannot be reached within 0.5 s"):
        mapped(abs, [1], f"tcp://127.0.0.1:{port}")


def test_a_killed_workers_items_are_done_by_the_other_one(tmp_path: Path) -> None:
    with a_cluster(tmp_path) as cluster:
        victim, *_ = cluster.workers
        expected = [number * 2 for number in range(40)]

        def kill_once(_: int) -> None:
            if victim.poll() is None:
                cluster.kill(victim)

        assert mapped(_slowly, range(40), cluster.address, done=kill_once) == expected
        assert victim.poll() is not None


@pytest.mark.parametrize("lost", ["worker", "scheduler"])
def test_a_cluster_that_is_lost_on_the_way_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    with a_cluster(tmp_path, workers=1) as cluster:
        victim = cluster.workers[0] if lost == "worker" else cluster.scheduler

        def kill_once(_: int) -> None:
            if victim.poll() is None:
                cluster.kill(victim)

        with pytest.raises(ClusterAway, match="lost on the way"):
            mapped(_slowly, range(40), cluster.address, done=kill_once)
        monkeypatch.setattr(distributed, "CONNECT_SECONDS", 2.0)
        with pytest.raises(ClusterAway, match=r"has no worker|cannot be reached within 2 s"):
            mapped(abs, [1], cluster.address)


def test_an_item_that_ends_its_workers_is_given_up(tmp_path: Path) -> None:
    died = "every worker that tried one of the items died of it"
    with (
        a_cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as cluster,
        pytest.raises(ClusterAway, match=died),
    ):
        mapped(_deadly, [1, 2, 3], cluster.address)


def _deadly(number: int) -> int:
    if number == 2:
        os._exit(1)
    return number


def _who(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def _slowly(number: int) -> int:
    time.sleep(0.1)
    return number * 2
