"""A position that is added to a session: what is not said of it is looked up in the book, and is then a part of the change."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from book.reference_data import Instrument, ReferenceData
from core.errors import Refused
from core.trading_calendar import TradingCalendar
from risk.batch.given import Given
from risk.batch.history import closes_of
from risk.batch.holdings import Rates
from risk.batch.options import Options
from risk.modelling.estimates import estimates_of
from risk.modelling.held import Branch, day_of
from risk.modelling.keeping import Kept, given_at
from risk.modelling.refusals import NotToBeAdded
from risk.modelling.terms import terms_of
from risk.what_if.changes import Add
from risk.what_if.positions import HeldPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Lots (long +, short -) of an instrument of the master; what is None is looked up. `node` is below the session's own."""

    instrument: str
    lots: float
    price: float | None = None
    position_id: str | None = None
    node: int | None = None
    contract: str = ""
    stop: float | None = None


def addition(session: Session, to: Kept, wanted: Wanted, calendar: TradingCalendar) -> Add:
    """The change that adds it: at its price, or that of the same instrument in the session, or its last close by the session's
    time; with the betas of the session's batch. Raises NotToBeAdded, and what a position that cannot be is refused with.
    """
    at = to.session.base.as_of
    instrument = session.scalar(select(Instrument).filter_by(symbol=wanted.instrument))
    if instrument is None:
        raise NotToBeAdded(f"{wanted.instrument} is not in the master of instruments: `book instruments` lists them")
    paths = Branch(session, to.node, at).paths
    node = to.node if wanted.node is None else wanted.node
    if node not in paths:
        raise NotToBeAdded(f"node {node} is not below the session's, {to.node}")
    alike = next((each for each in to.session.positions.held if each.instrument == wanted.instrument), None)
    price, currency = _price(session, to, instrument, wanted, alike, calendar)
    rate = Rates(session, day_of(at)).between(currency, to.session.base.base)
    given = given_at(at, calendar)
    moves_as, option = instrument, None
    if instrument.kind == "option":
        try:
            option, moves_as = terms_of(Options(session, given, [instrument]), instrument, currency, price)
        except Refused as error:
            raise NotToBeAdded(f"{wanted.instrument}: {error}") from error
    betas, specific = _moves(session, to, moves_as, alike, given)
    sector = None if instrument.sector_id is None else session.get(ReferenceData, instrument.sector_id)
    position = HeldPosition(
        position_id=wanted.position_id or _name(to),
        instrument=instrument.symbol,
        currency=currency,
        signed_quantity=wanted.lots,
        point_value=float(instrument.point_value or 1),
        price=price,
        rate=None if isinstance(rate, str) else rate,
        node=paths[node],
        sector="" if sector is None else sector.name,
        contract=wanted.contract,
        underlying="" if moves_as is instrument else moves_as.symbol,
        betas=betas,
        specific_variance=specific,
        stop=wanted.stop,
        margin_per_lot=None if instrument.margin_per_lot is None else float(instrument.margin_per_lot),
        option=option,
    )
    return Add(position=position)


def _price(
    session: Session,
    to: Kept,
    instrument: Instrument,
    wanted: Wanted,
    alike: HeldPosition | None,
    calendar: TradingCalendar,
) -> tuple[float, str]:
    currency = instrument.currency if alike is None else alike.currency
    told = wanted.price if wanted.price is not None or alike is None else alike.price
    if told is not None:
        return told, currency
    at = to.session.base.as_of
    closes = closes_of(session, [instrument], given_at(at, calendar)).get(instrument.instrument_id)
    if closes is None:
        raise NotToBeAdded(f"{instrument.symbol}: no close of it is known by then: give --price")
    return float(closes.values.iloc[-1]), instrument.currency


def _moves(
    session: Session, to: Kept, instrument: Instrument, alike: HeldPosition | None, given: Given
) -> tuple[dict[str, float] | None, float | None]:
    """Betas and specific variance: those of the same instrument, else of the session's batch where its factors are the same."""
    if alike is not None:
        return alike.betas, alike.specific_variance
    day = to.inputs.batch_day
    found = None if day is None else estimates_of(session, day, given)
    betas = None if found is None else found.betas.get(instrument.instrument_id)
    if found is None or betas is None or set(betas) != set(to.inputs.factors):
        return None, None
    return dict(betas), found.specific.get(instrument.instrument_id)


def _name(to: Kept) -> str:
    taken = {each.position_id for each in (*to.session.base.held, *to.session.positions.held)}
    number = 1
    while f"new/{number}" in taken:
        number += 1
    return f"new/{number}"
