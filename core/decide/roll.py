"""Rollover as a saga of orders: out of the near contract, into the far one, and only then the position is rolled.

Every step is kept before it is taken: the orders are, and what they were filled. Until the last fill is there the position
stays as it was; what cannot be completed is what the fills say it is: lots that were left and not entered again are sold.
"""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from core.contract_rules import BeyondRules, Contract, next_contract
from core.decide.contract import traded_pair
from core.decide.decision import Decision, Draft, rejected
from core.decide.exit import book_exit
from core.decide.leaving import leaving_order, never_sent
from core.decide.legs import first_leg, pair_at, pair_price
from core.decide.orders import by_broker, intend_after, intend_exit
from core.events import (
    EntriesFrozen,
    OrderIntended,
    PositionRolled,
    PyramidingChanged,
    RolloverMarked,
)
from core.fills import side_costs
from core.inputs import Roll as RollInput
from core.models import Position, RolloverStatus, layer_number
from core.orders import Order, OrderPurpose, OrderState
from core.portfolio import Portfolio
from core.position_sizer import Figures
from core.rollover import OddLots, Roll, RolledFields, far_lots, may_become, rolled_fields, shifted

NO_BROKER = "fills are not by a broker"
NO_CONTRACT = "no such position in a contract"
NOTHING_DUE = "nothing is due"
NOTHING_POSSIBLE = "nothing can be done about what is due"
NO_LONGER_WANTED = "rolled: asked for anew in the far contract"
LEFT_BEHIND = "ROLLOVER"


class _Step(Struct, frozen=True, kw_only=True):
    """What is to be done about one position, or why nothing is."""

    position: Position
    near: Contract
    far: Contract | None
    says: str


def decide_roll(portfolio: Portfolio, given: RollInput) -> Decision:
    """Say what is due on a day of the exchange's and, with `execute`, begin to roll it."""
    if not by_broker(portfolio):
        return rejected(portfolio, NO_BROKER)
    steps = [
        _step(portfolio, position, near, given)
        for position in sorted(portfolio.positions.values(), key=lambda position: position.position_id)
        if given.position_id in (None, position.position_id)
        for near in [_near(portfolio, position)]
        if near is not None and (given.position_id is not None or given.day >= near.roll_date)
    ]
    if not steps:
        return rejected(portfolio, NOTHING_DUE if given.position_id is None else NO_CONTRACT)
    draft = Draft(portfolio)
    for step in steps:
        if step.far is not None:
            _begin(draft, step.position, step.near, step.far, execute=given.execute)
    figures: Figures = {step.position.position_id: step.says for step in steps}
    going = tuple(step.position.position_id for step in steps if step.far is not None)
    if not draft.has_events:
        return rejected(portfolio, NOTHING_POSSIBLE, **figures)
    return draft.answered(positions=going, sizing=figures)


def _near(portfolio: Portfolio, position: Position) -> Contract | None:
    listed = portfolio.contracts.get(position.instrument)
    return None if listed is None else listed.of_month(position.contract_month)


def _step(portfolio: Portfolio, position: Position, near: Contract, given: RollInput) -> _Step:
    far = next_contract(portfolio.contracts[position.instrument].contracts, near, given.day)
    if isinstance(far, BeyondRules):
        return _Step(position=position, near=near, far=None, says=f"no far contract: {far.reason}")
    lots = far_lots(position.quantity, far.lot_size)
    if isinstance(lots, OddLots):
        units, lot, odd = (f"{value.normalize():f}" for value in (lots.quantity, far.lot_size, lots.odd_units))
        says = f"odd lots: {units} units are {lots.whole_lots} lots of {lot} and {odd} more"
        return _Step(position=position, near=near, far=None, says=says)
    mine = [order for order in portfolio.orders_of(position.instrument) if order.position_id == position.position_id]
    if any(not order.rests for order in mine):
        return _Step(position=position, near=near, far=None, says="orders of it are working")
    if given.day > near.expiry:
        return _Step(position=position, near=near, far=None, says=f"expired on {near.expiry}: settle it by hand")
    return _Step(position=position, near=near, far=far, says=f"{near.month} to {far.month}")


def _begin(draft: Draft, position: Position, near: Contract, far: Contract, *, execute: bool) -> None:
    if may_become(position.rollover_status, RolloverStatus.PENDING):
        draft.apply(RolloverMarked(position_id=position.position_id, status=RolloverStatus.PENDING))
    if not execute:
        return
    draft.apply(RolloverMarked(position_id=position.position_id, status=RolloverStatus.IN_PROGRESS))
    order = leaving_order(draft.portfolio, position, OrderPurpose.ROLL_OUT, position.lots, position.mark_price)
    reason = f"{near.month} to {far.month}"
    draft.apply(OrderIntended(order=replace(order, roll_to=far.month, reason=reason)))


# --- what follows


def rolls(order: Order) -> bool:
    """Whether it is a step of a roll."""
    return order.purpose in (OrderPurpose.ROLL_OUT, OrderPurpose.ROLL_IN)


def follow_roll(draft: Draft, order: Order) -> None:
    """A step of a roll is settled: its last leg, where it has two."""
    position = draft.portfolio.positions.get(order.position_id)
    if position is None:
        return  # the broker's stop sold it before it was left
    filled_at = _filled_at(order)
    if order.purpose is OrderPurpose.ROLL_IN:
        _entered(draft, position, order, filled_at)
    elif filled_at is None:
        _mark(draft, position, RolloverStatus.FAILED)
    else:
        _left(draft, position, order, filled_at)


def _filled_at(order: Order) -> Decimal | None:
    if order.average_price is None or not order.filled_lots:
        return None
    return order.average_price if order.leg is None else pair_price(order, order.average_price)


def _left(draft: Draft, position: Position, order: Order, near_price: Decimal) -> None:
    """Out of the near contract: into the far one, unless somebody wants it closed, or a part of it could not be left."""
    far = far_contract(draft.portfolio, order)
    wanted_out = sum(exit_.lots for exit_ in _waiting(draft.portfolio, position))
    # Where the broker's stop has sold a part, the rest may be no whole number of far lots any more.
    lots = None if far is None else far_lots(position.quantity, far.lot_size)
    if order.filled_lots < position.lots or wanted_out >= position.lots or far is None or not isinstance(lots, int):
        _mark(draft, position, RolloverStatus.FAILED)
        waiting = _waiting(draft.portfolio, position)
        reason = (waiting[0].reason if waiting else None) or LEFT_BEHIND
        _book(draft, order, order.filled_lots, near_price, reason)
        return
    pair = traded_pair(draft.portfolio, far, near_price) if order.leg is not None else None
    leg = None if pair is None else first_leg(order.side, OrderPurpose.ROLL_IN)
    intend_after(
        draft,
        order,
        lots,
        purpose=OrderPurpose.ROLL_IN,
        near_price=near_price,
        leg=leg,
        leg_price=None,
        symbol=far.futures_symbol if pair is None or leg is None else pair.symbol_of(leg),
        strike=None if pair is None else pair.strike,
        lot_size=far.lot_size,
        point_value=far.point_value,
    )


def _entered(draft: Draft, position: Position, order: Order, far_price: Decimal | None) -> None:
    """Into the far contract, with all lots or some or none: what was not entered again was sold when it was left."""
    far, near_price = far_contract(draft.portfolio, order), order.near_price
    assert near_price is not None  # noqa: S101 - it was left before
    kept = Fraction(order.filled_lots * order.lot_size) / Fraction(position.lot_size)
    if far is None or kept.denominator != 1:
        stuck(draft, order)
        return
    lost = position.lots - int(kept)
    if lost:
        if not kept:
            _mark(draft, position, RolloverStatus.FAILED)
        _book(draft, order, lost, near_price, LEFT_BEHIND)
    if far_price is not None:
        _rolled(draft, order, far, near_price, far_price)


def _rolled(draft: Draft, order: Order, far: Contract, near_price: Decimal, far_price: Decimal) -> None:
    position = draft.portfolio.positions[order.position_id]
    waiting = _waiting(draft.portfolio, position)
    roll = Roll(
        near_price=near_price,
        far_price=far_price,
        far=far,
        rolled_at=_time_of(order, position),
        strike=order.strike,
        costs=_costs(draft.portfolio, position, near_price, position.lots, position.point_value)
        + _costs(draft.portfolio, position, far_price, order.filled_lots, far.point_value),
    )
    fields = rolled_fields(position, roll)
    assert isinstance(fields, RolledFields)  # noqa: S101 - whole far lots were entered
    shift_pyramid = _is_last_entered(draft.portfolio, position)
    draft.apply(
        PositionRolled(
            position_id=position.position_id,
            pnl=fields.realized_pnl - position.realized_pnl,
            fields=fields,
            **_symbols(order, far),
        )
    )
    row = draft.portfolio.pyramiding_of(position.instrument)
    if shift_pyramid and row.last_pyramid_price is not None:
        moved = shifted(row.last_pyramid_price, roll.spread)
        draft.apply(
            PyramidingChanged(
                instrument=position.instrument, last_pyramid_price=moved, base_position_id=row.base_position_id
            )
        )
    _ask_anew(draft, position, waiting)


def _symbols(order: Order, far: Contract) -> dict[str, Any]:
    if order.strike is None:
        return {"futures_symbol": far.futures_symbol, "ce_symbol": None, "pe_symbol": None}
    pair = pair_at(far, order.strike)
    return {"futures_symbol": None, "ce_symbol": pair.ce_symbol, "pe_symbol": pair.pe_symbol}


def _ask_anew(draft: Draft, before: Position, waiting: list[Order]) -> None:
    """Exits that waited for the roll were of the near contract: they are asked for again in the far one."""
    for order in waiting:
        draft.apply(never_sent(order, NO_LONGER_WANTED))
    for order in waiting:
        position = draft.portfolio.positions[before.position_id]
        lots = position.lots * order.lots // before.lots
        intend_exit(draft, position, lots, order.reference_price, order.reason or "EXIT")


def _waiting(portfolio: Portfolio, position: Position) -> list[Order]:
    """Exits of the position that were decided during the roll."""
    return [order for order in portfolio.exits_of(position) if order.state is OrderState.INTENT]


def _is_last_entered(portfolio: Portfolio, position: Position) -> bool:
    """Whether the next pyramid is measured against its entry."""
    last = max(
        portfolio.positions_of(position.instrument), key=lambda one: (one.entry_timestamp, layer_number(one.layer))
    )
    return last.position_id == position.position_id


def far_contract(portfolio: Portfolio, order: Order) -> Contract | None:
    """The contract that a roll's order leads to; None where it is not known any more."""
    listed = portfolio.contracts.get(order.instrument)
    return None if listed is None else listed.of_month(order.roll_to)


def _book(draft: Draft, order: Order, lots: int, near_price: Decimal, reason: str) -> None:
    position = draft.portfolio.positions[order.position_id]
    book_exit(draft, position, min(lots, position.lots), near_price, _time_of(order, position), reason)


def _time_of(order: Order, position: Position) -> datetime:
    """When the step was taken: a market order's fills are of the moment it was sent; of one that never was, its last mark's."""
    return order.sent_at or position.mark_time


def _costs(portfolio: Portfolio, position: Position, at: Decimal, lots: int, point_value: Decimal) -> Decimal:
    settings = portfolio.settings
    known = position.instrument in settings.instruments
    return side_costs(settings.costs_of(position.instrument) if known else settings.paper.costs, at, lots, point_value)


def _mark(draft: Draft, position: Position, status: RolloverStatus) -> None:
    draft.apply(RolloverMarked(position_id=position.position_id, status=status))


def stuck(draft: Draft, order: Order) -> None:
    """A roll that only a human can bring to an end."""
    if draft.portfolio.pyramiding_of(order.instrument).frozen_reason is None:
        reason = f"order {order.client_order_id}: a roll cannot be completed, look at the broker"
        draft.apply(EntriesFrozen(instrument=order.instrument, reason=reason))
    position = draft.portfolio.positions.get(order.position_id)
    if position is not None:
        _mark(draft, position, RolloverStatus.FAILED)
