"""What the book's worker does with the risk lab: reckon a day. Only there are arrays and frames imported."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import IO, Any

from core.errors import Refused, Retryable

# What has to be installed, by the file that says so.
LIBRARIES = {
    "requirements-risk.txt": (
        "numpy",
        "pandas",
        "scipy",
        "sklearn",
        "QuantLib",
        "threadpoolctl",
        "dask",
        "distributed",
    ),
    "requirements-book.txt": ("pyarrow",),
}
_IDLE_SECONDS = 900
_MOST_TOLD = 500
_EARLIEST = date(1970, 1, 1)


class StepFailed(Refused):
    """a step of the day's batch failed: what was done before it stays"""


def missing_libraries() -> dict[str, list[str]]:
    """What a batch needs and is not installed, by the file that names it."""
    found = {file: [name for name in names if find_spec(name) is None] for file, names in LIBRARIES.items()}
    return {file: names for file, names in found.items() if names}


def said_missing() -> str:
    """The same in a sentence; blank where nothing is."""
    told = [f"{', '.join(names)}: `pip install --requirement {file}`" for file, names in missing_libraries().items()]
    return f"not installed: {'; '.join(told)}" if told else ""


def reckon_day(
    file: IO[bytes],  # noqa: ARG001 - given to every task
    *,
    dsn: str,
    day: str,
    again: bool,
    at: datetime,
    grace_seconds: int = 300,
    calendar: str | None = None,
) -> dict[str, Any]:
    """Reckon a day that is over at `at`, as `risk batch` does: its run, and its steps with how many records each kept.

    `calendar` is the file of one that is not the shipped one.

    Raises LibraryMissing, NoTradingDay, BatchRuns, StepFailed.
    """
    from book.refusals import LibraryMissing

    if said := said_missing():
        raise LibraryMissing(said)
    from book.database import BookNotMigrated, engine_of
    from live.contracts_file import DEFAULT_CALENDAR, load_calendar
    from risk.batch.log import StepTaken
    from risk.batch.run import BatchRuns, NoTradingDay, run_batch

    asked = date.fromisoformat(day)
    if not _EARLIEST <= asked <= at.date() + timedelta(days=1):
        raise NoTradingDay(f"{asked} is not over, or before all that is known")
    steps: list[str] = []
    engine = engine_of(dsn, idle_seconds=_IDLE_SECONDS)
    try:
        done = run_batch(
            engine,
            asked,
            calendar=load_calendar(DEFAULT_CALENDAR if calendar is None else Path(calendar)),
            clock=_clock_from(at),
            again=again,
            grace_seconds=grace_seconds,
            told=steps.append,
        )
    except (BatchRuns, NoTradingDay, StepTaken, BookNotMigrated, Retryable):
        raise
    except Exception as error:
        # Of any kind, by any library: it is in the log of the steps, and said to who asked.
        if not steps:
            raise
        raise StepFailed(f"{steps[-1]}: {type(error).__name__}: {error}"[:_MOST_TOLD]) from error
    finally:
        engine.dispose()
    told = [{"step": each.step, "records": each.records} for each in done.steps]
    return {"run": done.run, "changed": done.changed, "steps": told}


def _clock_from(at: datetime) -> Callable[[], datetime]:
    """Goes on from the time of who asked: it is his clock that says which days are over."""
    began = monotonic()
    return lambda: at + timedelta(seconds=monotonic() - began)
