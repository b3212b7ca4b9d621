"""Crypto venues through the ccxt library: spot and linear perpetuals, behind the port.

ccxt tells refusals, failures and time-outs of some hundred venues in one hierarchy of errors; what it cannot tell is taken
for unknown. A broker's order id here is `SYMBOL|ID`, for venues want the symbol wherever they are given an id.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from importlib import import_module
from time import sleep
from typing import Any, Self

from core.errors import ConfigurationError
from live.brokers.ccxt_errors import Meaning
from live.brokers.ccxt_rows import fill_of, id_in, milliseconds, number, order_of, split_id
from live.brokers.port import (
    Action,
    BrokerAway,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    BrokerRefused,
    Funds,
    OrderRequest,
    OrderType,
    OutcomeUnknown,
    Quote,
)
from live.brokers.settings import CcxtSettings

_PAUSE_SECONDS = 0.5
_LONG_AGO = timedelta(days=365)
_NOT_ASKED = object()
_HISTORIES = ("fetchOrders", "fetchCanceledAndClosedOrders")


class CcxtBroker:
    """An account at `settings.venue`. Any thread, one call at a time.

    `now` is the clock (aware), `configuration` goes over what ccxt is given (its tests' urls, say). Nothing is sent before
    the first call. Raises ConfigurationError where ccxt is not installed or does not know the venue.
    """

    name = "ccxt"

    def __init__(
        self,
        settings: CcxtSettings,
        now: Callable[[], datetime],
        *,
        pause: Callable[[float], None] = sleep,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self._now = now
        self._pause = pause
        self._lock = threading.RLock()
        ccxt = _library()
        if settings.venue not in ccxt.exchanges:
            raise ConfigurationError(f"`venue`: ccxt knows no {settings.venue!r}")
        whole = ccxt.Exchange.deep_extend(_configuration(settings), configuration or {})
        self._venue: Any = getattr(ccxt, settings.venue)(whole)
        if settings.sandbox:
            self._venue.set_sandbox_mode(True)
        self._meaning = Meaning(ccxt, [key for key in _secrets(settings) if key])

    def __repr__(self) -> str:
        return f"CcxtBroker({self.settings.venue!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    places_once = False

    @property
    def keeps_client_order_ids(self) -> bool:
        """By setting: ccxt does not tell."""
        return self.settings.shows_client_order_ids

    @property
    def has_stop_orders(self) -> bool:
        """Where ccxt knows the venue's stop orders, and the settings do not rule them out."""
        names = ("createTriggerOrder", "createStopOrder")
        return self.settings.stop_orders and any(self._venue.has.get(name) is True for name in names)

    def close(self) -> None:
        """Close the connections."""
        self._venue.session.close()

    def require_ready(self) -> None:
        """See that the venue has all the settings' symbols, and takes our keys."""
        for symbol in self.settings.symbols:
            self._require_market(symbol)
        self._read("fetch_balance")

    def counts_lots(self, exchange: str) -> bool:  # noqa: ARG002 - it is the same on all
        """Quantities are the venue's own amounts: of the base currency on spot, contracts on perpetuals."""
        return False

    def place(self, request: OrderRequest) -> str:
        """Place an order. One that the venue would round is refused, and nothing is sent."""
        if request.symbol not in self.settings.symbols:
            raise BrokerRefused(
                f"{request.symbol} is not one of the settings' `symbols`: its orders would not be seen again"
            )
        arguments = self._arguments(request)
        placed = self._change("create_order", *arguments, self._parameters(request, new=True))
        if not placed.get("id"):
            raise OutcomeUnknown(f"{self.settings.venue} took the order without telling its id")
        return id_in(request.symbol, placed["id"])

    def cancel(self, broker_order_id: str) -> None:
        """Ask that an order be cancelled."""
        symbol, order_id = self._split(broker_order_id)
        try:
            self._change("cancel_order", order_id, symbol)
        except BrokerRefused:
            if not self.settings.separate_stop_book:
                raise
            self._change("cancel_order", order_id, symbol, {"trigger": True})

    def modify(self, broker_order_id: str, request: OrderRequest) -> None:
        """Change an order in its place. Refused where the venue would put another order in its stead, under another id."""
        if not self.settings.amends_in_place or self._venue.has.get("editOrder") is not True:
            raise BrokerRefused(
                f"{self.settings.venue} does not change an order in its place: cancel it and place another"
            )
        symbol, order_id = self._split(broker_order_id)
        if symbol != request.symbol:
            raise BrokerRefused("the symbol of an order cannot be changed")
        self._change("edit_order", order_id, *self._arguments(request), self._parameters(request, new=False))

    def orders(self) -> list[BrokerOrder]:
        """All live orders of the settings' symbols, and the others of the last `book_hours`, oldest first."""
        found: dict[str, BrokerOrder] = {}
        for symbol in self.settings.symbols:
            for row in self._order_rows(symbol):
                order = self._meaning.of_reading(order_of, row, self.settings)
                found[order.broker_order_id] = order
        return sorted(found.values(), key=lambda order: (order.placed_at is None, order.placed_at or self._now()))

    def fills(self) -> list[BrokerFill]:
        """The trades of the settings' symbols in the last `book_hours`, each once, oldest first."""
        found: dict[str, BrokerFill] = {}
        for symbol in self.settings.symbols:
            for row in self._pages("fetch_my_trades", symbol, self._book_from()):
                fill = self._meaning.of_reading(fill_of, row, self.settings)
                found[fill.fill_id] = fill
        return sorted(found.values(), key=lambda fill: (fill.filled_at is None, fill.filled_at or self._now()))

    def positions(self) -> list[BrokerPosition]:
        """Perpetuals by contracts; of spot symbols what the account has of the base currency."""
        spot = [symbol for symbol in self.settings.symbols if ":" not in symbol]
        perpetuals = [symbol for symbol in self.settings.symbols if ":" in symbol]
        held = dict.fromkeys(self.settings.symbols, Decimal(0))
        if spot:
            totals = self._read("fetch_balance").get("total") or {}
            held.update({symbol: number(totals.get(symbol.partition("/")[0])) or Decimal(0) for symbol in spot})
        for row in self._read("fetch_positions", perpetuals) if perpetuals else []:
            contracts = number(row.get("contracts")) or Decimal(0)
            if row.get("symbol") in held:
                held[row["symbol"]] += -contracts if row.get("side") == "short" else contracts
        return [
            BrokerPosition(symbol=symbol, exchange=self.settings.exchange_name, quantity=quantity)
            for symbol, quantity in held.items()
            if quantity
        ]

    def quote(self, symbol: str, exchange: str) -> Quote:
        """The market now."""
        self._require_exchange(exchange)
        row = self._read("fetch_ticker", symbol)
        last = number(row.get("last"))
        if last is None or last <= 0:
            raise BrokerAway(f"{self.settings.venue} has no last price of {symbol}")
        return Quote(last=last, bid=number(row.get("bid")) or None, ask=number(row.get("ask")) or None)

    def funds(self) -> Funds:
        """What the account has of the quote currency."""
        account = self._read("fetch_balance").get(self.settings.quote_currency) or {}
        free, used = number(account.get("free")), number(account.get("used"))
        total = number(account.get("total")) or Decimal(0)
        used = used if used is not None else total - (free if free is not None else total)
        return Funds(available=free if free is not None else total - used, used=used)

    def _arguments(self, request: OrderRequest) -> tuple[str, str, str, str, str | None]:
        """Symbol, type, side, amount and price as ccxt takes them: text, so that nothing passes through a float."""
        self._require_exchange(request.exchange)
        self._require_market(request.symbol)
        self._require_unrounded("amount_to_precision", request.symbol, request.quantity)
        for value in (request.price, request.trigger_price):
            if value is not None:
                self._require_unrounded("price_to_precision", request.symbol, value)
        kind = "market" if request.price is None else "limit"
        side = "buy" if request.action is Action.BUY else "sell"
        price = None if request.price is None else f"{request.price:f}"
        return request.symbol, kind, side, f"{request.quantity:f}", price

    def _parameters(self, request: OrderRequest, *, new: bool) -> dict[str, Any]:
        parameters: dict[str, Any] = {}
        if new and self.settings.shows_client_order_ids:
            if not re.fullmatch(self.settings.client_order_id_pattern, request.client_order_id):
                raise BrokerRefused(f"{request.client_order_id!r}: {self.settings.venue} does not take such an id")
            parameters["clientOrderId"] = request.client_order_id
        if request.trigger_price is not None:
            parameters["triggerPrice"] = f"{request.trigger_price:f}"
            if self._venue.feature_value(request.symbol, "createOrder", "triggerDirection"):
                parameters["triggerDirection"] = "ascending" if request.action is Action.BUY else "descending"
        if request.order_type in (OrderType.STOP, OrderType.STOP_MARKET) and not self.has_stop_orders:
            raise BrokerRefused(f"{self.settings.venue} takes no stop orders")
        return parameters

    def _require_exchange(self, exchange: str) -> None:
        if exchange != self.settings.exchange_name:
            raise BrokerRefused(f"exchange {exchange!r}: this account is at {self.settings.exchange_name!r}")

    def _require_unrounded(self, rounding: str, symbol: str, value: Decimal) -> None:
        """Refuse what ccxt would round on its way: the venue would get another order than the one that is kept."""
        rounded = self._meaning.of_reading(getattr(self._venue, rounding), symbol, f"{value:f}")
        if Decimal(rounded) != value:
            raise BrokerRefused(f"{symbol}: {self.settings.venue} does not take {value}; the nearest is {rounded}")

    def _require_market(self, symbol: str) -> None:
        # Loaded on its own: a time-out of this inside create_order would look like one of the order.
        self._read("load_markets", symbol not in (self._venue.markets or ()))
        if symbol not in self._venue.markets:
            raise BrokerRefused(f"{self.settings.venue} has no {symbol}")

    def _split(self, broker_order_id: str) -> tuple[str, str]:
        symbol, order_id = split_id(broker_order_id)
        if not order_id:
            raise BrokerRefused(f"{broker_order_id!r}: not an id of ours")
        self._require_market(symbol)
        return symbol, order_id

    def _order_rows(self, symbol: str) -> Iterable[Mapping[str, Any]]:
        """Open orders, then ended ones: an order that ends between the two requests is in both, and the later row holds."""
        since = self._book_from()
        history = next((name for name in _HISTORIES if self._venue.has.get(name) is True), None)
        names = [history] if history else ["fetchClosedOrders", "fetchCanceledOrders"]
        rows = self._open_rows(symbol)
        ended = [row for name in names if self._venue.has.get(name) for row in self._pages(_snake(name), symbol, since)]
        return [*rows, *ended]

    def _open_rows(self, symbol: str) -> list[Mapping[str, Any]]:
        since = self._now() - _LONG_AGO
        rows = self._pages("fetch_open_orders", symbol, since)
        if self.settings.separate_stop_book:
            rows += self._pages("fetch_open_orders", symbol, since, {"trigger": True})
        return rows

    def _book_from(self) -> datetime:
        return self._now() - timedelta(hours=self.settings.book_hours)

    def _pages(
        self, method: str, symbol: str, since: datetime, parameters: Mapping[str, Any] | None = None
    ) -> list[Mapping[str, Any]]:
        """All of a list. Venues give it in pieces: ccxt follows the pieces of those that name the next one (`paginate`); of
        the others, that give the oldest since a time, the next piece is asked for until nothing new comes.
        """
        paging = {"paginate": True, "paginationCalls": 50, "maxRetries": 0} if self.settings.paginate else {}
        found: dict[str, Mapping[str, Any]] = {}
        start = milliseconds(since)
        while True:
            rows = self._read(method, symbol, start, None, {**paging, **(parameters or {})})
            new = {str(row["id"]): row for row in rows if str(row["id"]) not in found}
            found.update(new)
            latest = max((row.get("timestamp") or 0 for row in new.values()), default=0)
            if latest <= start:
                return list(found.values())
            start = latest

    def _change(self, method: str, *arguments: Any) -> Any:
        """Ask for what changes something, once."""
        with self._lock:
            answer = self._meaning.of_change(self._call(method), *arguments)
            if self._was_no_json():
                raise OutcomeUnknown(f"{self.settings.venue} answered {method} with nothing that it would")
            return answer

    def _read(self, method: str, *arguments: Any) -> Any:
        """Ask for what changes nothing, a few times."""
        for attempt in range(1, self.settings.read_attempts + 1):
            try:
                return self._read_once(method, *arguments)
            except BrokerAway:
                if attempt == self.settings.read_attempts:
                    raise
            self._pause(_PAUSE_SECONDS * attempt)
        raise AssertionError("read_attempts is at least 1")

    def _read_once(self, method: str, *arguments: Any) -> Any:
        with self._lock:
            answer = self._meaning.of_reading(self._call(method), *arguments)
            if self._was_no_json():
                raise BrokerAway(f"{self.settings.venue} answered {method} with nothing that it would")
            return answer

    def _call(self, method: str) -> Callable[..., Any]:
        self._venue.last_json_response = _NOT_ASKED
        return getattr(self._venue, method)  # type: ignore[no-any-return]

    def _was_no_json(self) -> bool:
        """Whether the last answer was a proxy's page, say: ccxt takes it for an empty list, or a success without an id."""
        return self._venue.last_json_response is None


def _library() -> Any:
    try:
        ccxt = import_module("ccxt")
    except ImportError as error:
        raise ConfigurationError("the broker `ccxt` needs the package ccxt: pip install ccxt") from error
    # At DEBUG these log whole requests, with their keys and signatures.
    for name in ("ccxt", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return ccxt


def _secrets(settings: CcxtSettings) -> list[str]:
    return [
        "" if key is None else key.get_secret_value() for key in (settings.api_key, settings.secret, settings.password)
    ]


def _configuration(settings: CcxtSettings) -> dict[str, Any]:
    api_key, secret, password = _secrets(settings)
    return {
        "apiKey": api_key,
        "secret": secret,
        "password": password,
        "enableRateLimit": True,
        "enableLastJsonResponse": True,
        "timeout": int(settings.timeout_seconds * 1000),
        # Numbers of the venue stay the text they came as.
        "number": str,
        "options": {**settings.options, "maxRetriesOnFailure": 0},
    }


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)
