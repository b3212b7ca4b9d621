"""Who operates is told before the trading calendar ends, and as long as it has."""

from datetime import UTC, datetime

import pytest

from core.notifications import Level
from live.calendar_end import endings
from live.contracts_file import load_calendar

CALENDAR = load_calendar()


@pytest.mark.parametrize(
    "at, level, left",
    [
        (datetime(2026, 11, 30, tzinfo=UTC), None, None),
        (datetime(2026, 12, 1, tzinfo=UTC), Level.WARNING, 30),
        (datetime(2026, 12, 31, tzinfo=UTC), Level.WARNING, 0),
        # New Year's Day in India by then.
        (datetime(2026, 12, 31, 18, 30, tzinfo=UTC), Level.ERROR, None),
    ],
)
def test_the_end_of_a_calendar_is_told_for_a_month_and_ever_after(
    at: datetime, level: Level | None, left: int | None
) -> None:
    found = list(endings(CALENDAR, at))
    assert {trouble.level for trouble in found} == ({level} if level else set())
    assert len({trouble.what for trouble in found}) == len(found) == (len(CALENDAR.tables) if level else 0)
    for trouble in found:
        assert "2026-12-31" in trouble.told
        assert "`contracts.calendar`" in trouble.told
        assert left is None or f"{left} days from now" in trouble.told
