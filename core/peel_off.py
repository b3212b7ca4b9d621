"""How much of a position must be sold so that its ongoing risk and volatility stay within their limits."""

from decimal import Decimal
from fractions import Fraction

from core.numbers import lots_to_cover


def lots_to_peel(
    lots: int, *, risk: Decimal, risk_limit: Decimal, volatility: Decimal, volatility_limit: Decimal
) -> int:
    """The larger of ceil(excess / per lot) over risk and volatility, 0..lots; what the position's `lots` have of each beside
    its limit, which is above 0. Amounts in money."""
    if risk <= risk_limit and volatility <= volatility_limit:
        return 0
    return max(_excess_lots(lots, risk, risk_limit), _excess_lots(lots, volatility, volatility_limit))


def _excess_lots(lots: int, amount: Decimal, limit: Decimal) -> int:
    if amount <= limit:
        return 0
    excess = Fraction(amount) - Fraction(limit)
    return lots_to_cover(excess / (Fraction(amount) / lots))
