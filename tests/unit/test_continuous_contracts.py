"""Contracts joined to one series: rolled before they expire, moved by the roll's spread, exact."""

import itertools
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.as_of import Bar
from risk.continuous import Adjustment, NoRoll, continuous, roll_spread

JANUARY, FEBRUARY, MARCH = date(2026, 1, 27), date(2026, 2, 24), date(2026, 3, 31)
FIRST = date(2026, 1, 12)


def at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def a_bar(day: date, close: Decimal | int) -> Bar:
    price = Decimal(close)
    return Bar(timestamp=at(day), open=price - 1, high=price + 2, low=price - 2, close=price, settlement=price)


def contracts(closes: Mapping[date, Mapping[date, Decimal | int]]) -> dict[date, list[Bar]]:
    return {expiry: [a_bar(day, close) for day, close in sorted(own.items())] for expiry, own in closes.items()}


def every_day(first: date, last: date, base: int) -> dict[date, int]:
    return {first + timedelta(days=n): base + n for n in range((last - first).days + 1)}


THREE = contracts(
    {
        JANUARY: every_day(FIRST, JANUARY, 1000),
        FEBRUARY: every_day(FIRST, FEBRUARY, 1010),
        MARCH: every_day(FIRST, date(2026, 3, 10), 1030),
    }
)
DAYS = {bar.timestamp: bar.timestamp.date() for own in THREE.values() for bar in own}


def joined(adjustment: Adjustment, given: Mapping[date, list[Bar]] = THREE, roll_days: int = 7) -> list[Bar]:
    return list(continuous(given, roll_days=roll_days, days=DAYS, adjustment=adjustment).bars)


def test_a_contract_is_left_once_a_position_in_it_would_be_rolled() -> None:
    """Due when fewer days than the setting are left: that day's close is the last of the near contract."""
    found = continuous(THREE, roll_days=7, days=DAYS, adjustment=Adjustment.NONE)
    assert [(roll.near, roll.far, roll.timestamp.date()) for roll in found.rolls] == [
        (JANUARY, FEBRUARY, date(2026, 1, 21)),
        (FEBRUARY, MARCH, date(2026, 2, 18)),
    ]
    last = {expiry: bar.timestamp.date() for expiry, bar in zip(found.expiries, found.bars, strict=True)}
    assert last == {JANUARY: date(2026, 1, 21), FEBRUARY: date(2026, 2, 18), MARCH: date(2026, 3, 10)}
    times = [bar.timestamp for bar in found.bars]
    assert times == sorted(set(times))
    assert len(times) == (date(2026, 3, 10) - FIRST).days + 1


def test_what_came_before_is_moved_by_the_differences() -> None:
    """10 at the first roll and 20 at the second: one unbroken line of one a day."""
    closes = [bar.close for bar in joined(Adjustment.DIFFERENCE)]
    assert closes == [Decimal(1030 + n) for n in range(len(closes))]
    first = joined(Adjustment.DIFFERENCE)[0]
    assert (first.open, first.high, first.low, first.settlement) == (1029, 1032, 1028, 1030)


def test_what_came_before_is_multiplied_by_the_ratios() -> None:
    given = contracts(
        {
            JANUARY: {date(2026, 1, 20): 50, date(2026, 1, 21): 100},
            FEBRUARY: {date(2026, 1, 21): 110, date(2026, 1, 22): 121},
        }
    )
    assert [bar.close for bar in joined(Adjustment.RATIO, given)] == [55, 110, 121]
    (roll,) = continuous(given, roll_days=7, days=DAYS, adjustment=Adjustment.RATIO).rolls
    assert (roll.spread, roll.ratio) == (10, Decimal("1.1"))


def test_without_adjustment_nothing_is_moved() -> None:
    found = joined(Adjustment.NONE)
    assert (found[0].close, found[-1].close) == (1000, Decimal(1030 + (date(2026, 3, 10) - FIRST).days))


@given(spreads=st.lists(st.decimals(-50, 50, places=2), min_size=2, max_size=2))
def test_the_changes_of_a_day_are_those_of_the_contract_that_was_held(spreads: list[Decimal]) -> None:
    near, far = spreads
    given_contracts = contracts(
        {
            JANUARY: every_day(FIRST, JANUARY, 1000),
            FEBRUARY: {day: close + near for day, close in every_day(FIRST, FEBRUARY, 1000).items()},
            MARCH: {day: close + near + far for day, close in every_day(FIRST, date(2026, 3, 10), 1000).items()},
        }
    )
    closes = [bar.close for bar in joined(Adjustment.DIFFERENCE, given_contracts)]
    assert {later - earlier for earlier, later in itertools.pairwise(closes)} == {1}
    assert closes[0] == 1000 + near + far


def test_a_contract_that_is_not_due_is_held_to_the_end() -> None:
    given = contracts(
        {JANUARY: every_day(FIRST, date(2026, 1, 15), 100), FEBRUARY: every_day(FIRST, date(2026, 1, 15), 110)}
    )
    found = continuous(given, roll_days=7, days=DAYS, adjustment=Adjustment.DIFFERENCE)
    assert (found.rolls, set(found.expiries)) == ((), {JANUARY})


def test_a_contract_whose_bars_end_early_is_left_at_the_last_common_one() -> None:
    given = contracts(
        {JANUARY: every_day(FIRST, date(2026, 1, 15), 100), FEBRUARY: every_day(FIRST, date(2026, 1, 20), 110)}
    )
    (roll,) = continuous(given, roll_days=7, days=DAYS, adjustment=Adjustment.DIFFERENCE).rolls
    assert roll.timestamp.date() == date(2026, 1, 15)


def test_contracts_that_never_met_cannot_be_joined() -> None:
    given = contracts({JANUARY: {FIRST: 100}, FEBRUARY: {date(2026, 1, 20): 110}})
    with pytest.raises(NoRoll, match="2026-01-27 has no bar in common"):
        joined(Adjustment.DIFFERENCE, given)


def test_a_roll_at_a_price_below_nothing_has_no_ratio() -> None:
    given = contracts(
        {JANUARY: every_day(date(2026, 1, 20), JANUARY, -5), FEBRUARY: every_day(date(2026, 1, 20), JANUARY, 10)}
    )
    with pytest.raises(NoRoll, match="adjust by difference"):
        joined(Adjustment.RATIO, given)
    assert joined(Adjustment.DIFFERENCE, given)[0].close == 10


def test_nothing_is_joined_to_nothing() -> None:
    assert joined(Adjustment.RATIO, {}) == []
    assert joined(Adjustment.RATIO, {JANUARY: []}) == []


def test_the_spread_of_a_rollover_is_that_of_the_last_common_closes() -> None:
    roll = roll_spread(THREE, JANUARY, MARCH, at(date(2026, 1, 15)) + timedelta(hours=9))
    assert (roll.timestamp.date(), roll.near_close, roll.far_close, roll.spread) == (date(2026, 1, 15), 1003, 1033, 30)
    with pytest.raises(NoRoll, match="no bar in common until 2026-01-01"):
        roll_spread(THREE, JANUARY, MARCH, at(date(2026, 1, 1)))
