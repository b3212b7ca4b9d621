"""What the analytics refuse, by name. Whatever is refused has computed nothing."""

from core.errors import Refused


class InputRefused(Refused):
    """a figure that is asked for cannot be computed from what was given"""


class NotFinite(InputRefused):
    """a value is missing, not a number, or infinite"""


class WrongShape(InputRefused):
    """an array or a frame has not the shape, or not the columns, that are needed"""


class OutOfRange(InputRefused):
    """a number is outside of what it may be"""


class LabelsDiffer(InputRefused):
    """what belongs together is not labelled alike, or a label is there twice"""


class MissingPairs(InputRefused):
    """a matrix given by its pairs lacks some"""


class NotSymmetric(InputRefused):
    """a covariance or correlation matrix is not symmetric"""


class NotPositiveSemidefinite(InputRefused):
    """a covariance or correlation matrix has a negative eigenvalue: no random variables have it"""


class TooFewObservations(InputRefused):
    """a series is too short for what is asked of it"""


class CollinearFactors(InputRefused):
    """some factors are so nearly combinations of others that no regression can tell them apart"""


class ConstantSeries(InputRefused):
    """a series does not move: nothing can be divided by its volatility"""


class MissingRate(InputRefused):
    """there is no rate from a currency to the base currency"""


class ImpossibleShocks(InputRefused):
    """the shocks contradict the correlations, or name what is no factor"""


class OptionExpired(InputRefused):
    """an option has no time left"""


class NoVolatility(InputRefused):
    """an option's volatility is 0 or less: its Greeks are not defined"""


class NoSuchVolatility(InputRefused):
    """no volatility gives an option this price"""


class NotMonotone(InputRefused):
    """skewness and kurtosis are outside of where the Cornish-Fisher expansion is a quantile"""
