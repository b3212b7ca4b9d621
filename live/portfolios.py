"""The portfolios that this process serves, as HTTP knows them: which one a request is for."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING

from core.alert import Alert, parse_alert
from live.api.errors import malformed, unknown_portfolio
from live.ports import Engine
from live.webhook_secrets import WebhookSecrets

if TYPE_CHECKING:
    from core.profiles import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One of them. `engine_now` is asked each time: it is another one after a portfolio was begun anew.

    `instruments` tells what is configured; a time without an offset is of `naive_timezone`; `as_listed` takes entries
    without stop, ATR and ER. `secrets` None: whoever reaches it may send; `intake` None: alerts are of our own shape.
    `lease_in_redis`: it is configured that the leader's lease is kept there. `book_lag` tells how many entries of the journal
    the book does not tell of yet, None where it is not kept here.
    """

    engine_now: Callable[[], Engine]
    instruments: Callable[[], Collection[str]]
    naive_timezone: tzinfo
    secrets: WebhookSecrets | None
    as_listed: bool = False
    intake: "Profile | None" = None
    lease_in_redis: bool = False
    book_lag: Callable[[], int | None] = lambda: None

    @property
    def engine(self) -> Engine:
        """The engine that serves it now."""
        return self.engine_now()

    def read(self, body: bytes) -> tuple[Alert, ...]:
        """The signals that an alert asks for, in the order in which they are decided. Raises AlertRefused."""
        instruments = self.instruments()
        if self.intake is None:
            alert = parse_alert(
                body, instruments=instruments, naive_timezone=self.naive_timezone, as_listed=self.as_listed
            )
            return (alert,)
        # Imported where it is used: a process without a profile need not know it.
        from core.mapping import read_alerts

        return read_alerts(
            body,
            self.intake,
            instruments=instruments,
            naive_timezone=self.naive_timezone,
            as_listed=self.as_listed,
        )


class Portfolios:
    """By name, at least one. Where it is the only one, nobody has to name it."""

    def __init__(self, served: Mapping[str, Served]) -> None:
        self._served = dict(served)

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    @property
    def only(self) -> Served | None:
        """The one that is served, None where there are several."""
        return next(iter(self)) if len(self._served) == 1 else None

    def named(self, *given: str | None) -> Served:
        """The one that all these names agree on; who says nothing agrees. Raises HttpRefused."""
        names = {name.lower() for name in given if name is not None}
        if len(names) > 1:
            raise malformed("`portfolio` is one in the address and another in the body", "portfolio")
        only = self.only
        if not names and only is not None:
            return only
        if not names:
            raise malformed("`portfolio` is required: several are served here", "portfolio")
        found = self._served.get(names.pop())
        if found is None:
            raise unknown_portfolio(None if only is None else next(iter(self._served)))
        return found
