"""What commands print: tables for people, JSON for programs. Colours only on a terminal."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH = 400  # a row is one line, in a pipe and on a narrow terminal: folded columns cannot be read
_BETWEEN_COLUMNS = 3  # of SIMPLE_HEAD with its padding; one more behind the last
_LEAST_MONEY_DECIMALS = 2
_COLOURS = {
    "executed": "green",
    "accepted": "green",
    "queued": "cyan",
    "duplicate": "cyan",
    "filled": "green",
    "blocked": "yellow",
    "rejected": "yellow",
    "cancelled": "yellow",
    "in_doubt": "red",
    "failed": "red",
    "not taken": "red",
    "halted": "red",
    "ok": "green",
    "warning": "yellow",
    "skipped": "cyan",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, and the text of its cell for a row."""

    heading: str
    cell: Callable[[Any], str]
    right: bool = False


# --- JSON


def print_json(value: Any) -> None:
    """One JSON document on one line: decimals as plain strings, times ISO 8601 UTC."""
    click.echo(json.dumps(jsonable(value)))


def jsonable(value: Any) -> Any:
    """The value as JSON's own types, in the HTTP API's forms."""
    match value:
        case Decimal():
            return _decimal_text(value)
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
        case date():
            return value.isoformat()
        case Mapping():
            return {str(name): jsonable(member) for name, member in value.items()}
        case str():
            return str(value)
        case Sequence():
            return [jsonable(member) for member in value]
        case _ if hasattr(value, "__struct_fields__"):
            return {name: jsonable(getattr(value, name)) for name in value.__struct_fields__}
        case _:
            return value


def _decimal_text(value: Decimal) -> str:
    text = f"{value.copy_abs() if value.is_zero() else value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# --- text


def say(text: str) -> None:
    """One line on stdout."""
    click.echo(printable(text))


def note(text: str) -> None:
    """One line on stderr."""
    click.echo(printable(text), err=True)


def print_table(columns: Sequence[Column], rows: Iterable[Any], *, none: str, widest: int | None = None) -> None:
    """Rows as a table, or the sentence `none`. With `widest` the last column is cut so that no line is longer."""
    found = list(rows)
    if found:
        console().print(table_of(columns, found, widest=widest))
    else:
        say(none)


def table_of(
    columns: Sequence[Column], rows: Sequence[Any], *, widest: int | None = None, fits: bool = False
) -> "Table":
    """Rows as a table. With `widest` the last column is cut so that no line is longer; where it `fits` the terminal, texts are,
    and numbers stay whole: a row is one line there too."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(
            column.heading,
            justify="right" if column.right else "left",
            overflow="ellipsis" if fits else "fold",
            no_wrap=fits and column.right,
        )
    lines = [[printable(column.cell(row)) for column in columns] for row in rows]
    if widest is not None:
        _cut_last(columns, lines, widest)
    for cells in lines:
        table.add_row(*(Text(cell, style=colour_of(cell), no_wrap=fits) for cell in cells))
    return table


def colour_of(value: str) -> str:
    """The style of a cell: a word that says whether all is well is seen from afar."""
    return _COLOURS.get(value, "")


def _cut_last(columns: Sequence[Column], lines: Sequence[list[str]], widest: int) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    headings = [column.heading for column in columns]
    taken = sum(max(map(cell_len, cells)) + _BETWEEN_COLUMNS for cells in list(zip(headings, *lines, strict=True))[:-1])
    room = max(cell_len(headings[-1]), widest - taken - 1)
    for cells in lines:
        cut = Text(cells[-1])
        cut.truncate(room, overflow="ellipsis")
        cells[-1] = cut.plain


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one pair a line."""
    from rich.text import Text

    shown, width = console(), max(map(len, facts), default=0)
    for name, value in facts.items():
        shown.print(Text.assemble((name.ljust(width), "bold"), "  ", (printable(value), colour_of(value))))


def printable(text: str) -> str:
    """The text without what moves a cursor or rings a bell: alerts are written by others."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def console(*, as_wide_as_the_terminal: bool = False) -> "Console":
    """Where rich prints: what others wrote is no markup of ours. A row is one line there, unless it is to fit the terminal."""
    from rich.console import Console

    return Console(width=None if as_wide_as_the_terminal else _WIDTH, markup=False, highlight=False, emoji=False)


# --- cells


def money(value: Decimal | None) -> str:
    """Money with thousands separators and two to four decimals."""
    if value is None:
        return ""
    whole, _, decimals = f"{value:,.4f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(_LEAST_MONEY_DECIMALS, '0')}"


def number(value: Decimal | int | None) -> str:
    """A price, percentage or count with thousands separators, without surplus zeros."""
    if value is None:
        return ""
    text = f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def time(value: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "" if value is None else value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def text(value: Any) -> str:
    """Anything else; nothing for None."""
    return "" if value is None else str(value)
