"""Orders on their way: sends what is intended, reads the broker's books, and tells the writer what has come of it.

It decides nothing and keeps nothing that matters: what it knows, the committed orders and the broker's books say. An
order that may be at the broker already is looked for there, never sent again.
"""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import structlog

from core.decide.timing import duration
from core.inputs import OrderReport
from core.orders import Order, OrderPurpose, OrderState
from live.answers import AnswerKind
from live.books import Books, Market, found_in, may_be_there, news_of, read_books, request_of
from live.brokers.port import Broker, BrokerAway, BrokerOrder, BrokerRefused, OutcomeUnknown
from live.order_limits import Gate, Refuse, Wait
from live.ports import OrderDesk
from live.reconcile import MISMATCHES

log = structlog.get_logger(__name__)
_DIFFERING = tuple(kind.value for kind in MISMATCHES)

READ_EVERY_SECONDS = 1.0
# How long an order that an earlier process may have sent can take to show in the broker's book: longer than any adapter
# waits for an answer, since a server that hangs may do it late.
SHOWS_WITHIN_SECONDS = 30.0
CANCEL_AGAIN_SECONDS = 5.0
SAY_AGAIN_SECONDS = 60.0
RECONCILE_EVERY_SECONDS = 60.0
AGAIN_SECONDS = 5.0


class Dispatcher:
    """One thread. `desk` is the engine; `market_of` tells where an order is traded, None where nowhere;
    `may_send` whether this instance holds the portfolio at this moment, `gate` what limits let through; `prepare` is called
    before each turn, `reconcile` now and then."""

    def __init__(
        self,
        desk: OrderDesk,
        broker: Broker,
        *,
        market_of: Callable[[Order], Market | None],
        clock: Callable[[], datetime],
        may_send: Callable[[], bool] = lambda: True,
        prepare: Callable[[], None] = lambda: None,
        gate: Gate | None = None,
        reconcile: Callable[[], object] = lambda: None,
        shows_within: float = SHOWS_WITHIN_SECONDS,
        read_every: float = READ_EVERY_SECONDS,
    ) -> None:
        self._desk = desk
        self._broker = broker
        self._market_of = market_of
        self._clock = clock
        self._may_send = may_send
        self._prepare = prepare
        self._gate = gate
        self._reconcile = reconcile
        self._reconciled_at = float("-inf")
        self._shows_within = shows_within
        self._read_every = read_every
        # Handed to the broker by this process, or found at the start: not to be sent. With the time it became so.
        self._handed: dict[str, float] = {}
        self._asked_to_cancel: dict[str, float] = {}
        self._told: set[str] = set()
        # What a call came to and the writer could not keep.
        self._untold: dict[str, OrderReport] = {}
        # What the books said last, of which version of the order, and when: told with each look, it would fill the journal.
        self._said: dict[str, tuple[int, OrderReport, float]] = {}
        self._inherited: dict[str, float] | None = None
        self._ours: set[str] = set()
        self._read_at = float("-inf")
        self._blind = False
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin; orders of an earlier process are resolved from the broker's books before any of them is sent."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End after the call in hand."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def wake(self) -> None:
        """Something was committed: there may be an order to send."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.turn()
            except Exception:
                # An adapter's mistake must not end the only thread that brings fills.
                log.exception("a turn of the dispatcher failed")
                self._wake.wait(self._read_every)
            self._wake.wait(self._read_every)
            self._wake.clear()

    def turn(self) -> None:
        """Send what is intended, then read the books if it is time."""
        self._prepare()
        # What reduces a risk goes first.
        orders = sorted(self._desk.portfolio.orders.values(), key=lambda order: order.purpose is OrderPurpose.ENTRY)
        if self._inherited is None:
            self._ours = self._desk.known_broker_orders()
            now = time.monotonic()
            self._inherited = {order.client_order_id: now for order in orders if order.state is OrderState.INTENT}
        for order_id in list(self._untold):
            self._tell_again(order_id)
        for known in orders:
            # As it is now: sending the one before may have taken its time.
            order = self._desk.portfolio.orders.get(known.client_order_id)
            if order is not None and order.state is OrderState.INTENT and self._is_fresh(order):
                self._send(order)
        if orders and time.monotonic() - self._read_at >= self._read_every:
            self._read()
        self._forget(orders)
        self._compare()

    def _compare(self) -> None:
        """The broker's positions beside ours: at the start, then every so often."""
        if time.monotonic() - self._reconciled_at < RECONCILE_EVERY_SECONDS:
            return
        # What differs for the first time is looked at again soon: a book may lag.
        again_in = AGAIN_SECONDS if self._reconciled_at == float("-inf") else RECONCILE_EVERY_SECONDS
        self._reconciled_at = time.monotonic() - RECONCILE_EVERY_SECONDS + again_in
        try:
            self._reconcile()
        except (BrokerAway, BrokerRefused, OutcomeUnknown) as error:
            log.warning("the broker's positions cannot be read", error=str(error))

    def _is_fresh(self, order: Order) -> bool:
        inherited = self._inherited or {}
        return order.client_order_id not in inherited and order.client_order_id not in self._handed

    # --- to the broker

    def _send(self, order: Order) -> None:
        refusal = self._refusal(order)
        if refusal is not None:
            self._report(order, OrderState.CANCELLED, message=refusal, settled=True)
            return
        market = self._market_of(order)
        if market is None:
            self._report(order, OrderState.REJECTED, message=f"{order.instrument} is not traded here", settled=True)
            return
        if self._has_to_wait(order) or self._would_reverse(order, market) or not self._passes(order, market):
            return
        # From here on only the broker's book says what became of it, whatever happens to this call.
        self._handed[order.client_order_id] = time.monotonic()
        try:
            broker_order_id = self._broker.place(request_of(order, market))
        except BrokerRefused as error:
            self._report(order, OrderState.REJECTED, message=str(error), settled=True)
        except BrokerAway as error:
            del self._handed[order.client_order_id]
            self._tell(order, "the broker is away: the order waits", error)
        except OutcomeUnknown as error:
            self._report(order, OrderState.IN_DOUBT, message=str(error))
        else:
            self._report(order, OrderState.SENT, broker_order_id=broker_order_id)

    def _passes(self, order: Order, market: Market) -> bool:
        """Whether the limits let it go now; what they refuse for good is reported."""
        if self._gate is None:
            return True
        match self._gate.check(order, market.exchange):
            case Refuse(reason):
                self._report(order, OrderState.CANCELLED, message=reason, settled=True)
                return False
            case Wait(reason):
                self._tell(order, f"an order waits: {reason}", None)
                return False
            case None:
                self._gate.sent()
                return True

    def _has_to_wait(self, order: Order) -> bool:
        return not self._may_send() or self._waits_for_its_entry(order) or self._could_be_mistaken(order)

    def _waits_for_its_entry(self, order: Order) -> bool:
        """Whether what still works of its position's entry is seen cancelled first: a fill after the position was closed
        would be nobody's."""
        return order.purpose is OrderPurpose.EXIT and any(
            other.purpose is OrderPurpose.ENTRY and other.position_id == order.position_id and other.cancel_asked
            for other in self._desk.portfolio.orders_of(order.instrument)
        )

    def _would_reverse(self, order: Order, market: Market) -> bool:
        """Whether the broker is known to hold something else than we do, and less than this exit sells: it is not sent."""
        frozen = self._desk.portfolio.pyramiding_of(order.instrument).frozen_reason or ""
        if order.purpose is OrderPurpose.ENTRY or not frozen.startswith(_DIFFERING):
            return False
        try:
            positions = self._broker.positions()
        except (BrokerAway, BrokerRefused, OutcomeUnknown) as error:
            self._tell(order, "an exit waits: what the broker holds cannot be read", error)
            return True
        where = (market.symbol, market.exchange)
        held = sum(p.quantity for p in positions if (p.symbol, p.exchange) == where) * order.side.sign
        if held >= market.units_per_lot * order.lots:
            return False
        message = f"the broker holds {max(held, 0):f}, less than this exit sells: it would be reversed"
        self._report(order, OrderState.CANCELLED, message=message, settled=True)
        return True

    def _could_be_mistaken(self, order: Order) -> bool:
        """Whether an order of the same shape is not known by the broker's id yet, and its book will not tell them apart."""
        if self._broker.keeps_client_order_ids:
            return False
        return any(
            other.client_order_id != order.client_order_id
            and other.broker_order_id is None
            and other.is_live
            and self._was_handed(other)
            and (other.instrument, other.buys, other.lots) == (order.instrument, order.buys, order.lots)
            for other in self._desk.portfolio.orders.values()
        )

    def _refusal(self, order: Order) -> str | None:
        """Why an order that was never sent is not sent any more: nobody wants it, or its entry is too old by now."""
        if order.cancel_asked:
            return "no longer wanted"
        portfolio = self._desk.portfolio
        if order.purpose is OrderPurpose.EXIT or order.plan is None:
            return None
        if portfolio.state.halted:
            return "halted"
        most = portfolio.settings.timing.max_entry_age_seconds
        if most is not None and self._clock() - order.plan.entry_timestamp > duration(most):
            return "stale"
        return None

    def _cancel(self, order: Order, broker_order_id: str) -> None:
        last = self._asked_to_cancel.get(order.client_order_id)
        if last is not None and time.monotonic() - last < CANCEL_AGAIN_SECONDS:
            return
        self._asked_to_cancel[order.client_order_id] = time.monotonic()
        try:
            self._broker.cancel(broker_order_id)
        except (BrokerRefused, BrokerAway, OutcomeUnknown) as error:
            # The book tells whether it was cancelled; a refusal mostly means that it has ended.
            log.warning("a cancel was not taken", order=order.client_order_id, error=str(error))

    # --- from the broker

    def _read(self) -> None:
        try:
            books = read_books(self._broker, self._clock())
        except (BrokerAway, BrokerRefused) as error:
            if not self._blind:
                log.warning("the broker's books cannot be read", error=str(error))
            self._blind = True
            return
        self._read_at, self._blind = time.monotonic(), False
        orders = list(self._desk.portfolio.orders.values())
        # Also those that are settled: the book shows the whole day.
        self._ours |= {order.broker_order_id for order in orders if order.broker_order_id is not None}
        claimed = set(self._ours)
        for order in orders:
            market = self._market_of(order)
            if market is not None:
                self._read_one(books, order, market, claimed)

    def _read_one(self, books: Books, order: Order, market: Market, claimed: set[str]) -> None:
        entry = self._entry_of(books, order, market, claimed)
        if entry is None:
            return
        try:
            report = news_of(books, order, entry, market)
        except ValueError as error:
            # One row that cannot be true must not keep the others from being read.
            self._tell(order, "what the broker's book shows of an order cannot be booked", error)
            return
        if report is not None:
            self._tell_news(order, report)
        if order.cancel_asked and order.is_live:
            self._cancel(order, entry.broker_order_id)

    def _tell_news(self, order: Order, report: OrderReport) -> None:
        version, said, at = self._said.get(order.client_order_id, (None, None, 0.0))
        if (version, said) == (order.version, report) and time.monotonic() - at < SAY_AGAIN_SECONDS:
            return
        if self._desk.report(report).kind is AnswerKind.DECIDED:
            self._said[order.client_order_id] = (order.version, report, time.monotonic())

    def _entry_of(self, books: Books, order: Order, market: Market, claimed: set[str]) -> BrokerOrder | None:
        if order.broker_order_id is not None:
            entry = books.orders.get(order.broker_order_id)
            if entry is None:
                self._tell(order, "the broker's book does not show an order of ours", None)
            return entry
        if not self._was_handed(order):
            return None
        entry = found_in(books, order, market, claimed)
        if entry is None:
            self._not_found(books, order, market, claimed)
        else:
            claimed.add(entry.broker_order_id)
        return entry

    def _was_handed(self, order: Order) -> bool:
        known = order.client_order_id in self._handed or order.client_order_id in (self._inherited or {})
        return known or order.state is not OrderState.INTENT

    def _not_found(self, books: Books, order: Order, market: Market, claimed: set[str]) -> None:
        since = self._handed.get(order.client_order_id) or (self._inherited or {}).get(order.client_order_id)
        if order.state is not OrderState.INTENT or order.client_order_id in self._handed:
            self._tell(order, "nobody knows what became of an order: look at the broker", None)
            return
        waited = since is None or time.monotonic() - since >= self._shows_within
        if waited and not may_be_there(books, order, market, claimed):
            # An intent of an earlier process that never reached the broker: it is sent as if it were new.
            (self._inherited or {}).pop(order.client_order_id, None)
            self._wake.set()
        elif waited:
            self._tell(order, "the broker's book shows what may be this order: it is not sent", None)

    # --- to the writer

    def _report(
        self,
        order: Order,
        state: OrderState,
        *,
        broker_order_id: str | None = None,
        message: str | None = None,
        settled: bool = False,
    ) -> None:
        # If it cannot be kept now, it is told again: the books do not tell of what was refused, or never came.
        self._untold[order.client_order_id] = OrderReport(
            client_order_id=order.client_order_id,
            state=state,
            broker_order_id=broker_order_id,
            message=None if message is None else message[:1000],
            settled=settled,
        )
        self._tell_again(order.client_order_id)

    def _tell_again(self, order_id: str) -> None:
        order = self._desk.portfolio.orders.get(order_id)
        # Once anything is known of it, the books know better.
        unknown = order is not None and order.state is OrderState.INTENT
        if not unknown or self._desk.report(self._untold[order_id]).kind is AnswerKind.DECIDED:
            del self._untold[order_id]

    def _tell(self, order: Order, what: str, error: Exception | None) -> None:
        """Once an order and reason, not once a second."""
        key = f"{order.client_order_id}: {what}"
        if key not in self._told:
            self._told.add(key)
            log.error(what, order=order.client_order_id, instrument=order.instrument, error=str(error or ""))

    def _forget(self, orders: Iterable[Order]) -> None:
        known = {order.client_order_id for order in orders}
        keeps: tuple[dict[str, Any], ...] = (self._handed, self._asked_to_cancel, self._said)
        for kept in keeps:
            for client_order_id in kept.keys() - known:
                del kept[client_order_id]
