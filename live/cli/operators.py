"""`operators`: who may look, trade and administer, by name."""

from datetime import UTC, datetime
from pathlib import Path

import click

from live.cli.options import data_dir_option, json_option
from live.cli.output import Column, note, print_json, print_table, say

ROLES = ("viewer", "trader", "admin")  # of live.operators, which --help starts without


@click.group(short_help="Who may look, trade and administer: `add`, `list`, `remove`.")
def operators() -> None:
    """Keep the operators of the instances that run on --data-dir; a running `live` knows a change at once.

    \b
    A viewer looks; a trader halts, resumes, closes, rolls and settles as well; an administrator also moves capital
    and the lead. The token in operator.token is an administrator's.

    \b
    Examples:
      python portfolio_manager.py operators add alice --role trader
      python portfolio_manager.py operators list
      python portfolio_manager.py operators remove alice
    """


@operators.command("add", short_help="A new operator, or a new token for one.")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the operator may do.")
@data_dir_option
@json_option
def add(*, name: str, role: str, data_dir: Path, as_json: bool) -> None:
    """Make NAME an operator and print the token, which is shown once and kept nowhere. An earlier token of NAME ends.

    \b
    Example:
      python portfolio_manager.py operators add alice --role trader
    """
    from live.operators import OPERATORS_FILE, Role, add_operator

    token = add_operator(data_dir / OPERATORS_FILE, name, Role.of(role), datetime.now(UTC))
    if as_json:
        print_json({"name": name, "role": role, "token": token})
        return
    note(f"{name} is a {role}. The token, which is not shown again:")
    say(token)


@operators.command("list", short_help="The operators and their roles.")
@data_dir_option
@json_option
def show(*, data_dir: Path, as_json: bool) -> None:
    """Show the operators and their roles.

    \b
    Example:
      python portfolio_manager.py operators list --json
    """
    from live.operators import OPERATORS_FILE, read_operators

    known = read_operators(data_dir / OPERATORS_FILE)
    rows = [{"name": name, "role": kept.role.word, "since": kept.created_at} for name, kept in sorted(known.items())]
    if as_json:
        print_json({"operators": rows})
        return
    columns = [
        Column("name", lambda row: row["name"]),
        Column("role", lambda row: row["role"]),
        Column("token since", lambda row: row["since"]),
    ]
    print_table(columns, rows, none="There is nobody besides who has operator.token.")


@operators.command("remove", short_help="End an operator's token and sessions.")
@click.argument("name")
@data_dir_option
@json_option
def remove(*, name: str, data_dir: Path, as_json: bool) -> None:
    """Let NAME in no more: the token and what was opened with it in a browser end at once.

    \b
    Example:
      python portfolio_manager.py operators remove alice
    """
    from live.operators import OPERATORS_FILE, remove_operator

    remove_operator(data_dir / OPERATORS_FILE, name)
    if as_json:
        print_json({"name": name, "removed": True})
        return
    say(f"{name} is no operator any more.")
