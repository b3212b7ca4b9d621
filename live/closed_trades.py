"""Closed trades as risk of ruin draws from them: money earned and risked, of a portfolio, or of what `replay --csv` wrote."""

import csv
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

from msgspec import Struct

from core.db_state_manager import DatabaseStateManager
from core.models import Position
from core.postgres.rows import position_from_row
from live.replay.lines import bad_file, byte_lines

_PIECE = 1_000
_COLUMNS = ("state", "instrument", "net_pnl", "initial_risk")


class ClosedTrade(Struct, frozen=True, kw_only=True):
    """What a trade earned (net) and risked at its entry, money; `risk` None where it had no stop, or one beyond its entry."""

    instrument: str
    pnl: Decimal
    risk: Decimal | None


def closed_positions(manager: DatabaseStateManager) -> Iterator[Position]:
    """Every closed position of a portfolio, the newest first."""
    before: str | None = None
    while rows := manager.reads.positions(statuses=("closed",), instrument=None, limit=_PIECE, before=before):
        yield from map(position_from_row, rows)
        before = str(rows[-1]["position_id"])


def read_closed_trades(path: Path) -> list[ClosedTrade]:
    """The closed trades of a file that `replay --csv` wrote, in its order. Raises BadFile."""
    lines = list(byte_lines(path))
    try:
        texts = [line.decode() for _, line in lines]
    except UnicodeDecodeError as error:
        raise bad_file(path, None, f"not UTF-8: {error.reason}") from error
    rows = csv.DictReader(texts)
    if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
        raise bad_file(path, 1, f"no column {missing[0]}: give what `replay --csv` wrote")
    return list(_closed(path, zip(lines[1:], rows, strict=False)))


def _closed(path: Path, rows: Iterable[tuple[tuple[int, bytes], dict[str, str]]]) -> Iterator[ClosedTrade]:
    for (line, _), row in rows:
        if row["state"] == "closed":
            risk = _number(path, line, row, "initial_risk") if row["initial_risk"] else None
            yield ClosedTrade(
                instrument=row["instrument"].removeprefix("'"),
                pnl=_number(path, line, row, "net_pnl"),
                risk=risk if risk is not None and risk > 0 else None,
            )


def _number(path: Path, line: int, row: dict[str, str], name: str) -> Decimal:
    try:
        found = Decimal(row[name] or "")
    except (InvalidOperation, TypeError):
        found = Decimal("NaN")
    if not found.is_finite():
        raise bad_file(path, line, f"`{name}`: {row[name]!r} is no number")
    return found
