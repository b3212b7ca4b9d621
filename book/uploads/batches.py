"""Uploads as they are kept: the batches, and the rows of one with what was found of them."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from book.market_data import IngestionBatch, IngestionRow
from core.errors import Refused

_BATCH = (
    "batch_id",
    "batch_type",
    "status",
    "source_name",
    "content_hash",
    "rows_total",
    "rows_taken",
    "rows_refused",
    "uploaded_by",
    "started_at",
    "completed_at",
)


class UnknownBatch(Refused):
    """there is no such upload"""


def batches(session: Session, *, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """The last so many uploads below a number, the newest first."""
    asked = select(IngestionBatch).order_by(IngestionBatch.batch_id.desc()).limit(limit)
    if before is not None:
        asked = asked.where(IngestionBatch.batch_id < before)
    return [{name: getattr(batch, name) for name in _BATCH} for batch in session.scalars(asked)]


def rows_of(
    session: Session, batch_id: int, *, limit: int, after: int = 0, statuses: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """The first so many rows of an upload behind a line, with what was found of them. Raises UnknownBatch."""
    if session.get(IngestionBatch, batch_id) is None:
        raise UnknownBatch(f"there is no upload {batch_id}")
    asked = select(IngestionRow).where(IngestionRow.batch_id == batch_id, IngestionRow.line > after)
    if statuses is not None:
        asked = asked.where(IngestionRow.validation_status.in_(statuses))
    return [
        {"line": row.line, "status": row.validation_status, "reasons": row.reasons, "values": row.payload_json}
        for row in session.scalars(asked.order_by(IngestionRow.line).limit(limit))
    ]


def remarks(session: Session, batch_id: int, limit: int) -> tuple[list[dict[str, Any]], int]:
    """The first rows that are bad or odd, by line, and how many more there are."""
    odd = IngestionRow.batch_id == batch_id, IngestionRow.validation_status.in_(("WARN", "FAIL"))
    rows = session.scalars(select(IngestionRow).where(*odd).order_by(IngestionRow.line).limit(limit))
    shown = [{"line": row.line, "status": row.validation_status, "reasons": row.reasons} for row in rows]
    total = session.scalars(select(func.count()).select_from(IngestionRow).where(*odd)).one()
    return shown, total - len(shown)
