"""A day's batch: nine steps, each in a transaction of its own with its line in the log, begun again where it stopped."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from threadpoolctl import ThreadpoolController

from book.database import transaction
from book.day_ends import DayEnds
from core.errors import PortfolioError, Refused
from core.postgres.errors import translated
from core.trading_calendar import TradingCalendar
from risk.batch import log
from risk.batch.estimates import correlations, factor_covariance
from risk.batch.given import Given, Method
from risk.batch.greeks import greeks
from risk.batch.holdings import held_on
from risk.batch.market import market_data, returns, short_metrics
from risk.batch.portfolio import portfolio_metrics
from risk.batch.snapshots import snapshots
from risk.batch.stress import stress_tests
from risk.seeds import seed

Step = Callable[[Session, Given], int]
# In the specification's order.
STEPS: Mapping[str, Step] = {
    "market_data": market_data,
    "short_metrics": short_metrics,
    "returns": returns,
    "factor_covariance": factor_covariance,
    "greeks": greeks,
    "correlations": correlations,
    "portfolio_metrics": portfolio_metrics,
    "stress_tests": stress_tests,
    "snapshots": snapshots,
}
STEP_SECONDS = 600.0
# The first of the lock's two keys; the second is the day.
_BATCH = 0x0B47C4


class BatchRuns(Refused):
    """the batch of that day is being run already"""


class NoTradingDay(Refused):
    """nothing that is held was traded on that day, or it is not over"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """A step: how many records it kept; None where it was done before."""

    step: str
    records: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDone:
    """A day's run, and its steps in their order."""

    day: date
    run: int
    steps: tuple[StepDone, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was reckoned."""
        return any(each.records is not None for each in self.steps)


def run_batch(
    engine: Engine,
    day: date,
    *,
    calendar: TradingCalendar,
    clock: Callable[[], datetime],
    grace_seconds: int = 300,
    method: Method | None = None,
    again: bool = False,
    steps: Mapping[str, Step] = STEPS,
    told: Callable[[str], None] = lambda _step: None,
) -> BatchDone:
    """Reckon a day that is over: the steps that are not done yet, or with `again` all of them anew.

    `clock` tells aware instants; `told` hears of each step that begins. What a step kept stays where a later one fails.
    Raises BatchRuns, NoTradingDay, BookNotMigrated, DatabaseAway, StepTaken, and whatever made a step fail.
    """
    given = Given(day=day, calendar=calendar, method=method or Method())
    # One thread: sums are taken in one order, and who decides beside it keeps his processor.
    with _alone(engine, day), ThreadpoolController().limit(limits=1, user_api="blas"):
        with transaction(engine) as session:
            _require_over(session, given, clock(), grace_seconds)
            seed(session)
            run = log.run_of(session, day, again=again)
            done = log.completed(session, day, run)
        found = []
        for name, step in steps.items():
            told(name)
            records = None if name in done else _take(engine, given, run, name, step, clock)
            found.append(StepDone(step=name, records=records))
    return BatchDone(day=day, run=run, steps=tuple(found))


def _take(engine: Engine, given: Given, run: int, name: str, step: Step, clock: Callable[[], datetime]) -> int:
    with transaction(engine) as session:
        attempt = log.begin(session, given.day, run, name, clock())
    try:
        with transaction(engine, limit_seconds=STEP_SECONDS) as session:
            records = step(session, given)
            log.complete(session, attempt, clock(), records)
    except BaseException as error:
        # Whatever it was is raised; that it could not even be noted would only hide it.
        with suppress(PortfolioError), transaction(engine) as session:
            log.fail(session, attempt, clock(), error)
        raise
    return records


@contextmanager
def _alone(engine: Engine, day: date) -> Iterator[None]:
    """The day to oneself, until the block ends or the connection does."""
    keys = (_BATCH, day.toordinal())
    with translated(), engine.connect() as guard:
        if not guard.scalar(select(func.pg_try_advisory_lock(*keys))):
            raise BatchRuns(f"the batch of {day} is being run already")
        # The lock is the connection's, and stays; the transaction would be ended for idling.
        guard.commit()
        try:
            yield
        finally:
            # Given back before the end is told: a connection that is only closed holds it until its server notices.
            with suppress(SQLAlchemyError):
                guard.scalar(select(func.pg_advisory_unlock(*keys)))
            guard.invalidate()


def _require_over(session: Session, given: Given, now: datetime, grace_seconds: int) -> None:
    held = {each.instrument.exchange or "" for each in held_on(session, given.day)}
    exchanges = held or {name for table in given.calendar.tables for name in table.exchanges}
    end = DayEnds(given.calendar, grace_seconds).of_all(exchanges, given.day)
    if end is None:
        raise NoTradingDay(
            f"{given.day}: no exchange of what is held trades then, or the calendar does not know that day"
        )
    if now < end:
        raise NoTradingDay(f"{given.day} is not over before {end:%Y-%m-%d %H:%M} UTC")
