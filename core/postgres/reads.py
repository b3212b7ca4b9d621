"""What is read outside the writer: lists for people, one signal, one command, the server's health."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2.extras import RealDictCursor
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from core.errors import DatabaseAway
from core.postgres.connections import ReaderPool
from core.postgres.errors import translated
from core.postgres.statements import statement

Row = Mapping[str, Any]
RETRY_SECONDS = 2.0
BEST_EFFORT_SECONDS = 0.2
_DIGITS_OF_A_FINGERPRINT = 12  # as many as a position id carries


class Reads:
    """Each call is a transaction of its own, tried again as a whole while the database is away, for two seconds at most."""

    def __init__(self, pool: ReaderPool, limit_seconds: float = RETRY_SECONDS) -> None:
        self._pool = pool
        self._limit = limit_seconds

    def all(self, name: str, **parameters: Any) -> list[Row]:
        """The rows of one statement."""
        for attempt in Retrying(
            retry=retry_if_exception_type(DatabaseAway),
            stop=stop_after_delay(self._limit),
            wait=wait_random_exponential(multiplier=0.02, max=0.3),
            reraise=True,
        ):
            with attempt:
                rows = self._once(name, parameters)
        return rows

    def one(self, name: str, **parameters: Any) -> Row | None:
        """The first row of one statement, None if it has none."""
        rows = self.all(name, **parameters)
        return rows[0] if rows else None

    def run(self, name: str, **parameters: Any) -> list[Row]:
        """One statement that changes something outside the state (a delivery's count, a heartbeat), committed; not retried."""
        # Nobody waits long for what is best effort, neither for a connection nor for a row.
        with (
            self._pool.connection(BEST_EFFORT_SECONDS) as connection,
            translated(),
            connection.cursor(cursor_factory=RealDictCursor) as cursor,
        ):
            cursor.execute("SET LOCAL lock_timeout = '200ms'")
            cursor.execute(statement(name), parameters)
            rows: list[Row] = list(cursor.fetchall()) if cursor.description else []
            connection.commit()
        return rows

    def positions(
        self, *, statuses: Sequence[str] | None, instrument: str | None, limit: int, before: str | None
    ) -> list[Row]:
        """Positions as rows, newest first, behind the position `before`."""
        status = None if statuses is None else list(statuses)
        return self.all("list_positions", status=status, instrument=instrument, limit=limit, before=before)

    def signals(
        self, *, statuses: Sequence[str] | None, instrument: str | None, limit: int, before: int | None
    ) -> list[Row]:
        """Signals as rows, newest first, behind the id `before`."""
        status = None if statuses is None else list(statuses)
        return self.all("list_signals", status=status, instrument=instrument, limit=limit, before=before)

    def journal(self, *, limit: int, before: int | None) -> list[Row]:
        """Journal entries as rows, newest first, behind the entry `before`."""
        return self.all("list_journal", limit=limit, before=before)

    def explained_entry(self, identity: str) -> Row | None:
        """The entry of a journal number, a position id (what opened it) or a fingerprint, whole or its first digits."""
        seq = int(identity) if identity.isdecimal() and len(identity) < _DIGITS_OF_A_FINGERPRINT else None
        digits = identity.rpartition("-")[2].lower()
        fingerprint = digits if seq is None and len(digits) >= _DIGITS_OF_A_FINGERPRINT else None
        return self.one("explained_entry", seq=seq, fingerprint=fingerprint)

    def signal_counts(self) -> list[Row]:
        """Signals by type and status, with how often they came again."""
        return self.all("signal_counts")

    def server_facts(self) -> dict[str, Any]:
        """Version, recovery role, replication, open positions, last commit, and how long asking took (`latency_ms`)."""
        started = time.perf_counter()
        rows = self._once("server_facts", {})
        return {**rows[0], "latency_ms": round((time.perf_counter() - started) * 1000, 3)}

    def _once(self, name: str, parameters: Mapping[str, Any]) -> list[Row]:
        with (
            self._pool.connection() as connection,
            translated(),
            connection.cursor(cursor_factory=RealDictCursor) as cursor,
        ):
            cursor.execute(statement(name), parameters)
            return list(cursor.fetchall())
