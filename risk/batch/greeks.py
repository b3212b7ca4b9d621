"""Step five: what a point of the underlying, of volatility and a day are worth to each position."""

from typing import Any

from sqlalchemy.orm import Session

from book.reference_data import Instrument
from risk.analytics.valuation import SIGNS
from risk.batch.given import Given
from risk.batch.keeping import positions_of, say
from risk.batch.market import instruments_of
from risk.daily import PositionRisk

# What is worth as much more as its price is.
_LINEAR = ("future", "spot", "perpetual", "forward")


def greeks(session: Session, given: Given) -> int:
    """Each position's Greeks in money of its currency. What is linear has a delta alone; of options the book keeps neither
    strike nor expiry, so theirs are not known, and say so."""
    positions = positions_of(session, given.day)
    known = {each.instrument_id: each for each in instruments_of(session, positions)}
    for position in positions:
        found = _linear(position, known[position.instrument_id])
        position.greeks = found
        kind = known[position.instrument_id].kind
        say(position, "greeks", None if found else f"NotLinear: {kind}: the book has neither its strike nor its expiry")
    session.flush()
    return sum(each.greeks is not None for each in positions)


def _linear(position: PositionRisk, instrument: Instrument) -> dict[str, Any] | None:
    if instrument.kind not in _LINEAR:
        return None
    a_point = float(position.quantity) * float(instrument.point_value or 1) / float(instrument.lot_size or 1)
    others = dict.fromkeys(("gamma", "vega_per_point", "theta_per_day", "rho_per_point"), 0.0)
    return {"delta": SIGNS[position.direction] * a_point, **others}
