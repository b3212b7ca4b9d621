"""Positions to ask what if of: say only what the test is about."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from risk.analytics.definitions import scenarios
from risk.what_if.measures import RiskInputs
from risk.what_if.positions import HeldPosition, Leg, OptionTerms, Positions

AT = datetime(2026, 1, 14, 6, 15, tzinfo=UTC)
EXPIRY = AT + timedelta(days=30)
FACTORS = ["index", "gold"]
# Of a day: 1.2649 % and 0.9487 %, correlated by 1/6.
COVARIANCE = pd.DataFrame([[1.6e-4, 2e-5], [2e-5, 9e-5]], index=FACTORS, columns=FACTORS)


def a_position(position_id: str = "bank-1", **changed: Any) -> HeldPosition:
    """Two lots of BANK_NIFTY, long: worth 3,120,000."""
    fields: dict[str, Any] = {
        "instrument": "BANK_NIFTY",
        "currency": "INR",
        "signed_quantity": 2,
        "point_value": 30,
        "price": 52_000,
        "rate": 1,
        "node": "Fund/Equity",
        "sector": "Banks",
        "contract": "2026-01",
        "betas": {"index": 1.1, "gold": 0.0},
        "specific_variance": 1e-5,
        "stop": 51_650,
        "margin_per_lot": 270_000,
        "tags": ("core",),
        "strategies": ("trend",),
    }
    return HeldPosition(position_id=position_id, **{**fields, **changed})


def gold(position_id: str = "gold-1", **changed: Any) -> HeldPosition:
    """Three lots of GOLD_MINI, short: worth -2,160,000."""
    fields: dict[str, Any] = {
        "instrument": "GOLD_MINI",
        "signed_quantity": -3,
        "point_value": 10,
        "price": 72_000,
        "node": "Fund/Metals",
        "sector": "Metals",
        "betas": {"index": 0.0, "gold": 1.0},
        "specific_variance": 4e-6,
        "stop": 72_500,
        "margin_per_lot": 105_000,
        "tags": ("hedge",),
    }
    return a_position(position_id, **{**fields, **changed})


def a_leg(kind: str = "CALL", **changed: Any) -> Leg:
    return Leg(kind=kind, **{"strike": 52_000.0, "expires_at": EXPIRY, "volatility": 0.18, **changed})


def terms(*legs: Leg, **changed: Any) -> OptionTerms:
    fields: dict[str, Any] = {"underlying": "FUTURE", "underlying_price": 52_000.0, "rate": 0.065, "at": AT}
    return OptionTerms(legs=legs or (a_leg(),), **{**fields, **changed})


def synthetic(**changed: Any) -> OptionTerms:
    return terms(a_leg("CALL"), a_leg("PUT", ratio=-1.0), **changed)


def an_option(position_id: str = "call-1", option: OptionTerms | None = None, **changed: Any) -> HeldPosition:
    """A call on BANK_NIFTY, long one lot, for 1,100 points."""
    fields = {"instrument": "BANK_NIFTY_52000_CE", "underlying": "BANK_NIFTY", "signed_quantity": 1, "price": 1_100}
    return a_position(position_id, **{**fields, "option": option or terms(), **changed})


def held(*positions: HeldPosition, **changed: Any) -> Positions:
    return Positions(held=positions or (a_position(), gold()), **{"base": "INR", "as_of": AT, **changed})


def inputs(**changed: Any) -> RiskInputs:
    drawn = np.random.Generator(np.random.PCG64(3)).standard_normal((250, 2)) * 0.01
    returns = pd.DataFrame(drawn, columns=["BANK_NIFTY", "GOLD_MINI"])
    return RiskInputs(
        **{
            "factor_covariance": COVARIANCE,
            "returns": returns,
            "scenarios": scenarios()[:2],
            "confidence": 0.95,
            **changed,
        }
    )


def quick() -> RiskInputs:
    """The same with few past returns, for properties."""
    every = inputs()
    assert every.returns is not None
    return inputs(returns=every.returns[:25])


lots = st.integers(1, 40).map(float) | st.floats(0.25, 1e3)
moves = st.floats(-0.5, 0.5)


@st.composite
def many(draw: st.DrawFn, *, least: int = 0, most: int = 5) -> Positions:
    """Any positions: of two instruments and an option, long and short."""
    made: list[HeldPosition] = []
    for number in range(draw(st.integers(least, most))):
        build = draw(st.sampled_from((a_position, gold, an_option)))
        sign, price = draw(st.sampled_from((1.0, -1.0))), draw(st.floats(10.0, 1e5))
        made.append(build(f"p{number}", signed_quantity=sign * draw(lots), price=price))
    return Positions(base="INR", as_of=AT, held=tuple(made))
