"""Contracts for tests: those of the shipped rules and calendar, put right by hand where a test says so."""

import json
from datetime import date
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from core.config import ContractFiles, default_settings
from core.contract_rules import Correction, contracts_of
from core.listed_contracts import ListedContracts, contracts_document, contracts_from
from core.portfolio import Portfolio
from core.settings import Settings
from live.contracts_desk import ContractsDesk
from live.contracts_file import load_calendar, load_contract_rules

_RULES = load_contract_rules()
_CALENDAR = load_calendar()


def a_document(*names: str, first: str = "2025-10", last: str = "2027-01", **corrections: Any) -> dict[str, Any]:
    """What `SetContracts` takes: of BANK_NIFTY unless told otherwise; corrections as `BANK_NIFTY={"2026-01": {...}}`."""
    instruments = default_settings().instruments
    made = {}
    for name in names or ("BANK_NIFTY",):
        corrected = {month: Correction.model_validate(each) for month, each in corrections.get(name, {}).items()}
        made[name] = ListedContracts(
            timezone=_CALENDAR.table(instruments[name].exchange).timezone,
            contracts=contracts_of(
                name,
                instruments[name],
                (first, last),
                rules=_RULES[name],
                calendar=_CALENDAR,
                corrections=corrected,
            ),
        )
    return contracts_document(made)


def in_contracts(portfolio: Portfolio, document: dict[str, Any] | None = None) -> Portfolio:
    """The portfolio with contracts that came from nowhere."""
    return replace(portfolio, contracts=contracts_from(a_document() if document is None else document))


def a_contracts_desk(
    *traded: str, folder: Path | None = None, settings: Settings | None = None, **corrections: Any
) -> ContractsDesk:
    """A desk of the shipped rules, with corrections in a file of `folder`."""
    file = None
    if folder is not None:
        file = folder / "corrections.json"
        file.write_text(json.dumps(corrections))
    return ContractsDesk(ContractFiles(corrections=file), settings or default_settings(), traded)


JANUARY, FEBRUARY = date(2026, 1, 27), date(2026, 2, 24)
