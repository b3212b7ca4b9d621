"""Log lines of what became of orders, and of signals whose sender was not told; from what was committed."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import structlog

from core.events import OrderCancelAsked, OrderIntended, OrderReported, OrderSent
from core.inputs import OrderReport, SignalInput
from core.journal import Batch, Entry
from core.orders import Fill, Order, OrderState
from live.answers import AnswerKind
from live.deliveries import Delivery
from live.origins import Origins

log = structlog.get_logger(__name__)

Line = tuple[str, Mapping[str, Any]]
_LONGEST_MESSAGE = 200
_UNWELCOME = ("order rejected", "order in_doubt")
_DECIDED = (AnswerKind.DECIDED, AnswerKind.DUPLICATE)


def tell_orders(batch: Batch, origins: Origins) -> None:
    """Say what a committed batch did to orders, a line each, with the signal that each comes from."""
    for what, fields in order_lines(batch, origins):
        (log.warning if what in _UNWELCOME else log.info)(what, **fields)


def order_lines(batch: Batch, origins: Origins) -> Iterator[Line]:
    """A line for each order that was intended, came to another state or is no longer wanted, and for each fill."""
    # Most portfolios have no order on its way most of the time: nothing is looked at then.
    if not (batch.before.orders or batch.after.orders or batch.after.settled_orders):
        return
    for what, fields in _lines(batch, origins):
        origin = origins.of(fields["order"])
        yield what, fields if origin is None else {**fields, "fingerprint": origin}
    origins.forget(batch)


def _lines(batch: Batch, origins: Origins) -> Iterator[Line]:
    states = {order_id: order.state for order_id, order in batch.before.orders.items()}
    for entry in batch.entries:
        for event in entry.decision.events:
            match event:
                case OrderIntended(order=order):
                    states[order.client_order_id] = order.state
                    origins.intended(entry, order.client_order_id)
                    yield "order intended", _intended(order)
                case OrderSent(client_order_id=order_id):
                    states[order_id] = OrderState.SENT
                    yield "order sent", _sent(entry, event)
                case OrderReported():
                    yield from _reported(entry, event, states.get(event.client_order_id))
                    states[event.client_order_id] = event.state
                case OrderCancelAsked(client_order_id=order_id, reason=reason):
                    yield "order no longer wanted", {**_named(_order_in(entry, order_id)), "reason": _plain(reason)}
                case _:
                    pass


def tell_kept(deliveries: Iterable[Delivery]) -> None:
    """Say what was decided on signals that were kept: their senders were told `queued`, or are of another process."""
    for delivery in deliveries:
        given, answer = delivery.given, delivery.answer
        if not isinstance(given, SignalInput) or answer is None or answer.kind not in _DECIDED:
            continue
        if not any(one.kept for one in delivery.everybody):
            continue
        outcome, signal = answer.outcome or {}, given.signal
        log.info(
            "kept signal decided",
            status="duplicate" if answer.kind is AnswerKind.DUPLICATE else outcome.get("status"),
            type=signal.type.value,
            instrument=signal.instrument,
            layer=signal.layer,
            fingerprint=delivery.fingerprint,
            position_id=outcome.get("position_id"),
            lots=outcome.get("lots"),
            reason=outcome.get("reason"),
            received_at=given.received_at.isoformat(),
            journal_seq=answer.journal_seq,
        )


def _intended(order: Order) -> dict[str, Any]:
    return {
        **_named(order),
        "action": "buy" if order.buys else "sell",
        "lots": order.lots,
        "purpose": order.purpose.value,
        "reference_price": _number(order.reference_price),
        "reason": _plain(order.reason),
    }


def _sent(entry: Entry, event: OrderSent) -> dict[str, Any]:
    limit = None if event.limit_price is None else _number(event.limit_price)
    named = _named(_order_in(entry, event.client_order_id))
    return {**named, "lots": event.lots, "type": event.order_type.value, "limit_price": limit}


def _reported(entry: Entry, event: OrderReported, before: OrderState | None) -> Iterator[Line]:
    order = _order_in(entry, event.client_order_id)
    for fill in _new_fills(entry, event):
        filled = {"lots": fill.lots, "price": _number(fill.price), "fill_id": fill.fill_id}
        yield "order fill", {**_named(order), "action": "buy" if order.buys else "sell", **filled}
    # That it is filled in part, its fills say.
    if event.state is not before and event.state is not OrderState.PARTIAL:
        average = None if event.average_price is None else _number(event.average_price)
        stands = {"filled": f"{event.filled_lots}/{order.lots}", "average_price": average}
        broker = {"broker_order_id": event.broker_order_id, "message": _plain(event.message)}
        yield f"order {event.state.value}", {**_named(order), **stands, **broker}


def _new_fills(entry: Entry, event: OrderReported) -> list[Fill]:
    told = entry.given.fills if isinstance(entry.given, OrderReport) else ()
    by_id = {fill.fill_id: fill for fill in reversed(told)}
    return [by_id[fill_id] for fill_id in event.fill_ids if fill_id in by_id]


def _order_in(entry: Entry, client_order_id: str) -> Order:
    portfolio = entry.decision.portfolio
    return portfolio.orders.get(client_order_id) or portfolio.settled_orders[client_order_id]


def _named(order: Order) -> dict[str, Any]:
    return {"order": order.client_order_id, "instrument": order.instrument, "layer": order.layer}


def _number(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _plain(text: str | None) -> str | None:
    """On one line, and nothing that moves a cursor: a broker wrote it. Its adapter has taken every key out."""
    if text is None:
        return None
    return "".join(filter(str.isprintable, " ".join(text.split())))[:_LONGEST_MESSAGE]
