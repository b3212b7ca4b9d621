"""A file as rows of values by column: CSV, JSON or Parquet. Numbers stay as they are written."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.book_settings import LARGEST_UPLOAD
from core.errors import Refused

MOST_BYTES = LARGEST_UPLOAD
MOST_ROWS = 1_000_000
_LONGEST_FIELD = 100_000


class UnreadableFile(Refused):
    """the file cannot be read as what its name says it is"""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row: the line (of JSON and Parquet the number of the row, from 1) and its values; `problem` where it is no row."""

    line: int
    values: Mapping[str, Any]
    problem: str | None = None


def read_rows(name: str, content: bytes) -> list[FileRow]:
    """The rows of a file whose name ends in .csv, .json, .jsonl or .parquet. Raises UnreadableFile."""
    if len(content) > MOST_BYTES:
        raise UnreadableFile(f"{name}: is larger than {MOST_BYTES // 1024**2} MiB: cut it into several")
    ending = name.rpartition(".")[2].lower()
    readers = {"csv": _csv, "json": _json, "jsonl": _json_lines, "parquet": _parquet}
    if ending not in readers:
        raise UnreadableFile(f"{name}: its name has to end in one of .csv, .json, .jsonl, .parquet")
    rows: list[FileRow] = []
    for row in readers[ending](name, content):
        if len(rows) == MOST_ROWS:
            raise UnreadableFile(f"{name}: has more than {MOST_ROWS:,} rows: cut it into several")
        rows.append(row)
    if not rows:
        raise UnreadableFile(f"{name}: has no rows")
    return rows


def _text_of(name: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{name}: is not UTF-8: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise UnreadableFile(f"{name}: holds a NUL character")
    return text


def _csv(name: str, content: bytes) -> Iterator[FileRow]:
    reader = csv.reader(io.StringIO(_text_of(name, content), newline=""), strict=True)
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        header = _header(name, next(reader, []))
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            line = reader.line_num
            if len(cells) != len(header):
                yield FileRow(line, {}, f"has {len(cells)} values for {len(header)} columns")
                continue
            yield FileRow(line, {column: cell.strip() or None for column, cell in zip(header, cells, strict=True)})
    except csv.Error as error:
        raise UnreadableFile(f"{name}: line {reader.line_num}: {error}") from error


def _header(name: str, cells: list[str]) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    if not header or not all(header):
        raise UnreadableFile(f"{name}: its first line has to name every column")
    if twice := [column for column, count in Counter(header).items() if count > 1]:
        raise UnreadableFile(f"{name}: names the column `{twice[0]}` twice")
    return header


def _json(name: str, content: bytes) -> Iterator[FileRow]:
    found = _loaded(name, _text_of(name, content))
    if not isinstance(found, list):
        raise UnreadableFile(f"{name}: has to hold an array of objects")
    return (_object(number, one) for number, one in enumerate(found, 1))


def _json_lines(name: str, content: bytes) -> Iterator[FileRow]:
    for line, text in enumerate(_text_of(name, content).splitlines(), 1):
        if not text.strip():
            continue
        try:
            found = _loaded(name, text)
        except UnreadableFile as error:
            yield FileRow(line, {}, str(error).removeprefix(f"{name}: "))
            continue
        yield _object(line, found)


def _object(line: int, found: Any) -> FileRow:
    if not isinstance(found, dict):
        return FileRow(line, {}, "is no object")
    return FileRow(line, {str(column).lower(): value for column, value in found.items()})


def _loaded(name: str, text: str) -> Any:
    def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if twice := [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]:
            raise ValueError(f"the key {twice[0]!r} is there twice")
        return dict(pairs)

    def no_constant(constant: str) -> Any:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(text, parse_float=Decimal, object_pairs_hook=once_each, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{name}: is not JSON: {error}") from error


def _parquet(name: str, content: bytes) -> Iterator[FileRow]:
    try:
        import pyarrow as arrow  # an extra (requirements-book.txt), imported where such a file comes
        from pyarrow import parquet
    except ImportError as error:
        raise UnreadableFile(f"{name}: Parquet needs `pip install -r requirements-book.txt`") from error
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (arrow.ArrowException, OSError) as error:
        raise UnreadableFile(f"{name}: is not Parquet: {error}") from error
    header = _header(name, list(table.column_names))
    number = 0
    for batch in table.to_batches(max_chunksize=10_000):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number += 1
            yield FileRow(number, dict(zip(header, map(_exact, values), strict=True)))


def _exact(value: Any) -> Any:
    # A float's shortest text is what was meant where it was written.
    return Decimal(repr(value)) if isinstance(value, float) else value
