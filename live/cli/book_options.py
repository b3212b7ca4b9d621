"""What the commands of the book share: a book that is migrated, and what is configured for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from live.cli.book_session import Day
from live.cli.options import DatabaseChoice, file_settings

if TYPE_CHECKING:
    from book.briefings import Briefings
    from book.projection import Projector
    from core.book_settings import BookSettings


def date_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--date as `day`."""
    return click.option(
        "--date", "day", type=Day(), metavar="DAY", help="The trading day. [default: the last that is over]"
    )(function)


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class OpenBook:
    """One portfolio's."""

    projector: "Projector"
    settings: "BookSettings"

    def briefings(self) -> "Briefings":
        """Its briefings."""
        from book.briefings import Briefings
        from live.explain import in_a_sentence

        return Briefings(self.projector, clock=now, stops_near_atr=self.settings.stops_near_atr, words=in_a_sentence)


@contextmanager
def open_book(database: DatabaseChoice, config: Path | None) -> Iterator[OpenBook]:
    """The book, for a block. Raises BookNotMigrated, NotMigrated and what reading raises."""
    own = file_settings(config).of(database.portfolio)
    with database.manager() as manager:
        from book.database import engine_of
        from book.day_ends import DayEnds
        from book.projection import Projector
        from live.briefings.migrated import require_book
        from live.contracts_file import DEFAULT_CALENDAR, load_calendar

        require_book(manager.dsn)
        ends = DayEnds(load_calendar(own.contracts.calendar or DEFAULT_CALENDAR), own.book.close_grace_seconds)
        engine = engine_of(manager.dsn)
        try:
            yield OpenBook(Projector(engine, database.portfolio, ends, clock=now), own.book)
        finally:
            engine.dispose()
