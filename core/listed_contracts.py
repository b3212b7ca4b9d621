"""The contracts that instruments are traded in, as a portfolio has them: by day, by month, and as the journal keeps them."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import immutables
from msgspec import Struct

from core.contract_rules import BeyondRules, Contract, Contracts, front_contract


class ListedContracts(Struct, frozen=True, kw_only=True):
    """One instrument's contracts, and the time zone that says which day it is at its exchange."""

    timezone: str
    contracts: Contracts

    def front_at(self, at: datetime) -> Contract | BeyondRules:
        """What a new position is opened in at an aware instant: that of the exchange's own date then."""
        return front_contract(self.contracts, self.day_at(at))

    def day_at(self, at: datetime) -> date:
        """The exchange's own date at an aware instant."""
        return at.astimezone(ZoneInfo(self.timezone)).date()

    def of_month(self, month: str | None) -> Contract | None:
        """The contract of a month such as `2026-01`; None where it is not known, or no month is asked for."""
        return next((contract for contract in self.contracts.known if contract.month == month), None)


def contracts_document(contracts: Mapping[str, ListedContracts]) -> dict[str, Any]:
    """Contracts by instrument as JSON: what cannot be told is in it too, since it decides."""
    return {
        instrument: {
            "timezone": listed.timezone,
            "known": [contract.model_dump(mode="json") for contract in listed.contracts.known],
            "refused": [{"month": gap.month, "reason": gap.reason} for gap in listed.contracts.refused],
        }
        for instrument, listed in sorted(contracts.items())
    }


def contracts_from(document: Mapping[str, Any]) -> immutables.Map[str, ListedContracts]:
    """The contracts that a document of the journal holds; ValueError, KeyError or TypeError for one that was never written."""
    return immutables.Map(
        {instrument: _listed(instrument, of_instrument) for instrument, of_instrument in document.items()}
    )


def _listed(instrument: str, document: Mapping[str, Any]) -> ListedContracts:
    return ListedContracts(
        timezone=document["timezone"],
        contracts=Contracts(
            instrument=instrument,
            known=tuple(Contract.model_validate(contract) for contract in document["known"]),
            refused=tuple(
                BeyondRules(instrument=instrument, month=gap["month"], reason=gap["reason"])
                for gap in document["refused"]
            ),
        ),
    )
