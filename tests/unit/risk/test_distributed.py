"""Items on threads: results in the items' order, and of a simulation the bits that one thread gives."""

import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from core.settings import Drawdown
from risk.analytics import monte_carlo as simulation
from risk.analytics import ruin
from risk.analytics.monte_carlo import monte_carlo
from risk.analytics.ruin import live_rule, simulate
from risk.distributed import NoScheduler, in_turn, mapped, mapper
from tests.unit.risk.samples import a_covariance, series

ONE_BY_ONE = [in_turn, mapper()]


@pytest.mark.parametrize("over", ONE_BY_ONE)
def test_results_are_in_the_items_order_whoever_is_done_first(over: Callable[..., list[int]]) -> None:
    assert over(lambda number: number * number, [3, 1, 2]) == [9, 1, 4]
    assert over(abs, []) == []


def test_the_first_item_may_be_done_last() -> None:
    later = threading.Event()

    def one(place: int) -> int:
        if place == 0:
            assert later.wait(60)
        else:
            later.set()
        return place

    told: list[int] = []
    assert mapped(one, [0, 1], done=told.append) == [0, 1]
    assert told == [1, 1]


def test_items_are_handed_over_as_they_are() -> None:
    items = [[1, 2], {"a": [3]}, ("x", 1)]
    assert all(given is item for given, item in zip(mapped(lambda item: item, items), items, strict=True))


@pytest.mark.parametrize("over", ONE_BY_ONE)
def test_what_an_item_raises_is_raised(over: Callable[..., list[float]]) -> None:
    with pytest.raises(ZeroDivisionError):
        over(lambda number: 1 / number, [1, 0])


@pytest.mark.parametrize(
    "scheduler",
    [
        "",
        "processes",
        "127.0.0.1:8786",
        "tcp://127.0.0.1",
        "tcp://:8786",
        "http://127.0.0.1:1",
        "tcp://a@b:1",
        "tcp://a:1/x",
        "tcp://a:99999",
    ],
)
def test_a_scheduler_is_threads_or_an_address(scheduler: str) -> None:
    with pytest.raises(NoScheduler, match="must be `threads`, or an address"):
        mapper(scheduler)


def test_a_simulation_on_threads_has_the_bits_of_one_thread() -> None:
    held, spread = series(np.linspace(-1, 1, 40) * 1e6), a_covariance(3, 40)
    told = {"paths": 12 * simulation.BLOCK + 77, "seed": 5, "confidence": 0.99}
    with threadpool_limits(2, user_api="blas"):
        alone, together = (monte_carlo(held, spread, **told, over=over) for over in ONE_BY_ONE)
    assert alone.pnl.tobytes() == together.pnl.tobytes()
    assert alone.tail == together.tail


def test_ruin_on_threads_has_the_bits_of_one_thread() -> None:
    told = {"initial_equity": 5e6, "ruin_equity": 4.7e6, "trades_per_path": 60, "paths": 5 * ruin.BLOCK + 9, "seed": 5}
    rule = live_rule(2.0, Drawdown(), risk_per_lot=10_000.0)
    alone, together = (simulate([-1.0, -1.0, 0.5, 3.0], rule, **told, over=over, block=2) for over in ONE_BY_ONE)
    assert 0 < alone.probability == together.probability
    for name in ("final_equity", "max_drawdown", "max_drawdown_percent"):
        assert getattr(alone, name).tobytes() == getattr(together, name).tobytes()


def test_a_rule_travels_as_a_pickle() -> None:
    rule = live_rule(1.0, Drawdown(), risk_per_lot=250.0, pyramids=True)
    equity, high = np.array([1e5, 9.4e4, 8.9e4, 8e4]), np.full(4, 1e5)
    assert pickle.loads(pickle.dumps(rule))(equity, high).tolist() == rule(equity, high).tolist() == [1000, 500, 250, 0]


def test_blas_has_one_thread_until_the_last_block_is_done() -> None:
    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        first, second = simulation._one_blas_thread(), simulation._one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == before == {2}
