"""evolve: the only way that state changes, live, in recovery, in `verify` and in replay. It assigns and adds, no more."""

from collections.abc import Sequence
from typing import assert_never

from msgspec.structs import replace

from core.events import (
    AlertSeen,
    BarKept,
    CapitalMoved,
    ContractsSet,
    DifferenceAccepted,
    EntriesFrozen,
    EntriesUnfrozen,
    Event,
    OrderCancelAsked,
    OrderChange,
    OrderIntended,
    OrderMoved,
    OrderReported,
    OrderSent,
    OrderTryEnded,
    PortfolioMeasured,
    PortfolioStarted,
    PositionExited,
    PositionIncreased,
    PositionMarked,
    PositionOpened,
    PositionRolled,
    PositionSaved,
    ProposalDecided,
    ProposalMade,
    PyramidingChanged,
    PyramidingSaved,
    RecoveryNoted,
    RolloverMarked,
    SettingsChanged,
    StateSaved,
    TradingHalted,
    TradingResumed,
)
from core.listed_contracts import contracts_from
from core.models import (
    PortfolioState,
    Position,
    PositionStatus,
    PyramidingState,
    Statistics,
    at_version,
    changed,
    marked,
)
from core.numbers import ZERO, exactly
from core.orders import Order, OrderState
from core.portfolio import Portfolio
from core.proposals import Proposal
from core.rollover import rolled
from core.settings import Settings

_PyramidingEvent = (
    PyramidingChanged | EntriesFrozen | EntriesUnfrozen | DifferenceAccepted | AlertSeen | BarKept | PyramidingSaved
)


@exactly
def evolve(portfolio: Portfolio, event: Event) -> Portfolio:
    """The portfolio after `event`. Each row that it touches rises by one version."""
    # What comes most comes first: they are asked in this order.
    match event:
        case PositionOpened() | PositionMarked() | PositionExited() | PositionIncreased() | PositionSaved():
            return _evolve_position(portfolio, event)
        case (
            PortfolioMeasured()
            | PortfolioStarted()
            | CapitalMoved()
            | TradingHalted()
            | TradingResumed()
            | StateSaved()
        ):
            return replace(portfolio, state=_evolve_state(portfolio.state, event))
        case (
            PyramidingChanged()
            | EntriesFrozen()
            | EntriesUnfrozen()
            | DifferenceAccepted()
            | AlertSeen()
            | BarKept()
            | PyramidingSaved()
        ):
            row = _evolve_pyramiding(portfolio.pyramiding_of(_instrument_of(event)), event)
            return replace(portfolio, pyramiding=portfolio.pyramiding.set(row.instrument, row))
        case RolloverMarked() | PositionRolled():
            return _evolve_roll(portfolio, event)
        case OrderIntended() | OrderReported() | OrderSent() | OrderTryEnded() | OrderMoved() | OrderCancelAsked():
            return portfolio.with_order(_evolve_order(portfolio, event))
        case ProposalMade() | ProposalDecided():
            return portfolio.with_proposal(_evolve_proposal(portfolio, event))
        case SettingsChanged() | ContractsSet() | RecoveryNoted():
            return _evolve_basis(portfolio, event)
        case _:
            assert_never(event)


@exactly
def evolve_marks(portfolio: Portfolio, marks: Sequence[PositionMarked]) -> Portfolio:
    """The portfolio after all of these, each of another position: as `evolve` by one after the other leaves it."""
    return portfolio.with_marked([marked(portfolio.positions[mark.position_id], mark) for mark in marks])


def _evolve_basis(portfolio: Portfolio, event: SettingsChanged | ContractsSet | RecoveryNoted) -> Portfolio:
    """What later inputs are decided on."""
    match event:
        case SettingsChanged():
            return portfolio.with_settings(Settings.model_validate(event.settings))
        case ContractsSet():
            return portfolio.with_contracts(contracts_from(event.contracts))
        case RecoveryNoted():
            return replace(portfolio, recovered_at=event.at)
        case _:
            assert_never(event)


def _evolve_position(
    portfolio: Portfolio,
    event: PositionOpened | PositionMarked | PositionExited | PositionIncreased | PositionSaved,
) -> Portfolio:
    match event:
        case PositionOpened() | PositionSaved():
            return portfolio.with_position(at_version(event.position, event.position.version + 1))
        case PositionMarked():
            return portfolio.with_position(marked(portfolio.positions[event.position_id], event))
        case PositionIncreased():
            return portfolio.with_position(_increased(portfolio.positions[event.position_id], event))
        case PositionExited():
            position = _exited(portfolio.positions[event.position_id], event)
            return replace(portfolio.with_position(position), state=_realized(portfolio.state, position, event))
        case _:
            assert_never(event)


def _evolve_roll(portfolio: Portfolio, event: RolloverMarked | PositionRolled) -> Portfolio:
    position = portfolio.positions[event.position_id]
    version = position.version + 1
    match event:
        case RolloverMarked():
            return portfolio.with_position(changed(position, rollover_status=event.status, version=version))
        case PositionRolled():
            state = portfolio.state
            costs = event.fields.costs - position.costs
            far = replace(
                rolled(position, event.fields),
                futures_symbol=event.futures_symbol,
                ce_symbol=event.ce_symbol,
                pe_symbol=event.pe_symbol,
                version=version,
            )
            earned = changed(
                state,
                closed_equity=state.closed_equity + event.pnl,
                realized_total=state.realized_total + event.pnl,
                statistics=changed(state.statistics, costs=state.statistics.costs + costs),
                version=state.version + 1,
            )
            return replace(portfolio.with_position(far), state=earned)
        case _:
            assert_never(event)


def _increased(position: Position, event: PositionIncreased) -> Position:
    return changed(
        position,
        entry_price=event.entry_price,
        entry_lots=event.entry_lots,
        entry_costs=event.entry_costs,
        status=event.status,
        lots=event.lots,
        quantity=event.quantity,
        unrealized_pnl=event.unrealized_pnl,
        risk_contribution=event.risk_contribution,
        vol_contribution=event.vol_contribution,
        version=position.version + 1,
    )


def _evolve_order(portfolio: Portfolio, event: OrderIntended | OrderChange) -> Order:
    if isinstance(event, OrderIntended):
        return replace(event.order, version=event.order.version + 1)
    order = portfolio.orders[event.client_order_id]
    version = order.version + 1
    match event:
        case OrderCancelAsked():
            return replace(order, cancel_asked=True, reason=event.reason, version=version)
        case OrderTryEnded():
            return replace(order, try_over=True, version=version)
        case OrderMoved():
            return replace(order, lots=event.lots, trigger_price=event.trigger_price, version=version)
        case OrderSent():
            return replace(
                order,
                state=OrderState.SENT,
                lots=event.lots,
                order_type=event.order_type,
                limit_price=event.limit_price,
                sent_at=event.sent_at,
                risk_reserved=event.risk_reserved,
                vol_reserved=event.vol_reserved,
                version=version,
            )
        case OrderReported():
            return replace(
                order,
                state=event.state,
                broker_order_id=event.broker_order_id,
                message=event.message,
                filled_lots=event.filled_lots,
                average_price=event.average_price,
                fill_ids=order.fill_ids + event.fill_ids,
                risk_reserved=event.risk_reserved,
                vol_reserved=event.vol_reserved,
                settled=event.settled,
                version=version,
            )
        case _:
            assert_never(event)


def _evolve_proposal(portfolio: Portfolio, event: ProposalMade | ProposalDecided) -> Proposal:
    if isinstance(event, ProposalMade):
        return replace(event.proposal, version=event.proposal.version + 1)
    (proposal,) = (p for p in portfolio.proposals_of(event.instrument) if p.proposal_id == event.proposal_id)
    return replace(
        proposal,
        state=event.state,
        decided_at=event.decided_at,
        decided_by=event.decided_by,
        note=event.note,
        decided_lots=event.lots,
        decided_price=event.price,
        version=proposal.version + 1,
    )


def _exited(position: Position, event: PositionExited) -> Position:
    return changed(
        position,
        status=event.status,
        lots=event.lots,
        quantity=event.quantity,
        mark_price=event.fill_price,
        unrealized_pnl=event.unrealized_pnl,
        realized_pnl=position.realized_pnl + event.pnl,
        costs=position.costs + event.costs,
        exit_timestamp=event.exit_timestamp,
        exit_price=event.exit_price,
        exit_reason=event.exit_reason,
        risk_contribution=event.risk_contribution,
        vol_contribution=event.vol_contribution,
        version=position.version + 1,
    )


def _realized(state: PortfolioState, position: Position, event: PositionExited) -> PortfolioState:
    return changed(
        state,
        closed_equity=state.closed_equity + event.pnl,
        realized_total=state.realized_total + event.pnl,
        statistics=_counted(state.statistics, position, event),
        version=state.version + 1,
    )


def _counted(statistics: Statistics, position: Position, event: PositionExited) -> Statistics:
    costs = statistics.costs + event.costs
    if event.status is not PositionStatus.CLOSED:
        return changed(statistics, costs=costs)
    earned = position.realized_pnl
    return Statistics(
        trades_closed=statistics.trades_closed + 1,
        trades_won=statistics.trades_won + (earned > 0),
        gross_profit=statistics.gross_profit + max(ZERO, earned),
        gross_loss=statistics.gross_loss - min(ZERO, earned),
        costs=costs,
    )


def _instrument_of(event: _PyramidingEvent) -> str:
    return event.pyramiding.instrument if isinstance(event, PyramidingSaved) else event.instrument


def _evolve_pyramiding(row: PyramidingState, event: _PyramidingEvent) -> PyramidingState:
    match event:
        case PyramidingChanged():
            return changed(row, last_pyramid_price=event.last_pyramid_price, base_position_id=event.base_position_id)
        case EntriesFrozen():
            return changed(row, frozen_reason=event.reason)
        case EntriesUnfrozen():
            return changed(row, frozen_reason=None)
        case DifferenceAccepted():
            return changed(row, accepted_difference=event.difference)
        case AlertSeen():
            return changed(row, last_alert_seq=event.seq)
        case BarKept():
            return changed(row, last_bar_atr=event.atr, last_bar_time=event.time)
        case PyramidingSaved():
            return event.pyramiding
        case _:
            assert_never(event)


def _evolve_state(
    state: PortfolioState,
    event: PortfolioStarted | CapitalMoved | TradingHalted | TradingResumed | PortfolioMeasured | StateSaved,
) -> PortfolioState:
    version = state.version + 1
    match event:
        case PortfolioStarted():
            capital = event.initial_capital
            return PortfolioState(initial_capital=capital, closed_equity=capital, equity_high=capital, version=version)
        case CapitalMoved():
            return changed(
                state,
                closed_equity=state.closed_equity + event.amount,
                equity_high=state.equity_high + event.amount,
                flows_total=state.flows_total + event.amount,
                version=version,
            )
        case TradingHalted():
            return changed(state, halted=True, version=version)
        case TradingResumed():
            return changed(state, halted=False, version=version)
        case PortfolioMeasured():
            return changed(
                state,
                equity_high=event.equity_high,
                total_risk_amount=event.total_risk_amount,
                total_risk_percent=event.total_risk_percent,
                total_vol_amount=event.total_vol_amount,
                margin_used=event.margin_used,
                version=version,
            )
        case StateSaved():
            return replace(event.state, version=event.state.version + 1)
        case _:
            assert_never(event)
