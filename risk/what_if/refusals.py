"""What a what-if refuses, by name. Whatever is refused has changed nothing; measures tell it as their reason."""

from risk.analytics.refusals import InputRefused


class UnknownPosition(InputRefused):
    """there is no such position"""


class PositionExists(InputRefused):
    """there is such a position already"""


class MissingPrice(InputRefused):
    """a position's price is not known"""


class MissingBeta(InputRefused):
    """a position's beta, or what no factor explains of it, is not known"""


class MissingFigure(InputRefused):
    """something else that a measure needs is not known of a position"""


class NotRollable(InputRefused):
    """a position cannot be moved to that contract"""


class NoSuchChange(InputRefused):
    """there is no such change to undo"""


class SessionEnded(InputRefused):
    """a session that is completed or cancelled is not changed any more"""


class BaseDiffers(InputRefused):
    """the positions are not those that the session began with"""


class NotComparable(InputRefused):
    """measures of different kinds are not compared"""


class NoRisk(InputRefused):
    """a trade's risk at its entry is not known, or is none: it has no R"""
