"""What was known on a day: ratings, prices, where loans stood; and where an upload came from."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from sqlalchemy.orm import Session

from book.market_data import IngestionBatch
from book.statements import rows_of
from book.uploads.batches import UnknownBatch

KINDS = ("ratings", "prices", "servicing")


def known_on(session: Session, kind: str, day: date) -> list[Mapping[str, Any]]:
    """The newest word on or before a day of each issuer by each agency, of each instrument, of each loan; `kind` of KINDS."""
    return [dict(row) for row in rows_of(session, f"{kind}_on", day=day)]


def lineage_of(session: Session, batch_id: int) -> list[Mapping[str, Any]]:
    """Where an upload and its feeds came from, what was done to them and what was checked. Raises UnknownBatch."""
    if session.get(IngestionBatch, batch_id) is None:
        raise UnknownBatch(f"there is no upload {batch_id}")
    return [dict(row) for row in rows_of(session, "lineage_of_batch", batch=batch_id)]
