"""Our orders in a broker's books: which entry is which order, and what it says that we do not know yet. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from core.inputs import OrderReport
from core.numbers import price
from core.orders import Fill, Order, OrderPurpose, OrderState
from live.brokers.port import Action, Broker, BrokerFill, BrokerOrder, BrokerOrderState, OrderRequest, OrderType

_STATES = {
    BrokerOrderState.PENDING: OrderState.WORKING,
    BrokerOrderState.WORKING: OrderState.WORKING,
    BrokerOrderState.FILLED: None,  # the fills say so
    BrokerOrderState.CANCELLED: OrderState.CANCELLED,
    BrokerOrderState.REJECTED: OrderState.REJECTED,
}
_STOPS = (OrderType.STOP, OrderType.STOP_MARKET)
# How far a broker's clock may be behind ours.
CLOCKS_APART = timedelta(minutes=2)
_ENDED = (BrokerOrderState.FILLED, BrokerOrderState.CANCELLED, BrokerOrderState.REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Where an instrument is traded: the broker's symbol and exchange, and how much of it one lot is there."""

    symbol: str
    exchange: str
    units_per_lot: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """A broker's order book and trades, read one after the other: first orders, then fills."""

    orders: Mapping[str, BrokerOrder]
    fills: Mapping[str, tuple[BrokerFill, ...]]
    read_at: datetime


def read_books(broker: Broker, now: datetime) -> Books:
    """Both books. Raises what the broker raises."""
    orders = {order.broker_order_id: order for order in broker.orders()}
    fills: dict[str, list[BrokerFill]] = {}
    for fill in broker.fills():
        fills.setdefault(fill.broker_order_id, []).append(fill)
    return Books(orders=orders, fills={key: tuple(value) for key, value in fills.items()}, read_at=now)


def request_of(order: Order, market: Market) -> OrderRequest:
    """The order as the broker is asked for it, in the form in which it was kept as sent."""
    return OrderRequest(
        client_order_id=order.client_order_id,
        tag=order.client_order_id,
        symbol=market.symbol,
        exchange=market.exchange,
        action=Action.BUY if order.buys else Action.SELL,
        order_type=OrderType(order.order_type or OrderType.MARKET),
        quantity=market.units_per_lot * order.lots,
        price=order.limit_price,
        trigger_price=order.trigger_price,
    )


def found_in(books: Books, order: Order, market: Market, claimed: Collection[str]) -> BrokerOrder | None:
    """The book's entry of an order whose broker's id is not known; None where there is none, or more than one might be.

    By client order id or tag; where the book shows neither, by symbol, side, quantity and time among those that belong to
    no order of ours (`claimed`).
    """
    free = [entry for entry in books.orders.values() if entry.broker_order_id not in claimed]
    named = [entry for entry in free if order.client_order_id in (entry.client_order_id, entry.tag)]
    # What was never sent can only be there by its name, after the database went back to an earlier time.
    if named or order.state is OrderState.INTENT:
        return named[0] if len(named) == 1 else None
    asked = request_of(order, market)
    alike = [
        entry
        for entry in free
        if entry.client_order_id is None
        and entry.tag is None
        and not _placed_before(entry, order)
        and (entry.order_type in _STOPS) == (asked.order_type in _STOPS)
        and (entry.symbol, entry.exchange, entry.action, entry.quantity)
        == (asked.symbol, asked.exchange, asked.action, asked.quantity)
    ]
    return alike[0] if len(alike) == 1 else None


def _placed_before(entry: BrokerOrder, order: Order) -> bool:
    """Whether it stood in the book before ours was sent, clocks a little apart."""
    if entry.placed_at is None or order.sent_at is None:
        return False
    return entry.placed_at < order.sent_at - CLOCKS_APART


def news_of(books: Books, order: Order, entry: BrokerOrder, market: Market) -> OrderReport | None:
    """What the books say of an order that we do not know yet; None where that is nothing.

    `settled` once it is filled whole, or had ended when these books were read and its fills are all there.
    """
    told = books.fills.get(entry.broker_order_id, ())
    fills = tuple(_fill(fill, market, books.read_at) for fill in told)
    new = tuple(fill for fill in fills if fill.fill_id not in order.fill_ids)
    state = _STATES[entry.state]
    if state is OrderState.WORKING and order.filled_lots + _lots(new):
        state = None
    known = sum(fill.lots for fill in {fill.fill_id: fill for fill in fills}.values())
    complete = entry.filled_quantity is None or market.units_per_lot * known >= entry.filled_quantity
    # Of one that is filled whole nothing more can come; of any other that ended, another reading has to say so.
    whole = entry.state is BrokerOrderState.FILLED and known == order.lots
    if order.purpose is OrderPurpose.STOP and entry.state is BrokerOrderState.FILLED:
        # It may have been smaller there than it was to be by now.
        whole = market.units_per_lot * known == entry.quantity
        state = OrderState.FILLED if whole else None
    settled = whole or (entry.state in _ENDED and order.has_ended and complete and not new)
    id_is_new = order.broker_order_id != entry.broker_order_id
    if id_is_new and state is None and order.state in (OrderState.INTENT, OrderState.IN_DOUBT):
        state = OrderState.SENT  # it is there; what it was filled, the trades say
    if not new and not settled and not id_is_new and (state is None or state is order.state):
        return None
    return OrderReport(
        client_order_id=order.client_order_id,
        state=state,
        broker_order_id=entry.broker_order_id,
        fills=new,
        message=entry.message,
        settled=settled,
    )


class OddQuantity(ValueError):
    """A fill is no whole number of lots."""


def _fill(fill: BrokerFill, market: Market, read_at: datetime) -> Fill:
    lots = fill.quantity / market.units_per_lot
    if lots != int(lots):
        raise OddQuantity(
            f"fill {fill.fill_id} of {fill.quantity} is no whole number of lots of {market.units_per_lot}"
        )
    return Fill(
        fill_id=fill.fill_id,
        lots=int(lots),
        price=price(fill.price),
        filled_at=(fill.filled_at or read_at).astimezone(UTC),
    )


def _lots(fills: Iterable[Fill]) -> int:
    return sum(fill.lots for fill in fills)
