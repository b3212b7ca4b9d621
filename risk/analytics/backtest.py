"""Whether value at risk was what it said: too many breaches (Kupiec), or breaches that come together (Christoffersen)."""

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from risk.analytics.checks import observations, share, vector, whole
from risk.analytics.refusals import OutOfRange


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodRatio:
    """A likelihood ratio, and the probability of one as large or larger were the model right (chi-square, asymptotic)."""

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """All three tests of a series, how many breaches there were, and how many were to be expected."""

    observations: int
    breaches: int
    expected: float
    kupiec: LikelihoodRatio
    independence: LikelihoodRatio
    conditional_coverage: LikelihoodRatio


def backtest(pnl: object, value_at_risk: object, confidence: float) -> Backtest:
    """The tests of VaR (losses positive) against the P&L (gains positive) that followed, day by day, oldest first.

    A breach is a loss above that day's VaR. Raises WrongShape, NotFinite, OutOfRange, TooFewObservations (two are needed).
    """
    gains = vector("pnl", pnl)
    limits = vector("value_at_risk", value_at_risk, length=len(gains))
    observations(len(gains), 2)
    breached = -gains > limits
    before, after = breached[:-1], breached[1:]
    uncovered = kupiec(len(gains), int(breached.sum()), confidence)
    together = independence(
        int((~before & ~after).sum()),
        int((~before & after).sum()),
        int((before & ~after).sum()),
        int((before & after).sum()),
    )
    return Backtest(
        observations=len(gains),
        breaches=int(breached.sum()),
        expected=len(gains) * (1 - confidence),
        kupiec=uncovered,
        independence=together,
        conditional_coverage=conditional_coverage(uncovered, together),
    )


def kupiec(days: int, breaches: int, confidence: float) -> LikelihoodRatio:
    """Whether breaches are as frequent as they should be: -2 ln of p^x (1 - p)^(n - x) over that of x / n; 1 degree.

    Kupiec, Techniques for Verifying the Accuracy of Risk Measurement Models (1995). Raises OutOfRange.
    """
    expected = 1 - share("confidence", confidence)
    count, found = whole("days", days), whole("breaches", breaches, at_least=0)
    if found > count:
        raise OutOfRange(f"`breaches`: {found} of {count} days")
    return _test(
        2 * (_likelihood(count - found, found, found / count) - _likelihood(count - found, found, expected)), 1
    )


def independence(quiet_quiet: int, quiet_breach: int, breach_quiet: int, breach_breach: int) -> LikelihoodRatio:
    """Whether a breach is as likely after a breach as after a quiet day; 1 degree. Counts are of days by the day before.

    Christoffersen, Evaluating Interval Forecasts (1998): a first-order Markov chain against independence. Without a breach,
    or without a day after one, there is nothing to tell apart: 0, with probability 1. Raises OutOfRange.
    """
    counts = [
        whole(name, count, at_least=0)
        for name, count in (
            ("quiet_quiet", quiet_quiet),
            ("quiet_breach", quiet_breach),
            ("breach_quiet", breach_quiet),
            ("breach_breach", breach_breach),
        )
    ]
    (a, b), (c, d) = counts[:2], counts[2:]
    if not sum(counts):
        raise OutOfRange("no days were counted")
    apart = _likelihood(a, b, _share(b, a + b)) + _likelihood(c, d, _share(d, c + d))
    return _test(2 * (apart - _likelihood(a + c, b + d, _share(b + d, sum(counts)))), 1)


def conditional_coverage(coverage: LikelihoodRatio, together: LikelihoodRatio) -> LikelihoodRatio:
    """Both at once: the sum of the two likelihood ratios; 2 degrees. Christoffersen (1998)."""
    return _test(coverage.statistic + together.statistic, 2)


def _likelihood(quiet: int, breached: int, probability: float) -> float:
    """The logarithm, with 0 ln 0 = 0."""
    return float(special.xlog1py(quiet, -probability) + special.xlogy(breached, probability))


def _share(part: int, all_of_them: int) -> float:
    return part / all_of_them if all_of_them else 0.0


def _test(statistic: float, degrees: int) -> LikelihoodRatio:
    # Rounding may leave a little less than nothing.
    known = max(0.0, float(np.float64(statistic)))
    return LikelihoodRatio(statistic=known, p_value=float(stats.chi2.sf(known, degrees)))
