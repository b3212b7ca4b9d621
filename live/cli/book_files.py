"""`book upload` and `book export`: files into the book, and out of it."""

from datetime import UTC, date, datetime
from pathlib import Path

import click

from core.errors import PortfolioError
from live.cli.book_session import Day, session_of
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, note, print_facts, print_json, print_table

_KINDS = ("positions", "prices", "fx", "ratings", "servicing")
_CONTENTS = ("positions", "holdings", "proposals", "pnl", "executions", "tax_lots")
_FORMATS = ("csv", "json", "parquet", "fix")
_MOST_SHOWN = 50
# A million rows take a while.
_LIMIT_SECONDS = 3600.0


@click.command(short_help="Take a file of positions, prices, rates, ratings or servicing.")
@click.argument("kind", metavar="KIND", type=click.Choice(_KINDS))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@database_options
@click.option("--partial", is_flag=True, help="Take the good rows though others are not. [default: all or nothing]")
@click.option("--by", help="Who brings it, for the record.")
@json_option
def upload(*, kind: str, file: Path, database: DatabaseChoice, partial: bool, by: str | None, as_json: bool) -> None:
    """Take the rows of FILE (.csv, .json, .jsonl, .parquet) into the book. The same file twice changes nothing. KIND is one of
    positions, prices, fx, ratings, servicing.

    Every row is checked; where one is bad none is taken, unless --partial is given, and each bad one is told with its line.
    The exit code is 1 where the file was not taken.

    \b
    Examples:
      python portfolio_manager.py book upload positions holdings.csv
      python portfolio_manager.py book upload fx rates.json --partial
    """
    from book.uploads.batches import remarks
    from book.uploads.upload import Upload
    from book.uploads.upload import upload as take

    now = datetime.now(UTC)
    given = Upload(
        kind=kind, name=file.name, content=file.read_bytes(), partial=partial, by=by, at=now, today=now.date()
    )
    with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
        done = take(session, given)
        rows, more = remarks(session, done.batch_id, _MOST_SHOWN)
    facts = {name: getattr(done, name) for name in done.__slots__}
    if as_json:
        print_json({**facts, "rows": rows, "more_rows": more})
    else:
        print_facts({name.replace("_", " "): str(value).lower() for name, value in facts.items()})
        print_table(_ROW_COLUMNS, rows, none="every row is good")
        if more:
            note(f"and {more} more rows: --json has as many, book.ingestion_row has all")
    if done.status == "FAILED":
        raise click.exceptions.Exit(1)


@click.command(short_help="Write positions, P&L, executions or tax lots to a file.")
@click.argument("content", metavar="CONTENT", type=click.Choice(_CONTENTS))
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@database_options
@click.option("--format", "form", type=click.Choice(_FORMATS), help="[default: by the file's ending]")
@click.option("--from", "begins", type=Day(), help="The first day, in UTC.")
@click.option("--to", "ends", type=Day(), help="The last day, in UTC.")
@click.option("--by", help="Who asks for it, for the record.")
@click.option("--target", default="CLIENT", show_default=True, help="TargetCompID of FIX messages.")
@json_option
def export(
    *,
    content: str,
    file: Path,
    database: DatabaseChoice,
    form: str | None,
    begins: date | None,
    ends: date | None,
    by: str | None,
    target: str,
    as_json: bool,
) -> None:
    """Write CONTENT to FILE: as .csv, .json, .parquet or .fix (execution reports). Each export is kept with its SHA-256.
    CONTENT is one of positions, holdings, proposals, pnl, executions, tax_lots.

    `executions` and `tax_lots` (first in, first out) are those of the portfolio's journal.

    \b
    Examples:
      python portfolio_manager.py book export executions trades.csv --from 2026-01-01 --to 2026-01-31
      python portfolio_manager.py book export executions trades.fix --target AUDITOR
      python portfolio_manager.py book export tax_lots lots.parquet
    """
    from book.exports.export import Export
    from book.exports.export import export as make

    ending = file.suffix.removeprefix(".").lower()
    if form is None and ending not in _FORMATS:
        raise click.BadParameter(f"give --format: {file.name} does not end in one of .{', .'.join(_FORMATS)}")
    asked = Export(
        content=content,
        format=form or ending,
        at=datetime.now(UTC),
        by=by,
        portfolio=database.portfolio,
        begins=begins,
        ends=ends,
        target=target,
    )
    with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
        done = make(session, asked)
        # Within the transaction: what could not be written was not exported.
        _write(file, done.file)
    facts = {"export_id": done.export_id, "rows": done.rows, "content_hash": done.content_hash, "file": str(file)}
    if as_json:
        print_json(facts)
    else:
        print_facts({name.replace("_", " "): str(value) for name, value in facts.items()})


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise PortfolioError(f"{file}: cannot be written: {error.strerror}") from error


_ROW_COLUMNS = (
    Column("line", lambda row: str(row["line"]), right=True),
    Column("status", lambda row: row["status"]),
    Column("why", lambda row: "; ".join(row["reasons"])),
)
