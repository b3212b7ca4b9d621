"""EXITs: of one layer, of all, before the entry, with the base gone and its pyramids left; long and short."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from core.decide import decide, failed
from core.models import PositionStatus, Side, Signal, SignalType, Status
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


def exit_of(side: Side = Side.LONG, layer: str = "Long_1", **fields: Any) -> Signal:
    fields = {"price": 53000, "timestamp": minutes(60), **fields}
    return mirrored(a_signal("EXIT", layer=layer, **fields), side)


def pyramided(side: Side = Side.LONG) -> Portfolio:
    """BANK_NIFTY with base and two pyramids: 4 + 2 + 1 lots at 52000, 53000 and 54000 (reflected for a short)."""
    rules = settings_with(instruments={"BANK_NIFTY": {"initial_volatility_percent": "0.9"}})
    portfolio = after(
        a_portfolio(rules),
        mirrored(a_signal(er=1), side),
        mirrored(a_signal("PYRAMID", price=53000, stop=52650, timestamp=minutes(15)), side),
        mirrored(a_signal("PYRAMID", layer="Long_3", price=54000, stop=53650, timestamp=minutes(30)), side),
    )
    assert [p.lots for p in portfolio.positions_of("BANK_NIFTY")] == [4, 2, 1]
    return portfolio


# --- one layer ----------------------------------------------------------------------------------------------------


@both_sides
def test_an_exit_closes_its_layer_whole(side: Side) -> None:
    portfolio = after(a_portfolio(), mirrored(a_signal(), side))
    decision = told(portfolio, exit_of(side, reason="TRAILING_STOP"))
    (closed,) = decision.portfolio.closed.values()
    assert decision.portfolio.positions_of("BANK_NIFTY") == []
    assert (closed.status, closed.lots, closed.quantity) == (PositionStatus.CLOSED, 0, 0)
    assert (closed.realized_pnl, closed.unrealized_pnl) == (60_000, 0)
    assert closed.exit_price == 52000 + side.sign * 1000
    assert (closed.exit_timestamp, closed.exit_reason) == (minutes(60), "TRAILING_STOP")
    assert (closed.risk_contribution, closed.vol_contribution) == (0, 0)
    outcome = decision.outcome
    assert (outcome.status, outcome.lots, outcome.position_id) == (Status.EXECUTED, 2, closed.position_id)
    state = decision.portfolio.state
    assert (state.closed_equity, state.realized_total, state.equity_high) == (5_060_000, 60_000, 5_060_000)
    assert (state.total_risk_amount, state.total_vol_amount, state.margin_used) == (0, 0, 0)
    assert (state.statistics.trades_closed, state.statistics.trades_won) == (1, 1)
    assert (state.statistics.gross_profit, state.statistics.gross_loss) == (60_000, 0)


@both_sides
def test_a_loss_lowers_closed_equity_and_leaves_the_high(side: Side) -> None:
    portfolio = after(a_portfolio(), mirrored(a_signal(), side))
    state = told(portfolio, exit_of(side, price=51000)).portfolio.state
    assert (state.closed_equity, state.equity_high) == (4_940_000, 5_000_000)
    assert (state.statistics.trades_closed, state.statistics.trades_won) == (1, 0)
    assert (state.statistics.gross_profit, state.statistics.gross_loss) == (0, 60_000)


def test_percentages_of_the_high_are_of_the_high_that_this_exit_made() -> None:
    rules = settings_with(sizing={"equity": "high_water"})
    gold = a_position(risk_contribution=Decimal(10_120))
    portfolio = holding(after(a_portfolio(rules), a_signal()), gold)
    state = told(portfolio, exit_of()).portfolio.state
    assert (state.equity_high, state.total_risk_percent) == (5_060_000, Decimal("0.2"))


def test_the_exits_lots_are_ignored() -> None:
    portfolio = after(a_portfolio(), a_signal())
    assert told(portfolio, exit_of(lots=1)).outcome.lots == 2


def test_an_exit_without_a_reason_is_named_exit() -> None:
    decision = told(after(a_portfolio(), a_signal()), exit_of())
    (closed,) = decision.portfolio.closed.values()
    assert closed.exit_reason == "EXIT"


@both_sides
def test_an_exit_pays_slippage_and_costs(side: Side) -> None:
    rules = settings_with(paper={"slippage_percent": "0.1", "costs": {"per_lot": "20"}})
    portfolio = after(a_portfolio(rules), mirrored(a_signal(), side))
    (opened,) = portfolio.positions.values()
    decision = told(portfolio, exit_of(side))
    (closed,) = decision.portfolio.closed.values()
    reference = 52000 + side.sign * 1000
    assert closed.exit_price == reference - side.sign * Decimal(reference) / 1000
    assert closed.costs == 80
    assert closed.realized_pnl == side.sign * (closed.exit_price - opened.entry_price) * 60 - 80


def test_an_exit_with_nothing_open_is_rejected() -> None:
    decision = told(a_portfolio(), exit_of())
    assert (decision.outcome.status, decision.outcome.reason) == (Status.REJECTED, "no open position")
    assert decision.events == ()


@pytest.mark.parametrize("layer", ["Long_2", "Short_1"])
def test_an_exit_of_another_layer_is_rejected(layer: str) -> None:
    decision = told(after(a_portfolio(), a_signal()), a_signal("EXIT", layer=layer, timestamp=minutes(60)))
    assert decision.outcome.reason == "no open position"


def test_an_exit_of_another_instrument_is_rejected() -> None:
    decision = told(after(a_portfolio(), a_signal()), a_signal("EXIT", "COPPER", layer="ALL", timestamp=minutes(60)))
    assert decision.outcome.reason == "no open position"


def test_an_exit_is_never_too_old() -> None:
    old = decide(after(a_portfolio(), a_signal()), given(exit_of()), minutes(60 * 24 * 30))
    assert old.outcome.status is Status.EXECUTED


def test_exits_work_while_halted_frozen_without_equity_and_in_any_drawdown() -> None:
    portfolio = with_state(after(a_portfolio(), a_signal()), halted=True, closed_equity=-1)
    frozen = failed(portfolio, given(a_signal()), "boom").portfolio
    assert told(frozen, exit_of()).outcome.status is Status.EXECUTED


# --- all layers ---------------------------------------------------------------------------------------------------


@both_sides
def test_all_closes_every_layer_and_names_them(side: Side) -> None:
    portfolio = pyramided(side)
    ids = tuple(p.position_id for p in portfolio.positions_of("BANK_NIFTY"))
    gold = a_position()
    portfolio = holding(portfolio, gold)
    decision = told(portfolio, exit_of(side, layer="ALL", price=54000))
    assert decision.outcome.positions == ids
    assert (decision.outcome.position_id, decision.outcome.lots) == (None, 7)
    assert set(decision.portfolio.closed) == set(ids)
    assert list(decision.portfolio.positions) == [gold.position_id]
    assert decision.portfolio.state.realized_total == (2000 * 4 + 1000 * 2) * 30
    row = decision.portfolio.pyramiding_of("BANK_NIFTY")
    assert (row.last_pyramid_price, row.base_position_id) == (None, None)


def test_all_closes_only_the_layers_entered_before_it() -> None:
    portfolio = pyramided()
    late = told(portfolio, exit_of(layer="ALL", timestamp=minutes(20)))
    assert late.outcome.status is Status.EXECUTED
    assert [p.layer for p in late.portfolio.positions_of("BANK_NIFTY")] == ["Long_3"]
    assert len(late.outcome.positions) == 2


# --- entered before -----------------------------------------------------------------------------------------------

BAR = NOON.replace(minute=0)


def times(stamp: float | None, bar: float | None) -> dict[str, datetime | None]:
    return {
        "timestamp": None if stamp is None else minutes(stamp),
        "bar_time": None if bar is None else minutes(bar),
    }


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("layer", ["Long_1", "ALL"])
@pytest.mark.parametrize(
    "entry, exit_, intrabar, closes",
    [
        # Both carry a bar time: only an earlier bar's entry is closed, whatever the timestamps.
        (times(0, -15), times(20, 0), False, True),
        (times(0, -15), times(20, -15), False, False),
        (times(0, -15), times(-1, -30), False, False),
        (times(30, -15), times(20, 0), False, True),
        # With intrabar exits, the same bar's too.
        (times(0, -15), times(20, -15), True, True),
        (times(30, -15), times(20, -15), True, True),
        (times(0, -15), times(20, -30), True, False),
        # One of them, or both, carries none: by timestamp, an equal one included.
        (times(0, -15), times(0, None), False, True),
        (times(0, -15), times(-0.1, None), False, False),
        (times(0, None), times(1, -60), False, True),
        (times(0, None), times(-1, 60), False, False),
        (times(0, None), times(0, None), False, True),
        (times(0, None), times(-1, None), False, False),
        (times(0, None), times(-1, None), True, False),
        # Only bar times: the bar's time is all there is.
        (times(None, 0), times(None, 15), False, True),
        (times(None, 0), times(None, 0), False, False),
        (times(None, 0), times(None, 0), True, True),
    ],
)
def test_an_exit_closes_only_what_was_entered_before_it(
    side: Side,
    layer: str,
    entry: dict[str, datetime | None],
    exit_: dict[str, datetime | None],
    intrabar: bool,
    closes: bool,
) -> None:
    rules = settings_with(
        timing={"intrabar_exits": intrabar, "max_future_seconds": 86_400, "max_entry_age_seconds": None}
    )
    portfolio = after(a_portfolio(rules), mirrored(a_signal(**entry), side))
    assert len(portfolio.positions) == 1
    decision = told(portfolio, exit_of(side, layer=layer, **exit_))
    if closes:
        assert decision.outcome.status is Status.EXECUTED
        assert len(decision.portfolio.positions) == 0
    else:
        assert (decision.outcome.status, decision.outcome.reason) == (Status.REJECTED, "exit predates position")
        assert decision.events == ()
        assert decision.portfolio is portfolio


def test_a_late_exit_does_not_close_todays_trade_of_the_same_name() -> None:
    portfolio = after(a_portfolio(), a_signal(), exit_of(), a_signal(timestamp=minutes(120)))
    decision = told(portfolio, exit_of(timestamp=minutes(61)), now=minutes(121))
    assert decision.outcome.reason == "exit predates position"


# --- the base gone, its pyramids left -----------------------------------------------------------------------------


@both_sides
def test_closing_the_base_keeps_its_pyramids_and_its_id(side: Side) -> None:
    portfolio = pyramided(side)
    base = portfolio.base_of("BANK_NIFTY")
    assert base is not None
    orphaned = after(portfolio, exit_of(side, price=54000))
    assert [p.layer[-1] for p in orphaned.positions_of("BANK_NIFTY")] == ["2", "3"]
    assert orphaned.base_of("BANK_NIFTY") is None
    assert orphaned.pyramiding_of("BANK_NIFTY").base_position_id == base.position_id


@both_sides
@pytest.mark.parametrize(
    "kind, layer, reason",
    [("PYRAMID", "Long_4", "no base position"), ("BASE_ENTRY", "Long_1", "pyramids still open")],
)
def test_without_its_base_an_instrument_takes_no_entry(side: Side, kind: str, layer: str, reason: str) -> None:
    orphaned = after(pyramided(side), exit_of(side, price=54000))
    entry = mirrored(a_signal(kind, layer=layer, price=56000, stop=55650, timestamp=minutes(90)), side)
    outcome = told(orphaned, entry).outcome
    assert (outcome.status, outcome.reason) == (Status.REJECTED, reason)


@both_sides
def test_without_its_base_pyramids_are_marked_but_trail_no_more_and_their_stops_still_hold(side: Side) -> None:
    orphaned = after(pyramided(side), exit_of(side, price=54000))
    stops = [p.current_stop for p in orphaned.positions_of("BANK_NIFTY")]
    up = mirrored(a_signal("MARKET_DATA", price=60000, atr=100, timestamp=minutes(90)), side)
    marked = after(orphaned, up)
    assert [p.current_stop for p in marked.positions_of("BANK_NIFTY")] == stops
    assert {p.mark_price for p in marked.positions_of("BANK_NIFTY")} == {up.price}
    down = mirrored(a_signal("MARKET_DATA", price=53600, atr=100, timestamp=minutes(105)), side)
    stopped = told(marked, down)
    assert [p.layer[-1] for p in stopped.portfolio.positions_of("BANK_NIFTY")] == ["2"]
    (closed,) = (p for p in stopped.portfolio.closed.values() if p.layer.endswith("3"))
    assert closed.exit_reason == "STOP"


@both_sides
def test_once_its_last_pyramid_is_gone_an_instrument_is_entered_anew(side: Side) -> None:
    orphaned = after(pyramided(side), exit_of(side, price=54000))
    flat = after(orphaned, exit_of(side, layer="ALL", price=54000, timestamp=minutes(70)))
    row = flat.pyramiding_of("BANK_NIFTY")
    assert (row.last_pyramid_price, row.base_position_id) == (None, None)
    again = told(flat, mirrored(a_signal(timestamp=minutes(90)), side))
    assert again.outcome.status is Status.EXECUTED


@both_sides
def test_a_pyramid_is_closed_without_touching_base_or_last_entry(side: Side) -> None:
    portfolio = pyramided(side)
    before = portfolio.pyramiding_of("BANK_NIFTY")
    closed = after(portfolio, exit_of(side, layer="Long_3", price=54000))
    assert closed.pyramiding_of("BANK_NIFTY") == before
    assert [p.layer[-1] for p in closed.positions_of("BANK_NIFTY")] == ["1", "2"]


def test_an_exit_of_a_partly_sold_layer_books_the_rest_of_its_entry_costs() -> None:
    held = a_position(lots=1, entry_lots=3, entry_costs=Decimal("10.0000"), costs=Decimal("6.6667"))
    decision = told(holding(a_portfolio(), held), a_signal("EXIT", "GOLD_MINI", price=72000, timestamp=minutes(60)))
    closed = decision.portfolio.closed[held.position_id]
    assert closed.costs == 10
    assert closed.realized_pnl == Decimal("-3.3333")


def test_no_signal_has_an_unknown_type() -> None:
    assert [str(kind) for kind in SignalType] == ["BASE_ENTRY", "PYRAMID", "EXIT", "MARKET_DATA"]
