"""Waiting for what another thread or process is about to do."""

import time
from collections.abc import Callable


def eventually(holds: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether it holds within so many seconds: as many as a busy machine may need, none of which is a measure of anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False
