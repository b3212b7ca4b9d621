"""What an operator makes of a difference with the broker: lots adopted, written off, or accepted as none of ours."""

import hashlib
import re
from datetime import datetime
from decimal import Decimal
from typing import assert_never

from core.contract_rules import Contract
from core.decide.decision import Decision, Draft, rejected
from core.decide.entry import ENTRY_WORKING, LAYER_ALREADY_OPEN, WRONG_SIDE
from core.decide.exit import NO_OPEN_POSITION, book_exit, clear_if_flat
from core.decide.orders import by_broker
from core.events import DifferenceAccepted, EntriesUnfrozen, PositionOpened, PyramidingChanged
from core.fills import risk_amount, volatility_amount
from core.findings import froze_it
from core.fingerprint import position_id_of
from core.inputs import AdoptPosition, FindingCommand, IgnoreFinding, WriteOff
from core.models import MONEY_LIMIT, MOST_LOTS, PRICE_LIMIT, QUANTITY_LIMIT, Position, layer_number, layer_side
from core.numbers import ZERO, price, product
from core.portfolio import Portfolio
from core.position_sizer import Figures

FILLS_ARE_OURS = "fills are not by a broker: there is nothing to differ from"
UNKNOWN_INSTRUMENT = "unknown instrument"
ADOPTED = "adopted"
_LAYER = re.compile(r"(Long|Short)_[1-6]", re.ASCII)


def decide_finding(portfolio: Portfolio, given: FindingCommand, now: datetime) -> Decision:
    """Carry it out; no order is sent. A freeze that a mismatch made stays until it is resumed, but where it is accepted."""
    if not by_broker(portfolio):
        return rejected(portfolio, FILLS_ARE_OURS)
    match given:
        case AdoptPosition():
            return _decide_adoption(portfolio, given, now)
        case WriteOff():
            return _decide_write_off(portfolio, given, now)
        case IgnoreFinding():
            return _decide_ignore(portfolio, given)
        case _:
            assert_never(given)


def _decide_adoption(portfolio: Portfolio, given: AdoptPosition, now: datetime) -> Decision:
    refusal = _figures_refusal(portfolio, given) or _layer_refusal(portfolio, given)
    if refusal is not None:
        return rejected(portfolio, refusal)
    position = _adopted(portfolio, given, now)
    row = portfolio.pyramiding_of(given.instrument)
    draft = Draft(portfolio)
    draft.apply(PositionOpened(position=position))
    draft.apply(
        PyramidingChanged(
            instrument=given.instrument,
            last_pyramid_price=position.entry_price,
            base_position_id=position.position_id if position.is_base_position else row.base_position_id,
        )
    )
    return draft.executed(
        position_id=position.position_id, lots=position.lots, sizing=_still_frozen(portfolio, given.instrument)
    )


def _figures_refusal(portfolio: Portfolio, given: AdoptPosition) -> str | None:
    instrument = portfolio.settings.instruments.get(given.instrument)
    if instrument is None:
        return UNKNOWN_INSTRUMENT
    if given.instrument in portfolio.contracts and _contract_of(portfolio, given) is None:
        return "symbol is no contract of the instrument"
    if not _LAYER.fullmatch(given.layer):
        return "layer must be Long_1 to Long_6 or Short_1 to Short_6"
    if not 0 < given.lots <= MOST_LOTS or product(instrument.lot_size, given.lots) >= PRICE_LIMIT:
        return "lots are out of range"
    point_value = (_contract_of(portfolio, given) or instrument).point_value
    return _prices_refusal(given) or _money_refusal(given, point_value)


def _prices_refusal(given: AdoptPosition) -> str | None:
    for name, value in (("price", given.price), ("stop", given.stop), ("atr", given.atr)):
        if value is not None and not _is_price(value):
            return f"{name} is out of range"
    if given.stop is not None and layer_side(given.layer).sign * (given.price - given.stop) <= 0:
        return "stop is not on the losing side of the price"
    return None


def _money_refusal(given: AdoptPosition, point_value: Decimal) -> str | None:
    most = max(given.price, given.atr or given.price)
    return "price and lots are out of range" if product(most, given.lots, point_value) >= MONEY_LIMIT else None


def _layer_refusal(portfolio: Portfolio, given: AdoptPosition) -> str | None:
    """Why there is no place for this layer: a base needs none to be open, but nothing may be on the other side."""
    positions, working = portfolio.positions_of(given.instrument), portfolio.working_entries_of(given.instrument)
    if any(position.layer == given.layer for position in positions):
        return LAYER_ALREADY_OPEN
    if any(order.layer == given.layer for order in working):
        return ENTRY_WORKING
    side = layer_side(given.layer)
    if {*(position.side for position in positions), *(order.side for order in working)} - {side}:
        return WRONG_SIDE
    if layer_number(given.layer) > 1 and portfolio.base_of(given.instrument) is None:
        return "no base position"
    return None


def _contract_of(portfolio: Portfolio, given: AdoptPosition) -> Contract | None:
    """The contract that it is held in; None where that is not told, or there are none."""
    listed = portfolio.contracts.get(given.instrument)
    known = () if listed is None else listed.contracts.known
    return next((contract for contract in known if contract.futures_symbol == given.symbol), None)


def _adopted(portfolio: Portfolio, given: AdoptPosition, now: datetime) -> Position:
    """The position as it stands; it has no entry costs, and a bar reaches it once it is younger than the adoption."""
    contract, side, entry = _contract_of(portfolio, given), layer_side(given.layer), price(given.price)
    instrument = contract or portfolio.settings.instruments[given.instrument]
    stop, atr = (None if value is None else price(value) for value in (given.stop, given.atr))
    # No signal, so no fingerprint: the journal's entry is what makes it unique, and the same whenever it is decided again.
    identity = hashlib.sha256(f"{portfolio.name}:adopt:{portfolio.seq}".encode()).hexdigest()
    return Position(
        position_id=position_id_of(given.instrument, given.layer, identity),
        instrument=given.instrument,
        layer=given.layer,
        side=side,
        entry_timestamp=now,
        entry_price=entry,
        entry_lots=given.lots,
        lots=given.lots,
        quantity=price(product(instrument.lot_size, given.lots)),
        lot_size=instrument.lot_size,
        point_value=instrument.point_value,
        initial_stop=stop,
        current_stop=stop,
        highest_close=entry,
        atr=atr,
        mark_price=entry,
        mark_time=now,
        futures_symbol=given.symbol,
        expiry=None if contract is None else contract.expiry,
        contract_month=None if contract is None else contract.month,
        limiter=ADOPTED,
        risk_contribution=risk_amount(side, entry, stop, given.lots, instrument.point_value),
        vol_contribution=volatility_amount(atr, given.lots, instrument.point_value),
        is_base_position=layer_number(given.layer) == 1,
    )


def _decide_write_off(portfolio: Portfolio, given: WriteOff, now: datetime) -> Decision:
    position = portfolio.positions.get(given.position_id)
    if position is None:
        return rejected(portfolio, NO_OPEN_POSITION)
    # What an order may still sell would be booked a second time; a stop that only waits is made smaller, or cancelled.
    mine = [order for order in portfolio.orders_of(position.instrument) if order.position_id == position.position_id]
    if any(not order.rests for order in mine):
        return rejected(portfolio, "orders of the position are not settled")
    lots = position.lots if given.lots is None else given.lots
    if not 0 < lots <= position.lots:
        return rejected(portfolio, "lots are out of range", open_lots=position.lots)
    if not _is_price(given.price):
        return rejected(portfolio, "price is out of range")
    draft = Draft(portfolio)
    book_exit(draft, position, lots, price(given.price), now, given.reason)
    clear_if_flat(draft, position.instrument)
    return draft.executed(
        position_id=position.position_id,
        positions=(position.position_id,),
        lots=lots,
        sizing=_still_frozen(portfolio, position.instrument),
    )


def _decide_ignore(portfolio: Portfolio, given: IgnoreFinding) -> Decision:
    row = portfolio.pyramiding_of(given.instrument)
    if given.instrument not in portfolio.settings.instruments:
        return rejected(portfolio, UNKNOWN_INSTRUMENT)
    difference = _rounded(given.difference, QUANTITY_LIMIT)
    if difference is None:
        return rejected(portfolio, "difference is out of range")
    if difference == (row.accepted_difference or ZERO):
        return rejected(portfolio, "the difference is accepted already" if difference else "nothing was accepted")
    draft = Draft(portfolio)
    draft.apply(DifferenceAccepted(instrument=given.instrument, difference=difference or None))
    # To forget what was accepted settles nothing: what is frozen stays so.
    if difference and froze_it(row.frozen_reason):
        draft.apply(EntriesUnfrozen(instrument=given.instrument))
    return draft.executed(sizing=_still_frozen(draft.portfolio, given.instrument))


def _is_price(value: Decimal) -> bool:
    rounded = _rounded(value, PRICE_LIMIT)
    return rounded is not None and rounded > 0


def _rounded(value: Decimal, limit: Decimal) -> Decimal | None:
    """The number as a column of 8 decimals holds it; None where it does not. Looked at before rounding, which cannot hold
    1e999, and after it, which can carry into one digit more."""
    if not value.is_finite() or abs(value) >= limit:
        return None
    rounded = price(value)
    return rounded if abs(rounded) < limit else None


def _still_frozen(portfolio: Portfolio, instrument: str) -> Figures:
    reason = portfolio.pyramiding_of(instrument).frozen_reason
    return {} if reason is None else {"frozen_reason": reason}
