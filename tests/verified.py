"""The proof that the tables are what the journal says."""

from core.postgres.journal_stream import journal_stream
from live.verify import Verified, verify


def verified(dsn: str, portfolio: str = "main") -> Verified:
    """What `verify` checked of a portfolio. Raises Wrong."""
    with journal_stream(dsn, portfolio) as stream:
        return verify(stream, portfolio)
