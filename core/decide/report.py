"""What a broker tells of an order: its state moves on, and each new fill becomes (a part of) a position or of its exit."""

import hashlib
from decimal import Decimal

from msgspec.structs import replace

from core.decide.decision import Decision, Draft, Outcome, rejected
from core.decide.exit import book_exit, clear_if_flat, sell
from core.decide.follow import IN_DOUBT, follow, share_left
from core.decide.legs import pair_price
from core.decide.orders import cancel_entries
from core.events import (
    EntriesFrozen,
    EntriesUnfrozen,
    OrderMoved,
    OrderReported,
    PositionIncreased,
    PositionOpened,
    PyramidingChanged,
)
from core.fills import average_price, gross_pnl, risk_amount, side_costs, volatility_amount
from core.fingerprint import position_id_of
from core.inputs import OrderReport
from core.models import Position, Status, status_of
from core.numbers import price, product
from core.orders import FINAL, LEGAL_AFTER, EntryPlan, Fill, Order, OrderPurpose, OrderState
from core.portfolio import Portfolio

NO_SUCH_ORDER = "no such order, or it is settled"
NOTHING_NEW = "nothing new"
TOO_MANY_FILLS = "fills exceed the order"
UNDONE = "UNDONE"


def decide_report(portfolio: Portfolio, given: OrderReport) -> Decision:
    """Take what is new of a report. Told again, or out of order, it changes nothing; quantities come from fills only."""
    order = portfolio.orders.get(given.client_order_id)
    if order is None:
        return rejected(portfolio, NO_SUCH_ORDER)
    fills = _new_fills(order, given.fills)
    filled = order.filled_lots + sum(fill.lots for fill in fills)
    if order.purpose is OrderPurpose.STOP:
        order = replace(order, lots=_large(order, given, filled))
    if filled > order.lots or _sells_more_than_is_there(portfolio, order, fills):
        return _frozen(portfolio, order, TOO_MANY_FILLS)
    after = _reported(order, given, fills, filled)
    if not fills and order == after:
        return rejected(portfolio, NOTHING_NEW)
    return _taken(portfolio, order, after, fills)


def _large(stop: Order, given: OrderReport, filled: int) -> int:
    """How many lots a stop is of: what it sold while it was larger at the broker counts, and what it was smaller is no part."""
    done = given.state is OrderState.FILLED and filled > 0
    return filled if done else max(stop.lots, filled)


def _taken(portfolio: Portfolio, order: Order, after: Order, fills: list[Fill]) -> Decision:
    draft = Draft(portfolio)
    if order.lots != portfolio.orders[order.client_order_id].lots:
        draft.apply(
            OrderMoved(client_order_id=order.client_order_id, lots=order.lots, trigger_price=order.trigger_price)
        )
    draft.apply(
        OrderReported(
            client_order_id=order.client_order_id,
            state=after.state,
            broker_order_id=after.broker_order_id,
            message=after.message,
            filled_lots=after.filled_lots,
            average_price=after.average_price,
            fill_ids=tuple(fill.fill_id for fill in fills),
            risk_reserved=after.risk_reserved,
            vol_reserved=after.vol_reserved,
            settled=after.settled,
        )
    )
    booked = _apart(portfolio, after, order.filled_lots) if _was_closed_meanwhile(portfolio, order) else after
    for fill in fills:
        _book(draft, booked, fill)
    if after.settled and not order.settled:
        follow(draft, order, after)
    was_there = order.sent_at is not None and not order.has_ended
    over = after.settled and after.state is OrderState.CANCELLED and was_there and not fills
    if over and order.purpose is OrderPurpose.STOP:
        draft.expose(order.instrument)  # somebody has looked, or another day has begun: it is not there any more
    clear_if_flat(draft, order.instrument)
    _doubt(draft, order, after)
    return draft.executed(position_id=booked.position_id, lots=sum(fill.lots for fill in fills))


def _new_fills(order: Order, fills: tuple[Fill, ...]) -> list[Fill]:
    new: dict[str, Fill] = {}
    for fill in fills:
        if fill.fill_id not in order.fill_ids:
            new.setdefault(fill.fill_id, fill)
    return list(new.values())


def _sells_more_than_is_there(portfolio: Portfolio, order: Order, fills: list[Fill]) -> bool:
    if order.purpose not in (OrderPurpose.EXIT, OrderPurpose.STOP) or order.is_first_leg or not fills:
        return False
    position = portfolio.positions.get(order.position_id)
    return position is None or sum(fill.lots for fill in fills) > position.lots


def _was_closed_meanwhile(portfolio: Portfolio, order: Order) -> bool:
    """Whether the position that an entry's earlier fills made is closed: it is not opened again."""
    is_entry = order.purpose is OrderPurpose.ENTRY and not order.is_first_leg
    filled = order.filled_lots + order.filled_before
    return is_entry and filled > 0 and order.position_id not in portfolio.positions


def _apart(portfolio: Portfolio, order: Order, filled_before: int) -> Order:
    """The order as that of a position of its own: what came too late is held all the same, and sold if nobody wants it.

    What comes later still is another one, since this one may be closed by then.
    """
    assert order.plan is not None  # noqa: S101 - an entry has a plan
    identity = hashlib.sha256(f"{order.client_order_id}:{filled_before}".encode()).hexdigest()
    is_base = order.plan.is_base_position and portfolio.base_of(order.instrument) is None
    return replace(
        order,
        position_id=position_id_of(order.instrument, order.layer, identity),
        plan=replace(order.plan, is_base_position=is_base),
    )


def _reported(order: Order, given: OrderReport, fills: list[Fill], filled: int) -> Order:
    state = _state_after(order, given.state, filled)
    average, lots = order.average_price, order.filled_lots
    for fill in fills:
        average, lots = average_price(average, lots, fill.price, fill.lots), lots + fill.lots
    after = replace(
        order,
        state=state,
        broker_order_id=given.broker_order_id or order.broker_order_id,
        message=given.message or order.message,
        filled_lots=filled,
        average_price=average,
        settled=order.settled or (given.settled and state in FINAL),
    )
    return replace(
        after,
        risk_reserved=share_left(order.risk_reserved, after.lots_left, order.lots_left),
        vol_reserved=share_left(order.vol_reserved, after.lots_left, order.lots_left),
    )


def _state_after(order: Order, told: OrderState | None, filled: int) -> OrderState:
    """The state by what is told and by the fills; what is told too late (`working` of a filled order) counts for nothing."""
    if filled == order.lots:
        return OrderState.FILLED
    if told is OrderState.INTENT:
        # The broker was not reached: only of an order that nobody has seen there.
        if order.state is OrderState.SENT and order.broker_order_id is None and not filled:
            return OrderState.INTENT
        told = None
    state = order.state if told is None or told is OrderState.FILLED else told
    if state is not order.state and state not in LEGAL_AFTER[order.state]:
        state = order.state
    waits = state in (OrderState.INTENT, OrderState.SENT, OrderState.WORKING)
    return OrderState.PARTIAL if filled and waits else state


def _book(draft: Draft, order: Order, fill: Fill) -> None:
    if order.is_first_leg or order.purpose in (OrderPurpose.ROLL_OUT, OrderPurpose.ROLL_IN):
        return  # it counts once the rest of it is there
    position = draft.portfolio.positions.get(order.position_id)
    if order.purpose is OrderPurpose.UNDO:
        _undone(draft, order, fill)
        return
    if order.leg is not None:
        fill = replace(fill, price=pair_price(order, fill.price))
    if order.purpose is not OrderPurpose.ENTRY:
        assert position is not None  # noqa: S101 - held by _sells_more_than_is_there
        reason = order.reason or "EXIT"
        book_exit(draft, position, fill.lots, fill.price, fill.filled_at, reason)
        if order.position_id not in draft.portfolio.positions:
            # What of it is still being entered has no position any more to be a part of.
            cancel_entries(draft, order.instrument, {order.position_id}, reason)
        return
    _enter(draft, order, fill)
    if order.cancel_asked:
        # Filled although it was no longer wanted: what came is sold again.
        sell(
            draft,
            draft.portfolio.positions[order.position_id],
            fill.lots,
            fill.price,
            fill.filled_at,
            order.reason or "EXIT",
        )


def _undone(draft: Draft, order: Order, fill: Fill) -> None:
    """What was bought for the first leg is sold again: a trade of its own that earned the difference.

    It is no part of the pairs that the entry came to, which may be closed by now, and no pyramid is measured from it.
    """
    assert order.leg_price is not None  # noqa: S101 - it says what was paid
    assert order.plan is not None  # noqa: S101 - what is undone was to be an entry
    entered = order.reference_price
    left = price(entered + order.side.sign * (fill.price - order.leg_price))
    identity = hashlib.sha256(f"{order.client_order_id}:{fill.fill_id}".encode()).hexdigest()
    trade = replace(order, position_id=position_id_of(order.instrument, order.layer, identity))
    position = _position(draft.portfolio, trade, order.plan, replace(fill, price=entered))
    draft.apply(PositionOpened(position=position))
    book_exit(draft, draft.portfolio.positions[position.position_id], fill.lots, left, fill.filled_at, UNDONE)


def _enter(draft: Draft, order: Order, fill: Fill) -> None:
    assert order.plan is not None  # noqa: S101 - an entry has a plan
    position = draft.portfolio.positions.get(order.position_id)
    if position is None:
        _open(draft, order, order.plan, fill)
    else:
        _increase(draft, position, fill)


def _open(draft: Draft, order: Order, plan: EntryPlan, fill: Fill) -> None:
    position = _position(draft.portfolio, order, plan, fill)
    draft.apply(PositionOpened(position=position))
    _measured_from(draft, position)


def _position(portfolio: Portfolio, order: Order, plan: EntryPlan, fill: Fill) -> Position:
    return Position(
        position_id=order.position_id,
        instrument=order.instrument,
        layer=order.layer,
        side=order.side,
        entry_timestamp=plan.entry_timestamp,
        entry_bar_time=plan.entry_bar_time,
        entry_price=fill.price,
        entry_lots=fill.lots,
        entry_costs=_costs(portfolio, order.instrument, fill, order.point_value),
        lots=fill.lots,
        quantity=price(product(order.lot_size, fill.lots)),
        lot_size=order.lot_size,
        point_value=order.point_value,
        initial_stop=plan.stop,
        current_stop=plan.stop,
        highest_close=fill.price,
        atr=plan.atr,
        mark_price=fill.price,
        mark_time=plan.mark_time,
        limiter=plan.limiter,
        risk_contribution=risk_amount(order.side, fill.price, plan.stop, fill.lots, order.point_value),
        vol_contribution=volatility_amount(plan.atr, fill.lots, order.point_value),
        is_base_position=plan.is_base_position,
        expiry=plan.expiry,
        contract_month=plan.contract_month,
        futures_symbol=order.symbol if order.leg is None else None,
        strike=plan.strike,
        ce_symbol=plan.ce_symbol,
        pe_symbol=plan.pe_symbol,
    )


def _increase(draft: Draft, position: Position, fill: Fill) -> None:
    entry_lots, lots = position.entry_lots + fill.lots, position.lots + fill.lots
    # Of what is open: what was sold before was booked at the price that it had then.
    entry = average_price(position.entry_price, position.lots, fill.price, fill.lots)
    side, value = position.side, position.point_value
    draft.apply(
        PositionIncreased(
            position_id=position.position_id,
            entry_price=entry,
            entry_lots=entry_lots,
            entry_costs=position.entry_costs + _costs(draft.portfolio, position.instrument, fill, value),
            status=status_of(lots, entry_lots),
            lots=lots,
            quantity=price(product(position.lot_size, lots)),
            unrealized_pnl=gross_pnl(side, entry, position.mark_price, lots, value),
            risk_contribution=risk_amount(side, entry, position.current_stop, lots, value),
            vol_contribution=volatility_amount(position.atr, lots, value),
        )
    )
    _measured_from(draft, draft.portfolio.positions[position.position_id])


def _measured_from(draft: Draft, position: Position) -> None:
    row = draft.portfolio.pyramiding_of(position.instrument)
    base_id = position.position_id if position.is_base_position else row.base_position_id
    if (row.last_pyramid_price, row.base_position_id) != (position.entry_price, base_id):
        draft.apply(
            PyramidingChanged(
                instrument=position.instrument, last_pyramid_price=position.entry_price, base_position_id=base_id
            )
        )


def _costs(portfolio: Portfolio, instrument: str, fill: Fill, point_value: Decimal) -> Decimal:
    settings = portfolio.settings
    costs = settings.costs_of(instrument) if instrument in settings.instruments else settings.paper.costs
    return side_costs(costs, fill.price, fill.lots, point_value)


def _doubt(draft: Draft, before: Order, after: Order) -> None:
    """While nobody knows what became of an order, nothing is added to its instrument."""
    frozen = draft.portfolio.pyramiding_of(after.instrument).frozen_reason
    if after.state is OrderState.IN_DOUBT and frozen is None:
        draft.apply(EntriesFrozen(instrument=after.instrument, reason=f"order {after.client_order_id} {IN_DOUBT}"))
    resolved = before.state is OrderState.IN_DOUBT and after.state is not OrderState.IN_DOUBT
    others = any(order.state is OrderState.IN_DOUBT for order in draft.portfolio.orders_of(after.instrument))
    if resolved and not others and frozen is not None and frozen.endswith(IN_DOUBT):
        draft.apply(EntriesUnfrozen(instrument=after.instrument))


def _frozen(portfolio: Portfolio, order: Order, reason: str) -> Decision:
    draft = Draft(portfolio)
    if portfolio.pyramiding_of(order.instrument).frozen_reason is None:
        draft.apply(EntriesFrozen(instrument=order.instrument, reason=f"order {order.client_order_id}: {reason}"))
    decision = draft.executed()
    return replace(decision, outcome=Outcome(status=Status.REJECTED, reason=reason, position_id=order.position_id))
