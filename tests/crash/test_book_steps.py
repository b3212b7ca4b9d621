"""Killed at every step of keeping the book and telling the day, and begun again: the same rows, and each told at least once."""

from collections.abc import Iterator
from pathlib import Path

import psycopg2.extensions
import pytest

from book.database import engine_of, sessions_on
from core.postgres.migrations import migrate, migrate_shared
from live.notify.message import AGAIN
from tests.crash.book_scenario import Letterbox, keep
from tests.crash.scenario import NOW, SETTINGS, story, tell
from tests.crash.zygote import Zygote
from tests.engines import Clock, an_engine
from tests.integration.book.test_projection import now_kept
from tests.postgres_server import drop_database, fresh_database
from tests.queries import rows

SHARDS = 4
# Prime to the number of shards: each of them looks now and then.
OFTEN = 5


@pytest.fixture(scope="module")
def told_template(server_dsn: str) -> Iterator[str]:
    """A database with a journal, and a book that has not begun to read it."""
    dsn = fresh_database(server_dsn)
    migrate(dsn, "main")
    migrate_shared(dsn)
    with an_engine(dsn, settings=SETTINGS, clock=Clock(NOW)) as engine:
        for one in story():
            tell(engine, one)
    yield psycopg2.extensions.parse_dsn(dsn)["dbname"]
    drop_database(dsn)


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    with Zygote("tests.crash.book_scenario") as made:
        yield made


@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_at_every_step_the_book_is_kept_and_the_day_told(
    server_dsn, told_template, zygote, shard, tmp_path, note
):
    undisturbed_dsn = fresh_database(server_dsn, template=told_template)
    whole = zygote.run(dsn=undisturbed_dsn, letters=str(tmp_path / "undisturbed"), kill_at=0)
    undisturbed = _kept(undisturbed_dsn)
    drop_database(undisturbed_dsn)
    assert len(letters(tmp_path / "undisturbed")) == 1
    assert whole["told"] > 90
    for kill_at in range(1 + shard, whole["told"] + 1, SHARDS):
        dsn, file = fresh_database(server_dsn, template=told_template), tmp_path / f"{kill_at}"
        killed = zygote.run(dsn=dsn, letters=str(file), kill_at=kill_at)
        assert killed["killed"], f"not killed at step {kill_at}"
        keep(dsn, Letterbox(file))
        assert _kept(dsn) == undisturbed, f"killed at step {kill_at}"
        _first, *others = letters(file)
        assert all(AGAIN in other for other in others), f"killed at step {kill_at}"
        assert len(others) <= 1
        if kill_at % OFTEN == 0:
            keep(dsn, Letterbox(file))
            assert len(letters(file)) == 1 + len(others), "told again though it was locked"
        drop_database(dsn)
        note(faults=1, signals=0)


def letters(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _kept(dsn: str) -> object:
    engine = engine_of(dsn)
    try:
        kept = now_kept(sessions_on(engine))
    finally:
        engine.dispose()
    briefing = rows(
        dsn,
        "SELECT briefing_date, journal_seq, portfolio_snapshot, market_snapshot, risk_summary, action_items, sections,"
        " is_locked, content_hash = book.row_hash(b), jsonb_object_keys(deliveries) FROM book.daily_briefings AS b",
    )
    return kept, briefing
