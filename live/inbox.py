"""The inbox: signals that are in PostgreSQL as `received` until the writer decides them, whoever put them there."""

import threading
import time

import structlog

from core.db_state_manager import DatabaseStateManager
from core.errors import DatabaseAway, PoolExhausted, PortfolioError
from core.ordering import signal_in_order_key
from core.settings import Settings
from live.deliveries import Delivery
from live.recovery import received_delivery
from live.spool import Spool

HAND_OVER_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Inbox:
    """What a leader finds there while it serves; each signal once."""

    def __init__(self, manager: DatabaseStateManager, settings: Settings) -> None:
        self._manager = manager
        self._settings = settings
        self._known: set[int] = set()
        self._looking = threading.Lock()

    def look(self) -> list[Delivery]:
        """What has come since the last look, oldest first. Raises DatabaseAway."""
        with self._looking:
            return self._look()

    def _look(self) -> list[Delivery]:
        found: list[Delivery | None] = []
        seen: set[int] = set()
        after_id = 0
        while rows := self._manager.inbox(after_id):
            after_id = rows[-1]["id"]
            seen.update(row["id"] for row in rows)
            found += [received_delivery(row, self._settings) for row in rows if row["id"] not in self._known]
        self._known = seen
        return [delivery for delivery in found if delivery is not None]


def hand_over(spool: Spool, manager: DatabaseStateManager, within: float = HAND_OVER_SECONDS) -> set[str]:
    """Move what the spool holds into the inbox of whoever leads, in the order in which it is to be decided; which ones.

    Needs no term. Never raises: what cannot be moved within so many seconds, or at all, stays where it is, for this
    process's next start.
    """
    moved: set[str] = set()
    deadline = time.monotonic() + within
    try:
        kept = spool.load()
    except PortfolioError as error:
        log.error("the spool cannot be read", error=str(error), file=str(spool.file))
        return moved
    for spooled in sorted(kept, key=lambda spooled: signal_in_order_key(spooled.given.signal)):
        if time.monotonic() > deadline:
            break
        given = spooled.given
        try:
            # Without a body the signal itself is written as one: the inbox is read from bodies.
            body = spooled.payload or None
            manager.log_signal(given.signal, given.fingerprint, received_at=given.received_at, payload=body)
        except (DatabaseAway, PoolExhausted) as error:
            log.warning("kept signals stay in the spool", error=str(error), file=str(spool.file))
            break
        except PortfolioError as error:
            log.error("a kept signal cannot be handed over", fingerprint=given.fingerprint, error=str(error))
        else:
            moved.add(given.fingerprint)
            log.info("kept signal put into the inbox", fingerprint=given.fingerprint)
    if moved:
        spool.remove(moved)
        log.info("kept signals were put into the inbox", signals=len(moved))
    return moved
