"""`risk`: market data into the database, what of it is there, what is wrong with it, and what was known when."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from live.cli.book_session import Day, session_of
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, number, print_json, print_table, text
from live.cli.output import time as shown_time
from live.cli.risk_daily import batch, factors, scenarios, show
from live.cli.risk_foresee import foresee
from live.cli.risk_import import import_data
from live.cli.risk_option import option
from live.cli.risk_options import Instant, bars_options, now
from live.cli.risk_session import begin, cancel, complete, list_sessions, session, verify
from live.cli.risk_session import show as show_session
from live.cli.risk_session_changes import add, remove, resize, roll, shock, undo
from live.cli.risk_session_files import compare, export, exports, snapshot
from live.cli.risk_simulate import ruin, simulate
from live.cli.risk_supply import supply, term_structure
from live.cli.risk_sweep import sweep
from live.cli.risk_tags import by_tag, tag

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from risk.as_of import Bar, BarsOf
    from risk.continuous import Continuous

_ADJUSTMENTS = ("difference", "ratio", "none")
_PRICES = ("open", "high", "low", "close", "settlement", "volume", "open_interest")
# A million bars are looked at one by one.
_LIMIT_SECONDS = 600.0


@click.group(short_help="Market data and the risk lab: import, bars, batch, show.")
def risk() -> None:
    """Keep and look at market data; the engine reads none of it. `migrate --book` makes the tables.

    \b
    Examples:
      python portfolio_manager.py risk import tradingview chart.csv --instrument GOLD_MINI --timeframe 1h
      python portfolio_manager.py risk bars GOLD_MINI --timeframe 1h --as-of 2026-01-14T10:00:00Z
    """


for _command in (
    import_data,
    batch,
    show,
    scenarios,
    factors,
    simulate,
    ruin,
    sweep,
    term_structure,
    supply,
    tag,
    by_tag,
):
    risk.add_command(_command)
for _command in (foresee, session, exports, option):
    risk.add_command(_command)
for _command in (begin, list_sessions, show_session, add, resize, roll, shock, remove, undo):
    session.add_command(_command)
for _command in (snapshot, compare, export, verify, complete, cancel):
    session.add_command(_command)


@risk.command("series", short_help="What is there: bars by contract, and series.")
@database_options
@json_option
def series(*, database: DatabaseChoice, as_json: bool) -> None:
    """List which bars there are, how many and from when to when, and every series of every source.

    \b
    Example:
      python portfolio_manager.py risk series
    """
    from risk.register import kept_bars, kept_series

    with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
        bars, others = kept_bars(session), kept_series(session)
    if as_json:
        print_json({"bars": bars, "series": others})
        return
    names = ("instrument", "timeframe", "source", "expiry")
    columns = [
        *(Column(name, _cell(name)) for name in names),
        Column("options", lambda row: "yes" if row["options"] else ""),
        Column("bars", _cell("bars"), right=True),
        Column("first", _cell("first")),
        Column("last", _cell("last")),
    ]
    print_table(columns, bars, none="there are no bars: `risk import` brings some")
    told = ("source", "series_code", "name", "frequency", "unit", "instrument")
    print_table([Column(name, _cell(name)) for name in told], others, none="there is no series")


@risk.command("bars", short_help="The last bars, as they were known at a time.")
@click.argument("instrument")
@bars_options
@click.option("--as-of", type=Instant(), help="Bars that were over then; without it, now. A day: at its end, in UTC.")
@click.option("--last", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="At most so many.")
@click.option("--continuous", "adjustment", type=click.Choice(_ADJUSTMENTS), help="One series of all contracts.")
@click.option(
    "--roll-days", type=click.IntRange(0, 60), default=8, show_default=True, help="Rolled that near to expiry."
)
@database_options
@json_option
def bars(
    *,
    instrument: str,
    timeframe: str,
    source: str | None,
    expiry: date | None,
    as_of: datetime | None,
    last: int,
    adjustment: str | None,
    roll_days: int,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Show INSTRUMENT's last bars that were over at --as-of, of one contract with --expiry.

    With --continuous contracts are joined to one series, rolled as positions are, and what came before a roll is moved by its
    spread: added (difference), multiplied (ratio), or left (none).

    \b
    Examples:
      python portfolio_manager.py risk bars GOLD_MINI --timeframe 1d --last 5
      python portfolio_manager.py risk bars GOLD_MINI --continuous difference
    """
    from risk.as_of import bars_as_of, bars_of

    at = as_of or now()
    with session_of(database) as session:
        if adjustment is None:
            of = bars_of(session, instrument, timeframe, source=source, expiry=expiry)
            found, rolls = bars_as_of(session, of, at, last=last), []
        else:
            joined = _continuous(session, instrument, timeframe, source, at, adjustment, roll_days)
            found, rolls = list(joined.bars[-last:]), _told_rolls(joined)
    if as_json:
        told = {"instrument": instrument, "timeframe": timeframe, "as_of": at}
        print_json({**told, "bars": found, **({} if adjustment is None else {"rolls": rolls})})
        return
    columns = [Column("time", lambda bar: shown_time(bar.timestamp)), *(_price(name) for name in _PRICES)]
    print_table(columns, found, none="no bar was over by then")
    if rolls:
        told_of = ("near", "far", "time", "near_close", "far_close", "spread", "ratio")
        print_table([Column(name, _cell(name)) for name in told_of], rolls, none="")


@risk.command("quality", short_help="Gaps, splits, bad ticks and stale stretches of bars.")
@click.argument("instrument")
@bars_options
@click.option("--since", type=Day(), help="From this day on; without it, from the first bar on.")
@click.option("--as-of", type=Instant(), help="Also look whether bars are missing at the end by then.")
@database_options
@json_option
def quality(
    *,
    instrument: str,
    timeframe: str,
    source: str | None,
    expiry: date | None,
    since: date | None,
    as_of: datetime | None,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Look for what is wrong with INSTRUMENT's bars: bars missing by its exchange's calendar or outside of its hours, jumps like
    splits, prices far off, prices that stand still. Nothing is changed.

    \b
    Example:
      python portfolio_manager.py risk quality GOLD_MINI --timeframe 1d --as-of 2026-01-14
    """
    from live.contracts_file import load_calendar
    from risk.as_of import bars_as_of, bars_of
    from risk.quality import counted, findings

    with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
        of = bars_of(session, instrument, timeframe, source=source, expiry=expiry)
        looked_at = bars_as_of(session, of, as_of or now(), last=10_000_000)
        exchange = _exchange(session, instrument)
    if since is not None:
        looked_at = [bar for bar in looked_at if bar.timestamp.date() >= since]
    found = findings(looked_at, timeframe=timeframe, calendar=load_calendar(), exchange=exchange, as_of=as_of)
    if as_json:
        print_json({"bars": len(looked_at), "counts": counted(found), "findings": found})
        return
    columns = [
        Column("kind", lambda each: each.kind),
        Column("from", lambda each: shown_time(each.first)),
        Column("to", lambda each: shown_time(each.last)),
        Column("what", lambda each: each.detail),
    ]
    print_table(columns, found, none=f"nothing is wrong with {len(looked_at)} bars")


def _continuous(
    session: "Session",
    instrument: str,
    timeframe: str,
    source: str | None,
    at: datetime,
    adjustment: str,
    roll_days: int,
) -> "Continuous":
    from live.contracts_file import load_calendar
    from risk.continuous import Adjustment, continuous, contracts_of
    from risk.market_data import TIMEFRAMES

    of = _of_contracts(session, instrument, timeframe, source)
    until = at - TIMEFRAMES[timeframe]
    contracts = contracts_of(session, of.instrument_id, of.source_id, timeframe=timeframe, until=until)
    calendar, exchange = load_calendar(), _exchange(session, instrument)
    times = {bar.timestamp for own in contracts.values() for bar in own}
    days = {time: calendar.day_of(exchange, time) for time in times}
    return continuous(contracts, roll_days=roll_days, days=days, adjustment=Adjustment(adjustment))


def _of_contracts(session: "Session", instrument: str, timeframe: str, source: str | None) -> "BarsOf":
    """Which bars of contracts are meant: those of any expiry."""
    from risk.as_of import NoSuchBars, bars_of
    from risk.register import kept_bars

    for row in kept_bars(session):
        is_it = (row["instrument"], row["timeframe"]) == (instrument, timeframe) and source in (None, row["source"])
        if is_it and row["expiry"] is not None and not row["options"]:
            return bars_of(session, instrument, timeframe, source=source, expiry=row["expiry"])
    raise NoSuchBars(f"there are no bars of contracts of {instrument} {timeframe}")


def _told_rolls(joined: "Continuous") -> list[dict[str, Any]]:
    return [
        {
            "near": roll.near,
            "far": roll.far,
            "time": roll.timestamp,
            "near_close": roll.near_close,
            "far_close": roll.far_close,
            "spread": roll.spread,
            "ratio": roll.ratio,
        }
        for roll in joined.rolls
    ]


def _exchange(session: "Session", instrument: str) -> str:
    from sqlalchemy import select

    from risk.models import Instrument

    return session.scalar(select(Instrument.exchange).where(Instrument.symbol == instrument)) or ""


def _price(name: str) -> Column:
    def cell(bar: "Bar") -> str:
        return number(getattr(bar, name))

    return Column(name.replace("_", " "), cell, right=True)


def _cell(name: str) -> Any:
    def cell(row: Mapping[str, Any]) -> str:
        value = row[name]
        if isinstance(value, datetime):
            return shown_time(value)
        return number(value) if isinstance(value, Decimal) else text(value)

    return cell
