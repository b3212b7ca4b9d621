"""Tear sheets beside values that were worked out by hand."""

import math
from datetime import date, timedelta
from decimal import Decimal

from book.returns import DayReturn, Returns
from book.tear_sheet import TearSheet, tear_sheet
from live.reports.policy import policy_of_tear_sheets
from live.reports.tear_sheet import page_of

MONDAY = date(2026, 1, 12)


def returns(*pnls: str, first: date = MONDAY, capital: str = "1000", every: int = 1) -> Returns:
    """Days that earned so much, one after the other."""
    days, base = [], Decimal(capital)
    for number, pnl in enumerate(map(Decimal, pnls)):
        days.append(DayReturn(day=first + timedelta(number * every), pnl=pnl, base=base, positions=int(pnl != 0)))
        base += pnl
    return Returns(
        node_id=1, node="Fund", currency="INR", capital_is_given=False, portfolios=("main",), days=tuple(days)
    )


def sheet(*pnls: str, **more: int) -> TearSheet:
    return tear_sheet(returns(*pnls), **more)


# 1,000 earn 1 %, lose 2 %, earn 3 %.
THREE = ("10", "-20.2", "29.694")


def test_the_figures_are_those_of_a_calculation_by_hand() -> None:
    found = sheet(*THREE)
    # 1.01 * 0.98 * 1.03 = 1.019494, and of 84 times three days a year has 252.
    assert found.cumulative_return == Decimal("0.019494")
    assert float(found.cagr or 0) == round(1.019494**84 - 1, 6)
    # The mean is 2/300; the squares of 1/300, -8/300 and 7/300 add up to 114/90000, by two days less one: 57/90000.
    assert float(found.volatility or 0) == round(math.sqrt(57 / 90000 * 252), 6) == 0.399500
    assert float(found.sharpe or 0) == round((2 / 300) / math.sqrt(57 / 90000) * math.sqrt(252), 6)
    # What is below 0: 0.0004 in three days.
    assert float(found.sortino or 0) == round((2 / 300) * 252 / math.sqrt(0.0004 / 3 * 252), 6)
    assert found.max_drawdown == Decimal("-0.02")
    assert float(found.calmar or 0) == round((1.019494**84 - 1) / 0.02, 6)
    assert (found.hit_rate, found.profit_factor) == (Decimal("0.666667"), Decimal("1.965050"))
    assert (found.pnl, found.capital_first, found.capital_last) == (Decimal("19.494"), 1000, Decimal("1019.494"))
    assert (found.best.day, found.best.day_return) == (MONDAY + timedelta(2), Decimal("0.03"))
    assert (found.worst.day, found.worst.pnl) == (MONDAY + timedelta(1), Decimal("-20.2"))


def test_a_year_may_have_other_days() -> None:
    assert float(sheet(*THREE, days_a_year=365).volatility or 0) == round(math.sqrt(57 / 90000 * 365), 6)


def test_falls_are_told_from_their_first_day_to_the_way_back() -> None:
    # A short fall of a tenth, back at once; then a long one of a twentieth that is not back yet.
    found = sheet("-100", "100", "-20", "-30", "0", "20")
    assert (found.deepest.depth, found.deepest.length) == (Decimal("-0.1"), 1)
    assert (found.deepest.began, found.deepest.recovered) == (MONDAY, MONDAY + timedelta(1))
    assert (found.longest.depth, found.longest.length) == (Decimal("-0.05"), 4)
    assert (found.longest.trough, found.longest.recovered) == (MONDAY + timedelta(3), None)
    assert found.max_drawdown == Decimal("-0.1")


def test_months_and_years_are_compounded() -> None:
    found = tear_sheet(returns("100", "110", "-121", "0", first=date(2025, 12, 1), every=17))
    assert found.months == (
        (2025, 12, Decimal("0.21")),
        (2026, 1, Decimal("-0.1")),
    )
    assert found.years == ((2025, Decimal("0.21")), (2026, Decimal("-0.1")))


def test_the_rolling_ratio_begins_where_there_are_enough_days() -> None:
    days = sheet(*THREE, "-10", rolling_days=3).days
    assert [one.rolling_sharpe is None for one in days] == [True, True, False, False]
    assert days[2].rolling_sharpe == sheet(*THREE).sharpe


def test_what_has_no_meaning_is_not_told() -> None:
    alone = sheet("10")
    assert (alone.sharpe, alone.volatility, alone.profit_factor, alone.hit_rate) == (None, None, None, 1)
    nothing = sheet("0", "0", "0")
    assert (nothing.sharpe, nothing.sortino, nothing.calmar, nothing.hit_rate) == (None, None, None, None)
    assert (nothing.deepest.length, nothing.max_drawdown) == (0, 0)
    assert sheet("10", "10").calmar is None


def test_the_page_tells_the_figures_and_what_they_are_of() -> None:
    page = page_of(sheet(*THREE))
    for text in ("Fund, 2026-01-12 to 2026-01-14", "+1.95 %", "-2.00 %", "the capital of main", "3 trading days"):
        assert text in page, text
    assert 'id="rolling"' not in page
    assert policy_of_tear_sheets().replace("'", "&#39;") in page
    assert "http://" not in page.split("<script>")[0]
    assert 'id="rolling"' in page_of(sheet(*THREE, rolling_days=2))


def test_a_name_cannot_write_into_the_page() -> None:
    named = returns(*THREE)
    assert "<script>alert" not in page_of(
        tear_sheet(Returns(**{**_fields(named), "node": "<script>alert(1)</script>"}))
    )


def _fields(given: Returns) -> dict[str, object]:
    return {name: getattr(given, name) for name in given.__slots__}
