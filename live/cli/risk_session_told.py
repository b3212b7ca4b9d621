"""What the commands of `risk session` share: their options, their transactions, and how a session is told."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from getpass import getuser
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from core.errors import ConfigurationError
from live.cli.book_session import session_of
from live.cli.options import DatabaseChoice
from live.cli.output import Column, print_json, print_table, say, text

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from risk.modelling.keeping import Kept
    from risk.what_if.compare import Comparison, Difference

_OF_THE_RISK_LAB = ("numpy", "pandas", "scipy", "sklearn", "QuantLib", "threadpoolctl")
# A long journal is read to its end.
_LIMIT_SECONDS = 300.0
LARGEST_ID = 2**63 - 1
_WHOLE = ("portfolio", "factor", "scenario")
_Function = Callable[..., Any]

number_argument = click.argument("number", metavar="ID", type=click.IntRange(1, LARGEST_ID))
version_option = click.option(
    "--if-version", "version", type=click.IntRange(1), help="Only where nobody has changed it since this version."
)


def by_option(function: _Function) -> _Function:
    """--by."""
    return click.option("--by", default=_user, show_default="the user", help="Who does it, for the record.")(function)


def _user() -> str:
    try:
        return getuser()
    except (OSError, KeyError):
        return "somebody"


@contextmanager
def sessions_of(database: DatabaseChoice) -> Iterator["Session"]:
    """A transaction, once it is sure that there is what measures."""
    if missing := [library for library in _OF_THE_RISK_LAB if find_spec(library) is None]:
        raise ConfigurationError(
            f"{', '.join(missing)}: not installed: pip install --requirement requirements-risk.txt"
        )
    with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
        yield session


def tell(kept: "Kept", sentence: str, *, as_json: bool) -> None:
    """A session after something was done to it, with its measures before and after."""
    from risk.modelling.snapshots import summary

    impact = kept.impact
    if as_json:
        print_json({**told_of(kept), "impact": summary(impact)})
        return
    say(sentence)
    print_impact(impact)
    print_notes(kept)


def told_of(kept: "Kept") -> dict[str, Any]:
    """A session as JSON's own types, but for its positions."""
    own = kept.session
    return {
        "session_id": kept.number,
        "name": own.name,
        "description": own.description,
        "node": kept.node,
        "currency": own.base.base,
        "as_of": own.base.as_of,
        "status": own.status,
        "version": kept.version,
        "created_by": own.created_by,
        "created_at": own.created_at,
        "ended_by": own.ended_by,
        "ended_at": own.ended_at,
        "base_hash": own.base_hash,
        "batch_day": kept.inputs.batch_day,
        "changes": [_change(each) for each in own.changes],
        "notes": kept.inputs.notes,
    }


def _change(change: Any) -> dict[str, Any]:
    from risk.modelling.keeping import plain

    found: dict[str, Any] = plain(change)
    return found


def tell_ended(kept: "Kept", *, as_json: bool) -> None:
    """A session that has ended."""
    if as_json:
        print_json(told_of(kept))
    else:
        say(f"session {kept.number} is {kept.session.status}")


def print_impact(impact: "Comparison", *, every: bool = False, headings: Sequence[str] = ("before", "after")) -> None:
    """Measures before, after, and the difference: of the whole, by factor and scenario; with `every`, all of them."""
    rows = [row for row in impact.rows if every or row.by in _WHOLE]
    columns = [
        Column("measure", lambda row: row.measure.replace("_", " ")),
        Column("of", lambda row: row.label or ("" if row.by == "portfolio" else f"no {row.by}")),
        Column(headings[0], lambda row: amount(row.before), right=True),
        Column(headings[1], lambda row: amount(row.after), right=True),
        Column("difference", lambda row: amount(row.difference), right=True),
        Column("why not", _why),
    ]
    print_table(columns, rows, none="nothing is measured")


def _why(row: "Difference") -> str:
    return row.after_reason or row.before_reason or ""


def amount(value: float | None) -> str:
    """A figure, to as many places as it is large."""
    if value is None:
        return "-"
    return f"{value:,.2f}" if abs(value) >= 1 or not value else f"{value:.6g}"


def print_notes(kept: "Kept") -> None:
    """What was not known of positions when the session began, and why."""
    print_reasons(kept.inputs.notes)


def print_reasons(notes: Mapping[str, Sequence[str]]) -> None:
    """What is not known of what, and why; nothing where all is."""
    rows = [{"what": name, "why": why} for name, reasons in notes.items() for why in reasons]
    if rows:
        print_table([cell("not known of", "what"), cell("why", "why")], rows, none="")


def cell(heading: str, name: str) -> Column:
    """A column of what a row has by that name."""
    return Column(heading, lambda row: text(row.get(name)))


def count(things: Sequence[Any], name: str) -> str:
    """How many, in words."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
