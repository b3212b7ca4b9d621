"""`risk session`: what if the book were another? Begun on a copy of it, told, ended, proved to have touched nothing."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from live.cli.book_session import session_of
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, note, print_facts, print_json, print_table, say
from live.cli.output import time as shown_time
from live.cli.risk_options import Instant, now
from live.cli.risk_session_told import (
    LARGEST_ID,
    amount,
    by_option,
    cell,
    count,
    number_argument,
    print_impact,
    print_notes,
    sessions_of,
    tell,
    tell_ended,
    told_of,
    version_option,
)

if TYPE_CHECKING:
    from risk.modelling.keeping import Kept


@click.group("session", short_help="What if: begin, add, resize, shock, compare, export.")
def session() -> None:
    """What if the book were another? A session begins on a copy of what a node holds, changes the copy, and tells every measure
    before and after. No row that is traded is written.

    \b
    Examples:
      python portfolio_manager.py risk session begin --node 1 --name "Less metal"
      python portfolio_manager.py risk session resize 1 position/2 5
      python portfolio_manager.py risk session show 1
    """


@click.command("begin", short_help="Begin on a copy of what a node holds.")
@click.option("--node", type=click.IntRange(1, LARGEST_ID), required=True, help="This node with all below it.")
@click.option("--name", required=True, help="What the session is called.")
@click.option("--description", default="", help="What it is for.")
@click.option("--as-of", type=Instant(), help="As it was held then; a day: at its end, in UTC. Without it, now.")
@by_option
@database_options
@json_option
def begin(
    *,
    node: int,
    name: str,
    description: str,
    as_of: datetime | None,
    by: str,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Begin a session on a copy of what NODE and all below it hold, in the node's currency, measured by the last batch.

    \b
    Example:
      python portfolio_manager.py risk session begin --node 1 --as-of 2026-01-14 --name "Less metal"
    """
    from live.contracts_file import load_calendar

    with sessions_of(database) as transaction:
        from risk.modelling import keeping

        at = now()
        kept = keeping.begin(
            transaction,
            name=name,
            node=node,
            at=as_of or at,
            by=by,
            now=at,
            calendar=load_calendar(),
            description=description,
        )
    tell(kept, f"session {kept.number}: {count(kept.session.base.held, 'position')} of node {node}", as_json=as_json)


@click.command("list", short_help="Which sessions there are.")
@click.option("--status", type=click.Choice(("active", "completed", "cancelled")), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--before", type=click.IntRange(1, LARGEST_ID), help="Only those below this number.")
@database_options
@json_option
def list_sessions(
    *, status: str | None, limit: int, before: int | None, database: DatabaseChoice, as_json: bool
) -> None:
    """List sessions, the newest first.

    \b
    Example:
      python portfolio_manager.py risk session list --status active
    """
    from risk.modelling.listing import sessions

    with session_of(database) as transaction:
        found = sessions(transaction, status=status, limit=limit, before=before)
    if as_json:
        print_json({"sessions": found, "next": found[-1]["session_id"] if len(found) == limit else None})
        return
    columns = [
        *(cell(heading, name) for heading, name in (("session", "session_id"), ("name", "name"))),
        cell("node", "portfolio_node_id"),
        Column("as of", lambda row: shown_time(row["base_as_of"])),
        *(cell(name, name) for name in ("status", "changes", "version")),
        cell("by", "created_by"),
        Column("changed", lambda row: shown_time(row["updated_at"])),
    ]
    print_table(columns, found, none="there is no session: `risk session begin --node 1 --name NAME` begins one")


@click.command("show", short_help="A session: changes, positions, before and after.")
@number_argument
@click.option("--all", "every", is_flag=True, help="Every measure, by position, node, instrument and so on, too.")
@database_options
@json_option
def show(*, number: int, every: bool, database: DatabaseChoice, as_json: bool) -> None:
    """Show session ID: its changes, the positions that they make, its snapshots, and its measures before and after.

    \b
    Example:
      python portfolio_manager.py risk session show 1 --all
    """
    with sessions_of(database) as transaction:
        from risk.modelling import keeping, listing

        kept, taken = keeping.kept(transaction, number), listing.snapshots(transaction, number)
    if as_json:
        positions = {"before": kept.session.base.held, "after": kept.session.positions.held}
        print_json({**told_of(kept), "positions": positions, "snapshots": taken, "impact": kept.impact.rows})
        return
    print_facts(_facts(kept))
    _print_changes(kept)
    print_table(_position_columns(), _positions(kept), none="nothing is held")
    columns = [
        cell("snapshot", "snapshot_id"),
        cell("of version", "session_version"),
        cell("by", "created_by"),
        Column("taken", lambda row: shown_time(row["created_at"])),
    ]
    if taken:
        print_table(columns, taken, none="")
    print_impact(kept.impact, every=every)
    print_notes(kept)


@click.command("complete", short_help="End a session as it is, for good.")
@number_argument
@version_option
@by_option
@database_options
@json_option
def complete(*, number: int, version: int | None, by: str, database: DatabaseChoice, as_json: bool) -> None:
    """Complete session ID: it stays as it is, for good.

    \b
    Example:
      python portfolio_manager.py risk session complete 1
    """
    with sessions_of(database) as transaction:
        from risk.modelling import keeping

        kept = keeping.complete(transaction, number, by=by, now=now(), version=version)
    tell_ended(kept, as_json=as_json)


@click.command("cancel", short_help="Give a session up, for good.")
@number_argument
@version_option
@by_option
@database_options
@json_option
def cancel(*, number: int, version: int | None, by: str, database: DatabaseChoice, as_json: bool) -> None:
    """Cancel session ID: it is kept, and cannot be changed any more.

    \b
    Example:
      python portfolio_manager.py risk session cancel 1
    """
    with sessions_of(database) as transaction:
        from risk.modelling import keeping

        kept = keeping.cancel(transaction, number, by=by, now=now(), version=version)
    tell_ended(kept, as_json=as_json)


@click.command("verify", short_help="Is the book what the session began with?")
@number_argument
@database_options
@json_option
def verify(*, number: int, database: DatabaseChoice, as_json: bool) -> None:
    """Read the book again as of session ID's beginning: it is what it was, or told is what differs. A late report, a corrected
    price and a batch that was reckoned again make it differ; a session never does. What the session and its snapshots have
    kept is compared with its hashes. The exit code is 1 where something differs.

    \b
    Example:
      python portfolio_manager.py risk session verify 1
    """
    from live.contracts_file import load_calendar

    with sessions_of(database) as transaction:
        from risk.modelling import keeping, listing, snapshots

        found = keeping.differing(transaction, number, load_calendar())
        taken = [row["snapshot_id"] for row in listing.snapshots(transaction, number)]
        for each in taken:
            snapshots.kept_snapshot(transaction, each)
    if as_json:
        print_json({"session_id": number, "untouched": not found, "differences": found, "snapshots": taken})
    elif found:
        for line in found:
            say(line)
        note(f"the book tells {len(found)} of session {number} otherwise now; begin another one for it as it is now")
    else:
        say(
            f"session {number}: the book is what it began with; its hashes hold, and those of {count(taken, 'snapshot')}"
        )
    if found:
        raise click.exceptions.Exit(1)


# --- what is told


def _facts(kept: "Kept") -> dict[str, str]:
    own = kept.session
    facts = {
        "session": f"{kept.number}  {own.name}",
        "status": own.status,
        "of": f"node {kept.node}, {count(own.base.held, 'position')}, in {own.base.base}",
        "as of": shown_time(own.base.as_of),
        "measured by": "nothing: no batch was reckoned"
        if kept.inputs.batch_day is None
        else str(kept.inputs.batch_day),
        "version": str(kept.version),
        "begun": f"{shown_time(own.created_at)} by {own.created_by}",
    }
    if own.description:
        facts["for"] = own.description
    if own.ended_at is not None:
        facts["ended"] = f"{shown_time(own.ended_at)} by {own.ended_by}"
    return facts


def _print_changes(kept: "Kept") -> None:
    rows = [{"number": str(place), **each} for place, each in enumerate(told_of(kept)["changes"], 1)]
    columns = [
        *(cell(heading, name) for heading, name in (("", "number"), ("change", "change"))),
        Column("what", _what),
        cell("by", "by"),
    ]
    print_table(columns, rows, none="nothing is changed yet")


def _what(row: Mapping[str, Any]) -> str:
    own = row.get("position")
    if own is not None:
        return f"{own['position_id']}: {own['signed_quantity']:g} lots of {own['instrument']}"
    if "shocks" in row:
        return ", ".join(f"{name} {shock:+.4g}" for name, shock in row["shocks"].items())
    more = {"resize": "to {lots:g} lots", "roll": "into {contract}, {spread:+g} points"}.get(row["change"], "")
    return f"{row['position_id']} {more.format(**row)}".rstrip()


def _positions(kept: "Kept") -> list[dict[str, Any]]:
    before, after = (
        {one.position_id: one for one in positions.held} for positions in (kept.session.base, kept.session.positions)
    )
    names = sorted({*before, *after})
    return [{"position": name, "before": before.get(name), "after": after.get(name)} for name in names]


def _position_columns() -> list[Column]:
    def of(row: Mapping[str, Any]) -> Any:
        return row["after"] or row["before"]

    def lots(which: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda row: "-" if row[which] is None else f"{row[which].signed_quantity:,g}"

    return [
        cell("position", "position"),
        Column("instrument", lambda row: of(row).instrument),
        Column("contract", lambda row: of(row).contract),
        Column("node", lambda row: of(row).node),
        Column("lots", lots("before"), right=True),
        Column("after", lots("after"), right=True),
        Column("price", lambda row: amount(of(row).price), right=True),
        Column("currency", lambda row: of(row).currency),
    ]
