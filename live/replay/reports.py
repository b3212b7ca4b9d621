"""A replay's outcome as JSON, as CSV and as tables for the terminal; files appear whole or not at all."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from live.cli.output import jsonable, printable
from live.replay.model import OpenTrade, ReplayResult, Trade
from live.replay.summary import Figures, Group, Summary

if TYPE_CHECKING:
    from rich.table import Table

TRADE_KEYS = (
    "number",
    "instrument",
    "layer",
    "lots",
    "entry_time",
    "entry_price",
    "exit_time",
    "exit_price",
    "net_pnl",
)
OPEN_KEYS = ("instrument", "layer", "lots", "entry_time", "entry_price", "mark_price", "unrealized_pnl")
CSV_COLUMNS = (
    "state",
    "number",
    "instrument",
    "layer",
    "side",
    "lots",
    "entry_time",
    "entry_price",
    "exit_time",
    "exit_price",
    "net_pnl",
    "initial_risk",
    "reason",
    "mark_price",
    "unrealized_pnl",
)
UNDEFINED = "-"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_GAIN, _LOSS = "green", "red"
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


# --- JSON


def as_json(result: ReplayResult, summary: Summary) -> dict[str, Any]:
    """What `replay --json` prints: decimals as strings, times ISO 8601 UTC, open trades apart and not counted."""
    document = {
        "trades": [_members(trade, TRADE_KEYS) for trade in result.trades],
        "open": [_members(trade, OPEN_KEYS) for trade in result.open_trades],
        "capital": summary.capital,
        "net_pnl": summary.net_pnl,
        "max_drawdown": summary.max_drawdown,
        "final_equity": summary.final_equity,
        "started_at": result.started_at,
        "ended_at": result.ended_at,
        "signals": result.signals,
        "outcomes": result.outcomes,
        "summary": _summary_members(summary),
    }
    plain: dict[str, Any] = jsonable(document)
    return plain


def _summary_members(summary: Summary) -> dict[str, Any]:
    members = asdict(summary)
    seconds = Decimal(members.pop("longest_flat") // timedelta(microseconds=1)).scaleb(-6)
    extremes = {
        name: None if trade is None else _members(trade, TRADE_KEYS)
        for name, trade in (("best", summary.best), ("worst", summary.worst))
    }
    return {**members, **extremes, "longest_flat_seconds": seconds}


def _members(trade: Trade | OpenTrade, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(trade, name) for name in names}


# --- CSV


def write_csv(result: ReplayResult, path: Path) -> None:
    """One row a closed trade in the order of their closing, then the open ones with `state` open and no exit.

    Text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV injection).
    """
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, CSV_COLUMNS, restval="")
    rows.writeheader()
    for trade in result.trades:
        rows.writerow(_csv_row("closed", trade))
    for open_trade in result.open_trades:
        rows.writerow(_csv_row("open", open_trade))
    write_whole(path, text.getvalue().encode())


def _csv_row(state: str, trade: Trade | OpenTrade) -> dict[str, Any]:
    cells = {name: jsonable(value) for name, value in asdict(trade).items()}
    texts: dict[str, Any] = {
        name: _harmless(cells[name]) for name in ("instrument", "layer", "reason") if name in cells
    }
    return {"state": state, **cells, **texts}


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` at `path` at once, by a temporary sibling and a rename; a failure leaves what was there.

    A device or a pipe is written to as it is: it cannot be half-replaced, and must not be replaced at all.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    sibling = target.with_name(f".{token_hex(8)}.part")
    try:
        with sibling.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sibling.replace(target)
    finally:
        sibling.unlink(missing_ok=True)


# --- words and figures for people


def facts(summary: Summary) -> list[tuple[str, str]]:
    """The summary as names and texts, in the order in which they are asked for."""
    return [
        ("Net P&L", money_text(summary.net_pnl, signed=True)),
        ("Final equity", money_text(summary.final_equity)),
        ("Capital", money_text(summary.capital)),
        ("CAGR", percent_text(summary.cagr)),
        ("Max drawdown", money_text(summary.max_drawdown)),
        ("Max drawdown %", percent_text(summary.max_drawdown_percent)),
        ("Trades closed", f"{summary.trades:,}"),
        ("Won / lost", f"{summary.won:,} / {summary.lost:,}"),
        ("Win rate", percent_text(summary.win_rate)),
        ("Profit factor", ratio_text(summary.profit_factor)),
        ("Expectancy a trade", money_text(summary.expectancy, signed=True)),
        ("Expectancy in R", ratio_text(summary.expectancy_r)),
        ("Average win", money_text(summary.average_win, signed=True)),
        ("Average loss", money_text(summary.average_loss, signed=True)),
        ("Best trade", _extreme(summary.best)),
        ("Worst trade", _extreme(summary.worst)),
        ("Longest losing streak", f"{summary.longest_losing_streak:,}"),
        ("Exposure", percent_text(summary.exposure)),
        ("Longest flat", duration_text(summary.longest_flat)),
        ("Still open, not counted", _open_text(summary)),
    ]


def group_cells(group: Figures) -> list[str]:
    """A group's row below GROUP_HEADINGS, its name left out."""
    return [
        f"{group.trades:,}",
        percent_text(group.win_rate),
        money_text(group.net_pnl, signed=True),
        percent_text(group.return_percent) if isinstance(group, Group) else UNDEFINED,
        money_text(group.expectancy, signed=True),
        ratio_text(group.expectancy_r),
        ratio_text(group.profit_factor),
        money_text(group.max_drawdown),
        percent_text(group.max_drawdown_percent),
    ]


GROUP_HEADINGS = (
    "Trades",
    "Win rate",
    "Net P&L",
    "Return",
    "Expectancy",
    "In R",
    "Profit factor",
    "Max drawdown",
    "Drawdown %",
)


def money_text(value: Decimal | None, *, signed: bool = False) -> str:
    """Money with thousands separators and two decimals; `-` where it is undefined."""
    if value is None:
        return UNDEFINED
    text = f"{value:,.2f}"
    if text == "-0.00":
        return "0.00"
    return f"+{text}" if signed and value > 0 else text


def percent_text(value: Decimal | None) -> str:
    """Per cent with two decimals."""
    return UNDEFINED if value is None else f"{money_text(value)} %"


def ratio_text(value: Decimal | None) -> str:
    """A ratio with three decimals."""
    return UNDEFINED if value is None else f"{value:,.3f}"


def duration_text(span: timedelta) -> str:
    """Days and hours; below a day, hours and minutes."""
    days, rest = divmod(span, _DAY)
    hours, rest = divmod(rest, _HOUR)
    return f"{days:,} d {hours} h" if days else f"{hours} h {rest // timedelta(minutes=1)} min"


def _extreme(trade: Trade | None) -> str:
    return UNDEFINED if trade is None else f"{money_text(trade.net_pnl, signed=True)} (#{trade.number})"


def _open_text(summary: Summary) -> str:
    return f"{summary.open:,} at {money_text(summary.unrealized_pnl, signed=True)}" if summary.open else "none"


# --- tables for the terminal


def tables(summary: Summary, result: ReplayResult) -> list["Table"]:
    """The summary, by year, by instrument, and what is still open: tables for a rich console."""
    shown = [
        _table("Replay", ("", ""), facts(summary)),
        _table("By year", ("Year", *GROUP_HEADINGS), _group_rows(summary.by_year)),
        _table("By instrument", ("Instrument", *GROUP_HEADINGS), _group_rows(summary.by_instrument)),
        _table("Open at the end, not counted", OPEN_HEADINGS, map(open_cells, result.open_trades)),
    ]
    return [table for table in shown if table.row_count]


OPEN_HEADINGS = ("Instrument", "Layer", "Lots", "Entry (UTC)", "Entry price", "Mark", "Unrealized P&L")


def open_cells(trade: OpenTrade) -> list[str]:
    """An open trade's row below OPEN_HEADINGS."""
    return [
        trade.instrument,
        trade.layer,
        f"{trade.lots:,}",
        f"{trade.entry_time:%Y-%m-%d %H:%M}",
        price_text(trade.entry_price),
        price_text(trade.mark_price),
        money_text(trade.unrealized_pnl, signed=True),
    ]


def price_text(value: Decimal) -> str:
    """A price with thousands separators and at least two decimals, all that it has."""
    whole, _, decimals = f"{value:,f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def _group_rows(groups: Iterable[Group]) -> list[list[str]]:
    return [[group.name, *group_cells(group)] for group in groups]


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        show_header=any(headings),
    )
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell), style=_style(cell)) for cell in row))
    return table


def _style(cell: str) -> str:
    if cell.startswith("+"):
        return _GAIN
    return _LOSS if cell.startswith("-") and cell != UNDEFINED else ""
