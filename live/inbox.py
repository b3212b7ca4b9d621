"""The inbox: signals that are in PostgreSQL as `received` until the writer decides them, whoever put them there."""

import structlog

from core.db_state_manager import DatabaseStateManager
from core.errors import PortfolioError
from core.settings import Settings
from live.deliveries import Delivery
from live.recovery import received_delivery
from live.spool import Spool

log = structlog.get_logger(__name__)


class Inbox:
    """What a leader finds there while it serves; each signal once."""

    def __init__(self, manager: DatabaseStateManager, settings: Settings) -> None:
        self._manager = manager
        self._settings = settings
        self._known: set[int] = set()

    def look(self) -> list[Delivery]:
        """What has come since the last look, oldest first. Raises DatabaseAway."""
        found: list[Delivery | None] = []
        seen: set[int] = set()
        after_id = 0
        while rows := self._manager.inbox(after_id):
            after_id = rows[-1]["id"]
            seen.update(row["id"] for row in rows)
            found += [received_delivery(row, self._settings) for row in rows if row["id"] not in self._known]
        self._known = seen
        return [delivery for delivery in found if delivery is not None]


def hand_over(spool: Spool, manager: DatabaseStateManager) -> int:
    """Move what the spool holds into the inbox of whoever leads; how many. Needs no term. Never raises: what cannot be
    moved stays where it is, for this process's next start."""
    moved: set[str] = set()
    try:
        for spooled in spool.load():
            given = spooled.given
            # Without a body the signal itself is written as one: the inbox is read from bodies.
            body = spooled.payload or None
            manager.log_signal(given.signal, given.fingerprint, received_at=given.received_at, payload=body)
            moved.add(given.fingerprint)
    except PortfolioError as error:
        log.warning("kept signals stay in the spool", error=str(error), file=str(spool.file))
    if moved:
        spool.remove(moved)
        log.info("kept signals were put into the inbox", signals=len(moved))
    return len(moved)
