"""`book calendar` and `book attribution`: what each trading day earned, and what made equity change between two days."""

from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import asdict

from live.cli.book_session import Day, session_of, today
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, money, note, number, print_json, print_table, say

if TYPE_CHECKING:
    from book.attribution import Attribution

_BY = ("instrument", "strategy", "layer", "node")
_YEAR = timedelta(days=365)

_to = click.option("--to", "to_date", type=Day(), metavar="DAY", help="The last day.")
_node = click.option("--node", "node_id", type=click.IntRange(min=1), help="Only of this node and all below it.")
_of = click.option("--of", "only", metavar="PORTFOLIO", help="Only of this portfolio of the engine.")
_currency = click.option("--currency", help="All money in this one; without it the node's own.")


@click.command(short_help="What each trading day earned.")
@database_options
@click.option("--from", "from_date", type=Day(), metavar="DAY", help="The first day. [default: a year before the last]")
@_to
@_node
@_of
@_currency
@json_option
def calendar(*, database: DatabaseChoice, as_json: bool, **asked: Any) -> None:
    """Show the P&L of each trading day up to --to (today), with the rates of that day, as the book has it: `book sync` first.

    \b
    Examples:
      python portfolio_manager.py book calendar
      python portfolio_manager.py book calendar --from 2026-01-01 --of main
      python portfolio_manager.py book calendar --node 2 --currency USD
    """
    from book.pnl_calendar import calendar_of

    last: date = asked["to_date"] or today()
    first: date = asked["from_date"] or max(last, date.min + _YEAR) - _YEAR
    with session_of(database) as session:
        found = calendar_of(session, first, last, **_scope(asked))
    if as_json:
        print_json({**asdict(found), "total": found.total})
        return
    note(f"from {found.from_date} to {found.to_date}, in {found.currency}")
    print_table(_DAYS, found.days, none="nothing is kept of any of these days")
    if found.days:
        say(f"{number(len(found.days))} days: {money(found.total)}")


_DAYS = (
    Column("day", lambda day: str(day.date)),
    Column("weekday", lambda day: f"{day.date:%a}"),
    Column("P&L", lambda day: money(day.daily_pnl), right=True),
    Column("positions", lambda day: number(day.positions), right=True),
)


@click.command(short_help="What made equity change between two days.")
@database_options
@click.option("--by", type=click.Choice(_BY), default="instrument", show_default=True, help="What is told apart.")
@click.option(
    "--from",
    "from_date",
    type=Day(),
    metavar="DAY",
    help="At whose end it begins. [default: the last but one of marks]",
)
@_to
@_node
@_of
@_currency
@json_option
def attribution(*, database: DatabaseChoice, by: str, as_json: bool, **asked: Any) -> None:
    """Show what the days behind --from up to --to (the newest that has marks) earned, told apart by instrument, strategy, layer
    or child node, and what was paid in or out: it adds up to the change of equity exactly.

    \b
    Examples:
      python portfolio_manager.py book attribution
      python portfolio_manager.py book attribution --by layer --from 2026-01-01
    """
    from book.attribution import By, attribution_of, period_of

    with session_of(database) as session:
        first, last = period_of(session, asked["from_date"], asked["to_date"], today())
        found = attribution_of(session, By(by), first, last, **_scope(asked))
    if as_json:
        print_json(found)
        return
    note(f"from the end of {found.from_date} to that of {found.to_date}, in {found.currency}")
    columns = (Column(by, lambda row: row[0]), Column("change", lambda row: money(row[1]), right=True))
    print_table(columns, list(_rows(found)), none="")


def _rows(found: "Attribution") -> list[tuple[str, Decimal]]:
    lines = [(line.name or "(none)", line.pnl) for line in found.lines]
    if found.equity is None:
        return [*lines, ("P&L", found.pnl)]
    equity = found.equity
    apart = [("paid in and out", equity.flows), ("exchange rates", equity.revaluation)]
    return [
        (f"equity of {found.from_date}", equity.from_equity),
        *lines,
        *(row for row in apart if row[1]),
        (f"equity of {found.to_date}", equity.to_equity),
    ]


def _scope(asked: dict[str, Any]) -> dict[str, Any]:
    only = asked["only"]
    return {
        "node": asked["node_id"],
        "portfolio": None if only is None else only.lower(),
        "currency": asked["currency"],
    }
