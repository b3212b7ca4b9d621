"""How many lots: the smallest of risk, volatility, margin and what the portfolio's caps leave (DOMAIN.md, Sizing)."""

from decimal import Decimal

from msgspec import Struct

from core.numbers import ZERO, figure, product, quotient, whole_lots
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


class Lots(Struct, frozen=True):
    """Unfloored lots, exactly: so much money (above 0, or none) at so much a lot. They are compared without dividing."""

    money: Decimal
    per_lot: Decimal

    def below(self, other: "Lots") -> bool:
        """Whether these are fewer."""
        return product(self.money, other.per_lot) < product(other.money, self.per_lot)


def room(equity: Decimal, cap_percent: Decimal, used: Decimal = ZERO) -> Decimal:
    """The money left until what is `used` reaches `cap_percent` of equity; none where it is above already."""
    return max(ZERO, product(equity, cap_percent, _HUNDREDTH) - used)


_HUNDREDTH, _ONE = Decimal("0.01"), Decimal(1)


def size_base(
    carried: PortfolioRoom,
    lot: LotFigures,
    limits: Limits,
    *,
    risk_percent: Decimal,
    volatility_percent: Decimal,
    efficiency_ratio: Decimal | None,
    drawdown_factor: Decimal,
) -> Sized:
    """Lots of a base entry; `efficiency_ratio` None leaves the factor out. 0 lots: the limiter blocked it."""
    equity, scale = carried.equity, _ONE if efficiency_ratio is None else efficiency_ratio
    constraints = {
        "risk": Lots(product(room(equity, risk_percent), drawdown_factor, scale), lot.risk),
        "volatility": Lots(room(equity, volatility_percent), lot.volatility),
        "margin": Lots(room(equity, limits.margin_percent, carried.margin_used), lot.margin),
    }
    return _smallest({**constraints, **_portfolio_caps(carried, lot, limits.risk_percent, limits.volatility_percent)})


def size_pyramid(
    carried: PortfolioRoom,
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
    margin, earned = room(carried.equity, limits.margin_percent, carried.margin_used), max(ZERO, profit - base_risk)
    constraints = {
        "margin": Lots(product(margin, drawdown_factor), lot.margin),
        "discipline": Lots(product(previous_entry_lots, discipline_share, drawdown_factor), _ONE),
        "profit": Lots(product(profit_share, earned, drawdown_factor), lot.risk),
    }
    caps = _portfolio_caps(carried, lot, limits.pyramid_risk_percent, limits.pyramid_volatility_percent)
    return _smallest({**constraints, **caps})


def _portfolio_caps(
    carried: PortfolioRoom, lot: LotFigures, risk_percent: Decimal, volatility_percent: Decimal
) -> dict[str, Lots]:
    return {
        "portfolio_risk": Lots(room(carried.equity, risk_percent, carried.risk_amount), lot.risk),
        "portfolio_volatility": Lots(
            room(carried.equity, volatility_percent, carried.volatility_amount), lot.volatility
        ),
    }


def _smallest(constraints: dict[str, Lots]) -> Sized:
    # A tie goes to the first of the order.
    others = iter(constraints.items())
    limiter, smallest = next(others)
    for name, lots in others:
        if lots.below(smallest):
            limiter, smallest = name, lots
    figures: Figures = {name: figure(quotient(lots.money, lots.per_lot)) for name, lots in constraints.items()}
    return Sized(lots=whole_lots(smallest.money, smallest.per_lot), limiter=limiter, figures=figures)
