"""A request is valid from birth; the adapters cost nothing until one is used."""

import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from live.brokers.port import Action, OrderRequest, OrderType


def a_request(order_type: OrderType, **changes: Any) -> OrderRequest:
    given: dict[str, Any] = {"quantity": Decimal(30), **changes}
    return OrderRequest(
        client_order_id="a-1",
        tag="a-1",
        symbol="BANKNIFTY27JAN26FUT",
        exchange="NFO",
        action=Action.BUY,
        order_type=order_type,
        **given,
    )


@pytest.mark.parametrize(
    "order_type, prices",
    [
        (OrderType.MARKET, {"price": Decimal(1)}),
        (OrderType.MARKET, {"trigger_price": Decimal(1)}),
        (OrderType.LIMIT, {}),
        (OrderType.LIMIT, {"price": Decimal(1), "trigger_price": Decimal(1)}),
        (OrderType.LIMIT, {"price": Decimal(0)}),
        (OrderType.STOP, {"price": Decimal(1)}),
        (OrderType.STOP, {"trigger_price": Decimal(1)}),
        (OrderType.STOP_MARKET, {"price": Decimal(1), "trigger_price": Decimal(1)}),
        (OrderType.STOP_MARKET, {"trigger_price": Decimal(-1)}),
        (OrderType.MARKET, {"quantity": Decimal(0)}),
        (OrderType.MARKET, {"quantity": Decimal(-30)}),
    ],
)
def test_a_request_whose_prices_do_not_fit_its_type_cannot_be_made(
    order_type: OrderType, prices: dict[str, Decimal]
) -> None:
    with pytest.raises(ValueError, match=r"price|quantity"):
        a_request(order_type, **prices)


def test_each_type_has_the_prices_it_needs() -> None:
    one = Decimal(1)
    assert a_request(OrderType.MARKET).price is None
    assert a_request(OrderType.LIMIT, price=one).price == one
    assert a_request(OrderType.STOP, price=one, trigger_price=one).trigger_price == one
    assert a_request(OrderType.STOP_MARKET, trigger_price=one).price is None


def test_importing_the_adapters_imports_no_library_of_theirs() -> None:
    program = """
import sys
import live.brokers.paper, live.brokers.openalgo, live.brokers.ccxt
sys.exit(bool({"httpx", "ccxt", "requests", "urllib3"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
