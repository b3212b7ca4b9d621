"""`risk option`: what options of the master are a right to, so that their Greeks can be reckoned."""

from datetime import date
from decimal import Decimal

import click

from live.cli.book_session import Day, session_of, tell
from live.cli.options import DatabaseChoice, Price, database_options, json_option
from live.cli.output import Column, number, print_json, print_table, text


@click.group(short_help="What options are a right to: `set`, `list`.")
def option() -> None:
    """Say of which strike, expiry and underlying an option is. `book instrument add --kind option` puts it into the master.

    \b
    Examples:
      python portfolio_manager.py risk option set NIFTY_26000_CE --underlying NIFTY --type CE --strike 26000 --expiry 2026-01-29
      python portfolio_manager.py risk option list
    """


@option.command("set", short_help="Strike, expiry, type and underlying of an option.")
@click.argument("instrument")
@click.option("--underlying", required=True, help="The master's name of what it is a right to.")
@click.option("--type", "option_type", type=click.Choice(("CE", "PE"), case_sensitive=False), required=True)
@click.option("--strike", type=Price(), required=True, help="In points of the underlying.")
@click.option("--expiry", type=Day(), required=True, help="Its last day.")
@database_options
@json_option
def set_terms(
    *,
    instrument: str,
    underlying: str,
    option_type: str,
    strike: Decimal,
    expiry: date,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Say what INSTRUMENT is a right to. The same again changes nothing.

    \b
    Example:
      python portfolio_manager.py risk option set NIFTY_26000_CE --underlying NIFTY --type CE --strike 26000 --expiry 2026-01-29
    """
    from risk import option_terms

    with session_of(database) as session:
        changed = option_terms.set_terms(
            session, instrument, underlying=underlying, option_type=option_type, strike=strike, expiry=expiry
        )
    told = {"instrument": instrument, "changed": changed}
    tell(told, f"{instrument}: {option_type} {number(strike)} of {underlying}, {expiry}", as_json=as_json)


@option.command("list", short_help="The master's options.")
@database_options
@json_option
def list_terms(*, database: DatabaseChoice, as_json: bool) -> None:
    """List the options of the master with what they are a right to.

    \b
    Example:
      python portfolio_manager.py risk option list
    """
    from risk.option_terms import all_terms

    with session_of(database) as session:
        found = all_terms(session)
    if as_json:
        print_json({"options": found})
        return
    columns = [
        Column("instrument", lambda row: row["instrument"]),
        Column("underlying", lambda row: text(row["underlying"])),
        Column("type", lambda row: text(row["option_type"])),
        Column("strike", lambda row: number(row["strike"]), right=True),
        Column("expiry", lambda row: text(row["expiry"])),
    ]
    print_table(columns, found, none="the master has no option")
