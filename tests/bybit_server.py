"""As much of Bybit's v5 API as ccxt uses for spot and linear orders, with a book in memory, which can be told to misbehave."""

import time
from decimal import Decimal
from typing import Any

from tests.misbehaving_server import MisbehavingServer, Trouble
from tests.simulated_exchange import LIVE, Resting, SimulatedExchange

API_KEY = "venue-key-for-tests"
SECRET = "venue-secret-for-tests"
SPOT, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"
_MARKET_ID = "BTCUSDT"


class BybitServer(MisbehavingServer):
    """`exchange` is the book; its symbols are Bybit's categories, for both markets are called BTCUSDT."""

    def __init__(self) -> None:
        super().__init__()
        self.exchange = SimulatedExchange()
        self.cash = Decimal(5_000_000)

    def endpoint_of(self, method: str, path: str) -> str:
        return path.removeprefix("/v5/")

    def refusal(self, trouble: Trouble) -> tuple[int, Any]:
        if trouble is Trouble.TOO_MANY:
            return 429, _failed(10006, "Too many visits!")
        return 200, _failed(110007, f"ab not enough for new order, key {API_KEY}")

    def perform(self, endpoint: str, fields: dict[str, Any], trouble: Trouble | None) -> tuple[int, Any]:
        work = getattr(self, f"_{endpoint.replace('/', '_').replace('-', '_')}", None)
        with self.exchange.lock:
            found = work(fields) if work else {}
        if isinstance(found, int):
            return 200, _failed(found, "it is refused")
        return 200, {"retCode": 0, "retMsg": "OK", "result": found, "retExtInfo": {}, "time": int(time.time() * 1000)}

    def _market_instruments_info(self, fields: dict[str, Any]) -> dict[str, Any]:
        category = fields["category"]
        if fields.get("status") == "PreLaunch":
            return {"category": category, "list": []}
        market = {
            "symbol": _MARKET_ID,
            "baseCoin": "BTC",
            "quoteCoin": "USDT",
            "settleCoin": "USDT",
            "status": "Trading",
            "contractType": "LinearPerpetual",
            "priceFilter": {"tickSize": "0.10", "minPrice": "0.10", "maxPrice": "1999999.80"},
            "lotSizeFilter": {
                "qtyStep": "0.001",
                "basePrecision": "0.001",
                "quotePrecision": "0.0000001",
                "minOrderQty": "0.001",
                "maxOrderQty": "1000",
            },
        }
        return {"category": category, "list": [market]}

    def _order_create(self, fields: dict[str, Any]) -> dict[str, Any] | int:
        link = fields.get("orderLinkId")
        if link and any(order.client_order_id == link for order in self.exchange.orders.values()):
            return 110072
        order = Resting(
            order_id=self.exchange.new_id(),
            symbol=fields["category"],
            exchange="bybit",
            buys=fields["side"] == "Buy",
            quantity=Decimal(fields["qty"]),
            limit=Decimal(fields["price"]) if fields["orderType"] == "Limit" else None,
            trigger=Decimal(fields["triggerPrice"]) if "triggerPrice" in fields else None,
            tag="",
            client_order_id=link,
        )
        if order.trigger is not None and fields["triggerDirection"] != (1 if order.buys else 2):
            return 110092
        self.exchange.add(order)
        return {"orderId": order.order_id, "orderLinkId": link or ""}

    def _order_cancel(self, fields: dict[str, Any]) -> dict[str, Any] | int:
        return {"orderId": fields["orderId"]} if self.exchange.cancel(fields["orderId"]) else 110001

    def _order_amend(self, fields: dict[str, Any]) -> dict[str, Any] | int:
        quantity, limit, trigger = (
            Decimal(fields[name]) if name in fields else None for name in ("qty", "price", "triggerPrice")
        )
        changed = self.exchange.modify(fields["orderId"], quantity=quantity, limit=limit, trigger=trigger)
        return {"orderId": fields["orderId"]} if changed else 110001

    def _order_realtime(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._page(fields, [order for order in self._orders(fields) if order["orderStatus"] in _LIVE_STATUSES])

    def _order_history(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._page(
            fields, [order for order in self._orders(fields) if order["orderStatus"] not in _LIVE_STATUSES]
        )

    def _orders(self, fields: dict[str, Any]) -> list[dict[str, Any]]:
        orders = [order for order in self.exchange.orders.values() if order.symbol == fields["category"]]
        return [_order_row(order) for order in reversed(orders)]

    def _execution_list(self, fields: dict[str, Any]) -> dict[str, Any]:
        trades = [trade for trade in reversed(self.exchange.trades) if trade.order.symbol == fields["category"]]
        rows = [
            {
                "symbol": _MARKET_ID,
                "orderId": trade.order.order_id,
                "orderLinkId": trade.order.client_order_id or "",
                "side": "Buy" if trade.order.buys else "Sell",
                "execId": trade.trade_id,
                "execPrice": f"{trade.price:f}",
                "execQty": f"{trade.quantity:f}",
                "execValue": f"{trade.price * trade.quantity:f}",
                "execType": "Trade",
                "execTime": f"{int(trade.at.timestamp() * 1000)}",
                "isMaker": False,
            }
            for trade in trades
        ]
        return self._page(fields, rows)

    def _page(self, fields: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Newest first, a piece at a time, as Bybit does."""
        start, limit = int(fields.get("cursor") or 0), int(fields.get("limit", 20))
        after = start + limit
        page = {"category": fields["category"], "list": rows[start:after]}
        return {**page, "nextPageCursor": f"{after}"} if after < len(rows) else page

    def _position_list(self, fields: dict[str, Any]) -> dict[str, Any]:
        size = sum(held for (symbol, _, _), held in self.exchange.positions().items() if symbol == "linear")
        side = "" if not size else "Buy" if size > 0 else "Sell"
        row = {"symbol": _MARKET_ID, "side": side, "size": f"{abs(size):f}", "positionIdx": 0}
        last = self.exchange.quotes.get("linear", Decimal(0))
        return {"category": "linear", "list": [{**row, "markPrice": f"{last:f}", "avgPrice": "0", "leverage": "1"}]}

    def _account_wallet_balance(self, fields: dict[str, Any]) -> dict[str, Any]:
        bitcoin = sum(held for (symbol, _, _), held in self.exchange.positions().items() if symbol == "spot")
        coins = [
            {"coin": "USDT", "walletBalance": f"{self.cash:f}", "totalPositionIM": "10.5", "totalOrderIM": "0"},
            {"coin": "BTC", "walletBalance": f"{bitcoin:f}"},
        ]
        return {"list": [{"accountType": "UNIFIED", "coin": coins}]}

    def _market_tickers(self, fields: dict[str, Any]) -> dict[str, Any]:
        last = self.exchange.quotes[fields["category"]]
        prices = {"lastPrice": f"{last:f}", "bid1Price": f"{last - 1:f}", "ask1Price": f"{last + 1:f}"}
        return {"category": fields["category"], "list": [{"symbol": _MARKET_ID, **prices}]}


def _failed(code: int, message: str) -> dict[str, Any]:
    return {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": 0}


_LIVE_STATUSES = ("Untriggered", "New", "PartiallyFilled")
_STATUSES = {"pending": "Untriggered", "open": "New", "complete": "Filled", "cancelled": "Cancelled"}


def _order_row(order: Resting) -> dict[str, Any]:
    status = _STATUSES[order.status]
    if order.filled and order.status in LIVE:
        status = "PartiallyFilled"
    # Bybit says Cancelled of a perpetual's, and this of a spot order's.
    if order.filled and order.status == "cancelled" and order.symbol == "spot":
        status = "PartiallyFilledCanceled"
    average = order.value / order.filled if order.filled else Decimal(0)
    return {
        "symbol": _MARKET_ID,
        "orderId": order.order_id,
        "orderLinkId": order.client_order_id or "",
        "side": "Buy" if order.buys else "Sell",
        "orderType": "Market" if order.limit is None else "Limit",
        "orderStatus": status,
        "price": f"{order.limit or 0:f}",
        "triggerPrice": f"{order.trigger:f}" if order.trigger else "",
        "triggerDirection": (1 if order.buys else 2) if order.trigger else 0,
        "qty": f"{order.quantity:f}",
        "marketUnit": "baseCoin",
        "cumExecQty": f"{order.filled:f}",
        "cumExecValue": f"{order.value:f}",
        "leavesQty": f"{order.quantity - order.filled:f}",
        "avgPrice": f"{average:f}" if order.filled else "",
        "reduceOnly": False,
        "createdTime": f"{int(order.placed_at.timestamp() * 1000)}",
        "updatedTime": f"{int(order.placed_at.timestamp() * 1000)}",
    }
