"""`book position`: positions that a person enters, corrects and closes."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from live.cli.book_session import session_of, tell
from live.cli.options import DatabaseChoice, Money, PastTime, Price, database_options, json_option
from live.cli.output import Column, money, number, print_json, print_table, text

_RISKS = ("dv01", "delta", "convexity", "var_contribution", "spread_duration")
_MOST_SHOWN = 1000


class _Weight(click.ParamType[tuple[str, Decimal]]):
    """A name with its number."""

    name = "NAME=NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Decimal]:
        """Both of them."""
        if isinstance(value, tuple):
            return value
        name, _, given = str(value).rpartition("=")
        try:
            return name, Decimal(given)
        except InvalidOperation:
            self.fail(f"{value!r} must be like trend=0.6", param, ctx)


def _details(function: Callable[..., Any]) -> Callable[..., Any]:
    """What may be said of a position at its entry, and corrected later."""
    options = (
        click.option(
            "--fx-rate", type=Price(), help="How much of its currency one dollar was. [default: the book's rate]"
        ),
        click.option("--costs", type=Money(positive=True), help="In its currency."),
        click.option(
            "--strategy", "strategies", type=_Weight(), multiple=True, help="With its weight; all add up to 1."
        ),
        click.option("--risk", "risks", type=_Weight(), multiple=True, help=f"At entry, of: {', '.join(_RISKS)}."),
        click.option("--notes", help="Why."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group(short_help="Positions entered by hand: `list`, `add`, `change`, `close`.")
def position() -> None:
    """Enter positions that the engine does not trade. They are in the tree's figures; `book sync` marks them day by day, at
    prices that were uploaded.

    \b
    Examples:
      python portfolio_manager.py book position add GOLD_MINI --node 1 --direction long --quantity 200 --price 72000
      python portfolio_manager.py book position close 1 --price 72500
    """


@position.command("list", short_help="Positions that were entered, with their last marks.")
@click.option("--all", "every", is_flag=True, help="Those that are closed, too.")
@database_options
@json_option
def list_positions(*, database: DatabaseChoice, every: bool, as_json: bool) -> None:
    """List what was entered, the latest first. A mark whose price is of an earlier day is told to be stale.

    \b
    Example:
      python portfolio_manager.py book position list
    """
    from book.entered_positions import entered_positions

    with session_of(database) as session:
        found = entered_positions(session, is_open=None if every else True, limit=_MOST_SHOWN)
    if as_json:
        print_json({"positions": found})
    else:
        print_table(_COLUMNS, found, none="nothing was entered")


@position.command("add", short_help="A new position.")
@click.argument("instrument")
@click.option("--node", type=click.IntRange(min=1), required=True, help="The node that holds it.")
@click.option("--direction", type=click.Choice(("long", "short"), case_sensitive=False), required=True)
@click.option("--quantity", type=Price(), required=True, help="In units.")
@click.option("--price", type=Price(), required=True, help="At which it was entered, in points.")
@click.option("--at", type=PastTime(), help="When it was entered. [default: now]")
@click.option("--currency", help="[default: the instrument's]")
@_details
@click.option("--request-id", help="The same again enters no second one.")
@database_options
@json_option
def add(
    *,
    database: DatabaseChoice,
    at: datetime | None,
    costs: Decimal | None,
    strategies: tuple[tuple[str, Decimal], ...],
    risks: tuple[tuple[str, Decimal], ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Enter a position in INSTRUMENT, of the master.

    \b
    Examples:
      python portfolio_manager.py book position add GOLD_MINI --node 1 --direction long --quantity 200 --price 72000
      python portfolio_manager.py book position add COPPER --node 1 --direction short --quantity 2500 --price 850 \\
        --at 2026-01-14T10:00:00Z --strategy trend=0.6 --strategy carry=0.4 --risk delta=-1 --notes "a hedge"
    """
    from book.entered_positions import NewPosition, add_position

    now = datetime.now(UTC)
    new = NewPosition(
        at=at,
        costs=costs or Decimal(0),
        strategies=_each_once("strategy", strategies),
        risks=_each_once("risk", risks),
        **given,
    )
    with session_of(database) as session:
        entered, is_new = add_position(session, new, now)
        _tell(entered, is_new, "is entered", as_json=as_json)


@position.command("change", short_help="Correct a position.")
@click.argument("position_id", type=click.IntRange(min=1))
@click.option("--node", type=click.IntRange(min=1), help="The node that holds it.")
@click.option("--quantity", type=Price(), help="In units.")
@click.option("--price", type=Price(), help="At which it was entered, in points.")
@_details
@database_options
@json_option
def change(
    *,
    database: DatabaseChoice,
    position_id: int,
    strategies: tuple[tuple[str, Decimal], ...],
    risks: tuple[tuple[str, Decimal], ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Put right what was entered; what is not named stays. Strategies and risks are named all or not at all.

    \b
    Example:
      python portfolio_manager.py book position change 1 --quantity 300 --notes "one more lot"
    """
    from book.entered_positions import Correction, change_position

    correction = Correction(
        strategies=_each_once("strategy", strategies) or None, risks=_each_once("risk", risks) or None, **given
    )
    with session_of(database) as session:
        corrected, changed = change_position(session, position_id, correction)
        _tell(corrected, changed, "is corrected", as_json=as_json)


@position.command("close", short_help="Close a position.")
@click.argument("position_id", type=click.IntRange(min=1))
@click.option("--price", type=Price(), required=True, help="In points.")
@click.option("--at", type=PastTime(), help="When. [default: now]")
@click.option("--costs", type=Money(positive=True), help="Of closing it, in its currency.")
@database_options
@json_option
def close(
    *,
    database: DatabaseChoice,
    position_id: int,
    price: Decimal,
    at: datetime | None,
    costs: Decimal | None,
    as_json: bool,
) -> None:
    """Close a position whole.

    \b
    Example:
      python portfolio_manager.py book position close 1 --price 72500
    """
    from book.entered_positions import close_position

    now = datetime.now(UTC)
    with session_of(database) as session:
        closed, changed = close_position(session, position_id, price, at or now, now, costs=costs or Decimal(0))
        _tell(closed, changed, f"is closed, {money(closed.realized_pnl_base)} {closed.base_ccy}", as_json=as_json)


def _tell(position: Any, changed: bool, sentence: str, *, as_json: bool) -> None:
    told = {
        "id": position.id,
        "notional_base": position.notional_base,
        "notional_usd": position.notional_usd,
        "realized_pnl_base": position.realized_pnl_base,
        "is_open": position.is_open,
        "changed": changed,
    }
    tell(told, f"position {position.id} {sentence}", as_json=as_json)


def _each_once(option: str, given: tuple[tuple[str, Decimal], ...]) -> Mapping[str, Decimal]:
    found = dict(given)
    if len(found) < len(given):
        raise click.BadParameter("each is named once", param_hint=f"--{option}")
    return found


_COLUMNS = (
    Column("id", lambda row: str(row["id"]), right=True),
    Column("node", lambda row: row["node"]),
    Column("instrument", lambda row: row["instrument"]),
    Column("side", lambda row: row["direction"].lower()),
    Column("quantity", lambda row: number(row["quantity"]), right=True),
    Column("entry", lambda row: number(row["entry_price"]), right=True),
    Column("notional", lambda row: money(row["notional_base"]), right=True),
    Column("", lambda row: row["currency"]),
    Column("mark", lambda row: "" if row["mark_price"] is None else number(row["mark_price"]), right=True),
    Column("of", lambda row: text(row["price_date"]) + (" stale" if row["is_stale"] else "")),
    Column("day", lambda row: money(row["daily_pnl_base"]), right=True),
    Column("realized", lambda row: money(row["realized_pnl_base"]), right=True),
)
