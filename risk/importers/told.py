"""What a file tells, column by column as text, before anything of it is believed."""

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.errors import Refused
from risk.upsert import Problem

if TYPE_CHECKING:
    import pyarrow

MOST_BYTES = 1024**3


class UnreadableFile(Refused):
    """the file cannot be read as what its name says it is"""


@dataclass(slots=True)
class Told:
    """Columns of text by name, the line of each row, rows that are none, and how many were left out and why."""

    columns: "dict[str, pyarrow.ChunkedArray]"
    lines: "pyarrow.Array"
    problems: list[Problem] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def only(self, mask: "pyarrow.Array", why: str) -> "Told":
        """The rows where the mask is true; the others are counted as left out for that reason."""
        import pyarrow.compute as compute

        wanted = compute.fill_null(mask, False)
        kept = {name: column.filter(wanted) for name, column in self.columns.items()}
        gone = len(self.lines) - (compute.sum(wanted).as_py() or 0)
        left_out = self.left_out + Counter({why: gone})
        return Told(kept, self.lines.filter(wanted), self.problems, left_out)


def read_file(name: str, content: bytes) -> Told:
    """The rows of a .csv or .parquet file, or of the one file in a .zip. Raises UnreadableFile."""
    if len(content) > MOST_BYTES:
        raise UnreadableFile(f"{name}: is larger than {MOST_BYTES // 1024**2} MiB: cut it into several")
    ending = name.rpartition(".")[2].lower()
    if ending == "zip":
        return read_file(*_only_member(name, content))
    if ending == "parquet":
        return of_table(_parquet(name, content))
    if ending == "csv":
        return read_csv(name, content)
    raise UnreadableFile(f"{name}: its name has to end in one of .csv, .parquet, .zip")


def _only_member(name: str, content: bytes) -> tuple[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1 or members[0].filename.lower().endswith(".zip"):
                raise UnreadableFile(f"{name}: has to hold one file, no archive")
            if members[0].file_size > MOST_BYTES:
                raise UnreadableFile(f"{name}: is larger than {MOST_BYTES // 1024**2} MiB: cut it into several")
            return members[0].filename, archive.read(members[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise UnreadableFile(f"{name}: is no zip file: {error}") from error


def read_csv(name: str, content: bytes) -> Told:
    """The rows of a CSV file, its columns named in its first line. Raises UnreadableFile."""
    import pyarrow as arrow
    from pyarrow import csv as reader

    problems: list[Problem] = []

    def note(row: Any) -> str:
        if row.text.strip(' ,"\r\n'):
            reason = f"has {row.actual_columns} values for {row.expected_columns} columns"
            problems.append(Problem(row.number, f"row: {reason}"))
        skipped.append(row.number)
        return "skip"

    skipped: list[int] = []
    header = _header(name, content)
    # One thread: only then a row knows its line.
    reading = reader.ReadOptions(use_threads=False, column_names=header, skip_rows=1, block_size=8 * 1024**2)
    parsing = reader.ParseOptions(ignore_empty_lines=False, invalid_row_handler=note)
    as_text = reader.ConvertOptions(
        column_types=dict.fromkeys(header, arrow.string()), strings_can_be_null=True, null_values=[""]
    )
    try:
        table = reader.read_csv(io.BytesIO(content), reading, parsing, as_text)
    except (arrow.ArrowException, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{name}: is not CSV: {error}") from error
    return _without_empty_rows(table, _lines(table.num_rows, skipped), problems)


def _header(name: str, content: bytes) -> list[str]:
    first = content.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    try:
        cells = [cell.strip() for cell in next(csv.reader([first.decode("utf-8").rstrip("\r")]), [])]
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{name}: is not UTF-8: {error.reason} at byte {error.start}") from error
    # Some exchanges end every line with a comma.
    named = [cell or f"unnamed {number}" for number, cell in enumerate(cells)]
    if not any(cells):
        raise UnreadableFile(f"{name}: its first line has to name the columns")
    if twice := [cell for cell, count in Counter(named).items() if count > 1]:
        raise UnreadableFile(f"{name}: names the column `{twice[0]}` twice")
    return named


def _lines(rows: int, skipped: list[int]) -> "pyarrow.Array":
    """The lines of so many rows below the header, of which some were skipped."""
    import numpy as np
    import pyarrow as arrow

    every = np.arange(2, rows + len(skipped) + 2, dtype=np.int32)
    return arrow.array(np.delete(every, [line - 2 for line in skipped]) if skipped else every)


def _without_empty_rows(table: "pyarrow.Table", lines: "pyarrow.Array", problems: list[Problem]) -> Told:
    import pyarrow.compute as compute

    some: Any = None
    for column in table.columns:
        there = compute.is_valid(column)
        some = there if some is None else compute.or_(some, there)
        if compute.all(some).as_py():
            break
    else:
        table, lines = table.filter(some), lines.filter(some.combine_chunks())
    return Told(dict(zip(table.column_names, table.columns, strict=True)), lines, problems)


def _parquet(name: str, content: bytes) -> "pyarrow.Table":
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        return parquet.read_table(io.BytesIO(content))
    except (arrow.ArrowException, OSError) as error:
        raise UnreadableFile(f"{name}: is not Parquet: {error}") from error


def of_table(table: "pyarrow.Table") -> Told:
    """The rows of a table in memory as texts; a row's line is its number, from 1. Raises UnreadableFile."""
    import numpy as np
    import pyarrow as arrow

    columns = {
        str(name): _as_text(str(name), column) for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return Told(columns, arrow.array(np.arange(1, table.num_rows + 1, dtype=np.int32)))


def _as_text(name: str, column: "pyarrow.ChunkedArray") -> "pyarrow.ChunkedArray":
    import pyarrow as arrow
    import pyarrow.compute as compute

    kind = column.type
    try:
        if arrow.types.is_timestamp(kind) and kind.tz is not None:
            column = column.cast(arrow.timestamp("us", "UTC"))
            return compute.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
        if arrow.types.is_timestamp(kind):
            return compute.strftime(column.cast(arrow.timestamp("us")), format="%Y-%m-%dT%H:%M:%S")
        if arrow.types.is_floating(kind):
            # What is no number is not told.
            column = compute.if_else(compute.is_finite(column), column, arrow.scalar(None, kind))
        return column.cast(arrow.string())
    except arrow.ArrowException as error:
        raise UnreadableFile(f"`{name}`: {error}") from error


def named(told: Told, names: Mapping[str, str]) -> dict[str, "pyarrow.ChunkedArray"]:
    """The columns under the names that we have for them, whatever their case; those that are not there are missing."""
    found = {name.casefold(): column for name, column in told.columns.items()}
    return {ours: found[theirs.casefold()] for theirs, ours in names.items() if theirs.casefold() in found}
