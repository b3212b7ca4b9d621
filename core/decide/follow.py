"""What follows once the broker's books are closed over an order: its next try, its other leg, or the undoing of the first."""

from decimal import Decimal

from core.decide.decision import Draft
from core.decide.legs import other_leg, pair_at
from core.decide.orders import intend_after
from core.decide.roll import far_contract, follow_roll, rolls, stuck
from core.events import EntriesFrozen
from core.models import Position
from core.numbers import ZERO, money, product, quotient
from core.orders import Leg, Order, OrderPurpose, OrderState

# How often the second leg of what has to go is asked for before a human has to.
MOST_TRIES = 3
LEG_LEFT = "a leg of it is left at the broker"
IN_DOUBT = "is in doubt"
EXIT_REFUSED = "the broker refuses to let it out"


def follow(draft: Draft, before: Order, after: Order) -> None:
    """`after` is settled now, `before` what it was until then."""
    if after.purpose is OrderPurpose.STOP:
        return
    rest = after.lots - after.filled_lots
    if after.is_first_leg:
        _other_leg(draft, before, after)
    elif rolls(after) and (not rest or after.leg is None):
        follow_roll(draft, after)
    elif rest and not before.is_tried_again:
        _not_done(draft, after, rest)
    if rest and before.is_tried_again and after.purpose is OrderPurpose.ENTRY:
        intend_after(
            draft,
            after,
            rest,
            attempt=after.attempt + 1,
            filled_before=after.filled_before + after.filled_lots,
            **_reserved(before, rest),
        )


def _not_done(draft: Draft, order: Order, rest: int) -> None:
    if order.purpose is OrderPurpose.UNDO:
        _freeze(draft, order)
    elif order.leg is not None:
        _leg_missing(draft, order, rest)
    elif order.purpose is OrderPurpose.EXIT and order.state is OrderState.REJECTED:
        _exit_refused(draft, order, rest)


def _other_leg(draft: Draft, before: Order, after: Order) -> None:
    filled = after.filled_lots
    if not filled:
        if rolls(after):
            follow_roll(draft, after)
        return
    if after.purpose is OrderPurpose.ENTRY and after.cancel_asked:
        _undo(draft, after, filled, after.average_price)
        return
    if after.plan is None and after.position_id not in draft.portfolio.positions:
        _freeze(draft, after)  # it was to close what is gone
        return
    assert after.leg is not None  # noqa: S101 - it is a first leg
    leg, position = other_leg(after.leg), draft.portfolio.positions.get(after.position_id)
    intend_after(
        draft,
        after,
        filled,
        leg=leg,
        leg_price=after.average_price,
        symbol=_symbol_of(draft, after, leg),
        # Of pairs, not of first legs: they tell whether its position has been there.
        filled_before=0 if position is None else position.entry_lots,
        **(_reserved(before, filled) if after.purpose is OrderPurpose.ENTRY else {}),
    )


def _exit_refused(draft: Draft, order: Order, rest: int) -> None:
    """An exit always goes: it is asked for again, and then it is a human's."""
    if order.position_id not in draft.portfolio.positions:
        return
    if order.attempt < MOST_TRIES:
        intend_after(draft, order, rest, attempt=order.attempt + 1)
    else:
        _freeze(draft, order, EXIT_REFUSED)


def _leg_missing(draft: Draft, order: Order, rest: int) -> None:
    """The second leg could not be had: what opens is undone, what closes is tried again, and then it is a human's."""
    if order.purpose is OrderPurpose.ENTRY:
        _undo(draft, order, rest, order.leg_price)
    elif rolls(order) and (order.filled_lots or order.attempt == MOST_TRIES):
        stuck(draft, order)
    elif order.attempt < MOST_TRIES:
        intend_after(draft, order, rest, attempt=order.attempt + 1)
    else:
        _freeze(draft, order)


def _undo(draft: Draft, order: Order, lots: int, bought_at: Decimal | None) -> None:
    leg = order.leg if order.is_first_leg or order.leg is None else other_leg(order.leg)
    assert leg is not None  # noqa: S101 - only a leg is undone
    intend_after(
        draft,
        order,
        lots,
        purpose=OrderPurpose.UNDO,
        leg=leg,
        leg_price=bought_at,
        symbol=_symbol_of(draft, order, leg),
    )


def _symbol_of(draft: Draft, order: Order, leg: Leg) -> str | None:
    if order.purpose is OrderPurpose.ROLL_IN:
        far = far_contract(draft.portfolio, order)
        return None if far is None or order.strike is None else pair_at(far, order.strike).symbol_of(leg)
    if order.plan is not None:
        return order.plan.ce_symbol if leg is Leg.CALL else order.plan.pe_symbol
    position: Position = draft.portfolio.positions[order.position_id]
    return position.ce_symbol if leg is Leg.CALL else position.pe_symbol


def _reserved(order: Order, lots: int) -> dict[str, Decimal]:
    """What `lots` of all that an order held of the limits keep, in money."""
    return {
        "risk_reserved": share_left(order.risk_reserved, lots, order.lots_left),
        "vol_reserved": share_left(order.vol_reserved, lots, order.lots_left),
    }


def share_left(reserved: Decimal, left: int, before: int) -> Decimal:
    """What `left` of `before` lots keep of what all of them had reserved, in money."""
    return money(quotient(product(reserved, left), before)) if left and before else ZERO


def _freeze(draft: Draft, order: Order, why: str = LEG_LEFT) -> None:
    frozen = draft.portfolio.pyramiding_of(order.instrument).frozen_reason
    # A doubt ends by itself; a leg that is left does not.
    if frozen is None or frozen.endswith(IN_DOUBT):
        reason = f"order {order.client_order_id}: {why}"
        draft.apply(EntriesFrozen(instrument=order.instrument, reason=reason))
