"""Rollover: when a position is due, how many lots it is in the next contract, and what moving it does to its fields.

The rules of DOMAIN.md, "Rollover": close near, open far, book the difference to the entry, shift what is a price of the chart
by (far - near). Prices in points, money in the instrument's currency; every result is rounded to its column's scale.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import asdict, replace

from core.contract_rules import Contract
from core.fills import gross_pnl, risk_amount, volatility_amount
from core.models import Position, RolloverStatus, require_utc
from core.numbers import ZERO, exactly, money, price
from core.symbols import lots_of


class RollTime(StrEnum):
    """Where a position in a contract stands on a day."""

    EARLY = "early"
    DUE = "due"
    EXPIRED = "expired"


def roll_time(expiry: date, day: date, roll_days_before_expiry: int) -> RollTime:
    """Due once the calendar days to expiry are fewer than the setting, the expiry day included; later it is too late."""
    days_to_expiry = (expiry - day).days
    if days_to_expiry < 0:
        return RollTime.EXPIRED
    return RollTime.DUE if days_to_expiry < roll_days_before_expiry else RollTime.EARLY


_NEXT = {
    RolloverStatus.NONE: {RolloverStatus.PENDING},
    RolloverStatus.PENDING: {RolloverStatus.IN_PROGRESS, RolloverStatus.NONE},
    RolloverStatus.IN_PROGRESS: {RolloverStatus.ROLLED, RolloverStatus.FAILED},
    RolloverStatus.ROLLED: {RolloverStatus.PENDING},
    RolloverStatus.FAILED: {RolloverStatus.PENDING},
}


def may_become(status: RolloverStatus, following: RolloverStatus) -> bool:
    """Whether a roll may go from one status to the next.

    A rolled position is due again next month and a failed one may be tried again; a pending one is none where it was closed
    before its turn.
    """
    return following in _NEXT[status]


class OddLots(Struct, frozen=True, kw_only=True):
    """After a change of the lot size a position is no whole number of far lots: that is reported, and not traded."""

    quantity: Decimal
    far_lot_size: Decimal
    whole_lots: int
    odd_units: Decimal


def far_lots(quantity: Decimal, far_lot_size: Decimal) -> int | OddLots:
    """How many far lots an open quantity of units is."""
    if quantity <= 0:
        raise ValueError(f"only an open position is rolled, not {quantity} units")
    counted = lots_of(quantity, far_lot_size)
    if counted.odd_units == 0:
        return counted.lots
    return OddLots(quantity=quantity, far_lot_size=far_lot_size, whole_lots=counted.lots, odd_units=counted.odd_units)


class Roll(Struct, frozen=True, kw_only=True):
    """What rolling a position comes to: the fills, in points, of closing near and opening far, and the costs of both in money.

    `far` is the contract it is in afterwards; a synthetic future also has `strike`.
    """

    near_price: Decimal
    far_price: Decimal
    far: Contract
    rolled_at: datetime
    strike: Decimal | None = None
    costs: Decimal = ZERO

    def __post_init__(self) -> None:
        require_utc("Roll", rolled_at=self.rolled_at)

    @property
    @exactly
    def spread(self) -> Decimal:
        """Far - near, in points: how far everything that is a price of the chart moves."""
        return self.far_price - self.near_price


class RolledFields(Struct, frozen=True, kw_only=True):
    """The fields of a position that a roll sets, by their names."""

    entry_price: Decimal
    entry_lots: int
    lots: int
    quantity: Decimal
    lot_size: Decimal
    point_value: Decimal
    initial_stop: Decimal | None
    current_stop: Decimal | None
    highest_close: Decimal
    mark_price: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    costs: Decimal
    risk_contribution: Decimal
    vol_contribution: Decimal
    rollover_status: RolloverStatus
    rollover_timestamp: datetime
    rollover_pnl: Decimal
    rollover_count: int
    original_expiry: date | None
    original_strike: Decimal | None
    original_entry_price: Decimal | None
    expiry: date
    strike: Decimal | None
    contract_month: str


def shifted(level: Decimal | None, spread: Decimal) -> Decimal | None:
    """A stop or a pyramid's price, in points, on the far contract's scale; None stays None."""
    return None if level is None else _moved(level, spread)


@exactly
def _moved(level: Decimal, spread: Decimal) -> Decimal:
    return price(level + spread)


def rolled_fields(position: Position, roll: Roll) -> RolledFields | OddLots:
    """What an open position's fields are after the roll; OddLots where its quantity is no whole number of far lots.

    The mark moves with the rest, so neither open equity nor any distance between price and stop changes by the spread.
    `original_*` keep the first contract's values. Entry lots are restated in far lots, rounded up, so that a position that
    was sold in part stays `partial` and its remaining entry costs are still booked with its exits.
    """
    lots = far_lots(position.quantity, roll.far.lot_size)
    if isinstance(lots, OddLots):
        return lots
    side, point_value = position.side, roll.far.point_value
    booked = gross_pnl(side, position.entry_price, roll.near_price, position.lots, position.point_value)
    first = position.rollover_count == 0
    mark_price = _moved(position.mark_price, roll.spread)
    current_stop = shifted(position.current_stop, roll.spread)
    return RolledFields(
        entry_price=price(roll.far_price),
        entry_lots=_restated(position, lots),
        lots=lots,
        quantity=position.quantity,
        lot_size=roll.far.lot_size,
        point_value=point_value,
        initial_stop=shifted(position.initial_stop, roll.spread),
        current_stop=current_stop,
        highest_close=_moved(position.highest_close, roll.spread),
        mark_price=mark_price,
        unrealized_pnl=gross_pnl(side, roll.far_price, mark_price, lots, point_value),
        realized_pnl=_net(position.realized_pnl, booked, roll.costs),
        costs=_sum(position.costs, roll.costs),
        risk_contribution=risk_amount(side, roll.far_price, current_stop, lots, point_value),
        vol_contribution=volatility_amount(position.atr, lots, point_value),
        rollover_status=RolloverStatus.ROLLED,
        rollover_timestamp=roll.rolled_at,
        rollover_pnl=_sum(position.rollover_pnl, booked),
        rollover_count=position.rollover_count + 1,
        original_expiry=position.expiry if first else position.original_expiry,
        original_strike=position.strike if first else position.original_strike,
        original_entry_price=position.entry_price if first else position.original_entry_price,
        expiry=roll.far.expiry,
        strike=roll.strike,
        contract_month=roll.far.month,
    )


def rolled(position: Position, fields: RolledFields) -> Position:
    """The position after the roll; its version is the caller's to raise."""
    return replace(position, **asdict(fields))


def _restated(position: Position, lots: int) -> int:
    """The entry's lots in far lots, rounded up: entry lots x far lots / near lots."""
    return -(-position.entry_lots * lots // position.lots)


@exactly
def _sum(first: Decimal, second: Decimal) -> Decimal:
    return money(first + second)


@exactly
def _net(realized: Decimal, booked: Decimal, costs: Decimal) -> Decimal:
    return money(realized + booked - costs)
