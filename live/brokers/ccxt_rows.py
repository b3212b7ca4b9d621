"""ccxt's unified orders and trades, read."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from live.brokers.port import Action, BrokerFill, BrokerOrder, BrokerOrderState, OrderType
from live.brokers.settings import CcxtSettings

Row = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_STATES = {
    "open": BrokerOrderState.WORKING,
    "canceling": BrokerOrderState.WORKING,
    "canceled": BrokerOrderState.CANCELLED,
    "expired": BrokerOrderState.CANCELLED,
    "rejected": BrokerOrderState.REJECTED,
}


def order_of(row: Row, settings: CcxtSettings) -> BrokerOrder:
    """An order. Whether a stop was triggered ccxt does not tell: without a fill it is `pending` while it is live."""
    trigger_price, price = number(row.get("triggerPrice")), _limit(row)
    filled = number(row.get("filled"))
    quantity = number(row.get("amount")) or filled or Decimal(0)
    state = _state(row, quantity, filled)
    if state is BrokerOrderState.WORKING and trigger_price and not filled:
        state = BrokerOrderState.PENDING
    told = row.get("status")
    known = told in _STATES or told == "closed"
    return BrokerOrder(
        broker_order_id=id_in(row["symbol"], row["id"]),
        client_order_id=(row.get("clientOrderId") or None) if settings.shows_client_order_ids else None,
        tag=None,
        symbol=row["symbol"],
        exchange=settings.exchange_name,
        action=_action(row),
        order_type=_order_type(price, trigger_price),
        quantity=quantity,
        state=state,
        filled_quantity=filled,
        average_price=(number(row.get("average")) or None) if filled else None,
        price=price,
        trigger_price=trigger_price or None,
        placed_at=_time(row),
        message=None if known else f"status {told!r} is not known: taken for working",
    )


def fill_of(row: Row, settings: CcxtSettings) -> BrokerFill:
    """A trade."""
    return BrokerFill(
        fill_id=id_in(row["symbol"], row["id"]),
        broker_order_id=id_in(row["symbol"], row["order"]),
        symbol=row["symbol"],
        exchange=settings.exchange_name,
        action=_action(row),
        quantity=Decimal(row["amount"]),
        price=Decimal(row["price"]),
        filled_at=_time(row),
    )


def id_in(symbol: str, venue_id: object) -> str:
    """An id that tells its symbol."""
    return f"{symbol}|{venue_id}"


def split_id(ours: str) -> tuple[str, str]:
    """Symbol and the venue's id; the latter empty where it is not one of ours."""
    symbol, _, venue_id = ours.partition("|")
    return symbol, venue_id


def number(value: object) -> Decimal | None:
    """A number of ccxt's as text, exact; None where there is none."""
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def milliseconds(at: datetime) -> int:
    """A time as venues count it."""
    return (at - _EPOCH) // _MILLISECOND


def _time(row: Row) -> datetime | None:
    stamp = row.get("timestamp")
    return None if stamp is None else _EPOCH + int(stamp) * _MILLISECOND


def _action(row: Row) -> Action:
    return Action(str(row["side"]).upper())


def _limit(row: Row) -> Decimal | None:
    """The limit price. ccxt gives a market order the price it was filled at."""
    return None if "market" in str(row.get("type")) else number(row.get("price")) or None


def _order_type(price: Decimal | None, trigger_price: Decimal | None) -> OrderType:
    if trigger_price:
        return OrderType.STOP if price else OrderType.STOP_MARKET
    return OrderType.LIMIT if price else OrderType.MARKET


def _state(row: Row, quantity: Decimal, filled: Decimal | None) -> BrokerOrderState:
    if row.get("status") == "closed":
        # ccxt also says so of orders that were filled in part and then cancelled.
        whole = filled is None or filled >= quantity
        return BrokerOrderState.FILLED if whole else BrokerOrderState.CANCELLED
    return _STATES.get(str(row.get("status")), BrokerOrderState.WORKING)
