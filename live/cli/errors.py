"""Expected errors as one sentence that says what to do next."""

from core.errors import DatabaseAway, PoolExhausted, PortfolioError, UnsafeServer


class NotMigrated(PortfolioError):
    """the portfolio's tables are not there or not up to date"""


def sentence_of(error: PortfolioError) -> str:
    """The error on one line, with the next step where the error itself does not name it."""
    text = " ".join(str(error).split())
    match error:
        case UnsafeServer():
            return text
        case DatabaseAway() | PoolExhausted():
            return (
                f"the database cannot be used now: {text.rstrip('.?!')}. Check that the server runs and what --db-config "
                "and --db-env name, then try again"
            )
        case _:
            return text
