"""A synthetic future's two options: the one that is bought goes first, the other for what that was filled (DOMAIN.md, Broker).

What the first leg was filled counts for nothing until the other one is filled; where that cannot be had, it is undone.
"""

from decimal import Decimal

from msgspec import Struct

from core.contract_rules import Contract
from core.models import Position, Side
from core.numbers import price
from core.orders import OPENING, Leg, Order, OrderPurpose
from core.symbols import strike_near, synthetic_price, synthetic_symbols

_OTHER = {Leg.CALL: Leg.PUT, Leg.PUT: Leg.CALL}


class Pair(Struct, frozen=True, kw_only=True):
    """The call and the put of one strike (points) and expiry, by their symbols."""

    strike: Decimal
    ce_symbol: str
    pe_symbol: str

    def symbol_of(self, leg: Leg) -> str:
        """The symbol of one of them."""
        return self.ce_symbol if leg is Leg.CALL else self.pe_symbol


def pair_near(contract: Contract, level: Decimal) -> Pair | None:
    """The pair that stands for a future at `level` (points); None for a contract without options."""
    if contract.strike_step is None:
        return None
    return pair_at(contract, price(strike_near(level, contract.strike_step)))


def pair_at(contract: Contract, strike: Decimal) -> Pair:
    """The call and the put of a contract's expiry at a strike (points)."""
    symbols = synthetic_symbols(contract.symbol, contract.expiry, strike)
    return Pair(strike=strike, ce_symbol=str(symbols.call), pe_symbol=str(symbols.put))


def pair_of(position: Position) -> Pair | None:
    """The pair that a position is held in; None for any other position."""
    if position.strike is None or position.ce_symbol is None or position.pe_symbol is None:
        return None
    return Pair(strike=position.strike, ce_symbol=position.ce_symbol, pe_symbol=position.pe_symbol)


def first_leg(side: Side, purpose: OrderPurpose) -> Leg:
    """The leg that is bought: the call to open a long or to close a short, else the put."""
    return Leg.CALL if (side is Side.LONG) == (purpose in OPENING) else Leg.PUT


def other_leg(leg: Leg) -> Leg:
    """The other of the two."""
    return _OTHER[leg]


def pair_price(order: Order, filled_at: Decimal) -> Decimal:
    """Strike + call - put, in points, of a second leg that was filled at `filled_at`."""
    assert order.strike is not None  # noqa: S101 - an order of a leg has them
    assert order.leg_price is not None  # noqa: S101
    call, put = (filled_at, order.leg_price) if order.leg is Leg.CALL else (order.leg_price, filled_at)
    return price(synthetic_price(order.strike, call, put))
