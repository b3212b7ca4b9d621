"""`risk session snapshot`, `compare`, `export`, and `risk exports`: what of sessions is kept, put side by side, and leaves."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from core.errors import PortfolioError
from live.cli.book_session import session_of
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, note, print_facts, print_json, print_table, say
from live.cli.output import time as shown_time
from live.cli.risk_options import now
from live.cli.risk_session_told import by_option, cell, number_argument, print_impact, sessions_of

_KINDS = ("modeling_session", "portfolio", "trades")


@click.command("snapshot", short_help="Keep a session as it is, with every measure.")
@number_argument
@by_option
@database_options
@json_option
def snapshot(*, number: int, by: str, database: DatabaseChoice, as_json: bool) -> None:
    """Keep session ID as it is, for good: its changes, the positions that they make, every measure before and after.

    \b
    Example:
      python portfolio_manager.py risk session snapshot 1
    """
    with sessions_of(database) as transaction:
        from risk.modelling.snapshots import snapshot as take
        from risk.modelling.snapshots import summary

        taken = take(transaction, number, by=by, now=now())
    if as_json:
        facts = {"snapshot_id": taken.number, "session_id": number, "session_version": taken.version}
        kept = {"content_hash": taken.content_hash, "created_at": taken.snapshot.taken_at}
        print_json({**facts, **kept, "impact": summary(taken.snapshot.impact)})
        return
    say(f"snapshot {taken.number} of session {number}, version {taken.version}: {taken.content_hash}")
    print_impact(taken.snapshot.impact)


@click.command("compare", short_help="Two sessions, or snapshots, side by side.")
@click.argument("one", type=click.IntRange(1))
@click.argument("other", type=click.IntRange(1))
@click.option("--snapshots", is_flag=True, help="ONE and OTHER are snapshots.")
@click.option("--all", "every", is_flag=True, help="Every measure, by position, node, instrument and so on, too.")
@database_options
@json_option
def compare(*, one: int, other: int, snapshots: bool, every: bool, database: DatabaseChoice, as_json: bool) -> None:
    """Tell every measure of what session ONE makes beside that of what OTHER makes. Each is measured by its own inputs.

    \b
    Examples:
      python portfolio_manager.py risk session compare 1 2
      python portfolio_manager.py risk session compare 1 2 --snapshots
    """
    with sessions_of(database) as transaction:
        from risk.modelling.snapshots import compared, compared_snapshots

        impact, same = (compared_snapshots if snapshots else compared)(transaction, one, other)
    if as_json:
        print_json({"one": one, "other": other, "same_inputs": same, "impact": impact.rows})
        return
    kind = "snapshot" if snapshots else "session"
    print_impact(impact, every=every, headings=(f"{kind} {one}", f"{kind} {other}"))
    if not same:
        note(
            f"{kind}s {one} and {other} are measured by different inputs: other positions, another day or another batch"
        )


@click.command("export", short_help="A snapshot as a file: csv, json or FIX orders.")
@number_argument
@click.option("--format", "form", type=click.Choice(("csv", "json", "fix")), required=True, help="The file's format.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file; replaced if there."
)
@click.option("--what", "kind", type=click.Choice(_KINDS), help="[default: trades in FIX, else modeling_session]")
@click.option("--snapshot", "taken", type=click.IntRange(1), help="This one. [default: the session's newest]")
@click.option("--target", default="DESK", show_default=True, help="TargetCompID of FIX messages.")
@by_option
@database_options
@json_option
def export(
    *,
    number: int,
    form: str,
    output: Path,
    kind: str | None,
    taken: int | None,
    target: str,
    by: str,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Write a snapshot of session ID to a file: every measure before and after (modeling_session), the positions after
    (portfolio), or the orders that would make them (trades; in FIX 4.4: NewOrderSingle). Each export is kept with its SHA-256.
    The same snapshot is the same file. Nobody is sent anything.

    \b
    Examples:
      python portfolio_manager.py risk session export 1 --format csv --output impact.csv
      python portfolio_manager.py risk session export 1 --format fix --output orders.fix --target BROKER
    """
    with _beside(output) as temporary, sessions_of(database) as transaction:
        from risk.modelling.exports import Export, snapshot_of
        from risk.modelling.exports import export as make

        asked = Export(
            snapshot=snapshot_of(transaction, number, taken),
            kind=kind or ("trades" if form == "fix" else "modeling_session"),
            format=form,
            file_name=output.name,
            by=by,
            at=now(),
            target=target,
        )
        done = make(transaction, asked)
        _write(temporary, done.file)
    facts = {"export_id": done.export_id, "session_id": number, "snapshot_id": asked.snapshot, "what": asked.kind}
    facts |= {"bytes": len(done.file), "content_hash": done.content_hash, "file": str(output)}
    if as_json:
        print_json(facts)
    else:
        print_facts({name.replace("_", " "): str(value) for name, value in facts.items()})


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A name beside the file for the block to write; it becomes the file once the block's transaction is committed.

    In this order: the file is whole on the disk, then its record is committed, then it has its name. Whatever breaks between
    leaves a record of a file that is asked for again (killed, its content in a hidden file too), and never a file of that name
    that nobody knows of, or a half of one.
    """
    temporary = output.with_name(f".{output.name[:100]}.{secrets.token_hex(4)}")
    try:
        yield temporary
        _named(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: Path, content: bytes) -> None:
    try:
        with file.open("xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        raise PortfolioError(f"{file.parent}: cannot be written to: {error.strerror}") from error


def _named(temporary: Path, output: Path) -> None:
    try:
        temporary.replace(output)
    except OSError as error:
        raise PortfolioError(
            f"{output}: cannot be written: {error.strerror}; the export is in `risk exports` all the same"
        ) from error


@click.command("exports", short_help="What was exported, by whom, with its SHA-256.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--before", type=click.IntRange(1), help="Only those below this number.")
@database_options
@json_option
def exports(*, limit: int, before: int | None, database: DatabaseChoice, as_json: bool) -> None:
    """List the exports of sessions, the newest first.

    \b
    Example:
      python portfolio_manager.py risk exports
    """
    from risk.modelling.listing import exports as listed

    with session_of(database) as transaction:
        found = listed(transaction, limit=limit, before=before)
    if as_json:
        print_json({"exports": found, "next": found[-1]["export_id"] if len(found) == limit else None})
        return
    columns = [
        *(cell(heading, name) for heading, name in _EXPORTED),
        Column("when", lambda row: shown_time(row["created_at"])),
        cell("SHA-256", "content_hash"),
    ]
    print_table(columns, found, none="nothing was exported: `risk session export ID` does")


_EXPORTED = (
    ("export", "export_id"),
    ("session", "session_id"),
    ("snapshot", "snapshot_id"),
    ("what", "export_type"),
    ("format", "export_format"),
    ("file", "file_name"),
    ("bytes", "file_size_bytes"),
    ("by", "exported_by"),
)
