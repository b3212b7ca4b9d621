"""What every crash test has: the seed in its report, and a folder that the account of PostgreSQL can enter."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.postgres.embedded import EmbeddedServer
from tests.crash.totals import FULL, SEED
from tests.folders import passable_folder


@pytest.fixture(autouse=True)
def _seed_in_every_failure() -> None:
    sys.stdout.write(f"again with: CRASH_SEED={SEED}{' CRASH_FULL=1' if FULL else ''}\n")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account may pass through, unlike pytest's own."""
    with passable_folder("crash") as made:
        yield made
        # What a killed process left running is stopped by its last user: us.
        if (made / "data" / "postgres" / "cluster").exists():
            with EmbeddedServer(made / "data"):
                pass
