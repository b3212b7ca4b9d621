"""What a position has grown beyond its ongoing limits is sold, in whole lots, and no more of it."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.numbers import percent_share
from core.peel_off import lots_to_peel


def peeled(**changes: Any) -> int:
    """Ten lots in 1,000,000 of equity: limits of 15,000 risk and 7,000 volatility."""
    fields: dict[str, Any] = {
        "lots": 10,
        "risk_amount": 15_000,
        "volatility_amount": 7_000,
        "equity": 1_000_000,
        **changes,
    }
    equity = Decimal(fields["equity"])
    return lots_to_peel(
        fields["lots"],
        risk=Decimal(fields["risk_amount"]),
        risk_limit=percent_share(equity, Decimal("1.5")),
        volatility=Decimal(fields["volatility_amount"]),
        volatility_limit=percent_share(equity, Decimal("0.7")),
    )


def test_a_position_on_its_limits_stays_whole() -> None:
    assert peeled() == 0


@pytest.mark.parametrize(
    "risk, lots",
    [("15000.0001", 1), ("16000", 1), ("16666.6666", 1), ("16666.6667", 2), ("30000", 5), ("30000.01", 6)],
)
def test_excess_risk_is_sold_in_whole_lots_rounded_up(risk: str, lots: int) -> None:
    assert peeled(risk_amount=risk) == lots


@pytest.mark.parametrize("volatility, lots", [("7000.0001", 1), ("14000", 5), ("14000.01", 6)])
def test_excess_volatility_is_sold_in_whole_lots_rounded_up(volatility: str, lots: int) -> None:
    assert peeled(volatility_amount=volatility) == lots


@pytest.mark.parametrize("risk, volatility, lots", [(30_000, 7_700, 5), (16_000, 14_000, 5)])
def test_the_larger_of_the_two_is_sold(risk: int, volatility: int, lots: int) -> None:
    assert peeled(risk_amount=risk, volatility_amount=volatility) == lots


def test_a_single_lot_beyond_its_limit_is_sold_whole() -> None:
    assert peeled(lots=1, risk_amount=15_001) == 1


amounts = st.decimals(0, 10**9, places=4)


@settings(deadline=None)
@given(st.integers(1, 10_000), amounts, amounts, st.decimals(1, 10**9, places=4))
def test_what_is_left_is_within_the_limits_and_one_lot_less_would_not_be(
    lots: int, risk: Decimal, volatility: Decimal, equity: Decimal
) -> None:
    sold = peeled(lots=lots, risk_amount=risk, volatility_amount=volatility, equity=equity)

    def within(left: int) -> bool:
        share = Fraction(left, lots)
        return (
            Fraction(risk) * share <= Fraction(equity) * 15 / 1000
            and Fraction(volatility) * share <= Fraction(equity) * 7 / 1000
        )

    assert 0 <= sold <= lots
    assert within(lots - sold)
    assert sold == 0 or not within(lots - sold + 1)
