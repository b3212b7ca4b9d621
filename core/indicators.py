"""Indicators of a chart's bars, exact: the average true range and the efficiency ratio."""

from collections import deque
from decimal import Decimal

from core.numbers import ZERO, product, quotient
from core.numbers import price as rounded_price


class AverageTrueRange:
    """Wilder, *New Concepts in Technical Trading Systems* (1978): the mean of the first true ranges, then smoothed.

    True range = max(high, close before) - min(low, close before), the first bar's high - low. Smoothed:
    (before x (length - 1) + true range) / length, kept to 80 digits; only what is shown is rounded.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._close: Decimal | None = None
        self._count = 0
        self._value = ZERO  # the sum of the true ranges until there are enough of them

    def after(self, high: Decimal, low: Decimal, close: Decimal) -> Decimal | None:
        """The ATR after one more bar in points, half-even to 8 decimals; None before `length` bars."""
        true_range = high - low if self._close is None else max(high, self._close) - min(low, self._close)
        self._close = close
        self._count += 1
        if self._count > self._length:
            self._value = quotient(product(self._value, self._length - 1) + true_range, self._length)
        else:
            self._value += true_range
            if self._count < self._length:
                return None
            self._value = quotient(self._value, self._length)
        return rounded_price(self._value)


class EfficiencyRatio:
    """Kaufman, *Smarter Trading* (1995): how much of the way that the closes went led anywhere.

    abs(close - close `length` bars ago) / sum of abs(close - close before) over those bars; 0 where nothing moved.
    """

    def __init__(self, length: int) -> None:
        self._closes: deque[Decimal] = deque(maxlen=length + 1)
        self._way = ZERO

    def after(self, close: Decimal) -> Decimal | None:
        """The ER after one more close, half-even to 8 decimals; None before `length` + 1 closes."""
        closes = self._closes
        if len(closes) == closes.maxlen:
            self._way -= abs(closes[1] - closes[0])
        if closes:
            self._way += abs(close - closes[-1])
        closes.append(close)
        if len(closes) < (closes.maxlen or 0):
            return None
        return rounded_price(quotient(abs(close - closes[0]), self._way)) if self._way else ZERO
