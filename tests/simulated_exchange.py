"""An exchange in memory, for the fake brokers of tests: orders rest until the market reaches them; nothing is checked."""

import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

LIVE = frozenset({"pending", "open"})


@dataclass(kw_only=True)
class Resting:
    """An order. `status`: pending (its trigger was not touched), open, complete, cancelled, rejected."""

    order_id: str
    symbol: str
    exchange: str
    buys: bool
    quantity: Decimal
    limit: Decimal | None
    trigger: Decimal | None
    tag: str
    client_order_id: str | None = None
    product: str = ""
    status: str = "open"
    filled: Decimal = Decimal(0)
    value: Decimal = Decimal(0)
    message: str = ""
    placed_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, kw_only=True)
class Trade:
    """A fill."""

    trade_id: str
    order: Resting
    quantity: Decimal
    price: Decimal
    at: datetime


class SimulatedExchange:
    """Any thread. `parts`: quantities of the next fills, one for each time an order meets the market; then all of it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.orders: dict[str, Resting] = {}
        self.trades: list[Trade] = []
        self.quotes: dict[str, Decimal] = {}
        self.parts: deque[Decimal] = deque()
        self._numbers = count(1)

    def set_quote(self, symbol: str, price: Decimal) -> None:
        """Move the market."""
        with self.lock:
            self.quotes[symbol] = price
            for order in list(self.orders.values()):
                self.match(order)

    def add(self, order: Resting, *, rejected: str | None = None) -> Resting:
        """Take an order."""
        with self.lock:
            order.status = "open" if order.trigger is None else "pending"
            if rejected is not None:
                order.status, order.message = "rejected", rejected
            self.orders[order.order_id] = order
            self.match(order)
            return order

    def new_id(self) -> str:
        """An id that no order has."""
        return f"2611200000{next(self._numbers):05d}"

    def cancel(self, order_id: str) -> bool:
        """Cancel a live order; whether there was one."""
        with self.lock:
            order = self.orders.get(order_id)
            if order is None or order.status not in LIVE:
                return False
            order.status = "cancelled"
            return True

    def modify(
        self, order_id: str, *, quantity: Decimal | None, limit: Decimal | None, trigger: Decimal | None
    ) -> bool:
        """Change a live order; whether there was one."""
        with self.lock:
            order = self.orders.get(order_id)
            if order is None or order.status not in LIVE:
                return False
            order.quantity = quantity or order.quantity
            order.limit = limit or order.limit
            order.trigger = trigger or order.trigger
            self.match(order)
            return True

    def live_orders(self, *, tag: str | None = None, symbol: str | None = None) -> list[Resting]:
        """Orders that may still be filled: what a test asks whether there are two of for one intent."""
        with self.lock:
            return [
                order
                for order in self.orders.values()
                if order.status in LIVE and tag in (None, order.tag) and symbol in (None, order.symbol)
            ]

    def accepted(self, *, tag: str | None = None) -> list[Resting]:
        """Orders that were taken, whatever became of them, but for rejected ones."""
        with self.lock:
            return [order for order in self.orders.values() if order.status != "rejected" and tag in (None, order.tag)]

    def positions(self) -> dict[tuple[str, str, str], Decimal]:
        """What is held by symbol, exchange and product; zeros stay."""
        with self.lock:
            held: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
            for trade in self.trades:
                order = trade.order
                held[order.symbol, order.exchange, order.product] += trade.quantity if order.buys else -trade.quantity
            return held

    def match(self, order: Resting) -> None:
        """Fill what the market gives."""
        last = self.quotes.get(order.symbol)
        if last is None or order.status not in LIVE:
            return
        if order.status == "pending" and order.trigger is not None:
            if last < order.trigger if order.buys else last > order.trigger:
                return
            order.status = "open"
        if order.limit is not None and (last > order.limit if order.buys else last < order.limit):
            return
        left = order.quantity - order.filled
        part = min(left, self.parts.popleft()) if self.parts else left
        if not part:
            return
        self.trades.append(
            Trade(trade_id=f"T{next(self._numbers)}", order=order, quantity=part, price=last, at=datetime.now(UTC))
        )
        order.filled += part
        order.value += part * last
        if order.filled == order.quantity:
            order.status = "complete"
