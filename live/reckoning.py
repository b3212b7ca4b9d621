"""Days reckoned while an instance leads: a thread beside it has the book's worker run the risk lab's daily batch, once a day.

The batch is of the whole database, and done once whoever asks (docs/decisions/0028-where-the-batch-runs.md).
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime

import structlog

from core.errors import ConfigurationError, PortfolioError, Retryable
from core.notifications import Level
from core.risk_settings import RiskSettings
from core.trading_calendar import TradingCalendar
from live.book_desk import BookDesk
from live.book_work import Busy, WorkFailed, WorkRefused
from live.calendar_end import endings
from live.engine import LiveTradingEngine
from live.notify.watch import Trouble
from live.risk_task import said_missing

JOIN_SECONDS = 3.0
LONGEST_PAUSE_SECONDS = 3600.0
# So often an older day is tried before newer ones no longer wait for it: each is compared with what the day before foresaw.
_TRIES_BEFORE_OTHERS = 3
# Another one runs that day, here or elsewhere: that is no failure.
_RUN_BY_ANOTHER = ("BatchRuns", "StepTaken")
log = structlog.get_logger("live.risk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reckoning:
    """The newest day that was reckoned to its end, None where none was; how many tries have failed in this process."""

    last_day: date | None
    failures: int


@dataclass(slots=True, kw_only=True)
class _Failed:
    reason: str
    tries: int
    not_before: float


class RiskKeeper:
    """Of a process: `engines` are those that it may lead with. `clock` tells which days are over, `desk` has the worker."""

    def __init__(
        self,
        desk: BookDesk,
        settings: RiskSettings,
        *,
        engines: Callable[[], Collection[LiveTradingEngine]],
        calendar: Callable[[], TradingCalendar],
        close_grace_seconds: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._desk = desk
        self._settings = settings
        self._engines = engines
        self._calendar = calendar
        self._close_seconds = close_grace_seconds
        self._clock = clock
        self._began: datetime | None = None
        self._told: Reckoning | None = None
        self._failures = 0
        self._failed: dict[date, _Failed] = {}
        self._endings: dict[str, Trouble] = {}
        self._complaint = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="risk", daemon=True)

    def told(self) -> Reckoning | None:
        """How it stands; None where this instance does not lead, or has not looked yet."""
        return self._told

    def troubles(self) -> Iterator[Trouble]:
        """Days that could not be reckoned, and a calendar that ends, for as long as that is so."""
        yield from list(self._endings.values())
        failed = dict(self._failed)
        if failed:
            told = "; ".join(f"{day}: {each.reason}" for day, each in sorted(failed.items()))
            yield Trouble(Level.ERROR, "a day's risk was not reckoned", f"{told}. It is tried again")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and what a worker is at: the step that it is in is done anew, by whoever leads then."""
        self._stopping.set()
        self._desk.work.close()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(float(self._pause())):
            self._turn()

    def _pause(self) -> float:
        """Until the next look: soon where something is to be tried again."""
        every = float(self._settings.every_seconds)
        if self._began is None:
            return min(every, 1.0)
        again = [each.not_before - time.monotonic() for each in self._failed.values()]
        return max(0.1, min([every, *again]))

    def _turn(self) -> None:
        try:
            if not any(engine.serving and not engine.database_away for engine in self._engines()):
                self._began = self._told = None
                self._failed.clear()
                return
            _require_what_reckons()
            self._began = self._began or self._clock()
            tried: set[date] = set()
            day = self._next_day(self._began)
            while not (day is None or day in tried or self._stopping.is_set()):
                tried.add(day)
                self._reckon(day)
                day = self._next_day(self._began)
            self._complaint = ""
        except Retryable as error:
            log.debug("risk waits", error=str(error))
        except PortfolioError as error:
            self._complain(str(error))
        except Exception as error:
            # The thread has other days to look after.
            if self._is_new(repr(error)):
                log.exception("days are not reckoned")

    def _next_day(self, began: datetime) -> date | None:
        """The oldest that is due and may be tried now; None where there is none."""
        self._desk.get_ready()
        from risk.batch.due import DueDays, newest_day

        calendar = self._calendar()
        self._look_at_the_end_of(calendar)
        due = DueDays(
            calendar,
            close_seconds=self._close_seconds,
            wait_seconds=self._settings.grace_seconds,
            most=self._settings.catch_up_days,
            began=began,
        )
        with self._desk.transaction() as session:
            days, last_day = due.find(session, self._clock()), newest_day(session)
        self._told = Reckoning(last_day=last_day, failures=self._failures)
        # What somebody else has done meanwhile is no trouble any more.
        self._failed = {day: failed for day, failed in self._failed.items() if day in days}
        for day in days:
            failed = self._failed.get(day)
            if failed is None or failed.not_before <= time.monotonic():
                return day
            if failed.tries < _TRIES_BEFORE_OTHERS:
                return None
        return None

    def _look_at_the_end_of(self, calendar: TradingCalendar) -> None:
        known, self._endings = self._endings, {each.what: each for each in endings(calendar, self._clock())}
        for each in self._endings.values():
            if each.what not in known:
                (log.error if each.level is Level.ERROR else log.warning)(each.what, told=each.told)

    def _reckon(self, day: date) -> None:
        given = {**self._desk.batch, "day": day.isoformat(), "again": False, "at": self._clock().isoformat()}
        try:
            with self._desk.work.reckoning() as file:
                told = self._desk.work.run("risk_batch", given, file)
        except Busy as error:
            self._put_off(day, str(error))
        except WorkRefused as error:
            if error.name in _RUN_BY_ANOTHER:
                self._put_off(day, str(error))
            else:
                self._fail(day, str(error))
        except WorkFailed as error:
            if not self._stopping.is_set():
                self._fail(day, str(error))
        else:
            log.info("day reckoned", day=day.isoformat(), run=told["run"], changed=told["changed"])

    def _put_off(self, day: date, reason: str) -> None:
        if day in self._failed:
            self._failed[day].not_before = time.monotonic() + float(self._settings.every_seconds)
        raise Retryable(f"{day}: {reason}")

    def _fail(self, day: date, reason: str) -> None:
        """It is tried again, later each time; as an error that is told the first time."""
        before = self._failed.get(day)
        tries = 1 if before is None else before.tries + 1
        pause = min(float(self._settings.retry_seconds) * 2 ** (tries - 1), LONGEST_PAUSE_SECONDS)
        self._failed[day] = _Failed(reason=reason, tries=tries, not_before=time.monotonic() + pause)
        self._failures += 1
        if self._told is not None:
            self._told = Reckoning(last_day=self._told.last_day, failures=self._failures)
        told = log.error if before is None else log.info
        told("a day was not reckoned", day=day.isoformat(), reason=reason, tries=tries, again_in_seconds=pause)

    def _complain(self, reason: str) -> None:
        """Tables that are not there, say: once, not every minute."""
        if self._is_new(reason):
            log.error("days are not reckoned", reason=reason)

    def _is_new(self, reason: str) -> bool:
        is_new, self._complaint = reason != self._complaint, reason
        return is_new


def _require_what_reckons() -> None:
    if said := said_missing():
        raise ConfigurationError(said)
