"""CSV by column names, row by row: cells are read strictly, and a refusal names the file, the line and the column."""

import csv
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

from core.models import PRICE_LIMIT
from core.numbers import price as rounded_price
from core.strict_json import shown
from live.replay.lines import bad_file, byte_lines
from live.replay.model import BadFile

MAX_ROW_BYTES = 16 * 1024

_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_GROUPED = re.compile(r"[\d.,'\s\u00a0\u202f\u2019+\u2212-]*\d[\d.,'\s\u00a0\u202f\u2019]*")


class Row:
    """One row: its line, and its cells by the names that the reader asked for."""

    __slots__ = ("_cells", "_path", "line")

    def __init__(self, path: Path, line: int, cells: Mapping[str, str]) -> None:
        self.line = line
        self._path = path
        self._cells = cells

    def refused(self, rule: str) -> BadFile:
        """The refusal of this row."""
        return bad_file(self._path, self.line, rule)

    def text(self, name: str) -> str:
        """The cell without the blanks around it."""
        return self._cells[name]

    def number(self, name: str) -> Decimal:
        """The number as written: digits and a point. Another locale's number is refused with a hint."""
        text = self._cells[name]
        if _NUMBER.fullmatch(text):
            return Decimal(text)
        hint = ""
        if _GROUPED.fullmatch(text):
            hint = ": another locale's number? Give it as 1234.56, without thousands separators"
        raise self.refused(f"`{name}` must be a number, not {shown(text)}{hint}")

    def price(self, name: str) -> Decimal:
        """A price in points: above 0, below 10,000,000,000, half-even to the columns' 8 decimals."""
        number = self.number(name)
        # The bound first: an exponent of 99 would not fit the rounding.
        if not 0 < number < PRICE_LIMIT or not 0 < (price := rounded_price(number)) < PRICE_LIMIT:
            raise self.refused(f"`{name}` must be above 0 and below {PRICE_LIMIT:f}, not {shown(self._cells[name])}")
        return price

    def whole(self, name: str) -> int:
        """A whole number above 0 of at most nine digits, written as digits only."""
        text = self._cells[name]
        if not _WHOLE.fullmatch(text) or int(text) == 0:
            raise self.refused(f"`{name}` must be a whole number above 0, not {shown(text)}")
        return int(text)


def read_table(path: Path, columns: Mapping[str, re.Pattern[str]], *, most_rows: int | None = None) -> Iterator[Row]:
    """The rows below the header. `columns` tells, by our name for it, how each needed column may be headed.

    Other columns are ignored. Raises BadFile: a file that cannot be read or is empty, a column that is missing or
    there twice, a row of another length, a broken quote, more than `most_rows`.
    """
    rows = _cells(path)
    first = next(rows, None)
    if first is None:
        raise bad_file(path, 1, "the file is empty")
    line, header = first
    places = _places(path, line, header, columns)
    for count, (line, cells) in enumerate(rows, 1):
        if len(cells) != len(header):
            rule = f"{len(cells)} cells under {len(header)} columns: is a comma part of a number, or the line cut off?"
            raise bad_file(path, line, rule)
        if most_rows is not None and count > most_rows:
            raise bad_file(path, line, f"more than {most_rows} rows: split the file, a part at a time can be replayed")
        yield Row(path, line, {name: cells[place].strip() for name, place in places.items()})


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    for line, raw in byte_lines(path, longest=MAX_ROW_BYTES):
        try:
            # Each line for itself: a quote that never closes costs one line, not the file.
            yield line, next(csv.reader((raw.decode(),), strict=True))
        except UnicodeDecodeError as error:
            raise bad_file(path, line, f"not UTF-8 (byte {error.start + 1} of the line)") from None
        except csv.Error as error:
            raise bad_file(path, line, f"not CSV: {error}") from None


def _places(path: Path, line: int, header: list[str], columns: Mapping[str, re.Pattern[str]]) -> dict[str, int]:
    names = [name.strip() for name in header]
    found = {ours: [place for place, name in enumerate(names) if how.fullmatch(name)] for ours, how in columns.items()}
    missing = [f"`{ours}`" for ours, places in found.items() if not places]
    if missing:
        raise bad_file(path, line, f"no column {', '.join(missing)} in the header{_hint(header)}")
    for ours, places in found.items():
        if len(places) > 1:
            raise bad_file(path, line, f"{len(places)} columns are headed as `{ours}` may be")
    return {ours: places[0] for ours, places in found.items()}


def _hint(header: list[str]) -> str:
    start = header[0].lstrip()[:1]
    if start in ("{", "["):
        return ": this is JSON, not CSV"
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        return ": the cells must be divided by commas"
    return f": {shown(', '.join(header))}"
