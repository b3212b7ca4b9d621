"""Orders: what a broker is asked to do, and what has come of it. An order is kept as an intent before the broker hears of it."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType

from core.models import MONEY_COLUMN, PRICE_COLUMN, Side, require_exact, require_utc
from core.numbers import ZERO


class OrderState(StrEnum):
    """Where an order is. `intent`: kept, not known to be sent; `in_doubt`: perhaps sent, the broker's answer never came."""

    INTENT = "intent"
    SENT = "sent"
    WORKING = "working"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"


_AFTER_SENDING = frozenset(
    {
        OrderState.WORKING,
        OrderState.PARTIAL,
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.REJECTED,
        OrderState.IN_DOUBT,
    }
)
# What may follow; the same state may always be told again. The database holds the same table. Besides, an order that was
# sent and did not reach the broker is an intent again.
LEGAL_AFTER: dict[OrderState, frozenset[OrderState]] = {
    OrderState.INTENT: _AFTER_SENDING | {OrderState.SENT},
    OrderState.SENT: _AFTER_SENDING,
    OrderState.IN_DOUBT: _AFTER_SENDING | {OrderState.SENT},
    OrderState.WORKING: _AFTER_SENDING,
    OrderState.PARTIAL: frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.IN_DOUBT}),
    # A fill can be on its way while the cancel is answered.
    OrderState.CANCELLED: frozenset({OrderState.FILLED}),
    OrderState.REJECTED: frozenset({OrderState.FILLED}),
    OrderState.FILLED: frozenset(),
}
FINAL = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED})


class OrderPurpose(StrEnum):
    """What an order does to its position. `stop` waits at the broker in case that nobody else can act; `undo` sells what the
    first leg of a synthetic future bought where the second could not be had."""

    ENTRY = "entry"
    EXIT = "exit"
    STOP = "stop"
    ROLL_OUT = "roll_out"
    ROLL_IN = "roll_in"
    UNDO = "undo"


OPENING = frozenset({OrderPurpose.ENTRY, OrderPurpose.ROLL_IN})


class Leg(StrEnum):
    """Which option of a synthetic future an order is for: the call, or the put of the same strike and expiry."""

    CALL = "ce"
    PUT = "pe"


class OrderType(StrEnum):
    """How an order is priced at the broker."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"


class Fill(Struct, frozen=True, kw_only=True):
    """A trade of an order, as the broker reports it. `fill_id` is the broker's: the same fill twice is one."""

    fill_id: str
    lots: int
    price: Decimal
    filled_at: datetime

    def __post_init__(self) -> None:
        require_utc("Fill", filled_at=self.filled_at)
        require_exact(self, ("price",), PRICE_COLUMN)
        if self.lots <= 0 or self.price <= 0:
            raise ValueError(f"Fill {self.fill_id}: {self.lots} lots at {self.price} are no fill")


class EntryPlan(Struct, frozen=True, kw_only=True):
    """What an entry's first fill makes a position of: the signal's times, stop and ATR (points), why that size; and
    its contract's expiry and month, where it has one. `efficiency_ratio` is the signal's ER."""

    entry_timestamp: datetime
    entry_bar_time: datetime | None
    mark_time: datetime
    stop: Decimal | None
    atr: Decimal | None
    limiter: str
    is_base_position: bool
    expiry: date | None = None
    contract_month: str | None = None
    strike: Decimal | None = None
    ce_symbol: str | None = None
    pe_symbol: str | None = None
    # Where a human is asked once the market turns out to be too far away: what the signal was, besides the above.
    fingerprint: str | UnsetType = UNSET
    efficiency_ratio: Decimal | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        require_utc(
            "EntryPlan",
            entry_timestamp=self.entry_timestamp,
            entry_bar_time=self.entry_bar_time,
            mark_time=self.mark_time,
        )
        require_exact(self, ("stop", "atr", "strike"), PRICE_COLUMN)


class Order(Struct, frozen=True, kw_only=True):
    """One order of one position: the columns of `orders` but its two wall-clock ones.

    `reason` is why an exit is sold, or why an entry is no longer wanted. `side` is the position's, `reference_price`
    (points) the signal's; `risk_reserved` and `vol_reserved` (money) are what the unfilled lots of an entry hold of the
    portfolio's limits. `settled`: the broker's books have been read once more since it ended, nothing more comes of it.
    `symbol` is its contract's, None where its instrument has one market. `order_type`, `limit_price` and `sent_at` are of its
    last sending; `filled_before` lots were filled by earlier tries; `try_over`: it is cancelled to be tried again.
    Of a synthetic future the leg that is bought goes first; `leg_price` (points) is what that came to, on the order of the
    other one, and `strike` (points) that of both. A roll is to the contract of
    month `roll_to`; `near_price` (points) is what the near one was left at.
    """

    client_order_id: str
    journal_seq: int
    position_id: str
    instrument: str
    layer: str
    side: Side
    purpose: OrderPurpose
    attempt: int = 1
    lots: int
    lot_size: Decimal
    point_value: Decimal
    reference_price: Decimal
    reason: str | None = None
    plan: EntryPlan | None = None
    state: OrderState = OrderState.INTENT
    cancel_asked: bool = False
    filled_lots: int = 0
    average_price: Decimal | None = None
    fill_ids: tuple[str, ...] = ()
    broker_order_id: str | None = None
    message: str | None = None
    risk_reserved: Decimal = ZERO
    vol_reserved: Decimal = ZERO
    settled: bool = False
    leg: Leg | None = None
    symbol: str | None = None
    order_type: OrderType | None = None
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None
    leg_price: Decimal | None = None
    strike: Decimal | None = None
    near_price: Decimal | None = None
    roll_to: str | None = None
    filled_before: int = 0
    try_over: bool = False
    sent_at: datetime | None = None
    version: int = 0

    def __post_init__(self) -> None:
        require_exact(self, ORDER_PRICES, PRICE_COLUMN)
        require_exact(self, ("risk_reserved", "vol_reserved"), MONEY_COLUMN)
        require_utc("Order", sent_at=self.sent_at)
        if self.lots <= 0 or not 0 <= self.filled_lots <= self.lots:
            raise ValueError(f"Order.filled_lots must be 0..lots and lots above 0: {self.filled_lots}/{self.lots}")
        if self.purpose is OrderPurpose.ENTRY and self.plan is None:
            raise ValueError("an entry has a plan")
        if self.settled and self.state not in FINAL:
            raise ValueError(f"Order is {self.state} and cannot be settled")

    @property
    def has_ended(self) -> bool:
        """Whether the broker does no more about it, as far as is known."""
        return self.state in FINAL

    @property
    def rests(self) -> bool:
        """Whether it only waits at the broker for what is hoped not to come."""
        return self.purpose is OrderPurpose.STOP and not self.has_ended and not self.filled_lots

    @property
    def is_tried_again(self) -> bool:
        """Whether what of it was not filled will be asked for once more, as soon as its books are closed."""
        return self.try_over and not self.cancel_asked and self.state is OrderState.CANCELLED and not self.settled

    @property
    def is_live(self) -> bool:
        """Whether it, its next try, or what follows from it as a leg may still be filled."""
        return not self.has_ended or self.is_tried_again or (self.leg is not None and self.lots_to_come > 0)

    @property
    def is_first_leg(self) -> bool:
        """Whether it is only the first half of something: what it is filled counts once the other leg is filled, too."""
        return self.leg is not None and self.leg_price is None

    @property
    def lots_left(self) -> int:
        """Lots that may still be filled: none once it has ended. Of a first leg, those whose other leg is to come as well:
        how many these are is known once it is settled."""
        if self.is_first_leg and not self.settled:
            return self.lots
        return self.lots - self.filled_lots if self.is_live else 0

    @property
    def lots_to_come(self) -> int:
        """Lots that fills may still be told of: also of an ended one, until the broker's books were read again."""
        if self.settled:
            return 0
        return self.lots if self.is_first_leg else self.lots - self.filled_lots

    @property
    def buys(self) -> bool:
        """Whether it is a buy: entries of longs, exits of shorts; a put goes the other way round."""
        opens_long = (self.side is Side.LONG) == (self.purpose in OPENING)
        return opens_long != (self.leg is Leg.PUT)


ORDER_PRICES = (
    "lot_size",
    "point_value",
    "reference_price",
    "average_price",
    "limit_price",
    "trigger_price",
    "leg_price",
    "strike",
    "near_price",
)


def client_order_id_of(seq: int, position_id: str, purpose: OrderPurpose, attempt: int, leg: Leg | None = None) -> str:
    """The order's id, the same whenever the same journal entry is decided: journal seq, position, purpose, leg and attempt.

    At most 32 characters of letters, digits and `-`, which every venue takes: an EXIT of ALL layers shares one seq, so the
    position's own digits are in it.
    """
    return f"pm{seq}-{position_id[-12:]}-{_LETTERS[purpose]}{'' if leg is None else leg.value[0]}{attempt}"


_LETTERS = {
    OrderPurpose.ENTRY: "e",
    OrderPurpose.EXIT: "x",
    OrderPurpose.STOP: "s",
    OrderPurpose.ROLL_OUT: "o",
    OrderPurpose.ROLL_IN: "i",
    OrderPurpose.UNDO: "u",
}
_WRITTEN_ID = re.compile(r"pm\d+-.*-([exsoiu])(?:c|p)?\d+")


def counted(orders: Iterable[Order]) -> dict[str, int]:
    """How many orders are on their way, by state; `stops` are those that only wait at the broker."""
    found = Counter("stops" if order.rests else order.state.value for order in orders)
    return dict(sorted(found.items()))


def purpose_of_id(client_order_id: str) -> OrderPurpose | None:
    """What an order of that id is for, as client_order_id_of() wrote it; None where it did not."""
    written = _WRITTEN_ID.fullmatch(client_order_id)
    return None if written is None else next(purpose for purpose, its in _LETTERS.items() if its == written[1])
