"""Two `live` processes under load on a real Patroni cluster, whose servers fail in every way that a cluster fails."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.load import prove
from tests.crash.totals import FULL
from tests.folders import passable_folder
from tests.ha.cluster import what_is_missing
from tests.ha.faults import FAULTS
from tests.ha.story import Story, story_in
from tests.queries import rows


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account may pass through, unlike pytest's own."""
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    with passable_folder("ha") as made:
        yield made


# Two clusters, so that two workers share the waiting.
WHAT_ENDS = ("postmaster killed", "switchover", "synchronous standby killed", "node killed")
WHAT_FALLS_SILENT = ("etcd frozen", "node frozen", "only Patroni killed")


@pytest.mark.parametrize("repeat", range(3 if FULL else 1))
@pytest.mark.parametrize("names", [WHAT_ENDS, WHAT_FALLS_SILENT], ids=["what ends", "what falls silent"])
def test_a_cluster_that_fails_under_load_loses_and_doubles_nothing_and_everybody_is_answered(
    folder, note, names, repeat
):
    with story_in(folder, f"ha {names[0]} {repeat}", reads="replica") as story:
        _require_lists_of_a_standby(story)
        with story.load.running():
            for name in names:
                seen = story.through(name, FAULTS[name])
                sys.stdout.write(f"{seen.told()}\n")
                assert not seen.not_taken, f"{name}: {seen.not_taken[:3]}"
                assert not seen.ended, f"{name}: {seen.ended}"
                story.load.require_prompt_answers()
                story.wait_until_both_agree()
                assert [live.get("/signals?limit=3")[0] for live in story.pair.processes] == [200, 200]
        prove(story.load, story.pair.leader, story.cluster.dsn, note, faults=len(names))
        story.require_terms_in_order()


def _require_lists_of_a_standby(story: Story) -> None:
    """What a follower only shows it reads at a standby, what it follows at the primary."""
    (follower,) = (live for live in story.pair.processes if live is not story.pair.leader)
    assert follower.get("/signals?limit=3")[0] == 200
    primary, listing = story.cluster.of_role("leader"), 0
    for node in story.cluster.nodes:
        names = {name for (name,) in rows(story.cluster.dsn_at(node), "SELECT application_name FROM pg_stat_activity")}
        assert ("portfolio-manager main read" in names) == (node is primary)
        assert node is not primary or "portfolio-manager main list" not in names
        listing += "portfolio-manager main list" in names
    assert listing
