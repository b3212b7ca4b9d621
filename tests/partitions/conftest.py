"""A cluster for each test, where namespaces can be made; the seed in its report."""

import pytest

from tests.crash.conftest import _seed_in_every_failure, folder
from tests.partitions.network import why_not

__all__ = ["_seed_in_every_failure", "folder"]


@pytest.fixture(autouse=True)
def _needs_namespaces() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
