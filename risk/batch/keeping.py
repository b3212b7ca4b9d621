"""What steps write: their rows of a day in place of those that were there, and positions' reasons by aspect."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from core.postgres.connections import Connection
from core.postgres.copying import copy_csv_into
from risk.base import Base
from risk.daily import PositionRisk
from risk.upsert import table_of


def keep(session: Session, model: type[Base], day: date, rows: Sequence[Mapping[str, Any]]) -> int:
    """These rows of a model with a `calculation_date`, in place of all that it has of that day; how many."""
    session.execute(delete(model).where(table_of(model).c.calculation_date == day))
    if rows and any(isinstance(column.type, JSONB) for column in table_of(model).c):
        session.execute(insert(model), [{"calculation_date": day, **row} for row in rows])
    elif rows:
        _copy(session, model, day, rows)
    return len(rows)


def _copy(session: Session, model: type[Base], day: date, rows: Sequence[Mapping[str, Any]]) -> None:
    """By COPY: a thousand instruments have half a million pairs. A float's text is the float."""
    names = list(rows[0])
    written = io.StringIO(newline="")
    csv.writer(written).writerows([day, *(row[name] for name in names)] for row in rows)
    raw = cast("Connection", session.connection().connection.driver_connection)
    table = table_of(model)
    copy_csv_into(
        raw, (str(table.schema), table.name), ["calculation_date", *names], io.BytesIO(written.getvalue().encode())
    )


def positions_of(session: Session, day: date) -> list[PositionRisk]:
    """A day's positions, in the order of their names."""
    asked = select(PositionRisk).where(PositionRisk.calculation_date == day).order_by(PositionRisk.position)
    return list(session.scalars(asked))


def say(position: PositionRisk, aspect: str, reason: str | None) -> None:
    """Why something of a position is not known; None: it is."""
    others = {name: told for name, told in position.reasons.items() if name != aspect}
    position.reasons = others if reason is None else {**others, aspect: reason}
