"""An order on its way out: in which form it is sent, kept before the broker hears of it; and the end of a try."""

from datetime import datetime
from decimal import Decimal

from msgspec import UNSET

from core.decide.decision import Decision, Draft, rejected
from core.decide.execution import NotSent, Sending, refusal_of, sending, waits_for_roll
from core.decide.follow import follow, share_left
from core.decide.leaving import never_sent
from core.decide.proposing import propose
from core.decide.report import NO_SUCH_ORDER
from core.events import OrderSent, OrderTryEnded
from core.inputs import EndTry, SendOrder
from core.models import Signal, SignalType
from core.orders import Order, OrderState, OrderType
from core.portfolio import Portfolio

SENT_ALREADY = "sent already"
ROLL_IN_HAND = "a roll of its position is in hand"
NO_TRY = "no try of it is running"
_ENDED_EARLY = (OrderType.LIMIT, OrderType.STOP_MARKET)


def decide_send(portfolio: Portfolio, given: SendOrder, now: datetime) -> Decision:
    """Send it in this form, or not at all: then it is cancelled, and why."""
    order = portfolio.orders.get(given.client_order_id)
    if order is None:
        return rejected(portfolio, NO_SUCH_ORDER)
    if order.state is not OrderState.INTENT:
        return rejected(portfolio, SENT_ALREADY)
    if waits_for_roll(portfolio, order):
        return rejected(portfolio, ROLL_IN_HAND)
    refusal = refusal_of(portfolio, order, now)
    form = NotSent(reason=refusal) if refusal is not None else sending(portfolio, order, given)
    draft = Draft(portfolio)
    if isinstance(form, Sending):
        draft.apply(_sent(order, form, now))
        return draft.executed(position_id=order.position_id, lots=form.lots)
    draft.apply(never_sent(order, form.reason))
    follow(draft, order, draft.portfolio.settled_orders[order.client_order_id])
    if form.diverged:
        _ask(draft, order, now)
    return draft.executed(position_id=order.position_id, lots=0)


def decide_try_over(portfolio: Portfolio, given: EndTry) -> Decision:
    """A limit order that works has had its time; or a stop cannot be moved where it is."""
    order = portfolio.orders.get(given.client_order_id)
    if order is None:
        return rejected(portfolio, NO_SUCH_ORDER)
    if order.has_ended or order.try_over or order.cancel_asked or order.order_type not in _ENDED_EARLY:
        return rejected(portfolio, NO_TRY)
    draft = Draft(portfolio)
    draft.apply(OrderTryEnded(client_order_id=order.client_order_id))
    return draft.executed(position_id=order.position_id)


def _ask(draft: Draft, order: Order, now: datetime) -> None:
    """Have a human decide on an entry of which nothing was bought, where the settings say so."""
    plan, rule = order.plan, draft.portfolio.settings.approval.divergent
    if rule is None or plan is None or plan.fingerprint is UNSET or order.filled_before:
        return
    signal = Signal(
        type=SignalType.BASE_ENTRY if plan.is_base_position else SignalType.PYRAMID,
        instrument=order.instrument,
        layer=order.layer,
        price=order.reference_price,
        stop=plan.stop,
        atr=plan.atr,
        er=None if plan.efficiency_ratio is UNSET else plan.efficiency_ratio,
        timestamp=plan.entry_timestamp,
        bar_time=plan.entry_bar_time,
    )
    propose(
        draft,
        signal,
        plan.fingerprint,
        now,
        rule="divergent",
        lots=order.lots,
        limiter=plan.limiter,
        client_order_id=order.client_order_id,
    )


def _sent(order: Order, form: Sending, now: datetime) -> OrderSent:
    return OrderSent(
        client_order_id=order.client_order_id,
        lots=form.lots,
        order_type=form.order_type,
        limit_price=form.limit_price,
        sent_at=now,
        risk_reserved=_cut(order.risk_reserved, form.lots, order.lots),
        vol_reserved=_cut(order.vol_reserved, form.lots, order.lots),
    )


def _cut(reserved: Decimal, lots: int, before: int) -> Decimal:
    return reserved if lots == before else share_left(reserved, lots, before)
