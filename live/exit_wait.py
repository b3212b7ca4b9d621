"""An entry whose instrument is not yet flat waits a moment for the EXIT of its own bar; the shell waits, not `decide`."""

from decimal import Decimal

from core.decide import Decision
from core.decide.entry import NOT_YET_FLAT
from core.decide.timing import duration
from core.inputs import SignalInput
from core.models import ENTRIES, Signal, SignalType, Status
from live.deliveries import Delivery


def may_wait(delivery: Delivery, decision: Decision) -> bool:
    """Whether this refusal is one that an EXIT still on its way would lift."""
    given, outcome = delivery.given, decision.outcome
    return (
        isinstance(given, SignalInput)
        and given.signal.type in ENTRIES
        and outcome.status is Status.REJECTED
        and outcome.reason in NOT_YET_FLAT
    )


def is_exit_for(exit_signal: Signal, entry: Signal, same_bar_seconds: Decimal) -> bool:
    """Whether `exit_signal` is the EXIT of the entry's bar: equal bar times, or timestamps close together without them."""
    if exit_signal.type is not SignalType.EXIT or exit_signal.instrument != entry.instrument:
        return False
    if exit_signal.bar_time is not None and entry.bar_time is not None:
        return exit_signal.bar_time == entry.bar_time
    return abs(exit_signal.time - entry.time) < duration(same_bar_seconds)


class Parked:
    """The entries that wait, by fingerprint."""

    def __init__(self) -> None:
        self._entries: dict[str, Delivery] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, delivery: Delivery) -> None:
        """Let an entry wait."""
        assert delivery.fingerprint is not None  # noqa: S101 - may_wait lets signals only
        self._entries[delivery.fingerprint] = delivery

    def joined_by(self, delivery: Delivery) -> bool:
        """Let a delivery of a signal that waits already wait with it; False if none does."""
        waiting = self._entries.get(delivery.fingerprint or "")
        if waiting is None:
            return False
        delivery.follow(waiting)
        return True

    def next_deadline(self) -> float | None:
        """When the first of them has waited long enough, on the monotonic clock."""
        return min((entry.wait_until or 0.0 for entry in self._entries.values()), default=None)

    def release(self, arrived: list[Delivery], now: float, same_bar_seconds: Decimal) -> list[Delivery]:
        """Take out those whose time is over, or whose EXIT is among what has arrived."""
        exits = [delivery.given.signal for delivery in arrived if isinstance(delivery.given, SignalInput)]
        due = [
            fingerprint
            for fingerprint, entry in self._entries.items()
            if now >= (entry.wait_until or 0.0)
            or any(is_exit_for(signal, _signal_of(entry), same_bar_seconds) for signal in exits)
        ]
        return [self._entries.pop(fingerprint) for fingerprint in due]

    def release_all(self) -> list[Delivery]:
        """Take out everybody."""
        entries, self._entries = list(self._entries.values()), {}
        return entries


def _signal_of(delivery: Delivery) -> Signal:
    assert isinstance(delivery.given, SignalInput)  # noqa: S101 - only signals are parked
    return delivery.given.signal
