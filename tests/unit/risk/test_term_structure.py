"""Contracts beside each other: spreads as rolls see them, carry a year, and reasons where there is none."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from core.rollover import shifted
from risk.as_of import Bar
from risk.term_structure import Contract, structured

FEBRUARY, MARCH, APRIL = date(2026, 2, 5), date(2026, 3, 5), date(2026, 4, 3)
DAY = date(2026, 1, 14)
AT = datetime(2026, 1, 14, 20, tzinfo=UTC)
A_DAY = timedelta(days=1)


def bars(closes: Mapping[date, object]) -> list[Bar]:
    found = []
    for day, close in sorted(closes.items()):
        price = Decimal(str(close))
        opened = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=5, minutes=30)
        found.append(Bar(timestamp=opened, open=price, high=price, low=price, close=price, settlement=price + 1))
    return found


def of(*contracts: tuple[date, Mapping[date, object]], **changed: int) -> tuple[Contract, ...]:
    known = {expiry: bars(closes) for expiry, closes in contracts}
    given = {"roll_days": 8, **changed}
    return structured(known, at=AT, day=DAY, length=A_DAY, **given)


def test_prices_days_spreads_and_carry_are_those_reckoned_by_hand() -> None:
    near, middle, far = of((FEBRUARY, {DAY: 72_000}), (MARCH, {DAY: 72_480}), (APRIL, {DAY: 72_900}))
    assert [(each.expiry, each.days, each.price) for each in (near, middle, far)] == [
        (FEBRUARY, 22, 72_000),
        (MARCH, 50, 72_480),
        (APRIL, 79, 72_900),
    ]
    assert (near.spread, middle.spread, far.spread) == (480, 420, None)
    # 480 / 72000 x 365 / 28, 420 / 72480 x 365 / 29
    assert (near.carry_percent, middle.carry_percent) == (Decimal("8.690476"), Decimal("7.293332"))
    assert (near.shape, near.settlement, near.time) == ("contango", 72_001, datetime(2026, 1, 14, 18, 30, tzinfo=UTC))
    assert [each.held for each in (near, middle, far)] == [True, False, False]
    assert {each.reason for each in (near, middle, far)} == {None}
    # What a stop moves by in a roll.
    assert shifted(Decimal(71_500), near.spread or Decimal(0)) == 71_980


@pytest.mark.parametrize("far, shape", [(71_900, "backwardation"), (72_000, "flat"), (72_001, "contango")])
def test_the_shape_is_the_sign_of_the_spread(far: int, shape: str) -> None:
    near, _ = of((FEBRUARY, {DAY: 72_000}), (MARCH, {DAY: far}))
    assert (near.shape, near.spread) == (shape, far - 72_000)


def test_a_position_is_in_the_first_contract_that_is_not_to_be_left_yet() -> None:
    told = ((FEBRUARY, {DAY: 1}), (MARCH, {DAY: 2}))
    assert [each.held for each in of(*told, roll_days=22)] == [True, False]
    assert [each.held for each in of(*told, roll_days=23)] == [False, True]
    assert [each.held for each in of(*told, roll_days=60)] == [False, False]


def test_what_has_expired_is_left_out_and_what_expires_today_is_not() -> None:
    found = of((DAY - A_DAY, {DAY - 2 * A_DAY: 1}), (DAY, {DAY: 1}), (MARCH, {DAY: 2}))
    assert [(each.expiry, each.days) for each in found] == [(DAY, 0), (MARCH, 50)]


def test_the_spread_is_of_the_last_bar_that_both_have() -> None:
    yesterday = DAY - A_DAY
    near, far = of((FEBRUARY, {yesterday: 71_000, DAY: 72_000}), (MARCH, {yesterday: 71_300}))
    assert (near.price, near.spread, near.spread_time) == (72_000, 300, datetime(2026, 1, 13, 18, 30, tzinfo=UTC))
    assert far.price == 71_300


def test_what_is_stale_is_no_price_and_no_spread() -> None:
    old = date(2026, 1, 3)
    near, far = of((FEBRUARY, {old: 71_000, DAY: 72_000}), (MARCH, {old: 71_300}))
    assert (near.price, near.spread, near.carry_percent, near.shape) == (72_000, None, None, None)
    assert near.reason == "stale: the last bar in common with the next was over at 2026-01-03 18:30 UTC"
    assert (far.price, far.reason) == (None, "stale: its last bar was over at 2026-01-03 18:30 UTC")
    assert of((FEBRUARY, {old: 71_000}), (MARCH, {DAY: 1}))[0].spread is None
    assert of((FEBRUARY, {old: 71_000}), (MARCH, {old: 71_300}), stale_days=12)[0].spread == 300


def test_contracts_without_a_common_bar_have_no_spread() -> None:
    near, _ = of((FEBRUARY, {DAY: 72_000}), (MARCH, {DAY - A_DAY: 71_300}))
    assert near.spread is None
    assert near.reason is not None
    assert "have no bar in common" in near.reason


def test_a_price_of_nothing_has_a_spread_and_no_carry() -> None:
    near, _ = of((FEBRUARY, {DAY: -37}), (MARCH, {DAY: 20}))
    assert (near.spread, near.carry_percent, near.reason) == (57, None, "no carry: a price is not above 0")


def test_without_bars_there_is_nothing() -> None:
    assert of((FEBRUARY, {})) == ()
