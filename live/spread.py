"""Which of several instances should lead which portfolio: the same answer everywhere, without a word between them.

Each instance has a score for each portfolio (rendezvous hashing, Thaler and Ravishankar 1998), and the highest one has the
precedence. So portfolios spread evenly, and only those of an instance that comes or goes change hands.
"""

import threading
import time
from collections.abc import Collection
from hashlib import sha256

# After a change of leader everybody's followers have to be known again.
SETTLED_SECONDS = 5.0
BETWEEN_MOVES_SECONDS = 0.3


def precedence(portfolio: str, instances: Collection[str]) -> list[str]:
    """The instances, the one first that should lead the portfolio."""
    return sorted(instances, key=lambda each: sha256(f"{portfolio} {each}".encode()).digest(), reverse=True)


class Moves:
    """Of a process that serves several portfolios, one at a time may be given to another instance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = time.monotonic()

    def may_move(self) -> bool:
        """Whether it may be done now; then the next one has to wait."""
        with self._lock:
            if time.monotonic() - self._last < BETWEEN_MOVES_SECONDS:
                return False
            self._last = time.monotonic()
            return True
