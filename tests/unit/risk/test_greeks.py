"""Greeks: Hull's worked cases, put-call parity, differences of values, and refusals of what has no Greeks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.analytics.greeks import Kind, Market, Option, greeks, implied_volatility, position_greeks, synthetic_future
from risk.analytics.refusals import NoSuchVolatility, NotFinite, NoVolatility, OptionExpired, OutOfRange

AT = datetime(2026, 1, 14, 9, 15, tzinfo=UTC)
SPOT = Market(at=AT, underlying="SPOT", price=49.0, volatility=0.2, rate=0.05)
FUTURE = Market(at=AT, underlying="FUTURE", price=50_250.0, volatility=0.18, rate=0.065)


def option(kind: Kind, strike: float, years: float) -> Option:
    return Option(kind=kind, strike=strike, expires_at=AT + timedelta(days=365 * years))


def test_hulls_call_on_spot() -> None:
    # Hull, Options, Futures, and Other Derivatives, chapter 19: S = 49, K = 50, r = 5 %, s = 20 %, T = 0.3846.
    found = greeks(option("CALL", 50.0, 0.3846), SPOT)
    assert found.value == pytest.approx(2.40, abs=0.005)
    assert found.delta == pytest.approx(0.522, abs=0.0005)
    assert found.gamma == pytest.approx(0.066, abs=0.0005)
    assert found.vega_per_point == pytest.approx(0.121, abs=0.0005)
    assert found.theta_per_day * 365 == pytest.approx(-4.31, abs=0.005)
    assert found.rho_per_point == pytest.approx(0.0891, abs=0.00005)


def test_hulls_values_of_a_call_and_a_put() -> None:
    # Hull, example 15.6: S = 42, K = 40, r = 10 %, s = 20 %, T = 0.5.
    market = replace(SPOT, price=42.0, rate=0.10)
    assert greeks(option("CALL", 40.0, 0.5), market).value == pytest.approx(4.76, abs=0.005)
    assert greeks(option("PUT", 40.0, 0.5), market).value == pytest.approx(0.81, abs=0.005)


def test_hulls_put_on_a_future() -> None:
    # Hull, example 18.6: F = 20, K = 20, r = 9 %, s = 25 %, T = 4 / 12.
    market = Market(at=AT, underlying="FUTURE", price=20.0, volatility=0.25, rate=0.09)
    assert greeks(option("PUT", 20.0, 4 / 12), market).value == pytest.approx(1.12, abs=0.005)


markets = st.builds(
    Market,
    at=st.just(AT),
    underlying=st.sampled_from(["FUTURE", "SPOT"]),
    price=st.floats(10, 100_000),
    volatility=st.floats(0.05, 1.0),
    rate=st.floats(-0.02, 0.15),
)


@given(markets, st.floats(0.7, 1.4), st.floats(0.01, 3))
def test_put_call_parity(market: Market, moneyness: float, years: float) -> None:
    strike = market.price * moneyness
    call, put = (greeks(option(kind, strike, years), market) for kind in ("CALL", "PUT"))
    discount = np.exp(-market.rate * years)
    forward = market.price if market.underlying == "FUTURE" else market.price / discount
    near = pytest.approx(discount * (forward - strike), abs=1e-7 * market.price, rel=1e-6)
    assert call.value - put.value == near
    assert call.gamma == pytest.approx(put.gamma)
    assert call.vega_per_point == pytest.approx(put.vega_per_point)
    both = synthetic_future(strike, option("CALL", strike, years).expires_at, market)
    assert both.total.value == near
    assert both.forward == pytest.approx(forward, rel=1e-6)
    assert both.total.delta == pytest.approx(discount if market.underlying == "FUTURE" else 1)
    assert both.price == pytest.approx(strike + call.value - put.value)


@given(markets, st.sampled_from(["CALL", "PUT"]), st.floats(0.8, 1.25), st.floats(0.1, 2))
def test_greeks_are_what_values_differ_by(market: Market, kind: Kind, moneyness: float, years: float) -> None:
    chosen = option(kind, market.price * moneyness, years)
    found = greeks(chosen, market)

    def value(**changed: object) -> float:
        return greeks(chosen, replace(market, **changed)).value

    step, scale = market.price * 1e-4, market.price
    up, down = value(price=scale + step), value(price=scale - step)
    assert found.delta == pytest.approx((up - down) / (2 * step), abs=1e-5)
    assert found.gamma * scale == pytest.approx((up - 2 * found.value + down) / step**2 * scale, rel=1e-2, abs=1e-3)
    small = 1e-5
    vega = (value(volatility=market.volatility + small) - value(volatility=market.volatility - small)) / (2 * small)
    assert found.vega_per_point / scale == pytest.approx(vega / 100 / scale, abs=1e-7)
    rho = (value(rate=market.rate + small) - value(rate=market.rate - small)) / (2 * small)
    assert found.rho_per_point / scale == pytest.approx(rho / 100 / scale, abs=1e-7)
    hour = timedelta(hours=1)
    theta = (value(at=AT + hour) - value(at=AT - hour)) / 2 * 24
    assert found.theta_per_day / scale == pytest.approx(theta / scale, abs=1e-6)


@given(markets, st.sampled_from(["CALL", "PUT"]), st.floats(0.8, 1.25), st.floats(0.1, 2))
def test_a_value_tells_its_volatility(market: Market, kind: Kind, moneyness: float, years: float) -> None:
    chosen = option(kind, market.price * moneyness, years)
    found = greeks(chosen, market)
    if found.vega_per_point < 1e-6 * market.price:
        return
    assert implied_volatility(chosen, market, found.value) == pytest.approx(market.volatility, abs=1e-5)


def test_a_value_that_no_volatility_gives_is_refused() -> None:
    for value in (-1.0, 1_000.0, 60_000.0):
        with pytest.raises(NoSuchVolatility, match="CALL at 49000"):
            implied_volatility(option("CALL", 49_000.0, 0.1), FUTURE, value)
    with pytest.raises(NotFinite, match="value"):
        implied_volatility(option("CALL", 49_000.0, 0.1), FUTURE, np.nan)


def test_a_position_is_its_units_in_money_and_a_shorts_greeks_turn() -> None:
    chosen = option("PUT", 50_000.0, 0.1)
    unit = greeks(chosen, FUTURE)
    short = position_greeks(chosen, FUTURE, -3, 35.0)
    assert short == unit.times(-105)
    assert short.delta == pytest.approx(-3 * 35 * unit.delta)
    assert short.theta_per_day > 0 > unit.theta_per_day


def test_a_synthetic_future_is_a_long_call_and_a_short_put() -> None:
    expires_at = AT + timedelta(days=15)
    legs = synthetic_future(50_000.0, expires_at, FUTURE)
    assert legs.call == greeks(Option(kind="CALL", strike=50_000.0, expires_at=expires_at), FUTURE)
    assert legs.put == greeks(Option(kind="PUT", strike=50_000.0, expires_at=expires_at), FUTURE).times(-1)
    assert legs.total.gamma == pytest.approx(0, abs=1e-12)
    assert legs.total.vega_per_point == pytest.approx(0, abs=1e-9)
    assert legs.forward == pytest.approx(50_250)
    assert legs.price == pytest.approx(50_000 + 250 * np.exp(-0.065 * 15 / 365))
    skewed = synthetic_future(50_000.0, expires_at, FUTURE, put_volatility=0.22)
    assert skewed.total.vega_per_point < 0
    assert skewed.price < legs.price


def test_a_dividend_yield_lowers_a_call_on_spot() -> None:
    chosen = option("CALL", 50.0, 1.0)
    assert greeks(chosen, replace(SPOT, dividend_yield=0.03)).value < greeks(chosen, SPOT).value


def test_what_has_no_greeks_is_refused_by_name() -> None:
    chosen = option("CALL", 50.0, 0.5)
    for when in (chosen.expires_at, chosen.expires_at + timedelta(seconds=1)):
        with pytest.raises(OptionExpired, match="it expired at 2026-07"):
            greeks(chosen, replace(SPOT, at=when))
    for volatility in (0.0, -0.1):
        with pytest.raises(NoVolatility, match="volatility"):
            greeks(chosen, replace(SPOT, volatility=volatility))
    with pytest.raises(NotFinite):
        greeks(chosen, replace(SPOT, volatility=np.nan))
    with pytest.raises(OutOfRange, match="price"):
        greeks(chosen, replace(SPOT, price=0.0))
    with pytest.raises(OutOfRange, match="strike"):
        greeks(option("CALL", -1.0, 0.5), SPOT)
    with pytest.raises(OutOfRange, match="a future has none"):
        greeks(chosen, replace(FUTURE, dividend_yield=0.01))
    with pytest.raises(OutOfRange, match="zone"):
        greeks(chosen, replace(SPOT, at=AT.replace(tzinfo=None)))
    with pytest.raises(OutOfRange, match="zone"):
        Option(kind="CALL", strike=1.0, expires_at=AT.replace(tzinfo=None))
    with pytest.raises(OutOfRange, match="'call' is none of CALL, PUT"):
        option("call", 50.0, 0.5)
    with pytest.raises(OutOfRange, match="'spot' is none of FUTURE, SPOT"):
        replace(SPOT, underlying="spot")
    with pytest.raises(OutOfRange, match="no rates a year"):
        replace(SPOT, rate=65.0)
    with pytest.raises(NotFinite, match="signed_quantity"):
        position_greeks(chosen, SPOT, np.inf, 1.0)
    with pytest.raises(OutOfRange, match="point_value"):
        position_greeks(chosen, SPOT, 1, 0.0)
