"""Orders that a decision asks for: an entry, an exit, and the end of an entry that is no longer wanted."""

from decimal import Decimal

from core.decide.contract import EntryTerms
from core.decide.decision import Decision, Draft
from core.events import OrderCancelAsked, OrderIntended
from core.fills import risk_amount, volatility_amount
from core.models import Position, Signal, SignalType
from core.orders import EntryPlan, Order, OrderPurpose, client_order_id_of
from core.portfolio import Portfolio
from core.position_sizer import Sized


def by_broker(portfolio: Portfolio) -> bool:
    """Whether fills come from a broker, not from the decision itself."""
    return portfolio.settings.execution.fills == "broker"


def intend_entry(portfolio: Portfolio, signal: Signal, position_id: str, sized: Sized, terms: EntryTerms) -> Decision:
    """Ask for the entry; its position exists from the first fill on, its share of the limits is held from now on."""
    order = Order(
        client_order_id=client_order_id_of(portfolio.seq, position_id, OrderPurpose.ENTRY, 1),
        journal_seq=portfolio.seq,
        position_id=position_id,
        instrument=signal.instrument,
        layer=signal.layer,
        side=signal.side,
        purpose=OrderPurpose.ENTRY,
        lots=sized.lots,
        lot_size=terms.lot_size,
        point_value=terms.point_value,
        reference_price=signal.price,
        plan=EntryPlan(
            entry_timestamp=signal.time,
            entry_bar_time=signal.bar_time,
            mark_time=signal.bar,
            stop=signal.stop,
            atr=signal.atr,
            limiter=sized.limiter,
            is_base_position=signal.type is SignalType.BASE_ENTRY,
            expiry=terms.expiry,
            contract_month=terms.contract_month,
        ),
        symbol=terms.symbol,
        risk_reserved=risk_amount(signal.side, signal.price, signal.stop, sized.lots, terms.point_value),
        vol_reserved=volatility_amount(signal.atr, sized.lots, terms.point_value),
    )
    draft = Draft(portfolio)
    draft.apply(OrderIntended(order=order))
    return draft.answered(position_id=position_id, lots=sized.lots, limiter=sized.limiter, sizing=sized.figures)


def intend_exit(draft: Draft, position: Position, lots: int, reference: Decimal, reason: str) -> None:
    """Ask to sell lots that no order sells yet; whoever closes a position whole wants no more of its entry either."""
    if lots == position.lots:
        cancel_entries(draft, position.instrument, {position.position_id}, reason)
    # Who asks has seen that some are left; an order of none would be refused by its own class.
    wanted = min(lots, position.lots - draft.portfolio.lots_leaving(position))
    attempt = 1 + sum(
        order.position_id == position.position_id and order.purpose is OrderPurpose.EXIT
        for order in draft.portfolio.orders_of(position.instrument)
    )
    draft.apply(
        OrderIntended(
            order=Order(
                client_order_id=client_order_id_of(
                    draft.portfolio.seq, position.position_id, OrderPurpose.EXIT, attempt
                ),
                journal_seq=draft.portfolio.seq,
                position_id=position.position_id,
                instrument=position.instrument,
                layer=position.layer,
                side=position.side,
                purpose=OrderPurpose.EXIT,
                attempt=attempt,
                lots=wanted,
                lot_size=position.lot_size,
                point_value=position.point_value,
                reference_price=reference,
                reason=reason,
                symbol=position.futures_symbol,
            )
        )
    )


def intend_next_try(draft: Draft, order: Order) -> None:
    """Ask again for what an entry's try left; its share of the limits goes over to the new order."""
    attempt = order.attempt + 1
    draft.apply(
        OrderIntended(
            order=Order(
                client_order_id=client_order_id_of(draft.portfolio.seq, order.position_id, order.purpose, attempt),
                journal_seq=draft.portfolio.seq,
                position_id=order.position_id,
                instrument=order.instrument,
                layer=order.layer,
                side=order.side,
                purpose=order.purpose,
                attempt=attempt,
                lots=order.lots - order.filled_lots,
                lot_size=order.lot_size,
                point_value=order.point_value,
                reference_price=order.reference_price,
                plan=order.plan,
                risk_reserved=order.risk_reserved,
                vol_reserved=order.vol_reserved,
                symbol=order.symbol,
                filled_before=order.filled_before + order.filled_lots,
            )
        )
    )


def cancel_entries(draft: Draft, instrument: str, position_ids: set[str], reason: str) -> None:
    """Ask that what still works of these positions' entries be cancelled; what is filled all the same is sold again."""
    for order in draft.portfolio.working_entries_of(instrument):
        if order.position_id in position_ids and not order.cancel_asked:
            draft.apply(OrderCancelAsked(client_order_id=order.client_order_id, reason=reason))
