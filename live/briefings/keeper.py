"""The book kept while an instance leads: a thread beside it that nothing waits for, and that no alert meets.

SQLAlchemy is imported by that thread, and only where the book is on.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import structlog

from core.book_settings import BookSettings
from core.errors import PortfolioError, Retryable
from core.notifications import NotificationSettings
from core.trading_calendar import TradingCalendar
from live.briefings.migrated import require_book
from live.engine import LiveTradingEngine

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from book.briefings import Briefings
    from book.projection import Projector
    from live.briefings.post import BriefingPost

# Between two parts of a long journal, so that whoever decides has the processor to himself.
BREATH_SECONDS = 0.02
JOIN_SECONDS = 3.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBook:
    """One portfolio's: what is configured, and who decides now. `calendar` is read anew each time the portfolio is led."""

    settings: BookSettings
    notifications: NotificationSettings
    engine_now: Callable[[], LiveTradingEngine]
    calendar: Callable[[], TradingCalendar]


class BookKeeper:
    """Of all portfolios of a process whose book is on, by one thread."""

    def __init__(self, dsn: str, books: Mapping[str, KeptBook], *, clock: Callable[[], datetime]) -> None:
        self._dsn = dsn
        self._books = dict(books)
        self._clock = clock
        self._keeping: dict[str, _Keeping] = {}
        self._lags: dict[str, int] = {}
        self._complained: dict[str, str] = {}
        self._engine: Engine | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="book", daemon=True)

    def lag(self, portfolio: str) -> int | None:
        """How many entries of its journal the book does not tell of yet; None where nobody keeps it here."""
        return self._lags.get(portfolio)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is in hand is kept whole, or not at all."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        due = dict.fromkeys(self._books, time.monotonic())
        while not self._stopping.wait(max(0.0, min(due.values()) - time.monotonic())):
            portfolio = min(due, key=lambda name: due[name])
            self._turn(portfolio, self._books[portfolio])
            due[portfolio] = time.monotonic() + float(self._books[portfolio].settings.every_seconds)
        if self._engine is not None:
            self._engine.dispose()

    def _turn(self, portfolio: str, book: KeptBook) -> None:
        try:
            engine = book.engine_now()
            if engine.serving and not engine.database_away:
                self._keep(portfolio, book, engine)
                self._complained.pop(portfolio, None)
                return
        except Retryable as error:
            log.debug("the book waits", portfolio=portfolio, error=str(error))
        except PortfolioError as error:
            self._complain(portfolio, str(error))
        except Exception as error:
            # The thread keeps the book of other portfolios too, and of this one when it can again.
            if self._is_new(portfolio, repr(error)):
                log.exception("the book is not kept", portfolio=portfolio)
        self._keeping.pop(portfolio, None)
        self._lags.pop(portfolio, None)

    def _keep(self, portfolio: str, book: KeptBook, engine: LiveTradingEngine) -> None:
        keeping = self._keeping.get(portfolio)
        if keeping is None:
            keeping = self._keeping[portfolio] = self._begun(portfolio, book)
        self._lags[portfolio] = max(0, engine.db_manager.next_seq - 1 - keeping.seq)
        keeping.turn()
        self._lags[portfolio] = max(0, engine.db_manager.next_seq - 1 - keeping.seq)

    def _begun(self, portfolio: str, book: KeptBook) -> "_Keeping":
        from book.briefings import Briefings
        from book.database import engine_of
        from book.day_ends import DayEnds
        from book.projection import Projector
        from live.briefings.post import BriefingPost
        from live.explain import in_a_sentence

        require_book(self._dsn)
        if self._engine is None:
            self._engine = engine_of(self._dsn, connections=1)
        projector = Projector(
            self._engine,
            portfolio,
            DayEnds(book.calendar(), book.settings.close_grace_seconds),
            clock=self._clock,
            pause=self._breathe,
        )
        briefings = Briefings(
            projector, clock=self._clock, stops_near_atr=book.settings.stops_near_atr, words=in_a_sentence
        )
        return _Keeping(projector, briefings, BriefingPost(portfolio, briefings, book.notifications, clock=self._clock))

    def _breathe(self) -> None:
        if self._stopping.wait(BREATH_SECONDS):
            raise _Ending

    def _complain(self, portfolio: str, error: str) -> None:
        """A book that is not migrated, say: once, not every few seconds."""
        if self._is_new(portfolio, error):
            log.error("the book is not kept", portfolio=portfolio, error=error)

    def _is_new(self, portfolio: str, error: str) -> bool:
        is_new = self._complained.get(portfolio) != error
        self._complained[portfolio] = error
        return is_new


class _Ending(Retryable):
    """the process ends"""


class _Keeping:
    """One portfolio's, for as long as it is led here without a trouble."""

    def __init__(self, projector: "Projector", briefings: "Briefings", post: "BriefingPost") -> None:
        self.seq = 0
        self._projector = projector
        self._briefings = briefings
        self._post = post
        self._done: date | None = None

    def turn(self) -> None:
        """What is new in the journal, and the briefing of the last day that is over."""
        self.seq = self._projector.sync().seq
        day = self._briefings.last_day()
        if day is not None and day != self._done and self._post.told(day):
            self._done = day
