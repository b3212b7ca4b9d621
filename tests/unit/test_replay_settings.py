"""By which settings a replay decides."""

from live.replay.settings import Overrides, replay_settings
from tests.builders import settings_with

OVERRIDES = Overrides(as_listed=False, instrument="BANK_NIFTY")


def test_a_replay_asks_no_broker_and_no_human_whatever_is_configured() -> None:
    live = settings_with(execution={"fills": "broker"}, approval={"mode": "approve", "exits": True, "late": {}})
    replayed = replay_settings(live, OVERRIDES)
    assert (replayed.execution.fills, replayed.approval) == ("paper", settings_with().approval)
    assert replayed == replay_settings(settings_with(), OVERRIDES)
