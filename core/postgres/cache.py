"""The L1 cache: committed state only, replaced as a whole after each COMMIT, read without a lock."""

import threading
from collections import OrderedDict

import immutables
from msgspec import Struct

from core.models import PortfolioState, Position, PyramidingState

CLOSED_KEPT = 1024


class Committed(Struct, frozen=True, kw_only=True):
    """One moment's committed state: open positions, the portfolio's row, pyramiding rows."""

    positions: immutables.Map[str, Position] = immutables.Map()
    state: PortfolioState | None = None
    pyramiding: immutables.Map[str, PyramidingState] = immutables.Map()


class StateCache:
    """`current` is one reference: a reader sees one moment or the next, never half of each."""

    def __init__(self) -> None:
        self.current = Committed()
        self.loaded = False
        self.hits = 0
        self.misses = 0
        self._closed: OrderedDict[str, Position] = OrderedDict()
        self._lock = threading.Lock()

    def publish(self, current: Committed) -> None:
        """Show what has just been committed or loaded."""
        self.current = current
        self.loaded = True

    def find(self, position_id: str) -> Position | None:
        """An open position, or a closed one that was read lately."""
        position = self.current.positions.get(position_id) or self._closed.get(position_id)
        if position is None:
            self.misses += 1
        else:
            self.hits += 1
        return position

    def keep_closed(self, position: Position) -> None:
        """Remember a closed position; the oldest of many is forgotten."""
        with self._lock:
            self._closed[position.position_id] = position
            if len(self._closed) > CLOSED_KEPT:
                self._closed.popitem(last=False)
