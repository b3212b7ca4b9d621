"""Exact decimals at the scales of the columns: money, prices, percentages, figures for show."""

from collections.abc import Callable
from decimal import (
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
    getcontext,
    setcontext,
)
from fractions import Fraction
from functools import wraps
from typing import ParamSpec, TypeVar

MONEY_SCALE = 4
PRICE_SCALE = 8
PERCENT_SCALE = 6
FIGURE_SCALE = 6
DEFAULT_CAPITAL = Decimal(5_000_000)
HIGHEST_PERCENT = Decimal("999999.999999")
ZERO = Decimal(0)

# A context of our own: the thread's default of 28 digits would round a product of price, lots and point value.
_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)
# Products alone are never rounded: sizes are compared by them.
_UNROUNDED = Context(prec=1000, traps=[InvalidOperation, Overflow, Inexact])
_multiply = _UNROUNDED.multiply
QUANTA = {scale: Decimal(1).scaleb(-scale) for scale in (MONEY_SCALE, PRICE_SCALE, PERCENT_SCALE)}
_MONEY, _PRICE, _PERCENT = QUANTA.values()
_HUNDREDTH = Decimal("0.01")

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Numeric:
    """A column NUMERIC(digits, scale) holds what is finite, below `limit` (a power of ten) and has at most `scale` decimals."""

    def __init__(self, scale: int, limit: Decimal) -> None:
        self.digits = limit.adjusted() + scale
        self.scale = scale
        self.limit = limit
        self.quantum = QUANTA[scale]
        # Raises for what would need more digits than there are, or would lose decimals that are not 0. NaN it lets pass.
        self.quantize = Context(prec=self.digits, traps=[InvalidOperation, Inexact]).quantize


def exactly(work: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Run `work` under a decimal context of 80 digits, whatever the thread's is: its sums and differences are exact."""

    @wraps(work)
    def in_context(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        before = getcontext()
        if before is _EXACT:  # evolve within decide
            return work(*args, **kwargs)
        setcontext(_EXACT)
        try:
            return work(*args, **kwargs)
        finally:
            setcontext(before)

    return in_context


def product(first: Decimal | int, second: Decimal | int, *others: Decimal | int) -> Decimal:
    """The exact product, whatever the thread's decimal context is."""
    result = _multiply(first, second)
    for factor in others:
        result = _multiply(result, factor)
    return result


def quotient(dividend: Decimal, divisor: Decimal | int) -> Decimal:
    """The quotient to 80 digits, half-even; round it with money() or price()."""
    return _EXACT.divide(dividend, Decimal(divisor))


def money(value: Decimal) -> Decimal:
    """An amount of money at the scale of the columns: 4 decimals, half-even."""
    return _EXACT.quantize(value, _MONEY)


def price(value: Decimal) -> Decimal:
    """A price, stop or ATR in points at the scale of the columns: 8 decimals, half-even."""
    return _EXACT.quantize(value, _PRICE)


def percent_of(part: Decimal, whole: Decimal) -> Decimal | None:
    """`part` in per cent of `whole`: 6 decimals, capped at 999999.999999; None where `whole` is not positive."""
    if whole <= 0:
        return None
    return min(HIGHEST_PERCENT, _EXACT.quantize(quotient(product(part, 100), whole), _PERCENT))


def percent_share(whole: Decimal, percent: Decimal) -> Decimal:
    """So many per cent of `whole`, exactly."""
    return _multiply(_multiply(whole, percent), _HUNDREDTH)


def figure(value: Fraction | Decimal | int) -> Decimal:
    """A figure for show: 6 decimals, half-even. Never decided on."""
    exact = value if isinstance(value, Decimal) else quotient(Decimal(value.numerator), value.denominator)
    return _EXACT.quantize(exact or ZERO, _PERCENT)  # nothing is shown as -0


def whole_lots(dividend: Decimal, divisor: Decimal) -> int:
    """Floors the exact quotient: the only rounding that a size ever gets. Negative sizes are 0."""
    return int(_EXACT.divide_int(max(ZERO, dividend), divisor))


def lots_to_cover(excess: Fraction) -> int:
    """Ceils: how many whole lots must be sold so that at least `excess` lots are gone."""
    return max(0, -(-excess.numerator // excess.denominator))


def decimals_of(value: Decimal) -> int:
    """How many decimals a finite number carries, trailing zeros aside (2 for 1.230)."""
    exponent = value.normalize(_EXACT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above `value`."""
    return _EXACT.multiply(_EXACT.divide(value, step).to_integral_value(ROUND_FLOOR), step)
