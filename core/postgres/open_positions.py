"""The open positions by the ten thousands: COPY's CSV is JSON but for its brackets, and is decoded while the server sends on."""

import re
from contextlib import nullcontext
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec
from psycopg2.extensions import cursor as Cursor

from core.models import MONEY_COLUMN, POSITION_MONEY, POSITION_PRICES, PRICE_COLUMN, Position, exact_columns
from core.postgres.connections import Connection
from core.postgres.errors import translated
from core.postgres.statements import statement

# So many rows are about what the socket holds: the server goes on while they are decoded.
ROWS_AT_ONCE = 256
_TYPES: dict[str, Any] = get_type_hints(Position)
# A Position's fields in their order, as an array of JSON; a Position itself is written as an object.
_Row = msgspec.defstruct(
    "_Row",
    [(name, _TYPES[name]) for name in Position.__struct_fields__],
    array_like=True,
    forbid_unknown_fields=True,
    gc=False,
)
_decoded = msgspec.json.Decoder(list[_Row]).decode  # type: ignore[valid-type]
_CONTROL = re.compile(rb"[\x00-\x1f]")
_COLUMNS = dict.fromkeys(POSITION_PRICES, PRICE_COLUMN) | dict.fromkeys(POSITION_MONEY, MONEY_COLUMN)


def copied_positions(connection: Connection) -> list[Position]:
    """Every position with lots left, by its id, as one statement sees them. Raises ValueError for a row that is no position,
    and what the database raises, as ours."""
    with translated(), connection.cursor() as cursor:
        proved = exact_columns() if _are_exact(cursor) else nullcontext()
        received = _Received()
        with proved:
            cursor.copy_expert(_copy_statement(), received)
            return received.all()


class _Received:
    """What COPY writes to: a row a call."""

    def __init__(self) -> None:
        self._rows: list[bytes] = []
        self._positions: list[Position] = []
        self._failure: Exception | None = None

    def write(self, row: bytes) -> None:
        """Take one row. What was raised here would leave the connection within the COPY: it is kept for the end."""
        self._rows.append(row)
        if len(self._rows) == ROWS_AT_ONCE:
            self._decode()

    def all(self) -> list[Position]:
        """What was received. Raises ValueError."""
        self._decode()
        if self._failure is not None:
            raise ValueError(f"a row of portfolio_positions is no position: {self._failure}") from self._failure
        return self._positions

    def _decode(self) -> None:
        rows, self._rows = self._rows, []
        try:
            self._positions += _positions(rows)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._failure = self._failure or error


def _positions(rows: list[bytes]) -> list[Position]:
    try:
        decoded = _decoded(_array_of(rows))
    except msgspec.DecodeError:
        # A text with a line's end in it, say: CSV leaves in place what JSON escapes.
        decoded = _decoded(_array_of([_CONTROL.sub(_escaped, row.rstrip(b"\n")) for row in rows]))
    return msgspec.convert(decoded, list[Position], from_attributes=True)


def _array_of(rows: list[bytes]) -> bytes:
    return b"[[" + b"],[".join(rows) + b"]]" if rows else b"[]"


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % found[0][0]


def _are_exact(cursor: Cursor) -> bool:
    """Whether the columns are of the types that numbers are checked by, and times are in UTC; else each value is checked.

    NaN, which every NUMERIC may hold, is written without quotes, and is no JSON.
    """
    cursor.execute(f"SELECT * FROM ({statement('load_positions')}) AS positions LIMIT 0")  # noqa: S608 - our own statement
    if cursor.connection.info.parameter_status("TimeZone") != "UTC":
        return False
    found = {column.name: (column.precision, column.scale) for column in cursor.description or ()}
    return all(found.get(name) == (numeric.digits, numeric.scale) for name, numeric in _COLUMNS.items())


@cache
def _copy_statement() -> str:
    columns = ", ".join(_as_json(name, _members(_TYPES[name])) for name in Position.__struct_fields__)
    texts = [name for name in Position.__struct_fields__ if not _members(_TYPES[name]) & {Decimal, int, bool}]
    return (
        f"COPY (SELECT {columns} FROM ({statement('load_positions')}) AS positions) TO STDOUT "  # noqa: S608 - our own
        f"(FORMAT csv, DELIMITER ',', QUOTE '\"', ESCAPE '\\', NULL 'null', FORCE_QUOTE ({', '.join(texts)}))"
    )


def _members(hint: Any) -> set[Any]:
    return set(get_args(hint)) or {hint}


def _as_json(name: str, types: set[Any]) -> str:
    if datetime in types:
        # The session is in UTC: PostgreSQL writes +00, JSON +00:00.
        return f"{name} || ':00' AS {name}"
    return f"{name}::TEXT AS {name}" if bool in types else name
