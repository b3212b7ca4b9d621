"""`risk term-structure` and `risk supply`: what the tables tell of instruments as of an instant, for whoever asks."""

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from live.cli.book_session import session_of
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, number, print_json, print_table, say, text
from live.cli.output import time as shown_time
from live.cli.risk_options import TIMEFRAMES, Instant, now

if TYPE_CHECKING:
    from risk.supply import Figure, Supplied
    from risk.term_structure import TermStructure

_LIMIT_SECONDS = 120.0
_as_of = click.option(
    "--as-of", type=Instant(), help="Bars that were over then; without it, now. A day: at its end, in UTC."
)
_stale_days = click.option(
    "--stale-days", type=click.IntRange(0, 10_000), default=10, show_default=True, help="What is older tells nothing."
)
_roll_days = click.option(
    "--roll-days", type=click.IntRange(0, 60), default=8, show_default=True, help="Rolled that near to expiry."
)


@click.command("term-structure", short_help="Contracts beside each other, and what a roll would see.")
@click.argument("instrument")
@_as_of
@click.option("--timeframe", type=click.Choice(TIMEFRAMES), default="1d", show_default=True, help="The bars' length.")
@click.option("--source", help="Who told them; needed where several did.")
@_roll_days
@_stale_days
@database_options
@json_option
def term_structure(
    *,
    instrument: str,
    as_of: datetime | None,
    timeframe: str,
    source: str | None,
    roll_days: int,
    stale_days: int,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Show INSTRUMENT's contracts that have not expired: price, days to expiry, the spread to the next one in points and in
    per cent a year, and which one a position would be in. What is missing is said, with the reason.

    \b
    Example:
      python portfolio_manager.py risk term-structure GOLD_MINI --as-of 2026-01-14
    """
    from live.contracts_file import load_calendar
    from risk.term_structure import contracts_told, term_structure_as_of

    at = as_of or now()
    with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
        of = contracts_told(session, instrument, timeframe, source=source)
        day = load_calendar().day_of(of.exchange, at)
        found = term_structure_as_of(session, of, at, day, roll_days=roll_days, stale_days=stale_days)
    if as_json:
        print_json(found)
        return
    _print_structure(found)


def _print_structure(found: "TermStructure") -> None:
    say(f"{found.instrument}: {found.shape or 'no spread is known'}, by {found.source} {found.timeframe}")
    columns = [
        Column("expiry", lambda row: text(row.expiry)),
        Column("days", lambda row: text(row.days), right=True),
        Column("held", lambda row: "yes" if row.held else ""),
        *(_number(name) for name in ("price", "settlement", "open_interest")),
        Column("time", lambda row: shown_time(row.time)),
        *(_number(name) for name in ("spread", "carry_percent")),
        Column("shape", lambda row: text(row.shape)),
        Column("why not", lambda row: text(row.reason)),
    ]
    print_table(columns, found.contracts, none="every contract has expired")


@click.command("supply", short_help="ATR, volatility, correlations and marks of instruments.")
@click.argument("instruments", metavar="INSTRUMENT...", nargs=-1, required=True)
@_as_of
@click.option("--period", type=click.IntRange(1, 1000), default=14, show_default=True, help="Of Wilder's ATR, bars.")
@click.option("--timeframe", type=click.Choice(TIMEFRAMES), default="1d", show_default=True, help="Of the ATR's bars.")
@click.option(
    "--returns", type=click.IntRange(2, 5000), default=60, show_default=True, help="Days of volatility and correlation."
)
@click.option(
    "--days-per-year", type=click.FloatRange(1, 366), default=250.0, show_default=True, help="Trading days of a year."
)
@_roll_days
@_stale_days
@database_options
@json_option
def supply(
    *,
    instruments: tuple[str, ...],
    as_of: datetime | None,
    period: int,
    timeframe: str,
    returns: int,
    days_per_year: float,
    roll_days: int,
    stale_days: int,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Tell each INSTRUMENT's average true range, realised volatility a year and last mark, and the correlation of each pair, of
    bars that were over. What cannot be told has its reason.

    \b
    Examples:
      python portfolio_manager.py risk supply GOLD_MINI --period 14 --timeframe 1h
      python portfolio_manager.py risk supply GOLD_MINI SILVER_MINI --as-of 2026-01-14T10:00:00Z --json
    """
    from live.contracts_file import load_calendar
    from risk.supply import Method
    from risk.supply import supply as supplied

    method = Method(
        atr_period=period,
        atr_timeframe=timeframe,
        returns=returns,
        days_per_year=days_per_year,
        stale_days=stale_days,
        roll_days=roll_days,
    )
    wanted = list(dict.fromkeys(instruments))
    with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
        found = supplied(session, wanted, as_of or now(), method, day_at=load_calendar().day_of)
    if as_json:
        print_json({**asdict(found), "method": method})
        return
    _print_supplied(found)


def _print_supplied(found: "Supplied") -> None:
    rows = [
        (told.instrument, name, _value(figure), text(figure.observations or ""), figure)
        for told in found.instruments
        for name, figure in (("atr", told.atr), ("volatility a year", told.volatility))
    ]
    columns = [
        Column("instrument", lambda row: row[0]),
        Column("what", lambda row: row[1]),
        Column("value", lambda row: row[2], right=True),
        Column("of", lambda row: row[3], right=True),
        Column("source", lambda row: text(row[4].source)),
        Column("time", lambda row: shown_time(row[4].time)),
        Column("why not", lambda row: text(row[4].reason)),
    ]
    print_table(columns, rows, none="")
    marks = [
        Column("mark of", lambda told: told.instrument),
        Column("price", lambda told: number(told.mark.price), right=True),
        Column("time", lambda told: shown_time(told.mark.time)),
        *(_of_mark(name) for name in ("source", "timeframe", "expiry", "reason")),
    ]
    print_table(marks, found.instruments, none="")
    pairs = [
        Column("correlation of", lambda pair: f"{pair.instrument} and {pair.other}"),
        Column("value", lambda pair: "-" if pair.value is None else f"{pair.value:.4f}", right=True),
        Column("days", lambda pair: text(pair.observations or ""), right=True),
        Column("why not", lambda pair: text(pair.reason)),
    ]
    if found.correlations:
        print_table(pairs, found.correlations, none="")


def _value(figure: "Figure") -> str:
    if figure.value is None:
        return "-"
    return number(figure.value) if isinstance(figure.value, Decimal) else f"{figure.value:.2%}"


def _of_mark(name: str) -> Column:
    return Column(name, lambda told: text(getattr(told.mark, name)))


def _number(name: str) -> Column:
    return Column(name.replace("_", " "), lambda row: number(getattr(row, name)), right=True)
