"""Where contracts are traded: an order's or a position's own symbol, on the exchange of its instrument. Pure."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from core.models import Position
from core.orders import Order
from core.portfolio import Portfolio
from live.books import Market


class ContractMarkets:
    """`exchanges` by instrument, as the broker names them; `counts_lots` tells on which of them it counts lots, not units."""

    def __init__(self, exchanges: Mapping[str, str], counts_lots: Callable[[str], bool]) -> None:
        self._exchanges = exchanges
        self._counts_lots = counts_lots

    def of_order(self, order: Order) -> Market | None:
        """Where an order of a contract is traded; None for one of no contract."""
        return self._market(order.instrument, order.symbol, order.lot_size)

    def of_position(self, position: Position) -> Market | None:
        """Where a position in a contract is traded; None for one in none."""
        return self._market(position.instrument, position.futures_symbol, position.lot_size)

    def in_use(self, portfolio: Portfolio, instrument: str) -> Iterator[Market]:
        """The markets of an instrument's open positions and of its orders of which more may come; some may come twice."""
        markets = [self.of_position(position) for position in portfolio.positions_of(instrument)]
        markets += [self.of_order(order) for order in portfolio.orders_of(instrument)]
        return (market for market in markets if market is not None)

    def instruments(self, portfolio: Portfolio) -> dict[tuple[str, str], str]:
        """Whose contract a symbol and its exchange are, of all contracts that are known."""
        return {
            (contract.futures_symbol, self._exchanges[instrument]): instrument
            for instrument, listed in portfolio.contracts.items()
            if instrument in self._exchanges
            for contract in listed.contracts.known
        }

    def _market(self, instrument: str, symbol: str | None, lot_size: Decimal) -> Market | None:
        exchange = self._exchanges.get(instrument)
        if exchange is None or symbol is None:
            return None
        units = Decimal(1) if self._counts_lots(exchange) else lot_size
        return Market(symbol=symbol, exchange=exchange, units_per_lot=units)


NO_CONTRACT_MARKETS = ContractMarkets({}, lambda _: False)
