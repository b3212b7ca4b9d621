"""`replay`: recorded inputs through the live engine's own path, in a scratch portfolio."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.numbers import DEFAULT_CAPITAL
from live.cli.names import instrument_names
from live.cli.options import DatabaseChoice, Money, Price, config_option, database_options, file_settings, json_option
from live.cli.output import note, print_json
from live.cli.progress import progress_bar

if TYPE_CHECKING:
    from live.replay.files import Inputs
    from live.replay.model import ReplayResult

_DIFFERS_BY = 1000  # one part in so many
_OUT = click.Path(dir_okay=False, writable=True, path_type=Path)


class _Percent(Price):
    name = "percent"

    def __init__(self) -> None:
        super().__init__()
        self._positive = False


@click.command(short_help="Replay a list of trades or recorded alerts.")
@click.argument("files", metavar="[NAME=]FILE...", nargs=-1, required=True)
@database_options
@config_option
@click.option("--sizing", type=click.Choice(["as-listed", "rules"]), help="[default: as-listed for a list of trades]")
@click.option(
    "--instrument",
    default="BANK_NIFTY",
    show_default=True,
    shell_complete=instrument_names,
    help="What a file without NAME is of.",
)
@click.option("--bars", multiple=True, metavar="[NAME=]FILE", help="A chart's OHLC as CSV: stops, marks, ATR and ER.")
@click.option("--point-value", type=Price(), help="Money per point and lot, instead of the configured one.")
@click.option("--commission-percent", type=_Percent(), help="Of turnover, a side.")
@click.option("--slippage", type=_Percent(), help="Per cent of the price, against us.")
@click.option("--capital", type=Money(positive=True), help="To begin with. [default: the configuration's, 5000000]")
@click.option("--from", "start", metavar="TIME", help="Leave out bars before this date or time.")
@click.option("--to", "end", metavar="TIME", help="Leave out bars from this date or time on.")
@click.option("--timezone", help="Of times without an offset. [default: the configuration's, Asia/Kolkata]")
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
    from live.replay.run import replay as run

    # Everything is read, and every mistake in it named, before a database is touched.
    inputs, settings, capital = _read(config, given)
    with (
        database.dsn(create=True) as dsn,
        scratch_portfolio(dsn, given["keep"]) as name,
        DatabaseStateManager(dsn, portfolio=name) as manager,
        progress_bar("replay", len(inputs.recorded), visible=shows_progress) as progress,
    ):
        done = run(
            manager,
            settings,
            capital,
            inputs.recorded,
            portfolio=database.portfolio,
            marks=inputs.marks,
            progress=progress,
        )
    return done.result, inputs.listed_net


def _read(config: Path | None, given: dict[str, Any]) -> tuple["Inputs", Any, Decimal]:
    from core.trading_calendar import time_zone
    from live.replay.files import Files, holds_alerts, read_files
    from live.replay.settings import Overrides, replay_settings

    configured = file_settings(config)
    try:
        zone = time_zone(given["timezone"] or configured.naive_timezone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timezone") from error
    paths = [_named(text, given["instrument"], "FILE") for text in given["files"]]
    all_alerts = all(holds_alerts(path) for _, path in paths)
    sizing = given["sizing"] or ("rules" if all_alerts else "as-listed")
    overrides = Overrides(
        as_listed=sizing == "as-listed",
        instrument=given["instrument"],
        point_value=given["point_value"],
        commission_percent=given["commission_percent"],
        slippage_percent=given["slippage"],
    )
    settings = replay_settings(configured.settings, overrides)
    files = Files(
        paths=paths,
        bars=dict(_named(text, given["instrument"], "--bars") for text in given["bars"]),
        timezone=zone,
        start=_time("--from", given["start"], zone),
        end=_time("--to", given["end"], zone),
        profile=configured.intake_profile(),
    )
    capital = given["capital"] or configured.initial_capital or DEFAULT_CAPITAL
    return read_files(files, settings), settings, capital


def _named(text: str, instrument: str, option: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    found = (name, Path(path)) if separator and not Path(text).exists() else (instrument, Path(text))
    if not found[1].is_file():
        raise click.BadParameter(f"{found[1]} is no file", param_hint=option)
    return found


def _time(option: str, text: str | None, zone: Any) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} must be like 2020-01-31 or 2020-01-31T09:15", param_hint=option) from error
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
