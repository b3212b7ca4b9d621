"""Contract rules, trading calendar and corrections, read from their files.

A corrections file holds, by instrument and month, the fields that the exchange has set otherwise than the rules say:
`{"GOLD_MINI": {"2027-01": {"expiry": "2027-01-05", "note": "MCX/TRD/..."}}}`.
"""

import re
from pathlib import Path
from typing import Any

import core.config
from core.config import read_json_object, validated
from core.contract_rules import (
    MONTH,
    ContractRefused,
    ContractRules,
    Correction,
    Corrections,
    check_corrections,
)
from core.errors import ConfigurationError
from core.trading_calendar import TradingCalendar

_DATA = Path(core.config.__file__).parent / "data"
DEFAULT_CONTRACT_RULES = _DATA / "contract_rules.json"
DEFAULT_CALENDAR = _DATA / "trading_calendar.json"


def load_contract_rules(path: Path = DEFAULT_CONTRACT_RULES) -> dict[str, ContractRules]:
    """The rules of each instrument's contracts. Raises ConfigurationError naming file, instrument and key."""
    return {
        name: validated(ContractRules, _object(path, name, rules), f"{path}: {name}")
        for name, rules in read_json_object(path).items()
    }


def load_calendar(path: Path = DEFAULT_CALENDAR) -> TradingCalendar:
    """The trading calendar. Raises ConfigurationError naming the file and the key."""
    return validated(TradingCalendar, read_json_object(path), str(path))


def load_corrections(path: Path | None, rules: dict[str, ContractRules]) -> dict[str, dict[str, Correction]]:
    """What is corrected by hand; nothing without a file.

    Raises ConfigurationError naming an unknown instrument, a month without a contract, an unknown field or a wrong value.
    """
    if path is None:
        return {}
    corrections = {
        name: _of_instrument(path, name, _object(path, name, months)) for name, months in read_json_object(path).items()
    }
    _check(path, corrections, rules)
    return corrections


def _of_instrument(path: Path, name: str, months: dict[str, Any]) -> dict[str, Correction]:
    for month in months:
        if not re.fullmatch(MONTH, month):
            raise ConfigurationError(f"{path}: {name}: `{month}` is no month such as 2026-01")
    return {
        month: validated(Correction, _object(path, f"{name} {month}", fields), f"{path}: {name} {month}")
        for month, fields in months.items()
    }


def _check(path: Path, corrections: Corrections, rules: dict[str, ContractRules]) -> None:
    try:
        check_corrections(corrections, rules)
    except ContractRefused as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _object(path: Path, place: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{path}: {place}: must be an object, not {type(given).__name__}")
    return given
