"""Symbols read back as they are written; strikes, ticks and quantities round the way that never costs more than asked."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.symbols import (
    Action,
    BelowOneTick,
    FutureSymbol,
    OptionSymbol,
    Right,
    SymbolRefused,
    limit_on_tick,
    lots_of,
    order_quantity,
    parse_symbol,
    strike_near,
    synthetic_price,
    synthetic_symbols,
    trigger_on_tick,
)

JANUARY = date(2026, 1, 27)
underlyings = st.from_regex(r"[A-Z][A-Z0-9&-]{0,14}", fullmatch=True)
expiries = st.dates(date(2000, 1, 1), date(2099, 12, 31))
strikes = st.decimals("0.01", 10**7, places=2)
ticks = st.sampled_from([Decimal("0.05"), Decimal("0.10"), Decimal("0.20"), Decimal(1)])
prices = st.decimals(1, 10**6, places=4)


@pytest.mark.parametrize(
    "symbol, parts",
    [
        ("BANKNIFTY27JAN26FUT", FutureSymbol(underlying="BANKNIFTY", expiry=JANUARY)),
        ("GOLDM05FEB26FUT", FutureSymbol(underlying="GOLDM", expiry=date(2026, 2, 5))),
        ("NIFTYNXT5027JAN26FUT", FutureSymbol(underlying="NIFTYNXT50", expiry=JANUARY)),
        (
            "BANKNIFTY27JAN2658500CE",
            OptionSymbol(underlying="BANKNIFTY", expiry=JANUARY, strike=Decimal(58500), right=Right.CALL),
        ),
        (
            "VEDL27JAN26292.5PE",
            OptionSymbol(underlying="VEDL", expiry=JANUARY, strike=Decimal("292.50"), right=Right.PUT),
        ),
    ],
)
def test_symbols_are_written_and_read_as_openalgo_has_them(symbol: str, parts: FutureSymbol | OptionSymbol) -> None:
    assert str(parts) == symbol
    assert parse_symbol(symbol) == parts


@given(underlyings, expiries)
def test_a_future_reads_back_as_it_was_written(underlying: str, expiry: date) -> None:
    symbol = FutureSymbol(underlying=underlying, expiry=expiry)
    assert parse_symbol(str(symbol)) == symbol


@given(underlyings, expiries, strikes, st.sampled_from(Right))
def test_an_option_reads_back_as_it_was_written(underlying: str, expiry: date, strike: Decimal, right: Right) -> None:
    symbol = OptionSymbol(underlying=underlying, expiry=expiry, strike=strike, right=right)
    assert parse_symbol(str(symbol)) == symbol


@given(st.text(alphabet="ABCEFJNPTU0123456789.", max_size=25))
def test_whatever_is_read_would_be_written_the_same(text: str) -> None:
    try:
        parsed = parse_symbol(text)
    except SymbolRefused:
        return
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text, rule",
    [
        ("INFY", "no symbol such as"),
        ("BANKNIFTY27JAN26", "no symbol such as"),
        ("banknifty27jan26fut", "no symbol such as"),
        ("BANKNIFTY31FEB26FUT", "holds no date"),
        ("BANKNIFTY27JAN26058500CE", "is written BANKNIFTY27JAN2658500CE"),
        ("BANKNIFTY27JAN2658500.50PE", r"is written BANKNIFTY27JAN2658500\.5PE"),
        ("BANKNIFTY27JAN260CE", "strike must be above 0"),
    ],
)
def test_what_is_no_symbol_is_refused(text: str, rule: str) -> None:
    with pytest.raises(SymbolRefused, match=rule):
        parse_symbol(text)


@pytest.mark.parametrize(
    "underlying, expiry, rule", [("BANK NIFTY", JANUARY, "is of A-Z"), ("GOLDM", date(2100, 1, 5), "2000 to 2099")]
)
def test_what_cannot_be_written_is_refused(underlying: str, expiry: date, rule: str) -> None:
    with pytest.raises(SymbolRefused, match=rule):
        FutureSymbol(underlying=underlying, expiry=expiry)


@pytest.mark.parametrize(
    "price, strike",
    [
        ("50250", 50000),
        ("50750", 51000),
        ("50250.01", 50500),
        ("50749.99", 50500),
        ("58412.6", 58500),
        ("51000", 51000),
    ],
)
def test_the_strike_is_the_nearest_500_and_a_tie_goes_to_the_thousand(price: str, strike: int) -> None:
    assert strike_near(Decimal(price), Decimal(500)) == strike


@given(prices)
def test_no_strike_is_further_than_half_a_step(price: Decimal) -> None:
    strike = strike_near(price, Decimal(500))
    assert strike % 500 == 0
    assert abs(strike - price) <= 250


def test_a_synthetic_future_is_strike_and_call_less_put() -> None:
    legs = synthetic_symbols("BANKNIFTY", JANUARY, Decimal(58500))
    assert (str(legs.call), str(legs.put)) == ("BANKNIFTY27JAN2658500CE", "BANKNIFTY27JAN2658500PE")
    assert synthetic_price(Decimal(58500), Decimal("612.35"), Decimal("699.75")) == Decimal("58412.60")


@pytest.mark.parametrize("direction, limit", [(Action.BUY, Decimal("58412.60")), (Action.SELL, Decimal("58412.80"))])
def test_a_limit_is_on_the_tick_and_no_worse_than_asked(direction: Action, limit: Decimal) -> None:
    assert limit_on_tick(Decimal("58412.7"), Decimal("0.20"), direction) == limit


@given(prices, ticks)
def test_a_buy_never_pays_more_and_a_sale_never_takes_less(price: Decimal, tick: Decimal) -> None:
    bought, sold = (limit_on_tick(price, tick, direction) for direction in Action)
    assert price - tick < bought <= price <= sold < price + tick
    assert bought % tick == sold % tick == 0


@given(prices, ticks)
def test_a_stop_triggers_no_later_than_asked(price: Decimal, tick: Decimal) -> None:
    # A long is protected by a sale: the price falls to the trigger, so a higher one is met earlier.
    assert price <= trigger_on_tick(price, tick, Action.SELL) < price + tick
    assert price - tick < trigger_on_tick(price, tick, Action.BUY) <= price


def test_a_buy_below_one_tick_has_no_price() -> None:
    with pytest.raises(BelowOneTick, match=r"tick of 0\.05"):
        limit_on_tick(Decimal("0.03"), Decimal("0.05"), Action.BUY)
    assert limit_on_tick(Decimal("0.03"), Decimal("0.05"), Action.SELL) == Decimal("0.05")


def test_a_quantity_is_units_or_contracts_by_the_brokers_setting() -> None:
    assert order_quantity(2, Decimal(100), "units") == 200
    assert order_quantity(2, Decimal(100), "contracts") == 2
    with pytest.raises(ValueError, match="at least one lot"):
        order_quantity(0, Decimal(100), "units")


@given(st.integers(1, 10**6), st.sampled_from([5, 15, 30, 35, 100, 2500]), st.sampled_from(["units", "contracts"]))
def test_a_brokers_quantity_comes_back_as_the_lots_that_were_ordered(lots: int, lot_size: int, unit: str) -> None:
    quantity = order_quantity(lots, Decimal(lot_size), unit)  # type: ignore[arg-type]
    counted = lots_of(quantity, Decimal(lot_size), unit)  # type: ignore[arg-type]
    assert (counted.lots, counted.odd_units) == (lots, 0)


def test_units_that_make_no_lot_are_told_apart_with_their_sign() -> None:
    counted = lots_of(Decimal(-245), Decimal(30))
    assert (counted.lots, counted.odd_units) == (-8, -5)
