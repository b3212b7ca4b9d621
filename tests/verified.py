"""The proof that the tables are what the journal says."""

from unittest.mock import patch

from core.postgres import journal_stream as module
from core.postgres.journal_stream import journal_stream
from core.postgres.statements import statement
from live.verify import Verified, verify


def verified(dsn: str, portfolio: str = "main") -> Verified:
    """What `verify` checked of a portfolio. Raises Wrong."""
    with journal_stream(dsn, portfolio) as stream:
        return verify(stream, portfolio)


def statements_of_verify(dsn: str) -> list[str]:
    """The names of the statements that `verify` runs on the main portfolio, in order; fetching more of one is no new one."""
    asked: list[str] = []

    def noted(name: str) -> str:
        asked.append(name)
        return statement(name)

    with patch.object(module, "statement", noted):
        verified(dsn)
    return asked
