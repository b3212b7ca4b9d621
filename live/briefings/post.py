"""A briefing on its way to everybody who is to be told: one message a channel and day, at least once; then locked.

What another life of ours began to send, and perhaps sent, says so: docs/decisions/0022-told-at-least-once.md.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta

import structlog

from book.briefing import headline
from book.briefings import Briefings, Kept, NoBriefing
from core.notifications import Level, NotificationSettings
from live.notify.message import AGAIN, Message
from live.notify.pace import Pace
from live.notify.sender import Sender
from live.notify.service import senders_of

MOST_ITEMS = 10
_LONGEST_PAUSE = timedelta(minutes=5)
log = structlog.get_logger(__name__)


class BriefingPost:
    """One portfolio's. Raises ConfigurationError where a channel's address is none."""

    def __init__(
        self,
        portfolio: str,
        briefings: Briefings,
        settings: NotificationSettings,
        *,
        clock: Callable[[], datetime],
        senders: dict[str, Sender] | None = None,
    ) -> None:
        self._portfolio = portfolio
        self._briefings = briefings
        self._channels = settings.channels
        self._senders = senders_of(settings) if senders is None else senders
        self._paces = {name: Pace(channel) for name, channel in settings.channels.items()}
        self._clock = clock
        # Of a channel that did not take it: when it is tried again, and after how long then.
        self._again: dict[str, tuple[datetime, timedelta]] = {}

    def told(self, day: date) -> bool:
        """Make it where it is not made yet, and tell whoever can be told now. Whether nothing is left to do."""
        try:
            kept = self._briefings.make(day)
        except NoBriefing as error:
            log.debug("no briefing", portfolio=self._portfolio, reason=str(error))
            return True
        if kept.is_locked:
            return True
        message = message_of(kept)
        waiting = [name for name in self._channels if self._is_for(name, message.level) and not _taken(kept, name)]
        sent = [self._sent(day, name, message) for name in waiting]
        if all(sent):
            self._briefings.lock(day)
            return True
        return False

    def _is_for(self, channel: str, level: Level) -> bool:
        return level.rank >= self._channels[channel].least_level.rank

    def _sent(self, day: date, channel: str, message: Message) -> bool:
        now = self._clock()
        not_before, pause = self._again.get(channel, (now, timedelta(seconds=5)))
        if now < not_before or not self._paces[channel].allows(message.level, now):
            return False
        again = self._briefings.begin_delivery(day, channel)
        self._paces[channel].sent(now)
        body = f"{AGAIN}\n{message.body}" if again else message.body
        reason = self._senders[channel].send(Message(level=message.level, title=message.title, body=body))
        if reason is not None:
            log.warning("a briefing was not taken", channel=channel, day=str(day), reason=reason)
            self._again[channel] = (now + pause, min(2 * pause, _LONGEST_PAUSE))
            return False
        self._briefings.end_delivery(day, channel)
        self._again.pop(channel, None)
        log.info("a briefing was sent", channel=channel, day=str(day))
        return True


def message_of(kept: Kept) -> Message:
    """The headline, and what there is to look at."""
    items = [item["text"] for item in kept.parts.action_items]
    lines = [headline(kept.portfolio, kept.briefing_date, kept.parts), *items[:MOST_ITEMS]]
    if len(items) > MOST_ITEMS:
        lines.append(f"and {len(items) - MOST_ITEMS} more")
    return Message(
        level=Level.WARNING if items else Level.INFO,
        title=f"[{kept.portfolio}] briefing of {kept.briefing_date}",
        body="\n".join(lines),
    )


def _taken(kept: Kept, channel: str) -> bool:
    return kept.deliveries.get(channel, {}).get("taken_at") is not None
