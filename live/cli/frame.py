"""What `watch` shows: one moment of an instance, on one screen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from live.cli.output import Column, money, number, printable, table_of, text, time

_Row = Mapping[str, Any]
# Lines that are there whatever is open: heading, figures, the heads of both tables and what is between them.
_OTHER_LINES = 14
_MOST_SIGNALS = 10
_LEAST_ROWS = 3
_FIGURES_IN_A_LINE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the instance at `url` told at a time, as the HTTP API has it; lists with the newest first."""

    url: str
    at: datetime
    status: _Row
    positions: Sequence[_Row]
    signals: Sequence[_Row]


def frame(seen: Seen, *, height: int | None = None) -> RenderableType:
    """All of it; of `height` lines where that is given, and what finds no room is counted."""
    return Group(*_parts(seen, height))


def away(problem: str, last: Seen | None, *, now: datetime, height: int) -> RenderableType:
    """What was seen last, under the sentence that nothing was seen now."""
    told = _line(f"{time(now)}  {problem}", "bold red")
    if last is None:
        return told
    since = _line(f"as it was at {time(last.at)}:", "red")
    return Group(told, since, *_parts(last, height - 2))


def _parts(seen: Seen, height: int | None) -> Iterator[RenderableType]:
    warnings = list(_warnings(seen.status))
    signals, positions = len(seen.signals), len(seen.positions)
    if height is not None:
        room = max(height - _OTHER_LINES - len(warnings), 2 * _LEAST_ROWS)
        signals = min(signals, _MOST_SIGNALS, room - min(positions, room - _LEAST_ROWS))
        positions = min(positions, room - signals)
    yield _heading(seen)
    yield from warnings
    yield Text()
    yield _figures(seen.status)
    yield Text()
    yield from _table("positions", "nothing is open", _POSITIONS, seen.positions, positions)
    yield Text()
    yield from _table("signals", "no signals yet", _SIGNALS, seen.signals, signals)


def _line(told: str, style: str = "") -> Text:
    """One line, in a narrow terminal too."""
    return Text(printable(told), style=style, no_wrap=True, overflow="ellipsis")


def _heading(seen: Seen) -> Text:
    status = seen.status
    leads = f"leads, term {status['term']}" if status["leader"] else "follows"
    line = _line(f"  {leads}  pid {status['pid']}  {time(seen.at)}  {seen.url}")
    trading = _line("  HALTED", "bold red") if status["halted"] else _line("  trading", "bold green")
    return _line("").append_text(_line(status["portfolio"], "bold")).append_text(trading).append_text(line)


def _warnings(status: _Row) -> Iterator[Text]:
    """What a person has to look at, a line each."""
    if not status["ready"]:
        yield _line("not ready: signals cannot be kept", "bold red")
    for invariant in status["failed_invariants"]:
        yield _line(f"failed at the start: {invariant}", "bold red")
    for instrument, reason in status["frozen"].items():
        yield _line(f"entries of {instrument} are frozen: {reason}", "red")
    # An instance of an older version tells nothing of them.
    if waiting := status.get("proposals"):
        yield _line(f"{number(waiting)} waiting for you: `proposals`, then `approve` or `reject`", "bold yellow")
    spool = status["spool"] or {}
    if spool and not spool["usable"]:
        yield _line("the spool cannot be used: while the database is away alerts are refused", "bold red")
    for name, what in (("kept", "wait in the spool"), ("set_aside", "were set aside by the spool")):
        if spool.get(name):
            yield _line(f"{number(spool[name])} signals {what}", "yellow")


def _figures(status: _Row) -> Table:
    grid = Table.grid(padding=(0, 2))
    facts = [*_facts(status)]
    for _ in range(_FIGURES_IN_A_LINE):
        grid.add_column(overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True)
    for start in range(0, len(facts), _FIGURES_IN_A_LINE):
        cells = (
            _line(cell, style)
            for fact in facts[start : start + _FIGURES_IN_A_LINE]
            for cell, style in zip(fact, ("bold", ""), strict=True)
        )
        grid.add_row(*cells)
    return grid


def _facts(status: _Row) -> Iterator[tuple[str, str]]:
    for name in ("closed_equity", "open_equity", "unrealized_total"):
        yield name.replace("_", " "), money(_decimal(status[name]))
    for name, percent in (
        ("risk", "total_risk_percent"),
        ("volatility", "total_vol_percent"),
        ("margin", "margin_percent"),
        ("drawdown", "drawdown_percent"),
    ):
        yield name, f"{_decimal(status[percent]) or 0:.2f} %"
    yield "open positions", number(status["open_positions"])
    yield "waiting", number(status["backlog"])
    orders = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in status["orders"].items())
    yield "orders", orders or "none on their way"


def _table(
    name: str, none: str, columns: Sequence[Column], rows: Sequence[_Row], most: int
) -> Iterator[RenderableType]:
    if not rows:
        yield _line(none)
        return
    yield table_of(columns, rows[:most], fits=True)
    if len(rows) > most:
        yield _line(f"and {len(rows) - most} more {name}", "cyan")


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _moment(value: str | None) -> str:
    return "" if value is None else time(datetime.fromisoformat(value))


def _of_outcome(name: str, row: _Row) -> str:
    return text((row["outcome"] or {}).get(name))


_POSITIONS = (
    Column("position", lambda row: row["position_id"]),
    Column("lots", lambda row: f"{row['lots']}/{row['entry_lots']}", right=True),
    Column("entry", lambda row: number(_decimal(row["entry_price"])), right=True),
    Column("stop", lambda row: number(_decimal(row["current_stop"])), right=True),
    Column("mark", lambda row: number(_decimal(row["mark_price"])), right=True),
    Column("unrealized", lambda row: money(_decimal(row["unrealized_pnl"])), right=True),
    Column("risk", lambda row: money(_decimal(row["risk_contribution"])), right=True),
)
_SIGNALS = (
    Column("received", lambda row: _moment(row["received_at"])),
    Column("type", lambda row: row["signal_type"]),
    Column("instrument", lambda row: row["instrument"]),
    Column("layer", lambda row: text(row["position"])),
    Column("status", lambda row: row["processing_status"]),
    Column("lots", lambda row: _of_outcome("lots", row), right=True),
    Column("reason", lambda row: _of_outcome("reason", row) or _of_outcome("limiter", row)),
)
