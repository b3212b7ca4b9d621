"""A tear sheet as one page that needs nothing else."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import Any

from jinja2.utils import htmlsafe_json_dumps

from book.briefing import shown
from book.tear_sheet import Day, Fall, TearSheet
from live.reports.policy import TEMPLATES, tear_sheet_script_and_style
from live.single_page import Cell, environment_of, heat, policy, trusted


def page_of(sheet: TearSheet) -> str:
    """The page. Its Content-Security-Policy admits its own script and style by hash, and no host at all."""
    script, style = tear_sheet_script_and_style()
    return (
        environment_of(TEMPLATES)
        .get_template("tear_sheet.html")
        .render(
            policy=policy(script, style),
            script=trusted(script),
            style=trusted(style),
            data=htmlsafe_json_dumps(_chart_data(sheet.days), dumps=partial(json.dumps, separators=(",", ":"))),
            title=f"{sheet.node}, {sheet.first_day} to {sheet.last_day}",
            basis=_basis(sheet),
            method=_method(sheet),
            facts=_facts(sheet),
            in_words=_in_words(sheet),
            months=_months(sheet),
            has_rolling=any(one.rolling_sharpe is not None for one in sheet.days),
            rolling_in_words=f"Of the last {sheet.rolling_days} trading days, from the day on at which there are so many.",
            falls=[_fall("The deepest", sheet.deepest), _fall("The longest", sheet.longest)],
            days=[_day(one) for one in reversed(sheet.days)],
        )
    )


def _basis(sheet: TearSheet) -> str:
    if sheet.capital_is_given:
        of_what = "a capital that was given"
    else:
        of_what = f"the capital of {', '.join(sheet.portfolios)}, deposits and withdrawals with it"
    return f"In {sheet.currency}. A day's return is its P&L by {of_what}, and all that was earned before."


def _method(sheet: TearSheet) -> str:
    return (
        f"{sheet.trading_days:,} trading days, on {sheet.days_held:,} of which something was held; a year has"
        f" {sheet.days_a_year} of them. Ratios are of daily returns, without a riskless return. P&L after costs where it"
        " is realised, before costs where it is not."
    )


def _facts(sheet: TearSheet) -> list[tuple[str, Cell]]:
    return [
        ("P&L", _money(sheet.pnl)),
        ("Cumulative return", _percent(sheet.cumulative_return)),
        ("CAGR", _percent(sheet.cagr)),
        ("Volatility a year", _plain(sheet.volatility)),
        ("Sharpe", _ratio(sheet.sharpe)),
        ("Sortino", _ratio(sheet.sortino)),
        ("Calmar", _ratio(sheet.calmar)),
        ("Max drawdown", _percent(sheet.max_drawdown)),
        ("Longest fall", Cell(f"{sheet.longest.length:,} days")),
        ("Days that gained", _plain(sheet.hit_rate)),
        ("Profit factor", _ratio(sheet.profit_factor)),
        (f"Best day, {sheet.best.day}", _percent(sheet.best.day_return)),
        (f"Worst day, {sheet.worst.day}", _percent(sheet.worst.day_return)),
        ("Capital at first", Cell(shown(str(sheet.capital_first)))),
        ("Capital at last", Cell(shown(str(sheet.capital_last)))),
    ]


def _in_words(sheet: TearSheet) -> str:
    """What the charts show, for who cannot see them."""
    first, last = shown(str(sheet.capital_first)), shown(str(sheet.capital_last))
    words = f"{first} on {sheet.first_day} had become {last} by {sheet.last_day}."
    if not sheet.deepest.length:
        return f"{words} It never fell below an earlier high."
    back = "not back yet" if sheet.deepest.recovered is None else f"back on {sheet.deepest.recovered}"
    return (
        f"{words} The deepest fall was {_percent(sheet.deepest.depth).text}, from {sheet.deepest.began} on, lowest on"
        f" {sheet.deepest.trough}, {back}."
    )


def _months(sheet: TearSheet) -> list[tuple[int, list[Cell], Cell]]:
    sizes = sorted(abs(value) for _, _, value in sheet.months if value)
    years = dict(sheet.years)
    rows = []
    for year, members in groupby(sheet.months, key=lambda each: each[0]):
        cells = [Cell("")] * 12
        for _, month, value in members:
            cells[month - 1] = Cell(_in_percent(value), heat(value, sizes))
        rows.append((year, cells, _percent(years.get(year))))
    return rows


def _fall(name: str, fall: Fall) -> list[Cell]:
    days = [Cell("" if day is None else day.isoformat()) for day in (fall.began, fall.trough, fall.recovered)]
    return [Cell(name), _percent(fall.depth), Cell(f"{fall.length:,}"), *days]


def _day(one: Day) -> list[Cell]:
    return [
        Cell(one.day.isoformat()),
        _money(one.pnl),
        Cell(shown(str(one.base))),
        _percent(one.day_return),
        _percent(one.cumulative),
        _percent(one.drawdown),
        _ratio(one.rolling_sharpe),
    ]


def _money(amount: Decimal) -> Cell:
    return Cell(shown(str(amount), signed=True), _kind(amount))


def _percent(fraction: Decimal | None) -> Cell:
    return Cell(
        "n/a" if fraction is None else f"{_in_percent(fraction)} %", "" if fraction is None else _kind(fraction)
    )


def _in_percent(fraction: Decimal) -> str:
    return f"{fraction * 100:+,.2f}" if fraction else "0.00"


def _plain(fraction: Decimal | None) -> Cell:
    return Cell("n/a" if fraction is None else f"{fraction * 100:,.2f} %")


def _ratio(value: Decimal | None) -> Cell:
    return Cell("n/a" if value is None else f"{value:,.2f}")


def _kind(amount: Decimal) -> str:
    return "gain" if amount > 0 else "loss" if amount < 0 else ""


def _chart_data(days: Sequence[Day]) -> dict[str, Any]:
    """The only place where a figure becomes a JSON number, for drawing."""
    return {
        "time": [_seconds(one.day) for one in days],
        "cumulative": [float(one.cumulative * 100) for one in days],
        "drawdown": [float(one.drawdown * 100) for one in days],
        "rolling": [None if one.rolling_sharpe is None else float(one.rolling_sharpe) for one in days],
    }


def _seconds(day: date) -> int:
    return int(datetime.combine(day, datetime.min.time(), UTC).timestamp())
