"""A portfolio in memory: indexes and sums that follow its positions, the equities, and the drawdown."""

from decimal import Decimal
from typing import Any, get_args

import immutables
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.models import PositionStatus, PyramidingState
from core.portfolio import (
    Portfolio,
    Totals,
    blended_equity,
    drawdown_percent,
    margin_percent,
    open_equity,
    portfolio_from_rows,
    sizing_equity,
)
from core.settings import SizingEquity
from tests.builders import a_portfolio, a_position, settings_with, with_state

CLOSED: dict[str, Any] = {"lots": 0, "status": PositionStatus.CLOSED, "quantity": Decimal(0)}


def test_an_instruments_positions_are_in_the_order_of_their_layers() -> None:
    portfolio = a_portfolio()
    for number in (3, 1, 2):
        portfolio = portfolio.with_position(a_position(f"p{number}", layer=f"Long_{number}"))
    assert [p.layer for p in portfolio.positions_of("GOLD_MINI")] == ["Long_1", "Long_2", "Long_3"]
    assert portfolio.positions_of("COPPER") == []


def test_the_base_is_found_by_its_mark_not_by_its_name() -> None:
    portfolio = a_portfolio().with_position(a_position("p1", layer="Long_2", is_base_position=True))
    base = portfolio.base_of("GOLD_MINI")
    assert base is not None
    assert base.position_id == "p1"
    assert portfolio.base_of("COPPER") is None


def test_a_closed_position_is_kept_apart_until_its_batch_is_committed() -> None:
    portfolio = a_portfolio().with_position(a_position("p1")).with_position(a_position("p2", layer="Long_2"))
    closed = portfolio.with_position(replace(portfolio.positions["p1"], **CLOSED))
    assert set(closed.positions) == {"p2"}
    assert set(closed.closed) == {"p1"}
    assert closed.by_instrument["GOLD_MINI"] == ("p2",)
    settled = closed.settled()
    assert settled.closed == immutables.Map()
    assert settled.settled() is settled


def test_an_instrument_without_positions_has_no_entry_in_the_index() -> None:
    portfolio = a_portfolio().with_position(a_position("p1"))
    flat = portfolio.with_position(replace(portfolio.positions["p1"], **CLOSED))
    assert flat.by_instrument == immutables.Map()
    assert flat.totals == Totals()


def test_a_closed_row_that_was_never_open_here_changes_no_sum() -> None:
    portfolio = a_portfolio().with_position(a_position("p1", **CLOSED))
    assert (portfolio.totals, portfolio.by_instrument) == (Totals(), immutables.Map())
    assert set(portfolio.closed) == {"p1"}


def test_an_instrument_that_has_no_row_yet_has_an_empty_one() -> None:
    assert a_portfolio().pyramiding_of("COPPER") == PyramidingState(instrument="COPPER")


def test_other_settings_change_the_margin_and_no_other_sum() -> None:
    held = a_position("p1", risk_contribution=Decimal(7), vol_contribution=Decimal(8), unrealized_pnl=Decimal(9))
    portfolio = a_portfolio().with_position(held)
    changed = portfolio.with_settings(settings_with(instruments={"GOLD_MINI": {"margin_per_lot": 1}}))
    assert portfolio.totals == Totals(
        unrealized=Decimal(9), risk=Decimal(7), volatility=Decimal(8), margin=Decimal(210_000)
    )
    assert changed.totals == replace(portfolio.totals, margin=Decimal(2))


money = st.decimals(0, 10**6, places=4)
changes = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 3), money, money, st.decimals(-(10**6), 10**6, places=4)), max_size=30
)


@settings(deadline=None)
@given(changes)
def test_sums_and_index_follow_any_sequence_of_changes(
    sequence: list[tuple[int, int, Decimal, Decimal, Decimal]],
) -> None:
    portfolio = a_portfolio()
    rows: dict[str, Any] = {}
    for number, lots, risk, volatility, unrealized in sequence:
        position = a_position(
            f"p{number}",
            layer=f"Long_{number}",
            entry_lots=3,
            lots=lots,
            risk_contribution=risk,
            vol_contribution=volatility,
            unrealized_pnl=unrealized,
        )
        portfolio = portfolio.with_position(position)
        rows[position.position_id] = position
    held = [p for p in rows.values() if p.lots]
    assert dict(portfolio.positions) == {p.position_id: p for p in held}
    assert portfolio.totals == Totals(
        unrealized=sum((p.unrealized_pnl for p in held), Decimal(0)),
        risk=sum((p.risk_contribution for p in held), Decimal(0)),
        volatility=sum((p.vol_contribution for p in held), Decimal(0)),
        margin=Decimal(105_000) * sum(p.lots for p in held),
    )
    rebuilt = portfolio_from_rows("main", portfolio.settings, portfolio.state, reversed(held), [])
    assert rebuilt == portfolio.settled()


def test_the_portfolio_of_its_rows_knows_its_pyramids() -> None:
    row = PyramidingState(instrument="GOLD_MINI", last_pyramid_price=Decimal(72000), base_position_id="p1")
    portfolio = a_portfolio()
    rebuilt = portfolio_from_rows("main", portfolio.settings, portfolio.state, [a_position("p1")], [row])
    assert rebuilt.pyramiding_of("GOLD_MINI") == row


@pytest.mark.parametrize("change", [{"instrument": "COPPER"}, {"layer": "Long_3"}])
def test_a_row_saved_by_hand_with_another_instrument_or_layer_moves_in_the_index(change: dict[str, str]) -> None:
    portfolio = a_portfolio().with_position(a_position("p1")).with_position(a_position("p2", layer="Long_2"))
    changed = portfolio.with_position(replace(portfolio.positions["p1"], **change))
    rebuilt = portfolio_from_rows("main", changed.settings, changed.state, changed.positions.values(), [])
    assert rebuilt == changed


# --- equity and drawdown ------------------------------------------------------------------------------------------


def in_profit(unrealized: str) -> Portfolio:
    held = a_position(unrealized_pnl=Decimal(unrealized))
    return with_state(a_portfolio(), equity_high=6_000_000).with_position(held)


def test_open_equity_adds_all_unrealised_pnl_and_blended_half_of_it() -> None:
    assert open_equity(in_profit("-100000.0001")) == Decimal("4899999.9999")
    assert blended_equity(in_profit("-100000.0001")) == Decimal("4949999.99995")


@pytest.mark.parametrize(
    "which, equity", [("blended", 5_050_000), ("closed", 5_000_000), ("open", 5_100_000), ("high_water", 6_000_000)]
)
def test_the_sizing_equity_is_a_setting(which: str, equity: int) -> None:
    portfolio = replace(in_profit("100000"), settings=settings_with(sizing={"equity": which}))
    assert sizing_equity(portfolio) == equity


def test_margin_is_a_percentage_of_the_sizing_equity_and_null_of_nothing() -> None:
    held = a_portfolio().with_position(a_position())
    assert margin_percent(held) == Decimal("4.2")
    assert margin_percent(with_state(held, closed_equity=0)) is None


def test_every_sizing_equity_is_tested() -> None:
    assert set(get_args(SizingEquity)) == {"blended", "closed", "open", "high_water"}


@pytest.mark.parametrize(
    "high, closed, percent",
    [
        ("5000000", "5000000", "0"),
        ("5000000", "5100000", "0"),
        ("5000000", "4750000", "5"),
        ("5000000", "0", "100"),
        ("5000000", "-1000000", "120"),
        ("0", "-1", "100"),
        ("0", "0", "0"),
    ],
)
def test_the_drawdown_is_of_closed_equity_from_its_high(high: str, closed: str, percent: str) -> None:
    state = with_state(a_portfolio(), equity_high=high, closed_equity=closed).state
    assert drawdown_percent(state) == Decimal(percent)


@settings(deadline=None)
@given(st.decimals(Decimal("0.0001"), Decimal(9999999999999999), places=4))
def test_a_drawdown_is_exactly_at_a_border_only_where_it_is(high: Decimal) -> None:
    border = round(high * Decimal("0.95"), 4)
    state = with_state(a_portfolio(), equity_high=high, closed_equity=border).state
    assert (drawdown_percent(state) >= 5) == (high - border >= high * 5 / 100)
    below = with_state(a_portfolio(), equity_high=high, closed_equity=border - Decimal("0.0001")).state
    assert (drawdown_percent(below) > 5) == (high - below.closed_equity > high * 5 / 100)
