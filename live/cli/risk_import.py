"""`risk import`: a file of market data, or the journal's own alerts, into the tables."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from core.errors import PortfolioError
from live.cli.book_session import Day, session_of
from live.cli.options import DatabaseChoice, config_option, database_options, file_settings, json_option
from live.cli.output import Column, note, print_facts, print_json, print_table
from live.cli.risk_options import TIMEFRAMES, now

if TYPE_CHECKING:
    from core.config import FileSettings
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
    "broker",
)
_WITHOUT_FILE = ("journal", "broker")
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
@click.option("--from", "first", type=Day(), help="broker: from this day on.")
@click.option("--to", "last", type=Day(), help="broker: up to this day.")
@click.option("--symbol", help="broker: what it calls the instrument. [default: by `brokers.markets`]")
@click.option("--timezone", type=_Zone(), default="Asia/Kolkata", show_default=True, help="Of times without an offset.")
@click.option("--partial", is_flag=True, help="Take the good rows though others are not. [default: all or nothing]")
@click.option("--replace", is_flag=True, help="Take what the file says in place of what is known of the same.")
@config_option
@database_options
@json_option
def import_data(
    *, kind: str, file: Path | None, config: Path | None, database: DatabaseChoice, as_json: bool, **asked: Any
) -> None:
    """Take the rows of FILE (.csv, .parquet, or a .zip of one of them). The same again changes nothing. KIND is a layout:
    tradingview, nse, mcx, yfinance, or our own columns (bars, macro, curves, flows, fiscal, volatilities, signals). Two have no
    file: journal, bars of the closes that the portfolio's alerts told; broker, what OpenAlgo tells of the past, as --config says
    where it is.

    Where a row is bad nothing is taken, unless --partial is given, and each is told with its line; the exit code is then 1.

    \b
    Examples:
      python portfolio_manager.py risk import tradingview chart.csv --instrument GOLD_MINI --timeframe 1h
      python portfolio_manager.py risk import nse BhavCopy_NSE_FO_0_0_0_20260114_F_0000.csv.zip
      python portfolio_manager.py risk import journal --instrument BANK_NIFTY --timeframe 1d
      python portfolio_manager.py risk import broker --instrument GOLD_MINI --timeframe 1d --from 2026-01-01 --to 2026-01-31
    """
    from risk.importing import NothingImported, take

    if (kind in _WITHOUT_FILE) == (file is not None):
        raise click.UsageError(f"{' and '.join(_WITHOUT_FILE)} have no FILE, and every other KIND needs one")
    if kind != "broker" and any(asked[name] is not None for name in ("first", "last", "symbol")):
        raise click.UsageError("--from, --to and --symbol are of broker")
    given = _import(kind, asked)
    if kind == "broker":
        # Asked before there is a transaction that would wait for it.
        given, told = _of_broker(given, file_settings(config).of(database.portfolio), asked)
    elif file is not None:
        told = _of_file(file)
    try:
        with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
            if kind == "journal":
                told = _of_journal(session, database.portfolio, asked)
            done = take(session, given, told)
    except NothingImported as error:
        _tell(given, None, error.problems, as_json=as_json)
        raise click.exceptions.Exit(1) from error
    _tell(given, done, done.problems, as_json=as_json)


def _of_file(file: Path) -> "Told":
    from risk.importers.told import read_file

    return read_file(file.name, file.read_bytes())


def _of_journal(session: Any, portfolio: str, asked: Mapping[str, Any]) -> "Told":
    from risk.importers.journal import bars_of_journal

    instrument, timeframe = _bars_asked("journal", asked, "instrument", "timeframe")
    return bars_of_journal(session, portfolio, instrument, timeframe, zone=asked["timezone"])


def _of_broker(given: "Import", configured: "FileSettings", asked: Mapping[str, Any]) -> "tuple[Import, Told]":
    """The import with what the broker calls the instrument, and what it tells."""
    from live.broker_history import AdapterHistory, broker_with_history, listed_as
    from risk.importers.history import bars_of_history

    instrument, timeframe, first, last = _bars_asked("broker", asked, "instrument", "timeframe", "first", "last")
    zone, expiry = asked["timezone"], asked["expiry"]
    if last < first:
        raise click.BadParameter(f"{last} is before --from {first}", param_hint="--to")
    listed = listed_as(configured, instrument, expiry, asked["symbol"])
    since, until = (datetime(day.year, day.month, day.day, tzinfo=zone) for day in (first, last + timedelta(days=1)))
    with broker_with_history(configured) as broker:
        history = AdapterHistory(broker, listed.exchange, zone)
        told = bars_of_history(history, listed.symbol, timeframe, since, until, now=now(), expiry=expiry)
    return dataclasses.replace(given, symbols={listed.symbol: instrument}), told


def _bars_asked(kind: str, asked: Mapping[str, Any], *names: str) -> list[Any]:
    options = {"instrument": "--instrument", "timeframe": "--timeframe", "first": "--from", "last": "--to"}
    if any(asked[name] is None for name in names):
        needed = [options[name] for name in names]
        raise PortfolioError(f"{kind}: give {', '.join(needed[:-1])} and {needed[-1]}")
    return [asked[name] for name in names]


def _import(kind: str, asked: Mapping[str, Any]) -> "Import":
    from risk.importing import Import

    teller = {"journal": ("engine", "engine"), "broker": ("openalgo", "broker")}
    source, source_kind = teller.get(kind, (None, None))
    # Their rows say of what they are.
    tells_all = kind in _WITHOUT_FILE
    return Import(
        kind="bars" if tells_all else kind,
        zone=asked["timezone"],
        source=asked["source"] or source,
        source_kind=source_kind,
        instrument=None if tells_all else asked["instrument"],
        timeframe=asked["timeframe"],
        expiry=None if tells_all else asked["expiry"],
        symbols=_symbols(asked["mapped"]),
        partial=asked["partial"],
        replace=asked["replace"],
    )


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
