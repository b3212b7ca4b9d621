"""Failures, named by who acts on them: try again, stop, or tell the caller. Refusals of a signal are values, not these."""


class PortfolioError(Exception):
    """Base of all failures of ours; a child's docstring is its default message."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class Retryable(PortfolioError):
    """Nothing is wrong with the input; the same call may succeed later."""


class Halt(PortfolioError):
    """Going on would be wrong; a human or a new leader has to act."""


class Refused(PortfolioError):
    """The caller's request is not acceptable as it stands."""


class StaleVersion(Retryable):
    """the row has moved on since it was read; nothing was changed"""


class HistoryLost(StaleVersion):
    """the journal ends otherwise than it was left: the database went back to an earlier time; nothing was changed"""


class DatabaseAway(Retryable):
    """PostgreSQL cannot be reached or cannot commit now; nothing was changed"""


class CommitUnknown(Retryable):
    """the connection was lost while a COMMIT was under way; whether it took place has to be found out"""


class PoolExhausted(Retryable):
    """every pooled connection stayed in use for the whole waiting time"""


class LeadershipLost(Halt):
    """another instance has taken a later term; this one must not write"""


class StateDiverged(Halt):
    """memory and database disagree"""


class TooNew(Halt):
    """the journal is written by a newer program"""


class LockHeld(Halt):
    """another process holds the portfolio's lock"""


class UnsafeServer(Halt):
    """the server does not keep what it acknowledges"""


class ConfigurationError(Refused):
    """the configuration is not valid"""


class DataRefused(Refused):
    """PostgreSQL refused the data itself (SQLSTATE 21, 22, 23); trying again would refuse it again"""

    def __init__(self, message: str = "", *, sqlstate: str = "", constraint: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint
