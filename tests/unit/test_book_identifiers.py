"""ISIN and CUSIP: what exists is taken, and one wrong letter is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.identifiers import NotAnIdentifier, require_cusip, require_isin

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"


@pytest.mark.parametrize(
    "isin", ["US0378331005", "US5949181045", "GB0002634946", "AU0000XVGZA3", "INE002A01018", "DE000BAY0017"]
)
def test_isins_that_exist_are_taken(isin: str) -> None:
    assert require_isin(isin) == isin


@pytest.mark.parametrize("cusip", ["037833100", "594918104", "38259P508", "68389X105", "17275R102"])
def test_cusips_that_exist_are_taken(cusip: str) -> None:
    assert require_cusip(cusip) == cusip


@pytest.mark.parametrize(
    "isin",
    [
        "",
        "US037833100",
        "US03783310055",
        "us0378331005",
        "U50378331005",
        "US037833100A",
        "US0378331005\n",
        "USÄ378331005",
    ],
)
def test_what_has_not_the_shape_of_an_isin_is_refused(isin: str) -> None:
    with pytest.raises(NotAnIdentifier, match="two capital letters"):
        require_isin(isin)


@pytest.mark.parametrize(
    "cusip",
    ["", "03783310", "0378331000", "03783310a", "0378331 0", "03783310A", "03783310\N{ARABIC-INDIC DIGIT FIVE}"],
)
def test_what_has_not_the_shape_of_a_cusip_is_refused(cusip: str) -> None:
    with pytest.raises(NotAnIdentifier, match="eight letters"):
        require_cusip(cusip)


@given(st.text(LETTERS, min_size=2, max_size=2), st.text(LETTERS + DIGITS, min_size=9, max_size=9))
def test_one_check_digit_of_ten_makes_an_isin(country: str, number: str) -> None:
    assert len([digit for digit in DIGITS if _is(require_isin, country + number + digit)]) == 1


@given(st.text(LETTERS + DIGITS + "*@#", min_size=8, max_size=8))
def test_one_check_digit_of_ten_makes_a_cusip(number: str) -> None:
    assert len([digit for digit in DIGITS if _is(require_cusip, number + digit)]) == 1


@given(st.integers(0, 8), st.integers(1, 9))
def test_any_one_digit_that_is_wrong_is_noticed(place: int, by: int) -> None:
    cusip = "037833100"
    wrong = str((int(cusip[place]) + by) % 10)
    with pytest.raises(NotAnIdentifier, match="last digit"):
        require_cusip(cusip[:place] + wrong + cusip[place + 1 :])


def _is(required, identifier: str) -> bool:
    try:
        return bool(required(identifier))
    except NotAnIdentifier:
        return False
