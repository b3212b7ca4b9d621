"""`make ha-demo`: a cluster, two instances, a load; a switchover and a killed postmaster; and in plain words what clients saw."""

import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from core.errors import PortfolioError
from core.postgres.journal_stream import journal_stream
from live.verify import verify
from tests.ha.cluster import what_is_missing
from tests.ha.faults import postmaster_killed, switched_over
from tests.ha.story import Story, story_in

FAULTS = {
    "switchover": ("the primary is asked to give way to its synchronous standby", switched_over),
    "postmaster killed": ("the primary's postmaster gets SIGKILL", postmaster_killed),
}


def main() -> int:
    """The exit code: 0 where nothing was lost or doubled, and nobody was turned away; 2 where it cannot be shown."""
    missing = what_is_missing()
    if missing is not None:
        say(f"this cannot be shown here: {missing}")
        return 2
    with tempfile.TemporaryDirectory(prefix="pm-ha-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            with story_in(folder, f"demo {time.time()}", say) as story:
                holds = _is_told_well(story)
        except (AssertionError, PortfolioError) as error:
            say(f"it went wrong: {error}")
            holds = False
    say("everything is ended")
    return 0 if holds else 1


def _is_told_well(story: Story) -> bool:
    turned_away = _tell(story)
    with suppress(AssertionError):
        story.wait_until_decided()
    lost, doubled = story.lost_and_doubled()
    ledger = story.load.ledger
    say(
        f"in all: {len(ledger.acknowledged | ledger.queued)} alerts acknowledged, in {ledger.deliveries} deliveries; "
        f"lost {len(lost)}, doubled {len(doubled)}, turned away {turned_away}"
    )
    with journal_stream(story.cluster.dsn, "main") as stream:
        verify(stream, "main")
    say("the journal, decided again from its first entry, leads to every row of the tables")
    return not (lost or doubled or turned_away)


def _tell(story: Story) -> int:
    """Go through the faults and say what is seen; how many alerts were turned away."""
    turned_away = 0
    say(_who_leads(story))
    with story.load.running():
        for name, (what, fault) in FAULTS.items():
            say(f"{what} ...")
            seen = story.through(name, fault)
            turned_away += len(seen.not_taken)
            say(f"  {seen.told()}")
            say(f"  {_who_leads(story)}")
        story.wait_until_both_agree()
    say("both instances tell the same of the portfolio")
    return turned_away


def _who_leads(story: Story) -> str:
    leader = story.pair.leader
    primary = story.cluster.of_role("leader").name
    return f"{primary} is the primary; the instance at {leader.url} leads, in term {leader.get('/status')[1]['term']}"


def say(sentence: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
