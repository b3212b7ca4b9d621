"""Sending through apprise: one message to one address, within a bounded time, and what came back in words without secrets."""

import logging
import re
from typing import Any, Protocol

from core.errors import ConfigurationError
from core.notifications import Level
from live.logs import without_secrets
from live.notify.message import Message

SEND_SECONDS = 20.0
_LONGEST_REASON = 300
# Parts of a URL that are longer may be a secret.
_SHORT = 4


class Sender(Protocol):
    """Takes a message to somebody."""

    def send(self, message: Message) -> str | None:
        """None: it was taken; else why not. Never raises."""


class AppriseSender:
    """To one URL of apprise's. Raises ConfigurationError, which names `source`, where apprise knows no such URL."""

    def __init__(self, url: str, source: str) -> None:
        # Imported where somebody is to be told: it takes as long as the half of a start.
        import apprise

        # What a provider refuses apprise logs by itself, and what it logs is told here.
        logging.getLogger("apprise").addHandler(logging.NullHandler())
        logging.getLogger("apprise").propagate = False
        service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if service is None:
            raise ConfigurationError(f"`{source}`: apprise knows no such URL")
        if "overflow=" not in url:
            # What one message cannot hold comes in the next, and is not cut off or refused.
            service.overflow_mode = apprise.OverflowMode.SPLIT
        self._apprise = apprise.Apprise([service])
        self._types = {
            Level.INFO: apprise.NotifyType.INFO,
            Level.WARNING: apprise.NotifyType.WARNING,
            Level.ERROR: apprise.NotifyType.FAILURE,
            Level.CRITICAL: apprise.NotifyType.FAILURE,
        }
        self._text: Any = apprise.NotifyFormat.TEXT
        self._secrets = sorted(
            (part for part in re.split(r"[/:@?&=,]", url) if len(part) > _SHORT), key=len, reverse=True
        )

    def send(self, message: Message) -> str | None:
        """As Sender."""
        try:
            result = self._apprise.notify(
                body=message.body,
                title=f"{message.level.value.upper()} {message.title}",
                notify_type=self._types[message.level],
                body_format=self._text,
                timeout=SEND_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - a hundred plugins: whatever one raises, the message was not taken
            return self._without_secrets(f"{type(error).__name__}: {error}")
        if result:
            return None
        said = " ".join(entry.message for entry in result.logs())
        return self._without_secrets(said or result.status.name.lower())

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        # A provider may say what it was sent, and that has links in it.
        return " ".join(without_secrets(text).split())[:_LONGEST_REASON]
