"""psycopg2's errors in our words, translated once, by SQLSTATE."""

import psycopg2

from core.errors import DatabaseAway, DataRefused, Halt, PortfolioError, StaleVersion

# Connection lost or refused (08), no room or disk (53), ended or not yet up (57P), a transaction that idled too long (25P03,
# 25P04), conflicts that a retry resolves (40, 55P03), a cancelled wait (57014), and what is the machine's or the server's own
# trouble, no input's: a disk that fails (58), an internal error (XX).
_RETRYABLE = ("08", "53", "57", "58", "XX", "40", "55P03", "25P03", "25P04")
_DATA = ("21", "22", "23")
# What refuse_batch() raises.
_NOT_WHOLE = "PM001"


class StatementFailed(Halt):
    """PostgreSQL refused a statement of ours: missing table, missing privilege, or a mistake in it"""


class ReadOnlyServer(DatabaseAway):
    """the server takes no writes, it is no primary any more: only a new connection finds the one that is"""


class translated:  # noqa: N801 - read as `with translated():`
    """Raise what psycopg2 raises as one of our errors; the original is its cause."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(error, psycopg2.Error):
            raise as_ours(error) from error


def as_ours(error: psycopg2.Error) -> PortfolioError:
    """Our error for one of psycopg2's."""
    state, text = error.pgcode, str(error).strip()
    if state is None:
        # No SQLSTATE means no answer: the backend is gone, or psycopg2 itself would not send the value.
        lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        return DatabaseAway(text) if lost else DataRefused(text)
    if state.startswith(_DATA):
        return DataRefused(text, sqlstate=state, constraint=error.diag.constraint_name or "")
    if state == _NOT_WHOLE:
        return StaleVersion(error.diag.message_primary or text)
    if state == "25006":
        return ReadOnlyServer(text)
    if state.startswith(_RETRYABLE):
        return DatabaseAway(text)
    return StatementFailed(f"{state}: {text}")


def was_refused(error: psycopg2.Error) -> bool:
    """Whether the server itself has said that the transaction is undone. Of a session or a server that ends nobody knows: it may
    do so behind its COMMIT, with an SQLSTATE of its own (a PANIC while the commit is being flushed). 08 and 40003 say themselves
    that it is not known."""
    return error.diag.severity_nonlocalized == "ERROR" and not (error.pgcode or "08").startswith(("08", "40003"))
