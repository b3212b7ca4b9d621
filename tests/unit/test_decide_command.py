"""What an operator may do, and what starts a portfolio or changes its settings."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from core.config import default_settings
from core.decide import Decision, decide, failed
from core.events import CapitalMoved, PortfolioMeasured, PortfolioStarted, SettingsChanged, TradingHalted
from core.inputs import (
    ChangeSettings,
    ClosePositions,
    Freeze,
    Halt,
    MoveCapital,
    Resume,
    SaveRow,
    StartPortfolio,
    StartTerm,
)
from core.models import PortfolioState, PositionStatus, PyramidingState, Side, Status
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


def entered(side: Side = Side.LONG, **settings: Any) -> Portfolio:
    """Two lots of BANK_NIFTY at 52000."""
    return after(a_portfolio(settings_with(**settings)), mirrored(a_signal(), side))


def refusal(decision: Decision, before: Portfolio) -> str | None:
    assert decision.outcome.status is Status.REJECTED
    assert decision.events == ()
    assert decision.portfolio is before
    return decision.outcome.reason


# --- halt and resume ----------------------------------------------------------------------------------------------


def test_a_halt_blocks_entries_until_it_is_resumed() -> None:
    halted = decide(a_portfolio(), Halt(reason="lunch"), NOON)
    assert halted.portfolio.state.halted
    assert halted.events == (TradingHalted(reason="lunch"),)
    assert told(halted.portfolio, a_signal()).outcome.reason == "halted"
    resumed = decide(halted.portfolio, Resume(), NOON).portfolio
    assert not resumed.state.halted
    assert told(resumed, a_signal()).outcome.status is Status.EXECUTED


def test_to_halt_twice_is_no_error() -> None:
    halted = decide(a_portfolio(), Halt(), NOON).portfolio
    again = decide(halted, Halt(), NOON)
    assert again.outcome.status is Status.EXECUTED
    assert again.portfolio.state.halted


def test_to_resume_an_instrument_lifts_its_freeze_only() -> None:
    frozen = failed(with_state(a_portfolio(), halted=True), given(a_signal()), "boom").portfolio
    both = failed(frozen, given(a_signal(instrument="COPPER")), "boom").portfolio
    lifted = decide(both, Resume(instrument="COPPER"), NOON).portfolio
    assert lifted.pyramiding_of("COPPER").frozen_reason is None
    assert lifted.pyramiding_of("BANK_NIFTY").frozen_reason is not None
    assert lifted.state.halted


def test_to_resume_all_does_not_lift_a_freeze() -> None:
    frozen = failed(a_portfolio(), given(a_signal()), "boom").portfolio
    assert decide(frozen, Resume(), NOON).portfolio.pyramiding_of("BANK_NIFTY").frozen_reason is not None


def test_to_resume_what_is_not_frozen_is_rejected() -> None:
    portfolio = a_portfolio()
    decision = decide(portfolio, Resume(instrument="COPPER"), NOON)
    assert refusal(decision, portfolio) == "instrument is not frozen"


@both_sides
def test_a_freeze_keeps_what_pyramids_are_measured_against(side: Side) -> None:
    portfolio = entered(side)
    row = portfolio.pyramiding_of("BANK_NIFTY")
    frozen = failed(portfolio, given(a_signal()), "boom").portfolio
    assert frozen.pyramiding_of("BANK_NIFTY") == replace(
        row, frozen_reason=frozen.pyramiding_of("BANK_NIFTY").frozen_reason
    )
    # The freeze outlives the trade.
    flat = after(frozen, mirrored(a_signal("EXIT", timestamp=minutes(15)), side))
    assert flat.pyramiding_of("BANK_NIFTY").frozen_reason is not None
    assert flat.pyramiding_of("BANK_NIFTY").base_position_id is None


def test_a_command_that_fails_freezes_nothing() -> None:
    portfolio = a_portfolio()
    decision = failed(portfolio, MoveCapital(amount=Decimal(1)), "boom")
    assert (decision.outcome.status, decision.outcome.reason) == (Status.FAILED, "boom")
    assert decision.events == ()
    assert decision.portfolio is portfolio


def test_a_freezes_reason_fits_its_column() -> None:
    frozen = failed(a_portfolio(), given(a_signal()), "boom" * 1000).portfolio
    assert len(frozen.pyramiding_of("BANK_NIFTY").frozen_reason or "") == 500


# --- close --------------------------------------------------------------------------------------------------------


@both_sides
def test_an_operator_closes_a_position_at_its_mark(side: Side) -> None:
    marked = after(entered(side), mirrored(a_signal("MARKET_DATA", price=52400, timestamp=minutes(15)), side))
    (position_id,) = marked.positions
    decision = decide(marked, ClosePositions(position_id=position_id), minutes(20))
    closed = decision.portfolio.closed[position_id]
    assert (closed.exit_price, closed.exit_timestamp) == (52000 + side.sign * 400, minutes(20))
    assert (closed.exit_reason, closed.realized_pnl) == ("OPERATOR", 24_000)
    assert (decision.outcome.position_id, decision.outcome.lots) == (position_id, 2)
    assert decision.portfolio.pyramiding_of("BANK_NIFTY").base_position_id is None


@both_sides
def test_an_operator_closes_a_position_at_a_price(side: Side) -> None:
    portfolio = entered(side)
    (position_id,) = portfolio.positions
    price = Decimal(52000 + side.sign * 500)
    decision = decide(portfolio, ClosePositions(position_id=position_id, price=price, reason="margin call"), minutes(1))
    closed = decision.portfolio.closed[position_id]
    assert (closed.exit_price, closed.realized_pnl, closed.exit_reason) == (price, 30_000, "margin call")


def test_an_operator_closes_everything() -> None:
    portfolio = holding(entered(), a_position())
    decision = decide(portfolio, ClosePositions(position_id="ALL"), minutes(1))
    assert len(decision.portfolio.positions) == 0
    assert decision.outcome.positions == tuple(sorted(portfolio.positions))
    assert (decision.outcome.position_id, decision.outcome.lots) == (None, 4)
    for instrument in ("BANK_NIFTY", "GOLD_MINI"):
        assert decision.portfolio.pyramiding_of(instrument).base_position_id is None


def test_one_price_does_not_close_several_instruments() -> None:
    portfolio = holding(entered(), a_position())
    closing = ClosePositions(position_id="ALL", price=Decimal(52000))
    assert refusal(decide(portfolio, closing, minutes(1)), portfolio)


@pytest.mark.parametrize("price", ["0", "-5"])
def test_a_position_is_not_closed_at_no_price(price: str) -> None:
    portfolio = entered()
    closing = ClosePositions(position_id="ALL", price=Decimal(price))
    assert refusal(decide(portfolio, closing, minutes(1)), portfolio)


@pytest.mark.parametrize("position_id", ["ALL", "nobody"])
def test_to_close_what_is_not_open_is_rejected(position_id: str) -> None:
    portfolio = a_portfolio()
    assert refusal(decide(portfolio, ClosePositions(position_id=position_id), NOON), portfolio) == "no open position"


def test_an_operator_closes_while_halted() -> None:
    portfolio = with_state(entered(), halted=True)
    assert decide(portfolio, ClosePositions(position_id="ALL"), NOON).outcome.status is Status.EXECUTED


# --- capital ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", ["1000000", "-1000000", "0.0001"])
def test_a_flow_moves_closed_equity_and_its_high_alike(amount: str) -> None:
    portfolio = with_state(a_portfolio(), closed_equity=4_700_000, realized_total=-300_000)
    state = decide(portfolio, MoveCapital(amount=Decimal(amount)), NOON).portfolio.state
    assert state.closed_equity == 4_700_000 + Decimal(amount)
    assert state.equity_high == 5_000_000 + Decimal(amount)
    assert state.flows_total == Decimal(amount)
    assert state.realized_total == -300_000
    assert state.closed_equity == state.initial_capital + state.flows_total + state.realized_total


def test_a_flow_is_an_event_with_its_note() -> None:
    events = decide(a_portfolio(), MoveCapital(amount=Decimal(5), note="top up"), NOON).events
    assert events[0] == CapitalMoved(amount=Decimal(5), note="top up")


def test_a_deposit_lowers_the_drawdown_and_a_withdrawal_raises_it() -> None:
    # 4.5 of 5 million is a drawdown of 10 %; 9.5 of 10 million one of 5 %; 1.5 of 2 million one of 25 %.
    portfolio = with_state(a_portfolio(), closed_equity=4_500_000)
    assert told(portfolio, a_signal(er=1)).outcome.reason == "drawdown"
    more = decide(portfolio, MoveCapital(amount=Decimal(5_000_000)), NOON).portfolio
    assert told(more, a_signal(er=1)).outcome.sizing["drawdown_factor"] == Decimal("0.75")
    less = decide(portfolio, MoveCapital(amount=Decimal(-3_000_000)), NOON).portfolio
    assert told(less, a_signal(er=1)).outcome.sizing["drawdown_percent"] == 25


def test_a_flow_measures_the_percentages_anew() -> None:
    state = decide(entered(), MoveCapital(amount=Decimal(5_000_000)), NOON).portfolio.state
    assert state.total_risk_percent == Decimal("0.21")


@pytest.mark.parametrize("amount", ["0", "0.00004", "-0.00005"])
def test_a_flow_of_nothing_is_rejected(amount: str) -> None:
    portfolio = a_portfolio()
    assert refusal(decide(portfolio, MoveCapital(amount=Decimal(amount)), NOON), portfolio) == "amount is 0"


def test_no_more_than_the_closed_equity_is_withdrawn() -> None:
    portfolio = a_portfolio()
    decision = decide(portfolio, MoveCapital(amount=Decimal("-5000000.0001")), NOON)
    assert refusal(decision, portfolio) == "withdrawal exceeds closed equity"
    assert decision.outcome.sizing == {"closed_equity": 5_000_000}
    emptied = decide(portfolio, MoveCapital(amount=Decimal(-5_000_000)), NOON).portfolio
    assert told(emptied, a_signal()).outcome.reason == "equity"


def test_a_deposit_is_taken_however_deep_the_loss() -> None:
    portfolio = with_state(a_portfolio(), closed_equity=-1_000_000, realized_total=-6_000_000)
    decision = decide(portfolio, MoveCapital(amount=Decimal(500_000)), NOON)
    assert decision.outcome.status is Status.EXECUTED
    assert decision.portfolio.state.closed_equity == -500_000


def test_a_flow_that_does_not_fit_the_columns_is_rejected() -> None:
    portfolio = a_portfolio()
    refusal(decide(portfolio, MoveCapital(amount=Decimal(10) ** 16 - 1), NOON), portfolio)


# --- start, settings, term ----------------------------------------------------------------------------------------


def test_a_portfolio_starts_with_its_capital() -> None:
    zero = Decimal(0)
    empty = Portfolio(
        name="main",
        settings=default_settings(),
        state=PortfolioState(initial_capital=zero, closed_equity=zero, equity_high=zero),
    )
    decision = decide(empty, StartPortfolio(initial_capital=Decimal("5000000.00005")), NOON)
    state = decision.portfolio.state
    assert decision.events == (PortfolioStarted(initial_capital=Decimal(5_000_000)),)
    assert state.initial_capital == state.closed_equity == state.equity_high == 5_000_000
    assert (state.realized_total, state.flows_total, state.version, state.halted) == (0, 0, 1, False)


def test_a_started_portfolio_is_not_started_again() -> None:
    portfolio = entered()
    decision = decide(portfolio, StartPortfolio(initial_capital=Decimal(1)), NOON)
    assert decision.outcome.status is Status.REJECTED


def test_other_settings_decide_from_here_on_and_margin_follows() -> None:
    portfolio = entered()
    changed = settings_with(instruments={"BANK_NIFTY": {"margin_per_lot": 300_000}}, limits={"margin_percent": "12"})
    decision = decide(portfolio, ChangeSettings(settings=changed.model_dump(mode="json")), NOON)
    assert [type(event) for event in decision.events] == [SettingsChanged, PortfolioMeasured]
    assert decision.portfolio.settings == changed
    assert decision.portfolio.state.margin_used == decision.portfolio.totals.margin == 600_000
    gold = a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=10, er=1)
    assert told(decision.portfolio, gold).outcome.limiter == "margin"


def test_other_sizing_equity_changes_the_percentage() -> None:
    portfolio = with_state(entered(), equity_high=10_000_000)
    changed = settings_with(sizing={"equity": "high_water"})
    decision = decide(portfolio, ChangeSettings(settings=changed.model_dump(mode="json")), NOON)
    assert decision.portfolio.state.total_risk_percent == Decimal("0.21")


def test_an_instrument_taken_out_of_the_settings_needs_no_margin() -> None:
    changed = settings_with().model_dump(mode="json")
    del changed["instruments"]["BANK_NIFTY"]
    decision = decide(entered(), ChangeSettings(settings=changed), NOON)
    assert decision.portfolio.state.margin_used == 0


def test_a_term_changes_nothing() -> None:
    portfolio = entered()
    decision = decide(portfolio, StartTerm(term=7, instance_id="b2c1"), NOON)
    assert (decision.outcome.status, decision.events) == (Status.EXECUTED, ())
    assert decision.portfolio is portfolio


# --- rows written by hand -----------------------------------------------------------------------------------------


def test_a_position_saved_by_hand_is_kept_whole_one_version_on() -> None:
    position = a_position(version=4)
    decision = decide(a_portfolio(), SaveRow(position=position), NOON)
    assert decision.portfolio.positions[position.position_id] == replace(position, version=5)
    assert decision.outcome.status is Status.EXECUTED


def test_a_position_saved_as_closed_is_no_longer_open() -> None:
    portfolio = holding(a_portfolio(), a_position())
    closed = a_position(lots=0, status=PositionStatus.CLOSED)
    decision = decide(portfolio, SaveRow(position=closed), NOON)
    assert len(decision.portfolio.positions) == 0
    assert closed.position_id in decision.portfolio.closed


def test_the_state_saved_by_hand_is_kept_whole_one_version_on() -> None:
    portfolio = a_portfolio()
    state = replace(portfolio.state, closed_equity=Decimal(7), version=9)
    assert decide(portfolio, SaveRow(state=state), NOON).portfolio.state == replace(state, version=10)


def test_a_pyramiding_row_saved_by_hand_is_kept_whole() -> None:
    row = PyramidingState(instrument="COPPER", last_pyramid_price=Decimal(830), frozen_reason="by hand")
    assert decide(a_portfolio(), SaveRow(pyramiding=row), NOON).portfolio.pyramiding_of("COPPER") == row


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity", "1e16", "-1e17"])
def test_an_amount_that_no_column_holds_is_rejected(amount: str) -> None:
    decision = decide(a_portfolio(), MoveCapital(amount=Decimal(amount)), NOON)
    assert (decision.outcome.reason, decision.events) == ("amount is out of range", ())


@pytest.mark.parametrize("capital", [0, -1])
def test_a_portfolio_is_not_started_on_nothing(capital: int) -> None:
    empty = Portfolio(
        name="main",
        settings=a_portfolio().settings,
        state=PortfolioState(initial_capital=Decimal(0), closed_equity=Decimal(0), equity_high=Decimal(0)),
    )
    decision = decide(empty, StartPortfolio(initial_capital=Decimal(capital)), NOON)
    assert (decision.outcome.reason, decision.events) == ("capital is not above 0", ())


def test_one_instrument_is_frozen_once_and_resumed() -> None:
    frozen = decide(a_portfolio(), Freeze(instrument="GOLD_MINI", reason="delivery"), NOON)
    assert frozen.outcome.status is Status.EXECUTED
    assert frozen.portfolio.pyramiding_of("GOLD_MINI").frozen_reason == "delivery"
    again = decide(frozen.portfolio, Freeze(instrument="GOLD_MINI"), NOON)
    assert (again.outcome.status, again.outcome.reason) == (Status.REJECTED, "instrument is frozen already")
    resumed = decide(frozen.portfolio, Resume(instrument="GOLD_MINI"), NOON)
    assert resumed.portfolio.pyramiding_of("GOLD_MINI").frozen_reason is None
