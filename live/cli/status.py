"""`status`: the portfolio's figures, read from the database, whether or not `live` runs."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from live.cli.options import DatabaseChoice, as_of_option, database_options, json_option
from live.cli.output import Column, money, note, number, print_facts, print_json, print_table, time

if TYPE_CHECKING:
    from core.db_state_manager import DatabaseStateManager, Loaded


@click.command(short_help="The portfolio's figures, counts, and who serves it.")
@database_options
@as_of_option
@json_option
def status(*, database: DatabaseChoice, as_of: datetime | None, as_json: bool) -> None:
    """Show the portfolio's equity, risk and margin, how many positions and signals there are, and who served it last.

    Reads the database, whether or not `live` runs.

    \b
    Examples:
      python portfolio_manager.py status
      python portfolio_manager.py status --json | jq -r .closed_equity
      python portfolio_manager.py status --as-of 2026-01-14T06:15:00Z
    """
    with database.manager() as manager:
        found = _status(manager) if as_of is None else _status_as_of(manager, as_of)
    if as_json:
        print_json(found)
        return
    if not found["started"]:
        note(f"portfolio {database.portfolio} has not been started yet: `live` does, with --capital or its default")
    print_facts(_status_facts(found))
    if as_of is None:
        print_table(_COUNT_COLUMNS, found["signals"], none="no signals yet")


def _status_as_of(manager: "DatabaseStateManager", as_of: datetime) -> dict[str, Any]:
    from core.portfolio_state import PortfolioStateManager
    from live.as_of import portfolio_then

    portfolio = portfolio_then(manager, as_of)
    return {
        "portfolio": manager.portfolio,
        "as_of": as_of,
        "started": True,
        **PortfolioStateManager(lambda: portfolio).measure(),
        "frozen": {row.instrument: row.frozen_reason for row in portfolio.pyramiding.values() if row.frozen_reason},
    }


def _status(manager: "DatabaseStateManager") -> dict[str, Any]:
    from core.orders import counted

    loaded = manager.load()
    return {
        "portfolio": manager.portfolio,
        "started": loaded.state is not None,
        **_figures(manager.portfolio, loaded),
        "frozen": {row.instrument: row.frozen_reason for row in loaded.pyramiding if row.frozen_reason},
        "orders": counted(loaded.orders),
        "proposals": len(loaded.proposals),
        "journal_seq": loaded.last_seq,
        "migration_version": manager.migration_version(),
        "signals": manager.reads.signal_counts(),
        "instance": manager.reads.one("instances", limit=1),
    }


def _figures(name: str, loaded: "Loaded") -> dict[str, Any]:
    """GET /status's figures, from the rows and the settings in force."""
    from core.config import default_settings, validated
    from core.listed_contracts import contracts_from
    from core.portfolio import portfolio_from_rows
    from core.portfolio_state import PortfolioStateManager
    from core.settings import Settings

    if loaded.state is None:
        return {"open_positions": len(loaded.positions)}
    if loaded.settings is None:
        settings = default_settings()
    else:
        settings = validated(Settings, loaded.settings, "the settings in the journal")
    contracts = contracts_from(loaded.contracts)
    portfolio = portfolio_from_rows(
        name, settings, loaded.state, loaded.positions, loaded.pyramiding, loaded.orders, contracts
    )
    return PortfolioStateManager(lambda: portfolio).measure()


_COUNT_COLUMNS = (
    Column("type", lambda row: row["signal_type"]),
    Column("status", lambda row: row["processing_status"]),
    Column("signals", lambda row: number(row["signals"]), right=True),
    Column("came again", lambda row: number(row["duplicates"]), right=True),
)
_MONEY_FACTS = (
    "initial_capital",
    "closed_equity",
    "open_equity",
    "blended_equity",
    "realized_total",
    "unrealized_total",
    "flows_total",
    "equity_high",
    "total_risk_amount",
    "open_heat",
    "total_vol_amount",
    "margin_used",
)
_PERCENT_FACTS = ("drawdown_percent", "total_risk_percent", "total_vol_percent", "margin_percent")


def _status_facts(found: Mapping[str, Any]) -> dict[str, str]:
    on = f"on, but for entries of {', '.join(found['frozen'])}" if found["frozen"] else "on"
    facts = {"portfolio": found["portfolio"], "trading": "halted" if found.get("halted") else on}
    facts |= {f"frozen: {instrument}": reason for instrument, reason in found["frozen"].items()}
    if "orders" in found:
        told = [f"{count} {state.replace('_', ' ')}" for state, count in found["orders"].items()]
        facts["orders"] = ", ".join(told) or "none on their way"
    if "proposals" in found:
        facts["proposals"] = f"{number(found['proposals'])} wait for you" if found["proposals"] else "none wait"
    facts |= {_words(name): money(found[name]) for name in _MONEY_FACTS if name in found}
    facts |= {_words(name): number(found[name]) for name in _PERCENT_FACTS if name in found}
    facts["open positions"] = number(found["open_positions"])
    if "as_of" in found:
        return {**facts, "as of": time(found["as_of"])}
    facts["journal entries"] = number(found["journal_seq"])
    facts["schema version"] = found["migration_version"] or "unknown (migrated by hand)"
    return facts | _instance_facts(found["instance"])


def _instance_facts(instance: Mapping[str, Any] | None) -> dict[str, str]:
    if instance is None:
        return {"last instance": "none yet"}
    return {
        "last instance": f"{instance['instance_id']} ({instance['status']}) on {instance['hostname']}",
        "last heartbeat": time(instance["last_heartbeat"]),
        "last signal": time(instance["last_signal_processed"]) or "none by this instance",
    }


def _words(name: str) -> str:
    return name.replace("_vol_", "_volatility_").replace("_", " ")
