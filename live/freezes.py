"""A freeze of an instrument's entries that a signal led to is told: nobody may have asked for its answer."""

import structlog

from core.events import EntriesFrozen
from core.journal import Batch, signals_of

log = structlog.get_logger(__name__)


def tell_freezes(batch: Batch) -> None:
    """Say which instruments a batch's signals have frozen, and why."""
    for entry, given in signals_of(batch.entries):
        for event in entry.decision.events:
            if isinstance(event, EntriesFrozen):
                log.error(
                    "entries are frozen until `resume --instrument`",
                    instrument=event.instrument,
                    reason=event.reason,
                    fingerprint=given.fingerprint,
                )
