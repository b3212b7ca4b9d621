"""`doctor`: all that `live` depends on, looked at without changing anything."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from live.cli.options import config_option, database_options, json_option, listen_options, url_or_none
from live.cli.output import colour_of, console, print_json, printable, say
from live.options import LiveOptions

if TYPE_CHECKING:
    from live.cli.options import DatabaseChoice
    from live.doctor.findings import Finding

_LONGEST_OUTCOME = len("warning")


@click.command(short_help="Look at all that `live` depends on, and say how to mend it.")
@listen_options
@database_options
@config_option
@click.option("--url", callback=url_or_none, help="The address that TradingView calls, to be looked at from here.")
@click.option(
    "--start-database", is_flag=True, help="Start the embedded database where it does not run; it is stopped again."
)
@click.option(
    "--within",
    type=click.FloatRange(0.1, 600),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="What has not answered by then has failed.",
)
@json_option
def doctor(
    *,
    host: str,
    port: int,
    broker: str,
    database: "DatabaseChoice",
    config: Path | None,
    url: str | None,
    start_database: bool,
    within: float,
    as_json: bool,
) -> None:
    """Look at configuration, database, migrations, clock, disk, port, broker, Redis, webhook and secrets. Takes `live`'s options.

    It changes nothing and starts nothing: no database is made, no order sent; the webhook gets an empty alert, which is refused.
    Each finding is ok, a warning, failed or skipped, and says how to mend it.

    Exit codes: 0 nothing failed, 1 something did; 2 wrong usage.

    \b
    Examples:
      python portfolio_manager.py doctor --config config/portfolio.toml
      python portfolio_manager.py doctor --broker openalgo --json | jq '.findings[] | select(.outcome == "failed")'
      python portfolio_manager.py doctor --url https://alerts.example.com
    """
    from live.bootstrap import utc_now
    from live.doctor.checks import look_at_all
    from live.doctor.findings import Outcome
    from live.logs import configure_logging

    configure_logging()  # to stderr
    options = LiveOptions(
        host=host,
        port=port,
        data_dir=database.data_dir,
        db_config=database.db_config,
        db_env=database.db_env,
        portfolios=(database.portfolio,),
        config=config,
        broker=broker,
    )
    findings = look_at_all(options, url=url, start_database=start_database, within=within, clock=utc_now)
    counts = Counter(finding.outcome for finding in findings)
    if as_json:
        rows = [
            {name: getattr(finding, name) for name in ("check", "outcome", "found", "mend")} for finding in findings
        ]
        print_json({"failed": counts[Outcome.FAILED], "warnings": counts[Outcome.WARNING], "findings": rows})
    else:
        _print(findings)
        say(", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome))
    if counts[Outcome.FAILED]:
        raise click.exceptions.Exit(1)


def _print(findings: Sequence["Finding"]) -> None:
    """A table on a terminal; else lines that a pipe can search."""
    shown = console(as_wide_as_the_terminal=True)
    if shown.is_terminal:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table("check", "", "found", "how to mend it", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for finding in findings:
            outcome = Text(finding.outcome, style=colour_of(finding.outcome))
            table.add_row(Text(finding.check), outcome, Text(printable(finding.found)), Text(printable(finding.mend)))
        shown.print(table)
        return
    for finding in findings:
        mend = f" To mend: {finding.mend}." if finding.mend else ""
        say(f"{finding.outcome.ljust(_LONGEST_OUTCOME)}  {finding.check}: {finding.found}.{mend}")
