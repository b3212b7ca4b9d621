"""Killed at every step of a small story, started again, told again what was not answered: the same state, once, proved."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.postgres.journal_stream import journal_stream
from live.spool import Spool
from live.verify import verify
from tests.crash.scenario import NOW, drain, story, tell
from tests.engines import Clock, an_engine
from tests.live_process import ROOT
from tests.postgres_server import drop_database, fresh_database
from tests.queries import rows
from tests.states import state_of

SHARDS = 4
PARTS = sum(not isinstance(one, str) for one in story())


class Zygote:
    """The process that forks the children which are killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.scenario"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def run(self, dsn: str, spool: Path, kill_at: int) -> dict[str, Any]:
        """One child, killed at that step (0: never)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"dsn": dsn, "spool": str(spool), "kill_at": kill_at}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_at_every_step_and_told_again_nothing_is_lost_or_doubled(
    server_dsn, template, zygote, shard, tmp_path, note
):
    undisturbed_dsn = fresh_database(server_dsn, template=template)
    whole = zygote.run(undisturbed_dsn, tmp_path / "undisturbed", 0)
    undisturbed = _state(undisturbed_dsn)
    drop_database(undisturbed_dsn)
    assert whole["answered"] == PARTS
    assert whole["steps"] > 140
    kills = range(1 + shard, whole["steps"] + 1, SHARDS)
    for kill_at in kills:
        dsn, file = fresh_database(server_dsn, template=template), tmp_path / f"{kill_at}.sqlite"
        killed = zygote.run(dsn, file, kill_at)
        assert killed["killed"], f"not killed at step {kill_at}"
        with closing(Spool(file)) as spool, an_engine(dsn, clock=Clock(NOW), spool=spool) as engine:
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
