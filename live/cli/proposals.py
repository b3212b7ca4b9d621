"""`proposals`, `approve`, `reject`: signals that wait for a human, listed from the database and decided over HTTP."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import click

from live.cli.lists import instrument_option, limit_option, page_of, status_option
from live.cli.operate import Operator, operator_options, plain
from live.cli.options import DatabaseChoice, Price, database_options, json_option
from live.cli.output import Column, number, print_json, print_table, time

_STATES = ("pending", "approved", "modified", "rejected", "expired")


@click.command(short_help="What waits for a human.")
@database_options
@status_option("state", _STATES, "pending")
@instrument_option
@limit_option
@click.option("--before", type=click.IntRange(min=1), help="Only those behind this journal entry (`next` of --json).")
@json_option
def proposals(
    *,
    database: DatabaseChoice,
    states: tuple[str, ...] | None,
    instrument: str | None,
    limit: int,
    before: int | None,
    as_json: bool,
) -> None:
    """List signals that wait for a human, or waited for one: the newest first.

    \b
    Examples:
      python portfolio_manager.py proposals
      python portfolio_manager.py proposals --state all --limit 20
    """
    with database.manager() as manager:
        rows = manager.reads.proposals(states=states, instrument=instrument, limit=limit + 1, before=before)
    if as_json:
        print_json(page_of("proposals", rows, limit, "journal_seq"))
        return
    print_table(_COLUMNS, rows[:limit], none="nothing waits for you")


@click.command(short_help="Do what is proposed.")
@click.argument("proposal_id")
@click.option("--lots", type=click.IntRange(min=1), help="Other lots than those proposed.")
@click.option("--price", type=Price(), help="Today's price. [default: the latest that is known]")
@click.option("--note", help="Why, for the journal.")
@operator_options
def approve(*, operator: Operator, proposal_id: str, lots: int | None, price: Decimal | None, note: str | None) -> None:
    """Do what is proposed under PROPOSAL_ID. Every limit is asked again at today's price. Needs `live` running.

    \b
    Examples:
      python portfolio_manager.py approve P0123456789abcdef
      python portfolio_manager.py approve P0123456789abcdef --lots 1 --price 52100 --note "half of it"
    """
    operator.carry_out(
        f"/proposals/{quote(proposal_id, safe='')}/approve",
        f"approve {proposal_id}",
        lots=None if lots is None else str(lots),
        price=plain(price),
        note=note,
    )


@click.command(short_help="Do not do what is proposed.")
@click.argument("proposal_id")
@click.option("--note", required=True, help="Why, for the journal.")
@operator_options
def reject(*, operator: Operator, proposal_id: str, note: str) -> None:
    """Do not do what is proposed under PROPOSAL_ID, and say why. Needs `live` running.

    \b
    Example:
      python portfolio_manager.py reject P0123456789abcdef --note "results are due tonight"
    """
    operator.carry_out(f"/proposals/{quote(proposal_id, safe='')}/reject", f"reject {proposal_id}", note=note)


def _what(row: Mapping[str, Any]) -> str:
    return " ".join(part for part in (row["signal_type"], row["instrument"], row["layer"]) if part)


def _outcome(row: Mapping[str, Any]) -> str:
    if row["state"] == "pending":
        return f"until {time(row['expires_at'])}"
    who = "" if row["decided_by"] is None else f" by {row['decided_by']}"
    why = "" if row["note"] is None else f": {row['note']}"
    return f"{row['state']}{who}{why}"


_COLUMNS = (
    Column("proposal", lambda row: row["proposal_id"]),
    Column("proposed", lambda row: time(row["proposed_at"])),
    Column("what", _what),
    Column("lots", lambda row: number(row["lots"]), right=True),
    Column("price", lambda row: number(Decimal(str(row["signal"]["price"]))), right=True),
    Column("asked for by", lambda row: row["rule"].replace("_", " ")),
    Column("", _outcome),
)
