"""A roll moves a position to the next contract and changes nothing else: not its profit, not its distance to a stop."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.contract_rules import Contract
from core.models import Position, PositionStatus, RolloverStatus, Side, status_of
from core.rollover import (
    OddLots,
    Roll,
    RolledFields,
    RollTime,
    far_lots,
    may_become,
    roll_time,
    rolled,
    rolled_fields,
    shifted,
)
from tests.builders import a_position

ROLLED_AT = datetime(2026, 1, 29, 5, 0, tzinfo=UTC)
prices = st.decimals(40000, 60000, places=2)


def a_contract(lot_size: int = 100, point_value: int = 10, **changes: Any) -> Contract:
    values: dict[str, Any] = {
        "instrument": "GOLD_MINI",
        "exchange": "MCX",
        "symbol": "GOLDM",
        "month": "2026-03",
        "expiry": "2026-03-05",
        "roll_date": "2026-02-26",
        "lot_size": lot_size,
        "point_value": point_value,
        "margin_per_lot": 105000,
        "ticks": [{"from_day": "2016-01-01", "bands": [{"tick": 1}]}],
        **changes,
    }
    return Contract.model_validate(values)


def a_roll(near: Any, far: Any, contract: Contract | None = None, **changes: Any) -> Roll:
    return Roll(
        near_price=Decimal(near), far_price=Decimal(far), far=contract or a_contract(), rolled_at=ROLLED_AT, **changes
    )


def after(position: Position, roll: Roll) -> Position:
    fields = rolled_fields(position, roll)
    assert isinstance(fields, RolledFields)
    return rolled(position, fields)


def a_lot_of(lots: int, lot_size: int, point_value: int, entry_lots: int | None = None, **changes: Any) -> Position:
    """An open position in another lot than Gold Mini's."""
    entered = entry_lots or lots
    return replace(
        a_position(),
        lots=lots,
        entry_lots=entered,
        status=status_of(lots, entered),
        lot_size=Decimal(lot_size),
        quantity=Decimal(lots * lot_size),
        point_value=Decimal(point_value),
        **changes,
    )


positions = st.builds(
    lambda side, entry, stop, initial, mark, best, lots, sold: replace(
        a_position(),
        side=side,
        entry_price=entry,
        current_stop=stop,
        initial_stop=initial,
        mark_price=mark,
        highest_close=best,
        lots=lots,
        entry_lots=lots + sold,
        quantity=Decimal(100 * lots),
        status=status_of(lots, lots + sold),
    ),
    st.sampled_from(Side),
    prices,
    st.none() | prices,
    st.none() | prices,
    prices,
    prices,
    st.integers(1, 50),
    st.integers(0, 10),
)
rolls = st.builds(a_roll, prices, prices)


@pytest.mark.parametrize(
    "day, standing",
    [
        ("2026-01-28", RollTime.EARLY),  # 8 days
        ("2026-01-29", RollTime.DUE),  # 7 days, fewer than 8
        ("2026-02-05", RollTime.DUE),
        ("2026-02-06", RollTime.EXPIRED),
    ],
)
def test_a_roll_is_due_with_fewer_days_to_expiry_than_the_setting(day: str, standing: RollTime) -> None:
    assert roll_time(date(2026, 2, 5), date.fromisoformat(day), 8) is standing


@given(st.dates(), st.integers(-400, 400), st.integers(1, 60))
def test_a_roll_is_never_due_after_expiry_and_stays_due_until_then(expiry: date, ahead: int, setting: int) -> None:
    try:
        day = expiry - timedelta(days=ahead)
        following = day + timedelta(days=1)
    except OverflowError:
        return
    standing = roll_time(expiry, day, setting)
    assert (standing is RollTime.EXPIRED) == (day > expiry)
    if standing is RollTime.DUE:
        assert roll_time(expiry, following, setting) is not RollTime.EARLY


def test_a_roll_as_domain_words_it() -> None:
    near = replace(
        a_position(),
        entry_price=Decimal(138000),
        current_stop=Decimal(137500),
        initial_stop=Decimal(137000),
        highest_close=Decimal(139400),
        mark_price=Decimal(139000),
        expiry=date(2026, 2, 5),
        contract_month="2026-02",
        rollover_status=RolloverStatus.IN_PROGRESS,
    )
    far = after(near, a_roll(138940, 139890, costs=Decimal("120.50")))
    assert far.entry_price == 139890
    assert (far.current_stop, far.initial_stop, far.highest_close) == (138450, 137950, 140350)
    assert far.rollover_pnl == 18800  # (138940 - 138000) x 2 lots x 10
    assert far.realized_pnl == Decimal("18679.50")
    assert far.costs == Decimal("120.50")
    assert (far.rollover_status, far.rollover_count, far.rollover_timestamp) == (RolloverStatus.ROLLED, 1, ROLLED_AT)
    assert (far.expiry, far.contract_month) == (date(2026, 3, 5), "2026-03")
    assert (far.original_expiry, far.original_entry_price) == (date(2026, 2, 5), 138000)
    assert far.risk_contribution == 28800  # (139890 - 138450) x 2 x 10
    assert far.vol_contribution == 10000
    assert (far.position_id, far.version, far.entry_lots, far.quantity) == (near.position_id, 0, 2, 200)


def test_a_short_earns_on_a_roll_what_its_price_fell() -> None:
    short = replace(a_position(layer="Short_1"), entry_price=Decimal(139000), mark_price=Decimal(138000))
    assert after(short, a_roll(138000, 138900)).rollover_pnl == 20000


def test_the_first_contracts_values_are_kept_through_every_roll() -> None:
    first = replace(a_position(), expiry=date(2026, 2, 5), strike=Decimal(58500))
    second = after(first, a_roll(72100, 72600, strike=Decimal(59000)))
    third = after(second, a_roll(72900, 73300, a_contract(month="2026-04", expiry="2026-04-02"), strike=Decimal(59500)))
    assert (third.original_expiry, third.original_strike, third.original_entry_price) == (
        date(2026, 2, 5),
        58500,
        72000,
    )
    assert (third.expiry, third.strike, third.rollover_count) == (date(2026, 4, 2), 59500, 2)
    assert third.rollover_pnl == 2000 + 6000


@given(positions, rolls)
def test_a_stop_never_moves_relative_to_price_by_a_roll(position: Position, roll: Roll) -> None:
    far = after(position, roll)
    for name in ("current_stop", "initial_stop", "highest_close", "mark_price"):
        before, moved = getattr(position, name), getattr(far, name)
        assert (before is None) == (moved is None)
        assert before is None or moved - roll.far_price == before - roll.near_price


@given(positions, rolls)
def test_a_roll_without_costs_changes_no_equity(position: Position, roll: Roll) -> None:
    point_value = position.point_value * position.lots * position.side.sign
    before = replace(position, unrealized_pnl=(position.mark_price - position.entry_price) * point_value)
    far = after(before, roll)
    assert far.realized_pnl + far.unrealized_pnl == before.realized_pnl + before.unrealized_pnl


@given(positions, rolls, rolls)
def test_rolling_there_and_back_leaves_the_chart_where_it_was(position: Position, roll: Roll, other: Roll) -> None:
    back = replace(roll, near_price=roll.far_price, far_price=roll.near_price)
    returned = after(
        after(after(position, roll), other), replace(other, near_price=other.far_price, far_price=other.near_price)
    )
    returned = after(returned, back)
    for name in ("current_stop", "initial_stop", "highest_close", "mark_price", "lots", "entry_lots", "quantity"):
        assert getattr(returned, name) == getattr(position, name)
    assert returned.rollover_count == position.rollover_count + 4


def test_the_last_pyramids_price_moves_by_the_spread_like_the_stops() -> None:
    assert shifted(Decimal("72510.5"), a_roll(72100, "72050.25").spread) == Decimal("72460.75")
    assert shifted(None, Decimal(50)) is None


def test_a_changed_lot_size_keeps_the_units() -> None:
    # Bank Nifty from December 2025 (35) to January 2026 (30).
    position = a_lot_of(6, 35, 35)
    far = after(position, a_roll(58000, 58200, a_contract(30, 30)))
    assert (far.lots, far.entry_lots, far.quantity, far.lot_size, far.point_value) == (7, 7, 210, 30, 30)
    assert far.status is PositionStatus.OPEN
    assert far.rollover_pnl == (58000 - 72000) * 6 * 35


@given(st.integers(1, 40), st.integers(0, 40), st.sampled_from([(15, 30), (30, 15), (30, 35), (35, 30), (25, 15)]))
def test_a_position_sold_in_part_stays_so_and_never_gives_booked_costs_back(
    lots: int, sold: int, sizes: tuple[int, int]
) -> None:
    near, far_size = sizes
    position = a_lot_of(lots, near, near, entry_lots=lots + sold)
    fields = rolled_fields(position, a_roll(58000, 58200, a_contract(far_size, far_size)))
    if isinstance(fields, OddLots):
        assert lots * near % far_size
        return
    far = rolled(position, fields)
    assert far.status is position.status
    assert far.quantity == position.quantity
    # The share of the entry's costs that counts as booked by now, before and after.
    assert (far.entry_lots - far.lots) * position.entry_lots >= sold * far.entry_lots


def test_odd_lots_after_a_changed_lot_size_are_reported_and_nothing_is_rolled() -> None:
    assert rolled_fields(a_lot_of(7, 35, 35), a_roll(58000, 58200, a_contract(30, 30))) == OddLots(
        quantity=Decimal(245), far_lot_size=Decimal(30), whole_lots=8, odd_units=Decimal(5)
    )


@given(st.integers(1, 10**6), st.sampled_from([5, 15, 20, 25, 30, 35, 40, 100]))
def test_whole_far_lots_and_odd_units_are_all_there_is(quantity: int, lot_size: int) -> None:
    lots = far_lots(Decimal(quantity), Decimal(lot_size))
    if isinstance(lots, OddLots):
        assert 0 < lots.odd_units < lot_size
        assert lots.whole_lots * lot_size + lots.odd_units == quantity
    else:
        assert lots * lot_size == quantity


def test_a_closed_position_is_not_rolled() -> None:
    closed = a_position(lots=0)
    with pytest.raises(ValueError, match="only an open position"):
        rolled_fields(closed, a_roll(72100, 72600))


def test_a_roll_is_at_an_aware_utc_time() -> None:
    with pytest.raises(ValueError, match=r"Roll\.rolled_at"):
        replace(a_roll(1, 2), rolled_at=datetime(2026, 1, 29))  # noqa: DTZ001 - that is the test


@pytest.mark.parametrize(
    "status, following",
    [
        ("none", {"pending"}),
        ("pending", {"in_progress", "none"}),
        ("in_progress", {"rolled", "failed"}),
        ("rolled", {"pending"}),
        ("failed", {"pending"}),
    ],
)
def test_a_rolls_statuses_follow_one_another(status: str, following: set[str]) -> None:
    assert {other.value for other in RolloverStatus if may_become(RolloverStatus(status), other)} == following
