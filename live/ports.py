"""What the HTTP shell needs of the engine."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from core.inputs import Command, OrderInput
from core.models import Position, Signal
from core.orders import OrderState
from core.portfolio import Portfolio
from core.postgres.reads import Reads
from live.answers import Answer
from live.deliveries import Delivery
from live.reconcile import Finding


class Engine(Protocol):
    """The one writer of one portfolio, as seen from a request's thread."""

    @property
    def portfolio_name(self) -> str:
        """Which portfolio is served."""

    @property
    def portfolio(self) -> Portfolio:
        """Its committed state: one reference, replaced as a whole."""

    @property
    def ready(self) -> bool:
        """Whether recovery has ended and signals can be kept."""

    @property
    def last_signal_at(self) -> datetime | None:
        """When this instance committed last; None where it has not."""

    @property
    def role(self) -> str:
        """`leader`, `follower`, or `starting` where it is neither yet."""

    @property
    def reads(self) -> Reads:
        """The database as whoever decides has to read it; raises DatabaseAway within about 2 s."""

    @property
    def lists(self) -> Reads:
        """The same for what is only shown: of an instance that follows it may be a moment behind."""

    def deliver(self, signal: Signal, payload: dict[str, Any]) -> Answer:
        """Decide a signal, or keep it to be decided; blocks at most 2 s and never raises."""

    def begin(self, signal: Signal, payload: dict[str, Any], when_done: Callable[[], None]) -> Delivery | None:
        """Queue a signal to be decided; `when_done` is called once finish() need not wait. None: it is for deliver().
        Never blocks, never raises."""

    def finish(self, delivery: Delivery) -> Answer:
        """As deliver(), of what was begun with."""

    def command(self, command: Command) -> Answer:
        """Carry out an operator's command; a `request_id` that is known answers the first outcome."""

    def resolve(
        self,
        client_order_id: str,
        state: OrderState,
        *,
        lots: int,
        price: Decimal | None,
        broker_order_id: str | None,
        request_id: str,
    ) -> Answer:
        """The end of an order as the operator saw it at the broker, with `lots` filled at `price` that are not booked yet."""

    def reconcile(self) -> tuple[Finding, ...] | None:
        """Ours beside the broker's positions, now; None where there is no broker. May raise what a broker raises."""

    def give_lead_away(self) -> bool:
        """Let another instance lead and follow it; False where none follows. Raises DatabaseAway."""

    def exchange_day(self) -> date:
        """Which day it is where contracts are traded."""

    def backlog(self) -> dict[str, Any]:
        """How much waits to be decided, in memory and on the disk; never raises."""

    def status(self) -> dict[str, Any]:
        """The portfolio's columns at the top level, then leader, term, pid, backlog."""

    def database_status(self) -> dict[str, Any]:
        """What is known of the server; raises DatabaseAway."""

    def position(self, position_id: str) -> Position | None:
        """A position, open or closed; None where there is none. May raise DatabaseAway."""


class OrderDesk(Protocol):
    """What the dispatcher needs of the engine."""

    @property
    def portfolio(self) -> Portfolio:
        """Its committed state, with the orders of which more may come."""

    def order_input(self, given: OrderInput) -> Answer:
        """Decide what a broker tells, or what is about to be sent; blocks at most 2 s and never raises. What was not kept is
        told again."""

    def origin_of(self, client_order_id: str) -> str | None:
        """The fingerprint of the signal that an order on its way comes from; None where it comes from none."""

    def known_broker_orders(self) -> set[str]:
        """The brokers' ids of our latest orders, settled or not. Raises DatabaseAway."""
