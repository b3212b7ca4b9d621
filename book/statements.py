"""The book's statements by name, from the .sql files beside this module."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from core.postgres.statements import statements_in

_FOLDER = Path(__file__).parent / "sql"


@cache
def statements() -> dict[str, str]:
    """Every one of them, with psycopg2's named parameters."""
    return statements_in(_FOLDER)


def rows_of(session: Session, name: str, **parameters: Any) -> Sequence[RowMapping]:
    """What the statement of that name gives, in the caller's transaction."""
    return session.connection().exec_driver_sql(statements()[name], parameters).mappings().all()
