"""The paper broker: fills orders at the quotes it is shown, and keeps its book in SQLite, so that a crash does not lose it.

Its time is its clock: what is shown takes effect when it is shown, and what is due by then was done at the quotes before.
So a book depends on what was asked and shown, and when; never on how often anybody looked.
"""

import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Self, assert_never

from core.errors import ConfigurationError
from core.fills import paper_fill
from core.models import Side
from core.numbers import exactly
from live.brokers.paper_book import PaperBook, PaperOrder, SeenQuote
from live.brokers.port import (
    Action,
    BrokerAway,
    BrokerFill,
    BrokerOrder,
    BrokerOrderState,
    BrokerPosition,
    BrokerRefused,
    Funds,
    OrderRequest,
    OrderType,
    OutcomeUnknown,
    Quote,
)
from live.brokers.quotes_file import FileQuote, read_quotes
from live.brokers.settings import PaperSettings

# What a fill is a whole number of, where nobody says otherwise.
_ONE = Decimal(1)
_FIXED = ("symbol", "exchange", "action", "order_type")


class PaperBroker:
    """A broker's account on paper, in one file. Any thread; one process.

    `now` is the clock, `step_of(symbol, exchange)` the quantity that parts of an order are multiples of (a lot's; 1
    where it is None). Raises ConfigurationError where the file or the quotes file cannot be used.
    """

    name = "paper"
    keeps_client_order_ids = True
    places_once = True
    has_stop_orders = True

    def __init__(
        self,
        file: Path,
        settings: PaperSettings,
        now: Callable[[], datetime],
        step_of: Callable[[str, str], Decimal] | None = None,
    ) -> None:
        self.settings = settings
        self._clock = now
        self._step_of = step_of
        self._lock = threading.RLock()
        self._file_quotes: list[FileQuote] = read_quotes(settings.quotes_file) if settings.quotes_file else []
        try:
            self._book = PaperBook(file)
        except sqlite3.Error as error:
            raise ConfigurationError(f"the paper broker's book {file} cannot be used: {error}") from error
        self._latest = self._book.latest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._book.close()

    def require_ready(self) -> None:
        """See that the book can be written."""
        self.orders()

    def counts_lots(self, exchange: str) -> bool:  # noqa: ARG002 - it is the same on all
        """Quantities are units on every exchange."""
        return False

    def quote_seen(self, symbol: str, exchange: str, price: Decimal, at: datetime) -> None:
        """Show the market: `price` was traded at `at`. One older than the last one shown of the symbol changes nothing.

        Raises BrokerAway where the book cannot be written.
        """
        with self._changing() as now:
            self._quote(symbol, exchange, price, at, seen_at=now)

    def place(self, request: OrderRequest) -> str:
        """Place an order; one with a `client_order_id` that is in the book changes nothing and gets the first answer."""
        with self._changing() as now:
            order = self._book.find(request.client_order_id) or self._added(request, now)
            self._match(order, now)
        if order.state is BrokerOrderState.REJECTED and not self.settings.reject_in_book:
            raise BrokerRefused(order.message or "the order is rejected")
        return order.broker_order_id

    def cancel(self, broker_order_id: str) -> None:
        """Ask that an order be cancelled: it is, after the latency, unless it is filled first."""
        with self._changing() as now:
            order = self._live(broker_order_id)
            self._book.update(order, cancel_at=order.cancel_at or now + self.settings.latency)
            self._match(self._live(broker_order_id), now)

    def modify(self, broker_order_id: str, request: OrderRequest) -> None:
        """Change a live order's price, trigger or quantity. What is filled stays; no more than that is refused."""
        with self._changing() as now:
            order = self._live(broker_order_id)
            if any(getattr(order, name) != getattr(request, name) for name in _FIXED):
                raise BrokerRefused("symbol, exchange, side and type of an order cannot be changed")
            if request.quantity <= order.filled:
                raise BrokerRefused(f"{order.filled} of it are filled: the quantity cannot become {request.quantity}")
            self._book.replace(order, request, ready_at=max(order.ready_at, now + self.settings.latency))
            self._match(self._live(broker_order_id), now)

    def orders(self) -> list[BrokerOrder]:
        """What is live, and what ended within `listed_days`, oldest first."""
        with self._changing() as now:
            return [order.as_reported() for order in self._book.orders(self._listed_from(now))]

    def fills(self) -> list[BrokerFill]:
        """The fills of the same time, oldest first."""
        with self._changing() as now:
            return self._book.fills(self._listed_from(now))

    def positions(self) -> list[BrokerPosition]:
        """What all fills so far sum to."""
        with self._changing():
            return self._book.positions()

    def quote(self, symbol: str, exchange: str) -> Quote:
        """The last price shown. Raises BrokerRefused where none was."""
        with self._changing():
            seen = self._book.quote(symbol, exchange)
        if seen is None:
            raise BrokerRefused(f"{symbol} on {exchange}: no quote was seen yet")
        return Quote(last=seen.price, bid=None, ask=None)

    def funds(self) -> Funds:
        """The capital of the settings: nobody asks a paper account for margin."""
        return Funds(available=self.settings.capital, used=Decimal(0))

    def _listed_from(self, now: datetime) -> datetime:
        return now - timedelta(days=self.settings.listed_days)

    def _live(self, broker_order_id: str) -> PaperOrder:
        order = self._book.order(broker_order_id)
        if order is None:
            raise BrokerRefused(f"{broker_order_id}: no such order")
        if not order.live:
            raise BrokerRefused(f"{broker_order_id}: is {order.state.value}")
        return order

    def _added(self, request: OrderRequest, now: datetime) -> PaperOrder:
        reason = self._reason_to_reject(request)
        broker_order_id = f"P{sha256(request.client_order_id.encode()).hexdigest()[:16]}"
        return self._book.add(request, broker_order_id, now, now + self.settings.latency, reason)

    def _reason_to_reject(self, request: OrderRequest) -> str | None:
        if request.symbol in self.settings.reject_symbols:
            return f"orders in {request.symbol} are rejected, by setting"
        every = self.settings.reject_every
        if every is not None and self._book.next_number() % every == 0:
            return f"every order number {every} is rejected, by setting"
        return None

    def _quote(self, symbol: str, exchange: str, price: Decimal, at: datetime, *, seen_at: datetime) -> None:
        known = self._book.quote_of(symbol, exchange)
        if known is not None and at < known.at:
            return
        self._book.set_quote(symbol, exchange, SeenQuote(price=price, at=at, seen_at=seen_at))
        for order in self._book.live(symbol):
            self._match(order, seen_at)

    def _catch_up(self, now: datetime) -> None:
        """Do what was due up to `now`: the quotes file's lines in their order, and what each order did meanwhile."""
        lines = self._due_lines(now)
        if not self._book.live():
            # Nobody was there to trade at them: of many lines only the last of each symbol tells anything.
            lines = list({line.symbol: line for line in lines}.values())
        for line in lines:
            self._match_all(line.at)
            self._quote(line.symbol, "", line.price, line.at, seen_at=line.at)
        if lines:
            self._book.set_file_time(now)
        self._match_all(now)

    def _due_lines(self, now: datetime) -> list[FileQuote]:
        applied_to = self._book.file_time() if self._file_quotes else None
        first = 0 if applied_to is None else bisect_right(self._file_quotes, applied_to, key=_time_of)
        return self._file_quotes[first : bisect_right(self._file_quotes, now, key=_time_of)]

    def _match_all(self, now: datetime) -> None:
        for order in self._book.live():
            self._match(order, now)

    def _match(self, order: PaperOrder, now: datetime) -> None:
        """Fill what this order gets at the quote that holds, up to `now`; then cancel it where that is due."""
        seen = self._book.quote(order.symbol, order.exchange) if order.live else None
        while seen is not None and order.live:
            at = max(order.ready_at, seen.seen_at)
            ended = order.cancel_at is not None and order.cancel_at <= at
            if at > now or ended or not _reaches(order, seen.price):
                break
            if order.state is BrokerOrderState.PENDING:
                order = self._book.update(order, state=BrokerOrderState.WORKING)
                if not _reaches(order, seen.price):
                    break
            order = self._fill(order, self._price(order, seen.price), at)
        if order.live and order.cancel_at is not None and order.cancel_at <= now:
            self._book.update(order, state=BrokerOrderState.CANCELLED, ended_at=order.cancel_at)

    def _fill(self, order: PaperOrder, price: Decimal, at: datetime) -> PaperOrder:
        quantity = self._part(order)
        filled = self._book.fill(order, quantity, price, at)
        done = filled.filled == filled.quantity
        return self._book.update(
            filled,
            state=BrokerOrderState.FILLED if done else BrokerOrderState.WORKING,
            ended_at=at if done else None,
            ready_at=at + self.settings.between_fills,
        )

    @exactly
    def _part(self, order: PaperOrder) -> Decimal:
        """The next part: the fractions so far of the quantity, in whole steps, minus what is filled; at the end, the rest."""
        step = self._step_of(order.symbol, order.exchange) if self._step_of else _ONE
        share = Decimal(0)
        for fraction in self.settings.fill_fractions[:-1]:
            share += fraction
            part = order.quantity * share // step * step - order.filled
            if part > 0:
                return part
        return order.quantity - order.filled

    def _price(self, order: PaperOrder, last: Decimal) -> Decimal:
        """The quote moved against us, but never beyond the order's limit."""
        buys = order.action is Action.BUY
        moved = paper_fill(Side.LONG, last, self.settings.slippage_percent, entering=buys)
        if order.price is None:
            return moved
        return min(moved, order.price) if buys else max(moved, order.price)

    @contextmanager
    def _changing(self) -> Iterator[datetime]:
        """One transaction; what was due before it is done first. The time it takes effect."""
        with self._lock:
            # A clock that was set back must not make the past happen twice.
            now = self._clock()
            self._latest = now = now if self._latest is None else max(now, self._latest)
            try:
                self._book.begin()
                self._catch_up(now)
                yield now
            except sqlite3.Error as error:
                self._undo()
                raise BrokerAway(f"the paper broker's book cannot be written: {error}") from error
            except BaseException:
                self._undo()
                raise
            self._commit()

    def _commit(self) -> None:
        try:
            self._book.commit()
        except sqlite3.Error as error:
            self._undo()
            raise OutcomeUnknown(f"the paper broker's book may not be written: {error}") from error

    def _undo(self) -> None:
        with suppress(sqlite3.Error):
            self._book.rollback()


def _time_of(line: FileQuote) -> datetime:
    return line.at


def _reaches(order: PaperOrder, last: Decimal) -> bool:
    """Whether the market at `last` touches the trigger, while the order waits for it, or else the limit."""
    buys = order.action is Action.BUY
    if order.state is BrokerOrderState.PENDING:
        trigger = order.trigger_price
        return trigger is not None and (last >= trigger if buys else last <= trigger)
    match order.order_type:
        case OrderType.MARKET | OrderType.STOP_MARKET:
            return True
        case OrderType.LIMIT | OrderType.STOP:
            limit = order.price
            return limit is not None and (last <= limit if buys else last >= limit)
        case _:
            assert_never(order.order_type)
