"""Rows as frames: numbers are float64 or integers, times and days aware UTC, texts texts; empty ones have the same columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

_ONE_DAY = timedelta(days=1)
Told = date | datetime | str


def frame(
    rows: Iterable[Sequence[Any]], columns: Mapping[str, str], *, index: str | list[str] | None = None
) -> pd.DataFrame:
    """A frame of rows whose values are in the columns' order. Each column is of a kind: number, whole, count (a whole number, or
    nothing), text, time, day or yes (yes, no, or nothing)."""
    by_column = list(zip(*rows, strict=True)) or [()] * len(columns)
    made = {name: _KINDS[kind](values) for (name, kind), values in zip(columns.items(), by_column, strict=True)}
    found = pd.DataFrame(made)
    return found if index is None else found.set_index(index)


def floats(values: Sequence[Any]) -> Any:
    """float64; NaN where there is nothing."""
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)


def times(values: Sequence[Any]) -> pd.DatetimeIndex:
    """Instants in UTC; NaT where there is nothing."""
    return pd.DatetimeIndex(pd.to_datetime(list(values), utc=True)).as_unit("us")


def days(values: Sequence[date | None]) -> pd.DatetimeIndex:
    """Days as their beginnings in UTC."""
    return times([None if day is None else begin_of(day) for day in values])


_KINDS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "number": floats,
    "whole": lambda values: np.array(values, dtype=np.int64),
    "count": lambda values: pd.array(list(values), dtype="Int64"),
    "text": lambda values: pd.array(list(values), dtype="str"),
    "time": times,
    "day": days,
    "yes": lambda values: pd.array(list(values), dtype="boolean"),
}


def reasons(told: Mapping[str, str]) -> str:
    """Why things are missing, in one text; blank where nothing is."""
    return "; ".join(f"{name}: {reason}" for name, reason in told.items())


# --- days and instants as notebooks tell them


def day_told(told: Told) -> date:
    """A day, also as text such as 2026-01-14."""
    if isinstance(told, datetime):
        raise TypeError(f"{told} is an instant: a day is asked for")
    return date.fromisoformat(told) if isinstance(told, str) else told


def instant_told(told: Told, *, at_its_end: bool = True) -> datetime:
    """An aware instant, also as ISO 8601 with its offset; of a day its end, or its beginning, in UTC."""
    if isinstance(told, str):
        told = date.fromisoformat(told) if len(told) == len("2026-01-14") else datetime.fromisoformat(told)
    if isinstance(told, datetime):
        if told.utcoffset() is None:
            raise ValueError(f"{told} has no time zone")
        return told.astimezone(UTC)
    return begin_of(told) + (_ONE_DAY if at_its_end else timedelta())


def begin_of(day: date) -> datetime:
    """The day's first instant in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
