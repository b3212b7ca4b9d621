"""Orders on their way: sends what is intended, reads the broker's books, and tells the writer what has come of it.

It decides nothing and keeps nothing that matters: what it knows, the committed orders and the broker's books say. An
order that may be at the broker already is looked for there, never sent again.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from msgspec.structs import replace

from core.decide.timing import duration
from core.errors import DatabaseAway
from core.inputs import EndTry, OrderReport
from core.orders import Order, OrderPurpose, OrderState, OrderType
from live.answers import AnswerKind
from live.books import Books, Market, found_in, news_of, read_books, request_of
from live.brokers.port import (
    BrokerAway,
    BrokerOrder,
    BrokerOrderState,
    BrokerRefused,
    OrderRequest,
    OutcomeUnknown,
)
from live.outbox import MAYBE_THERE, Outbox

log = structlog.get_logger(__name__)

READ_EVERY_SECONDS = 1.0
# How soon the books are read again while an order was just asked to be cancelled: something else may wait for that.
SOON_SECONDS = 0.2
# How long an order that an earlier process may have sent can take to show in the broker's book: longer than any adapter
# waits for an answer, since a server that hangs may do it late.
SHOWS_WITHIN_SECONDS = 30.0
# For so many readings an entry's trades may be behind its cancel.
LATE_READINGS = 3
CANCEL_AGAIN_SECONDS = 5.0
# Between two days of any exchange there is more than this; within one day a book loses no order.
A_NIGHT = timedelta(hours=6)
SAY_AGAIN_SECONDS = 60.0
RECONCILE_EVERY_SECONDS = 60.0
AGAIN_SECONDS = 5.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OF_ANOTHER_DAY = "the broker's book of another day does not show it any more"
_TWO_STEPS = (OrderPurpose.ROLL_OUT, OrderPurpose.ROLL_IN, OrderPurpose.UNDO)
# What reduces a risk goes first.
_FIRST = (
    OrderPurpose.EXIT,
    OrderPurpose.UNDO,
    OrderPurpose.ROLL_OUT,
    OrderPurpose.ROLL_IN,
    OrderPurpose.STOP,
    OrderPurpose.ENTRY,
)


class Dispatcher:
    """One thread, over an outbox that nobody else uses; `prepare` is called before anything is asked of the broker,
    `reconcile` now and then."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        prepare: Callable[[], None] = lambda: None,
        reconcile: Callable[[], object] = lambda: None,
        shows_within: float = SHOWS_WITHIN_SECONDS,
        read_every: float = READ_EVERY_SECONDS,
    ) -> None:
        self._outbox = outbox
        self._desk = outbox.desk
        self._broker = outbox.broker
        self._prepare = prepare
        self._reconcile = reconcile
        self._reconciled_at = float("-inf")
        self._shows_within = shows_within
        self._read_every = read_every
        self._missing_since: dict[str, float] = {}
        self._asked_to_cancel: dict[str, float] = {}
        # What the books said last, of which version of the order, and when: told with each look, it would fill the journal.
        self._moved: dict[str, tuple[OrderRequest, float]] = {}
        self._said: dict[str, tuple[int, OrderReport, float]] = {}
        self._read_at = float("-inf")
        self._look_at = float("-inf")
        # When the books that first showed an order as cancelled were read.
        self._seen_cancelled: dict[str, float] = {}
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
            self._wake.wait(self._seconds_until_due())
            self._wake.clear()

    def _seconds_until_due(self) -> float:
        due_in = self._look_at - time.monotonic() if self._desk.portfolio.orders else self._read_every
        return min(max(due_in, 0.0), self._read_every)

    def turn(self) -> None:
        """Send what is intended, end tries that have had their time, then read the books if it is time."""
        self._prepare()
        self._outbox.tell_again()
        # At the start too, so that the first order of a process does not wait for it.
        if not self._outbox.reached and (self._desk.portfolio.orders or self._read_at == float("-inf")):
            self._read()
        for order in self._urgent_first():
            if self._stopping or not self._outbox.reached:
                break
            self._prepare()
            self._outbox.send(order)
            self._end_try(order)
            if order.broker_order_id is not None and _is_to_be_cancelled(order):
                self._cancel(order, order.broker_order_id)
            if time.monotonic() >= self._look_at:
                # What was filled is known, and gets its stop, in the middle of a long row too.
                self._read()
        # What was just placed is mostly filled by now.
        placed, self._outbox.placed = self._outbox.placed, False
        if self._desk.portfolio.orders and (placed or time.monotonic() >= self._look_at):
            self._read()
        self._forget(set(self._desk.portfolio.orders))
        self._compare()

    def _urgent_first(self) -> Iterator[Order]:
        """Each order once, as it is when its turn comes. What is decided meanwhile has its place among those that still
        wait: an exit does not wait for a long row of entries."""
        known, had = None, set[str]()
        waiting: Iterator[Order] = iter(())
        while True:
            orders = self._desk.portfolio.orders
            if orders is not known:
                known = orders
                left = (order for order_id, order in orders.items() if order_id not in had)
                waiting = iter(sorted(left, key=lambda order: _FIRST.index(order.purpose)))
            order = next(waiting, None)
            if order is None:
                return
            had.add(order.client_order_id)
            yield order

    def _end_try(self, order: Order) -> None:
        """A limit order that was not filled in its time is cancelled, to be tried again."""
        works = order.order_type is OrderType.LIMIT and order.broker_order_id is not None and not order.has_ended
        if not works or order.sent_at is None or order.try_over or order.cancel_asked:
            return
        if self._outbox.clock() - order.sent_at >= duration(self._desk.portfolio.settings.execution.seconds_per_try):
            self._desk.order_input(EndTry(client_order_id=order.client_order_id))
            self._look_at = float("-inf")

    def _compare(self) -> None:
        """The broker's positions beside ours: at the start, then every so often."""
        if time.monotonic() - self._reconciled_at < RECONCILE_EVERY_SECONDS:
            return
        # What differs for the first time is looked at again soon: a book may lag.
        again_in = AGAIN_SECONDS if self._reconciled_at == float("-inf") else RECONCILE_EVERY_SECONDS
        self._reconciled_at = time.monotonic() - RECONCILE_EVERY_SECONDS + again_in
        try:
            self._reconcile()
        except (BrokerAway, BrokerRefused, OutcomeUnknown, DatabaseAway) as error:
            log.warning("what is held cannot be compared", error=str(error))

    # --- to the broker

    def _cancel(self, order: Order, broker_order_id: str) -> None:
        if not self._outbox.may_send():
            return
        protects = order.purpose is OrderPurpose.STOP and order.position_id in self._desk.portfolio.positions
        if protects and not self._outbox.lets_exits_go(order):
            return  # nothing could be sold in its place
        last = self._asked_to_cancel.get(order.client_order_id)
        if last is not None and time.monotonic() - last < CANCEL_AGAIN_SECONDS:
            return
        self._asked_to_cancel[order.client_order_id] = time.monotonic()
        self._look_at = float("-inf")
        try:
            self._broker.cancel(broker_order_id)
        except (BrokerRefused, BrokerAway, OutcomeUnknown) as error:
            # The book tells whether it was cancelled; a refusal mostly means that it has ended.
            origin = self._outbox.desk.origin_of(order.client_order_id)
            log.warning("a cancel was not taken", order=order.client_order_id, error=str(error), fingerprint=origin)

    def _awaits_a_cancel(self) -> bool:
        """Whether an order was just asked to be cancelled, and the book does not show it as cancelled yet."""
        now = time.monotonic()
        return any(
            now - asked_at < self._read_every
            for order_id, asked_at in self._asked_to_cancel.items()
            if order_id not in self._seen_cancelled
        )

    # --- from the broker

    def _read(self) -> None:
        self._look_at = time.monotonic() + self._read_every
        try:
            books = read_books(self._broker, self._outbox.clock())
            orders = self._entries_first()
            claimed = self._claimed(orders)
        except DatabaseAway:
            return  # nothing of it could be kept now
        except (BrokerAway, BrokerRefused) as error:
            if not self._blind:
                log.warning("the broker's books cannot be read", error=str(error))
            self._blind, self._outbox.reached = True, False
            return
        self._read_at, self._blind, self._outbox.reached = time.monotonic(), False, True
        for order in orders:
            market = self._outbox.market_of(order)
            if market is not None:
                self._read_one(books, order, market, claimed)
        again_in = SOON_SECONDS if self._awaits_a_cancel() else self._read_every
        self._look_at = self._read_at + min(again_in, self._read_every)

    def _entries_first(self) -> list[Order]:
        """What sells cannot be booked before what it sells."""
        return sorted(self._desk.portfolio.orders.values(), key=lambda order: order.purpose is not OrderPurpose.ENTRY)

    def _claimed(self, orders: Iterable[Order]) -> set[str]:
        """The broker's ids of what belongs to an order of ours. Where one is looked for by what it looks like, the rows are
        asked: the book shows the whole day, and what was settled is not in memory any more. Raises DatabaseAway."""
        known = {order.broker_order_id for order in orders if order.broker_order_id is not None}
        if any(order.broker_order_id is None and self._outbox.may_be_at_the_broker(order) for order in orders):
            known |= self._desk.known_broker_orders()
        return known

    def _read_one(self, books: Books, order: Order, market: Market, claimed: set[str]) -> None:
        entry = self._entry_of(books, order, market, claimed)
        if entry is None:
            return
        if entry.state is BrokerOrderState.CANCELLED:
            self._seen_cancelled.setdefault(order.client_order_id, self._read_at)
        try:
            report = news_of(books, order, entry, market)
        except ValueError as error:
            # One row that cannot be true must not keep the others from being read.
            self._outbox.tell(order, "what the broker's book shows of an order cannot be booked", error)
            return
        if report is not None and not (report.settled and self._was_just_cancelled(order, entry)):
            self._tell_news(order, report)
        if order.purpose is OrderPurpose.STOP:
            self._tend_stop(order, entry, market)
        if _is_to_be_cancelled(order):
            self._cancel(order, entry.broker_order_id)

    def _was_just_cancelled(self, order: Order, entry: BrokerOrder) -> bool:
        """Whether a fill may still be on its way into the book, however often that was read meanwhile.

        What an entry was filled is asked for again if it is not known by then; where the broker tells no quantity, trades may
        come later than that.
        """
        asks_again = order.purpose is OrderPurpose.ENTRY and entry.filled_quantity is None
        patience = self._read_every * (LATE_READINGS if asks_again else 1)
        return self._read_at - self._seen_cancelled.get(order.client_order_id, float("-inf")) < patience

    def _tend_stop(self, order: Order, entry: BrokerOrder, market: Market) -> None:
        """Note what it may still sell, and move it to where it belongs."""
        waits = entry.state in (BrokerOrderState.PENDING, BrokerOrderState.WORKING)
        filled = entry.quantity if entry.filled_quantity is None else entry.filled_quantity
        self._outbox.stop_units[order.client_order_id] = entry.quantity if waits else filled
        if not waits or order.cancel_asked or order.try_over or order.has_ended or not self._outbox.may_send():
            return
        if self._is_of_nothing(order, market):
            self._desk.order_input(EndTry(client_order_id=order.client_order_id))
            return
        wanted = request_of(order, market)
        asked, at = self._moved.get(order.client_order_id, (None, 0.0))
        if (entry.quantity, entry.trigger_price) == (wanted.quantity, wanted.trigger_price):
            return
        # Until the book is read again it may be as large as it was, or as it is to be.
        del self._outbox.stop_units[order.client_order_id]
        if asked == wanted and time.monotonic() - at < SAY_AGAIN_SECONDS:
            # A book that rounds, or does not tell triggers, is not argued with at each look.
            self._outbox.stop_units[order.client_order_id] = max(entry.quantity, wanted.quantity)
            return
        # What moved the stop may be a price that a paper broker has not been shown.
        self._prepare()
        try:
            self._broker.modify(entry.broker_order_id, wanted)
        except BrokerRefused as error:
            self._outbox.tell(order, "a stop cannot be moved where it is: it is cancelled and placed anew", error)
            self._desk.order_input(EndTry(client_order_id=order.client_order_id))
        except (BrokerAway, OutcomeUnknown) as error:
            # The book tells whether it was moved.
            self._outbox.tell(order, "a stop was not moved yet", error)
        else:
            self._moved[order.client_order_id] = (wanted, time.monotonic())

    def _is_of_nothing(self, stop: Order, market: Market) -> bool:
        """Whether the broker is known to hold less than a stop would sell: triggered, it would open a position."""
        if not self._outbox.is_different(stop.instrument):
            return False
        try:
            return self._outbox.held_against(stop, market) < market.units_per_lot * stop.lots_left
        except (BrokerAway, BrokerRefused, OutcomeUnknown):
            return False

    def _tell_news(self, order: Order, report: OrderReport) -> None:
        version, said, at = self._said.get(order.client_order_id, (None, None, 0.0))
        # A fill that the broker gives no time has that of the reading.
        news = replace(report, fills=tuple(replace(fill, filled_at=EPOCH) for fill in report.fills))
        if (version, said) == (order.version, news) and time.monotonic() - at < SAY_AGAIN_SECONDS:
            return
        if self._desk.order_input(report).kind is AnswerKind.DECIDED:
            self._said[order.client_order_id] = (order.version, news, time.monotonic())

    def _entry_of(self, books: Books, order: Order, market: Market, claimed: set[str]) -> BrokerOrder | None:
        if order.broker_order_id is not None:
            entry = books.orders.get(order.broker_order_id)
            if entry is None:
                self._vanished(order)
            else:
                self._missing_since.pop(order.client_order_id, None)
            return entry
        entry = found_in(books, order, market, claimed)
        if entry is not None:
            claimed.add(entry.broker_order_id)
        elif self._outbox.may_be_at_the_broker(order):
            self._not_found(order)
        return entry

    def _vanished(self, order: Order) -> None:
        """The book does not show an order that it has shown: with a new day it begins anew, and a day's orders are over.

        What it was filled meanwhile, if anything, the broker's positions tell; nothing is sold that they do not show.
        """
        self._outbox.tell(order, "the broker's book does not show an order of ours", None)
        since = self._missing_since.setdefault(order.client_order_id, time.monotonic())
        of_another_day = order.sent_at is not None and self._outbox.clock() - order.sent_at > A_NIGHT
        if not of_another_day or time.monotonic() - since < self._shows_within:
            return
        if not order.has_ended and (order.leg is not None or order.purpose in _TWO_STEPS):
            # Whether it was filled decides what has to follow: that is a human's to say.
            self._outbox.report(order, OrderState.IN_DOUBT, message=OF_ANOTHER_DAY)
            return
        if not order.has_ended:
            with suppress(BrokerRefused, BrokerAway, OutcomeUnknown):
                self._broker.cancel(order.broker_order_id or "")
        state = order.state if order.has_ended else OrderState.CANCELLED
        self._desk.order_input(
            OrderReport(client_order_id=order.client_order_id, state=state, message=OF_ANOTHER_DAY, settled=True)
        )

    def _not_found(self, order: Order) -> None:
        """Sent, perhaps, and not in the book: it may still show; after a while nobody knows."""
        if order.state in MAYBE_THERE and self._outbox.ask_by_placing(order):
            return
        since = self._missing_since.setdefault(order.client_order_id, time.monotonic())
        if order.state is OrderState.SENT and time.monotonic() - since >= self._shows_within:
            self._outbox.report(order, OrderState.IN_DOUBT, message="the broker's book does not show it")
        if order.state is OrderState.IN_DOUBT:
            self._outbox.tell(order, "nobody knows what became of an order: look at the broker", None)

    def _forget(self, known: set[str]) -> None:
        self._outbox.forget(known)
        keeps: tuple[dict[str, Any], ...] = (
            self._missing_since,
            self._asked_to_cancel,
            self._seen_cancelled,
            self._moved,
            self._said,
        )
        for kept in keeps:
            for client_order_id in kept.keys() - known:
                del kept[client_order_id]


def _is_to_be_cancelled(order: Order) -> bool:
    return (order.cancel_asked or order.try_over) and not order.has_ended
