"""Whether there is a book in a database that this program can keep."""


def require_book(dsn: str) -> None:
    """Raise BookNotMigrated unless the book's schema is at this program's version; and what connecting raises."""
    from book.database import BookNotMigrated
    from core.postgres.migrations import shared_head, shared_version

    version = shared_version(dsn)
    if version is None or version < shared_head():
        raise BookNotMigrated
