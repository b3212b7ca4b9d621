"""What becomes of signals that cannot be decided in time: they are kept on the local disk and stay in the writer's queue."""

import time
from collections.abc import Iterable
from typing import Any

from core.inputs import SignalInput
from live.answers import Answer, AnswerKind
from live.deliveries import MOST_AT_ONCE, Delivery, Waiting
from live.spool import Spool, SpoolUnusable

# How long a failure is taken to last when nothing else is heard.
SILENT_FOR_SECONDS = 3.0
NOT_KEPT = (AnswerKind.UNKNOWN, AnswerKind.NOT_TAKEN)


class Keeping:
    """The spool beside the queue. Without a spool (None) nothing is kept, and every request waits as long as it may."""

    def __init__(self, spool: Spool | None, waiting: Waiting) -> None:
        self.spool = spool
        self._waiting = waiting
        self._failed_at: float | None = None
        for spooled in [] if spool is None else spool.load():
            waiting.put(Delivery(spooled.given, spooled.payload, kept=True))

    @property
    def usable(self) -> bool:
        """Whether a signal could be kept on the disk now."""
        return self.spool is not None and self.spool.usable and not self._waiting.closed

    @property
    def failing(self) -> bool:
        """Whether the database could not keep anything a moment ago, and nothing since."""
        return self._failed_at is not None and time.monotonic() - self._failed_at < SILENT_FOR_SECONDS

    def patience(self, seconds: float, *, database_away: bool) -> float:
        """How many of these seconds a request waits for the decision: none where that will not come in time."""
        spool = self.spool
        if spool is None or not spool.usable:
            return seconds
        return 0.0 if database_away or self.failing or spool.kept >= MOST_AT_ONCE else seconds

    def away(self, in_hand: Iterable[Delivery]) -> None:
        """Nothing can be decided now: where it can be kept, nobody need wait for that."""
        told, self._failed_at = self.failing, time.monotonic()
        if told or self.spool is None or not self.spool.usable:
            return
        for delivery in in_hand:
            if delivery.fingerprint is not None:
                for waiting in delivery.everybody:
                    waiting.hurry()
        self._waiting.hurry()

    def back(self) -> None:
        """The database has kept something."""
        self._failed_at = None

    def keep(self, delivery: Delivery) -> Answer | None:
        """Keep a signal that was not decided in time; None where that cannot be. It stays where it waits, or waits again."""
        if self.spool is None or not isinstance(delivery.given, SignalInput):
            return None
        try:
            delivery.kept = self.spool.keep(delivery.given, delivery.payload)
        except SpoolUnusable:
            return None
        if delivery.answer is not None and delivery.answer.kind not in NOT_KEPT:
            # Decided after all, while it was written.
            self.spool.remove([delivery.given.fingerprint])
            return delivery.answer
        if not delivery.kept:
            # An earlier delivery of it waits already, and will be decided for both.
            self.forget(delivery)
        return Answer(
            kind=AnswerKind.QUEUED,
            fingerprint=delivery.fingerprint,
            message="kept on local disk, decided when the database is back",
        )

    def forget(self, delivery: Delivery) -> None:
        """Nobody waits for this delivery: unless it was begun with, nothing comes of it."""
        delivery.abandoned = True
        self._waiting.discard(delivery)

    def tidy(self, deliveries: Iterable[Delivery]) -> None:
        """What was decided need not be kept any more; what never can be is kept apart."""
        kept = [delivery for one in deliveries for delivery in one.everybody if delivery.kept]
        if self.spool is None or not kept:
            return
        decided = set()
        for delivery in kept:
            fingerprint, answer = delivery.fingerprint or "", delivery.answer
            if answer is not None and answer.kind is AnswerKind.UNDECIDABLE:
                self.spool.set_aside(fingerprint, answer.message)
            elif answer is not None and answer.kind not in NOT_KEPT:
                decided.add(fingerprint)
        if decided:
            self.spool.remove(decided)

    def told(self) -> dict[str, Any] | None:
        """What /status tells of the spool; None without one."""
        spool = self.spool
        if spool is None:
            return None
        return {"kept": spool.kept, "set_aside": spool.set_aside_count, "usable": spool.usable}
