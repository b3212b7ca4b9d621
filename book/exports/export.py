"""An export: rows of the book in a format, and the record of it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from book.base import Base
from book.executions import Execution
from book.exports.files import CannotExport, Row, as_rows, written
from book.exports.fix import execution_reports
from book.journal_reading import executions_in
from book.models import (
    ExportHistory,
    Instrument,
    PortfolioNode,
    PortfolioPosition,
    Position,
    PositionPnLHistory,
    TradeProposal,
)
from book.tax_lots import TaxLot, tax_lots

FORMATS = ("csv", "json", "parquet", "fix")
_SENDER = "BOOK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is asked for. `portfolio`: of that one of the engine's (needed for `executions` and `tax_lots`); `begins` and `ends`:
    days, both of them in it; `at` is aware."""

    content: str
    format: str
    at: datetime
    by: str | None = None
    portfolio: str | None = None
    begins: date | None = None
    ends: date | None = None
    target: str = "CLIENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The file, and the number of its record."""

    export_id: int
    rows: int
    content_hash: str
    file: bytes


def export(session: Session, asked: Export) -> Exported:
    """The rows that are asked for, and their record, in the caller's transaction. Raises CannotExport."""
    if asked.content not in CONTENTS:
        raise CannotExport(f"{asked.content}: one of {', '.join(CONTENTS)}")
    if asked.format not in FORMATS:
        raise CannotExport(f"{asked.format}: one of {', '.join(FORMATS)}")
    if asked.format == "fix":
        if asked.content != "executions":
            raise CannotExport("FIX tells of executions, and of nothing else here")
        found = _executions(session, asked)
        count, file = len(found), execution_reports(found, sender=_SENDER, target=asked.target, at=asked.at)
    else:
        rows, columns = CONTENTS[asked.content](session, asked)
        count, file = len(rows), written(rows, columns, asked.format)
    record = ExportHistory(
        content=asked.content,
        format=asked.format,
        portfolio=asked.portfolio,
        parameters_json={
            name: None if (day := getattr(asked, name)) is None else day.isoformat() for name in ("begins", "ends")
        },
        rows_total=count,
        content_hash=hashlib.sha256(file).hexdigest(),
        exported_by=asked.by,
        exported_at=asked.at,
    )
    session.add(record)
    session.flush()
    return Exported(export_id=record.export_id, rows=count, content_hash=record.content_hash, file=file)


def _journal(session: Session, portfolio: str | None) -> list[Execution]:
    if portfolio is None:
        raise CannotExport("`portfolio`: executions are told of one portfolio, by its name")
    return executions_in(session, portfolio)


def _within(asked: Export, time: datetime) -> bool:
    day = time.date()
    return (asked.begins is None or asked.begins <= day) and (asked.ends is None or day <= asked.ends)


def _executions(session: Session, asked: Export) -> list[Execution]:
    return [one for one in _journal(session, asked.portfolio) if _within(asked, one.time)]


def _execution_rows(session: Session, asked: Export) -> tuple[Sequence[Row], Sequence[str]]:
    return as_rows(_executions(session, asked)), [field.name for field in fields(Execution)]


def _tax_lot_rows(session: Session, asked: Export) -> tuple[Sequence[Row], Sequence[str]]:
    closed, _ = tax_lots(_journal(session, asked.portfolio))
    own = [lot for lot in closed if _within(asked, lot.closed_at)]
    more = ("net_gain", "days_held")
    return as_rows(own, *more), [*(field.name for field in fields(TaxLot)), *more]


def _rows_of(
    model: type[Base], day: str | None, portfolio: str | None
) -> Callable[[Session, Export], tuple[Sequence[Row], Sequence[str]]]:
    """All columns of a table, the oldest first; `day` and `portfolio` are the columns that are asked for by."""

    def rows(session: Session, asked: Export) -> tuple[Sequence[Row], Sequence[str]]:
        table = model.__table__
        assert isinstance(table, Table)  # noqa: S101 - each model is of a table of its own
        query = select(table).order_by(*table.primary_key.columns)
        if portfolio is not None and asked.portfolio is not None:
            query = query.where(table.c[portfolio] == asked.portfolio)
        found = [dict(row._mapping) for row in session.execute(query)]  # noqa: SLF001 - SQLAlchemy's own name for it
        own = [row for row in found if day is None or _within(asked, _as_time(row[day]))]
        return own, [column.name for column in table.columns]

    return rows


def _as_time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a day


def _holdings(session: Session, _asked: Export) -> tuple[Sequence[Row], Sequence[str]]:
    found = session.execute(
        select(
            PortfolioNode.name.label("node"),
            Instrument.symbol.label("instrument"),
            Position.quantity,
            Position.average_price,
            Position.base_ccy.label("currency"),
            Position.status,
        )
        .join(PortfolioNode, PortfolioNode.portfolio_node_id == Position.portfolio_node_id)
        .join(Instrument, Instrument.instrument_id == Position.instrument_id)
        .order_by(PortfolioNode.name, Instrument.symbol, Position.position_id)
    )
    return [dict(row._mapping) for row in found], list(found.keys())  # noqa: SLF001 - as above


CONTENTS: dict[str, Callable[[Session, Export], tuple[Sequence[Row], Sequence[str]]]] = {
    "positions": _rows_of(PortfolioPosition, "entry_timestamp", "portfolio"),
    "holdings": _holdings,
    "proposals": _rows_of(TradeProposal, "proposed_at", "portfolio"),
    "pnl": _rows_of(PositionPnLHistory, "snapshot_date", None),
    "executions": _execution_rows,
    "tax_lots": _tax_lot_rows,
}
