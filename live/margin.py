"""Margin levels only notify: entries have their own cap."""

import structlog

from core.journal import Batch
from core.numbers import ZERO
from core.portfolio import margin_percent

log = structlog.get_logger(__name__)


def tell_margin(batch: Batch) -> None:
    """Say when a batch has brought the margin in use past its warning or its emergency level."""
    limits = batch.after.settings.limits
    before, now = margin_percent(batch.before) or ZERO, margin_percent(batch.after) or ZERO
    for name, level in (("emergency", limits.margin_emergency_percent), ("warning", limits.margin_warning_percent)):
        if before < level <= now:
            log.warning("margin in use has reached a level", level=name, percent=f"{now:f}", at=f"{level:f}")
            return
