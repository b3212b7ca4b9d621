"""Killed at every step of a small story, started again, told again what was not answered: the same state, once, proved."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from core.postgres.journal_stream import journal_stream
from live.spool import Spool
from live.verify import verify
from tests.crash.scenario import NOW, SETTINGS, drain, story, tell
from tests.crash.zygote import Zygote
from tests.engines import Clock, an_engine
from tests.postgres_server import drop_database, fresh_database
from tests.queries import rows
from tests.states import state_of

SHARDS = 4
PARTS = sum(not isinstance(one, str) for one in story())


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    with Zygote("tests.crash.scenario") as made:
        yield made


@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_at_every_step_and_told_again_nothing_is_lost_or_doubled(
    server_dsn, template, zygote, shard, tmp_path, note
):
    undisturbed_dsn = fresh_database(server_dsn, template=template)
    whole = zygote.run(dsn=undisturbed_dsn, spool=str(tmp_path / "undisturbed"), kill_at=0)
    undisturbed = _state(undisturbed_dsn)
    drop_database(undisturbed_dsn)
    assert whole["answered"] == PARTS
    assert whole["told"] > 100
    kills = range(1 + shard, whole["told"] + 1, SHARDS)
    for kill_at in kills:
        dsn, file = fresh_database(server_dsn, template=template), tmp_path / f"{kill_at}.sqlite"
        killed = zygote.run(dsn=dsn, spool=str(file), kill_at=kill_at)
        assert killed["killed"], f"not killed at step {kill_at}"
        with closing(Spool(file)) as spool, an_engine(dsn, settings=SETTINGS, clock=Clock(NOW), spool=spool) as engine:
            # What the spool holds is older than anything told now; what was answered is told again too: a caller may not
            # have heard it.
            drain(engine)
            for one in story():
                tell(engine, one)
        assert _state(dsn) == undisturbed, f"killed at step {kill_at}, {killed['answered']} answered"
        with journal_stream(dsn, "main") as stream:
            verify(stream, "main")
        drop_database(dsn)
        note(faults=1, signals=2 * PARTS)


def _state(dsn: str) -> list[Any]:
    """Without the order in which things were decided: that is one story's, told in one order, and checked by verify."""
    flows = rows(dsn, "SELECT amount, note FROM capital_flows ORDER BY journal_seq")
    return [*state_of(dsn), flows]
