"""What an entry is made in: the contract that is in front on the signal's day, or the instrument itself."""

from datetime import date
from decimal import Decimal

from msgspec import Struct

from core.contract_rules import BeyondRules, Contract
from core.decide.decision import Decision, blocked
from core.decide.legs import Pair, pair_near
from core.models import Position, Signal
from core.portfolio import Portfolio
from core.position_sizer import Figures

CONTRACT = "contract"


class EntryTerms(Struct, frozen=True, kw_only=True):
    """What one lot of an entry is: its units, money per point and margin, and the contract, None where there is none.

    `pair` is there where two options stand for the future.
    """

    lot_size: Decimal
    point_value: Decimal
    margin_per_lot: Decimal
    symbol: str | None = None
    expiry: date | None = None
    contract_month: str | None = None
    pair: Pair | None = None


def entry_terms(portfolio: Portfolio, signal: Signal) -> EntryTerms | BeyondRules:
    """The terms of an entry on this signal, on its own exchange's date; why not, where the contract cannot be told."""
    listed = portfolio.contracts.get(signal.instrument)
    if listed is None:
        instrument = portfolio.settings.instruments[signal.instrument]
        return EntryTerms(
            lot_size=instrument.lot_size,
            point_value=instrument.point_value,
            margin_per_lot=instrument.margin_per_lot,
        )
    contract = listed.front_at(signal.time)
    if isinstance(contract, BeyondRules):
        return contract
    return _terms_of(portfolio, signal, contract)


def pyramid_terms(portfolio: Portfolio, signal: Signal, base: Position) -> EntryTerms | BeyondRules:
    """The same for a pyramid: a base that was rolled ahead of its day is added to where it is."""
    listed = portfolio.contracts.get(signal.instrument)
    own = None if listed is None else listed.of_month(base.contract_month)
    terms = entry_terms(portfolio, signal)
    ahead = own is not None and isinstance(terms, EntryTerms) and terms.expiry is not None and own.expiry > terms.expiry
    if own is None or not ahead or own.expiry != base.expiry:
        return terms
    return _terms_of(portfolio, signal, own)


def _terms_of(portfolio: Portfolio, signal: Signal, contract: Contract) -> EntryTerms:
    return EntryTerms(
        lot_size=contract.lot_size,
        point_value=contract.point_value,
        margin_per_lot=contract.margin_per_lot,
        symbol=contract.futures_symbol,
        pair=traded_pair(portfolio, contract, signal.price),
        expiry=contract.expiry,
        contract_month=contract.month,
    )


def traded_pair(portfolio: Portfolio, contract: Contract, level: Decimal) -> Pair | None:
    """The options that a synthetic future near `level` (points) is made of at a broker; None for a plain future."""
    execution, kind = portfolio.settings.execution, portfolio.settings.instruments[contract.instrument].kind
    if kind != "synthetic_future" or execution.fills != "broker" or not execution.legs:
        return None
    return pair_near(contract, level)


def no_contract(portfolio: Portfolio, refusal: BeyondRules) -> Decision:
    """Blocked: the contract of that month cannot be told, and the one after it would be the wrong one."""
    return blocked(portfolio, CONTRACT, figures={"month": refusal.month, "why": refusal.reason})


def roll_refusal(portfolio: Portfolio, base: Position, terms: EntryTerms) -> Decision | None:
    """Blocked while the base is in another contract than a new position would be in: it has to be rolled first."""
    if (base.contract_month, base.expiry) == (terms.contract_month, terms.expiry):
        return None
    figures: Figures = {
        "roll_due": True,
        "base_month": base.contract_month,
        "base_expiry": None if base.expiry is None else base.expiry.isoformat(),
        "front_month": terms.contract_month,
        "front_expiry": None if terms.expiry is None else terms.expiry.isoformat(),
    }
    return blocked(portfolio, CONTRACT, figures=figures)
