"""A bar's close: marks, trailing stops, stop-outs and peel-off, long and short."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.events import PositionExited, PositionMarked
from core.models import PositionStatus, Side, Signal, Status
from core.portfolio import Portfolio, sizing_equity
from tests.builders import (
    NOON,
    a_portfolio,
    a_position,
    a_signal,
    after,
    holding,
    minutes,
    mirrored,
    settings_with,
    told,
    with_state,
)

both_sides = pytest.mark.parametrize("side", Side)


def bar(side: Side = Side.LONG, price: float = 52500, at: float = 15, **fields: Any) -> Signal:
    """A close of BANK_NIFTY with ATR 350, reflected at 52000 for a short."""
    return mirrored(a_signal("MARKET_DATA", price=price, timestamp=minutes(at), **fields), side)


def entered(side: Side = Side.LONG, **settings: Any) -> Portfolio:
    """Two lots of BANK_NIFTY at 52000, stop 350 points behind, trailing 2.5 ATR."""
    return after(a_portfolio(settings_with(**settings)), mirrored(a_signal(), side))


def the_position(portfolio: Portfolio) -> Any:
    (position,) = portfolio.positions.values()
    return position


@both_sides
def test_a_bar_marks_what_is_open(side: Side) -> None:
    decision = told(entered(side), bar(side, atr=300))
    position = the_position(decision.portfolio)
    assert decision.outcome.status is Status.EXECUTED
    assert (position.mark_price, position.mark_time, position.atr) == (52000 + side.sign * 500, minutes(15), 300)
    assert (position.unrealized_pnl, position.vol_contribution) == (30_000, 18_000)
    assert position.version == 2
    assert decision.portfolio.totals.unrealized == 30_000
    assert decision.portfolio.state.total_vol_amount == 18_000


@both_sides
def test_a_bars_time_is_its_bar_time(side: Side) -> None:
    portfolio = after(a_portfolio(), mirrored(a_signal(bar_time=minutes(-15)), side))
    marked = after(portfolio, bar(side, at=1, bar_time=NOON))
    assert the_position(marked).mark_time == NOON


@both_sides
def test_a_stop_trails_the_best_close(side: Side) -> None:
    portfolio = after(entered(side), bar(side, price=53000))
    position = the_position(portfolio)
    # 53000 - 2.5 x 350
    assert position.highest_close == 52000 + side.sign * 1000
    assert position.current_stop == 52000 + side.sign * 125
    assert position.initial_stop == 52000 - side.sign * 350
    assert (position.risk_contribution, portfolio.state.total_risk_amount) == (0, 0)
    back = the_position(after(portfolio, bar(side, price=52500, at=30)))
    assert back.highest_close == 52000 + side.sign * 1000
    assert back.current_stop == 52000 + side.sign * 125


@both_sides
def test_a_stop_does_not_loosen_when_the_atr_grows(side: Side) -> None:
    portfolio = after(entered(side), bar(side, price=53000), bar(side, price=53000, atr=360, at=30))
    assert the_position(portfolio).current_stop == 52000 + side.sign * 125


@both_sides
def test_a_smaller_atr_tightens_the_stop_at_the_same_best_close(side: Side) -> None:
    portfolio = after(entered(side), bar(side, price=53000), bar(side, price=52990, atr=100, at=30))
    assert the_position(portfolio).current_stop == 52000 + side.sign * 750


@both_sides
def test_the_risk_follows_the_moved_stop(side: Side) -> None:
    portfolio = after(entered(side), bar(side, price=52600))
    # The stop moves to 52600 - 875 = 51725; 275 points of risk are left.
    assert the_position(portfolio).risk_contribution == portfolio.state.total_risk_amount == 16_500


@both_sides
def test_a_close_beyond_the_stop_exits(side: Side) -> None:
    decision = told(entered(side), bar(side, price=51649.95))
    (closed,) = decision.portfolio.closed.values()
    assert decision.portfolio.positions_of("BANK_NIFTY") == []
    assert (closed.exit_reason, closed.exit_timestamp) == ("STOP", minutes(15))
    assert closed.exit_price == 52000 - side.sign * Decimal("350.05")
    assert closed.realized_pnl == decision.portfolio.state.realized_total == Decimal(-21003)
    assert decision.outcome.positions == (closed.position_id,)
    row = decision.portfolio.pyramiding_of("BANK_NIFTY")
    assert (row.last_pyramid_price, row.base_position_id) == (None, None)


def test_a_stop_out_is_timed_by_when_the_bar_fired_and_marked_by_its_bar() -> None:
    decision = told(entered(), bar(price=51000, at=30, bar_time=minutes(15)))
    (closed,) = decision.portfolio.closed.values()
    assert (closed.exit_timestamp, closed.mark_time) == (minutes(30), minutes(15))


@both_sides
def test_a_close_on_the_stop_does_not_exit(side: Side) -> None:
    decision = told(entered(side), bar(side, price=51650))
    assert len(decision.portfolio.positions) == 1


@both_sides
def test_it_is_the_moved_stop_that_a_close_is_beyond(side: Side) -> None:
    # The ATR collapses: 53000 - 2.5 x 10 is above this bar's own close.
    portfolio = after(entered(side), bar(side, price=53000))
    decision = told(portfolio, bar(side, price=52950, atr=10, at=30))
    (closed,) = decision.portfolio.closed.values()
    assert closed.current_stop == 52000 + side.sign * 975
    assert closed.exit_reason == "STOP"


@both_sides
def test_tradingviews_own_exit_for_a_stopped_position_finds_nothing(side: Side) -> None:
    stopped = after(entered(side), bar(side, price=51000))
    late = mirrored(a_signal("EXIT", price=51000, timestamp=minutes(16)), side)
    assert told(stopped, late).outcome.reason == "no open position"


@both_sides
@pytest.mark.parametrize("at", [-15, -0.01])
def test_a_bar_older_than_every_mark_is_rejected(side: Side, at: float) -> None:
    portfolio = entered(side)
    decision = told(portfolio, bar(side, at=at))
    assert (decision.outcome.status, decision.outcome.reason) == (Status.REJECTED, "no newer bar")
    assert decision.events == ()
    assert decision.portfolio is portfolio


@both_sides
def test_the_entrys_own_bar_does_not_move_it(side: Side) -> None:
    portfolio = entered(side)
    decision = told(portfolio, bar(side, price=40000, at=0))
    assert decision.portfolio.positions == portfolio.positions


@both_sides
def test_a_bar_touches_only_the_positions_that_are_older(side: Side) -> None:
    portfolio = after(
        entered(side), mirrored(a_signal("PYRAMID", price=53000, stop=52650, timestamp=minutes(30)), side)
    )
    decision = told(portfolio, bar(side, price=52900, at=20))
    assert decision.outcome.status is Status.EXECUTED
    marked = [event for event in decision.events if isinstance(event, PositionMarked)]
    assert [decision.portfolio.positions[event.position_id].layer[-1] for event in marked] == ["1"]


def test_a_bar_with_nothing_open_is_executed_and_changes_nothing() -> None:
    portfolio = a_portfolio()
    decision = told(portfolio, bar())
    assert (decision.outcome.status, decision.events) == (Status.EXECUTED, ())
    assert decision.portfolio == portfolio


def test_a_bar_of_another_instrument_touches_nothing() -> None:
    portfolio = entered()
    decision = told(portfolio, a_signal("MARKET_DATA", "COPPER", price=830, atr=5, timestamp=minutes(15)))
    assert decision.portfolio.positions == portfolio.positions


@both_sides
def test_each_layer_trails_alone(side: Side) -> None:
    portfolio = after(
        entered(side),
        mirrored(a_signal("PYRAMID", price=53000, stop=52950, timestamp=minutes(15)), side),
        bar(side, price=53500, at=30),
    )
    base, pyramid = portfolio.positions_of("BANK_NIFTY")
    # 53500 - 875 = 52625 is beyond the base's stop and behind the pyramid's own.
    assert base.current_stop == 52000 + side.sign * 625
    assert pyramid.current_stop == 52000 + side.sign * 950
    assert base.highest_close == pyramid.highest_close == 52000 + side.sign * 1500
    stopped = told(portfolio, bar(side, price=52900, at=45))
    assert [p.layer[-1] for p in stopped.portfolio.positions_of("BANK_NIFTY")] == ["1"]
    assert stopped.portfolio.pyramiding_of("BANK_NIFTY").base_position_id == base.position_id


@both_sides
def test_one_bar_can_stop_all_layers(side: Side) -> None:
    portfolio = after(
        entered(side), mirrored(a_signal("PYRAMID", price=53000, stop=52950, timestamp=minutes(15)), side)
    )
    decision = told(portfolio, bar(side, price=50000, at=30))
    assert len(decision.portfolio.closed) == 2
    assert decision.outcome.sizing == {"marked": 2, "stopped": 2, "peeled": 0}
    assert decision.portfolio.pyramiding_of("BANK_NIFTY").base_position_id is None


@both_sides
def test_a_stop_exit_pays_slippage_and_the_mark_is_the_fill(side: Side) -> None:
    portfolio = entered(side, paper={"slippage_percent": "0.1"})
    reference = Decimal(52000 - side.sign * 1000)
    decision = told(portfolio, bar(side, price=51000))
    (closed,) = decision.portfolio.closed.values()
    assert closed.exit_price == closed.mark_price == reference - side.sign * reference / 1000


def test_a_position_without_a_stop_is_marked_and_never_stopped() -> None:
    held = a_position(initial_stop=None, current_stop=None)
    decision = told(holding(a_portfolio(), held), a_signal("MARKET_DATA", "GOLD_MINI", price=1, timestamp=minutes(15)))
    position = the_position(decision.portfolio)
    assert (position.current_stop, position.mark_price) == (None, 1)


def test_a_position_of_an_instrument_that_is_no_longer_configured_is_marked_and_stopped_but_not_trailed() -> None:
    rules = settings_with()
    without = rules.model_copy(update={"instruments": {"COPPER": rules.instruments["COPPER"]}})
    portfolio = holding(a_portfolio(without), a_position())
    up = told(portfolio, a_signal("MARKET_DATA", "GOLD_MINI", price=90000, atr=500, timestamp=minutes(15))).portfolio
    assert (the_position(up).current_stop, the_position(up).unrealized_pnl) == (71500, 360_000)
    down = told(up, a_signal("MARKET_DATA", "GOLD_MINI", price=71499, atr=500, timestamp=minutes(30)))
    assert len(down.portfolio.closed) == 1


# --- peel-off -----------------------------------------------------------------------------------------------------


def heavy(side: Side = Side.LONG, lots: int = 10, **changes: Any) -> Portfolio:
    """Ten lots of BANK_NIFTY at 52000 with a stop 100 points behind, in 5,000,000 of equity."""
    position = a_position(
        "BANK_NIFTY-1",
        instrument="BANK_NIFTY",
        layer=f"{side.value.capitalize()}_1",
        lot_size=Decimal(30),
        quantity=Decimal(30) * lots,
        point_value=Decimal(30),
        entry_price=Decimal(52000),
        highest_close=Decimal(52000),
        mark_price=Decimal(52000),
        entry_lots=lots,
        lots=lots,
        initial_stop=Decimal(52000 - side.sign * 100),
        current_stop=Decimal(52000 - side.sign * 100),
        **changes,
    )
    return holding(a_portfolio(), position)


@both_sides
def test_too_much_volatility_is_peeled_off(side: Side) -> None:
    # 0.7 % of 5,000,000 is 35,000; 150 x 30 = 4,500 a lot: 45,000 is 10,000 too much, three lots.
    decision = told(heavy(side), bar(side, price=52000, atr=150))
    position = the_position(decision.portfolio)
    assert (position.status, position.lots, position.entry_lots) == (PositionStatus.PARTIAL, 7, 10)
    assert (position.quantity, position.vol_contribution, position.risk_contribution) == (210, 31_500, 21_000)
    assert (position.exit_price, position.exit_reason) == (52000, "PEEL_OFF")
    assert decision.outcome.sizing == {"marked": 1, "stopped": 0, "peeled": 1}
    assert decision.outcome.positions == (position.position_id,)
    assert position.version == 2


@both_sides
def test_volatility_exactly_at_its_limit_is_not_peeled_off(side: Side) -> None:
    decision = told(heavy(side, lots=10), bar(side, price=52000, atr="116.66666666"))
    assert the_position(decision.portfolio).lots == 10


@both_sides
def test_too_much_risk_is_peeled_off(side: Side) -> None:
    # Ten lots with a stop 300 points behind risk 90,000; 1.5 % are 75,000: 15,000 too much at 9,000 a lot.
    stop = Decimal(52000 - side.sign * 300)
    portfolio = heavy(side)
    portfolio = portfolio.with_position(replace(the_position(portfolio), current_stop=stop))
    decision = told(portfolio, bar(side, price=52000, atr=115))
    position = the_position(decision.portfolio)
    # The trailing stop (2.5 x 115 = 287.5) makes it 86,250: 11,250 too much at 8,625 a lot.
    assert (position.lots, position.status) == (8, PositionStatus.PARTIAL)
    assert position.risk_contribution == 69_000


@both_sides
def test_what_is_peeled_books_its_pnl_and_its_share_of_the_costs(side: Side) -> None:
    decision = told(heavy(side, entry_costs=Decimal(100)), bar(side, price=52100, atr=150))
    (sold,) = (event for event in decision.events if isinstance(event, PositionExited))
    # Equity counts half of 30,000 of open profit: 35,105 are allowed, three lots go.
    assert (sold.lots_sold, sold.costs, sold.pnl) == (3, 30, 100 * 3 * 30 - 30)
    position = the_position(decision.portfolio)
    assert position.realized_pnl == 8_970
    assert position.unrealized_pnl == 21_000
    assert decision.portfolio.state.statistics.trades_closed == 0
    assert decision.portfolio.state.statistics.costs == 30


def test_a_position_is_peeled_again_and_closed_as_one_trade() -> None:
    portfolio = after(heavy(), bar(price=52000, atr=150), bar(price=52000, atr=200, at=30))
    position = the_position(portfolio)
    assert (position.lots, position.status, position.exit_price) == (5, PositionStatus.PARTIAL, 52000)
    closed = after(portfolio, a_signal("EXIT", price=52600, timestamp=minutes(45)))
    assert closed.closed["BANK_NIFTY-1"].exit_price == 52300
    assert closed.state.statistics.trades_closed == 1
    assert closed.state.realized_total == 600 * 5 * 30


@both_sides
def test_a_stopped_position_is_not_peeled_too(side: Side) -> None:
    decision = told(heavy(side), bar(side, price=51000, atr=900))
    assert decision.outcome.sizing == {"marked": 1, "stopped": 1, "peeled": 0}


@both_sides
@pytest.mark.parametrize("closed", ["0", "-5000"])
def test_without_equity_nothing_is_peeled_and_the_percentage_is_null(side: Side, closed: str) -> None:
    portfolio = with_state(heavy(side), closed_equity=closed)
    decision = told(portfolio, bar(side, price=52000, atr=900))
    assert the_position(decision.portfolio).lots == 10
    assert decision.portfolio.state.total_risk_percent is None


def test_a_percentage_is_capped() -> None:
    portfolio = with_state(heavy(), closed_equity="0.0001")
    rules = settings_with(instruments={"BANK_NIFTY": {"ongoing_risk_percent": 100, "ongoing_volatility_percent": 100}})
    portfolio = replace(portfolio, settings=rules.model_copy(update={"instruments": {}}))
    state = told(portfolio, bar(price=52000, atr=1)).portfolio.state
    assert state.total_risk_percent == Decimal("999999.999999")


@settings(deadline=None, max_examples=60)
@given(
    side=st.sampled_from(list(Side)),
    bars=st.lists(st.tuples(st.integers(49000, 56000), st.integers(50, 900)), min_size=1, max_size=12),
)
def test_over_any_bars_no_stop_loosens_and_what_is_left_is_within_its_limits(
    side: Side, bars: list[tuple[int, int]]
) -> None:
    portfolio = heavy(side)
    for number, (price, atr) in enumerate(bars, 1):
        before = portfolio.positions.get("BANK_NIFTY-1")
        portfolio = told(portfolio, bar(side, price=price, atr=atr, at=number * 15)).portfolio
        now = portfolio.positions.get("BANK_NIFTY-1") or portfolio.closed["BANK_NIFTY-1"]
        if before is not None:
            assert side.sign * (now.current_stop - before.current_stop) >= 0
            assert now.lots <= before.lots
        # Sold at the mark, without costs: the equity is the one that the limits were taken of, but for its blend.
        equity = sizing_equity(portfolio) + abs(portfolio.state.realized_total)
        assert now.vol_contribution <= equity * 7 / 1000
        assert now.risk_contribution <= equity * 15 / 1000
