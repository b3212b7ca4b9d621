"""Step five: what a point of the underlying, of volatility and a day are worth to each position."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any, cast

from sqlalchemy import Date, DateTime, Integer, Numeric, String, column, func, select
from sqlalchemy.orm import Session

from book.portfolio_management import PortfolioPosition
from book.reference_data import Instrument
from core.errors import Refused
from risk.analytics.greeks import Greeks, Option, synthetic_future
from risk.analytics.greeks import greeks as option_greeks
from risk.analytics.valuation import SIGNS
from risk.batch.given import Given
from risk.batch.holdings import end_of, named
from risk.batch.keeping import positions_of, say
from risk.batch.market import instruments_of
from risk.batch.options import KINDS, NotLinear, Options
from risk.batch.pricing import NoSurface, closes_at
from risk.daily import PositionRisk

# What is worth as much more as its price is.
_LINEAR = ("future", "spot", "perpetual", "forward")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Legs:
    """The strike and expiry of a synthetic future's two options."""

    strike: float
    expiry: date


def greeks(session: Session, given: Given) -> int:
    """Each position's Greeks in money of its currency, in JSON.

    What is linear has a delta alone. An option's are by Black-76 or Black-Scholes, with the surface's volatility, else the one
    that its own price implies; a synthetic future's are its two legs', and their sum. What is not known says why.
    """
    positions = positions_of(session, given.day)
    known = _Known(session, given, positions)
    for position in positions:
        try:
            position.greeks = known.of(position)
            say(position, "greeks", None)
        except Refused as error:
            position.greeks = None
            say(position, "greeks", named(error))
    session.flush()
    return sum(each.greeks is not None for each in positions)


class _Known:
    """What positions are priced by, read once."""

    def __init__(self, session: Session, given: Given, positions: Iterable[PositionRisk]) -> None:
        held = list(positions)
        self._given = given
        self._instruments = {each.instrument_id: each for each in instruments_of(session, held)}
        self._options = Options(session, given, self._instruments.values())
        synthetic = [each for each in held if self._instruments[each.instrument_id].kind == "synthetic_future"]
        self._legs = _legs(session, synthetic, given) if synthetic else {}

    def of(self, position: PositionRisk) -> dict[str, Any]:
        """In money. Raises NotLinear, NoRate, NoSurface, InputRefused."""
        instrument = self._instruments[position.instrument_id]
        a_point = float(position.quantity) * float(instrument.point_value or 1) / float(instrument.lot_size or 1)
        signed = SIGNS[position.direction] * a_point
        if instrument.kind in _LINEAR:
            return {
                "delta": signed,
                **dict.fromkeys(("gamma", "vega_per_point", "theta_per_day", "rho_per_point"), 0.0),
            }
        if instrument.kind == "option":
            return self._of_option(position, instrument, signed)
        if instrument.kind == "synthetic_future":
            return self._of_synthetic(position, instrument, signed)
        raise NotLinear(f"{instrument.kind}: the book has not what its value follows from")

    def _of_option(self, position: PositionRisk, instrument: Instrument, signed: float) -> dict[str, Any]:
        priced = self._options.priced(instrument, position.currency, position.price)
        found = _in_money(option_greeks(priced.option, priced.market), signed)
        return {**found, "volatility": priced.market.volatility, "volatility_of": priced.volatility_of}

    def _of_synthetic(self, position: PositionRisk, instrument: Instrument, signed: float) -> dict[str, Any]:
        legs = self._legs.get(position.position)
        if legs is None:
            raise NotLinear("synthetic_future: the strike and expiry of its legs are not known")
        if position.price is None:
            raise NotLinear("synthetic_future: it has no price")
        option = Option(
            kind="CALL", strike=legs.strike, expires_at=closes_at(self._given, instrument.exchange, legs.expiry)
        )
        market = self._options.market(instrument, position.currency, "FUTURE", float(position.price), option)
        strike = {"strike": legs.strike, "expiry": legs.expiry.isoformat()}
        try:
            call, put = (
                self._options.surfaces.volatility(instrument.instrument_id, legs.expiry, legs.strike, kind)
                for kind in KINDS
            )
        except NoSurface as error:
            # Put-call parity: with one volatility for both legs the sum's delta is the discount, whatever it is.
            found = synthetic_future(legs.strike, option.expires_at, market)
            return {**_in_money(found.total, signed), "legs": {**strike, "reason": named(error)}}
        found = synthetic_future(legs.strike, option.expires_at, replace(market, volatility=call), put_volatility=put)
        told = {
            "call": {**_in_money(found.call, signed), "volatility": call},
            "put": {**_in_money(found.put, signed), "volatility": put},
        }
        return {**_in_money(found.total, signed), "legs": {**strike, **told}}


def _in_money(found: Greeks, signed: float) -> dict[str, float]:
    return {name: value * signed for name, value in asdict(found).items() if name != "value"}


def _legs(session: Session, positions: Iterable[PositionRisk], given: Given) -> dict[str, _Legs]:
    """The legs of the engine's positions as they were at the day's end: those of now, or before a roll that came later the
    original ones; where there were several rolls, those in between are not known."""
    numbers = [int(each.position.partition("/")[2]) for each in positions if each.position.startswith("position/")]
    asked = select(PortfolioPosition.id, PortfolioPosition.portfolio, PortfolioPosition.engine_position_id)
    of_engine: dict[str, dict[str, str]] = {}
    for row in session.execute(asked.where(PortfolioPosition.id.in_(numbers), PortfolioPosition.source == "engine")):
        of_engine.setdefault(row.portfolio, {})[row.engine_position_id] = f"position/{row.id}"
    found: dict[str, _Legs] = {}
    for portfolio, by_engine_id in sorted(of_engine.items()):
        for row in session.execute(_engine_legs(portfolio)):
            name, legs = by_engine_id.get(row.position_id), _at(row, end_of(given.day))
            if name is not None and legs is not None:
                found[name] = legs
    return found


def _engine_legs(portfolio: str) -> Any:
    columns = (
        column("position_id", String),
        column("strike", Numeric),
        column("expiry", Date),
        column("original_strike", Numeric),
        column("original_expiry", Date),
        column("rollover_timestamp", DateTime(timezone=True)),
        column("rollover_count", Integer),
    )
    return select(func.risk.engine_legs(portfolio).table_valued(*columns, name="legs"))


def _at(row: Any, end: datetime) -> _Legs | None:
    strike, expiry = row.strike, row.expiry
    if row.rollover_timestamp is not None and row.rollover_timestamp >= end:
        if row.rollover_count != 1:
            return None
        strike, expiry = row.original_strike, row.original_expiry
    if strike is None or expiry is None:
        return None
    return _Legs(strike=float(strike), expiry=cast("date", expiry))
