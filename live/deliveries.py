"""What waits for the writer: deliveries and commands, each with the request that waits for its answer."""

import heapq
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

from core.inputs import Command, ExpireProposals, OrderInput, SetContracts, SignalInput
from core.ordering import signal_in_order_key
from live.answers import Answer

# Signals that touch a position each. One that touches many counts for more: PostgreSQL writes a first part of them while the
# rest is decided.
MOST_AT_ONCE = 128
# So many positions that are marked take as long as a signal does.
MARKS_A_SIGNAL = 4
# Half of the server's threads wait: after so long those that no thread has heard yet come first.
CROWD = 32
CROWDED_SECONDS = 0.7


class Delivery:
    """One input on its way through the writer. `followers` are further deliveries of the same signal, `failure` is why
    it can only be kept as failed, `kept` whether it is on a disk (spool or inbox) and so decided whoever waits.

    `when_done` is told once there is an answer, or none to wait for: by whichever thread that is, so it must neither block
    nor raise.
    """

    __slots__ = (
        "_done",
        "abandoned",
        "answer",
        "begun",
        "failure",
        "followers",
        "given",
        "kept",
        "number",
        "payload",
        "wait_until",
        "when_done",
    )

    def __init__(
        self,
        given: SignalInput | Command | OrderInput | SetContracts | ExpireProposals,
        payload: dict[str, Any] | None = None,
        *,
        kept: bool = False,
        when_done: Callable[[], None] | None = None,
    ) -> None:
        self.begun = time.monotonic()
        self.given = given
        self.payload = payload or {}
        self.followers: list[Delivery] = []
        self.answer: Answer | None = None
        self.abandoned = False
        self.kept = kept
        self.failure: str | None = None
        self.number: int | None = None
        self.wait_until: float | None = None
        self.when_done = when_done
        # Held until it is done: one is made for each alert, and an Event costs twenty times as much.
        self._done = threading.Lock()
        self._done.acquire()

    @property
    def fingerprint(self) -> str | None:
        """The signal's identity; None for a command."""
        return self.given.fingerprint if isinstance(self.given, SignalInput) else None

    @property
    def wanted(self) -> bool:
        """Whether it is kept, or anybody still waits for the answer."""
        return self.kept or not self.abandoned or any(follower.wanted for follower in self.followers)

    @property
    def everybody(self) -> list["Delivery"]:
        """This delivery and those that follow it."""
        return [self, *self.followers]

    def follow(self, first: "Delivery") -> None:
        """Wait with an earlier delivery of the same signal, and whoever waits with this one too."""
        first.followers.extend(self.everybody)
        self.followers = []

    def settle(self, answer: Answer) -> None:
        """Give the waiting request its answer; the first one stands."""
        if self.answer is None:
            self.answer = answer
            self._end()

    def hurry(self) -> None:
        """Let the request wait no longer; the input stays where it is."""
        self._end()

    def wait(self, seconds: float) -> Answer | None:
        """The answer, or None when it has not come in time."""
        if self._done.acquire(timeout=max(0.0, seconds)):
            self._open()
        return self.answer

    def _end(self) -> None:
        self._open()
        if self.when_done is not None:
            self.when_done()

    def _open(self) -> None:
        # Whoever settles or hurries, and whoever has waited, opens it, perhaps at once.
        with suppress(RuntimeError):
            self._done.release()


class Waiting:
    """The queue in front of the writer: it takes all that waits, at most a batch, in the order in which it is decided.

    Commands and brokers' reports come first, as they came: an operator who halts means now, and a fill has happened. Then
    signals in DOMAIN.md's order.
    """

    def __init__(self, marks: Callable[[Delivery], int] = lambda _: 0) -> None:
        """`marks` tells how many positions a delivery will mark; it neither blocks nor raises."""
        self._marks = marks
        self._heap: list[tuple[tuple[Any, ...], Delivery, int]] = []
        # Of all that waits, in marks.
        self._weight = 0
        self._numbers = count()
        self._condition = threading.Condition()
        self._closed = False
        # What makes it worth waking who takes them, in marks.
        self._wanted = 1

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, delivery: Delivery) -> bool:
        """Queue a delivery; False once the queue is closed."""
        with self._condition:
            if self._closed:
                return False
            self._push(delivery)
            if self._weight >= self._wanted:
                self._condition.notify()
            return True

    def put_back(self, deliveries: list[Delivery]) -> None:
        """Queue again what was taken and could not be kept, where it was; also once the queue is closed."""
        with self._condition:
            for delivery in deliveries:
                self._push(delivery)

    def take(self, timeout: float | None) -> list[Delivery]:
        """Everything that waits, up to a batch; empty after `timeout` seconds, or when closed and drained."""
        with self._condition:
            if not self._heap and not self._closed:
                self._condition.wait(timeout)
            return self._taken()

    def take_many(self, least: int, over: Callable[[], bool]) -> list[Delivery]:
        """The same once `least` wait, or fewer that take as long; empty once `over`, which is asked when look_again() was
        called, or when closed."""
        with self._condition:
            self._wanted = least * MARKS_A_SIGNAL
            while not (enough := self._weight >= self._wanted) and not self._closed and not over():
                self._condition.wait()
            self._wanted = 1
            return self._taken() if enough else []

    def look_again(self) -> None:
        """Have whoever is in take_many() ask whether it is over."""
        with self._condition:
            self._condition.notify()

    def discard(self, delivery: Delivery) -> None:
        """Take a delivery back out, if the writer has not begun with it and nobody who waits with it wants it."""
        with self._condition:
            self._keep_only(lambda one: one is not delivery or delivery.wanted)

    def forget(self, fingerprints: Collection[str]) -> None:
        """Take out what is kept of these signals: somebody else decides them. Who waits for an answer still waits."""
        with self._condition:
            self._keep_only(lambda one: not (one.kept and one.fingerprint in fingerprints))

    def hurry(self) -> None:
        """Let no signal's request wait any longer."""
        with self._condition:
            for _, delivery, _ in self._heap:
                if delivery.fingerprint is not None:
                    for waiting in delivery.everybody:
                        waiting.hurry()

    def close(self) -> None:
        """Take nothing more; what waits can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    def _taken(self) -> list[Delivery]:
        taken: list[Delivery] = []
        room = MOST_AT_ONCE * MARKS_A_SIGNAL
        while self._heap and (not taken or self._heap[0][2] <= room):
            _, delivery, weight = heapq.heappop(self._heap)
            taken.append(delivery)
            room -= weight
            self._weight -= weight
        return taken

    def _push(self, delivery: Delivery) -> None:
        if delivery.number is None:
            delivery.number = next(self._numbers)
        weight = MARKS_A_SIGNAL + self._marks(delivery)
        heapq.heappush(self._heap, ((*_rank(delivery), delivery.number), delivery, weight))
        self._weight += weight

    def _keep_only(self, stays: Callable[[Delivery], bool]) -> None:
        self._heap = [entry for entry in self._heap if stays(entry[1])]
        heapq.heapify(self._heap)
        self._weight = sum(weight for _, _, weight in self._heap)


def _rank(delivery: Delivery) -> tuple[Any, ...]:
    given = delivery.given
    return (1, *signal_in_order_key(given.signal)) if isinstance(given, SignalInput) else (0,)


def has_another_body(delivery: Delivery, first_payload: Mapping[str, Any]) -> bool:
    """Whether a signal that came again came with another body than the first time."""
    # An emptied payload (old, or the cause of a failure) says nothing about the first body.
    return bool(first_payload) and bool(delivery.payload) and dict(first_payload) != delivery.payload


def in_order(deliveries: list[Delivery]) -> list[Delivery]:
    """Commands and reports first, then signals in DOMAIN.md's order."""
    return sorted(deliveries, key=_rank)


def first_of_each(deliveries: list[Delivery]) -> list[Delivery]:
    """Of equal fingerprints or request ids the one that came first is decided; the others wait for it."""
    first: dict[str, Delivery] = {}
    distinct = []
    for delivery in sorted(deliveries, key=lambda delivery: delivery.number or 0):
        identity = _identity(delivery)
        if identity is not None and identity in first:
            delivery.follow(first[identity])
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
