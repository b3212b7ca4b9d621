"""The collector is off while much is made, and does not look through what was set aside."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from live.collector import collector_off, left_alone, set_aside


class _Node:
    """Part of a cycle."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_it_is_off_within_the_block_and_on_again_after_it_whatever_happens() -> None:
    seen: list[bool] = []

    @collector_off()
    def fail() -> None:
        seen.append(gc.isenabled())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (seen, gc.isenabled()) == ([False], True)


def test_of_two_blocks_the_outer_one_turns_it_on() -> None:
    with collector_off():
        with collector_off():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_stays_off_where_somebody_else_turned_it_off() -> None:
    gc.disable()
    with collector_off():
        pass
    assert not gc.isenabled()


def test_what_is_there_is_set_aside_and_what_became_garbage_goes_the_next_time() -> None:
    node = _Node()
    seen = weakref.ref(node)
    set_aside()
    assert gc.get_freeze_count() > 0
    del node
    gc.collect()
    assert seen() is not None
    set_aside()
    assert seen() is None


def test_what_is_there_is_left_alone_within_the_block_and_looked_through_after_it_whatever_happens() -> None:
    node = _Node()
    seen = weakref.ref(node)
    seen_within: list[bool] = []

    @left_alone()
    def fail(node: list[_Node]) -> None:
        node[0] = _Node()
        new = weakref.ref(node.pop())
        gc.collect()
        seen_within.extend((seen() is None, new() is None))
        raise RuntimeError

    nodes = [node]
    del node
    with pytest.raises(RuntimeError):
        fail(nodes)
    assert seen_within == [False, True]
    gc.collect()
    assert (seen(), gc.get_freeze_count()) == (None, 0)


def test_what_was_set_aside_for_longer_stays_so() -> None:
    node = _Node()
    seen = weakref.ref(node)
    set_aside()
    with left_alone():
        pass
    del node
    gc.collect()
    assert seen() is not None
