"""Decimals stay exact, whatever the thread's context, and each rounding goes the way that its name says."""

from decimal import ROUND_HALF_EVEN, ROUND_UP, Decimal, localcontext
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.numbers import (
    decimals_of,
    figure,
    floor_to,
    lots_to_cover,
    money,
    percent_of,
    price,
    product,
    quotient,
    whole_lots,
)

exact = st.decimals(-(10**10), 10**10, places=8)
fractions = st.fractions(-(10**12), 10**12)


@settings(deadline=None)
@given(exact, exact, st.integers(0, 10**9), exact)
def test_a_product_is_exact(a: Decimal, b: Decimal, lots: int, c: Decimal) -> None:
    assert Fraction(product(a, b, lots, c)) == Fraction(a) * Fraction(b) * lots * Fraction(c)


def test_a_product_of_whole_numbers_is_a_decimal() -> None:
    assert isinstance(product(2, 3), Decimal)


@settings(deadline=None)
@given(exact, st.integers(1, 10**9))
def test_no_thread_decimal_context_changes_a_number(value: Decimal, divisor: int) -> None:
    def all_of() -> tuple[object, ...]:
        return (
            product(value, value),
            money(value),
            price(value),
            quotient(value, divisor),
            percent_of(value, Decimal(divisor)),
            figure(value),
            decimals_of(value),
            floor_to(value, Decimal("0.05")),
        )

    with localcontext(prec=3, rounding=ROUND_UP):
        narrow = all_of()
    assert narrow == all_of()


@pytest.mark.parametrize(
    "value, rounded",
    [
        ("0.00005", "0.0000"),
        ("0.00015", "0.0002"),
        ("0.00025", "0.0002"),
        ("-0.00015", "-0.0002"),
        ("1.000051", "1.0001"),
    ],
)
def test_money_rounds_half_even_to_four_places(value: str, rounded: str) -> None:
    assert str(money(Decimal(value))) == rounded


@pytest.mark.parametrize(
    "value, rounded", [("1.000000005", "1.00000000"), ("1.000000015", "1.00000002"), ("2", "2.00000000")]
)
def test_a_price_rounds_half_even_to_eight_places(value: str, rounded: str) -> None:
    assert str(price(Decimal(value))) == rounded


@pytest.mark.parametrize(
    "part, whole, percent",
    [
        ("21000", "5000000", "0.420000"),
        ("1", "3", "33.333333"),
        ("0", "5", "0.000000"),
        ("9999999999999999.9999", "0.0001", "999999.999999"),
        ("1", "0", None),
        ("1", "-5", None),
    ],
)
def test_a_percentage_has_six_places_is_capped_and_is_null_of_nothing(
    part: str, whole: str, percent: str | None
) -> None:
    found = percent_of(Decimal(part), Decimal(whole))
    assert (None if found is None else str(found)) == percent


@settings(deadline=None)
@given(fractions)
def test_a_figure_is_the_nearest_millionth(value: Fraction) -> None:
    assert abs(Fraction(figure(value)) - value) <= Fraction(1, 2_000_000)


@pytest.mark.parametrize("value, shown", [(Fraction(1, 3), "0.333333"), (7, "7.000000"), (Decimal("1.5"), "1.500000")])
def test_a_figure_takes_any_exact_number(value: Fraction | Decimal | int, shown: str) -> None:
    assert str(figure(value)) == shown


@settings(deadline=None)
@given(exact, exact.filter(lambda value: value > 0))
def test_whole_lots_floors_and_is_never_negative(dividend: Decimal, divisor: Decimal) -> None:
    assert whole_lots(dividend, divisor) == max(0, floor(Fraction(dividend) / Fraction(divisor)))


@pytest.mark.parametrize("zero", [Decimal("-0"), Decimal("0E+3"), Fraction(0), 0])
def test_no_figure_is_minus_nothing(zero: Fraction | Decimal | int) -> None:
    assert str(figure(zero)) == "0.000000"


def test_a_product_of_very_many_digits_is_not_rounded() -> None:
    long = Decimal("1." + "3" * 90)
    assert Fraction(product(long, long)) == Fraction(long) ** 2


@settings(deadline=None)
@given(fractions)
def test_lots_to_cover_ceils_and_is_never_negative(lots: Fraction) -> None:
    assert lots_to_cover(lots) == max(0, ceil(lots))


@pytest.mark.parametrize(
    "value, decimals",
    [("1.230", 2), ("100", 0), ("1E+5", 0), ("0.000000010", 8), ("0", 0), ("NaN", 0), ("Infinity", 0)],
)
def test_decimals_are_counted_without_trailing_zeros(value: str, decimals: int) -> None:
    assert decimals_of(Decimal(value)) == decimals


@pytest.mark.parametrize(
    "value, step, floored",
    [
        ("58412.67", "0.20", "58412.60"),
        ("58412.60", "0.20", "58412.60"),
        ("-0.01", "0.05", "-0.05"),
        ("72000.9", "1", "72000"),
    ],
)
def test_floor_to_a_tick_never_goes_up(value: str, step: str, floored: str) -> None:
    assert floor_to(Decimal(value), Decimal(step)) == Decimal(floored)


@settings(deadline=None)
@given(exact, st.sampled_from([Decimal("0.05"), Decimal("0.20"), Decimal(1)]))
def test_floor_to_leaves_less_than_a_step(value: Decimal, step: Decimal) -> None:
    floored = floor_to(value, step)
    assert 0 <= Fraction(value) - Fraction(floored) < Fraction(step)
    assert Fraction(floored) % Fraction(step) == 0


@settings(deadline=None)
@given(exact, st.integers(1, 10**6))
def test_a_quotient_rounds_only_once(value: Decimal, divisor: int) -> None:
    nearest = round(Fraction(value) / divisor * 10_000)  # half-even, on the exact fraction
    assert money(quotient(value, divisor)) == Decimal(nearest).scaleb(-4).quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
