"""Orders on their way out: each is kept as sent before the broker hears of it, and is placed once, by who kept it so.

An intent was never sent. What is kept as sent may be at the broker, so it is looked for there and not sent again; only where
the broker says that it was not reached does it become an intent again.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import structlog

from core.decide.execution import NotSent, needs_quote, refusal_of, sending, waits_for_roll
from core.decide.follow import LEG_LEFT
from core.inputs import OrderReport, SendOrder
from core.numbers import ZERO, price
from core.orders import Leg, Order, OrderPurpose, OrderState
from core.symbols import synthetic_price
from live.answers import AnswerKind
from live.books import Market, request_of
from live.brokers.port import Broker, BrokerAway, BrokerRefused, OutcomeUnknown
from live.order_limits import Gate, Refuse, Wait
from live.ports import OrderDesk
from live.reconcile import MISMATCHES

_DIFFERING = tuple(kind.value for kind in MISMATCHES)
_SELLING = (OrderPurpose.EXIT, OrderPurpose.ROLL_OUT)
# How long what was refused waits before it is asked for again, and a second leg for its quote.
AGAIN_AFTER_SECONDS = 1.0
QUOTED_WITHIN_SECONDS = 30.0
LAGS_SECONDS = 3.0
# Kept as sent, and no word of the broker's.
MAYBE_THERE = (OrderState.SENT, OrderState.IN_DOUBT)
log = structlog.get_logger(__name__)


class Outbox:
    """The dispatcher's: not for several threads. `desk` is the engine; `market_of` tells where an order is traded, None where
    nowhere; `may_send` whether this instance holds the portfolio at this moment, `gate` what limits let through; `differs`
    whether what the broker holds of an instrument has lastingly been something else than we do."""

    def __init__(
        self,
        desk: OrderDesk,
        broker: Broker,
        *,
        market_of: Callable[[Order], Market | None],
        clock: Callable[[], datetime],
        may_send: Callable[[], bool] = lambda: True,
        gate: Gate | None = None,
        differs: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.desk = desk
        self.broker = broker
        self.market_of = market_of
        self.clock = clock
        self.may_send = may_send
        self._gate = gate
        self._differs = differs
        self._told: set[str] = set()
        self._first_seen: dict[str, float] = {}
        # When the broker last refused an order of a position.
        self._refused_at: dict[str, float] = {}
        # To be kept as sent at our word, and not placed yet: nobody else can have placed it.
        self._ours_to_place: set[str] = set()
        # What a call came to and the writer could not keep.
        self._untold: dict[str, OrderReport] = {}
        # Units that each stop at the broker has sold or may sell, as its book said last.
        self.stop_units: dict[str, Decimal] = {}
        # Whether anything was placed since the dispatcher looked.
        self.placed = False
        # False once the broker was not reached: then its books are read before it is tried again.
        self.reached = False

    def send(self, order: Order) -> None:
        """Place an intent, if nothing speaks against it now."""
        if order.state in MAYBE_THERE and order.client_order_id in self._ours_to_place:
            self._place(order)
        if order.state is not OrderState.INTENT:
            return
        market = self.market_of(order)
        if refusal_of(self.desk.portfolio, order, self.clock()) is not None:
            self.desk.order_input(SendOrder(client_order_id=order.client_order_id))
        elif market is None:
            self.report(order, OrderState.REJECTED, message=f"{order.instrument} is not traded here", settled=True)
        elif self._may_go(order, market):
            self._keep_and_place(order, market)

    def _keep_and_place(self, order: Order, market: Market) -> None:
        asked = SendOrder(client_order_id=order.client_order_id)
        if needs_quote(order):
            quoted = self._quoted(order, market)
            if quoted is None:
                return
            asked = quoted
        self._ours_to_place.add(order.client_order_id)
        self.desk.order_input(asked)
        kept = self.desk.portfolio.orders.get(order.client_order_id)
        if kept is None:
            self._ours_to_place.discard(order.client_order_id)
        elif kept.state is OrderState.SENT:
            self._place(kept)

    def may_be_at_the_broker(self, order: Order) -> bool:
        """Whether an order whose broker's id is not known may have reached the broker."""
        return order.state is not OrderState.INTENT and order.client_order_id not in self._ours_to_place

    def ask_by_placing(self, order: Order) -> bool:
        """Whether what became of an order that is not in the book can be learnt by placing it again; then it will be."""
        if self.broker.places_once:
            self._ours_to_place.add(order.client_order_id)
        return self.broker.places_once

    def tell_again(self) -> None:
        """What the writer could not keep, once more."""
        for order_id in list(self._untold):
            self._tell_one(order_id)

    def forget(self, known: set[str]) -> None:
        """Nothing more comes of any other order than these."""
        self._ours_to_place &= known
        for position_id in self._refused_at.keys() - self.desk.portfolio.positions.keys():
            del self._refused_at[position_id]
        for order_id in self._first_seen.keys() - known:
            del self._first_seen[order_id]
        for stop in self.stop_units.keys() - known:
            del self.stop_units[stop]

    # --- the call

    def _place(self, order: Order) -> None:
        market = self.market_of(order)
        if market is None or not self.may_send():
            return
        # From here on only the broker's book says what became of it, whatever happens to this call.
        self._ours_to_place.discard(order.client_order_id)
        self.placed = True
        if self._gate is not None:
            self._gate.sent()
        try:
            broker_order_id = self.broker.place(request_of(order, market))
        except BrokerRefused as error:
            self._refused_at[order.position_id] = time.monotonic()
            self.report(order, OrderState.REJECTED, message=str(error), settled=True)
        except BrokerAway as error:
            self.reached = False
            self.tell(order, "the broker is away: the order waits", error)
            self.report(order, OrderState.INTENT)
        except OutcomeUnknown as error:
            self.report(order, OrderState.IN_DOUBT, message=str(error))
        else:
            self.report(order, OrderState.SENT, broker_order_id=broker_order_id)

    def _quoted(self, order: Order, market: Market) -> SendOrder | None:
        """What is asked of the writer, with where the order would trade now; None where that cannot be told.

        A second leg that has no quote is told to have none: what was bought for it must not wait.
        """
        try:
            quote = self._quote(market, buys=order.buys)
            synthetic = self._synthetic(order, market, quote)
        except (BrokerAway, BrokerRefused, OutcomeUnknown) as error:
            too_long = self._seconds_since_seen(order) > QUOTED_WITHIN_SECONDS
            if order.leg_price is not None and (too_long or isinstance(error, BrokerRefused)):
                return SendOrder(client_order_id=order.client_order_id)
            self.tell(order, "an entry waits: there is no quote", error)
            return None
        return SendOrder(client_order_id=order.client_order_id, quote=quote, market=synthetic)

    def _quote(self, market: Market, *, buys: bool) -> Decimal:
        quote = self.broker.quote(market.symbol, market.exchange)
        return price((quote.ask if buys else quote.bid) or quote.last)

    def _synthetic(self, order: Order, market: Market, quote: Decimal) -> Decimal | None:
        """Strike + call - put of what a first leg begins; None for any other order."""
        plan, leg = order.plan, order.leg
        if not order.is_first_leg or plan is None or leg is None or plan.strike is None:
            return None
        symbol = (plan.pe_symbol if leg is Leg.CALL else plan.ce_symbol) or ""
        other = self._quote(replace(market, symbol=symbol), buys=not order.buys)
        call, put = (quote, other) if leg is Leg.CALL else (other, quote)
        return price(synthetic_price(plan.strike, call, put))

    # --- what speaks against it

    def _passes(self, order: Order, market: Market) -> bool:
        """Whether the limits let it go now; what they refuse for good is reported."""
        match None if self._gate is None else self._gate.check(order, market.exchange):
            case Refuse(reason):
                self.report(order, OrderState.CANCELLED, message=reason, settled=True)
                return False
            case Wait(reason):
                self.tell(order, f"an order waits: {reason}", None)
                return False
            case None:
                return True

    def _seconds_since_seen(self, order: Order) -> float:
        now = time.monotonic()
        return now - self._first_seen.setdefault(order.client_order_id, now)

    def lets_exits_go(self, order: Order) -> bool:
        """Whether an exit of the order's instrument could be sent now: else its stop stays where it is."""
        market = self.market_of(order)
        if market is None or not self.may_send():
            return False
        return self._gate is None or not isinstance(self._gate.check(order, market.exchange), Wait)

    def _may_go(self, order: Order, market: Market) -> bool:
        refused_at = self._refused_at.get(order.position_id, float("-inf"))
        if order.purpose is OrderPurpose.EXIT and time.monotonic() - refused_at < AGAIN_AFTER_SECONDS:
            return False
        if not self.may_send() or self._waits_for_its_entry(order) or self._could_be_mistaken(order):
            return False
        if waits_for_roll(self.desk.portfolio, order):
            return False
        if order.purpose in _SELLING and self._waits_for_its_stop(order, market):
            return False
        return not self._would_reverse(order, market) and self._passes(order, market)

    def _waits_for_its_entry(self, order: Order) -> bool:
        """Whether what still works of its position's entry is seen cancelled first: a fill after the position was closed
        would be nobody's. One in doubt is not in the book, and an exit cannot wait for ever."""
        return order.purpose is OrderPurpose.EXIT and any(
            other.purpose is OrderPurpose.ENTRY
            and other.position_id == order.position_id
            and other.cancel_asked
            and other.state is not OrderState.IN_DOUBT
            for other in self.desk.portfolio.orders_of(order.instrument)
        )

    def _waits_for_its_stop(self, order: Order, market: Market) -> bool:
        """Whether the position's stop at the broker could sell what this order sells, too."""
        portfolio = self.desk.portfolio
        position = portfolio.positions.get(order.position_id)
        if position is None:
            return False
        for stop in portfolio.orders_of(order.instrument):
            ours = stop.purpose is OrderPurpose.STOP and stop.position_id == order.position_id
            # One that was never sent sells nothing; one in doubt is not in the book, and an exit cannot wait for ever.
            if not ours or stop.state in (OrderState.INTENT, OrderState.IN_DOUBT):
                continue
            units = self.stop_units.get(stop.client_order_id)
            if stop.cancel_asked or stop.try_over or stop.has_ended or units is None:
                return True
            # What it sold and we have not booked is not gone from the position yet.
            unbooked = units - market.units_per_lot * stop.filled_lots
            leaving = order.lots + self._lots_sent(order)
            if unbooked + market.units_per_lot * leaving > market.units_per_lot * position.lots:
                return True
        return False

    def _lots_sent(self, order: Order) -> int:
        """Lots of the same position that other orders are selling already."""
        return sum(
            other.lots_to_come
            for other in self.desk.portfolio.orders_of(order.instrument)
            if other.position_id == order.position_id
            and other.client_order_id != order.client_order_id
            and other.purpose in _SELLING
            and other.state is not OrderState.INTENT
        )

    def _would_reverse(self, order: Order, market: Market) -> bool:
        """Whether the broker holds less than this order sells: it is not sent, and where that lasts it is given up.

        A book may lag for a moment, so it waits; what differs for longer, reconciliation says by freezing the instrument.
        """
        if order.purpose not in (*_SELLING, OrderPurpose.STOP):
            return False
        form = sending(self.desk.portfolio, order, SendOrder(client_order_id=order.client_order_id))
        if isinstance(form, NotSent):
            return False  # the writer says so, too
        try:
            held = self.held_against(order, market)
        except (BrokerAway, BrokerRefused, OutcomeUnknown) as error:
            self.tell(order, "an order waits: what the broker holds cannot be read", error)
            return True
        if held >= market.units_per_lot * form.lots:
            return False
        if not self.is_different(order.instrument):
            # A book of positions may lag behind that of trades.
            if self._seconds_since_seen(order) > LAGS_SECONDS:
                self.tell(order, "an order waits: the broker's positions do not show what it closes", None)
            return True
        side = "short" if order.buys else "long"
        message = f"the broker holds {max(held, ZERO):f} {side}, less than this order closes: it would be reversed"
        self.report(order, OrderState.CANCELLED, message=message, settled=True)
        return True

    def held_against(self, order: Order, market: Market) -> Decimal:
        """Units at the broker that an order of this side closes. Raises what the broker raises."""
        where = (market.symbol, market.exchange)
        held = sum((p.quantity for p in self.broker.positions() if (p.symbol, p.exchange) == where), ZERO)
        accepted = self.desk.portfolio.pyramiding_of(order.instrument).accepted_difference or ZERO
        sign = -1 if order.buys else 1
        # What the operator has accepted to be missing does not keep our exits from going.
        return max(held * sign, (held - accepted) * sign)

    def is_different(self, instrument: str) -> bool:
        """Whether the broker is known to hold something else than we do."""
        frozen = self.desk.portfolio.pyramiding_of(instrument).frozen_reason or ""
        return self._differs(instrument) or frozen.startswith(_DIFFERING) or frozen.endswith(LEG_LEFT)

    def _could_be_mistaken(self, order: Order) -> bool:
        """Whether an order of the same shape is not known by the broker's id yet, and its book will not tell them apart."""
        if self.broker.keeps_client_order_ids:
            return False
        return any(
            other.client_order_id != order.client_order_id
            and other.broker_order_id is None
            and not other.has_ended
            and self.may_be_at_the_broker(other)
            # A stop looks otherwise; and what reduces a risk does not wait for what nobody knows.
            and (other.purpose is OrderPurpose.STOP) == (order.purpose is OrderPurpose.STOP)
            and not (other.state is OrderState.IN_DOUBT and order.purpose in _SELLING)
            and (other.instrument, other.symbol, other.buys, other.lots)
            == (order.instrument, order.symbol, order.buys, order.lots)
            for other in self.desk.portfolio.orders.values()
        )

    # --- to the writer, and to whoever reads the log

    def tell(self, order: Order, what: str, error: Exception | None) -> None:
        """Log it once an order and reason, not once a second."""
        key = f"{order.client_order_id}: {what}"
        if key not in self._told:
            self._told.add(key)
            origin = self.desk.origin_of(order.client_order_id)
            log.error(
                what,
                order=order.client_order_id,
                instrument=order.instrument,
                error=str(error or ""),
                fingerprint=origin,
            )

    def report(
        self,
        order: Order,
        state: OrderState,
        *,
        broker_order_id: str | None = None,
        message: str | None = None,
        settled: bool = False,
    ) -> None:
        """Tell the writer what a call came to. If it cannot be kept now, it is told again: the books do not tell of what was
        refused, or never came."""
        if state is OrderState.IN_DOUBT and order.client_order_id in self._untold:
            return  # what is known of it waits to be kept
        self._untold[order.client_order_id] = OrderReport(
            client_order_id=order.client_order_id,
            state=state,
            broker_order_id=broker_order_id,
            message=None if message is None else message[:1000],
            settled=settled,
        )
        self._tell_one(order.client_order_id)

    def _tell_one(self, order_id: str) -> None:
        order = self.desk.portfolio.orders.get(order_id)
        # Once the broker's books have told of it, they know better.
        unknown = (
            order is not None and order.state in (OrderState.INTENT, OrderState.SENT) and not order.broker_order_id
        )
        if not unknown or self.desk.order_input(self._untold[order_id]).kind is AnswerKind.DECIDED:
            del self._untold[order_id]
