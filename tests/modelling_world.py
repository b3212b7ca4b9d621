"""A book to ask what if of, and the functions that do, each in a transaction of its own."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from book.database import transaction
from book.day_ends import DayEnds
from book.projection import Projector
from live.contracts_file import load_calendar
from risk.modelling import exports, keeping, snapshots
from risk.modelling.clone import Clone, cloned
from risk.what_if.changes import Change
from tests.builders import minutes
from tests.queries import rows
from tests.risk_world import AFTER

CALENDAR = load_calendar()
END = datetime(2026, 1, 15, tzinfo=UTC)
FUND, DESK = 1, 2
NAMES = ("position/1", "position/2", "position/3")


def clone(engine: Engine, node: int = FUND, at: datetime = END) -> Clone:
    with transaction(engine) as session:
        return cloned(session, node, at, keeping.given_at(at, CALENDAR))


def begun(engine: Engine, node: int = FUND, **others: Any) -> keeping.Kept:
    given = {"name": "Less metal", "at": END, "by": "ada", "now": AFTER, "calendar": CALENDAR}
    with transaction(engine) as session:
        return keeping.begin(session, node=node, **{**given, **others})


def changed(engine: Engine, number: int, *changes: Change, by: str = "bob", **others: Any) -> keeping.Kept:
    for change in changes:
        with transaction(engine) as session:
            found = keeping.change(session, number, change, by=by, now=AFTER, **others)
    return found


def taken(engine: Engine, number: int, at: datetime = AFTER) -> snapshots.KeptSnapshot:
    with transaction(engine) as session:
        return snapshots.snapshot(session, number, by="ada", now=at)


def exported(engine: Engine, snapshot: int, kind: str, form: str, name: str = "a.file") -> exports.Exported:
    asked = exports.Export(snapshot=snapshot, kind=kind, format=form, file_name=name, by="ada", at=AFTER)
    with transaction(engine) as session:
        return exports.export(session, asked)


def synced(engine: Engine) -> None:
    Projector(engine, "main", DayEnds(CALENDAR, 300), clock=lambda: minutes(120)).sync()


def everything_else(dsn: str) -> dict[str, str]:
    """A hash of all rows of every table but the sessions' own."""
    tables = rows(
        dsn,
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        " AND table_schema IN ('public', 'book', 'risk') AND table_name NOT LIKE 'modeling_session%'"
        " AND (table_schema, table_name) <> ('risk', 'export_history') ORDER BY 1",
    )
    asked = "SELECT md5(coalesce(string_agg(t::TEXT, '|' ORDER BY t::TEXT), '')) FROM {0} AS t"
    return {table: rows(dsn, asked.format(table))[0][0] for (table,) in tables}
