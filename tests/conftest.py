"""One real PostgreSQL a run, one migrated database a test."""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg2.extensions
import pytest
from hypothesis import settings as settings_profile

from core.config import default_settings
from core.db_state_manager import DatabaseStateManager
from core.postgres.migrations import migrate
from core.settings import Settings
from live.logs import configure_logging
from tests.dealing import dealt, workers
from tests.folders import quick_folder
from tests.postgres_server import drop_database, fresh_database, shared_server

pytest_plugins = ["tests.crash.totals"]

configure_logging()
# Tests say which modes their folders have; what they do not say is what most machines have.
os.umask(0o022)
# Whatever writes, here or in a process that is started: xdist's workers inherit it.
os.environ["TMPDIR"] = tempfile.tempdir = str(quick_folder())
# What each worker and each process imports is compiled once, also where the environment would have it compiled each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# The machine is shared: an example may take long. In CI the examples are the same every time, elsewhere new ones.
settings_profile.register_profile("ours", deadline=None, derandomize=bool(os.environ.get("CI")))
settings_profile.load_profile("ours")


def pytest_collection_finish() -> None:
    """What is there by now stays: millions of objects that a collection of garbage would look at again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A real server, shared by the run's workers."""
    with shared_server() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def template(server_dsn: str) -> Iterator[str]:
    """A migrated database to copy: a copy takes milliseconds."""
    dsn = fresh_database(server_dsn)
    migrate(dsn, "main")
    yield psycopg2.extensions.parse_dsn(dsn)["dbname"]
    drop_database(dsn)


@pytest.fixture
def empty_dsn(server_dsn: str) -> Iterator[str]:
    """A database without any table."""
    dsn = fresh_database(server_dsn)
    yield dsn
    drop_database(dsn)


@pytest.fixture
def dsn(server_dsn: str, template: str) -> Iterator[str]:
    """A migrated database of one's own."""
    dsn = fresh_database(server_dsn, template=template)
    yield dsn
    drop_database(dsn)


@pytest.fixture
def manager(dsn: str) -> Iterator[DatabaseStateManager]:
    """A manager on a migrated database of its own."""
    with DatabaseStateManager(dsn) as made:
        yield made


@pytest.fixture
def settings() -> Settings:
    """The settings that hold when nobody says otherwise."""
    return default_settings()


@pytest.fixture
def now() -> datetime:
    """A Wednesday in January."""
    return datetime(2026, 1, 14, 6, 15, 5, tzinfo=UTC)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several workers each begins with what takes long."""
    if workers() > 1:
        items[:] = dealt([(item.nodeid, item) for item in items], workers())
