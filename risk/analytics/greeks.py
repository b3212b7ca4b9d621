"""Options' values and Greeks by QuantLib: Black-76 on futures, Black-Scholes-Merton on spot; synthetic futures of two legs."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from math import exp, isfinite
from typing import Literal, Self

import QuantLib as ql  # noqa: N813 - as everybody calls it

from risk.analytics.checks import above_zero
from risk.analytics.refusals import NoSuchVolatility, NotFinite, NoVolatility, OptionExpired, OutOfRange

Kind = Literal["CALL", "PUT"]
Underlying = Literal["FUTURE", "SPOT"]
_UNDERLYINGS = ("FUTURE", "SPOT")
_HIGHEST_RATE = 10.0
_KINDS = {"CALL": ql.Option.Call, "PUT": ql.Option.Put}
_DAYS = 365.0
_SECONDS = 86_400.0
_POINT = 0.01
_ACCURACY = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A European option: its strike in points of the underlying, and the moment (aware) at which it expires.

    Raises OutOfRange for a kind that is none, a strike that is not above 0, a naive time.
    """

    kind: Kind
    strike: float
    expires_at: datetime

    def __post_init__(self) -> None:
        _require_one_of("kind", self.kind, _KINDS)
        above_zero("strike", self.strike)
        _require_aware("expires_at", self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What an option is valued by, at `at` (aware): the price of its underlying, points, and what it is.

    `volatility` per year (0.2 = 20 %); `rate` and `dividend_yield` per year, continuously compounded; a future has no yield.
    Raises OutOfRange for a price that is not above 0, a rate of more than 1,000 %, a future with a yield, an underlying that is
    none, a naive time; NotFinite.
    """

    at: datetime
    underlying: Underlying
    price: float
    volatility: float
    rate: float
    dividend_yield: float = 0.0

    def __post_init__(self) -> None:
        _require_one_of("underlying", self.underlying, _UNDERLYINGS)
        _require_aware("at", self.at)
        if not all(map(isfinite, (self.volatility, self.rate, self.dividend_yield))):
            raise NotFinite("`volatility`, `rate`, `dividend_yield`: not finite")
        above_zero("price", self.price)
        if max(abs(self.rate), abs(self.dividend_yield)) > _HIGHEST_RATE:
            raise OutOfRange(f"`rate`, `dividend_yield`: {self.rate}, {self.dividend_yield} are no rates a year")
        if self.dividend_yield and self.underlying == "FUTURE":
            raise OutOfRange("`dividend_yield`: a future has none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeks:
    """Of one unit: value in points; delta per point of the underlying, gamma per point of it squared; the rest in points:

    `vega_per_point` for a volatility higher by 0.01, `theta_per_day` for a calendar day later (1/365 of a year's rate),
    `rho_per_point` for a rate higher by 0.01, the underlying's price being the same.
    """

    value: float
    delta: float
    gamma: float
    vega_per_point: float
    theta_per_day: float
    rho_per_point: float

    def times(self, multiplier: float) -> Self:
        """Of so many units, or in money: times signed quantity and point value."""
        return type(self)(**{each.name: getattr(self, each.name) * multiplier for each in fields(self)})

    def plus(self, other: "Greeks") -> Self:
        """Of both together."""
        return type(self)(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticFuture:
    """A long call and a short put: both legs' Greeks as held, their sum, and the futures price that they make, in points.

    `price` = strike + call - put, as the engine has it (undiscounted); `forward` = strike + (call - put) / discount.
    """

    call: Greeks
    put: Greeks
    total: Greeks
    price: float
    forward: float


def greeks(option: Option, market: Market) -> Greeks:
    """The option's value and Greeks, per unit long.

    On a future: Black, The Pricing of Commodity Contracts (1976). On spot: Black and Scholes (1973), Merton (1973). By
    QuantLib's BlackCalculator. Time is in years of 365 days (Actual/365 Fixed).
    Raises OptionExpired, NoVolatility.
    """
    years = _years(option, market)
    growth, discount = _growth(market, years), exp(-market.rate * years)
    if not market.volatility > 0:
        raise NoVolatility(f"`volatility`: {market.volatility} is not above 0")
    payoff = ql.PlainVanillaPayoff(_KINDS[option.kind], option.strike)
    black = ql.BlackCalculator(payoff, market.price * growth, market.volatility * years**0.5, discount)
    on_future = market.underlying == "FUTURE"
    return Greeks(
        value=black.value(),
        delta=black.delta(market.price),
        gamma=black.gamma(market.price),
        vega_per_point=black.vega(years) * _POINT,
        theta_per_day=black.theta(market.price, years) / _DAYS,
        # A future's price does not follow from the rate: only the discount does.
        rho_per_point=(-years * black.value() if on_future else black.rho(years)) * _POINT,
    )


def position_greeks(option: Option, market: Market, signed_quantity: float, point_value: float) -> Greeks:
    """The same of a position, in money: times lots (short below 0) and money per point per lot.

    Delta is then money per point of the underlying. Raises NotFinite, OutOfRange (a point value not above 0), and as `greeks`.
    """
    if not isfinite(signed_quantity):
        raise NotFinite(f"`signed_quantity`: {signed_quantity}")
    return greeks(option, market).times(signed_quantity * above_zero("point_value", point_value))


def synthetic_future(
    strike: float, expires_at: datetime, market: Market, *, put_volatility: float | None = None
) -> SyntheticFuture:
    """A synthetic future, long one: buy the call, sell the put of one strike and expiry. Short one is it times -1.

    `market.volatility` is the call's, and the put's where `put_volatility` says no other. With one volatility for both its
    delta is the discount (on a future) and its gamma and vega are 0: put-call parity. Raises what `greeks` does.
    """
    call = greeks(Option(kind="CALL", strike=strike, expires_at=expires_at), market)
    put_market = market if put_volatility is None else replace(market, volatility=put_volatility)
    put_option = Option(kind="PUT", strike=strike, expires_at=expires_at)
    put = greeks(put_option, put_market).times(-1)
    total = call.plus(put)
    return SyntheticFuture(
        call=call,
        put=put,
        total=total,
        price=strike + total.value,
        forward=strike + total.value * exp(market.rate * _years(put_option, market)),
    )


def implied_volatility(option: Option, market: Market, value: float) -> float:
    """The volatility per year that gives the option this value, in points; `market.volatility` is not looked at.

    Raises NoSuchVolatility where the value is below what it is worth without any, or above what it can be worth;
    OptionExpired, NotFinite.
    """
    years = _years(option, market)
    growth, discount = _growth(market, years), exp(-market.rate * years)
    if not isfinite(value):
        raise NotFinite(f"`value`: {value}")
    try:
        deviation = ql.blackFormulaImpliedStdDev(
            _KINDS[option.kind], option.strike, market.price * growth, value, discount, 0.0, ql.nullDouble(), _ACCURACY
        )
    except RuntimeError as error:
        raise NoSuchVolatility(
            f"no volatility makes the {option.kind} at {option.strike} worth {value}: {error}"
        ) from error
    return float(deviation / years**0.5)


def _years(option: Option, market: Market) -> float:
    seconds = (option.expires_at - market.at).total_seconds()
    if seconds <= 0:
        raise OptionExpired(f"it expired at {option.expires_at.isoformat()}")
    return seconds / _SECONDS / _DAYS


def _growth(market: Market, years: float) -> float:
    """The forward price by the price."""
    return exp((market.rate - market.dividend_yield) * years) if market.underlying == "SPOT" else 1.0


def _require_one_of(name: str, given: str, known: Iterable[str]) -> None:
    if given not in known:
        raise OutOfRange(f"`{name}`: {given!r} is none of {', '.join(known)}")


def _require_aware(name: str, given: datetime) -> None:
    if given.tzinfo is None:
        raise OutOfRange(f"`{name}`: a time needs its zone")
