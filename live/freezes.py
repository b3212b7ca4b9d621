"""A freeze of an instrument's entries that a signal or a broker led to is told: nobody may have asked for its answer."""

import structlog

from core.events import EntriesFrozen
from core.inputs import OrderReport, SendOrder, SignalInput
from core.journal import Batch

log = structlog.get_logger(__name__)


def tell_freezes(batch: Batch) -> None:
    """Say which instruments a batch's signals, or what a broker told, have frozen, and why."""
    for entry in batch.entries:
        # Who gave a command is told by its answer.
        if not isinstance(entry.given, SignalInput | OrderReport | SendOrder):
            continue
        for event in entry.decision.events:
            if isinstance(event, EntriesFrozen):
                log.error(
                    "entries are frozen until `resume --instrument`",
                    instrument=event.instrument,
                    reason=event.reason,
                    fingerprint=entry.fingerprint,
                )
