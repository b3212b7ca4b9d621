"""What the book's pages show, before it is drawn: a year's calendar, and the bars of a waterfall."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.attribution import Attribution, By, Contribution, EquityChange
from book.pnl_calendar import DayPnL
from live.dashboard.book_days import short_money, tone_of, year_of
from live.dashboard.book_waterfall import MOST_BARS, WIDTH, waterfall_of

MONDAY = date(2026, 1, 12)
AMOUNTS = st.decimals(min_value=-(10**9), max_value=10**9, places=4)


def days(*amounts: Any, first: date = MONDAY) -> list[DayPnL]:
    return [
        DayPnL(date=first + timedelta(days=number), daily_pnl=Decimal(amount), positions=2)
        for number, amount in enumerate(amounts)
    ]


def attributed(
    *amounts: Any, by: By = By.INSTRUMENT, equity: Any = None, flows: Any = 0, rates: Any = 0
) -> Attribution:
    lines = tuple(
        Contribution(key=f"k{number}", name=f"K{number}", pnl=Decimal(amount)) for number, amount in enumerate(amounts)
    )
    pnl = sum((line.pnl for line in lines), Decimal(0))
    change = None
    if equity is not None:
        before, paid, revalued = Decimal(equity), Decimal(flows), Decimal(rates)
        change = EquityChange(
            from_equity=before, to_equity=before + pnl + paid + revalued, flows=paid, revaluation=revalued
        )
    return Attribution(
        from_date=MONDAY,
        to_date=MONDAY + timedelta(days=1),
        by=by,
        currency="INR",
        pnl=pnl,
        lines=lines,
        equity=change,
    )


def test_a_year_has_its_months_weeks_and_days() -> None:
    year = year_of(2026, days(100, -40, 0, 7), before=date(2026, 1, 9))
    (january,) = year.months
    assert (january.name, january.total, january.tone, len(january.weeks)) == ("January", "+67.00", "gain", 5)
    assert list(year.weekdays) == ["Mon", "Tue", "Wed", "Thu", "Fri"]
    first, second, third, _, friday = january.weeks[2]
    assert (first.before, first.iso, first.short, first.tone) == ("2026-01-09", "2026-01-12", "+100", "g4")
    assert (second.before, second.whole, second.tone) == ("2026-01-12", "-40.00", "l3")
    assert (third.short, third.tone, friday.number, friday.tone) == ("0", "d0", "16", "")
    assert january.weeks[0][0].number == ""  # 29 December
    assert year.words.startswith("2 of 4 days in 2026 gained.")
    facts = {name: text for name, text, _ in year.facts}
    assert facts["Best day"] == "+100.00, 12 Jan"
    assert facts["Worst day"] == "-40.00, 13 Jan"


def test_what_trades_at_weekends_is_shown_on_seven_days() -> None:
    year = year_of(2026, days(1, first=date(2026, 8, 1)), before=None)
    assert len(year.weekdays) == 7
    assert year.months[0].weeks[0][5].short == "+1"
    # The first of August 2026 is a Saturday: without it the week would have no day of the month.
    assert len(year_of(2026, days(1, first=date(2026, 8, 3)), before=None).months[0].weeks) == 5


def test_a_year_of_which_nothing_is_kept_says_so() -> None:
    year = year_of(2026, [], before=None)
    assert (year.months, year.words) == ([], "Of 2026 nothing is kept: daily P&L is kept as trading days end.")


@pytest.mark.parametrize(
    "amount, told",
    [
        ("0", "0"),
        ("-0.4", "0"),
        ("12.6", "+13"),
        ("-999.4", "-999"),
        ("999.6", "+1.00k"),
        ("12345", "+12.3k"),
        ("-999960", "-1.00M"),
        ("123456789", "+123M"),
        ("-2500000000", "-2.50G"),
    ],
)
def test_money_is_told_in_three_digits(amount: str, told: str) -> None:
    assert short_money(Decimal(amount)) == told


@given(pnl=AMOUNTS, other=AMOUNTS)
def test_who_earned_more_is_not_shown_weaker(pnl: Decimal, other: Decimal) -> None:
    largest = max(abs(pnl), abs(other))
    one, two = tone_of(pnl, largest), tone_of(other, largest)
    if pnl and other and abs(pnl) >= abs(other):
        assert one[1] == "4"
        assert one[1] >= two[1]
    assert (one[0] == "g") == (pnl > 0)


def test_bars_lead_from_one_equity_to_the_other() -> None:
    shown = waterfall_of(attributed(-20, 50, 0, equity=1_000, flows=5, rates="-0.5"))
    assert [(bar.name, bar.amount, bar.tone) for bar in shown.bars] == [
        ("Equity, 2026-01-12", "1,000.00", "whole"),
        ("K1", "+50.00", "gain"),
        ("K0", "-20.00", "loss"),
        ("K2", "0.00", ""),
        ("Paid in and out", "+5.00", "gain"),
        ("Exchange rates", "-0.50", "loss"),
        ("Equity, 2026-01-13", "1,034.50", "whole"),
    ]
    assert shown.begins_at == "996.00"
    assert shown.words.endswith("earned +30.00 INR: 1 gained, 1 lost.")
    assert Decimal(shown.bars[3].width) == 0


def test_without_an_equity_they_begin_at_nothing_and_the_least_are_one() -> None:
    shown = waterfall_of(attributed(*range(1, MOST_BARS + 4), by=By.STRATEGY))
    assert shown.begins_at == ""
    assert [bar.name for bar in shown.bars[-2:]] == ["3 others", "P&L"]
    assert (shown.bars[-2].amount, shown.bars[-1].amount) == ("+6.00", "378.00")
    assert Decimal(shown.bars[0].left) == 0
    blank = Contribution(key="", name="", pnl=Decimal(1))
    found = attributed(by=By.LAYER)
    unnamed = Attribution(**{name: getattr(found, name) for name in found.__struct_fields__} | {"lines": (blank,)})
    assert waterfall_of(unnamed).bars[0].name == "no layer"
    assert "nothing was marked in between" in waterfall_of(found).words


@given(
    amounts=st.lists(AMOUNTS, max_size=40),
    equity=st.none() | st.decimals(min_value=-(10**6), max_value=10**12, places=4),
    flows=AMOUNTS,
)
def test_every_bar_is_within_the_picture_and_begins_where_the_one_before_ended(
    amounts: list[Decimal], equity: Decimal | None, flows: Decimal
) -> None:
    bars = waterfall_of(attributed(*amounts, equity=equity, flows=flows)).bars
    for bar in bars:
        assert Decimal(0) <= Decimal(bar.left) <= WIDTH
        assert Decimal(0) <= Decimal(bar.width) <= WIDTH
    moved = [
        (bar, Decimal(bar.left), Decimal(bar.left) + Decimal(bar.width)) for bar in bars if bar.tone in ("gain", "loss")
    ]
    for (before, left, right), (bar, next_left, next_right) in pairwise(moved):
        ended = right if before.tone == "gain" else left
        begins = next_left if bar.tone == "gain" else next_right
        assert abs(ended - begins) <= 4  # the least width, and what is rounded
