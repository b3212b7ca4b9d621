"""Settings of notifications: who is told of what, when he is left alone, and who notices that nobody tells any more."""

from datetime import datetime, time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from core.contracts import Settled
from core.errors import ConfigurationError
from core.trading_calendar import Clock, TimeZoneName

ChannelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
_LONGEST_SECRET = 4000


class Level(StrEnum):
    """How much somebody has to know, the least first."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Higher is more."""
        return _RANKS[self]


_RANKS = {level: rank for rank, level in enumerate(Level)}


class _WithSecret(Settled):
    """A URL that is a secret, given itself or as a file that holds it; what is refused is not repeated in the message."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    url: str | None = Field(default=None, min_length=5, repr=False)
    url_file: Path | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.url is not None and self.url_file is not None:
            raise ValueError("give `url` or `url_file`, not both")
        return self

    def secret(self, source: str) -> str:
        """The URL. Raises ConfigurationError, which names `source` and never the URL."""
        if self.url is not None:
            return self.url
        assert self.url_file is not None  # noqa: S101 - one of both is asked for before
        try:
            with self.url_file.open(encoding="utf-8") as file:
                found = file.read(_LONGEST_SECRET).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is no text"
            raise ConfigurationError(f"`{source}.url_file`: {self.url_file}: {reason}") from error
        if not found:
            raise ConfigurationError(f"`{source}.url_file`: {self.url_file} is empty")
        return found


class QuietHours(Settled):
    """From `begins` until `ends` of each day in a time zone, over midnight where `ends` is the earlier one."""

    begins: Clock
    ends: Clock
    timezone: TimeZoneName = "Asia/Kolkata"

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.begins == self.ends:
            raise ValueError("`begins` and `ends` are the same: leave `quiet` out, or raise `least_level` to critical")
        return self

    def hold(self, now: datetime) -> bool:
        """Whether `now` (aware) is one of them."""
        there: time = now.astimezone(ZoneInfo(self.timezone)).time()
        if self.begins < self.ends:
            return self.begins <= there < self.ends
        return there >= self.begins or there < self.ends


class Channel(_WithSecret):
    """Somebody to tell: where he is (a URL of apprise's), what he wants to know, and when he sleeps.

    With `links` he may decide proposals from what he is sent, where links are made.
    """

    least_level: Level = Level.INFO
    quiet: QuietHours | None = None
    links: bool = True
    most_per_minute: int = Field(default=20, ge=1, le=600)

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.url is None and self.url_file is None:
            raise ValueError("needs `url` or `url_file`")
        return self


class HeartbeatUrl(_WithSecret):
    """A URL that is called while all is well: whoever has it misses it when nothing here can say anything any more."""

    every_seconds: int = Field(default=60, ge=1, le=86_400)

    def address(self, portfolio: str) -> str | None:
        """The URL of one portfolio, None where there is none. Raises ConfigurationError."""
        if self.url is None and self.url_file is None:
            return None
        address = self.secret("notifications.heartbeat").replace("{portfolio}", portfolio)
        if not address.startswith(("http://", "https://")):
            raise ConfigurationError("`notifications.heartbeat.url`: must begin with http:// or https://")
        return address


class NotificationSettings(Settled):
    """Channels by their names, and the heartbeat."""

    channels: dict[ChannelName, Channel] = Field(default_factory=dict, repr=False)
    heartbeat: HeartbeatUrl = Field(default_factory=HeartbeatUrl)

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.channels) or self.heartbeat.url is not None or self.heartbeat.url_file is not None
