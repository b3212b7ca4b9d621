"""`risk import`: a file of market data, or the journal's own alerts, into the tables."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from core.errors import PortfolioError
from live.cli.book_session import Day, session_of
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, note, print_facts, print_json, print_table
from live.cli.risk_options import TIMEFRAMES

if TYPE_CHECKING:
    from risk.importers.told import Told
    from risk.importing import Import, Imported
    from risk.upsert import Problem

_KINDS = (
    "tradingview",
    "nse",
    "mcx",
    "yfinance",
    "bars",
    "macro",
    "curves",
    "flows",
    "fiscal",
    "volatilities",
    "signals",
    "journal",
)
_MOST_SHOWN = 50
# Ten million rows take a while.
_LIMIT_SECONDS = 3600.0


class _Zone(click.ParamType[ZoneInfo]):
    """A time zone by its IANA name."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        """The zone."""
        from core.trading_calendar import time_zone

        if isinstance(value, ZoneInfo):
            return value
        try:
            return time_zone(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("import", short_help="Take a file of bars, series, curves or signals.")
@click.argument("kind", metavar="KIND", type=click.Choice(_KINDS))
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--instrument", help="The master's name of what all bars are of, where the file does not tell.")
@click.option("--timeframe", type=click.Choice(TIMEFRAMES), help="The bars' length, where the file does not tell.")
@click.option("--expiry", type=Day(), help="All bars are of the contract that expires then.")
@click.option("--source", help="Who tells it. [default: by KIND]")
@click.option(
    "--map", "mapped", multiple=True, metavar="THEIRS=OURS", help="What the file calls an instrument of ours."
)
@click.option("--timezone", type=_Zone(), default="Asia/Kolkata", show_default=True, help="Of times without an offset.")
@click.option("--partial", is_flag=True, help="Take the good rows though others are not. [default: all or nothing]")
@click.option("--replace", is_flag=True, help="Take what the file says in place of what is known of the same.")
@database_options
@json_option
def import_data(
    *,
    kind: str,
    file: Path | None,
    instrument: str | None,
    timeframe: str | None,
    expiry: date | None,
    source: str | None,
    mapped: tuple[str, ...],
    timezone: ZoneInfo,
    partial: bool,
    replace: bool,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Take the rows of FILE (.csv, .parquet, or a .zip of one of them). The same again changes nothing. KIND is a layout:
    tradingview, nse, mcx, yfinance, or our own columns (bars, macro, curves, flows, fiscal, volatilities, signals); journal
    has no file: bars of the closes that the portfolio's alerts told.

    Where a row is bad nothing is taken, unless --partial is given, and each is told with its line; the exit code is then 1.

    \b
    Examples:
      python portfolio_manager.py risk import tradingview chart.csv --instrument GOLD_MINI --timeframe 1h
      python portfolio_manager.py risk import nse BhavCopy_NSE_FO_0_0_0_20260114_F_0000.csv.zip
      python portfolio_manager.py risk import journal --instrument BANK_NIFTY --timeframe 1d
    """
    from risk.importing import Import, NothingImported, take

    if (kind == "journal") == (file is not None):
        raise click.UsageError("journal has no FILE, and every other KIND needs one")
    given = Import(
        kind="bars" if kind == "journal" else kind,
        zone=timezone,
        source=source or ("engine" if kind == "journal" else None),
        source_kind="engine" if kind == "journal" else None,
        instrument=None if kind == "journal" else instrument,
        timeframe=timeframe,
        expiry=None if kind == "journal" else expiry,
        symbols=_symbols(mapped),
        partial=partial,
        replace=replace,
    )
    try:
        with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
            of_journal = (session, database.portfolio, instrument, timeframe, timezone)
            told = _of_journal(*of_journal) if file is None else _of_file(file)
            done = take(session, given, told)
    except NothingImported as error:
        _tell(given, None, error.problems, as_json=as_json)
        raise click.exceptions.Exit(1) from error
    _tell(given, done, done.problems, as_json=as_json)


def _of_file(file: Path) -> "Told":
    from risk.importers.told import read_file

    return read_file(file.name, file.read_bytes())


def _of_journal(session: Any, portfolio: str, instrument: str | None, timeframe: str | None, zone: ZoneInfo) -> "Told":
    from risk.importers.journal import bars_of_journal

    if instrument is None or timeframe is None:
        raise PortfolioError("journal: give --instrument and --timeframe")
    return bars_of_journal(session, portfolio, instrument, timeframe, zone=zone)


def _symbols(mapped: tuple[str, ...]) -> Mapping[str, str]:
    """What exchanges call our instruments, and what the command says."""
    from live.contracts_file import load_contract_rules

    found = {rules.symbol: name for name, rules in load_contract_rules().items()}
    for pair in mapped:
        theirs, is_pair, ours = pair.rpartition("=")
        if not (is_pair and theirs and ours):
            raise click.BadParameter(f"{pair!r} must be like BANKNIFTY=BANK_NIFTY", param_hint="--map")
        found[theirs] = ours
    return found


def _tell(given: "Import", done: "Imported | None", problems: "list[Problem]", *, as_json: bool) -> None:
    shown = [{"line": each.line, "reason": each.reason} for each in problems[:_MOST_SHOWN]]
    more = len(problems) - len(shown)
    facts: dict[str, Any] = {"status": "nothing imported" if done is None else "imported", "kind": given.kind}
    if done is not None:
        facts |= {name: getattr(done, name) for name in ("rows", "inserted", "same", "changed")}
    facts["refused"] = len(problems)
    left_out = {} if done is None else dict(done.left_out)
    if as_json:
        print_json({**facts, "left_out": left_out, "problems": shown, "more_problems": more})
        return
    counted = {f"left out, {why}": str(count) for why, count in left_out.items()}
    print_facts({**{name: str(value) for name, value in facts.items()}, **counted})
    columns = [Column("line", lambda row: str(row["line"]), right=True), Column("reason", lambda row: row["reason"])]
    print_table(columns, shown, none="every row is good")
    if more:
        note(f"and {more} more rows")
