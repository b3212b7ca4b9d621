"""`positions`, `orders`, `signals`, `journal`: lists read from the database, whether or not `live` runs."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from core.errors import PortfolioError
from live.cli.lists import instrument_option, limit_option, page_of, status_option
from live.cli.options import DatabaseChoice, as_of_option, database_options, json_option
from live.cli.output import Column, money, number, print_json, print_table, say, text, time

if TYPE_CHECKING:
    from core.orders import Order

_POSITION_STATUSES = ("open", "partial", "closed")
_ORDER_STATES = ("intent", "sent", "working", "partial", "filled", "cancelled", "rejected", "in_doubt")
_SIGNAL_STATUSES = ("received", "accepted", "proposed", "rejected", "blocked", "executed", "failed")


# --- positions


@click.command(short_help="Positions, newest first.")
@database_options
@status_option("status", _POSITION_STATUSES, "open,partial")
@instrument_option
@limit_option
@click.option("--before", help="Only those behind this position id (`next` of --json).")
@as_of_option
@json_option
def positions(
    *,
    database: DatabaseChoice,
    statuses: tuple[str, ...] | None,
    instrument: str | None,
    limit: int,
    before: str | None,
    as_of: datetime | None,
    as_json: bool,
) -> None:
    """List positions with their lots, stops, marks and results.

    \b
    Examples:
      python portfolio_manager.py positions
      python portfolio_manager.py positions --status closed --instrument GOLD_MINI --limit 10
      python portfolio_manager.py positions --as-of 2026-01-14T06:15:00Z
    """
    if as_of is not None:
        _positions_as_of(database, as_of, as_json=as_json)
        return
    with database.manager() as manager:
        if before is not None and manager.get_position(before) is None:
            raise PortfolioError(f"--before: there is no position {before}")
        rows = manager.reads.positions(statuses=statuses, instrument=instrument, limit=limit + 1, before=before)
    if as_json:
        print_json(page_of("positions", rows, limit, "position_id"))
        return
    shows_closed = statuses is None or "closed" in statuses
    columns = (*_OPEN_COLUMNS, *_CLOSED_COLUMNS) if shows_closed else _OPEN_COLUMNS
    print_table(columns, rows[:limit], none="no such positions")


def _positions_as_of(database: DatabaseChoice, as_of: datetime, *, as_json: bool) -> None:
    from core.postgres.rows import position_to_row
    from live.as_of import portfolio_then

    with database.manager() as manager:
        portfolio = portfolio_then(manager, as_of)
    rows = [position_to_row(position) for _, position in sorted(portfolio.positions.items())]
    if as_json:
        print_json({"positions": rows, "as_of": as_of})
        return
    print_table(_OPEN_COLUMNS, rows, none="nothing was open then")


_OPEN_COLUMNS = (
    Column("position", lambda row: row["position_id"]),
    Column("status", lambda row: row["status"]),
    Column("lots", lambda row: f"{row['lots']}/{row['entry_lots']}", right=True),
    Column("entry", lambda row: number(row["entry_price"]), right=True),
    Column("stop", lambda row: number(row["current_stop"]), right=True),
    Column("mark", lambda row: number(row["mark_price"]), right=True),
    Column("unrealized", lambda row: money(row["unrealized_pnl"]), right=True),
    Column("realized", lambda row: money(row["realized_pnl"]), right=True),
    Column("risk", lambda row: money(row["risk_contribution"]), right=True),
    Column("limiter", lambda row: text(row["limiter"])),
    Column("entered", lambda row: time(row["entry_timestamp"])),
)
_CLOSED_COLUMNS = (
    Column("exit", lambda row: number(row["exit_price"]), right=True),
    Column("exited", lambda row: time(row["exit_timestamp"])),
    Column("reason", lambda row: text(row["exit_reason"])),
)


# --- orders


@click.command(short_help="Orders and what brokers made of them, newest first.")
@database_options
@status_option("state", _ORDER_STATES, "all")
@instrument_option
@limit_option
@click.option("--before", help="Only those behind this order id (`next` of --json).")
@json_option
def orders(
    *,
    database: DatabaseChoice,
    states: tuple[str, ...] | None,
    instrument: str | None,
    limit: int,
    before: str | None,
    as_json: bool,
) -> None:
    """List orders: what each does, how it stands, and why. --json has all else, and each order's fills.

    \b
    Examples:
      python portfolio_manager.py orders --limit 20
      python portfolio_manager.py orders --state intent,sent,working,partial,in_doubt
    """
    from core.postgres.rows import order_from_row

    with database.manager() as manager:
        if before is not None and manager.reads.order(before) is None:
            raise PortfolioError(f"--before: there is no order {before}")
        rows = manager.reads.orders(states=states, instrument=instrument, limit=limit + 1, before=before)
    if as_json:
        print_json(page_of("orders", rows, limit, "client_order_id"))
        return
    # The order itself knows which way it goes.
    shown = (order_from_row({**row, "fill_ids": ()}) for row in rows[:limit])
    print_table(_ORDER_COLUMNS, shown, none="no such orders", widest=_WIDEST_ORDER)


def _does(order: "Order") -> str:
    """Such as `buy 5 entry`."""
    leg = "" if order.leg is None else f" {order.leg}"
    return f"{'buy' if order.buys else 'sell'} {order.lots} {order.purpose}{leg}"


def _why(order: "Order") -> str:
    """What the broker says of it, or why it is sold or no longer wanted."""
    asked = "cancel asked" if order.cancel_asked and order.is_live else None
    return "; ".join(filter(None, (asked, order.message, order.reason)))


# One line of an ordinary terminal; --json has all there is.
_WIDEST_ORDER = 120
_ORDER_COLUMNS = (
    Column("order", lambda order: order.client_order_id),
    Column("instrument", lambda order: order.instrument),
    Column("layer", lambda order: order.layer),
    Column("does", _does),
    Column("state", lambda order: order.state),
    Column("filled", lambda order: f"{order.filled_lots}/{order.lots}", right=True),
    Column("average", lambda order: number(order.average_price), right=True),
    Column("why", _why),
)


# --- signals


@click.command(short_help="Signals and what became of them, newest first.")
@database_options
@status_option("status", _SIGNAL_STATUSES, "all")
@instrument_option
@limit_option
@click.option("--before", type=int, help="Only those behind this id (`next` of --json).")
@json_option
def signals(
    *,
    database: DatabaseChoice,
    statuses: tuple[str, ...] | None,
    instrument: str | None,
    limit: int,
    before: int | None,
    as_json: bool,
) -> None:
    """List signals with what was decided and why.

    \b
    Examples:
      python portfolio_manager.py signals --limit 20
      python portfolio_manager.py signals --status rejected,blocked
    """
    with database.manager() as manager:
        rows = manager.reads.signals(statuses=statuses, instrument=instrument, limit=limit + 1, before=before)
    if as_json:
        print_json(page_of("signals", rows, limit, "id"))
        return
    print_table(_SIGNAL_COLUMNS, rows[:limit], none="no such signals")


def _of_outcome(name: str) -> Any:
    return lambda row: text((row["outcome"] or {}).get(name))


_SIGNAL_COLUMNS = (
    Column("id", lambda row: str(row["id"]), right=True),
    Column("received", lambda row: time(row["received_at"])),
    Column("type", lambda row: row["signal_type"]),
    Column("instrument", lambda row: row["instrument"]),
    Column("layer", lambda row: row["position"]),
    Column("bar", lambda row: time(row["bar_time"] or row["signal_timestamp"])),
    Column("status", lambda row: row["processing_status"]),
    Column("lots", _of_outcome("lots"), right=True),
    Column("limiter", _of_outcome("limiter")),
    Column("reason", _of_outcome("reason")),
    Column("deliveries", lambda row: number(row["deliveries"]), right=True),
)


# --- journal


@click.command(short_help="The journal of inputs and decisions, newest first.")
@database_options
@limit_option
@click.option("--before", type=int, help="Only entries behind this seq (`next` of --json).")
@json_option
@click.option("--explain", metavar="ID", help="Say why: of a journal number, a position id or a fingerprint.")
def journal(*, database: DatabaseChoice, limit: int, before: int | None, as_json: bool, explain: str | None) -> None:
    """List the journal: every input, what was decided on it, under which term. --json has the inputs and events whole.

    With --explain, one entry in words: why that trade had that size, or the signal none.

    \b
    Examples:
      python portfolio_manager.py journal --limit 20
      python portfolio_manager.py journal --json --limit 1 | jq '.journal[0].events'
      python portfolio_manager.py journal --explain BANK_NIFTY-Long_1-63da1a15fb74
    """
    if explain is not None:
        _explain(database, explain, as_json=as_json)
        return
    with database.manager() as manager:
        rows = manager.reads.journal(limit=limit + 1, before=before)
    if as_json:
        print_json(page_of("journal", rows, limit, "seq"))
        return
    print_table(_JOURNAL_COLUMNS, rows[:limit], none="no journal entries")


def _explain(database: DatabaseChoice, identity: str, *, as_json: bool) -> None:
    from live.explain import explanation

    with database.manager() as manager:
        row = manager.reads.explained_entry(identity)
        proposal = None if row is None else manager.reads.proposal_of(row)
    if row is None:
        raise PortfolioError(f"no journal entry of {identity}: give its number, a position id or a fingerprint")
    lines = explanation(row, proposal)
    if as_json:
        print_json({"seq": row["seq"], "explanation": lines, "figures": row["figures"], "outcome": row["outcome"]})
        return
    for line in lines:
        say(line)


def _about(row: Mapping[str, Any]) -> str:
    """What an entry is about, in a few words."""
    given = row["input"]
    signal = given.get("signal")
    if isinstance(signal, Mapping):
        return " ".join(text(signal.get(name)) for name in ("type", "instrument", "layer")).strip()
    names = ("client_order_id", "state") if row["kind"] == "report" else _ABOUT
    return " ".join(part for part in (text(given.get(name)) for name in names) if part)


_ABOUT = ("position_id", "proposal_id", "amount", "instrument", "initial_capital", "instance_id")


_JOURNAL_COLUMNS = (
    Column("seq", lambda row: number(row["seq"]), right=True),
    Column("decided", lambda row: time(row["decided_at"] or row["recorded_at"])),
    Column("input", lambda row: row["kind"]),
    Column("about", _about),
    Column("status", _of_outcome("status")),
    Column("lots", _of_outcome("lots"), right=True),
    Column("reason", _of_outcome("reason")),
    Column("events", lambda row: number(len(row["events"])), right=True),
    Column("term", lambda row: number(row["term"]), right=True),
)
