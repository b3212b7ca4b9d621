"""What has left the book: the record of each export."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from book.market_data import ExportHistory


def exports(session: Session, *, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """The last so many exports below a number, the newest first."""
    asked = select(ExportHistory).order_by(ExportHistory.export_id.desc()).limit(limit)
    if before is not None:
        asked = asked.where(ExportHistory.export_id < before)
    return [
        {
            "export_id": one.export_id,
            "content": one.content,
            "format": one.format,
            "portfolio": one.portfolio,
            "begins": one.parameters_json.get("begins"),
            "ends": one.parameters_json.get("ends"),
            "rows_total": one.rows_total,
            "content_hash": one.content_hash,
            "exported_by": one.exported_by,
            "exported_at": one.exported_at,
        }
        for one in session.scalars(asked)
    ]
