"""Recorded inputs of one or several files in the one order in which they are decided."""

from collections.abc import Iterable
from datetime import datetime
from itertools import chain

from core.models import require_utc
from core.ordering import signal_in_order_key
from live.replay.model import Recorded


def in_order(recorded: Iterable[Recorded]) -> list[Recorded]:
    """Sorted as live would decide them if they waited together; what is equal there keeps the order it came in."""
    return sorted(recorded, key=lambda one: signal_in_order_key(one.signal))


def merged(
    files: Iterable[Iterable[Recorded]], *, start: datetime | None = None, end: datetime | None = None
) -> list[Recorded]:
    """All files' inputs in order, of bars from `start` (with it) to `end` (without it); aware UTC.

    Equal in order, the earlier file's input is first. A trade that is only half inside is cut: its exit alone is
    refused by the engine, its entry alone stays open.
    """
    require_utc("merged", start=start, end=end)
    return in_order(one for one in chain.from_iterable(files) if is_within(one.signal.bar, start, end))


def is_within(bar: datetime, start: datetime | None, end: datetime | None) -> bool:
    """Whether a bar is from `start` on, and before `end`."""
    return (start is None or bar >= start) and (end is None or bar < end)
