"""The journal read entry by entry: in parts of any size, from any checkpoint, the same positions and the same ends of days."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from book.day_ends import DayEnd, DayEnds
from book.journal_walk import Change, JournalWalk
from core.errors import StateDiverged, TooNew
from core.trading_calendar import TradingCalendar
from live.contracts_file import load_calendar
from tests.journal_entries import random_journal

CALENDAR = load_calendar()
ENDS = DayEnds(CALENDAR, 300)
JOURNAL = random_journal(seed=3, count=800)


def told(changes: list[Change]) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Of several changes what is there after the last, and all days."""
    positions: dict[str, Any] = {}
    proposals: dict[str, Any] = {}
    for change in changes:
        positions |= change.positions
        proposals |= {name: (fate.proposal, fate.decided_seq) for name, fate in change.proposals.items()}
    return positions, proposals, [closed for change in changes for closed in change.days]


WHOLE = JournalWalk("main", ENDS)
TOLD = told([WHOLE.take(JOURNAL)])


def test_the_journal_has_what_is_to_be_read() -> None:
    positions, proposals, days = TOLD
    assert len(positions) > 10
    assert len(proposals) > 3
    assert {closed.end.exchange for closed in days} == {"NFO", "MCX"}


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, len(JOURNAL) - 1), max_size=6))
def test_in_parts_and_from_checkpoints_it_comes_to_the_same(cuts: set[int]) -> None:
    walk, changes = JournalWalk("main", ENDS), []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), len(JOURNAL)], strict=True):
        changes.append(walk.take(JOURNAL[first:last]))
        walk = JournalWalk.resumed("main", ENDS, walk.checkpoint())
    assert told(changes) == TOLD
    assert walk.portfolio == WHOLE.portfolio
    assert (walk.seq, walk.content_hash) == (WHOLE.seq, JOURNAL[-1].content_hash)


def test_where_days_have_many_rows_it_takes_breath_and_misses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("book.journal_walk.MOST_ROWS", 1)
    walk, changes = JournalWalk("main", ENDS), []
    while walk.seq < len(JOURNAL):
        changes.append(walk.take(JOURNAL[walk.seq :]))
    assert len(changes) > 5
    assert told(changes) == TOLD


def test_a_day_is_as_of_its_end_and_has_what_was_closed_on_it() -> None:
    walk = JournalWalk("main", ENDS)
    seen: dict[date, set[str]] = {}
    for entry in JOURNAL:
        for closed in walk.take([entry]).days:
            assert closed.end.at < entry.decided_at
            names = {position.position_id for position in closed.positions}
            assert len(names) == len(closed.positions)
            seen.setdefault(closed.end.day, set()).update(names)
    ended = {name for name, position in TOLD[0].items() if not position.is_open}
    last_day = walk.end_days(JOURNAL[-1].decided_at + timedelta(days=7))
    later = {position.position_id for closed in last_day.days for position in closed.positions}
    assert ended <= set().union(*seen.values()) | later
    assert walk.evening is not None
    assert walk.evening.seq == len(JOURNAL)


def test_an_entry_that_is_missing_or_of_a_newer_program_is_refused() -> None:
    with pytest.raises(StateDiverged):
        JournalWalk("main", ENDS).take(JOURNAL[1:])
    with pytest.raises(TooNew):
        JournalWalk("main", ENDS).take([replace(JOURNAL[0], format=99)])


# --- ends of days


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_day_ends_some_time_after_its_last_session_s_close() -> None:
    assert ENDS.of("NFO", date(2026, 1, 14)) == DayEnd(
        at=at("2026-01-14 10:05:00"), exchange="NFO", day=date(2026, 1, 14)
    )
    assert ENDS.of("NFO", date(2026, 1, 17)) is None  # a Saturday
    assert ENDS.of("NFO", date(2026, 1, 26)) is None  # Republic Day
    assert ENDS.of("NFO", date(2031, 1, 14)) is None  # beyond what is known
    assert ENDS.opening("NFO", date(2026, 1, 14)) == at("2026-01-14 03:45:00")
    assert ENDS.opening("NFO", date(2026, 1, 17)) is None
    assert ENDS.opening("NFO", date(2031, 1, 14)) is None


def test_an_exchange_without_a_calendar_trades_every_day_until_midnight() -> None:
    end = ENDS.of("BINANCE", date(2026, 1, 17))
    assert end == DayEnd(at=at("2026-01-18 00:05:00"), exchange="BINANCE", day=date(2026, 1, 17))
    assert ENDS.opening("BINANCE", date(2026, 1, 17)) == at("2026-01-17 00:00:00")
    assert ENDS.first_from("BINANCE", at("2026-01-18 00:05:00")) == end
    assert ENDS.last_before("BINANCE", at("2026-01-18 00:05:01")) == end


def test_the_next_end_is_found_over_weekends_and_where_the_calendar_ends_there_is_none() -> None:
    friday = ENDS.first_from("NFO", at("2026-01-16 10:05:00"))
    assert friday is not None
    assert friday.day == date(2026, 1, 16)
    monday = ENDS.after(friday)
    assert monday is not None
    assert monday.day == date(2026, 1, 19)
    assert ENDS.last_before("NFO", monday.at) == friday
    assert ENDS.first_from("NFO", at("2023-06-01 00:00:00")) == ENDS.of("NFO", date(2024, 1, 1))
    assert ENDS.last_before("NFO", at("2023-06-01 00:00:00")) is None
    assert ENDS.first_from("NFO", at("2027-06-01 00:00:00")) is None
    last = ENDS.last_before("NFO", at("2027-06-01 00:00:00"))
    assert last is not None
    assert ENDS.after(last) is None


def test_a_day_is_over_on_all_exchanges_with_the_last_of_them() -> None:
    both, day = {"NFO", "MCX"}, date(2026, 1, 14)
    assert ENDS.of_all(both, day) == at("2026-01-14 18:30:00")  # 23:55 in Kolkata, and five minutes
    assert ENDS.of_all(both, date(2026, 1, 17)) is None
    assert ENDS.last_day(both, at("2026-01-14 18:30:00")) == date(2026, 1, 13)
    assert ENDS.last_day(both, at("2026-01-14 18:30:01")) == day
    assert DayEnds(TradingCalendar(tables=()), 0).last_day({"X"}, at("2026-01-14 00:00:01")) == date(2026, 1, 13)
