"""`replay`: recorded inputs through the live engine's own path, in a scratch portfolio."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from live.cli.options import DatabaseChoice, config_option, database_options, json_option
from live.cli.output import note, print_json
from live.cli.progress import progress_bar
from live.cli.replay_files import asked_for, replay_options

if TYPE_CHECKING:
    from live.replay.model import ReplayResult

_DIFFERS_BY = 1000  # one part in so many
_OUT = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command(short_help="Replay a list of trades or recorded alerts.")
@database_options
@config_option
@replay_options
@click.option("--from", "start", metavar="TIME", help="Leave out bars before this date or time.")
@click.option("--to", "end", metavar="TIME", help="Leave out bars from this date or time on.")
@click.option("--keep", metavar="NAME", help="Keep the portfolio under this name instead of dropping it.")
@click.option("--html", type=_OUT, help="Write a page with charts there.")
@click.option("--csv", "csv_file", type=_OUT, help="Write the trades there.")
@json_option
def replay(*, database: DatabaseChoice, config: Path | None, as_json: bool, **given: Any) -> None:
    """Decide the inputs in FILES again, in order, each at its own time, and say what came of it.

    FILES are TradingView "List of trades" exports (CSV) or alerts (JSON lines; GET /signals); several are merged in time
    order, and NAME= says what instrument a list is of. They go through the same code as live alerts, into PostgreSQL, in a
    scratch portfolio that is dropped at the end. As listed, the lots are the list's and none of our limits, gates or
    stops apply; by rules, sizes are ours.

    \b
    Examples:
      python portfolio_manager.py replay trades.csv --point-value 35 --commission-percent 0.05
      python portfolio_manager.py replay trades.csv --html report.html --json
      python portfolio_manager.py replay alerts.jsonl --bars BANK_NIFTY=bars.csv --sizing rules
    """
    from live.replay.reports import as_json as document
    from live.replay.reports import write_csv
    from live.replay.summary import summarise

    for option in ("html", "csv_file"):
        target = given[option]
        if target is not None and not target.absolute().parent.is_dir():
            raise click.BadParameter(
                f"the folder {target.parent} does not exist", param_hint=f"--{option[:4].rstrip('_')}"
            )
    result, listed_net = _replayed(database, config, given, shows_progress=not as_json)
    summary = summarise(result)
    _compare(summary.net_pnl, listed_net)
    if given["csv_file"] is not None:
        write_csv(result, given["csv_file"])
    if given["html"] is not None:
        from live.replay.html import write_html

        write_html(result, summary, given["html"])
    if as_json:
        print_json(document(result, summary))
        return
    from rich.console import Console

    from live.replay.reports import tables

    # A row is one line, in a pipe and on a narrow terminal: folded columns cannot be read.
    console = Console()
    console = Console(width=max(console.width, 140))
    console.print(_counted(result))
    for table in tables(summary, result):
        console.print(table)


def _compare(net: Decimal, listed: Decimal | None) -> None:
    """Say so where the list itself says that something else was earned."""
    if listed is None or abs(net - listed) <= abs(listed) / _DIFFERS_BY:
        return
    note(
        f"the list says its closed trades earned {listed:,.2f}, this replay {net:,.2f}: is a point of one lot worth what "
        "--point-value or the configuration says, and do --commission-percent and --slippage fit?"
    )


def _counted(result: "ReplayResult") -> str:
    outcomes = ", ".join(f"{count:,} {status}" for status, count in result.outcomes.items())
    return f"{result.signals:,} signals: {outcomes}"


def _replayed(
    database: DatabaseChoice, config: Path | None, given: dict[str, Any], *, shows_progress: bool
) -> tuple["ReplayResult", Decimal | None]:
    from core.db_state_manager import DatabaseStateManager
    from core.postgres.scratch import scratch_portfolio
    from live.replay.files import read_files
    from live.replay.run import replay as run

    # Everything is read, and every mistake in it named, before a database is touched.
    asked = asked_for(config, given)
    inputs = read_files(asked.files, asked.settings)
    with (
        database.dsn(create=True) as dsn,
        scratch_portfolio(dsn, given["keep"]) as name,
        DatabaseStateManager(dsn, portfolio=name) as manager,
        progress_bar("replay", len(inputs.recorded), visible=shows_progress) as progress,
    ):
        done = run(
            manager,
            asked.settings,
            asked.capital,
            inputs.recorded,
            portfolio=database.portfolio,
            marks=inputs.marks,
            progress=progress,
        )
    return done.result, inputs.listed_net
