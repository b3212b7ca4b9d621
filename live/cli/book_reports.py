"""`book tear-sheet` and `book tax-lots`: what a node's returns say of it, and what a portfolio has realised."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from core.errors import ConfigurationError
from live.cli.book_session import Day, session_of
from live.cli.options import DatabaseChoice, Money, config_option, database_options, file_settings, json_option
from live.cli.output import Column, money, note, print_facts, print_json, print_table, say, time

_APRIL = 4
_LIMIT_SECONDS = 600.0
# What of a tear sheet is shown line by line; --json has all of it.
_SHOWN = (
    "node",
    "currency",
    "first_day",
    "last_day",
    "trading_days",
    "days_held",
    "capital_first",
    "capital_last",
    "pnl",
    "cumulative_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "hit_rate",
    "profit_factor",
)


@click.command("tear-sheet", short_help="What a node's returns say of it.")
@click.argument("node_id", metavar="NODE", type=click.IntRange(min=1))
@database_options
@config_option
@click.option("--from", "begins", type=Day(), help="The first day.")
@click.option("--to", "ends", type=Day(), help="The last day.")
@click.option("--currency", help="In this one; without it the node's own.")
@click.option(
    "--capital",
    type=Money(positive=True),
    help="Returns of this capital. [default: that of the portfolios that hang there]",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to this file, a page that needs nothing else.",
)
@json_option
def tear_sheet(
    *,
    node_id: int,
    database: DatabaseChoice,
    config: Path | None,
    begins: date | None,
    ends: date | None,
    currency: str | None,
    capital: Decimal | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Show returns, volatility, ratios and falls of NODE and all below it, by its daily P&L. `book node list` tells the numbers.

    Needs `pip install -r requirements-book.txt`.

    \b
    Examples:
      python portfolio_manager.py book tear-sheet 1
      python portfolio_manager.py book tear-sheet 1 --html tear-sheet.html --from 2026-01-01
    """
    from book.refusals import NoDays
    from book.returns import Asked, returns_of
    from book.tear_sheet import tear_sheet as made_of
    from live.book_tasks import told_of
    from live.contracts_file import DEFAULT_CALENDAR, load_calendar

    calendar = load_calendar(file_settings(config).of(database.portfolio).contracts.calendar or DEFAULT_CALENDAR)
    asked = Asked(node_id=node_id, begins=begins, ends=ends, currency=currency, capital=capital)
    try:
        with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
            returns = returns_of(session, asked, calendar)
    except NoDays as error:
        # Nothing is wrong: there is nothing yet.
        print_json(None) if as_json else say(str(error))
        return
    sheet = made_of(returns)
    if html is not None:
        from live.reports.tear_sheet import page_of

        _write(html, page_of(sheet).encode())
    if as_json:
        print_json(told_of(sheet))
        return
    print_facts({name.replace("_", " "): _text(getattr(sheet, name)) for name in _SHOWN})


def _write(path: Path, content: bytes) -> None:
    from live.replay.reports import write_whole

    try:
        write_whole(path, content)
    except OSError as error:
        raise ConfigurationError(f"`--html`: {path} cannot be written: {error.strerror}") from error
    note(f"written to {path}")


def _text(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


@click.command("tax-lots", short_help="Realised tax lots, with totals by tax year and instrument.")
@database_options
@click.option(
    "--year-begins",
    type=click.IntRange(1, 12),
    default=_APRIL,
    show_default=True,
    help="The month that tax years begin with.",
)
@click.option("--year", help="Of this tax year only, such as 2025-26.")
@json_option
def tax_lots(*, database: DatabaseChoice, year_begins: int, year: str | None, as_json: bool) -> None:
    """Show what the portfolio has realised, first in first out, by tax year and instrument; --json has the lots.

    \b
    Examples:
      python portfolio_manager.py book tax-lots
      python portfolio_manager.py book tax-lots --year-begins 1 --year 2026 --json
    """
    from dataclasses import asdict

    from book.journal_reading import executions_in
    from book.tax_lots import tax_lots as matched
    from book.tax_report import tax_report
    from live.book_tasks import told_of_lots

    with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
        closed, _ = matched(executions_in(session, database.portfolio))
    report = tax_report(database.portfolio, closed, year_begins=year_begins, year=year)
    told = told_of_lots(report)
    if as_json:
        print_json(told)
        return
    totals = [asdict(total) for total in (*report.instruments, *report.years)]
    print_table(_TOTALS, totals, none="nothing is realised")
    if totals:
        print_table(_LOTS, told["lots"][:_MOST_LOTS], none="")


def _money_of(name: str) -> Column:
    return Column(name.replace("_", " "), lambda row: money(row[name]), right=True)


def _named(row: Mapping[str, Any]) -> str:
    return str(row["instrument"] or "(all)")


_MOST_LOTS = 20
_TOTALS = (
    Column("tax year", lambda row: row["tax_year"]),
    Column("instrument", _named),
    Column("closed", lambda row: str(row["closed"]), right=True),
    *(_money_of(name) for name in ("gain", "costs", "gains", "losses", "net_gain")),
)
_LOTS = (
    Column("closed", lambda row: time(row["closed_at"])),
    Column("contract", lambda row: row["contract"]),
    Column("side", lambda row: row["side"]),
    Column("lots", lambda row: str(row["lots"]), right=True),
    Column("days", lambda row: str(row["days_held"]), right=True),
    *(_money_of(name) for name in ("gain", "costs", "net_gain")),
)
