"""A briefing as one page that needs nothing else: made of what is kept of it, so that an old one looks as it did."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2.utils import htmlsafe_json_dumps

from book.briefing import shown
from book.briefings import Kept
from live.single_page import Cell, environment_of, policy, script_and_style, trusted

_TEMPLATES = Path(__file__).parent / "templates"


def page_of(kept: Kept) -> str:
    """The page. Its Content-Security-Policy admits its own script and style by hash, and no host at all."""
    script, style = _script_and_style()
    parts = kept.parts
    pnl, sections = parts.sections["pnl"], parts.sections
    return (
        environment_of(_TEMPLATES)
        .get_template("briefing.html")
        .render(
            policy=policy(script, style),
            script=trusted(script),
            style=trusted(style),
            data=htmlsafe_json_dumps(_chart_data(kept), dumps=partial(json.dumps, separators=(",", ":"))),
            title=f"{kept.portfolio}, {kept.briefing_date}",
            made=f"Made {kept.generated_at:%Y-%m-%d %H:%M} UTC of the journal up to entry {kept.journal_seq}"
            + (", and sent." if kept.is_locked else "."),
            items=[item["text"] for item in parts.action_items],
            facts=_facts(parts.portfolio_snapshot, pnl["total"]),
            risks=_risks(parts.risk_summary),
            positions=[_position_row(row) for row in parts.portfolio_snapshot["positions"]],
            pnl_rows=[_pnl_row(row) for row in pnl["by_position"]],
            groups=[
                ("By instrument", [[Cell(name), _money(total)] for name, total in pnl["by_instrument"].items()]),
                ("By strategy", [[Cell(name), _money(total)] for name, total in pnl["by_strategy"].items()]),
            ],
            history_in_words=_history_in_words(sections["history"]),
            history=[[Cell(row["date"]), _money(row["daily_pnl"])] for row in reversed(sections["history"])],
            signals=[
                [Cell(f"{row['journal_seq']}"), Cell(row["decided_at"]), Cell(row["status"]), Cell(row["words"])]
                for row in sections["signals"]["refused"]
            ],
            signals_in_words=_signals_in_words(sections["signals"]),
            reconciliation=_reconciliation(sections["reconciliation"]),
        )
    )


def policy_of() -> str:
    """The page's Content-Security-Policy, for the header of an answer."""
    return policy(*_script_and_style())


@cache
def _script_and_style() -> tuple[str, str]:
    return script_and_style(_TEMPLATES / "briefing.js", _TEMPLATES / "briefing.css", draws_days=True)


def _facts(equity: Mapping[str, Any], pnl: str) -> list[tuple[str, Cell]]:
    return [
        ("P&L of the day", _money(pnl)),
        ("Equity with what is open", Cell(shown(equity["open_equity"]))),
        ("Closed equity", Cell(shown(equity["closed_equity"]))),
        ("Unrealised P&L", _money(equity["unrealized_pnl"])),
        ("Realised since the start", _money(equity["realized_total"])),
        ("Drawdown of closed equity", Cell(f"{Decimal(equity['drawdown_percent']):.2f} %")),
        ("Open positions", Cell(f"{len(equity['positions'])}")),
        ("Trading", Cell("halted", "loss") if equity["halted"] else Cell("on")),
    ]


def _risks(summary: Mapping[str, Any]) -> list[list[Cell]]:
    rows = []
    for name in ("risk", "volatility", "margin"):
        own = summary[name]
        percent, limit = own["percent"], Decimal(own["limit_percent"])
        over = percent is not None and Decimal(percent) > limit
        rows.append(
            [
                Cell(name.capitalize()),
                Cell(shown(own["amount"])),
                Cell("" if percent is None else f"{Decimal(percent):.2f} %", "loss" if over else ""),
                Cell(f"{limit:.2f} %"),
            ]
        )
    return rows


def _position_row(row: Mapping[str, Any]) -> list[Cell]:
    return [
        Cell(row["position_id"]),
        Cell(f"{row['lots']:,}"),
        *(Cell(_number(row[name])) for name in ("entry_price", "mark_price", "current_stop")),
        _money(row["unrealized_pnl"]),
        Cell(shown(row["risk"])),
    ]


def _pnl_row(row: Mapping[str, Any]) -> list[Cell]:
    dollars = row["daily_pnl_usd"]
    return [
        Cell(row["position_id"]),
        _money(row["daily_pnl"]),
        Cell("") if dollars is None else _money(dollars),
        _money(row["unrealized_pnl"]),
        _money(row["realized_pnl"]),
    ]


def _money(text: str) -> Cell:
    amount = Decimal(text)
    return Cell(shown(text, signed=True), "gain" if amount > 0 else "loss" if amount < 0 else "")


def _number(text: str | None) -> str:
    """Thousands apart, without surplus zeros."""
    if text is None:
        return ""
    told = f"{Decimal(text):,f}"
    return told.rstrip("0").rstrip(".") if "." in told else told


def _history_in_words(history: list[Mapping[str, Any]]) -> str:
    """What the charts show, for who cannot see them."""
    if not history:
        return "No day of any position is kept yet."
    total = sum((Decimal(row["daily_pnl"]) for row in history), Decimal(0))
    won = sum(Decimal(row["daily_pnl"]) > 0 for row in history)
    return (
        f"In {len(history)} days from {history[0]['date']} to {history[-1]['date']} the positions earned "
        f"{shown(str(total), signed=True)}; {won} of these days gained."
    )


def _signals_in_words(signals: Mapping[str, Any]) -> str:
    refused = len(signals["refused"])
    return f"{signals['total']} signals were decided, {refused} of them refused."


def _reconciliation(found: Mapping[str, Any]) -> list[str]:
    lines = [f"Entries of {name} are frozen: {reason}" for name, reason in found["frozen"].items()]
    lines += [
        f"{name}: the broker's quantity differs by {_number(difference)}, which was accepted."
        for name, difference in found["accepted_differences"].items()
    ]
    if found["orders_under_way"]:
        lines.append(f"{found['orders_under_way']} orders were under way.")
    return lines


def _chart_data(kept: Kept) -> dict[str, Any]:
    """The only place where a figure becomes a JSON number, for drawing."""
    history = kept.parts.sections["history"]
    daily, total, sums = [], Decimal(0), []
    for row in history:
        total += Decimal(row["daily_pnl"])
        daily.append(float(row["daily_pnl"]))
        sums.append(float(total))
    times = [
        int(datetime.combine(date.fromisoformat(row["date"]), datetime.min.time(), UTC).timestamp()) for row in history
    ]
    return {"time": times, "daily": daily, "total": sums}
