"""A BASE_ENTRY: what it opens, and every reason for which it is refused, long and short."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from core.decide import Decision, decide, failed
from core.events import EntriesFrozen, PortfolioMeasured, PositionOpened, PyramidingChanged
from core.inputs import Resume
from core.models import PositionStatus, Side, Status
from core.portfolio import Portfolio
from tests.builders import (
    NOON,
    a_portfolio,
    a_position,
    a_signal,
    after,
    given,
    holding,
    minutes,
    mirrored,
    settings_with,
    told,
    with_state,
)

both_sides = pytest.mark.parametrize("side", Side)


def base(side: Side, **fields: Any) -> Any:
    return mirrored(a_signal(**fields), side)


def refused(decision: Decision, before: Portfolio, status: Status, reason: str) -> dict[str, Any]:
    """The figures of a refusal, which has changed nothing."""
    assert (decision.outcome.status, decision.outcome.reason) == (status, reason)
    assert decision.events == ()
    assert decision.portfolio is before
    assert decision.outcome.position_id is None
    return decision.outcome.sizing


@both_sides
def test_an_entry_opens_its_position_whole(side: Side) -> None:
    decision = told(a_portfolio(), base(side, bar_time=minutes(-15)))
    (position,) = decision.portfolio.positions.values()
    stop = 51650 if side is Side.LONG else 52350
    assert position.position_id == decision.outcome.position_id
    assert position.layer == f"{side.value.capitalize()}_1"
    assert (position.side, position.status, position.is_base_position) == (side, PositionStatus.OPEN, True)
    assert (position.lots, position.entry_lots, position.quantity, position.lot_size) == (2, 2, 60, 30)
    assert (position.entry_timestamp, position.entry_bar_time, position.mark_time) == (NOON, minutes(-15), minutes(-15))
    assert position.entry_price == position.mark_price == position.highest_close == 52000
    assert position.initial_stop == position.current_stop == stop
    assert (position.atr, position.point_value, position.limiter, position.version) == (350, 30, "volatility", 1)
    assert position.risk_contribution == position.vol_contribution == 21000
    assert (position.unrealized_pnl, position.realized_pnl, position.costs) == (0, 0, 0)
    assert decision.outcome.lots == 2


def test_the_positions_id_is_instrument_layer_and_fingerprint() -> None:
    signal = a_signal()
    decision = told(a_portfolio(), signal)
    assert decision.outcome.position_id == f"BANK_NIFTY-Long_1-{given(signal).fingerprint[:12]}"


@both_sides
def test_an_entry_measures_the_portfolio(side: Side) -> None:
    state = told(a_portfolio(), base(side)).portfolio.state
    assert (state.total_risk_amount, state.total_vol_amount, state.margin_used) == (21000, 21000, 540_000)
    assert state.total_risk_percent == Decimal("0.42")


def test_an_entry_is_three_events() -> None:
    events = told(a_portfolio(), a_signal()).events
    assert [type(event) for event in events] == [PositionOpened, PyramidingChanged, PortfolioMeasured]


@both_sides
def test_the_next_pyramid_is_measured_against_the_fill(side: Side) -> None:
    portfolio = a_portfolio(settings_with(paper={"slippage_percent": "0.01"}))
    decision = told(portfolio, base(side))
    (position,) = decision.portfolio.positions.values()
    row = decision.portfolio.pyramiding_of("BANK_NIFTY")
    assert position.entry_price == 52000 + side.sign * Decimal("5.2")
    assert position.highest_close == position.mark_price == position.entry_price
    assert (row.last_pyramid_price, row.base_position_id) == (position.entry_price, position.position_id)


def test_the_alerts_lots_are_only_a_suggestion() -> None:
    assert told(a_portfolio(), a_signal(lots=9)).outcome.lots == 2


def test_an_alert_with_only_a_bar_time_opens_at_it() -> None:
    decision = decide(a_portfolio(), given(a_signal(timestamp=None, bar_time=NOON), received_at=NOON), NOON)
    (position,) = decision.portfolio.positions.values()
    assert position.entry_timestamp == position.entry_bar_time == position.mark_time == NOON


# --- rejected: what state refuses ---------------------------------------------------------------------------------


@both_sides
def test_a_second_base_is_rejected(side: Side) -> None:
    portfolio = after(a_portfolio(), base(side))
    again = base(side, timestamp=minutes(15))
    refused(told(portfolio, again), portfolio, Status.REJECTED, "base position already open")


@both_sides
def test_a_base_of_the_other_side_is_rejected_too(side: Side) -> None:
    portfolio = after(a_portfolio(), base(side))
    other = Side.SHORT if side is Side.LONG else Side.LONG
    again = base(other, timestamp=minutes(15))
    refused(told(portfolio, again), portfolio, Status.REJECTED, "base position already open")


@both_sides
def test_a_base_is_refused_while_pyramids_of_the_last_one_are_open(side: Side) -> None:
    pyramid = a_position("GOLD_MINI-2", layer=f"{side.value.capitalize()}_2", is_base_position=False)
    portfolio = holding(a_portfolio(), pyramid)
    signal = base(side, instrument="GOLD_MINI")
    refused(told(portfolio, signal), portfolio, Status.REJECTED, "pyramids still open")


@both_sides
@pytest.mark.parametrize("stop", [52000, 52000.5, 60000])
def test_a_stop_that_is_not_behind_the_price_is_invalid_risk(side: Side, stop: float) -> None:
    portfolio = a_portfolio()
    figures = refused(told(portfolio, base(side, stop=stop)), portfolio, Status.REJECTED, "invalid_risk")
    assert figures["risk_points"] == 52000 - Decimal(str(stop))


def test_an_instrument_that_is_no_longer_configured_is_rejected() -> None:
    rules = settings_with()
    without = rules.model_copy(update={"instruments": {"COPPER": rules.instruments["COPPER"]}})
    portfolio = a_portfolio(without)
    refused(told(portfolio, a_signal()), portfolio, Status.REJECTED, "unknown instrument")


# --- blocked: what a limit refuses --------------------------------------------------------------------------------


@both_sides
def test_a_halted_portfolio_blocks(side: Side) -> None:
    portfolio = with_state(a_portfolio(), halted=True)
    refused(told(portfolio, base(side)), portfolio, Status.BLOCKED, "halted")


@both_sides
def test_a_frozen_instrument_blocks_until_it_is_resumed_and_the_others_go_on(side: Side) -> None:
    poisoned = failed(a_portfolio(), given(a_signal()), "boom")
    portfolio = poisoned.portfolio
    assert poisoned.outcome.status is Status.FAILED
    assert [type(event) for event in poisoned.events] == [EntriesFrozen]
    figures = refused(told(portfolio, base(side)), portfolio, Status.BLOCKED, "frozen")
    assert "boom" in str(figures["frozen_reason"])
    gold = a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500, er=1)
    assert told(portfolio, gold).outcome.status is Status.EXECUTED
    resumed = decide(portfolio, Resume(instrument="BANK_NIFTY"), NOON).portfolio
    assert told(resumed, base(side)).outcome.status is Status.EXECUTED


@both_sides
@pytest.mark.parametrize("closed", ["0", "-0.0001", "-100000"])
def test_no_equity_blocks(side: Side, closed: str) -> None:
    portfolio = with_state(a_portfolio(), closed_equity=closed)
    figures = refused(told(portfolio, base(side)), portfolio, Status.BLOCKED, "equity")
    assert figures["equity"] == round(Decimal(closed), 6)


@both_sides
@pytest.mark.parametrize(
    "closed, factor",
    [
        ("5000000", 1),
        ("4750000.0001", 1),  # just under 5 %
        ("4750000", "0.75"),  # exactly 5 %
        ("4500000.0001", "0.75"),  # just under 10 %
        ("4500000", None),  # exactly 10 %: no new base
        ("4250000", None),
        ("4249999.9999", None),
        ("1", None),
    ],
)
def test_a_drawdown_makes_a_base_smaller_and_then_blocks_it_at_the_exact_borders(
    side: Side, closed: str, factor: str | None
) -> None:
    portfolio = with_state(a_portfolio(), closed_equity=closed)
    decision = told(portfolio, base(side, er=1))
    if factor is None:
        figures = refused(decision, portfolio, Status.BLOCKED, "drawdown")
        assert figures["drawdown_percent"] == round((5_000_000 - Decimal(closed)) / 50_000, 6)
    else:
        sizing = decision.outcome.sizing
        assert sizing["drawdown_factor"] == Decimal(factor)
        assert sizing["risk"] == round(Decimal(closed) / 100 * Decimal(factor) / 10_500, 6)
        # The other limits do not shrink with it.
        assert sizing["volatility"] == round(Decimal(closed) / 200 / 10_500, 6)


@both_sides
@pytest.mark.parametrize(
    "limiter, limits, fields",
    [
        ("risk", {}, {"er": "0.05"}),
        ("volatility", {}, {"atr": 900, "er": 1}),
        ("margin", {"margin_percent": "5"}, {"er": 1}),
        ("portfolio_risk", {"risk_percent": "0.2"}, {"er": 1}),
        ("portfolio_volatility", {"volatility_percent": "0.2"}, {"er": 1}),
    ],
)
def test_a_size_of_no_lots_is_blocked_by_its_limiter_with_every_figure(
    side: Side, limiter: str, limits: dict[str, str], fields: dict[str, Any]
) -> None:
    portfolio = a_portfolio(settings_with(limits=limits))
    decision = told(portfolio, base(side, **fields))
    figures = refused(decision, portfolio, Status.BLOCKED, limiter)
    assert (decision.outcome.limiter, decision.outcome.lots) == (limiter, 0)
    constraints = {"risk", "volatility", "margin", "portfolio_risk", "portfolio_volatility"}
    assert constraints <= set(figures)
    assert min(constraints, key=lambda name: Decimal(str(figures[name]))) == limiter


@both_sides
@pytest.mark.parametrize(
    "limiter, limits",
    [("portfolio_risk", {"risk_percent": "0.3"}), ("portfolio_volatility", {"volatility_percent": "0.3"})],
)
def test_a_portfolio_cap_cuts_to_what_stays_within_it(side: Side, limiter: str, limits: dict[str, str]) -> None:
    decision = told(a_portfolio(settings_with(limits=limits)), base(side))
    assert (decision.outcome.lots, decision.outcome.limiter) == (1, limiter)
    state = decision.portfolio.state
    assert max(state.total_risk_amount, state.total_vol_amount) <= state.closed_equity * 3 / 1000


def test_a_portfolio_cap_counts_what_is_open_elsewhere() -> None:
    # 750,000 of risk are allowed, 735,000 are taken: 1.43 lots of 10,500 are left.
    crowd = a_position(lots=1, entry_lots=1, risk_contribution=Decimal(735_000))
    decision = told(holding(a_portfolio(), crowd), a_signal())
    assert (decision.outcome.lots, decision.outcome.limiter) == (1, "portfolio_risk")
    assert decision.outcome.sizing["portfolio_risk"] == Decimal("1.428571")


def test_unrealised_profit_counts_half_in_the_sizing_equity() -> None:
    winner = a_position(lots=1, entry_lots=1, unrealized_pnl=Decimal(1_000_000))
    portfolio = holding(a_portfolio(), winner)
    assert told(portfolio, a_signal()).outcome.sizing["equity"] == 5_500_000


@pytest.mark.parametrize("which, equity", [("closed", 5_000_000), ("open", 6_000_000), ("high_water", 7_000_000)])
def test_the_sizing_equity_is_a_setting(which: str, equity: int) -> None:
    winner = a_position(lots=1, entry_lots=1, unrealized_pnl=Decimal(1_000_000))
    levels = {"reduce_from_percent": 90, "restrict_from_percent": 90, "block_above_percent": 90}
    portfolio = a_portfolio(settings_with(sizing={"equity": which}, drawdown=levels))
    portfolio = holding(with_state(portfolio, equity_high=7_000_000), winner)
    assert told(portfolio, a_signal()).outcome.sizing["equity"] == equity


@both_sides
def test_once_flat_the_same_layers_name_opens_another_position(side: Side) -> None:
    exit_ = mirrored(a_signal("EXIT", timestamp=minutes(30)), side)
    portfolio = after(a_portfolio(), base(side), exit_)
    row = portfolio.pyramiding_of("BANK_NIFTY")
    assert (row.last_pyramid_price, row.base_position_id) == (None, None)
    (first,) = portfolio.closed.values()
    again = told(portfolio, base(side, timestamp=minutes(60)))
    (second,) = again.portfolio.positions.values()
    assert first.layer == second.layer
    assert first.position_id != second.position_id
    assert again.portfolio.closed[first.position_id] == first
    assert second.version == 1


def test_an_entry_whose_lots_do_not_fit_the_columns_is_refused_not_failed() -> None:
    penny = {"lot_size": "1", "point_value": "0.00000001", "margin_per_lot": "0.0001"}
    portfolio = a_portfolio(settings_with(instruments={"PENNY": penny}))
    signal = a_signal(instrument="PENNY", price=1, stop="0.5", atr="0.1", er=1)
    decision = told(portfolio, signal)  # 30 billion lots: no INTEGER holds them
    assert decision.outcome.status is Status.BLOCKED


def test_what_a_decision_returns_does_not_share_what_it_was_given() -> None:
    portfolio = a_portfolio()
    signal = a_signal()
    assert told(portfolio, signal) == told(portfolio, signal)
    assert portfolio == a_portfolio()
    assert replace(signal) == a_signal()
