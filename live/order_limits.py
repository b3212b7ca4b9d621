"""What must hold before an order is sent: sizes, rates, hours, and nobody has pulled the switch. Pure but for the switch."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from core.contracts import PositiveMoney, Settled
from core.numbers import product
from core.orders import Order, OrderPurpose
from core.trading_calendar import BeyondHorizon, TradingCalendar

_MINUTE = timedelta(minutes=1)


class OrderLimits(Settled):
    """`most_value` is the money of one order (lots x point value x price), `most_lots` its lots: of entries, an exit is
    never larger than what is open. `most_per_minute` counts all. `within_hours` asks the trading calendar."""

    most_value: PositiveMoney | None = None
    most_lots: Annotated[int, Field(ge=1)] | None = None
    most_per_minute: Annotated[int, Field(ge=1)] = 60
    within_hours: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """It is not sent, now or later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """It is not sent now."""

    reason: str


class Gate:
    """Asked before each order. `switch` is a file: while it is there nothing is sent at all. Not for several threads."""

    def __init__(
        self,
        limits: OrderLimits,
        switch: Path,
        *,
        clock: Callable[[], datetime],
        calendar: TradingCalendar | None = None,
    ) -> None:
        self._limits = limits
        self._switch = switch
        self._clock = clock
        self._calendar = calendar
        self._sent: list[datetime] = []

    def check(self, order: Order, exchange: str) -> Refuse | Wait | None:
        """Why this order is not sent now; None where it may be."""
        is_entry = order.purpose is OrderPurpose.ENTRY
        if self._switch.exists():
            return Wait(f"the switch {self._switch.name} is pulled")
        if is_entry and (reason := self._too_large(order)) is not None:
            return Refuse(reason)
        now = self._clock()
        closed = self._closed(exchange, now)
        if closed is not None:
            # An entry is for this moment; an exit is for as soon as it can be.
            return Refuse(closed) if is_entry else Wait(closed)
        self._sent = [sent for sent in self._sent if now - sent < _MINUTE]
        if len(self._sent) >= self._limits.most_per_minute:
            return Wait(f"{len(self._sent)} orders were sent within a minute")
        return None

    def sent(self) -> None:
        """An order was sent."""
        self._sent.append(self._clock())

    def _too_large(self, order: Order) -> str | None:
        limits = self._limits
        if limits.most_lots is not None and order.lots > limits.most_lots:
            return f"limit: {order.lots} lots, at most {limits.most_lots}"
        value = product(order.reference_price, order.point_value, order.lots)
        if limits.most_value is not None and value > limits.most_value:
            return f"limit: worth {value.normalize():f}, at most {limits.most_value:f}"
        return None

    def _closed(self, exchange: str, now: datetime) -> str | None:
        if not self._limits.within_hours or self._calendar is None:
            return None
        try:
            return None if self._calendar.is_open(exchange, now) else f"{exchange} is closed"
        except BeyondHorizon as error:
            return str(error)
