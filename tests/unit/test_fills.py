"""Fills go against us, costs are booked without loss, and P&L is the same for both sides of a mirror."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.contracts import Costs
from core.decide.decision import Draft
from core.decide.exit import sell
from core.fills import (
    average_price,
    entry_costs_due,
    gross_pnl,
    paper_fill,
    risk_amount,
    side_costs,
    volatility_amount,
)
from core.models import Side, status_of
from core.portfolio import Portfolio
from tests.builders import a_portfolio, a_position, a_signal, after, holding, minutes, settings_with, told

prices = st.decimals(1, 10**6, places=8)
ticks = st.decimals(1, 10**6, places=2)


@pytest.mark.parametrize(
    "side, entering, filled",
    [
        (Side.LONG, True, "52026.00000000"),
        (Side.LONG, False, "51974.00000000"),
        (Side.SHORT, True, "51974.00000000"),
        (Side.SHORT, False, "52026.00000000"),
    ],
)
def test_slippage_is_always_against_us(side: Side, entering: bool, filled: str) -> None:
    assert str(paper_fill(side, Decimal(52000), Decimal("0.05"), entering=entering)) == filled


@settings(deadline=None)
@given(prices, st.sampled_from(list(Side)), st.booleans())
def test_without_slippage_a_fill_is_the_signals_price(price: Decimal, side: Side, entering: bool) -> None:
    assert paper_fill(side, price, Decimal(0), entering=entering) == price


def test_costs_are_a_share_of_turnover_and_an_amount_per_lot() -> None:
    costs = Costs(percent_of_turnover=Decimal("0.01"), per_lot=Decimal(20))
    assert side_costs(costs, Decimal(52000), 2, Decimal(30)) == Decimal(312 + 40)


def test_costs_are_nothing_by_default() -> None:
    assert side_costs(Costs(), Decimal(52000), 2, Decimal(30)) == 0


@settings(deadline=None)
@given(ticks, ticks, st.integers(1, 10**4), st.sampled_from([5, 10, 30, 2500]))
def test_what_a_long_earns_a_short_loses(entry: Decimal, exit_price: Decimal, lots: int, point_value: int) -> None:
    long = gross_pnl(Side.LONG, entry, exit_price, lots, Decimal(point_value))
    assert long == (exit_price - entry) * lots * point_value
    assert gross_pnl(Side.SHORT, entry, exit_price, lots, Decimal(point_value)) == -long


@settings(deadline=None)
@given(st.decimals(0, 10**6, places=4), st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_the_entrys_costs_are_booked_to_the_last_digit_however_it_is_split(costs: Decimal, split: list[int]) -> None:
    entry_lots, sold, booked = sum(split), 0, Decimal(0)
    for lots in split:
        due = entry_costs_due(costs, entry_lots, sold, lots)
        sold += lots
        booked += due
        # What is booked so far is the rounded share of what is sold so far.
        assert abs(Fraction(booked) - Fraction(costs) * sold / entry_lots) <= Fraction(5, 100_000)
        assert due >= 0
    assert booked == costs


def splits(total: int) -> st.SearchStrategy[list[int]]:
    """Every way to sell `total` lots in parts."""
    return st.lists(st.integers(1, total), max_size=total).map(lambda parts: _filled(parts, total))


def _filled(parts: list[int], total: int) -> list[int]:
    kept: list[int] = []
    for lots in parts:
        if sum(kept) + lots <= total:
            kept.append(lots)
    return [*kept, total - sum(kept)] if sum(kept) < total else kept


def sold_in_parts(portfolio: Portfolio, parts: list[tuple[int, Decimal]]) -> Portfolio:
    """The portfolio after its one position was sold in parts, each at its price."""
    draft = Draft(portfolio)
    (position_id,) = portfolio.positions
    for number, (lots, price) in enumerate(parts):
        position = draft.portfolio.positions[position_id]
        sell(draft, position, lots, price, minutes(number), "TEST")
    return draft.portfolio


@settings(deadline=None)
@given(st.data(), st.sampled_from(list(Side)), st.integers(1, 40), st.decimals(0, 1000, places=4))
def test_the_pnl_of_any_split_of_an_entry_sums_exactly(
    data: st.DataObject, side: Side, lots: int, entry_costs: Decimal
) -> None:
    costs = {"percent_of_turnover": "0.0123", "per_lot": "1.37"}
    portfolio = a_portfolio(settings_with(paper={"costs": costs, "slippage_percent": "0.01"}))
    layer = f"{side.value.capitalize()}_1"
    held = a_position(layer=layer, lots=lots, entry_lots=lots, entry_costs=entry_costs)
    parts = [(part, Decimal(data.draw(st.integers(70_000, 74_000)))) for part in data.draw(splits(lots))]
    after_all = sold_in_parts(holding(portfolio, held), parts)
    closed = after_all.closed[held.position_id]

    sign = side.sign
    gross, exit_costs, turnover = Fraction(0), Fraction(0), Fraction(0)
    for part, price in parts:
        fill = Fraction(price) * (1 - sign * Fraction(1, 10_000))
        gross += sign * (fill - 72_000) * part * 10
        cost = fill * part * 10 * Fraction("0.0123") / 100 + Fraction("1.37") * part
        exit_costs += Fraction(round(cost * 10_000), 10_000)
        turnover += fill * part
    assert Fraction(closed.realized_pnl) == gross - exit_costs - Fraction(entry_costs)
    assert Fraction(closed.costs) == exit_costs + Fraction(entry_costs)
    assert abs(Fraction(closed.exit_price) - turnover / lots) <= Fraction(len(parts), 100_000_000)
    assert closed.status is status_of(0, lots)
    assert after_all.state.realized_total == closed.realized_pnl
    assert after_all.state.closed_equity == portfolio.state.closed_equity + closed.realized_pnl
    assert after_all.state.statistics.costs == closed.costs


def test_the_average_is_weighted_by_lots_and_starts_with_the_first_fill() -> None:
    assert average_price(None, 0, Decimal(100), 3) == 100
    assert average_price(Decimal(100), 0, Decimal(110), 3) == 110
    assert average_price(Decimal(100), 3, Decimal(110), 1) == Decimal("102.5")
    assert str(average_price(Decimal(100), 2, Decimal(101), 1)) == "100.33333333"


@settings(deadline=None)
@given(prices, st.integers(1, 1000), prices, st.integers(1, 1000))
def test_an_average_rounds_only_once(average: Decimal, before: int, fill: Decimal, lots: int) -> None:
    mean = (Fraction(average) * before + Fraction(fill) * lots) / (before + lots)
    assert Fraction(average_price(average, before, fill, lots)) == Fraction(round(mean * 10**8), 10**8)


@pytest.mark.parametrize(
    "side, stop, risk",
    [(Side.LONG, 51650, 21000), (Side.LONG, 52100, 0), (Side.SHORT, 52350, 21000), (Side.SHORT, 51900, 0)],
)
def test_a_positions_risk_is_what_it_loses_at_its_stop_and_never_negative(side: Side, stop: int, risk: int) -> None:
    assert risk_amount(side, Decimal(52000), Decimal(stop), 2, Decimal(30)) == risk


def test_without_a_stop_there_is_no_figure_of_risk() -> None:
    assert risk_amount(Side.LONG, Decimal(52000), None, 2, Decimal(30)) == 0


def test_a_positions_volatility_is_its_atr_in_money() -> None:
    assert volatility_amount(Decimal(350), 2, Decimal(30)) == 21000
    assert volatility_amount(None, 2, Decimal(30)) == 0


def test_the_costs_of_an_entry_are_kept_with_it_and_booked_with_its_exit() -> None:
    costs = {"percent_of_turnover": "0.01", "per_lot": "20"}
    portfolio = after(a_portfolio(settings_with(paper={"costs": costs})), a_signal())
    (position,) = portfolio.positions.values()
    assert (position.entry_costs, position.costs, position.realized_pnl) == (352, 0, 0)
    assert portfolio.state.closed_equity == 5_000_000  # nothing is booked before the exit
    closed = told(portfolio, a_signal("EXIT", price=53000, timestamp=minutes(60))).portfolio
    assert closed.state.realized_total == 60_000 - 352 - 358
    assert closed.closed[position.position_id].costs == 710


def test_an_instruments_own_costs_go_before_the_portfolios() -> None:
    rules = settings_with(paper={"costs": {"per_lot": "20"}}, instruments={"GOLD_MINI": {"costs": {"per_lot": "7"}}})
    assert rules.costs_of("GOLD_MINI").per_lot == 7
    assert rules.costs_of("COPPER").per_lot == 20


def test_a_position_of_an_instrument_that_is_no_longer_configured_is_still_sold_at_the_portfolios_costs() -> None:
    rules = settings_with(paper={"costs": {"per_lot": "20"}}, instruments={"GOLD_MINI": {"costs": {"per_lot": "7"}}})
    without = rules.model_copy(update={"instruments": {"COPPER": rules.instruments["COPPER"]}})
    portfolio = holding(replace(a_portfolio(rules), settings=without), a_position())
    decision = told(portfolio, a_signal("EXIT", "GOLD_MINI", price=72000, timestamp=minutes(60)))
    assert decision.portfolio.closed["GOLD_MINI-Long_1-abc"].costs == 40
