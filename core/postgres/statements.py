"""Statements by name, from the .sql files beside this module."""

import re
from functools import cache
from pathlib import Path

_HEADER = re.compile(r"^-- name: (?P<name>[a-z_]+)\n", re.MULTILINE)
_FOLDER = Path(__file__).parent / "sql"
_PARAMETER = re.compile(r"%\((?P<name>[a-z_]+)\)s")
_EACH_LINE = re.MULTILINE | re.DOTALL


@cache
def statements() -> dict[str, str]:
    """Every named statement of ours, by its name."""
    return statements_in(_FOLDER)


def statements_in(folder: Path) -> dict[str, str]:
    """Every named statement of a folder's .sql files, by its name. Raises ValueError for a name that is there twice."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.sql")):
        parts = _HEADER.split(file.read_text(encoding="utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"{file.name}: the statement {name} exists twice")
            found[name] = text.strip().rstrip(";")
    return found


def statement(name: str) -> str:
    """The statement called `name`, with psycopg2's named parameters."""
    return statements()[name]


@cache
def parameters_of(name: str) -> tuple[str, ...]:
    """The parameters of a statement in the order of their first use."""
    return tuple(dict.fromkeys(_PARAMETER.findall(statement(name))))


@cache
def prepared(name: str, types: str, *, called: str = "", without: tuple[str, ...] = ()) -> str:
    """The PREPARE of a statement whose one parameter is of `types`, under its own name or another one. Its parts (common table
    expressions) `without` do and find nothing. Raises ValueError for one that it does not have."""
    (only,) = parameters_of(name)
    text = statement(name).replace(f"%({only})s", "$1").replace("%%", "%")
    for part in without:
        text, found = re.subn(rf"^{part} AS \(\n.*?^\)", f"{part} AS (SELECT WHERE FALSE)", text, flags=_EACH_LINE)
        if found != 1:
            raise ValueError(f"the statement {name} has no part {part}")
    return f"PREPARE {called or name} ({types}) AS {text}"
