"""`book sync` and `book pnl`: what the engine trades and its journal says, as rows of the book, and the P&L of a day."""

from dataclasses import asdict
from datetime import date
from decimal import Decimal
from pathlib import Path

import click

from live.cli.book_options import date_option, open_book
from live.cli.options import DatabaseChoice, config_option, database_options, json_option
from live.cli.output import Column, money, number, print_json, print_table, say


@click.command(short_help="Take over what the engine trades, and what its journal says.")
@database_options
@config_option
@json_option
def sync(*, database: DatabaseChoice, config: Path | None, as_json: bool) -> None:
    """Bring the book up to the engine: first the master and the tree, then the portfolio's positions, proposals and P&L.

    The master is filled from what the engine trades, and every portfolio that hangs nowhere is hung on the fund `default`;
    `migrate --book` does that too. The rest is what the portfolio's journal says up to its end; where the journal has gone
    back, as after a restore, it is made anew. Run again, or beside a running `live` that does the same, it changes nothing.

    \b
    Example:
      python portfolio_manager.py book sync
    """
    import msgspec

    from book.database import transaction
    from book.sync import sync as take_over

    with open_book(database, config) as book:
        with transaction(book.projector.engine) as session:
            taken = take_over(session)
        read = book.projector.sync()
    if as_json:
        changed = taken.changed or bool(read.entries or read.days)
        journal = msgspec.structs.asdict(read)
        print_json({**asdict(taken), "portfolio": database.portfolio, "journal": journal, "changed": changed})
        return
    say(f"{taken.instruments} instruments and {taken.reference_data} entries of reference data are new or changed")
    for portfolio in taken.hung:
        say(f"portfolio {portfolio} hangs on the fund default")
    anew = " anew, as the journal had gone back" if read.anew else ""
    say(f"portfolio {database.portfolio}: {read.entries:,} journal entries{anew}, {read.days:,} days of exchanges")


@click.command(short_help="The P&L of a day, by position.")
@database_options
@config_option
@date_option
@click.option("--again", is_flag=True, help="Keep that day again by the journal first, whatever is kept of it.")
@json_option
def pnl(*, database: DatabaseChoice, config: Path | None, day: date | None, again: bool, as_json: bool) -> None:
    """Show what each position earned on a trading day, after bringing the book up to the journal's end.

    \b
    Examples:
      python portfolio_manager.py book pnl
      python portfolio_manager.py book pnl --date 2026-01-14 --again
    """
    from book.database import transaction
    from book.pnl import rows_of_day

    with open_book(database, config) as book:
        book.projector.sync()
        day = day or book.briefings().last_day()
        if day is not None and again:
            book.projector.keep_day_again(day)
        with transaction(book.projector.engine) as session:
            rows = [] if day is None else rows_of_day(session, database.portfolio, day)
    total = sum((row.daily for row in rows), Decimal(0))
    if as_json:
        print_json({"portfolio": database.portfolio, "date": day, "daily_pnl": total, "positions": rows})
        return
    print_table(_COLUMNS, rows, none=f"nothing is kept of {day or 'any day'}")
    if rows:
        say(f"{day}: {money(total)}")


_COLUMNS = (
    Column("position", lambda row: row.position_id),
    Column("quantity", lambda row: number(row.quantity), right=True),
    Column("mark", lambda row: number(row.mark), right=True),
    Column("day", lambda row: money(row.daily), right=True),
    Column("day, USD", lambda row: money(row.daily_usd), right=True),
    Column("unrealized", lambda row: money(row.unrealized), right=True),
    Column("realized", lambda row: money(row.realized), right=True),
)
