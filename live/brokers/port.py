"""What the engine asks of a broker, whichever it is. Quantities are in the broker's units, prices in points, times aware UTC.

Every call ends within a few of the adapter's time-outs and raises one of three errors, by what is known of its effect.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from core.errors import Refused, Retryable
from core.symbols import Action

__all__ = [
    "Action",
    "BarHistory",
    "Broker",
    "BrokerAway",
    "BrokerBar",
    "BrokerFill",
    "BrokerOrder",
    "BrokerOrderState",
    "BrokerPosition",
    "BrokerRefused",
    "Funds",
    "OrderRequest",
    "OrderType",
    "OutcomeUnknown",
    "Quote",
]


class BrokerRefused(Refused):
    """the broker has refused the request: it had no effect, and would have none if it were sent again"""


class BrokerAway(Retryable):
    """the broker was not reached, or turned the request away unread (one too many): it had no effect"""


class OutcomeUnknown(Retryable):
    """the request was sent and no usable answer came: it may have had its effect; only the broker's books tell"""


class OrderType(StrEnum):
    """MARKET, LIMIT at a price, STOP: a limit order once the trigger is touched, STOP_MARKET: a market order then."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_MARKET = "STOP_MARKET"


class BrokerOrderState(StrEnum):
    """How the broker sees an order; `pending` is a stop that has not been triggered."""

    PENDING = "pending"
    WORKING = "working"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class OrderRequest(Struct, frozen=True, kw_only=True):
    """An order to be placed. `tag` goes with it where `client_order_id` cannot; few brokers show it in their books.

    `client_order_id`: up to 32 letters and digits are taken everywhere, `-` and `_` by most. LIMIT and STOP have a price,
    STOP and STOP_MARKET a trigger, the others have none: anything else is a ValueError.
    """

    client_order_id: str
    tag: str
    symbol: str
    exchange: str
    action: Action
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None

    def __post_init__(self) -> None:
        if self.quantity <= 0:
            raise ValueError("quantity must be positive")
        has_limit = self.order_type in (OrderType.LIMIT, OrderType.STOP)
        has_trigger = self.order_type in (OrderType.STOP, OrderType.STOP_MARKET)
        for name, value, wanted in (
            ("price", self.price, has_limit),
            ("trigger_price", self.trigger_price, has_trigger),
        ):
            if (value is not None) != wanted:
                raise ValueError(f"{self.order_type} {'needs a' if wanted else 'has no'} {name}")
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive")


class BrokerOrder(Struct, frozen=True, kw_only=True):
    """An order as the broker's book has it; None where the broker does not say."""

    broker_order_id: str
    client_order_id: str | None
    tag: str | None
    symbol: str
    exchange: str
    action: Action
    order_type: OrderType
    quantity: Decimal
    state: BrokerOrderState
    filled_quantity: Decimal | None
    average_price: Decimal | None
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    placed_at: datetime | None = None
    message: str | None = None


class BrokerFill(Struct, frozen=True, kw_only=True):
    """A trade of an order; `fill_id` is the same however often it is reported."""

    fill_id: str
    broker_order_id: str
    symbol: str
    exchange: str
    action: Action
    quantity: Decimal
    price: Decimal
    filled_at: datetime | None


class BrokerPosition(Struct, frozen=True, kw_only=True):
    """What the account holds of a symbol: positive long, negative short."""

    symbol: str
    exchange: str
    quantity: Decimal


class Quote(Struct, frozen=True, kw_only=True):
    """The last trade, and best bid and ask where there are any."""

    last: Decimal
    bid: Decimal | None
    ask: Decimal | None


class Funds(Struct, frozen=True, kw_only=True):
    """Money that the account has free and in use."""

    available: Decimal
    used: Decimal


class BrokerBar(Struct, frozen=True, kw_only=True):
    """A bar that a broker has kept: when it opened, as the broker tells it, prices in points; None where it does not say."""

    opened: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None = None
    open_interest: Decimal | None = None


class BarHistory(Protocol):
    """A broker that tells the past too. Nothing is changed by asking; each call raises BrokerRefused or BrokerAway."""

    def bars(self, symbol: str, exchange: str, timeframe: str, first: date, last: date) -> list[BrokerBar]:
        """The bars from one day of the exchange up to another one, in order, each once; that in progress may be among them.

        `timeframe` is ours: 1m to 4h, 1d, 1w.
        """


class Broker(Protocol):
    """A broker's account. Each method raises BrokerRefused, BrokerAway or OutcomeUnknown (only where it changes something)."""

    @property
    def name(self) -> str:
        """How the adapter is called in settings and rows."""

    @property
    def keeps_client_order_ids(self) -> bool:
        """Whether the order book shows `client_order_id`. It is no licence to send again: many venues refuse a second
        order with the same one only while the first is live.
        """

    @property
    def places_once(self) -> bool:
        """Whether an order that is placed again under its client order id is the first one, whatever became of that: then
        placing again is asking.
        """

    @property
    def has_stop_orders(self) -> bool:
        """Whether it takes STOP and STOP_MARKET."""

    def close(self) -> None:
        """Let go of files and connections."""

    def require_ready(self) -> None:
        """See, at the start, that the account is there and is what the settings say it is. Raises BrokerRefused where not."""

    def counts_lots(self, exchange: str) -> bool:
        """Whether a quantity on this exchange is a number of lots (contracts), not of units."""

    def place(self, request: OrderRequest) -> str:
        """Place an order; the broker's id of it."""

    def cancel(self, broker_order_id: str) -> None:
        """Ask that an order be cancelled. Whether it was, the book tells: it may be filled first."""

    def modify(self, broker_order_id: str, request: OrderRequest) -> None:
        """Change a live order's price, trigger or quantity to the request's; its id and type stay. BrokerRefused where the broker
        cannot do that in its place: then cancel it, see it cancelled, and place another.
        """

    def orders(self) -> list[BrokerOrder]:
        """The day's order book, every order of the account."""

    def fills(self) -> list[BrokerFill]:
        """The day's trades."""

    def positions(self) -> list[BrokerPosition]:
        """What the account holds now, without zero rows."""

    def quote(self, symbol: str, exchange: str) -> Quote:
        """The market now."""

    def funds(self) -> Funds:
        """The account's money."""
