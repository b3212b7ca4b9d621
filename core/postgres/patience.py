"""How long a caller waits at most: one deadline for all that a request reads, however many statements that takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Whatever this thread reads in the block ends, or fails, within so many seconds."""
    token = _DEADLINE.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def is_bounded() -> bool:
    """Whether this thread's caller waits only so long."""
    return _DEADLINE.get() is not None


def seconds_left(most: float) -> float:
    """How long to wait: `most` seconds, or what is left until the deadline where that is less; never below 0."""
    deadline = _DEADLINE.get()
    return most if deadline is None else max(0.0, min(most, deadline - time.monotonic()))
