"""When a channel may be told something: not in its quiet hours, and so many messages a minute."""

from collections import deque
from datetime import datetime, timedelta

from core.notifications import Channel, Level

_MINUTE = timedelta(minutes=1)


class Pace:
    """One channel's. Of several messages a minute the last one is left for what is critical."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sent: deque[datetime] = deque()

    def allows(self, level: Level, now: datetime) -> bool:
        """Whether a message of that level may go now."""
        critical = level is Level.CRITICAL
        if not critical and self._channel.quiet is not None and self._channel.quiet.hold(now):
            return False
        while self._sent and not self._sent[0] <= now < self._sent[0] + _MINUTE:
            self._sent.popleft()  # a clock that was set back must not silence anybody
        most = self._channel.most_per_minute
        return len(self._sent) < (most if critical or most == 1 else most - 1)

    def sent(self, now: datetime) -> None:
        """One was."""
        self._sent.append(now)
