"""What the writer decides next: taken from the queue and sorted, with the entries that have waited for their EXIT."""

import threading
import time
from collections.abc import Callable
from decimal import Decimal

from live.deliveries import Delivery, Waiting, first_of_each, in_order
from live.writer import PortfolioWriter

# So many that wait are worth a batch of their own while another one is on its way: fewer are kept sooner in a larger one.
AHEAD = 32


class Intake:
    """The writer's thread's. Nothing more is taken ahead once `stopping`."""

    def __init__(
        self, waiting: Waiting, writer: PortfolioWriter, *, same_bar_seconds: Decimal, stopping: threading.Event
    ) -> None:
        self._waiting = waiting
        self._writer = writer
        self._same_bar_seconds = same_bar_seconds
        self._stopping = stopping

    def next(self) -> list[Delivery]:
        """What is to be decided now, once something is."""
        deadline = self._writer.parked.next_deadline()
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        return self._with_released(self._waiting.take(timeout))

    def more(self, over: Callable[[], bool]) -> list[Delivery]:
        """What may be decided while a batch is on its way, once that is much; nothing once it is `over`."""
        return [] if self._stopping.is_set() else self._with_released(self._waiting.take_many(AHEAD, over))

    def look_again(self) -> None:
        """Have `over` asked. Any thread's; does not block."""
        self._waiting.look_again()

    def _with_released(self, taken: list[Delivery]) -> list[Delivery]:
        writer = self._writer
        arrived = [delivery for delivery in taken if not writer.parked.joined_by(delivery)]
        if self._waiting.closed:
            writer.parks = False
            released = writer.parked.release_all()
        else:
            released = writer.parked.release(arrived, time.monotonic(), self._same_bar_seconds)
        return in_order(first_of_each([*arrived, *released]))
