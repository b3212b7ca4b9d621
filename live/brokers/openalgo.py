"""OpenAlgo, the bridge to Indian brokers: its HTTP API behind the port.

What changes something is sent once, on a connection of its own, and never again by us: OpenAlgo knows no id of ours, so
that a second request would be a second order. Reads are tried again.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from time import monotonic, sleep
from typing import Any, Self, TypeVar

import structlog
from msgspec.structs import replace

from live.brokers.openalgo_bars import bars_of, interval_of, spans
from live.brokers.openalgo_rows import (
    Row,
    UnreadableRow,
    doubts_of,
    fills_of,
    funds_of,
    has_equal_rows,
    order_of,
    plain,
    positions_of,
    pricetype_of,
    quote_of,
    rows_in,
)
from live.brokers.openalgo_wire import Answer, NoAnswer, NotDone, Wire
from live.brokers.pace import Pace
from live.brokers.port import (
    BrokerAway,
    BrokerBar,
    BrokerFill,
    BrokerOrder,
    BrokerOrderState,
    BrokerPosition,
    BrokerRefused,
    Funds,
    OrderRequest,
    OutcomeUnknown,
    Quote,
)
from live.brokers.settings import OpenAlgoSettings

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 0.2
_Parsed = TypeVar("_Parsed")


class OpenAlgoBroker:
    """The account of the user that `api_key` belongs to. Any thread.

    `now` is the clock (aware), `monotonic_now` and `pause` the ones that waiting uses. Nothing is sent before the first
    call; `require_ready` is for the start.
    """

    name = "openalgo"
    keeps_client_order_ids = False
    places_once = False
    has_stop_orders = True

    def __init__(
        self,
        settings: OpenAlgoSettings,
        now: Callable[[], datetime],
        *,
        monotonic_now: Callable[[], float] = monotonic,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self.settings = settings
        self._now = now
        self._monotonic = monotonic_now
        self._pause = pause
        self._wire = Wire(settings)
        self._orders_pace = Pace(settings.orders_per_second, now=monotonic_now, pause=pause)
        self._reads_pace = Pace(settings.reads_per_second, now=monotonic_now, pause=pause)
        self._mode_lock = threading.Lock()
        self._mode_seen_at: float | None = None
        # By order the most that may be filled, where equal trades cannot be told apart; None until they were looked at.
        self._doubts: Mapping[str, Decimal] | None = None

    def __repr__(self) -> str:
        return f"OpenAlgoBroker({self.settings.url!r}, analyze={self.settings.analyze})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def counts_lots(self, exchange: str) -> bool:
        """Whether the broker behind OpenAlgo counts contracts on this exchange, by setting."""
        return exchange in self.settings.lots_on

    def require_ready(self) -> None:
        """See that the server is live, or its analyzer, as the settings say.

        Raises BrokerRefused where it is the other; BrokerAway where it cannot be asked.
        """
        data = self._read("analyzer").data
        analyzes = data.get("analyze_mode") if isinstance(data, Mapping) else None
        if not isinstance(analyzes, bool):
            raise BrokerAway(f"{self.settings.url} does not tell whether it is in analyze mode")
        if analyzes is not self.settings.analyze:
            is_in, wanted = ("analyze", "live") if analyzes else ("live", "analyze")
            raise BrokerRefused(
                f"{self.settings.url} is in {is_in} mode, and the setting `analyze` wants {wanted}: switch one of them"
            )
        self._mode_seen_at = self._monotonic()

    def place(self, request: OrderRequest) -> str:
        """Place an order. OpenAlgo cannot know it again: a repeat is a second order."""
        self._require_fresh_mode()
        body = self._change(
            "placeorder", {**self._order_fields(request), "strategy": request.tag or self.settings.strategy}
        ).body
        order_id = body.get("orderid")
        if not isinstance(order_id, str | int) or not str(order_id):
            # In its semi-automatic mode OpenAlgo answers so, and places the order once a human has approved it.
            raise OutcomeUnknown("placeorder: OpenAlgo took the order without telling its id (is it semi-automatic?)")
        self._note_mode(str(order_id), body.get("mode"))
        return str(order_id)

    def cancel(self, broker_order_id: str) -> None:
        """Ask that an order be cancelled."""
        self._change("cancelorder", {"orderid": broker_order_id, "strategy": self.settings.strategy})

    def modify(self, broker_order_id: str, request: OrderRequest) -> None:
        """Change a working order."""
        self._require_fresh_mode()
        fields = {
            **self._order_fields(request),
            "strategy": request.tag or self.settings.strategy,
            "orderid": broker_order_id,
        }
        self._change("modifyorder", fields)

    def orders(self) -> list[BrokerOrder]:
        """The day's order book. Its rows have neither our ids nor the tag, and prices of two decimals.

        Of an order that has ended and whose equal trades may be one or several, `filled_quantity` is the most that it may
        be: more than `fills` tells, so that nobody takes it for settled.
        """
        orders = self._orders()
        if self._doubts is None and any(_tells_no_fills(order) for order in orders):
            # What was in doubt for an earlier process still is.
            self.fills()
        doubts = self._doubts or {}
        return [_in_doubt(order, doubts.get(order.broker_order_id)) for order in orders]

    def fills(self) -> list[BrokerFill]:
        """The day's trades, each once, oldest first as far as their times tell.

        Where the broker gives trades no ids, equal rows of an order may be one trade reported twice, or two. The order
        book decides, as far as it says enough; what it leaves open is not booked, and told in the log.
        """
        now = self._now()
        rows = _parsed(rows_in, self._read("tradebook").data, "tradebook")
        doubtful = _parsed(lambda found: has_equal_rows(found, now), rows, "tradebook")
        orders = self._orders() if doubtful else []
        self._doubt(_parsed(lambda found: doubts_of(found, orders, now), rows, "tradebook"))
        return _parsed(lambda found: fills_of(found, orders, now), rows, "tradebook")

    def _orders(self) -> list[BrokerOrder]:
        now = self._now()
        return _parsed(
            lambda data: [order_of(row, now) for row in rows_in(data)], self._read("orderbook").data, "orderbook"
        )

    def _doubt(self, doubts: Mapping[str, Decimal]) -> None:
        for order_id in doubts.keys() - (self._doubts or {}).keys():
            log.error(
                "equal trades of an order that has ended may be one or several: one is booked. Look at the broker's "
                "screen, then `resolve` the order",
                broker_order_id=order_id,
                filled_at_most=f"{doubts[order_id]:f}",
            )
        self._doubts = doubts

    def positions(self) -> list[BrokerPosition]:
        """What is held in the product that our orders use on the exchange."""
        rows = _parsed(rows_in, self._read("positionbook").data, "positionbook")
        return _parsed(positions_of, [row for row in rows if row.get("product") == self._product(row)], "positionbook")

    def quote(self, symbol: str, exchange: str) -> Quote:
        """The market now."""
        return _parsed(quote_of, self._read("quotes", {"symbol": symbol, "exchange": exchange}).data, "quotes")

    def funds(self) -> Funds:
        """The account's free cash, collateral aside, and the margin in use."""
        return _parsed(funds_of, self._read("funds").data, "funds")

    def bars(self, symbol: str, exchange: str, timeframe: str, first: date, last: date) -> list[BrokerBar]:
        """What the broker behind OpenAlgo has kept of a symbol's bars; how far back, is that broker's."""
        asked = {"symbol": symbol, "exchange": exchange, "interval": interval_of(timeframe)}
        rows: list[Row] = []
        for begin, end in spans(timeframe, first, last):
            days = {"start_date": begin.isoformat(), "end_date": end.isoformat()}
            rows += _parsed(rows_in, self._read("history", {**asked, **days}).data, "history")
        return _parsed(bars_of, rows, "history")

    def _order_fields(self, request: OrderRequest) -> dict[str, str]:
        return {
            "symbol": request.symbol,
            "exchange": request.exchange,
            "action": request.action.value,
            "pricetype": pricetype_of(request.order_type),
            "product": self.settings.product_on(request.exchange),
            "quantity": plain(request.quantity),
            "price": plain(request.price or Decimal(0)),
            "trigger_price": plain(request.trigger_price or Decimal(0)),
            "disclosed_quantity": "0",
        }

    def _product(self, row: Row) -> str:
        return self.settings.product_on(str(row.get("exchange")))

    def _require_fresh_mode(self) -> None:
        with self._mode_lock:
            seen_at = self._mode_seen_at
            if seen_at is None or self._monotonic() - seen_at > float(self.settings.mode_check_seconds):
                self.require_ready()

    def _note_mode(self, order_id: str, mode: object) -> None:
        """What the answer to an order says of the server's mode: somebody may have switched it since we looked."""
        if (mode == "analyze") is self.settings.analyze:
            return
        self._mode_seen_at = None
        log.error(
            "an order went to the wrong book: OpenAlgo's analyze mode is not what the settings say",
            order_id=order_id,
            mode=mode,
            analyze=self.settings.analyze,
        )

    def _change(self, endpoint: str, fields: Mapping[str, str]) -> Answer:
        """Send what changes something, once."""
        try:
            with self._orders_pace.turn():
                return self._wire.send(endpoint, fields)
        except NotDone as error:
            raise BrokerAway(f"{endpoint}: {error}") from error
        except NoAnswer as error:
            raise OutcomeUnknown(f"{endpoint}: {error}") from error

    def _read(self, endpoint: str, fields: Mapping[str, str] | None = None) -> Answer:
        """Send what changes nothing, a few times while one time-out lasts."""
        give_up_at = self._monotonic() + float(self.settings.read_seconds)
        for attempt in range(1, self.settings.read_attempts + 1):
            try:
                with self._reads_pace.turn():
                    return self._wire.send(endpoint, fields or {})
            except (NotDone, NoAnswer) as error:
                if attempt == self.settings.read_attempts or self._monotonic() >= give_up_at:
                    raise BrokerAway(f"{endpoint}: {error} (tried {attempt} times)") from error
            self._pause(_PAUSE_SECONDS * attempt)
        raise AssertionError("read_attempts is at least 1")


def _tells_no_fills(order: BrokerOrder) -> bool:
    return order.state is BrokerOrderState.CANCELLED and order.filled_quantity is None


def _in_doubt(order: BrokerOrder, most: Decimal | None) -> BrokerOrder:
    if most is None:
        return order
    return replace(order, filled_quantity=most, message=order.message or "equal trades may be one or several")


def _parsed(parse: Callable[[Any], _Parsed], data: object, endpoint: str) -> _Parsed:
    """What the data say. A book that is not wholly understood is not used: what is missing in it may be ours."""
    try:
        return parse(data)
    except UnreadableRow as error:
        raise BrokerAway(f"{endpoint}: OpenAlgo's answer is not understood: {error}") from error
