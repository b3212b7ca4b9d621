"""The paper broker sees the market through the signals that were decided: their prices, as they come."""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from core.events import OrderIntended
from core.inputs import SignalInput
from core.journal import Batch, Entry
from core.orders import OrderPurpose
from core.portfolio import Portfolio
from live.books import Market
from live.brokers.paper import PaperBroker
from live.contract_markets import NO_CONTRACT_MARKETS, ContractMarkets


class PaperQuotes:
    """Prices on their way from the writer, which must not wait, to the broker's book."""

    def __init__(
        self,
        broker: PaperBroker,
        market_of: Callable[[str], Market | None],
        by_contract: ContractMarkets = NO_CONTRACT_MARKETS,
        portfolio: Callable[[], Portfolio] | None = None,
    ) -> None:
        self._broker = broker
        self._market_of = market_of
        self._by_contract = by_contract
        self._portfolio = portfolio
        self._begun = False
        self._waiting: deque[tuple[Market, Decimal, datetime]] = deque()

    def take(self, batch: Batch) -> None:
        """Note the prices of a batch's signals, for each market that the instrument is in: the chart has one price for all."""
        for entry in batch.entries:
            if isinstance(entry.given, SignalInput):
                signal = entry.given.signal
                for market in self._markets(batch.after, signal.instrument):
                    self._waiting.append((market, signal.price, signal.time))
            self._take_rolls(batch.after, entry)

    def _take_rolls(self, portfolio: Portfolio, entry: Entry) -> None:
        """A contract that is rolled into has no price of its own before the next bar: it is the chart's."""
        for event in entry.decision.events:
            if isinstance(event, OrderIntended) and event.order.purpose is OrderPurpose.ROLL_IN:
                market = self._by_contract.of_order(event.order)
                position = portfolio.positions.get(event.order.position_id)
                if market is not None and position is not None:
                    self._waiting.append((market, position.mark_price, position.mark_time))

    def show(self) -> None:
        """Show what was noted to the broker."""
        if not self._begun:
            self._begin()
        while self._waiting:
            market, price, at = self._waiting[0]
            self._broker.quote_seen(market.symbol, market.exchange, price, at)
            self._waiting.popleft()

    def _begin(self) -> None:
        # What an earlier process decided and could not show any more: the entries that have not ended tell it.
        portfolio = None if self._portfolio is None else self._portfolio()
        for order in () if portfolio is None else portfolio.orders.values():
            if portfolio is not None and order.plan is not None and not order.has_ended:
                for market in self._markets(portfolio, order.instrument):
                    self._waiting.append((market, order.reference_price, order.plan.entry_timestamp))
        self._begun = True

    def _markets(self, portfolio: Portfolio, instrument: str) -> set[Market]:
        fixed = self._market_of(instrument)
        return {*self._by_contract.in_use(portfolio, instrument), *(() if fixed is None else (fixed,))}
