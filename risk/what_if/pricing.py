"""What a position is worth to its holder as its underlying moves: linear, but for options, which are valued anew."""

import numpy as np
from msgspec.structs import replace

from risk.analytics.checks import Array
from risk.analytics.greeks import Greeks, Option, greeks
from risk.analytics.refusals import NoVolatility, OutOfRange
from risk.what_if.positions import HeldPosition, OptionTerms
from risk.what_if.refusals import MissingFigure, MissingPrice


def rate_of(position: HeldPosition) -> float:
    """Units of the base currency for one of the position's. Raises MissingFigure."""
    if position.rate is None:
        raise MissingFigure(f"{position.position_id}: no rate of {position.currency}")
    return position.rate


def price_of(position: HeldPosition) -> float:
    """Its price, in points. Raises MissingPrice."""
    if position.price is None:
        raise MissingPrice(f"{position.position_id}: no price")
    return position.price


def money_per_point(position: HeldPosition) -> float:
    """What a point is worth: signed quantity x point value x rate, base currency. Raises MissingFigure."""
    return position.signed_quantity * position.point_value * rate_of(position)


def value_of(position: HeldPosition) -> float:
    """Signed quantity x price x point value x rate, base currency: a future's notional, an option's premium.

    Raises MissingPrice, MissingFigure.
    """
    return price_of(position) * money_per_point(position)


def exposure_of(position: HeldPosition) -> float:
    """What its value moves like: itself; of options, delta x the underlying's price in place of the premium. Base currency.

    Raises MissingPrice, MissingFigure, NoVolatility, OptionExpired.
    """
    if not position.is_option:
        return value_of(position)
    terms = terms_of(position)
    return greeks_per_lot(position).delta * terms.underlying_price * money_per_point(position)


def pnl_of(position: HeldPosition, move: float, volatility_change: float = 0.0) -> float:
    """What a return of its underlying, and a change of volatility (0.01 = a point), earn: base currency.

    Options are valued anew. Raises MissingPrice, MissingFigure, NoVolatility, OptionExpired; OutOfRange where the
    underlying's price or a volatility would not be above 0.
    """
    if not position.is_option:
        return value_of(position) * move
    moved_terms = moved_option(position, move, volatility_change)
    return (_lot(position, moved_terms).value - greeks_per_lot(position).value) * money_per_point(position)


def pnl_of_moves(position: HeldPosition, moves: Array) -> Array:
    """The same of each of many returns, volatilities as they are. Raises what `pnl_of` does."""
    if not position.is_option:
        return value_of(position) * moves
    base, per_point = greeks_per_lot(position).value, money_per_point(position)
    worth = [_lot(position, moved_option(position, float(move), 0.0)).value for move in moves]
    return (np.array(worth, dtype=np.float64) - base) * per_point


def moved(position: HeldPosition, move: float, volatility_change: float = 0.0) -> HeldPosition:
    """The position at the prices, and volatilities, after that. Raises what `pnl_of` does, but for its rate."""
    price = price_of(position)
    if position.option is None:
        return replace(position, price=price * (1 + move))
    after = moved_option(position, move, volatility_change)
    if not position.is_option:
        return replace(position, price=price * (1 + move), option=after)
    difference = _lot(position, after).value - greeks_per_lot(position).value
    return replace(position, price=price + difference, option=after)


def moved_option(position: HeldPosition, move: float, volatility_change: float) -> OptionTerms:
    """Its options' terms after that. Raises MissingFigure, NoVolatility, OutOfRange."""
    terms = terms_of(position)
    legs = []
    for leg in terms.legs:
        volatility = leg.volatility
        if volatility is None and volatility_change:
            raise NoVolatility(f"{position.position_id}: no volatility to change")
        if volatility is not None and not volatility + volatility_change > 0:
            raise OutOfRange(
                f"{position.position_id}: a volatility of {volatility} cannot change by {volatility_change}"
            )
        legs.append(replace(leg, volatility=None if volatility is None else volatility + volatility_change))
    if not move > -1:
        raise OutOfRange(f"{position.position_id}: no price falls by {-move:.6g} of itself and has options")
    return replace(terms, legs=tuple(legs), underlying_price=terms.underlying_price * (1 + move))


def greeks_per_lot(position: HeldPosition) -> Greeks:
    """Value and Greeks of a lot, in points: its legs' sum. Raises MissingFigure, NoVolatility, OptionExpired."""
    return _lot(position, terms_of(position))


def terms_of(position: HeldPosition) -> OptionTerms:
    """Its options. Raises MissingFigure where it has none."""
    if position.option is None:
        raise MissingFigure(f"{position.position_id}: no options")
    return position.option


def _lot(position: HeldPosition, terms: OptionTerms) -> Greeks:
    total = Greeks(value=0.0, delta=0.0, gamma=0.0, vega_per_point=0.0, theta_per_day=0.0, rho_per_point=0.0)
    for leg in terms.legs:
        if leg.volatility is None:
            raise NoVolatility(f"{position.position_id}: no volatility of the {leg.kind.lower()} at {leg.strike:g}")
        option = Option(kind=leg.kind, strike=leg.strike, expires_at=leg.expires_at)
        total = total.plus(greeks(option, terms.market_of(leg)).times(leg.ratio))
    return total
