"""`book node`: the tree is arranged."""

from datetime import date

import click

from live.cli.book_session import as_of_option, session_of, tell, today
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, print_json, print_table, text

_TYPES = ("FUND", "DESK", "BOOK", "STRATEGY")  # of book.hierarchy, which --help starts without


@click.group(short_help="Nodes: `list`, `add`, `rename`, `move`, `hang`.")
def node() -> None:
    """Arrange the tree: FUND > DESK > BOOK > STRATEGY, levels may be left out.

    \b
    Examples:
      python portfolio_manager.py book node add Metals --type DESK --parent 1
      python portfolio_manager.py book node hang 2 --portfolio main
    """


@node.command("list", short_help="The nodes, and what hangs on them.")
@database_options
@as_of_option
@json_option
def list_nodes(*, database: DatabaseChoice, as_of: date | None, as_json: bool) -> None:
    """List nodes without figures.

    \b
    Example:
      python portfolio_manager.py book node list
    """
    from book.nodes import nodes_on

    with session_of(database) as session:
        found = nodes_on(session, as_of or today())
    if as_json:
        print_json({"nodes": found})
        return
    columns = [
        Column("id", lambda row: str(row["portfolio_node_id"]), right=True),
        Column("name", lambda row: row["name"]),
        Column("type", lambda row: row["node_type"]),
        Column("parent", lambda row: text(row["parent_id"]), right=True),
        Column("currency", lambda row: row["base_ccy"]),
        Column("portfolios", lambda row: ", ".join(row["portfolios"])),
    ]
    print_table(columns, found, none="there is no node yet")


@node.command("add", short_help="A new node.")
@click.argument("name")
@click.option("--type", "node_type", type=click.Choice(_TYPES, case_sensitive=False), required=True)
@click.option("--parent", "parent_id", type=click.IntRange(min=1), help="The node it hangs on; without it, none.")
@click.option("--currency", help="The currency its money is told in; without it, its parent's.")
@database_options
@json_option
def add(
    *,
    database: DatabaseChoice,
    name: str,
    node_type: str,
    parent_id: int | None,
    currency: str | None,
    as_json: bool,
) -> None:
    """Add the node NAME. The same one again changes nothing.

    \b
    Example:
      python portfolio_manager.py book node add Macro --type FUND --currency INR
    """
    from book.nodes import add_node

    with session_of(database) as session:
        made, is_new = add_node(session, name, node_type, base_ccy=currency, parent_id=parent_id)
        node_id = made.portfolio_node_id
    tell({"portfolio_node_id": node_id, "changed": is_new}, f"node {node_id}: {name}", as_json=as_json)


@node.command("rename", short_help="Another name.")
@click.argument("node_id", type=click.IntRange(min=1))
@click.argument("name")
@database_options
@json_option
def rename(*, database: DatabaseChoice, node_id: int, name: str, as_json: bool) -> None:
    """Call a node NAME. What was before is told of past days still.

    \b
    Example:
      python portfolio_manager.py book node rename 2 "Precious metals"
    """
    from book.nodes import node_of, rename_node

    with session_of(database) as session:
        before = node_of(session, node_id).name
        after = rename_node(session, node_id, name).name
    told = {"portfolio_node_id": node_id, "changed": before != after}
    tell(told, f"node {node_id}: {name}", as_json=as_json)


@node.command("move", short_help="Another parent.")
@click.argument("node_id", type=click.IntRange(min=1))
@click.option("--parent", "parent_id", type=click.IntRange(min=1), help="The node to hang it on; without it, none.")
@database_options
@json_option
def move(*, database: DatabaseChoice, node_id: int, parent_id: int | None, as_json: bool) -> None:
    """Hang a node with all below it on another one, or without --parent on none.

    \b
    Example:
      python portfolio_manager.py book node move 3 --parent 1
    """
    from book.nodes import move_node, node_of

    with session_of(database) as session:
        before = node_of(session, node_id).parent_id
        move_node(session, node_id, parent_id)
    told = {"portfolio_node_id": node_id, "changed": before != parent_id}
    place = "a root" if parent_id is None else f"below node {parent_id}"
    tell(told, f"node {node_id} is {place}", as_json=as_json)


@node.command("hang", short_help="Hang a portfolio of the engine on a node.")
@click.argument("node_id", type=click.IntRange(min=1))
@database_options
@json_option
def hang(*, database: DatabaseChoice, node_id: int, as_json: bool) -> None:
    """Hang --portfolio on a node, with the positions it has in the book.

    \b
    Example:
      python portfolio_manager.py book node hang 2 --portfolio main
    """
    from book.nodes import hang as hang_on

    with session_of(database) as session:
        changed = hang_on(session, database.portfolio, node_id)
    told = {"portfolio": database.portfolio, "portfolio_node_id": node_id, "changed": changed}
    tell(told, f"portfolio {database.portfolio} hangs on node {node_id}", as_json=as_json)
