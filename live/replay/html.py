"""A replay's outcome as one page that needs nothing else: charts, tables and scripts are all inside it."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from jinja2.utils import htmlsafe_json_dumps

from core.numbers import quotient
from live.replay import reports
from live.replay.model import ReplayResult, Trade
from live.replay.summary import EquityPoint, MonthReturn, Summary, equity_curve, monthly_returns
from live.single_page import Cell, environment_of, heat, policy, script_and_style, trusted

_HERE = Path(__file__).parent
_TRADE_HEADINGS = (
    ("#", "number"),
    ("Instrument", "text"),
    ("Layer", "text"),
    ("Lots", "number"),
    ("Entry (UTC)", "text"),
    ("Entry price", "number"),
    ("Exit (UTC)", "text"),
    ("Exit price", "number"),
    ("Net P&L", "number"),
    ("R", "number"),
    ("Reason", "text"),
)


def write_html(result: ReplayResult, summary: Summary, path: Path) -> None:
    """Write the page at once; the same replay gives the same bytes."""
    reports.write_whole(path, page(result, summary).encode())


def page(result: ReplayResult, summary: Summary) -> str:
    """The page. Its Content-Security-Policy admits its own script and style by hash, and no host at all."""
    script, style = script_and_style(_HERE / "templates/report.js", _HERE / "templates/report.css")
    curve = equity_curve(result)
    return (
        environment_of(_HERE / "templates")
        .get_template("report.html")
        .render(
            policy=policy(script, style),
            script=trusted(script),
            style=trusted(style),
            data=htmlsafe_json_dumps(_chart_data(result, curve), dumps=partial(json.dumps, separators=(",", ":"))),
            title=_title(result),
            facts=[(name, _signed(text)) for name, text in reports.facts(summary)],
            in_words=_in_words(curve, summary),
            outcomes=[f"{count:,} {name}" for name, count in sorted(result.outcomes.items())],
            signals=f"{result.signals:,}",
            months=_month_rows(monthly_returns(result), summary),
            group_headings=reports.GROUP_HEADINGS,
            by_year=[_group_row(group.name, reports.group_cells(group)) for group in summary.by_year],
            by_instrument=[_group_row(group.name, reports.group_cells(group)) for group in summary.by_instrument],
            open_headings=reports.OPEN_HEADINGS,
            open_rows=[list(map(_signed, reports.open_cells(trade))) for trade in result.open_trades],
            trade_headings=_TRADE_HEADINGS,
            trade_rows=map(_trade_row, result.trades),
            trade_count=_closed_trades(len(result.trades)),
            years=[group.name for group in summary.by_year],
        )
    )


# --- words


def _title(result: ReplayResult) -> str:
    closed = {trade.instrument for trade in result.trades}
    instruments = sorted(closed | {trade.instrument for trade in result.open_trades})
    return f"{', '.join(instruments) or 'No trades'}, {_day(result.started_at)} to {_day(result.ended_at)}"


def _in_words(curve: Sequence[EquityPoint], summary: Summary) -> str:
    """What the equity chart shows, for who cannot see it."""
    first, last = curve[0], curve[-1]
    begin = f"Closed equity began at {reports.money_text(first.equity)} on {_day(first.time)}"
    if not summary.trades:
        return f"{begin} and stayed there: no trade was closed."
    highest = max(curve, key=lambda point: point.equity)
    deepest = max(curve, key=lambda point: point.drawdown)
    words = (
        f"{begin} and ended at {reports.money_text(last.equity)} on {_day(last.time)},"
        f" {reports.money_text(summary.net_pnl, signed=True)} after {_closed_trades(summary.trades)}."
        f" Its high was {reports.money_text(highest.equity)} on {_day(highest.time)}."
    )
    if not deepest.drawdown:
        return f"{words} It never fell below an earlier high."
    fall = f"{reports.money_text(deepest.drawdown)}, {reports.percent_text(deepest.drawdown_percent)} below the high"
    return (
        f"{words} Its deepest fall in money was {fall} before it, reached on {_day(deepest.time)};"
        f" in per cent of the high it was {reports.percent_text(summary.max_drawdown_percent)} at its worst."
    )


def _closed_trades(count: int) -> str:
    return f"{count:,} closed trade{'' if count == 1 else 's'}"


def _day(time: datetime) -> str:
    return f"{time.day} {time:%b %Y}"


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}".removesuffix(":00")


# --- tables


def _signed(text: str) -> Cell:
    if text.startswith("+"):
        return Cell(text, "gain")
    return Cell(text, "loss" if text.startswith("-") and text != reports.UNDEFINED else "")


def _group_row(name: str, cells: Iterable[str]) -> list[Cell]:
    return [Cell(name), *map(_signed, cells)]


def _trade_row(trade: Trade) -> list[Cell]:
    risk = trade.initial_risk
    return [
        Cell(f"{trade.number}"),
        Cell(trade.instrument),
        Cell(trade.layer),
        Cell(f"{trade.lots:,}"),
        Cell(_minute(trade.entry_time)),
        Cell(reports.price_text(trade.entry_price)),
        Cell(_minute(trade.exit_time)),
        Cell(reports.price_text(trade.exit_price)),
        _signed(reports.money_text(trade.net_pnl, signed=True)),
        Cell(reports.money_text(quotient(trade.net_pnl, risk) if risk is not None and risk > 0 else None)),
        Cell(trade.reason),
    ]


def _month_rows(months: Sequence[MonthReturn], summary: Summary) -> list[tuple[int, list[Cell], Cell]]:
    """Each year's twelve months in per cent and its whole; a month outside the replay is empty."""
    sizes = sorted(abs(month.return_percent) for month in months if month.return_percent)
    whole = {group.name: group.return_percent for group in summary.by_year}
    rows = []
    for year, members in groupby(months, key=attrgetter("year")):
        cells = [Cell("")] * 12
        for month in members:
            cells[month.month - 1] = Cell(_heat_text(month.return_percent), heat(month.return_percent, sizes))
        rows.append((year, cells, _signed(_heat_text(whole.get(f"{year:04}", Decimal(0))))))
    return rows


def _heat_text(value: Decimal | None) -> str:
    return reports.money_text(value, signed=True)


# --- charts: the only place where a figure becomes a JSON number, for drawing


def _chart_data(result: ReplayResult, curve: Sequence[EquityPoint]) -> dict[str, Any]:
    return {
        "equity": {
            "time": [*(_seconds(point.time) for point in curve), _seconds(result.ended_at)],
            "equity": _numbers(point.equity for point in (*curve, curve[-1])),
            "drawdown": _numbers(-point.drawdown for point in (*curve, curve[-1])),
            "percent": _numbers(-(point.drawdown_percent or 0) for point in (*curve, curve[-1])),
        },
        "trades": [
            [
                trade.number,
                trade.instrument,
                trade.layer,
                trade.side.sign,
                trade.lots,
                _seconds(trade.entry_time),
                float(trade.entry_price),
                _seconds(trade.exit_time),
                float(trade.exit_price),
                float(trade.net_pnl),
            ]
            for trade in result.trades
        ],
        "open": [
            [
                None,
                trade.instrument,
                trade.layer,
                trade.side.sign,
                trade.lots,
                _seconds(trade.entry_time),
                float(trade.entry_price),
                _seconds(result.ended_at),
                float(trade.mark_price),
                float(trade.unrealized_pnl),
            ]
            for trade in result.open_trades
        ],
    }


def _seconds(time: datetime) -> float:
    seconds = time.timestamp()
    return int(seconds) if seconds.is_integer() else seconds


def _numbers(values: Iterable[Decimal | int]) -> list[float]:
    return [int(value) if value == int(value) else float(value) for value in values]
