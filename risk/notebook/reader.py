"""Transactions that only read: each question its own, or several on one and the same state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from book.database import engine_of, transaction
from risk.daily import PortfolioRisk
from risk.tags import PositionTag

# As SQLAlchemy and others write the URL of a driver that libpq has never heard of.
_DRIVERS = ("postgresql+psycopg2://", "postgresql+psycopg://", "postgres://")
_MILLISECONDS = 1000


class Reader:
    """A database that is read and never written: every transaction is READ ONLY, and cut off after `timeout_seconds`.

    `close()`, or the end of `with`, gives the connection back. Raises BookNotMigrated, DatabaseAway, DataRefused for a `dsn` that
    is none.
    """

    def __init__(
        self,
        dsn: str,
        *,
        timeout_seconds: float = 60.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if timeout_seconds <= 0:
            raise ValueError(f"`timeout_seconds`: {timeout_seconds} is not above 0")
        self._seconds = timeout_seconds
        self._clock = clock
        self._session: Session | None = None
        owned = engine_of(_url(dsn), connections=1, idle_seconds=max(1, int(timeout_seconds)))
        self._engine = owned.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        try:
            with self.reading() as session:
                # What the newest migration makes, and what the one before: said now, and not in the midst of something.
                session.scalar(select(exists().where(PortfolioRisk.positions < 0)))
                session.scalar(select(exists().where(PositionTag.id < 0)))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back. What is asked afterwards opens another one."""
        self._engine.dispose()

    @contextmanager
    def together(self) -> Iterator[Self]:
        """All that is asked within the block is of one state of the database, whatever is committed meanwhile.

        The server ends it where nothing is asked for `timeout_seconds`, or where it lasts longer.
        """
        with self.reading():
            yield self

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads, for questions of one's own; within the block all questions are of its one state."""
        if self._session is not None:
            yield self._session
            return
        with transaction(self._engine, limit_seconds=self._seconds) as session:
            limit = f"{int(self._seconds * _MILLISECONDS)}ms"
            session.execute(select(func.set_config("statement_timeout", limit, True)))
            self._session = session
            try:
                yield session
            finally:
                self._session = None


def _url(dsn: str) -> str:
    for driver in _DRIVERS:
        if dsn.startswith(driver):
            return f"postgresql://{dsn.removeprefix(driver)}"
    return dsn
