"""Options as a session has them: what they are a right to, and the market that they are valued by."""

from book.reference_data import Instrument
from risk.batch.options import Options
from risk.what_if.positions import Leg, OptionTerms


def terms_of(
    options: Options, instrument: Instrument, currency: str, price: float | None
) -> tuple[OptionTerms, Instrument]:
    """An option's, and its underlying; where no surface tells the volatility, its own price (points) implies it.

    Raises NotLinear, NoRate, NoSurface, InputRefused."""
    priced = options.priced(instrument, currency, price)
    market = priced.market
    leg = Leg(
        kind=priced.option.kind,
        strike=priced.option.strike,
        expires_at=priced.option.expires_at,
        volatility=market.volatility,
    )
    terms = OptionTerms(
        legs=(leg,), underlying=market.underlying, underlying_price=market.price, rate=market.rate + 0.0, at=market.at
    )
    return terms, priced.underlying
