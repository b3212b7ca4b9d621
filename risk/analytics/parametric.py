"""Value at risk and expected shortfall of a distribution: normal, Student's t, or moments by Cornish and Fisher."""

import numpy as np
from scipy import stats

from risk.analytics.checks import numbers, share, whole
from risk.analytics.refusals import NotFinite, NotMonotone, OutOfRange
from risk.analytics.tails import Tail

# Student's t has a variance only above this.
LOWEST_DEGREES = 2.0
# Standard deviations: beyond them a float knows no probability but 0 and 1.
_FARTHEST = 38.0


def normal(mean: float, volatility: float, confidence: float, horizon: int = 1) -> Tail:
    """VaR and expected shortfall of normal P&L: z s sqrt(h) - m h, and s sqrt(h) phi(z) / (1 - c) - m h.

    `mean` m and `volatility` s: money per period; `horizon` h: periods, taken as independent; z the quantile of c.
    McNeil, Frey and Embrechts, Quantitative Risk Management, examples 2.11 and 2.14. Raises OutOfRange, NotFinite.
    """
    _, spread, level, periods = _given(mean, volatility, confidence, horizon)
    z = stats.norm.ppf(level)
    return _tail(z, stats.norm.pdf(z) / (1 - level), mean, spread, level, periods)


def student_t(mean: float, volatility: float, degrees: float, confidence: float, horizon: int = 1) -> Tail:
    """The same of P&L that is Student's t of so many degrees of freedom (above 2), scaled to the volatility.

    VaR: sqrt((d - 2) / d) t s sqrt(h) - m h; shortfall: the same scale times f(t) / (1 - c) x (d + t^2) / (d - 1).
    For more than one period the sum is taken as of the same shape, which it is not quite: it is heavier than the truth.
    McNeil, Frey and Embrechts, examples 2.12 and 2.15. Raises OutOfRange, NotFinite.
    """
    _, spread, level, periods = _given(mean, volatility, confidence, horizon)
    if not (np.isfinite(degrees) and degrees > LOWEST_DEGREES):
        raise OutOfRange(f"`degrees`: {degrees} is not above 2: there is no variance")
    scale, t = np.sqrt((degrees - 2) / degrees), stats.t.ppf(level, degrees)
    beyond = stats.t.pdf(t, degrees) / (1 - level) * (degrees + t**2) / (degrees - 1)
    return _tail(scale * t, scale * beyond, mean, spread, level, periods)


def cornish_fisher(
    mean: float, volatility: float, skewness: float, excess_kurtosis: float, confidence: float, horizon: int = 1
) -> Tail:
    """The same of P&L with these moments, by the fourth-order expansion of its quantile around the normal's.

    z + (z^2 - 1) S / 6 + (z^3 - 3 z) K / 24 - (2 z^3 - 5 z) S^2 / 36 at z of 1 - c, its mean up to there for the shortfall.
    Of h independent periods skewness is S / sqrt(h), excess kurtosis K / h. Maillard, A User's Guide to the Cornish Fisher
    Expansion (2012). S and K are the expansion's parameters: large ones give a distribution whose own moments are others.
    Raises NotMonotone where the expansion falls anywhere within 38 deviations, and so is no quantile (skewness needs some
    kurtosis); OutOfRange, NotFinite.
    """
    _, spread, level, periods = _given(mean, volatility, confidence, horizon)
    skew, kurtosis = numbers("skewness, excess_kurtosis", [skewness, excess_kurtosis], 1)
    skew, kurtosis = float(skew) / np.sqrt(periods), float(kurtosis) / periods
    _require_monotone(skew, kurtosis)
    z = stats.norm.ppf(1 - level)
    quantile = z + (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
    weight = 1 + z * skew / 6 + (z**2 - 1) * kurtosis / 24 - (2 * z**2 - 1) * skew**2 / 36
    return _tail(-quantile, weight * stats.norm.pdf(z) / (1 - level), mean, spread, level, periods)


def _require_monotone(skew: float, kurtosis: float) -> None:
    """The derivative, a parabola in z, must not be below 0 where a quantile may be asked for."""
    square, linear = kurtosis / 8 - skew**2 / 6, skew / 3
    constant = 1 - kurtosis / 8 + 5 * skew**2 / 36
    places = [-_FARTHEST, _FARTHEST]
    if 2 * abs(square) * _FARTHEST > abs(linear):
        places.append(-linear / (2 * square))
    if min(square * z**2 + linear * z + constant for z in places) < 0:
        raise NotMonotone(f"skewness {skew:.4g} with excess kurtosis {kurtosis:.4g}: the expansion is no quantile")


def _given(mean: float, volatility: float, confidence: float, horizon: int) -> tuple[float, float, float, int]:
    if not (np.isfinite(mean) and np.isfinite(volatility)):
        raise NotFinite(f"`mean`, `volatility`: {mean}, {volatility}")
    if volatility < 0:
        raise OutOfRange(f"`volatility`: {volatility} is below 0")
    return mean, volatility, share("confidence", confidence), whole("horizon", horizon)


def _tail(quantile: float, beyond: float, mean: float, spread: float, level: float, periods: int) -> Tail:
    deviation, drift = spread * np.sqrt(periods), mean * periods
    return Tail(
        value_at_risk=float(quantile * deviation - drift),
        expected_shortfall=float(beyond * deviation - drift),
        confidence=level,
        horizon=periods,
    )
