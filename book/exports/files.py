"""Rows as a file: CSV, JSON or Parquet. The same rows are the same bytes; numbers are exact."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from core.errors import Refused

Row = Mapping[str, Any]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CannotExport(Refused):
    """that cannot be exported so"""


def as_rows(objects: Sequence[Any], *more: str) -> list[Row]:
    """Dataclass objects as rows by their fields' names, with these properties besides."""
    return [{**asdict(one), **{name: getattr(one, name) for name in more}} for one in objects]


def written(rows: Sequence[Row], columns: Sequence[str], form: str) -> bytes:
    """The rows' columns in that format. Raises CannotExport."""
    writers = {"csv": _csv, "json": _json, "parquet": _parquet}
    if form not in writers:
        raise CannotExport(f"{form}: one of {', '.join(writers)}")
    return writers[form](rows, columns)


def _csv(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = _plain(value)
    # A spreadsheet takes such a text for a formula, whoever wrote it.
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else str(text)


def _json(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    found = [{column: _plain(row[column]) for column in columns} for row in rows]
    return (json.dumps(found, ensure_ascii=False, indent=1) + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return value if value is None or isinstance(value, str | bool | list | dict) else str(value)


def _parquet(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    try:
        import pyarrow as arrow  # an extra (requirements-book.txt), imported where it is asked for
        from pyarrow import parquet
    except ImportError as error:
        raise CannotExport("Parquet needs `pip install -r requirements-book.txt`") from error
    arrays = {column: [row[column] for row in rows] for column in columns}
    out = io.BytesIO()
    table = arrow.table({column: _column(arrow, values) for column, values in arrays.items()})
    parquet.write_table(table, out)
    return out.getvalue()


def _column(arrow: Any, values: list[Any]) -> Any:
    if any(isinstance(value, Decimal) for value in values):
        # One type whatever the rows hold: the widest that the format has.
        return arrow.array(values, type=arrow.decimal128(38, 8))
    if any(isinstance(value, dict | list) for value in values):
        return arrow.array([None if value is None else json.dumps(value, default=str) for value in values])
    return (
        arrow.array(values) if any(value is not None for value in values) else arrow.nulls(len(values), arrow.string())
    )
