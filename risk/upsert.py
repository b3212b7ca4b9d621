"""Rows of a table by the hundred thousand, each once: by COPY into a temporary table, looked at there, then inserted."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    and_,
    case,
    delete,
    func,
    literal_column,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from core.postgres.connections import Connection
from core.postgres.copying import copy_csv_into
from risk.base import Base

if TYPE_CHECKING:
    import pyarrow

# A statement's time is bounded: so many rows any machine manages in it, and the temporary table stays in memory.
BATCH_ROWS = 100_000
_FILLED_BY_ITSELF = ("id", "created_at")
_numbers = itertools.count()


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong with a row: the line as its file counts, and why it is not taken."""

    line: int
    reason: str


@dataclass(slots=True)
class Upserted:
    """What became of rows: new, there already with the same values, changed; and those that were refused, with their lines."""

    inserted: int = 0
    same: int = 0
    changed: int = 0
    problems: list[Problem] = field(default_factory=list)


def natural_key(model: type[Base]) -> list[Column[Any]]:
    """The columns that say which row it is, whatever it says."""
    (key,) = (each for each in table_of(model).constraints if isinstance(each, UniqueConstraint))
    return list(key.columns)


def columns_of(model: type[Base]) -> list[Column[Any]]:
    """The columns that a row is told by: all but those that fill themselves."""
    return [column for column in table_of(model).c if column.name not in _FILLED_BY_ITSELF]


def table_of(model: type[Base]) -> Table:
    """The model's table."""
    return cast("Table", model.__table__)


def upsert(session: Session, model: type[Base], rows: "pyarrow.Table", *, replace: bool = False) -> Upserted:
    """Insert rows, which have all of `columns_of` and `line`, in the caller's transaction. What is there stays as it is: a row
    that says something else of the same is a problem, or takes its place where `replace` asks for it.

    A row that breaks a rule of the table is a problem, too. No two of the rows may be of the same.
    """
    done = Upserted()
    for begin in range(0, rows.num_rows, BATCH_ROWS):
        _Batch(session, model).take(rows.slice(begin, BATCH_ROWS), done, replace=replace)
    return done


class _Batch:
    """Rows in a temporary table of the model's types, in which nothing is checked yet."""

    def __init__(self, session: Session, model: type[Base]) -> None:
        self._session = session
        self._model = model
        self._names = [column.name for column in columns_of(model)]
        self._key = natural_key(model)
        columns = (Column(column.name, column.type) for column in columns_of(model))
        self._rows = Table(
            f"incoming_{table_of(model).name}_{next(_numbers)}",
            MetaData(),
            Column("line", Integer),
            *columns,
            prefixes=["TEMPORARY"],
            postgresql_on_commit="DROP",
        )

    def take(self, rows: "pyarrow.Table", done: Upserted, *, replace: bool) -> None:
        """Bring the rows into the model's table, and note what became of them."""
        connection = self._session.connection()
        self._rows.create(connection)
        raw = cast("Connection", connection.connection.driver_connection)
        left = copy_csv_into(raw, self._rows.name, rows.column_names, _as_csv(rows))
        broken = self._broken()
        if broken:
            self._execute(delete(self._rows).where(self._rows.c.line.in_([each.line for each in broken])))
        inserted = self._inserted()
        known = left - len(broken) - inserted
        others = self._differing() if known else []
        done.inserted += inserted
        done.same += known - len(others)
        done.problems += broken
        if replace and others:
            done.changed += self._replaced()
        else:
            done.problems += others
        self._rows.drop(connection)

    def _broken(self) -> list[Problem]:
        """The rows that break a rule of the table, found by the rules' own text: the database would tell of the first one only."""
        rules = [each for each in table_of(self._model).constraints if isinstance(each, CheckConstraint)]
        prefix = len(f"ck_{table_of(self._model).name}_")
        breaks = {
            str(rule.name)[prefix:]: not_(func.coalesce(literal_column(f"({rule.sqltext})"), True))
            for rule in sorted(rules, key=lambda each: str(each.name))
        }
        missing = {
            f"{column.name} is missing": self._rows.c[column.name].is_(None)
            for column in columns_of(self._model)
            if not column.nullable
        }
        reasons = missing | breaks
        which = case(*((broken, name) for name, broken in reasons.items()))
        asked = select(self._rows.c.line, which).where(or_(*reasons.values())).order_by(self._rows.c.line)
        return [Problem(line, _sentence(name)) for line, name in self._session.execute(asked)]

    def _inserted(self) -> int:
        told = select(*(self._rows.c[name] for name in self._names))
        adding = insert(self._model).from_select(self._names, told)
        return self._execute(adding.on_conflict_do_nothing(index_elements=self._key))

    def _differing(self) -> list[Problem]:
        """The rows of which something else is there."""
        asked = select(self._rows.c.line).where(self._is_of_the_same(), self._says_otherwise())
        return [
            Problem(line, "row: something else is known of the same")
            for line in self._session.scalars(asked.order_by(self._rows.c.line))
        ]

    def _replaced(self) -> int:
        values = {name: self._rows.c[name] for name in self._values()}
        return self._execute(
            update(self._model)
            .values(values)
            .where(self._is_of_the_same(), self._says_otherwise())
            .execution_options(synchronize_session=False)
        )

    def _is_of_the_same(self) -> ColumnElement[bool]:
        # Equality where a key has no NULL: only that is found by an index.
        return and_(
            *(
                column.is_not_distinct_from(self._rows.c[column.name])
                if column.nullable
                else column == self._rows.c[column.name]
                for column in self._key
            )
        )

    def _says_otherwise(self) -> ColumnElement[bool]:
        kept = table_of(self._model).c
        return or_(*(kept[name].is_distinct_from(self._rows.c[name]) for name in self._values()))

    def _values(self) -> Sequence[str]:
        key = {column.name for column in self._key}
        return [name for name in self._names if name not in key]

    def _execute(self, statement: Any) -> int:
        return cast("CursorResult[Any]", self._session.execute(statement)).rowcount


def _sentence(name: str) -> str:
    if name.endswith(" is missing"):
        return f"`{name.removesuffix(' is missing')}`: is missing"
    return f"`{name}`: is refused by the rule ck_..._{name}"


def _as_csv(rows: "pyarrow.Table") -> io.BytesIO:
    from pyarrow import csv

    written = io.BytesIO()
    csv.write_csv(rows, written, csv.WriteOptions(include_header=False, quoting_style="needed"))
    written.seek(0)
    return written
