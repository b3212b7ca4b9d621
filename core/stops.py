"""Stops that only tighten (DOMAIN.md, Stops). All figures in points."""

from decimal import Decimal

from core.models import Side
from core.numbers import price


def best_close(side: Side, highest_close: Decimal, close: Decimal) -> Decimal:
    """The best close so far: the highest of a long, the lowest of a short."""
    return max(highest_close, close) if side is Side.LONG else min(highest_close, close)


def trailed_stop(side: Side, current_stop: Decimal, highest_close: Decimal, distance: Decimal) -> Decimal:
    """The stop so far behind the best close, never looser than `current_stop` and never below 0."""
    if side is Side.LONG:
        return max(current_stop, price(highest_close - distance))
    return min(current_stop, price(highest_close + distance))


def stop_is_hit(side: Side, stop: Decimal, close: Decimal) -> bool:
    """Whether a bar closed beyond the stop: below it for a long, above it for a short; on it is not beyond."""
    return close < stop if side is Side.LONG else close > stop
