"""The orders that would take what was held to what a session has made of it. Pure; nobody is sent any of them."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from typing import Literal

from msgspec import Struct

from risk.what_if.positions import HeldPosition, Positions

_PLACES = 8


class Order(Struct, frozen=True, kw_only=True):
    """So many lots of a contract to be bought or sold for a node; `price` is what the session reckons with (points)."""

    number: int
    node: str
    instrument: str
    contract: str
    expiry: date | None
    side: Literal["BUY", "SELL"]
    lots: float
    currency: str
    price: float | None


_Market = tuple[str, str, str]


def orders_of(base: Positions, modified: Positions, expiries: Mapping[str, date]) -> tuple[Order, ...]:
    """One order a node, instrument and contract, for the difference of the lots; none where they are the same, as after a shock.

    A roll is two: the near contract's and the far one's. `expiries` by position of the base.
    """
    lots: dict[_Market, float] = defaultdict(float)
    last: dict[_Market, HeldPosition] = {}
    days: dict[_Market, date] = {}
    for sign, positions in ((-1, base), (1, modified)):
        for position in positions.held:
            market = _market(position)
            lots[market] += sign * position.signed_quantity
            last[market] = position
    for position in base.held:
        if position.position_id in expiries:
            days[_market(position)] = expiries[position.position_id]
    moved = [(market, round(change, _PLACES)) for market, change in sorted(lots.items()) if round(change, _PLACES)]
    return tuple(
        _order(number, last[market], change, days.get(market)) for number, (market, change) in enumerate(moved, 1)
    )


def _market(position: HeldPosition) -> _Market:
    return position.node, position.instrument, position.contract


def _order(number: int, position: HeldPosition, change: float, expiry: date | None) -> Order:
    return Order(
        number=number,
        node=position.node,
        instrument=position.instrument,
        contract=position.contract,
        expiry=expiry,
        side="BUY" if change > 0 else "SELL",
        lots=abs(change),
        currency=position.currency,
        price=position.price,
    )
