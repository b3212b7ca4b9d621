"""All that tells, of all portfolios of a process: put together from what is configured, begun and ended with the process."""

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from core.errors import ConfigurationError
from core.notifications import Level, NotificationSettings
from live.engine import LiveTradingEngine
from live.links import Links
from live.notify.courier import LOOK_SECONDS, Courier
from live.notify.notices import Notice
from live.notify.pinger import Pinger
from live.notify.rounds import Rounds
from live.notify.sender import AppriseSender, Sender
from live.notify.watch import Trouble, Watch


def senders_of(settings: NotificationSettings) -> dict[str, Sender]:
    """A sender for each channel. Raises ConfigurationError."""
    found: dict[str, Sender] = {}
    for name, channel in settings.channels.items():
        source = f"notifications.channels.{name}"
        found[name] = AppriseSender(channel.secret(source), f"{source}.url")
    return found


class Notifications:
    """Of the portfolios whose settings are given. Raises ConfigurationError: nobody should find out later that he was told
    nothing."""

    def __init__(
        self,
        settings: Mapping[str, NotificationSettings],
        engine_of: Callable[[str], Callable[[], LiveTradingEngine]],
        data_dir: Path,
        *,
        port: int,
        clock: Callable[[], datetime],
        pace: float = 1.0,
        links: Links | None = None,
        troubles: Callable[[], Iterable[Trouble]] = tuple,
    ) -> None:
        who = f"{socket.gethostname()}:{port}, pid {os.getpid()}"
        addresses: dict[str, str] = {}
        self._couriers: list[Courier] = []
        self._beside: list[Rounds] = []
        for portfolio, its in settings.items():
            engine_now = engine_of(portfolio)
            couriers = [
                Courier(
                    name,
                    its.channels[name],
                    sender,
                    engine_now,
                    clock=clock,
                    who=who,
                    every=LOOK_SECONDS * pace,
                    links=links,
                )
                for name, sender in senders_of(its).items()
            ]
            self._couriers += couriers
            if couriers:
                self._beside.append(Watch(engine_now, couriers, data_dir, more=troubles))
            address = its.heartbeat.address(portfolio)
            if address is not None:
                _require_its_own(portfolio, address, addresses)
                self._beside.append(Pinger(address, its.heartbeat.every_seconds, engine_now))

    def start(self) -> None:
        """Begin."""
        for courier in self._couriers:
            courier.start()
        for beside in self._beside:
            beside.start()

    def stop(self, failure: str | None) -> None:
        """End; `failure` is why the process does, where nobody asked it to."""
        for beside in self._beside:
            beside.stop()
        for courier in self._couriers:
            if failure is not None:
                courier.tell(Notice(level=Level.CRITICAL, title="an instance ends", text=f"it ends: {failure}"))
        for courier in self._couriers:
            courier.stop()


def _require_its_own(portfolio: str, address: str, known: dict[str, str]) -> None:
    """One that is alive would hide another one that is not."""
    if address in known:
        raise ConfigurationError(
            f"`notifications.heartbeat`: {known[address]} and {portfolio} have the same URL, so one would hide that the other "
            "is not served: give each its own, or write {portfolio} into it"
        )
    known[address] = portfolio
