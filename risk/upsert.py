"""Rows of a table by the hundred thousand, each once, by COPY.

Straight into the table where all of a batch are new and good, which costs little more than a bare COPY. Else into a temporary
table, from which those that are new are inserted, and the others told of with their lines.
"""

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
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from core.errors import DataRefused
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
        if self._all_are_new(rows):
            done.inserted += rows.num_rows
        else:
            self._sort_out(rows, done, replace=replace)

    def _all_are_new(self, rows: "pyarrow.Table") -> bool:
        """Whether the table took all of them; else it has none: the first that is not new or not good ends it."""
        table = table_of(self._model)
        trying = self._session.begin_nested()
        try:
            self._copied((str(table.schema), table.name), rows.drop(["line"]))
        except DataRefused:
            trying.rollback()
            return False
        trying.commit()
        return True

    def _sort_out(self, rows: "pyarrow.Table", done: Upserted, *, replace: bool) -> None:
        connection = self._session.connection()
        self._rows.create(connection)
        left = self._copied((self._rows.name,), rows)
        broken = self._broken()
        if broken:
            self._session.execute(delete(self._rows).where(self._rows.c.line.in_([each.line for each in broken])))
        inserted = self._inserted()
        known = left - len(broken) - inserted
        others = self._others(replace=replace) if known else []
        done.inserted += inserted
        done.same += known - len(others)
        done.problems += broken
        if replace:
            done.changed += len(others)
        else:
            done.problems += [Problem(line, "row: something else is known of the same") for line in others]
        self._rows.drop(connection)

    def _copied(self, table: Sequence[str], rows: "pyarrow.Table") -> int:
        raw = cast("Connection", self._session.connection().connection.driver_connection)
        return copy_csv_into(raw, table, rows.column_names, _as_csv(rows))

    def _broken(self) -> list[Problem]:
        """The rows that break a rule of the table, by the rules' own text: the database would tell of the first one only."""
        rules = [each for each in table_of(self._model).constraints if isinstance(each, CheckConstraint)]
        prefix = len(f"ck_{table_of(self._model).name}_")
        breaks: dict[str, ColumnElement[bool]] = {
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
        done = self._session.execute(self._adding().on_conflict_do_nothing(index_elements=self._key))
        return cast("CursorResult[Any]", done).rowcount

    def _others(self, *, replace: bool) -> list[int]:
        """The lines of which something else is there, which they take the place of where that is asked for. The index of the
        key finds what is the same, NULL or not; a join could not."""
        adding, kept = self._adding(), table_of(self._model).c
        changed = (
            {name: adding.excluded[name] for name in self._values()} if replace else {"created_at": kept.created_at}
        )
        adding = adding.on_conflict_do_update(
            index_elements=self._key,
            set_=changed,
            where=or_(*(kept[name].is_distinct_from(adding.excluded[name]) for name in self._values())),
        )
        others = adding.returning(*self._key).cte("others")
        same = and_(
            *(
                others.c[column.name].is_not_distinct_from(self._rows.c[column.name])
                if column.nullable
                else others.c[column.name] == self._rows.c[column.name]
                for column in self._key
            )
        )
        return list(self._session.scalars(select(self._rows.c.line).join(others, same).order_by(self._rows.c.line)))

    def _adding(self) -> Insert:
        return insert(self._model).from_select(self._names, select(*(self._rows.c[name] for name in self._names)))

    def _values(self) -> Sequence[str]:
        key = {column.name for column in self._key}
        return [name for name in self._names if name not in key]


def _sentence(name: str) -> str:
    if name.endswith(" is missing"):
        return f"`{name.removesuffix(' is missing')}`: is missing"
    return f"`{name}`: is refused by the rule ck_..._{name}"


def _as_csv(rows: "pyarrow.Table") -> io.BytesIO:
    import pyarrow as arrow
    import pyarrow.compute as compute
    from pyarrow import csv

    for place, column in enumerate(rows.schema):
        if arrow.types.is_timestamp(column.type):
            # Times with a zone are written fifteen times slower than those without one.
            told = rows[place].cast(arrow.timestamp("us")).cast(arrow.string())
            rows = rows.set_column(place, column.name, compute.binary_join_element_wise(told, "Z", ""))
    written = io.BytesIO()
    csv.write_csv(rows, written, csv.WriteOptions(include_header=False, quoting_style="needed"))
    written.seek(0)
    return written
