"""What lets an order through: sizes, rates, hours, the switch."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from core.models import Side
from core.orders import EntryPlan, Order, OrderPurpose
from live.contracts_file import load_calendar
from live.order_limits import Gate, OrderLimits, Refuse, Wait
from tests.builders import NOON
from tests.engines import Clock

SUNDAY = datetime(2026, 1, 18, 6, 15, tzinfo=UTC)
BEYOND = datetime(2031, 1, 15, 6, 15, tzinfo=UTC)


def an_order(purpose: OrderPurpose = OrderPurpose.ENTRY, **fields: Any) -> Order:
    plan = EntryPlan(
        entry_timestamp=NOON,
        entry_bar_time=None,
        mark_time=NOON,
        stop=Decimal(51650),
        atr=Decimal(350),
        limiter="risk",
        is_base_position=True,
    )
    order = Order(
        client_order_id="pm1-0123456789ab-e1",
        journal_seq=1,
        position_id="BANK_NIFTY-Long_1-0123456789ab",
        instrument="BANK_NIFTY",
        layer="Long_1",
        side=Side.LONG,
        purpose=purpose,
        lots=2,
        lot_size=Decimal(30),
        point_value=Decimal(30),
        reference_price=Decimal(52000),
        plan=plan if purpose is OrderPurpose.ENTRY else None,
    )
    return replace(order, **fields)


def a_gate(tmp_path: Path, clock: Clock | None = None, **limits: Any) -> Gate:
    calendar = load_calendar() if limits.get("within_hours") else None
    return Gate(OrderLimits(**limits), tmp_path / "STOP", clock=clock or Clock(), calendar=calendar)


EXIT = OrderPurpose.EXIT


def test_without_limits_an_order_goes(tmp_path):
    assert a_gate(tmp_path).check(an_order(), "NFO") is None


@pytest.mark.parametrize(
    "limits, reason",
    [
        ({"most_lots": 1}, "limit: 2 lots, at most 1"),
        ({"most_value": 3_000_000}, "limit: worth 3120000, at most 3000000"),
    ],
)
def test_an_entry_that_is_too_large_is_refused_an_exit_never(tmp_path, limits, reason):
    gate = a_gate(tmp_path, **limits)
    assert gate.check(an_order(), "NFO") == Refuse(reason)
    assert gate.check(an_order(EXIT), "NFO") is None


def test_an_order_as_large_as_may_be_goes(tmp_path):
    assert a_gate(tmp_path, most_lots=2, most_value=3_120_000).check(an_order(), "NFO") is None


def test_no_more_than_so_many_go_within_a_minute(tmp_path):
    clock = Clock()
    gate = a_gate(tmp_path, clock, most_per_minute=2)
    for _ in range(2):
        assert gate.check(an_order(), "NFO") is None
        gate.sent()
    assert gate.check(an_order(EXIT), "NFO") == Wait("2 orders were sent within a minute")
    clock.forward(seconds=59)
    assert gate.check(an_order(EXIT), "NFO") is not None
    clock.forward(seconds=1)
    assert gate.check(an_order(EXIT), "NFO") is None


@pytest.mark.parametrize("at", [SUNDAY, BEYOND])
def test_outside_the_hours_an_entry_is_refused_and_an_exit_waits(tmp_path, at):
    gate = a_gate(tmp_path, Clock(at), within_hours=True)
    assert isinstance(gate.check(an_order(), "NFO"), Refuse)
    assert isinstance(gate.check(an_order(EXIT), "NFO"), Wait)
    assert a_gate(tmp_path, within_hours=True).check(an_order(), "NFO") is None


def test_the_switch_is_read_live_and_stops_everything(tmp_path):
    gate = a_gate(tmp_path)
    (tmp_path / "STOP").touch()
    assert gate.check(an_order(EXIT), "NFO") == Wait("the switch STOP is pulled")
    (tmp_path / "STOP").unlink()
    assert gate.check(an_order(EXIT), "NFO") is None


@pytest.mark.parametrize("wrong", [{"most_lots": 0}, {"most_lots": -1}, {"most_per_minute": 0}, {"most_value": 0}])
def test_a_limit_that_lets_nothing_through_is_no_limit(wrong):
    with pytest.raises(ValueError, match="greater"):
        OrderLimits(**wrong)
