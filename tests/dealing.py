"""The order of a run by several workers: what takes long is begun first, and dealt out, so that none has it left at the end."""

import os
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

# The folders whose tests take longest, the longest first.
SLOW = ("tests/ha/", "tests/partitions/", "tests/crash/", "tests/e2e/")
_Item = TypeVar("_Item")


def workers() -> int:
    """How many share this run."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def dealt(items: Sequence[tuple[str, _Item]], hands: int) -> list[_Item]:
    """The items, given with their paths, in as many equal parts as there are workers, each with its share of slow ones first."""
    rank = {path: next((n for n, folder in enumerate(SLOW) if folder in path), len(SLOW)) for path, _ in items}
    slow = [item for path, item in sorted(items, key=lambda pair: rank[pair[0]]) if rank[path] < len(SLOW)]
    quick = iter([item for path, item in items if rank[path] == len(SLOW)])
    order: list[_Item] = []
    for hand in range(hands):
        share = slow[hand::hands]
        size = len(items) * (hand + 1) // hands - len(items) * hand // hands
        order += share
        order += islice(quick, max(0, size - len(share)))
    return [*order, *quick]
