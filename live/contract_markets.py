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

    def has(self, position: Position) -> bool:
        """Whether a position is in a contract."""
        return self._exchanges.get(position.instrument) is not None and bool(_symbols_of(position))

    def held_as(self, position: Position) -> Iterator[tuple[Market, int]]:
        """The markets that a position in a contract is in: of a synthetic future the call's, and the put's with sign -1."""
        for symbol, sign in _symbols_of(position):
            market = self._market(position.instrument, symbol, position.lot_size)
            if market is not None:
                yield market, sign

    def in_use(self, portfolio: Portfolio, instrument: str) -> Iterator[Market]:
        """The markets of an instrument's open positions and of its orders of which more may come; some may come twice.

        But for options: no chart of ours tells what they are worth.
        """
        for position in portfolio.positions_of(instrument):
            if position.ce_symbol is None:
                yield from (market for market, _ in self.held_as(position))
        for order in portfolio.orders_of(instrument):
            market = None if order.leg is not None else self.of_order(order)
            if market is not None:
                yield market

    def instruments(self, portfolio: Portfolio) -> dict[tuple[str, str], str]:
        """Whose contract a symbol and its exchange are, of all contracts that are known; and whose order comes to it."""
        ordered = {
            (symbol, self._exchanges[order.instrument]): order.instrument
            for order in portfolio.orders.values()
            if order.instrument in self._exchanges
            for symbol in _symbols_to_come(order)
        }
        return ordered | {
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


def _symbols_to_come(order: Order) -> list[str]:
    """What the broker may hold for an order: of a leg that opens, what the other one came to as well."""
    plan = order.plan
    symbols = (order.symbol, None if plan is None else plan.ce_symbol, None if plan is None else plan.pe_symbol)
    return [symbol for symbol in symbols if symbol is not None]


def _symbols_of(position: Position) -> list[tuple[str, int]]:
    if position.ce_symbol is not None and position.pe_symbol is not None:
        return [(position.ce_symbol, 1), (position.pe_symbol, -1)]
    return [] if position.futures_symbol is None else [(position.futures_symbol, 1)]


NO_CONTRACT_MARKETS = ContractMarkets({}, lambda _: False)
