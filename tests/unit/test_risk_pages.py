"""What the risk lab's pages show, before it is drawn: bars from a line, a heat-map, value at risk beside what came of it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from live.dashboard.risk_bars import WIDTH, bars_of
from live.dashboard.risk_contracts import curve_of, short_price, words_of
from live.dashboard.risk_correlations import MOST_NUMBERS, SQUARE, heat_of, told, tone_of
from live.dashboard.risk_history import BOTTOM, HEIGHT, TOP, likelihood, plot_of, ticks, verdicts_of
from live.dashboard.risk_what_if import (
    Row,
    change_in_words,
    exposures_of,
    measures_of,
    scenarios_of,
    side_by_side,
)
from live.dashboard.words import figure, share, short_amount
from risk.term_structure import Contract, TermStructure
from risk.what_if.changes import Change

MONDAY = date(2026, 1, 12)
AMOUNTS = st.floats(min_value=-1e12, max_value=1e12)


def rows(*amounts: float | None) -> list[dict[str, Any]]:
    return [{"name": f"K{number}", "amount": amount} for number, amount in enumerate(amounts)]


# --- bars


def test_bars_begin_at_the_line_and_the_largest_is_first() -> None:
    bars = bars_of(rows(-10, 30, None, 0), "amount")
    assert [(bar.row["name"], bar.tone, bar.left, bar.width) for bar in bars.bars] == [
        ("K1", "up", "250.00", "750.00"),
        ("K0", "down", "0.00", "250.00"),
        ("K3", "", "250.00", "0.00"),
        ("K2", "", "250.00", "0.00"),
    ]
    assert (bars.zero, bars.total, bars.bars[-1].amount) == ("250.00", 20, None)


def test_with_the_line_in_the_middle_both_sides_are_as_long() -> None:
    bars = bars_of(rows(-10, 40), "amount", in_the_middle=True)
    assert [(bar.tone, bar.left, bar.width) for bar in bars.bars] == [
        ("up", "500.00", "500.00"),
        ("down", "375.00", "125.00"),
    ]
    for nothing in (rows(), rows(None, 0.0)):
        empty = bars_of(nothing, "amount", in_the_middle=True)
        assert (empty.zero, empty.total, {bar.width for bar in empty.bars}) == (
            "500.00",
            0,
            {"0.00"} if nothing else set(),
        )
    assert bars_of(rows(None), "amount").zero == "0.00"


@given(amounts=st.lists(AMOUNTS | st.none(), max_size=30), in_the_middle=st.booleans())
def test_every_bar_is_within_the_picture_at_its_side_of_the_line(
    amounts: list[float | None], in_the_middle: bool
) -> None:
    shown = bars_of(rows(*amounts), "amount", in_the_middle=in_the_middle)
    zero = float(shown.zero)
    assert len(shown.bars) == len(amounts)
    for bar in shown.bars:
        left, right = float(bar.left), float(bar.left) + float(bar.width)
        assert 0 <= left <= right <= WIDTH + 0.01
        if bar.tone == "up":
            assert left >= zero - 1.51  # one that would not be seen is moved in
        if bar.tone == "down":
            assert right <= zero + 1.51
    sizes = [abs(bar.amount) for bar in shown.bars if bar.amount is not None]
    assert sizes == sorted(sizes, reverse=True)


# --- correlations


def found(*symbols: str, **pairs: float | None) -> dict[str, Any]:
    def of(one: str, other: str) -> float | None:
        return 1.0 if one == other else pairs.get(f"{one}_{other}", pairs.get(f"{other}_{one}"))

    return {"symbols": list(symbols), "matrix": [[of(one, other) for other in symbols] for one in symbols]}


def test_a_few_correlations_are_numbers_with_a_tone() -> None:
    heat = heat_of(found("A", "B", "C", A_B=0.81, A_C=-0.3, B_C=None))
    assert not heat.is_drawn
    assert heat.squares == []
    assert [[(cell.text, cell.tone) for cell in row] for row in heat.rows] == [
        [("+1.00", "self"), ("+0.81", "p4"), ("-0.30", "n2")],
        [("+0.81", "p4"), ("+1.00", "self"), ("—", "")],
        [("-0.30", "n2"), ("—", ""), ("+1.00", "self")],
    ]
    assert heat.rows[1][2].title == "B and C: not known"
    assert heat.words == "A and B move most alike: +0.81. A and C least: -0.30."
    assert heat_of(found("A", "B", A_B=0.2)).words == "A and B move most alike: +0.20."
    assert heat_of(found("A")).words == heat_of(found()).words == "There is no pair to compare."


def test_many_correlations_are_a_triangle_of_squares_with_titles() -> None:
    symbols = [f"S{number:02}" for number in range(MOST_NUMBERS + 1)]
    heat = heat_of(found(*symbols, S00_S01=0.5))
    assert heat.is_drawn
    count = len(symbols)
    assert len(heat.squares) == count * (count + 1) // 2
    assert heat.squares[1].title == "S01 and S00: +0.50"
    places = {(square.x, square.y) for square in heat.squares}
    assert len(places) == len(heat.squares)
    for x, y in places:
        assert 0 <= x <= heat.width - SQUARE
        assert 0 <= y <= heat.height - SQUARE
    last = heat.labels[-1]
    assert (last.name, last.column_x < heat.width, last.column_y < heat.height) == ("S20", True, True)


@pytest.mark.parametrize(
    "value, tone, text",
    [
        (0.049, "c0", "+0.05"),
        (0.05, "p1", "+0.05"),
        (-0.75, "n4", "-0.75"),
        (0.6, "p3", "+0.60"),
        (-0.001, "c0", "0.00"),
    ],
)
def test_tones_are_of_steps(value: float, tone: str, text: str) -> None:
    assert (tone_of(value), told(value)) == (tone, text)


# --- value at risk


def day(number: int, pnl: float | None, foreseen: float = 100.0, **others: Any) -> dict[str, Any]:
    of = {"day": MONDAY + timedelta(days=number), "made_on": None, "currency": "INR", "reason": None, "tests": None}
    if pnl is None:
        return {**of, "pnl": None, "value_at_risk": None, "breach": None, "reason": "why not", **others}
    return {**of, "pnl": pnl, "value_at_risk": foreseen, "breach": -pnl > foreseen, **others}


def test_each_day_has_its_bar_and_a_breach_its_mark() -> None:
    plot = plot_of([day(0, 50), day(1, None), day(2, -150), day(3, -40, 120)])
    assert plot is not None
    assert [tick.label for tick in plot.amounts] == ["-150", "-100", "-50", "0", "50"]
    assert [(column.x, column.is_breach) for column in plot.columns] == [(0, False), (2, True), (3, False)]
    each = (HEIGHT - TOP - BOTTOM) / 4
    first, second, _ = plot.columns
    assert (float(first.y), float(first.height)) == (TOP, pytest.approx(each, abs=0.01))
    assert (float(second.y), float(second.height)) == (
        pytest.approx(TOP + each, abs=0.01),
        pytest.approx(3 * each, abs=0.01),
    )
    foreseen, later = TOP + 3 * each, TOP + 3.4 * each
    assert plot.line == f"M0 {foreseen:.2f}H1M2 {foreseen:.2f}H3V{later:.2f}H4"
    (mark,) = plot.breaches
    assert (mark.at, mark.label) == ("62.500%", "2026-01-14")
    assert plot.words.startswith(
        "3 days from 2026-01-12 to 2026-01-15: 1 breach. The worst day was 2026-01-14, -150.00,"
    )
    assert second.title == "2026-01-14: P&L -150.00, value at risk 100.00, a breach"
    assert [tick.label for tick in plot.dates] == ["12 Jan", "13 Jan", "14 Jan", "15 Jan"]


def test_where_nothing_was_compared_there_is_no_chart() -> None:
    assert plot_of([]) is None
    assert plot_of([day(0, None)]) is None


def test_many_days_are_told_by_months_with_the_year_where_it_is_new() -> None:
    plot = plot_of([day(number, 1.0) for number in range(-60, 60)])
    assert plot is not None
    assert [tick.label for tick in plot.dates] == ["Dec 2025", "Jan 2026", "Feb", "Mar"]
    long = plot_of([day(number, 1.0) for number in range(1000)])
    assert long is not None
    assert len(long.dates) <= 6


@given(low=st.floats(min_value=-1e15, max_value=0), high=st.floats(min_value=0, max_value=1e15))
@example(low=-5e-324, high=0.0)
@example(low=0.0, high=0.0)
def test_lines_are_few_and_reach_over_all_amounts(low: float, high: float) -> None:
    lines = ticks(low, high)
    room = max((high - low) * 1e-6, 1e-12)
    assert lines[0] <= low + room
    assert lines[-1] >= high - room
    assert 0 in lines
    assert 2 <= len(lines) <= 9
    assert all(one < other for one, other in pairwise(lines))


@given(days=st.lists(st.none() | AMOUNTS, min_size=1, max_size=40), foreseen=st.floats(min_value=0, max_value=1e12))
def test_all_that_is_drawn_is_within_the_chart(days: list[float | None], foreseen: float) -> None:
    plot = plot_of([day(number, pnl, foreseen) for number, pnl in enumerate(days)])
    if plot is None:
        assert set(days) == {None}
        return
    for column in plot.columns:
        assert TOP - 0.02 <= float(column.y) <= HEIGHT - BOTTOM + 0.02
        assert float(column.y) + float(column.height) <= HEIGHT - BOTTOM + 0.8
    for mark in plot.breaches:
        assert TOP <= float(mark.y) <= HEIGHT - BOTTOM
    assert len(plot.breaches) == sum(column.is_breach for column in plot.columns)


def as_tested(kupiec: float, spread: float = 0.5, both: float = 0.5, breaches: int = 9) -> dict[str, Any]:
    told = {name: {"statistic": 1.0, "p_value": p} for name, p in (("kupiec", kupiec), ("independence", spread))}
    counted = {"observations": 120, "breaches": breaches, "expected": 6.0}
    return {**told, "conditional_coverage": {"statistic": 1.0, "p_value": both}, **counted}


def test_what_the_tests_say_is_said_in_words() -> None:
    wrong = verdicts_of(as_tested(0.03, 0.004, 0.0001))
    assert [(verdict.text, verdict.is_wrong) for verdict in wrong] == [
        ("more breaches than expected: p = 0.03 (9 of 120 days, 6.0 were to be expected)", True),
        ("a breach depends on whether the day before was one: p = 0.004", True),
        ("value at risk is not what it says: p < 0.001", True),
    ]
    right = verdicts_of(as_tested(0.05))
    assert right[0].text == "about as many breaches as expected: p = 0.05 (9 of 120 days, 6.0 were to be expected)"
    assert [verdict.is_wrong for verdict in right] == [False] * 3
    assert verdicts_of(as_tested(0.01, breaches=1))[0].text.startswith("fewer breaches than expected: p = 0.01 (1 of")
    assert verdicts_of(None) == []
    (none,) = verdicts_of({"reason": "TooFewObservations: 1"})
    assert (none.text, none.is_wrong) == ("not yet: TooFewObservations: 1", False)
    assert likelihood(1.0) == "p = 1.00"


# --- contracts


def contract(days: int, price: int | None, **others: Any) -> Contract:
    expiry = MONDAY + timedelta(days=days)
    return Contract(expiry=expiry, days=days, price=None if price is None else Decimal(price), **others)


def structure(*contracts: Contract, shape: Any = None) -> TermStructure:
    at = datetime(2026, 1, 12, tzinfo=UTC)
    given = {"instrument": "ZINC", "source": "mcx", "timeframe": "1d", "as_of": at}
    return TermStructure(**given, shape=shape, contracts=contracts)


def test_contracts_are_as_far_apart_as_their_days_and_the_dearer_is_higher() -> None:
    curve = curve_of([contract(10, 100), contract(20, 110, held=True), contract(40, None), contract(50, 105)])
    assert curve is not None
    assert [point.at for point in curve.points] == ["7.000%", "28.500%", "93.000%"]
    first, second, third = (float(point.y) for point in curve.points)
    assert second < third < first
    assert [point.held for point in curve.points] == [False, True, False]
    assert len(curve.pieces) == 2
    assert [tick.label for tick in curve.prices] == ["100", "102", "104", "106", "108", "110"]
    assert [tick.label for tick in curve.expiries] == ["22 Jan", "1 Feb", "3 Mar"]
    assert curve_of([contract(10, None)]) is None
    (alone,) = (curve_of([contract(10, -37)]) or pytest.fail("no curve")).points
    assert alone.at == "50.000%"
    assert (
        len((curve_of([contract(days, 100 + days) for days in range(0, 360, 30)]) or pytest.fail("none")).expiries) == 6
    )


def test_a_curve_is_told_in_words() -> None:
    held = structure(contract(10, 100), contract(50, 105, held=True), shape="contango")
    assert words_of(held) == (
        "2 contracts, contango: the later a contract expires the dearer it is. A position would be in the one of 2026-03-03."
    )
    assert words_of(structure(contract(10, 1))) == "1 contract, no spread between two of them is known."
    assert words_of(structure()) == "Every contract had expired by then."
    assert (short_price(72_480.5), short_price(1_500_000)) == ("72,480.5", "1.5M")


# --- what if


@pytest.mark.parametrize(
    "change, text",
    [
        (
            {
                "change": "add",
                "position": {"signed_quantity": -2.0, "instrument": "TIN", "price": 300.5, "position_id": "new/1"},
            },
            "add -2 lots of TIN at 300.5 as new/1",
        ),
        (
            {"change": "add", "position": {"signed_quantity": 1.5, "instrument": "TIN", "position_id": "new/1"}},
            "add +1.5 lots of TIN as new/1",
        ),
        ({"change": "remove", "position_id": "position/1"}, "remove position/1"),
        ({"change": "resize", "position_id": "position/1", "lots": 1200.0}, "make position/1 1,200 lots"),
        (
            {"change": "roll", "position_id": "position/1", "contract": "FEB", "spread": -4.5},
            "roll position/1 to FEB, -4.5 points away",
        ),
        ({"change": "shock_prices", "shocks": {"TIN": -0.02, "ZINC": 0.1}}, "shock prices: TIN -0.02, ZINC +0.1"),
        ({"change": "shock_volatilities", "shocks": {"TIN": 0.01}}, "shock volatilities: TIN +0.01"),
        ({"change": "shock_factors", "shocks": {"gold": 0.01}}, "shock factors: gold +0.01"),
    ],
)
def test_a_change_is_told_in_words(change: dict[str, Any], text: str) -> None:
    assert change_in_words(change) == text


def test_every_kind_of_change_can_be_told() -> None:
    told = {"add", "remove", "resize", "roll", "shock_prices", "shock_volatilities", "shock_factors"}
    assert {kind.__struct_config__.tag for kind in get_args(Change)} == told


def compared(before: float | None, after: float | None, **others: Any) -> dict[str, Any]:
    difference = None if before is None or after is None else after - before
    return {"before": before, "after": after, "difference": difference, **others}


def test_measures_scenarios_and_exposures_are_in_an_order_that_can_be_read() -> None:
    snapshot = {
        "measures": {
            "zeal": compared(1.0, 1.0),
            "stress Flood": compared(-5.0, -3.0),
            "open_heat": compared(None, None, before_reason="no stop"),
            "gross": compared(100.0, 90.0),
            "stress Fire": compared(None, None, after_reason="no factor"),
            "stress War": compared(-9.0, 1.0),
        },
        "exposures": [{"label": "gold", **compared(1.0, 2.0)}, {"label": "oil", **compared(1.0, -5.0)}],
    }
    measures = measures_of(snapshot)
    assert [(row.name, row.difference, row.why) for row in measures] == [
        ("gross", -10.0, ""),
        ("open heat", None, "no stop"),
        ("zeal", 0.0, ""),
    ]
    assert [row.name for row in scenarios_of(snapshot)] == ["War", "Flood", "Fire"]
    assert [row.name for row in exposures_of(snapshot)] == ["oil", "gold"]


def test_two_sessions_are_beside_each_other_by_what_each_makes() -> None:
    one = [
        Row(name="gross", before=1.0, after=10.0, difference=9.0),
        Row(name="old", before=1.0, after=2.0, difference=1.0),
    ]
    other = [
        Row(name="gross", before=1.0, after=7.0, difference=6.0),
        Row(name="new", before=None, after=None, difference=None, why="no price"),
    ]
    assert [(row.name, row.before, row.after, row.difference, row.why) for row in side_by_side(one, other)] == [
        ("gross", 10.0, 7.0, -3.0, ""),
        ("old", 2.0, None, None, ""),
        ("new", None, None, None, "no price"),
    ]


# --- words


@pytest.mark.parametrize(
    "value, text", [(0.98254, "+0.9825"), (-1234.5, "-1,234.50"), (0.0, "0.00"), (None, "—"), (-0.00001, "-1e-05")]
)
def test_a_figure_has_as_many_places_as_it_needs(value: float | None, text: str) -> None:
    assert figure(value, signed=True) == text


@pytest.mark.parametrize(
    "amount, text",
    [
        (0, "0"),
        (999.4, "999"),
        (999.6, "1k"),
        (-500_000, "-500k"),
        (1_234_567, "1.23M"),
        (2e9, "2G"),
        (-3.5e13, "-35T"),
        (0.25, "0.25"),
    ],
)
def test_an_amount_is_told_in_three_digits(amount: float, text: str) -> None:
    assert short_amount(amount) == text


def test_a_share_is_told_in_per_cent() -> None:
    assert (share(0.0123), share(-0.5, signed=True), share(None)) == ("1.23 %", "-50.00 %", "—")
