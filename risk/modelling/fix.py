"""Orders as FIX 4.4 (tag=value): NewOrderSingle messages, one behind the other, each with its length and check sum.

The field's own format (FIX Trading Community, FIX 4.4 Specification, volume 4, New Order - Single). They tell a desk what a
session would trade: HandlInst is 3 (manual), and each is a market order of the day.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from book.exports.fix import SOH
from risk.modelling.orders import Order

_VERSION = "FIX.4.4"
_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
_SIDES = {"BUY": "1", "SELL": "2"}
_Fields = list[tuple[int, str]]


def new_orders(orders: Iterable[Order], *, sender: str, target: str, of: str, at: datetime) -> bytes:
    """The messages. `of` begins each ClOrdID, which is the same whenever the same is asked for; `at` (aware) is when what they
    are of was kept: it stands as SendingTime and TransactTime."""
    return b"".join(
        _message(
            [(35, "D"), (49, _clean(sender)), (56, _clean(target)), (34, str(order.number)), *_body(order, of, at)]
        )
        for order in orders
    )


def _body(order: Order, of: str, at: datetime) -> _Fields:
    return [
        (52, _utc(at)),
        (11, f"{of}-{order.number}"),
        (1, _clean(order.node)),
        (21, "3"),
        (55, order.instrument),
        *_contract(order),
        (54, _SIDES[order.side]),
        (60, _utc(at)),
        (38, f"{Decimal(repr(order.lots)).normalize():f}"),
        (40, "1"),
        (15, order.currency),
        (59, "0"),
        (58, "what if"),
    ]


def _contract(order: Order) -> _Fields:
    """What is known of it: MaturityMonthYear, or the exchange's name of it; MaturityDate."""
    month = _MONTH.fullmatch(order.contract)
    named = [(48, _clean(order.contract)), (22, "8")] if order.contract and month is None else []
    months = [] if month is None else [(200, "".join(month.groups()))]
    days = [] if order.expiry is None else [(541, f"{order.expiry:%Y%m%d}")]
    return [*named, *months, *days]


def _message(fields: _Fields) -> bytes:
    body = "".join(f"{tag}={value}{SOH}" for tag, value in fields).encode()
    whole = f"8={_VERSION}{SOH}9={len(body)}{SOH}".encode() + body
    return whole + f"10={sum(whole) % 256:03d}{SOH}".encode()


def _utc(time: datetime) -> str:
    there = time.astimezone(UTC)
    return f"{there:%Y%m%d-%H:%M:%S}.{there.microsecond // 1000:03d}"


def _clean(text: str) -> str:
    # A field ends at SOH: none may come from a name.
    return "".join(letter for letter in text if letter.isprintable() and letter != "=")
