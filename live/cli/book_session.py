"""What the commands of `book` share: a session with the book's database, days, and how a change is told."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click

from live.cli.options import DatabaseChoice
from live.cli.output import print_json, say

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class Day(click.ParamType[date]):
    """A day as ISO 8601."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The day."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} must be like 2026-01-14", param, ctx)


as_of_option = click.option("--as-of", type=Day(), help="At the end of this day (UTC); without it, now.")


@contextmanager
def session_of(database: DatabaseChoice, *, limit_seconds: float | None = None) -> Iterator["Session"]:
    """A transaction in the book of that database, of so many seconds at most."""
    from book.database import IDLE_SECONDS, LIMIT_SECONDS, engine_of, transaction

    # What takes so long is not always heard of, either.
    idle_seconds = IDLE_SECONDS if limit_seconds is None else int(limit_seconds)
    with database.dsn(create=False) as dsn:
        engine = engine_of(dsn, idle_seconds=idle_seconds)
        try:
            with transaction(engine, limit_seconds=limit_seconds or LIMIT_SECONDS) as session:
                yield session
        finally:
            engine.dispose()


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


def tell(told: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    """What is so now, and whether it was before."""
    if as_json:
        print_json(told)
    else:
        say(sentence if told["changed"] else f"{sentence} (as before)")
