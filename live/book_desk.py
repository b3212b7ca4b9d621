"""The book of record, as the API asks for it. SQLAlchemy and the book's models are imported when it is first asked."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from core.book_settings import LARGEST_UPLOAD
from live.book_work import BookWork

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

CONNECTIONS = 2
# What its views, commands and pages import.
USED = (
    "book.attribution",
    "book.briefing",
    "book.briefings",
    "book.database",
    "book.entered_positions",
    "book.entities",
    "book.exports.history",
    "book.fx",
    "book.held",
    "book.known",
    "book.master",
    "book.models",
    "book.nodes",
    "book.pnl_calendar",
    "book.proposals",
    "book.roll_up",
    "book.snapshots",
    "book.uploads.batches",
    "risk.asked",
    "risk.bars",
    "risk.modelling.listing",
    "risk.reading",
    "risk.reckoned",
    "risk.shown",
    "risk.shown_contracts",
    "risk.shown_sessions",
    "risk.tagging",
    "risk.term_structure",
)


class BookDesk:
    """Transactions in the book of one database; `clock` tells the day that is meant where none is named. `work` is what takes
    long: its files, of uploads of at most so many bytes, are made below `folder`. `batch` is what is configured for days that are
    reckoned: the calendar's file, the seconds after a close."""

    def __init__(
        self,
        dsn: str,
        clock: Callable[[], datetime],
        folder: Path | None = None,
        *,
        upload_max_bytes: int = LARGEST_UPLOAD,
        batch: Mapping[str, Any] | None = None,
    ) -> None:
        self.work = BookWork(dsn, folder, upload_max_bytes=upload_max_bytes)
        self.batch = dict(batch or {})
        self._dsn = dsn
        self._clock = clock
        self._lock = Lock()
        self._engine: Engine | None = None
        self._is_ready = False

    def get_ready(self) -> None:
        """Import what its requests use. The first time that takes as long as other requests may take altogether."""
        if self._is_ready:
            return
        for name in USED:
            import_module(name)
        from sqlalchemy.orm import configure_mappers

        configure_mappers()
        self._is_ready = True

    def now(self) -> datetime:
        """The time, aware."""
        return self._clock()

    def today(self) -> date:
        """The day in UTC."""
        return self._clock().date()

    @contextmanager
    def transaction(self) -> Iterator["Session"]:
        """A session, committed at the block's end. Raises as book.database.transaction does."""
        from book.database import transaction

        with transaction(self._connected()) as session:
            yield session

    def close(self) -> None:
        """End what is under way, and close its connections."""
        self.work.close()
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _connected(self) -> "Engine":
        from book.database import engine_of

        with self._lock:
            if self._engine is None:
                self._engine = engine_of(self._dsn, connections=CONNECTIONS)
            return self._engine
