"""Exits: one layer or all of them, whole; and the selling of lots that stops, peel-off and operators share."""

from datetime import datetime
from decimal import Decimal

from core.decide.decision import Decision, Draft, rejected
from core.decide.orders import by_broker, cancel_entries, intend_exit
from core.events import PositionExited, PyramidingChanged
from core.fills import average_price, entry_costs_due, gross_pnl, paper_fill, risk_amount, side_costs, volatility_amount
from core.models import ALL_LAYERS, Position, Signal, status_of
from core.numbers import price, product
from core.orders import EntryPlan
from core.portfolio import Portfolio

NO_OPEN_POSITION = "no open position"
EXIT_PREDATES = "exit predates position"
EXIT_WORKING = "exit already working"


def decide_exit(portfolio: Portfolio, signal: Signal) -> Decision:
    """Close what was entered before this EXIT: its layer, or every layer; and end what of it is still being entered."""
    named = [p for p in portfolio.positions_of(signal.instrument) if signal.layer in (ALL_LAYERS, p.layer)]
    working = [o for o in portfolio.working_entries_of(signal.instrument) if signal.layer in (ALL_LAYERS, o.layer)]
    if not named and not working:
        return rejected(portfolio, NO_OPEN_POSITION)
    intrabar = portfolio.settings.timing.intrabar_exits
    older = [p for p in named if entered_before(p.entry_timestamp, p.entry_bar_time, signal, intrabar=intrabar)]
    unwanted = {o.position_id for o in working if o.plan and _planned_before(o.plan, signal, intrabar=intrabar)}
    if not older and not unwanted:
        return rejected(portfolio, EXIT_PREDATES)
    closing = [position for position in older if portfolio.lots_leaving(position) < position.lots]
    selling = {position.position_id: _lots_to_sell(portfolio, signal, position) for position in closing}
    if any(selling[position.position_id] > position.lots for position in closing):
        return rejected(portfolio, "lots exceed position")
    draft, reason = Draft(portfolio), signal.reason or "EXIT"
    cancel_entries(draft, signal.instrument, unwanted, reason)
    for position in closing:
        sell(draft, position, selling[position.position_id], signal.price, signal.time, reason)
    if not draft.has_events:
        return rejected(portfolio, EXIT_WORKING)
    clear_if_flat(draft, signal.instrument)
    one = next(iter(selling), None) if signal.layer != ALL_LAYERS else None
    return draft.answered(position_id=one, positions=tuple(selling), lots=sum(selling.values()))


def _lots_to_sell(portfolio: Portfolio, signal: Signal, position: Position) -> int:
    # An alert's lots are a suggestion; only a list of trades sells a part of a layer.
    listed = portfolio.settings.sizing.mode == "as_listed" and signal.layer != ALL_LAYERS
    return signal.lots if listed and signal.lots else position.lots


def sell(draft: Draft, position: Position, lots: int, reference: Decimal, time: datetime, reason: str) -> None:
    """Sell `lots` of an open position, on paper near `reference`, or have a broker sell what of them no order sells yet."""
    if by_broker(draft.portfolio):
        intend_exit(draft, position, lots, reference, reason)
        return
    slippage = draft.portfolio.settings.paper.slippage_percent
    book_exit(draft, position, lots, paper_fill(position.side, reference, slippage, entering=False), time, reason)


def book_exit(draft: Draft, position: Position, lots: int, fill: Decimal, time: datetime, reason: str) -> None:
    """Lots of an open position were sold at `fill`; all of them: it is closed."""
    settings = draft.portfolio.settings
    sold_before, left = position.entry_lots - position.lots, position.lots - lots
    # An instrument taken out of the configuration can still be sold; its own costs went with it.
    known = position.instrument in settings.instruments
    exit_costs = side_costs(
        settings.costs_of(position.instrument) if known else settings.paper.costs, fill, lots, position.point_value
    )
    costs = exit_costs + entry_costs_due(position.entry_costs, position.entry_lots, sold_before, lots)
    draft.apply(
        PositionExited(
            position_id=position.position_id,
            lots_sold=lots,
            fill_price=fill,
            pnl=gross_pnl(position.side, position.entry_price, fill, lots, position.point_value) - costs,
            costs=costs,
            status=status_of(left, position.entry_lots),
            lots=left,
            quantity=price(product(position.lot_size, left)),
            exit_timestamp=time,
            exit_price=average_price(position.exit_price, sold_before, fill, lots),
            exit_reason=reason,
            unrealized_pnl=gross_pnl(position.side, position.entry_price, fill, left, position.point_value),
            risk_contribution=risk_amount(
                position.side, position.entry_price, position.current_stop, left, position.point_value
            ),
            vol_contribution=volatility_amount(position.atr, left, position.point_value),
        )
    )


def clear_if_flat(draft: Draft, instrument: str) -> None:
    """Once an instrument is flat, its next trade is measured against nothing of this one."""
    row = draft.portfolio.pyramiding_of(instrument)
    if draft.portfolio.positions_of(instrument) or (row.last_pyramid_price is None and row.base_position_id is None):
        return
    draft.apply(PyramidingChanged(instrument=instrument, last_pyramid_price=None, base_position_id=None))


def _planned_before(plan: EntryPlan, signal: Signal, *, intrabar: bool) -> bool:
    return entered_before(plan.entry_timestamp, plan.entry_bar_time, signal, intrabar=intrabar)


def entered_before(entered: datetime, bar_time: datetime | None, signal: Signal, *, intrabar: bool) -> bool:
    """Whether what was entered then is what this signal speaks of, and not a later trade of the same name."""
    if bar_time is not None and signal.bar_time is not None:
        return bar_time <= signal.bar_time if intrabar else bar_time < signal.bar_time
    return entered <= signal.time
