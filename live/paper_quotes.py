"""The paper broker sees the market through the signals that were decided: their prices, as they come."""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal

from core.inputs import SignalInput
from core.journal import Batch
from core.orders import Order
from live.books import Market
from live.brokers.paper import PaperBroker


class PaperQuotes:
    """Prices on their way from the writer, which must not wait, to the broker's book."""

    def __init__(
        self,
        broker: PaperBroker,
        market_of: Callable[[str], Market | None],
        orders: Callable[[], Iterable[Order]] = tuple,
    ) -> None:
        self._broker = broker
        self._market_of = market_of
        self._orders = orders
        self._begun = False
        self._waiting: deque[tuple[str, Decimal, datetime]] = deque()

    def take(self, batch: Batch) -> None:
        """Note the prices of a batch's signals."""
        for entry in batch.entries:
            if isinstance(entry.given, SignalInput):
                signal = entry.given.signal
                self._waiting.append((signal.instrument, signal.price, signal.time))

    def show(self) -> None:
        """Show what was noted to the broker."""
        if not self._begun:
            self._begin()
        while self._waiting:
            instrument, price, at = self._waiting[0]
            market = self._market_of(instrument)
            if market is not None:
                self._broker.quote_seen(market.symbol, market.exchange, price, at)
            self._waiting.popleft()

    def _begin(self) -> None:
        # What an earlier process decided and could not show any more: the entries that have not ended tell it.
        for order in self._orders():
            if order.plan is not None and not order.has_ended:
                self._waiting.append((order.instrument, order.reference_price, order.plan.entry_timestamp))
        self._begun = True
