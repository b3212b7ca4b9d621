"""Options of the master as they are priced at a day's end: terms, the underlying, the rate, the volatility."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

from book.reference_data import Instrument
from core.errors import Refused
from risk.analytics.greeks import Kind, Market, Option, Underlying, implied_volatility
from risk.analytics.refusals import InputRefused
from risk.batch.given import Given
from risk.batch.history import closes_of
from risk.batch.pricing import Curves, NoSurface, Surfaces, closes_at
from risk.option_terms import OptionTerms

KINDS: Mapping[str, Kind] = {"CE": "CALL", "PE": "PUT"}
_ON_A_FUTURE = ("future", "synthetic_future", "perpetual", "forward")
_SECONDS_A_DAY = 86_400.0
# Of a market whose own is not known yet: what is not looked at must still be a volatility.
ANY_VOLATILITY = 0.2


class NotLinear(Refused):
    """its value does not move as its price does, and what it is a right to is not known"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """An option, what it is valued by, and of what its volatility is: the `surface`, or its own `price`."""

    option: Option
    market: Market
    volatility_of: str
    underlying: Instrument


class Options:
    """The options among some instruments, their underlyings, curves and surfaces, each read once."""

    def __init__(self, session: Session, given: Given, instruments: Iterable[Instrument]) -> None:
        self.curves, self.surfaces = Curves(session, given), Surfaces(session, given)
        self._given = given
        numbers = [each.instrument_id for each in instruments if each.kind == "option"]
        terms = session.scalars(select(OptionTerms).where(OptionTerms.instrument_id.in_(numbers)))
        self._terms = {row.instrument_id: row for row in terms}
        below = {row.underlying_id for row in self._terms.values()}
        asked = select(Instrument).where(Instrument.instrument_id.in_(below))
        self._below = {each.instrument_id: each for each in session.scalars(asked)}
        self._closes = closes_of(session, self._below.values(), given)

    def priced(self, instrument: Instrument, currency: str, price: Decimal | float | None) -> Priced:
        """The option by its own price, points, where there is no surface. Raises NotLinear, NoRate, NoSurface, InputRefused."""
        terms = self._terms.get(instrument.instrument_id)
        if terms is None:
            raise NotLinear(
                f"option: neither its strike nor its expiry is known: `risk option set {instrument.symbol}`"
            )
        below = self._below[terms.underlying_id]
        option = Option(
            kind=KINDS[terms.option_type],
            strike=float(terms.strike),
            expires_at=closes_at(self._given, instrument.exchange or below.exchange, terms.expiry),
        )
        on: Underlying = "FUTURE" if below.kind in _ON_A_FUTURE else "SPOT"
        market = self.market(instrument, currency, on, self._price_of(below), option)
        try:
            volatility = self.surfaces.volatility(terms.underlying_id, terms.expiry, option.strike, terms.option_type)
            told_by = "surface"
        except NoSurface as error:
            volatility, told_by = _implied(option, market, price, error), "price"
        return Priced(
            option=option, market=replace(market, volatility=volatility), volatility_of=told_by, underlying=below
        )

    def market(self, instrument: Instrument, currency: str, on: Underlying, price: float, option: Option) -> Market:
        """At the day's last close; its volatility is none yet. Raises NoRate, OutOfRange."""
        at = closes_at(self._given, instrument.exchange, self._given.day)
        days = max(0.0, (option.expires_at - at).total_seconds() / _SECONDS_A_DAY)
        rate = self.curves.rate(currency, days)
        return Market(at=at, underlying=on, price=price, volatility=ANY_VOLATILITY, rate=rate)

    def _price_of(self, below: Instrument) -> float:
        closes = self._closes.get(below.instrument_id)
        if closes is None:
            raise NotLinear(f"{below.symbol}, its underlying, has no daily bars")
        last = closes.values.index[-1]
        if (self._given.day - last).days > self._given.method.stale_days:
            raise NotLinear(f"{below.symbol}, its underlying, has no bar since {last}")
        return float(closes.values.iloc[-1])


def _implied(option: Option, market: Market, price: Decimal | float | None, why: NoSurface) -> float:
    if price is None:
        raise why
    try:
        return implied_volatility(option, market, float(price))
    except InputRefused as error:
        raise NoSurface(f"{why}; and its price implies none: {error}") from error
