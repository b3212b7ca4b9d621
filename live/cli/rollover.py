"""`rollover`: what is due to leave its contract, and the rolling of it; over HTTP."""

import click

from live.cli.operate import Operator, operator_options, tell
from live.cli.output import Column, print_table

_COLUMNS = (Column("position", lambda row: row[0]), Column("what", lambda row: row[1]))


@click.command(short_help="Roll positions from expiring contracts into the next ones.")
@click.option(
    "--scan", "execute", flag_value=False, type=bool, default=False, help="Only say and mark what is due. [default]"
)
@click.option("--execute", "execute", flag_value=True, type=bool, help="Roll it.")
@click.option("--position", "position_id", help="This one, due or not. [default: all that are due]")
@operator_options
def rollover(*, operator: Operator, execute: bool, position_id: str | None) -> None:
    """Say which positions are due to be rolled, or roll them: out of the near contract, then into the far one. Needs `live`.

    An EXIT waits for the step in hand. What it comes to, `orders` and `positions` show. See docs/brokers.md.

    \b
    Examples:
      python portfolio_manager.py rollover --scan
      python portfolio_manager.py rollover --execute
      python portfolio_manager.py rollover --execute --position BANK_NIFTY-Long_1-0a1b2c3d4e5f
    """
    from core.decide.roll import NOTHING_DUE

    doing = "execute" if execute else "scan"
    answer = operator.ask(f"/rollover/{doing}", {"position_id": position_id})
    told = answer.get("first", answer)
    if not operator.as_json and told.get("sizing"):
        print_table(_COLUMNS, list(told["sizing"].items()), none="")
    if told.get("reason") == NOTHING_DUE and not operator.as_json:
        click.echo(NOTHING_DUE)
    else:
        tell(answer, f"rollover --{doing}", operator)
