"""A file of quotes for the paper broker: CSV with a header, columns time, symbol, price; times ISO 8601 with an offset."""

import csv
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from msgspec import Struct

from core.errors import ConfigurationError

_COLUMNS = ("time", "symbol", "price")


class FileQuote(Struct, frozen=True, kw_only=True):
    """A line of the file."""

    at: datetime
    symbol: str
    price: Decimal


def read_quotes(file: Path) -> list[FileQuote]:
    """All quotes of a file, by time; of equal times in the file's order. Raises ConfigurationError, naming the line."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            missing = [column for column in _COLUMNS if column not in (rows.fieldnames or ())]
            if missing:
                raise ConfigurationError(f"{file}: column {missing[0]} is missing; it has {', '.join(_COLUMNS)}")
            return sorted((_quote(row, f"{file}, line {rows.line_num}") for row in rows), key=lambda quote: quote.at)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{file}: the quotes cannot be read: {error}") from error


def _quote(row: dict[str, str | None], place: str) -> FileQuote:
    try:
        at = datetime.fromisoformat(row["time"] or "")
        price = Decimal(row["price"] or "")
    except (ValueError, InvalidOperation) as error:
        raise ConfigurationError(f"{place}: time must be ISO 8601 and price a number") from error
    if at.tzinfo is None:
        raise ConfigurationError(f"{place}: time must have an offset, such as 2026-01-14T11:45:00+05:30")
    if not price.is_finite() or price <= 0 or not row["symbol"]:
        raise ConfigurationError(f"{place}: a quote has a symbol and a positive price")
    return FileQuote(at=at.astimezone(UTC), symbol=row["symbol"], price=price)
