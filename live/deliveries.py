"""What waits for the writer: deliveries and commands, each with the request that waits for its answer."""

import threading
from collections import deque
from contextlib import suppress
from typing import Any

from core.inputs import Command, SignalInput
from core.ordering import signal_in_order_key
from live.answers import Answer

MOST_AT_ONCE = 128


class Delivery:
    """One input on its way through the writer. `followers` are further deliveries of the same signal,
    `failure` is why it can only be kept as failed."""

    __slots__ = ("_done", "abandoned", "answer", "failure", "followers", "given", "payload", "wait_until")

    def __init__(self, given: SignalInput | Command, payload: dict[str, Any] | None = None) -> None:
        self.given = given
        self.payload = payload or {}
        self.followers: list[Delivery] = []
        self.answer: Answer | None = None
        self.abandoned = False
        self.failure: str | None = None
        self.wait_until: float | None = None
        self._done = threading.Event()

    @property
    def fingerprint(self) -> str | None:
        """The signal's identity; None for a command."""
        return self.given.fingerprint if isinstance(self.given, SignalInput) else None

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for the answer."""
        return not self.abandoned or any(follower.wanted for follower in self.followers)

    def settle(self, answer: Answer) -> None:
        """Give the waiting request its answer; the first one stands."""
        if self.answer is None:
            self.answer = answer
            self._done.set()

    def wait(self, seconds: float) -> Answer | None:
        """The answer, or None when it has not come in time; nobody waits from then on."""
        if not self._done.wait(seconds):
            self.abandoned = True
        return self.answer


class Waiting:
    """The queue in front of the writer: it takes all that waits, at most a batch."""

    def __init__(self) -> None:
        self._waiting: deque[Delivery] = deque()
        self._condition = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, delivery: Delivery) -> bool:
        """Queue a delivery; False once the queue is closed."""
        with self._condition:
            if self._closed:
                return False
            self._waiting.append(delivery)
            self._condition.notify()
            return True

    def take(self, timeout: float | None) -> list[Delivery]:
        """Everything that waits, up to a batch; empty after `timeout` seconds, or when closed and drained."""
        with self._condition:
            if not self._waiting and not self._closed:
                self._condition.wait(timeout)
            count = min(len(self._waiting), MOST_AT_ONCE)
            return [self._waiting.popleft() for _ in range(count)]

    def discard(self, delivery: Delivery) -> None:
        """Take a delivery back out, if the writer has not begun with it."""
        with self._condition, suppress(ValueError):
            self._waiting.remove(delivery)

    def close(self) -> None:
        """Take nothing more; what waits can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed


def in_order(deliveries: list[Delivery]) -> list[Delivery]:
    """Commands first, as they came: an operator who halts means now. Then signals in DOMAIN.md's order."""
    commands = [delivery for delivery in deliveries if not isinstance(delivery.given, SignalInput)]
    signals = [(delivery.given.signal, delivery) for delivery in deliveries if isinstance(delivery.given, SignalInput)]
    signals.sort(key=lambda pair: signal_in_order_key(pair[0]))
    return [*commands, *(delivery for _, delivery in signals)]


def first_of_each(deliveries: list[Delivery]) -> list[Delivery]:
    """Of equal fingerprints or request ids the first is decided; the others wait for it."""
    first: dict[str, Delivery] = {}
    distinct = []
    for delivery in deliveries:
        identity = _identity(delivery)
        if identity is not None and identity in first:
            first[identity].followers.append(delivery)
            continue
        if identity is not None:
            first[identity] = delivery
        distinct.append(delivery)
    return distinct


def _identity(delivery: Delivery) -> str | None:
    if delivery.fingerprint is not None:
        return delivery.fingerprint
    request_id = getattr(delivery.given, "request_id", None)
    return None if request_id is None else f"request:{request_id}"
