"""What tests with a real database have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from live.spool import Spool
from tests.proxy import Proxy


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    """A way to the test's database that can be cut."""
    with Proxy(dsn) as made:
        yield made


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """A spool of the test's own."""
    made = Spool(tmp_path / "main-1.sqlite")
    yield made
    made.close()
