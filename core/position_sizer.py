"""How many lots: the smallest of risk, volatility, margin and what the portfolio's caps leave (DOMAIN.md, Sizing)."""

from decimal import Decimal
from fractions import Fraction

from msgspec import Struct

from core.numbers import figure, whole_lots
from core.settings import Limits

Figures = dict[str, Decimal | int | str | bool | None]


class Sized(Struct, frozen=True, kw_only=True):
    """A size in whole lots, the constraint that bound it, and every constraint's unfloored lots for show."""

    lots: int
    limiter: str
    figures: Figures


class PortfolioRoom(Struct, frozen=True, kw_only=True):
    """What the portfolio carries already, in money, and the equity that its percentages are of (above 0)."""

    equity: Decimal
    risk_amount: Decimal
    volatility_amount: Decimal
    margin_used: Decimal


class LotFigures(Struct, frozen=True, kw_only=True):
    """What one lot of the new position adds, in money. `risk` is s x (price - stop) x point value, above 0."""

    risk: Decimal
    volatility: Decimal
    margin: Decimal


def room_lots(equity: Decimal, cap_percent: Decimal, used: Decimal, per_lot: Decimal) -> Fraction:
    """Unfloored lots until `used` money plus `per_lot` each reaches `cap_percent` of equity; may be negative."""
    return (Fraction(equity) * Fraction(cap_percent) / 100 - Fraction(used)) / Fraction(per_lot)


def size_base(
    room: PortfolioRoom,
    lot: LotFigures,
    limits: Limits,
    *,
    risk_percent: Decimal,
    volatility_percent: Decimal,
    efficiency_ratio: Decimal | None,
    drawdown_factor: Decimal,
) -> Sized:
    """Lots of a base entry; `efficiency_ratio` None leaves the factor out. 0 lots: the limiter blocked it."""
    risk = room_lots(room.equity, risk_percent, Decimal(0), lot.risk) * Fraction(drawdown_factor)
    if efficiency_ratio is not None:
        risk *= Fraction(efficiency_ratio)
    constraints = {
        "risk": risk,
        "volatility": room_lots(room.equity, volatility_percent, Decimal(0), lot.volatility),
        "margin": room_lots(room.equity, limits.margin_percent, room.margin_used, lot.margin),
    }
    return _smallest({**constraints, **_portfolio_caps(room, lot, limits.risk_percent, limits.volatility_percent)})


def size_pyramid(
    room: PortfolioRoom,
    lot: LotFigures,
    limits: Limits,
    *,
    previous_entry_lots: int,
    discipline_share: Decimal,
    profit: Decimal,
    base_risk: Decimal,
    profit_share: Decimal,
    drawdown_factor: Decimal,
) -> Sized:
    """Lots of a pyramid. `profit` is the instrument's P&L at the signal's price, `base_risk` the base's initial risk: money."""
    factor = Fraction(drawdown_factor)
    constraints = {
        "margin": room_lots(room.equity, limits.margin_percent, room.margin_used, lot.margin) * factor,
        "discipline": previous_entry_lots * Fraction(discipline_share) * factor,
        "profit": Fraction(profit_share)
        * max(Fraction(0), Fraction(profit) - Fraction(base_risk))
        / Fraction(lot.risk)
        * factor,
    }
    caps = _portfolio_caps(room, lot, limits.pyramid_risk_percent, limits.pyramid_volatility_percent)
    return _smallest({**constraints, **caps})


def _portfolio_caps(
    room: PortfolioRoom, lot: LotFigures, risk_percent: Decimal, volatility_percent: Decimal
) -> dict[str, Fraction]:
    return {
        "portfolio_risk": room_lots(room.equity, risk_percent, room.risk_amount, lot.risk),
        "portfolio_volatility": room_lots(room.equity, volatility_percent, room.volatility_amount, lot.volatility),
    }


def _smallest(constraints: dict[str, Fraction]) -> Sized:
    # Unfloored values are compared, negatives count as 0, and min() gives a tie to the first of the order.
    lots = {name: max(Fraction(0), value) for name, value in constraints.items()}
    limiter = min(lots, key=lambda name: lots[name])
    return Sized(
        lots=whole_lots(lots[limiter]), limiter=limiter, figures={name: figure(value) for name, value in lots.items()}
    )
