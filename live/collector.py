"""The garbage collector in a process that keeps much for long: off while it is loaded, not asked about it afterwards."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """A block that makes much and no garbage. Of several at once the first one's end turns the collector on again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def left_alone() -> Iterator[None]:
    """A block during which what is there already is not looked through: that can take as long as the block itself. Not where
    something is set aside for longer."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def set_aside() -> None:
    """Take all that is there now out of what is looked through from now on; what was set aside before, and is garbage by now,
    goes first."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
