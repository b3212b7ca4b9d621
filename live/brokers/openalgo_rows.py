"""OpenAlgo's rows and fields, read: numbers that may be text, times of several forms, trades that may be there twice."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from msgspec import Struct

from live.brokers.port import (
    Action,
    BrokerFill,
    BrokerOrder,
    BrokerOrderState,
    BrokerPosition,
    Funds,
    OrderType,
    Quote,
)

log = structlog.get_logger(__name__)

# OpenAlgo gives its times without an offset: they are India's.
KOLKATA = ZoneInfo("Asia/Kolkata")
Row = Mapping[str, Any]

_PRICETYPES = {
    OrderType.MARKET: "MARKET",
    OrderType.LIMIT: "LIMIT",
    OrderType.STOP: "SL",
    OrderType.STOP_MARKET: "SL-M",
}
_ORDER_TYPES = {pricetype: order_type for order_type, pricetype in _PRICETYPES.items()}
_STATES = {
    "complete": BrokerOrderState.FILLED,
    "open": BrokerOrderState.WORKING,
    "pending": BrokerOrderState.PENDING,
    "trigger pending": BrokerOrderState.PENDING,
    "rejected": BrokerOrderState.REJECTED,
    "cancelled": BrokerOrderState.CANCELLED,
}
_TIME_FORMATS = ("%d-%b-%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%d-%m-%Y %H:%M:%S")
_TIME_OF_DAY = "%H:%M:%S"
_TRADE_ID_NAMES = ("tradeid", "trade_id", "fill_id")
# Of more ways to read equal rows than this, none is tried.
_MOST_WAYS = 4096
# OpenAlgo's average prices have two decimals.
_ROUNDED_BY = Decimal("0.01")
_MOST_DIGITS = 20


class UnreadableRow(ValueError):
    """a field is missing or not what it should be"""


class _Trade(Struct, frozen=True, kw_only=True):
    """A row of the trade book."""

    order_id: str
    trade_id: str | None
    symbol: str
    exchange: str
    action: Action
    quantity: Decimal
    price: Decimal
    time_as_told: str
    at: datetime | None

    @property
    def looks(self) -> tuple[str, str, Decimal, Decimal]:
        """Two rows that are equal in this may be one trade, reported twice."""
        return self.order_id, self.time_as_told, self.price, self.quantity


def plain(value: Decimal) -> str:
    """A number as OpenAlgo takes it: no exponent, no trailing zeros."""
    return f"{value.normalize():f}"


def pricetype_of(order_type: OrderType) -> str:
    """OpenAlgo's name of an order type."""
    return _PRICETYPES[order_type]


def rows_in(data: object) -> list[Row]:
    """The rows of a book; none where it is empty, which some brokers' adapters tell with null or {}."""
    found = data.get("orders", []) if isinstance(data, Mapping) else data
    if not found:
        return []
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise UnreadableRow("the book is no list of objects")
    return found


def order_of(row: Row, now: datetime) -> BrokerOrder:
    """An order. A status we do not know is taken for working: such an order is watched, and not sent again."""
    quantity = number(row, "quantity")
    price, trigger_price = number(row, "price", "0"), number(row, "trigger_price", "0")
    told = str(row.get("order_status", "")).strip().lower()
    state = _STATES.get(told, BrokerOrderState.WORKING)
    unknown = None if told in _STATES else f"order_status {told!r} is not known: taken for working"
    return BrokerOrder(
        broker_order_id=text(row, "orderid"),
        client_order_id=None,
        tag=_told(row, "strategy"),
        symbol=text(row, "symbol"),
        exchange=text(row, "exchange"),
        action=_action(row),
        order_type=_order_type(row, price, trigger_price),
        quantity=quantity,
        state=state,
        filled_quantity=_filled(row, state, quantity),
        average_price=number(row, "average_price", "0") or None,
        price=price or None,
        trigger_price=trigger_price or None,
        placed_at=time_of(row.get("timestamp"), now),
        message=unknown or _told(row, "rejection_reason") or _told(row, "message"),
    )


def fills_of(rows: Iterable[Row], orders: Iterable[BrokerOrder], now: datetime) -> list[BrokerFill]:
    """The trades of a book, each once, oldest first as far as their times tell.

    `orders` decides of equal rows without a trade id: while their order is live they count once, for a second one that
    is real shows in the end; after that as often as every reading of them that fits the order has them.
    """
    trades = _trades(rows, now)
    fills = {f"{trade.order_id}:{trade.trade_id}": trade for trade in trades if trade.trade_id is not None}
    known = {order.broker_order_id: order for order in orders}
    for order_id, groups in _equal_rows(trades).items():
        fills.update(_named(groups, _read(groups, known.get(order_id)).times))
    return sorted(
        (_fill(fill_id, trade) for fill_id, trade in fills.items()),
        key=lambda fill: (fill.filled_at is None, fill.filled_at or now),
    )


def doubts_of(rows: Iterable[Row], orders: Iterable[BrokerOrder], now: datetime) -> dict[str, Decimal]:
    """Of orders that have ended and whose equal rows may be one trade or several: the most that may be filled."""
    known = {order.broker_order_id: order for order in orders}
    readings = {
        order_id: _read(groups, known.get(order_id)) for order_id, groups in _equal_rows(_trades(rows, now)).items()
    }
    return {order_id: reading.most for order_id, reading in readings.items() if reading.most is not None}


def has_equal_rows(rows: Iterable[Row], now: datetime) -> bool:
    """Whether equal rows without a trade id are there."""
    return any(len(group) > 1 for groups in _equal_rows(_trades(rows, now)).values() for group in groups)


def positions_of(rows: Iterable[Row]) -> list[BrokerPosition]:
    """Quantities by symbol, without those that are zero."""
    held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        held[text(row, "symbol"), text(row, "exchange")] += number(row, "quantity")
    return [
        BrokerPosition(symbol=symbol, exchange=exchange, quantity=quantity)
        for (symbol, exchange), quantity in held.items()
        if quantity
    ]


def quote_of(data: object) -> Quote:
    """A quote; a bid or an ask of 0 is none."""
    row = _object(data)
    last = number(row, "ltp")
    if last <= 0:
        raise UnreadableRow("`ltp` is not positive: there is no market")
    return Quote(last=last, bid=number(row, "bid", "0") or None, ask=number(row, "ask", "0") or None)


def funds_of(data: object) -> Funds:
    """Free cash and margin in use."""
    row = _object(data)
    return Funds(available=number(row, "availablecash"), used=number(row, "utiliseddebits"))


def number(row: Row, name: str, default: str | None = None) -> Decimal:
    """A finite number, whether it came as a number or as text. Raises UnreadableRow; an empty one is `default`."""
    value = row.get(name)
    given = default if value is None or value == "" else value
    if isinstance(given, bool) or not isinstance(given, int | str | Decimal):
        raise UnreadableRow(f"`{name}` is not a number")
    try:
        found = Decimal(given.strip() if isinstance(given, str) else given)
    except InvalidOperation as error:
        raise UnreadableRow(f"`{name}` is not a number") from error
    if not found.is_finite() or (found and abs(found.adjusted()) > _MOST_DIGITS):
        raise UnreadableRow(f"`{name}` is not a number of this world")
    return found


def text(row: Row, name: str) -> str:
    """A field that has to be there. Raises UnreadableRow."""
    found = _told(row, name)
    if found is None:
        raise UnreadableRow(f"`{name}` is missing")
    return found


def time_of(told: object, now: datetime) -> datetime | None:
    """A time of OpenAlgo's; None where it is of a form we do not know. One without a day is of the last 24 hours."""
    if not isinstance(told, str) or not told.strip():
        return None
    for form in _TIME_FORMATS:
        if (found := _parsed(told.strip(), form)) is not None:
            return found
    if (of_day := _parsed(told.strip(), _TIME_OF_DAY)) is not None:
        today = now.astimezone(KOLKATA)
        found = of_day.replace(year=today.year, month=today.month, day=today.day)
        # A minute of grace: the server's clock is not ours.
        return found - timedelta(days=1) if found > now + timedelta(minutes=1) else found
    try:
        found = datetime.fromisoformat(told.strip())
    except ValueError:
        return None
    return found.replace(tzinfo=KOLKATA) if found.tzinfo is None else found


def _object(data: object) -> Row:
    if not isinstance(data, Mapping):
        raise UnreadableRow("`data` is no object")
    return data


def _parsed(told: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(told, form).replace(tzinfo=KOLKATA)
    except ValueError:
        return None


def _told(row: Row, name: str) -> str | None:
    value = row.get(name)
    return str(value) if isinstance(value, str | int) and str(value) else None


def _action(row: Row) -> Action:
    try:
        return Action(text(row, "action").upper())
    except ValueError as error:
        raise UnreadableRow("`action` is neither BUY nor SELL") from error


def _order_type(row: Row, price: Decimal, trigger_price: Decimal) -> OrderType:
    """By its name, else (brokers have names of their own) by the prices it has."""
    named = _ORDER_TYPES.get(str(row.get("pricetype", "")).upper())
    if named is not None:
        return named
    if trigger_price:
        return OrderType.STOP if price else OrderType.STOP_MARKET
    return OrderType.LIMIT if price else OrderType.MARKET


def _filled(row: Row, state: BrokerOrderState, quantity: Decimal) -> Decimal | None:
    """What is filled, where it follows from the state or a broker's adapter tells; OpenAlgo's own rows do not."""
    if state is BrokerOrderState.FILLED:
        return quantity
    if state is BrokerOrderState.REJECTED:
        return Decimal(0)
    return number(row, "filled_quantity") if row.get("filled_quantity") not in (None, "") else None


def _trade(row: Row, now: datetime) -> _Trade | None:
    order_id = text(row, "orderid")
    price = number(row, "average_price")
    quantity = number(row, "quantity", "0") or _quantity_by_value(row, price)
    if not quantity:
        log.warning("a trade without a quantity is left out", order_id=order_id)
        return None
    return _Trade(
        order_id=order_id,
        trade_id=next((found for name in _TRADE_ID_NAMES if (found := _told(row, name)) is not None), None),
        symbol=text(row, "symbol"),
        exchange=text(row, "exchange"),
        action=_action(row),
        quantity=quantity,
        price=price,
        time_as_told=str(row.get("timestamp", "")),
        at=time_of(row.get("timestamp"), now),
    )


def _quantity_by_value(row: Row, price: Decimal) -> Decimal:
    """Some brokers' trades have a quantity of 0 and a value: then it is value / price, if that is whole, else 0."""
    value = number(row, "trade_value", "0")
    return value // price if price and value % price == 0 else Decimal(0)


def _trades(rows: Iterable[Row], now: datetime) -> list[_Trade]:
    return [trade for row in rows if (trade := _trade(row, now)) is not None]


def _equal_rows(trades: Iterable[_Trade]) -> dict[str, list[list[_Trade]]]:
    """By order the trades that have no ids, those that are equal together."""
    groups: dict[str, dict[object, list[_Trade]]] = defaultdict(lambda: defaultdict(list))
    for trade in trades:
        if trade.trade_id is None:
            groups[trade.order_id][trade.looks].append(trade)
    return {order_id: list(by_looks.values()) for order_id, by_looks in groups.items()}


def _named(groups: list[list[_Trade]], times: tuple[int, ...]) -> dict[str, _Trade]:
    """Trades of one order, each of the equal ones so many times, with names that are the same in every report of them."""
    return {
        f"{trade.order_id}:{trade.time_as_told}:{plain(trade.price)}:{plain(trade.quantity)}:{number_of}": trade
        for group, count in zip(groups, times, strict=True)
        for number_of, trade in enumerate(group[:count], start=1)
    }


class _Reading(Struct, frozen=True):
    """How often each of the equal rows is a trade for certain; `most` is filled at most where they may be more."""

    times: tuple[int, ...]
    most: Decimal | None = None


def _read(groups: list[list[_Trade]], order: BrokerOrder | None) -> _Reading:
    """What equal rows of one order are, by what the order book says of it.

    Of a filled order its quantity tells. Of one that was cancelled in part OpenAlgo tells no more than that quantity, and of
    some brokers what is filled or the average price: where that leaves more than one reading, nobody can know.
    """
    once, reported = tuple(1 for _ in groups), tuple(map(len, groups))
    if reported == once or order is None or order.state in (BrokerOrderState.PENDING, BrokerOrderState.WORKING):
        return _Reading(once)
    repeated = _repeated_whole(groups, order.filled_quantity)
    if repeated is not None:
        return _Reading(repeated)
    if prod(reported) > _MOST_WAYS:
        return _Reading(once, min(order.quantity, _quantity(groups, reported)))
    ways = product(*(range(1, count + 1) for count in reported))
    fitting = [times for times in ways if _fits(_quantity(groups, times), order)]
    fitting = [times for times in fitting if _is_average(groups, times, order.average_price)] or fitting
    if not fitting:
        return _Reading(once)
    certain = tuple(map(min, zip(*fitting, strict=True)))
    return _Reading(certain, max(_quantity(groups, times) for times in fitting) if len(fitting) > 1 else None)


def _repeated_whole(groups: list[list[_Trade]], filled: Decimal | None) -> tuple[int, ...] | None:
    """How often each row is a trade where all of them, told once or several times, come to what is known to be filled."""
    reported = _quantity(groups, tuple(map(len, groups)))
    if not filled or reported % filled:
        return None
    times, rest = zip(*(divmod(len(group), int(reported / filled)) for group in groups), strict=True)
    return None if any(rest) else times


def _fits(quantity: Decimal, order: BrokerOrder) -> bool:
    return quantity <= order.quantity if order.filled_quantity is None else quantity == order.filled_quantity


def _is_average(groups: list[list[_Trade]], times: tuple[int, ...], average: Decimal | None) -> bool:
    value = sum(group[0].price * group[0].quantity * count for group, count in zip(groups, times, strict=True))
    return average is not None and abs(value / _quantity(groups, times) - average) <= _ROUNDED_BY


def _quantity(groups: list[list[_Trade]], times: tuple[int, ...]) -> Decimal:
    return sum((group[0].quantity * count for group, count in zip(groups, times, strict=True)), Decimal(0))


def _fill(fill_id: str, trade: _Trade) -> BrokerFill:
    return BrokerFill(
        fill_id=fill_id,
        broker_order_id=trade.order_id,
        symbol=trade.symbol,
        exchange=trade.exchange,
        action=trade.action,
        quantity=trade.quantity,
        price=trade.price,
        filled_at=trade.at,
    )
