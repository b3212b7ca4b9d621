"""A pyramid is allowed only beyond 1R of the base, half an ATR of the last entry, below the limit, and at a profit."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.models import Side
from core.pyramid_gate import GateResult, pyramid_gate
from core.settings import Pyramiding

RULES = Pyramiding()


def gate(side: Side = Side.LONG, rules: Pyramiding = RULES, **changes: Any) -> GateResult:
    """A base at 100 with R = 10, the last entry at 110, ATR 8, two of five pyramids, in profit, asked at 114."""
    fields: dict[str, Any] = {
        "price": Decimal(114),
        "atr": Decimal(8),
        "base_entry": Decimal(100),
        "initial_risk_points": Decimal(10),
        "last_entry": Decimal(110),
        "open_pyramids": 2,
        "max_pyramids": 5,
        "instrument_pnl": Decimal(1),
        **changes,
    }
    if side is Side.SHORT:
        fields |= {name: 200 - fields[name] for name in ("price", "base_entry", "last_entry")}
    return pyramid_gate(side=side, rules=rules, **fields)


both_sides = pytest.mark.parametrize("side", Side)


@both_sides
def test_all_gates_hold_exactly_at_half_an_atr(side: Side) -> None:
    assert gate(side).failed is None


@both_sides
def test_exactly_one_r_is_not_more_than_one_r(side: Side) -> None:
    assert gate(side, price=Decimal(110), last_entry=Decimal(100)).failed == "one_r"
    assert gate(side, price=Decimal("110.00000001"), last_entry=Decimal(100)).failed is None


@both_sides
def test_one_r_is_a_setting(side: Side) -> None:
    rules = Pyramiding(requires_one_r=False)
    assert gate(side, rules, price=Decimal(105), last_entry=Decimal(100)).failed is None


@both_sides
def test_less_than_half_an_atr_beyond_the_last_entry_is_too_near(side: Side) -> None:
    assert gate(side, price=Decimal("113.99999999")).failed == "atr_spacing"


@both_sides
def test_the_spacing_is_a_setting(side: Side) -> None:
    assert gate(side, Pyramiding(spacing_atr=Decimal("0.25")), price=Decimal(112)).failed is None
    assert gate(side, Pyramiding(spacing_atr=Decimal(1))).failed == "atr_spacing"


@both_sides
@pytest.mark.parametrize("open_pyramids, failed", [(4, None), (5, "max_pyramids"), (6, "max_pyramids")])
def test_the_limit_of_pyramids_counts_the_open_ones(side: Side, open_pyramids: int, failed: str | None) -> None:
    assert gate(side, open_pyramids=open_pyramids).failed == failed


@both_sides
@pytest.mark.parametrize("pnl, failed", [("0.0001", None), ("0", "profit"), ("-5", "profit")])
def test_the_instrument_must_be_in_profit(side: Side, pnl: str, failed: str | None) -> None:
    assert gate(side, instrument_pnl=Decimal(pnl)).failed == failed


@both_sides
def test_every_gates_figure_is_reported_whichever_fails(side: Side) -> None:
    figures = gate(side, price=Decimal(105), open_pyramids=5, instrument_pnl=Decimal(-3)).figures
    assert {name: str(value) for name, value in figures.items()} == {
        "beyond_base_points": "5.000000",
        "initial_risk_points": "10.000000",
        "beyond_last_points": "-5.000000",
        "required_spacing_points": "4.000000",
        "open_pyramids": "5",
        "max_pyramids": "5",
        "instrument_pnl": "-3.000000",
    }


prices = st.decimals(1, 199, places=2)


@settings(deadline=None)
@given(prices, prices, st.decimals(0, 30, places=2), st.integers(0, 6), st.decimals(-5, 5, places=1))
def test_both_sides_are_judged_alike(price: Decimal, last: Decimal, r: Decimal, count: int, pnl: Decimal) -> None:
    changes = {
        "price": price,
        "last_entry": last,
        "initial_risk_points": r,
        "open_pyramids": count,
        "instrument_pnl": pnl,
    }
    assert gate(Side.LONG, **changes) == gate(Side.SHORT, **changes)
