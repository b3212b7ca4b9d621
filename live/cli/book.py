"""`book`: the tree of portfolios with its figures, nodes, rates, instruments, snapshots, files. Read from the database itself."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from core.errors import PortfolioError
from live.cli.book_briefing import briefing
from live.cli.book_files import export, upload
from live.cli.book_history import attribution, calendar
from live.cli.book_nodes import node
from live.cli.book_pnl import pnl, sync
from live.cli.book_positions import position
from live.cli.book_reference import entity, instrument, lineage, prices, ratings, servicing
from live.cli.book_reports import tax_lots, tear_sheet
from live.cli.book_session import as_of_option, session_of, tell, today
from live.cli.options import DatabaseChoice, Price, database_options, json_option
from live.cli.output import Column, money, note, number, print_json, print_table, say, text

if TYPE_CHECKING:
    from book.roll_up import NodeLine

_BY = ("instrument", "sector", "currency")


_currency = click.option("--currency", help="All money in this one; without it the node's own.")
_node = click.option("--node", "node_id", type=click.IntRange(min=1), help="This node and all below it.")


@click.group(short_help="The book of record: its tree, rates, instruments, P&L, briefings and files.")
def book() -> None:
    """See and arrange what a desk keeps around the engine. `migrate --book` makes it.

    \b
    Examples:
      python portfolio_manager.py book tree
      python portfolio_manager.py book node add Metals --type DESK --parent 1
      python portfolio_manager.py book fx set USD/INR 85.25
    """


# --- the tree


@book.command("tree", short_help="Every node with exposure, P&L and risk of all below it.")
@database_options
@as_of_option
@_currency
@_node
@click.option("--by", type=click.Choice(_BY), help="The same figures by instrument, sector or currency.")
@json_option
def show_tree(
    *,
    database: DatabaseChoice,
    as_of: date | None,
    currency: str | None,
    node_id: int | None,
    by: str | None,
    as_json: bool,
) -> None:
    """Show the tree at the end of a day, converted with the rates of that day. A missing rate is told, never guessed.

    \b
    Examples:
      python portfolio_manager.py book tree
      python portfolio_manager.py book tree --currency USD --as-of 2026-01-14
      python portfolio_manager.py book tree --node 2 --by sector
    """
    from book.roll_up import Dimension, lines, tree

    with session_of(database) as session:
        found = tree(session, as_of or today(), currency=currency, node=node_id)
        keyed = None
        if by is not None:
            keyed = lines(session, Dimension(by), found.as_of, currency=found.currency, node=node_id)
    head = {"as_of": found.as_of, "currency": found.currency, "marked_on": found.marked_on}
    if as_json:
        told = {"nodes": [_flat(line) for line in found.nodes]}
        by_key = [{"key": line.key, **asdict(line.figures)} for line in keyed or ()]
        print_json({**head, **(told if keyed is None else {f"by_{by}": by_key})})
        return
    note(f"as of {found.as_of}, in {found.currency}, marked on {found.marked_on or 'no day yet'}")
    if keyed is None:
        _print_tree(found.nodes)
        return
    rows = [{"key": line.key or "(none)", **asdict(line.figures)} for line in keyed]
    print_table([Column(str(by), lambda row: row["key"]), *_FIGURES], rows, none="nothing is held")


def _print_tree(nodes: tuple["NodeLine", ...]) -> None:
    rows = [_flat(line) for line in nodes]
    columns = [
        Column("node", lambda row: f"{'  ' * row['depth']}{row['name']}"),
        Column("type", lambda row: row["node_type"]),
        Column("id", lambda row: str(row["portfolio_node_id"]), right=True),
        *_FIGURES,
    ]
    print_table(columns, rows, none="there is no node yet: `book sync` hangs the engine's portfolios on one")


def _flat(line: "NodeLine") -> dict[str, Any]:
    told = asdict(line)
    figures: dict[str, Any] = told.pop("figures")
    return {**told, **figures}


def _money_column(heading: str, name: str) -> Column:
    return Column(heading, lambda row: money(row[name]), right=True)


_FIGURES = (
    Column("positions", lambda row: number(row["positions"]), right=True),
    Column("unmarked", lambda row: number(row["unmarked"]) if row["unmarked"] else "", right=True),
    _money_column("gross", "gross"),
    _money_column("net", "net"),
    _money_column("day P&L", "day_pnl"),
    _money_column("realized", "realized_pnl"),
    _money_column("unrealized", "unrealized_pnl"),
    _money_column("DV01", "dv01"),
    _money_column("VaR", "var_contribution"),
)


book.add_command(node)
book.add_command(position)
book.add_command(upload)
book.add_command(export)


# --- rates


@book.group(short_help="Rates between currencies: `list`, `set`.")
def fx() -> None:
    """Rates are kept by day; asked for is the newest on or before one, of a pair, turned around, or through USD.

    \b
    Example:
      python portfolio_manager.py book fx set USD/INR 85.25 --as-of 2026-01-14
    """


@fx.command("list", short_help="The newest rate of each pair.")
@database_options
@as_of_option
@json_option
def list_rates(*, database: DatabaseChoice, as_of: date | None, as_json: bool) -> None:
    """List the newest rate of each pair on or before a day.

    \b
    Example:
      python portfolio_manager.py book fx list --as-of 2026-01-14
    """
    from book.fx import rates_on

    with session_of(database) as session:
        found = rates_on(session, as_of or today())
    if as_json:
        print_json({"as_of": as_of or today(), "rates": found})
        return
    columns = [
        Column("pair", lambda row: row["pair"]),
        Column("rate", lambda row: number(row["rate"]), right=True),
        Column("of", lambda row: text(row["as_of_date"])),
        Column("source", lambda row: row["source"]),
    ]
    print_table(columns, found, none="there is no rate")


@fx.command("set", short_help="Keep a rate as of a day.")
@click.argument("pair")
@click.argument("rate", type=Price())
@click.option("--source", default="manual", show_default=True, help="Who says so.")
@as_of_option
@database_options
@json_option
def set_rate(
    *, database: DatabaseChoice, pair: str, rate: Decimal, source: str, as_of: date | None, as_json: bool
) -> None:
    """Keep how much of PAIR's second currency one of its first is, from --as-of on. The same again changes nothing.

    \b
    Example:
      python portfolio_manager.py book fx set USD/INR 85.25
    """
    from book.fx import set_rate as keep

    day = as_of or today()
    with session_of(database) as session:
        changed = keep(session, pair, rate, day, source=source)
    told = {"pair": pair.upper(), "rate": rate, "as_of_date": day, "changed": changed}
    tell(told, f"{pair.upper()} is {number(rate)} from {day} on", as_json=as_json)


# --- what the engine trades, and moments that are kept


@book.command("instruments", short_help="The master of instruments.")
@database_options
@json_option
def instruments(*, database: DatabaseChoice, as_json: bool) -> None:
    """List the master of instruments. `book sync` fills it from what the engine trades.

    \b
    Example:
      python portfolio_manager.py book instruments --json
    """
    from book.master import master

    with session_of(database) as session:
        found = master(session)
    if as_json:
        print_json({"instruments": found})
        return
    columns = [
        *(
            Column(name, _cell(name))
            for name in ("symbol", "name", "asset_class", "kind", "exchange", "currency", "sector")
        ),
        *(Column(name, _cell(name), right=True) for name in ("lot_size", "point_value", "tick", "margin_per_lot")),
    ]
    print_table(columns, found, none="there is none: `book sync` fills it")


@book.command("snapshot", short_help="Keep what nodes hold as it is.")
@database_options
@as_of_option
@click.option("--node", "node_id", type=click.IntRange(min=1), help="This one; without it, every root.")
@json_option
def snapshot(*, database: DatabaseChoice, as_of: date | None, node_id: int | None, as_json: bool) -> None:
    """Keep what a node and all below it hold at the end of a day; what is the same as before is stored once.

    \b
    Example:
      python portfolio_manager.py book snapshot
    """
    from book.nodes import nodes_on
    from book.snapshots import snapshot_of_node

    now = datetime.now(UTC)
    day = as_of or now.date()
    with session_of(database) as session:
        roots = [row["portfolio_node_id"] for row in nodes_on(session, now.date()) if row["parent_id"] is None]
        wanted = roots if node_id is None else [node_id]
        if not wanted:
            raise PortfolioError("there is no node yet: `book sync` hangs the engine's portfolios on one")
        taken = {each: snapshot_of_node(session, each, day, now) for each in wanted}
    if as_json:
        print_json(
            {"as_of": day, "taken_at": now, "snapshots": [_taken(each, asdict(of)) for each, of in taken.items()]}
        )
        return
    for each, of in taken.items():
        what = "what it holds is new" if of.is_new_content else "what it holds was kept before"
        say(f"node {each} as of {day}: {what} ({of.payload_hash[:12]})")


def _taken(node_id: int, told: Mapping[str, Any]) -> dict[str, Any]:
    return {"portfolio_node_id": node_id, **told}


def _cell(name: str) -> Any:
    def cell(row: Mapping[str, Any]) -> str:
        value = row[name]
        return number(value) if isinstance(value, Decimal) else text(value)

    return cell


for _command in (entity, instrument, ratings, prices, servicing, lineage):
    book.add_command(_command)


# --- what is kept of the journal


book.add_command(sync)
book.add_command(pnl)
book.add_command(calendar)
book.add_command(attribution)
book.add_command(briefing)
book.add_command(tear_sheet)
book.add_command(tax_lots)
