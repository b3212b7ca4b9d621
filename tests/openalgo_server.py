"""An OpenAlgo-compatible server with a book in memory, which can be told to misbehave.

Its fields, names and forms are those of OpenAlgo's documentation: order rows carry neither a strategy nor what is filled,
trade rows no id (unless `gives_trade_ids`), quantities are text, zero rows of positions stay, prices have two decimals.
"""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from tests.misbehaving_server import MisbehavingServer, Trouble
from tests.simulated_exchange import Resting, SimulatedExchange

API_KEY = "openalgo-key-for-tests"
_KOLKATA = ZoneInfo("Asia/Kolkata")
_PREFIX = "/api/v1/"
_EXCHANGES = {"NSE", "BSE", "NFO", "BFO", "MCX", "CDS", "BCD"}
_REQUIRED = {
    "placeorder": ("strategy", "symbol", "exchange", "action", "quantity"),
    "modifyorder": (
        *("strategy", "symbol", "exchange", "action", "quantity", "orderid", "product", "pricetype", "price"),
        *("trigger_price", "disclosed_quantity"),
    ),
    "cancelorder": ("strategy", "orderid"),
    "orderstatus": ("strategy", "orderid"),
    "quotes": ("symbol", "exchange"),
    "history": ("symbol", "exchange", "interval", "start_date", "end_date"),
    "margin": ("positions",),
    "analyzer/toggle": ("mode",),
}


class Turned(Exception):
    """A request that is refused, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OpenAlgoServer(MisbehavingServer):
    """`exchange` is the book, to look into and to move the market; `analyzes` the analyzer mode."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__(address)
        self.exchange = SimulatedExchange()
        self.analyzes = False
        self.semi_automatic = False
        self.gives_trade_ids = False
        self.capital = Decimal(5_000_000)
        # By symbol, exchange and interval: rows as it answers them, but that their times are aware datetimes.
        self.bars: dict[tuple[str, str, str], list[dict[str, Any]]] = {}

    def endpoint_of(self, method: str, path: str) -> str:
        return path.removeprefix(_PREFIX).strip("/")

    def refusal(self, trouble: Trouble) -> tuple[int, Any]:
        if trouble is Trouble.TOO_MANY:
            return 429, {"status": "error", "message": "Rate limit exceeded. Please try again later."}
        return 400, {"status": "error", "message": f"RMS: margin exceeds, key {API_KEY}"}

    def perform(self, endpoint: str, fields: dict[str, Any], trouble: Trouble | None) -> tuple[int, Any]:
        work = getattr(self, f"_{endpoint.replace('/', '_')}", None)
        if work is None or endpoint.startswith("_"):
            return 404, {"message": "The requested URL was not found on the server."}
        try:
            self._check(endpoint, fields)
            with self.exchange.lock:
                body = work(fields, trouble)
        except Turned as error:
            return error.status, self._marked({"status": "error", "message": str(error)})
        return 200, self._marked({"status": "success", **body})

    def _marked(self, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "mode": "analyze"} if self.analyzes else body

    def _check(self, endpoint: str, fields: dict[str, Any]) -> None:
        if fields.get("apikey") != API_KEY:
            raise Turned(403, "Invalid openalgo apikey")
        missing = [name for name in _REQUIRED.get(endpoint, ()) if name not in fields]
        if missing:
            raise Turned(400, f"{{'{missing[0]}': ['Missing data for required field.']}}")
        if "exchange" in fields and fields["exchange"] not in _EXCHANGES:
            raise Turned(400, "Invalid exchange")
        if fields.get("product", "NRML") not in ("NRML", "MIS", "CNC"):
            raise Turned(400, "Invalid product")

    def _placeorder(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        if self.semi_automatic:
            return {"message": "Order queued for approval in Action Center", "pending_order_id": 7}
        quantity, limit, trigger = _numbers(fields)
        order = Resting(
            order_id=self.exchange.new_id(),
            symbol=fields["symbol"],
            exchange=fields["exchange"],
            buys=_buys(fields),
            quantity=quantity,
            limit=limit,
            trigger=trigger,
            tag=fields["strategy"],
            product=fields.get("product", "MIS"),
        )
        self.exchange.add(order, rejected="RMS: late" if trouble is Trouble.REJECTS_LATER else None)
        return {"orderid": order.order_id}

    def _modifyorder(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        quantity, limit, trigger = _numbers(fields)
        if not self.exchange.modify(fields["orderid"], quantity=quantity, limit=limit, trigger=trigger):
            raise Turned(400, "Order not modifiable")
        return {"orderid": fields["orderid"]}

    def _cancelorder(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        if not self.exchange.cancel(fields["orderid"]):
            raise Turned(400, "Order not cancellable")
        return {"orderid": fields["orderid"]}

    def _orderstatus(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        order = self.exchange.orders.get(fields["orderid"])
        if order is None:
            raise Turned(404, f"Order {fields['orderid']} not found")
        average = order.value / order.filled if order.status == "complete" else Decimal(0)
        return {"data": {**_order_row(order), "average_price": float(average)}}

    def _orderbook(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        rows = [_order_row(order) for order in self.exchange.orders.values()]
        return {"data": {"orders": _distorted(rows, trouble), "statistics": {"total_buy_orders": 0.0}}}

    def _tradebook(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        rows = [
            {
                "action": "BUY" if trade.order.buys else "SELL",
                "symbol": trade.order.symbol,
                "exchange": trade.order.exchange,
                "orderid": trade.order.order_id,
                "product": trade.order.product,
                "quantity": int(trade.quantity),
                "average_price": round(float(trade.price), 2),
                "timestamp": trade.at.astimezone(_KOLKATA).strftime("%H:%M:%S"),
                "trade_value": float(trade.quantity * trade.price),
                **({"tradeid": trade.trade_id} if self.gives_trade_ids else {}),
            }
            for trade in self.exchange.trades
        ]
        return {"data": _distorted(rows, trouble)}

    def _positionbook(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        return {
            "data": [
                {
                    "symbol": symbol,
                    "exchange": exchange,
                    "product": product,
                    "quantity": f"{quantity:f}",
                    "average_price": "0.0",
                    "ltp": f"{self.exchange.quotes[symbol]:f}",
                    "pnl": "0.0",
                }
                for (symbol, exchange, product), quantity in self.exchange.positions().items()
            ]
        }

    def _funds(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        names = ("collateral", "m2mrealized", "m2munrealized", "utiliseddebits")
        return {"data": {"availablecash": f"{self.capital:.2f}", **dict.fromkeys(names, "0.00")}}

    def _quotes(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        last = self.exchange.quotes.get(fields["symbol"])
        if last is None:
            raise Turned(400, "Symbol not found")
        names = ("open", "high", "low", "prev_close")
        around = {"ask": float(last) + 0.05, "bid": 0}
        return {"data": {"ltp": float(last), "volume": 14414545, **around, **dict.fromkeys(names, float(last))}}

    def _history(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        kept = self.bars.get((fields["symbol"], fields["exchange"], fields["interval"]))
        if kept is None:
            raise Turned(400, f"Symbol '{fields['symbol']}' not found for exchange '{fields['exchange']}'.")
        first, last = fields["start_date"], fields["end_date"]
        within = [row for row in kept if first <= f"{row['timestamp'].astimezone(_KOLKATA):%Y-%m-%d}" <= last]
        rows = [{"oi": 0, **row, "timestamp": int(row["timestamp"].timestamp())} for row in within]
        return {"data": _distorted(rows, trouble)}

    def _margin(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        required = float(270_000 * len(fields["positions"]))
        return {"data": {"total_margin_required": required, "span_margin": 0.0, "exposure_margin": required}}

    def _analyzer(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        mode = "analyze" if self.analyzes else "live"
        return {"data": {"analyze_mode": self.analyzes, "mode": mode, "total_logs": 0}}

    def _analyzer_toggle(self, fields: dict[str, Any], trouble: Trouble | None) -> dict[str, Any]:
        self.analyzes = bool(fields["mode"])
        return self._analyzer(fields, trouble)


def _numbers(fields: dict[str, Any]) -> tuple[Decimal, Decimal | None, Decimal | None]:
    """Quantity, limit and trigger, checked against the price type as OpenAlgo does."""
    try:
        quantity, price, trigger = (
            Decimal(str(fields.get(name, "0"))) for name in ("quantity", "price", "trigger_price")
        )
    except InvalidOperation as error:
        raise Turned(400, "Not a valid number.") from error
    if quantity <= 0 or quantity != int(quantity):
        raise Turned(400, "Quantity must be a positive number.")
    kind = fields.get("pricetype", "MARKET")
    if kind not in ("MARKET", "LIMIT", "SL", "SL-M"):
        raise Turned(400, "Must be one of: MARKET, LIMIT, SL, SL-M.")
    limit = price if kind in ("LIMIT", "SL") else None
    stop = trigger if kind in ("SL", "SL-M") else None
    if limit == 0 or stop == 0:
        raise Turned(400, "Price or trigger price is missing")
    return quantity, limit, stop


def _buys(fields: dict[str, Any]) -> bool:
    if fields["action"] not in ("BUY", "SELL"):
        raise Turned(400, "Must be one of: BUY, SELL.")
    return bool(fields["action"] == "BUY")


def _order_row(order: Resting) -> dict[str, Any]:
    kinds = {(False, False): "MARKET", (True, False): "LIMIT", (True, True): "SL", (False, True): "SL-M"}
    kind = kinds[order.limit is not None, order.trigger is not None]
    return {
        "action": "BUY" if order.buys else "SELL",
        "symbol": order.symbol,
        "exchange": order.exchange,
        "orderid": order.order_id,
        "product": order.product,
        "quantity": f"{order.quantity:f}",
        "price": round(float(order.limit or 0), 2),
        "pricetype": kind,
        "order_status": order.status,
        "trigger_price": round(float(order.trigger or 0), 2),
        "timestamp": _told(order.placed_at),
    }


def _told(at: datetime) -> str:
    return at.astimezone(UTC).astimezone(_KOLKATA).strftime("%d-%b-%Y %H:%M:%S")


def _distorted(rows: list[dict[str, Any]], trouble: Trouble | None) -> list[dict[str, Any]]:
    if trouble is Trouble.DUPLICATED:
        return [row for row in rows for _ in range(2)]
    return rows[::-1] if trouble is Trouble.OUT_OF_ORDER else rows
