"""Settings of the book of record: whether a running instance keeps it, and what its days and briefings go by."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from core.contracts import Settled

# What a file is read up to (book.uploads.files.MOST_BYTES).
LARGEST_UPLOAD = 256 * 1024**2


class BookSettings(Settled):
    """Kept by whoever leads, where it is `enabled` and the book is migrated: every so many seconds what is new in the journal.

    A day's figures are as of `close_grace_seconds` after the last session's close: the alert of the last bar comes after it. A
    stop is near that the mark is less than `stops_near_atr` ATR away from. An upload over HTTP has at most `upload_max_bytes`:
    that is of the whole process, and of it alone.
    """

    enabled: bool = False
    every_seconds: Annotated[Decimal, Field(ge=1, le=3600, allow_inf_nan=False)] = Decimal(5)
    close_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    stops_near_atr: Annotated[Decimal, Field(ge=0, le=100, allow_inf_nan=False)] = Decimal(1)
    upload_max_bytes: Annotated[int, Field(ge=65_536, le=LARGEST_UPLOAD)] = LARGEST_UPLOAD
