"""What the paper broker makes of an order, and what a fill costs and earns. Prices in points, the rest in money."""

from decimal import Decimal
from fractions import Fraction

from core.contracts import Costs
from core.models import Side
from core.numbers import ZERO, money, price, product, quotient


def paper_fill(side: Side, reference: Decimal, slippage_percent: Decimal, *, entering: bool) -> Decimal:
    """The price of a fill: `reference` moved against us by `slippage_percent` (a buy higher, a sale lower)."""
    buys = (side is Side.LONG) == entering
    moved = quotient(product(reference, slippage_percent), 100)
    return price(reference + moved if buys else reference - moved)


def side_costs(costs: Costs, fill_price: Decimal, lots: int, point_value: Decimal) -> Decimal:
    """What one side of a trade costs: a share of its turnover and an amount per lot."""
    turnover = quotient(product(fill_price, lots, point_value, costs.percent_of_turnover), 100)
    return money(turnover + product(costs.per_lot, lots))


def exact_pnl(side: Side, entry: Decimal, exit_price: Decimal, lots: int, point_value: Decimal) -> Decimal:
    """s x (exit - entry) x lots x point value, before costs, not rounded: for comparing."""
    move = exit_price - entry
    return product(move if side is Side.LONG else product(-1, move), lots, point_value)


def gross_pnl(side: Side, entry: Decimal, exit_price: Decimal, lots: int, point_value: Decimal) -> Decimal:
    """The same at the scale of the columns: for booking and marking."""
    return money(exact_pnl(side, entry, exit_price, lots, point_value))


def entry_costs_due(entry_costs: Decimal, entry_lots: int, sold_before: int, sold_now: int) -> Decimal:
    """The part of the entry's costs that this exit books: the rounded share so far, minus what was booked before.

    The parts of any split of an entry sum to its costs, to the last digit.
    """
    after = money(quotient(product(entry_costs, sold_before + sold_now), entry_lots))
    return after - money(quotient(product(entry_costs, sold_before), entry_lots))


def average_price(average: Decimal | None, lots_before: int, fill_price: Decimal, lots: int) -> Decimal:
    """The lots-weighted average of what was filled before and now."""
    if average is None or lots_before == 0:
        return fill_price
    total = Fraction(average) * lots_before + Fraction(fill_price) * lots
    mean = total / (lots_before + lots)
    return price(quotient(Decimal(mean.numerator), mean.denominator))


def risk_amount(side: Side, entry: Decimal, stop: Decimal | None, lots: int, point_value: Decimal) -> Decimal:
    """max(0, s x (entry - stop)) x lots x point value; also the open heat with the mark for the entry. No stop: 0."""
    if stop is None:
        return Decimal(0)
    return money(product(max(ZERO, side.sign * (entry - stop)), lots, point_value))


def volatility_amount(atr: Decimal | None, lots: int, point_value: Decimal) -> Decimal:
    """ATR x lots x point value; 0 where the ATR is unknown."""
    return Decimal(0) if atr is None else money(product(atr, lots, point_value))
