"""The log of a day's steps: which is to be done, that it runs, what became of it."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import cast

from sqlalchemy import func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from core.errors import Refused
from risk.daily import CalculationAuditLog as Log

_ENDED_UNHEARD = "it ended without a word: what it did was not kept"


class StepTaken(Refused):
    """another batch took the step over: what this one did is not kept"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A row of the log."""

    id: int
    calculation_type: str
    run: int


def run_of(session: Session, day: date, *, again: bool) -> int:
    """The number of the day's run: the one that there is, or the next one. Whoever asks has the day to himself: what is said to
    run does not."""
    ended = update(Log).where(Log.calculation_date == day, Log.status == "running")
    session.execute(ended.values(status="failed", end_time=Log.start_time, error_message=_ENDED_UNHEARD))
    last: int | None = session.scalar(select(func.max(Log.run)).where(Log.calculation_date == day))
    return (last or 0) + 1 if again or last is None else last


def completed(session: Session, day: date, run: int) -> set[str]:
    """The steps of a run that are done."""
    asked = select(Log.calculation_type).where(Log.calculation_date == day, Log.run == run)
    return set(session.scalars(asked.where(Log.status == "completed")))


def begin(session: Session, day: date, run: int, step: str, at: datetime) -> Attempt:
    """Note that a step runs."""
    of_step = select(func.max(Log.attempt)).where(
        Log.calculation_date == day, Log.run == run, Log.calculation_type == step
    )
    row = Log(
        calculation_type=step,
        calculation_date=day,
        run=run,
        attempt=(session.scalar(of_step) or 0) + 1,
        start_time=at,
        status="running",
    )
    session.add(row)
    session.flush()
    return Attempt(id=row.id, calculation_type=step, run=run)


def complete(session: Session, attempt: Attempt, at: datetime, records: int) -> None:
    """Note what came of it, in the transaction that keeps it. Raises StepTaken where it is not running any more."""
    own = update(Log).where(Log.id == attempt.id, Log.status == "running")
    done = session.execute(own.values(status="completed", end_time=at, records_processed=records))
    if cast("CursorResult[tuple[()]]", done).rowcount != 1:
        raise StepTaken(f"{attempt.calculation_type}: another batch took the step over: what this one did is not kept")


def fail(session: Session, attempt: Attempt, at: datetime, error: BaseException) -> None:
    """Note that nothing came of it, and why."""
    own = update(Log).where(Log.id == attempt.id, Log.status == "running")
    message = f"{type(error).__name__}: {error}"
    session.execute(own.values(status="failed", end_time=at, error_message=message))
