"""How much of a position must be sold so that its ongoing risk and volatility stay within their limits."""

from decimal import Decimal
from fractions import Fraction

from core.numbers import lots_to_cover, product


def lots_to_peel(
    *,
    lots: int,
    risk_amount: Decimal,
    volatility_amount: Decimal,
    equity: Decimal,
    ongoing_risk_percent: Decimal,
    ongoing_volatility_percent: Decimal,
) -> int:
    """The larger of ceil(excess / per lot) over risk and volatility, 0..lots; amounts in money, equity above 0."""
    risk = _excess_lots(lots, risk_amount, equity, ongoing_risk_percent)
    volatility = _excess_lots(lots, volatility_amount, equity, ongoing_volatility_percent)
    return max(risk, volatility)


def _excess_lots(lots: int, amount: Decimal, equity: Decimal, limit_percent: Decimal) -> int:
    if product(amount, 100) <= product(equity, limit_percent):
        return 0
    excess = Fraction(amount) - Fraction(equity) * Fraction(limit_percent) / 100
    return lots_to_cover(excess / (Fraction(amount) / lots))
