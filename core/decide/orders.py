"""Orders that a decision asks for: an entry, an exit, and the end of an entry that is no longer wanted."""

from decimal import Decimal
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from core.decide.contract import EntryTerms
from core.decide.decision import Decision, Draft
from core.decide.leaving import leaving_order
from core.decide.legs import first_leg
from core.events import OrderCancelAsked, OrderIntended
from core.fills import risk_amount, volatility_amount
from core.models import Position, Signal, SignalType
from core.orders import EntryPlan, Order, OrderPurpose, client_order_id_of
from core.portfolio import Portfolio
from core.position_sizer import Sized


def by_broker(portfolio: Portfolio) -> bool:
    """Whether fills come from a broker, not from the decision itself."""
    return portfolio.settings.execution.fills == "broker"


def intend_entry(
    portfolio: Portfolio, signal: Signal, position_id: str, fingerprint: str, sized: Sized, terms: EntryTerms
) -> Decision:
    """Ask for the entry; its position exists from the first fill on, its share of the limits is held from now on."""
    purpose, pair = OrderPurpose.ENTRY, terms.pair
    leg = None if pair is None else first_leg(signal.side, purpose)
    order = Order(
        client_order_id=client_order_id_of(portfolio.seq, position_id, purpose, 1, leg),
        journal_seq=portfolio.seq,
        position_id=position_id,
        instrument=signal.instrument,
        layer=signal.layer,
        side=signal.side,
        purpose=purpose,
        lots=sized.lots,
        lot_size=terms.lot_size,
        point_value=terms.point_value,
        reference_price=signal.price,
        plan=_plan(portfolio, signal, fingerprint, sized, terms),
        symbol=terms.symbol if pair is None or leg is None else pair.symbol_of(leg),
        leg=leg,
        strike=None if pair is None else pair.strike,
        risk_reserved=risk_amount(signal.side, signal.price, signal.stop, sized.lots, terms.point_value),
        vol_reserved=volatility_amount(signal.atr, sized.lots, terms.point_value),
    )
    draft = Draft(portfolio)
    draft.apply(OrderIntended(order=order))
    return draft.answered(position_id=position_id, lots=sized.lots, limiter=sized.limiter, sizing=sized.figures)


def _plan(portfolio: Portfolio, signal: Signal, fingerprint: str, sized: Sized, terms: EntryTerms) -> EntryPlan:
    pair, asks = terms.pair, portfolio.settings.approval.divergent is not None
    return EntryPlan(
        entry_timestamp=signal.time,
        entry_bar_time=signal.bar_time,
        mark_time=signal.bar,
        stop=signal.stop,
        atr=signal.atr,
        limiter=sized.limiter,
        is_base_position=signal.type is SignalType.BASE_ENTRY,
        expiry=terms.expiry,
        contract_month=terms.contract_month,
        strike=None if pair is None else pair.strike,
        ce_symbol=None if pair is None else pair.ce_symbol,
        pe_symbol=None if pair is None else pair.pe_symbol,
        fingerprint=fingerprint if asks else UNSET,
        efficiency_ratio=signal.er if asks else UNSET,
    )


def intend_exit(draft: Draft, position: Position, lots: int, reference: Decimal, reason: str) -> None:
    """Ask to sell lots that no order sells yet; whoever closes a position whole wants no more of its entry either."""
    if lots == position.lots:
        cancel_entries(draft, position.instrument, {position.position_id}, reason)
    wanted = min(lots, position.lots - draft.portfolio.lots_leaving(position))
    if wanted <= 0:
        return  # all of it is on its way out
    attempt = 1 + sum(
        order.position_id == position.position_id and order.purpose is OrderPurpose.EXIT
        for order in draft.portfolio.orders_of(position.instrument)
    )
    order = leaving_order(draft.portfolio, position, OrderPurpose.EXIT, wanted, reference, attempt=attempt)
    draft.apply(OrderIntended(order=replace(order, reason=reason)))


def intend_after(draft: Draft, order: Order, lots: int, **changes: Any) -> None:
    """Intend another order for `lots` of what `order` was for, anew but for `changes`."""
    following = Order(
        client_order_id="",
        journal_seq=draft.portfolio.seq,
        position_id=order.position_id,
        instrument=order.instrument,
        layer=order.layer,
        side=order.side,
        **{
            "purpose": order.purpose,
            "attempt": 1,
            "lots": lots,
            "lot_size": order.lot_size,
            "point_value": order.point_value,
            "reference_price": order.reference_price,
            "reason": order.reason,
            "plan": order.plan,
            "symbol": order.symbol,
            "leg": order.leg,
            "leg_price": order.leg_price,
            "strike": order.strike,
            "near_price": order.near_price,
            "roll_to": order.roll_to,
            "filled_before": order.filled_before,
            **changes,
        },
    )
    order_id = client_order_id_of(
        following.journal_seq, following.position_id, following.purpose, following.attempt, following.leg
    )
    draft.apply(OrderIntended(order=replace(following, client_order_id=order_id)))


def cancel_entries(draft: Draft, instrument: str, position_ids: set[str], reason: str) -> None:
    """Ask that what still works of these positions' entries be cancelled; what is filled all the same is sold again."""
    for order in draft.portfolio.working_entries_of(instrument):
        if order.position_id in position_ids and not order.cancel_asked:
            draft.apply(OrderCancelAsked(client_order_id=order.client_order_id, reason=reason))
