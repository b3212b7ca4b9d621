"""The contracts that instruments are traded in, made of their rules, the trading calendar and what is corrected by hand.

They are made at a start and once a day, from files that are read anew: what an operator corrects, or adds to the calendar,
is in force from the next day on at the latest, and the months ahead move on with the days.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import structlog

from core.config import ContractFiles
from core.contract_rules import (
    BeyondRules,
    ContractRefused,
    ContractRules,
    Contracts,
    Corrections,
    contracts_of,
    front_contract,
)
from core.contracts import Instrument
from core.errors import ConfigurationError, PortfolioError
from core.inputs import SetContracts
from core.listed_contracts import ListedContracts, contracts_document
from core.portfolio import Portfolio
from core.settings import Settings
from core.symbols import FutureSymbol, SymbolRefused, parse_symbol
from core.trading_calendar import BeyondHorizon, TradingCalendar
from live.contracts_file import (
    DEFAULT_CALENDAR,
    DEFAULT_CONTRACT_RULES,
    load_calendar,
    load_contract_rules,
    load_corrections,
)

MONTHS_BACK = 3
MONTHS_AHEAD = 12
WARN_AHEAD = timedelta(days=30)
log = structlog.get_logger(__name__)


class ContractsDesk:
    """Makes the contracts of the instruments `traded` by contract. Their lots are told by `lot_of` once they were made."""

    def __init__(self, files: ContractFiles, settings: Settings, traded: Collection[str]) -> None:
        unknown = sorted(set(traded) - set(settings.instruments))
        if unknown:
            raise ConfigurationError(f"`brokers.markets`: {', '.join(unknown)} is no instrument that is configured")
        self._files = files
        self._instruments = {name: settings.instruments[name] for name in sorted(traded)}
        self._lots: dict[str, Decimal] = {}

    def document_on(self, day: date) -> dict[str, Any]:
        """The contracts from three months before that day's to twelve after it, as `SetContracts` takes them.

        Raises ConfigurationError naming the file or the instrument.
        """
        if not self._instruments:
            return {}
        rules = load_contract_rules(self._files.rules or DEFAULT_CONTRACT_RULES)
        corrections = load_corrections(self._files.corrections, rules)
        calendar = self.calendar()
        made = {
            name: self._listed(name, instrument, day, rules.get(name), calendar, corrections)
            for name, instrument in self._instruments.items()
        }
        for listed in made.values():
            _warn(listed.contracts, day)
            self._lots |= {contract.futures_symbol: contract.lot_size for contract in listed.contracts.known}
        return contracts_document(made)

    def calendar(self) -> TradingCalendar:
        """The trading calendar that is configured, read anew. Raises ConfigurationError."""
        return load_calendar(self._files.calendar or DEFAULT_CALENDAR)

    def lot_of(self, symbol: str) -> Decimal | None:
        """The lot, in units, of a contract or of an option on it, by its symbol; None for one that was never made here."""
        if symbol in self._lots:
            return self._lots[symbol]
        try:
            option = parse_symbol(symbol)
        except SymbolRefused:
            return None
        return self._lots.get(str(FutureSymbol(underlying=option.underlying, expiry=option.expiry)))

    def _listed(
        self,
        name: str,
        instrument: Instrument,
        day: date,
        rules: ContractRules | None,
        calendar: TradingCalendar,
        corrections: Corrections,
    ) -> ListedContracts:
        if rules is None:
            raise ConfigurationError(
                f"`brokers.markets.{name}`: there are no contract rules of {name}; add them to a file of your own "
                "(`contracts.rules`), or give a fixed `symbol`"
            )
        try:
            timezone = calendar.table(instrument.exchange).timezone
            contracts = contracts_of(
                name,
                instrument,
                _months_around(day),
                rules=rules,
                calendar=calendar,
                corrections=corrections.get(name),
            )
        except BeyondHorizon as error:
            raise ConfigurationError(f"`brokers.markets.{name}`: {error}") from error
        except (ContractRefused, ValueError) as error:
            raise ConfigurationError(f"{self._files.corrections or 'contract rules'}: {error}") from error
        return ListedContracts(timezone=timezone, contracts=contracts)


class DailyContracts:
    """What the contracts are on each day, journalled where they are others than before. One thread's, after the start."""

    def __init__(self, document_on: Callable[[date], dict[str, Any]]) -> None:
        self._document_on = document_on
        self._made_on: date | None = None

    def at_start(self, day: date) -> dict[str, Any]:
        """Those that a start begins with. Raises ConfigurationError."""
        document = self._document_on(day)
        self._made_on = day
        return document

    def refresh(self, day: date, portfolio: Portfolio, keep: Callable[[SetContracts], bool]) -> None:
        """On another day than the last time: `keep` them, where they have changed; again at the next call where it cannot.

        A file that cannot be used is told in the log, and the contracts stay as they were: exits need them.
        """
        if day == self._made_on:
            return
        try:
            document = self._document_on(day)
        except PortfolioError as error:
            log.error("the contracts stay as they were", day=str(day), error=str(error))
            self._made_on = day
            return
        if document == contracts_document(portfolio.contracts) or keep(SetContracts(contracts=document)):
            self._made_on = day


def _months_around(day: date) -> tuple[str, str]:
    months = list(_shifted(day, (-MONTHS_BACK, MONTHS_AHEAD)))
    return months[0], months[1]


def _shifted(day: date, by: tuple[int, ...]) -> Iterator[str]:
    for months in by:
        count = day.year * 12 + day.month - 1 + months
        yield f"{count // 12:04}-{count % 12 + 1:02}"


def _warn(contracts: Contracts, day: date) -> None:
    """Before it is too late: what blocks entries soon can be put right by a file."""
    coming = front_contract(contracts, day + WARN_AHEAD)
    if isinstance(coming, BeyondRules):
        log.warning(
            "a contract cannot be told: entries will be blocked",
            instrument=contracts.instrument,
            month=coming.month,
            why=coming.reason,
        )
