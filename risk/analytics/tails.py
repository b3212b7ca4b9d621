"""Value at risk and expected shortfall of a set of outcomes: two numbers, both positive where they are losses."""

from dataclasses import dataclass

import numpy as np

from risk.analytics.checks import Array, observations, share, vector, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A loss that is exceeded with probability 1 - confidence, and the mean of the losses beyond it; money, losses positive.

    `horizon` in periods of what was given (days, mostly). `expected_shortfall` is never below `value_at_risk`.
    """

    value_at_risk: float
    expected_shortfall: float
    confidence: float
    horizon: int


def tail_of(pnl: Array, confidence: float, horizon: int) -> Tail:
    """The tail of equally likely outcomes (gains positive), as they are.

    With a = 1 - confidence and n outcomes in rising order, VaR is minus number floor(n a) + 1, the smallest loss whose
    distribution function reaches the confidence; the shortfall is minus the mean of the worst n a outcomes, of which the
    last one counts in part: Acerbi and Tasche, On the Coherence of Expected Shortfall (2002), definition 2.6 and (4.12).
    Raises TooFewObservations where n a < 1, for then nothing is known of the tail.
    """
    level = 1 - confidence
    # 1 - 0.99 is a little more than 0.01: rounding must not decide which outcome it is.
    worst = round(len(pnl) * level, 9)
    observations(len(pnl), int(np.ceil(round(1 / level, 9))))
    whole_ones = int(worst)
    ordered = np.partition(pnl, min(whole_ones, len(pnl) - 1))
    edge = float(ordered[min(whole_ones, len(pnl) - 1)])
    beyond = float(np.sort(ordered[:whole_ones]).sum())
    shortfall = -(beyond + (worst - whole_ones) * edge) / worst
    # A mean of equal numbers may be rounded to less than they are.
    return Tail(value_at_risk=-edge, expected_shortfall=max(-edge, shortfall), confidence=confidence, horizon=horizon)


def historical(pnl: object, confidence: float, horizon: int = 1, *, overlapping: bool = False) -> Tail:
    """VaR and expected shortfall of P&L as it was: each past period is as likely as any other.

    `pnl`: money (or returns) by period, oldest first. For a longer `horizon` one period's figures grow with the square root
    of time; `overlapping` adds up each `horizon` periods in a row instead, which are then not independent.
    Jorion, Value at Risk (2007), chapter 10. Raises OutOfRange, NotFinite, WrongShape, TooFewObservations.
    """
    values, level, periods = vector("pnl", pnl), share("confidence", confidence), whole("horizon", horizon)
    if overlapping:
        observations(len(values), periods)
        sums = np.lib.stride_tricks.sliding_window_view(values, periods).sum(axis=1)
        return tail_of(sums, level, periods)
    return scaled(tail_of(values, level, 1), periods)


def scaled(one: Tail, horizon: int) -> Tail:
    """One period's tail for a longer horizon, by the square root of time."""
    root = float(np.sqrt(horizon))
    return Tail(
        value_at_risk=one.value_at_risk * root,
        expected_shortfall=one.expected_shortfall * root,
        confidence=one.confidence,
        horizon=horizon,
    )
