"""Positions are valued with their sign, their point value and a rate; nothing is guessed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PortfolioError
from risk.analytics.refusals import InputRefused, LabelsDiffer, MissingRate, NotFinite, OutOfRange, WrongShape
from risk.analytics.valuation import exposure, value_positions


def positions(**changed: object) -> pd.DataFrame:
    columns = {
        "side": ["LONG", "SHORT", "LONG"],
        "quantity": [2, 3, 1],
        "price": [52_000.0, 72_000.0, 9.5],
        "point_value": [35.0, 10.0, 25_000.0],
        "currency": ["INR", "INR", "USD"],
        "entry_price": [51_000.0, 71_500.0, 10.0],
        **changed,
    }
    return pd.DataFrame(columns, index=["bank", "gold", "copper"])


def test_a_long_is_worth_something_and_a_short_less_than_nothing() -> None:
    valued = value_positions(positions(), {"USD": 85.0}, "INR")
    assert valued["signed_quantity"].to_list() == [2, -3, 1]
    assert valued["value"].to_list() == [2 * 52_000 * 35, -3 * 72_000 * 10, 9.5 * 25_000 * 85]
    assert valued["unrealized_pnl"].to_list() == [2 * 1_000 * 35, -3 * 500 * 10, -0.5 * 25_000 * 85]
    sums = exposure(valued["value"])
    assert sums.gross == sums.long - sums.short
    assert sums.net == sums.long + sums.short == valued["value"].sum()
    assert sums.short == -2_160_000


def test_what_is_not_active_is_left_out() -> None:
    valued = value_positions(positions(is_active=[True, False, True]), {"USD": 85.0}, "INR")
    assert valued.index.to_list() == ["bank", "copper"]


def test_without_entry_prices_there_is_no_unrealised_profit() -> None:
    valued = value_positions(positions().drop(columns="entry_price"), {"USD": 85.0}, "INR")
    assert "unrealized_pnl" not in valued.columns


def test_a_price_below_nothing_is_one() -> None:
    assert value_positions(positions(price=[-37.0, 1.0, 1.0]), {"USD": 1.0}, "INR")["value"].iloc[0] == -37 * 2 * 35


def test_no_positions_are_worth_nothing() -> None:
    valued = value_positions(positions(is_active=[False] * 3), {}, "INR")
    assert exposure(valued["value"]).gross == 0


@pytest.mark.parametrize(
    "changed, refusal, words",
    [
        ({"side": ["LONG", "BUY", np.nan]}, OutOfRange, "BUY, nan is neither"),
        ({"is_active": [True, None, True]}, OutOfRange, "is_active"),
        ({"is_active": ["false", "true", "true"]}, OutOfRange, "neither true nor false"),
        ({"quantity": [1, -1, 1]}, OutOfRange, "quantity"),
        ({"price": [1.0, np.nan, 1.0]}, NotFinite, "not finite at gold"),
        ({"point_value": [1.0, 0.0, 1.0]}, OutOfRange, "point_value"),
        ({"currency": ["INR", "EUR", "JPY"]}, MissingRate, "EUR, JPY to INR"),
        ({"entry_price": [1.0, np.inf, 1.0]}, NotFinite, "entry_price"),
        ({"price": ["a", "b", "c"]}, WrongShape, "not an array of numbers"),
    ],
)
def test_what_cannot_be_valued_is_refused_by_name(changed: dict, refusal: type[InputRefused], words: str) -> None:
    with pytest.raises(refusal, match=words) as refused:
        value_positions(positions(**changed), {"USD": 85.0}, "INR")
    assert isinstance(refused.value, PortfolioError)


def test_columns_rates_and_positions_have_to_be_there_once() -> None:
    with pytest.raises(WrongShape, match="price, currency"):
        value_positions(positions().drop(columns=["price", "currency"]), {}, "INR")
    with pytest.raises(WrongShape, match="a frame is needed, not list"):
        value_positions([], {}, "INR")
    with pytest.raises(LabelsDiffer, match="more than once"):
        value_positions(pd.concat([positions(), positions()]), {"USD": 85.0}, "INR")
    with pytest.raises(OutOfRange, match="rate of USD"):
        value_positions(positions(), {"USD": 0.0}, "INR")


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_a_base_currency_changes_the_unit_and_nothing_else(rate: float, other: float) -> None:
    one = value_positions(positions(), {"USD": rate}, "INR")["value"]
    two = value_positions(positions(), {"USD": rate / other, "INR": 1 / other}, "EUR")["value"]
    np.testing.assert_allclose(one.to_numpy(), two.to_numpy() * other, rtol=1e-12)
