"""Texts as the values of a table's columns: numbers exact, times in UTC, and each that is none told with its line.

What a whole column is written like is read at once; only values that are not are looked at one by one.
"""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Date, Integer, SmallInteger, String
from sqlalchemy.dialects.postgresql import JSONB

from book.base import AwareTime, Exact
from core.numbers import exactly
from risk.base import Base
from risk.importers.told import Told
from risk.upsert import Problem, columns_of

if TYPE_CHECKING:
    import pyarrow

_ABSENT = frozenset({"", "-", "nan", "na", "n/a", "null", "none"})
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY = re.compile(r"(\d{1,2})[ -]?([a-z]{3})[a-z]*[ -]?(\d{4}|\d{2})", re.ASCII | re.IGNORECASE)
_UNIX = {10: 1, 13: 1000}
# RE2's own: `\d` is of ASCII there.
_ISO_WITH_ZONE = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)$"


def typed(model: type[Base], told: Told, zone: tzinfo) -> "tuple[pyarrow.Table, list[Problem]]":
    """The rows in the model's columns, with `line`; those with a value that is none are left out, and told. A time without an
    offset is of `zone`; a number's surplus decimals are rounded half-even; a column that is not told has its default."""
    import numpy as np
    import pyarrow as arrow
    import pyarrow.compute as compute

    size = len(told.lines)
    good = np.ones(size, dtype=bool)
    problems: list[Problem] = []
    arrays: dict[str, Any] = {"line": told.lines}
    for column in columns_of(model):
        given = told.columns.get(column.name)
        if given is None:
            arrays[column.name] = _default(column, size)
            continue
        texts = _whole(given)
        arrays[column.name], bad = _Reading(column, zone).read(texts)
        good[list(bad)] = False
        if column.server_default is not None:
            arrays[column.name] = compute.coalesce(arrays[column.name], _default(column, 1)[0])
        problems += [
            Problem(told.lines[place].as_py(), f"`{column.name}`: {why}") for place, why in sorted(bad.items())
        ]
    table = arrow.table(arrays)
    return (table if good.all() else table.filter(compute.equal(arrow.array(good), True))), problems


def _whole(column: Any) -> Any:
    import pyarrow as arrow

    whole = column.combine_chunks() if isinstance(column, arrow.ChunkedArray) else column
    return whole if not isinstance(whole, arrow.ChunkedArray) else arrow.concat_arrays(whole.chunks)


def _default(column: Column[Any], size: int) -> Any:
    import pyarrow as arrow

    default: Any = column.server_default
    if default is None:
        return arrow.nulls(size, arrow.string())
    return arrow.array([str(default.arg).strip("'")] * size)


class _Reading:
    """How one column's texts are read."""

    def __init__(self, column: Column[Any], zone: tzinfo) -> None:
        self._zone = zone
        self._type = column.type
        self._one: Callable[[str], Any] = self._reader()

    def read(self, texts: Any) -> tuple[Any, dict[int, str]]:
        """The values, and why some are none by their places."""
        import pyarrow as arrow
        import pyarrow.compute as compute

        if not arrow.types.is_string(texts.type):
            return texts, {}
        texts = compute.utf8_trim_whitespace(texts)
        for pattern, whole in self._at_once():
            if _all(compute.match_substring_regex(texts, pattern)):
                # A day such as 2026-02-30 looks like one: which line it is of is then found one by one.
                with suppress(arrow.ArrowInvalid):
                    return whole(texts), {}
        return self._one_by_one(texts)

    def _at_once(self) -> list[tuple[str, Callable[[Any], Any]]]:
        """How texts that are all written alike are read in one go."""
        import pyarrow as arrow

        kind, instant = self._type, arrow.timestamp("us", "UTC")
        if isinstance(kind, Exact):
            written = rf"^-?\d{{1,{kind.digits - kind.scale}}}(\.\d{{1,{kind.scale}}})?$"
            return [(written, lambda texts: texts)]
        if isinstance(kind, AwareTime):
            seconds = arrow.timestamp("s", "UTC")
            return [
                (_ISO_WITH_ZONE, lambda texts: texts.cast(instant)),
                (r"^\d{10}$", lambda texts: texts.cast(arrow.int64()).cast(seconds).cast(instant)),
            ]
        return []

    def _one_by_one(self, texts: Any) -> tuple[Any, dict[int, str]]:
        import pyarrow as arrow

        # Each text once: days and symbols come again and again.
        coded = texts.dictionary_encode()
        values, wrong = [], {}
        for number, text in enumerate(coded.dictionary.to_pylist()):
            try:
                values.append(None if text.lower() in _ABSENT else self._one(text))
            except ValueError as error:
                values.append(None)
                wrong[number] = str(error)
        kind = arrow.timestamp("us", "UTC") if isinstance(self._type, AwareTime) else arrow.string()
        read = arrow.array(values, kind).take(coded.indices)
        bad = {}
        if wrong:
            places = coded.indices.to_pylist()
            bad = {place: wrong[code] for place, code in enumerate(places) if code in wrong}
        return read, bad

    def _reader(self) -> Callable[[str], Any]:
        readers: dict[type, Callable[[str], Any]] = {
            Exact: self._number,
            AwareTime: self._time,
            Date: lambda text: read_day(text).isoformat(),
            SmallInteger: lambda text: _integer(text, 15),
            BigInteger: lambda text: _integer(text, 63),
            Integer: lambda text: _integer(text, 31),
            JSONB: _document,
            String: self._text,
        }
        return readers[type(self._type)]

    def _number(self, text: str) -> str:
        kind: Any = self._type
        return read_number(text, kind.digits, kind.scale)

    def _time(self, text: str) -> datetime:
        return read_time(text, self._zone)

    def _text(self, text: str) -> str:
        kind: Any = self._type
        if len(text) > (kind.length or len(text)):
            raise ValueError(f"has more than {kind.length} characters")
        if "\0" in text:
            raise ValueError("holds a NUL character")
        return text


def _all(mask: Any) -> bool:
    import pyarrow.compute as compute

    return bool(compute.all(mask, min_count=0).as_py())


@exactly
def read_number(text: str, digits: int, scale: int) -> str:
    """The number as it is written out, with at most `scale` decimals; ValueError for none, or one of too many digits."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:50]!r} is no number") from None
    if not number.is_finite() or number.adjusted() >= digits - scale:
        raise ValueError(f"{text[:50]!r} has more than {digits - scale} digits before the point")
    return f"{number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_EVEN):f}"


def read_day(text: str) -> date:
    """A day as ISO 8601 or as exchanges write it (27-Jan-2026, 27JAN2026, 27 Jan 26); ValueError for none."""
    match = _DAY.fullmatch(text)
    if match is None:
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text[:50]!r} is no day such as 2026-01-14") from None
    day, month, year = match.groups()
    if month.lower() not in _MONTHS:
        raise ValueError(f"{text[:50]!r} is no day such as 27-Jan-2026")
    try:
        return date(int(year) + (2000 if len(year) == len("26") else 0), 1 + _MONTHS.index(month.lower()), int(day))
    except ValueError as error:
        raise ValueError(f"{text[:50]!r}: {error}") from None


def read_time(text: str, zone: tzinfo) -> datetime:
    """An instant in UTC: ISO 8601, seconds or milliseconds since 1970, or a day, which is its 00:00; without an offset it is of
    `zone`. ValueError for none."""
    if text.isdecimal() and text.isascii() and len(text) in _UNIX:
        return datetime.fromtimestamp(int(text) / _UNIX[len(text)], UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            day = read_day(text)
        except ValueError:
            raise ValueError(f"{text[:50]!r} is no time such as 2026-01-14T09:15:00+05:30") from None
        found = datetime(day.year, day.month, day.day, tzinfo=zone)
    return (found.replace(tzinfo=zone) if found.tzinfo is None else found).astimezone(UTC)


def _integer(text: str, bits: int) -> str:
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{text[:50]!r} is no whole number") from None
    if abs(number) >= 1 << bits:
        raise ValueError(f"{text[:50]!r} is too large")
    return str(number)


def _document(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None
    return text
