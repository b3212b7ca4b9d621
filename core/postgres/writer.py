"""The one connection that writes: a batch in one transaction, and the truth about a COMMIT whose answer was lost."""

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import psycopg2
from psycopg2 import extensions, sql
from psycopg2.extensions import connection as Connection
from psycopg2.extras import RealDictCursor

from core.errors import CommitUnknown, DatabaseAway, PortfolioError, Retryable
from core.models import Position
from core.postgres.connections import NOT_REPLICATED, confirm, is_dead, lacks_its_standby
from core.postgres.errors import ReadOnlyServer, as_ours, translated, was_refused
from core.postgres.forms import Form, preparation
from core.postgres.open_positions import copied_positions
from core.postgres.statements import statement
from core.postgres.watchdog import WATCHDOG

COMMIT_LIMIT_SECONDS = 3.0
# A hundred thousand open positions take one, where nobody else is busy.
LOAD_LIMIT_SECONDS = 30.0
LOCK_TIMEOUT = "1s"
# Long statements with one parameter: planned once a connection, never compiled. It is planned while tables may be
# small, and lives on while they grow: every row is to be found by its index, whatever the statistics say meanwhile.
PLANNING = """
SET plan_cache_mode = force_generic_plan;
SET jit = off;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off
"""
# The quote is then all that means anything in a literal.
_STANDARD = "SET standard_conforming_strings = on"


class Writer:
    """Not for two threads at once: its owner, the manager, holds `alone` around each call and what belongs to it."""

    def __init__(self, make: Callable[[], Connection], commit_limit: float = COMMIT_LIMIT_SECONDS) -> None:
        self.alone = threading.RLock()
        self._make = make
        self._connection: Connection | None = None
        self._limit = commit_limit
        self._closed = False
        # Whether this connection has run the whole form.
        self._has_run_whole = False

    def write(self, document: bytes, form: Form) -> Mapping[str, Any]:
        """Run `commit_batch` in a form that writes all of the document, as a transaction of its own: what it found. The first
        batch of a connection goes in the whole form: a right or a table that is missing is told at once, not by the first
        trade.

        Raises CommitUnknown when the connection was lost meanwhile: call landed() before anything else is written. Raises
        StaleVersion where not all of the document could be written; whatever else it raises, nothing was.
        """
        connection = self._ready()
        with WATCHDOG.over(connection, self._limit):
            del connection.notices[:]
            try:
                # BEGIN and COMMIT would each wait for an answer of their own.
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute(_call(form if self._has_run_whole else Form.WHOLE, document))
                    names = [column.name for column in cursor.description or ()]
                    found = dict(zip(names, cursor.fetchone() or (), strict=True))
                connection.autocommit = False
            except Exception as error:
                ours = self._lost_or_refused(error)
                self._after(ours, connection)
                raise ours from error
            except BaseException:
                # An interrupt: nobody knows how far it came.
                self._drop()
                raise
            self._has_run_whole = True
            self._require_standby(connection)
        return found

    def landed(self, seq: int, term: int) -> tuple[bool, int]:
        """Whether the batch that ended with journal entry `seq` of `term` took place, and the fencing number that the next one
        has to name: from here on what was sent before takes no effect. Retryable until it can be known."""
        connection = self._ready()
        with WATCHDOG.over(connection, self._limit):
            try:
                return self._look(connection, seq, term)
            except BaseException as error:
                self._after(error, connection)
                raise

    def read(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[Mapping[str, Any]]:
        """The rows of one statement, read on this connection: it sees what this writer has written, and is bounded."""
        connection = self._ready()
        with WATCHDOG.over(connection, self._limit):
            try:
                # One statement needs no transaction around it, and no answer to BEGIN and ROLLBACK.
                connection.autocommit = True
                with translated(), connection.cursor(cursor_factory=RealDictCursor) as cursor:
                    cursor.execute(statement(name), parameters)
                    return list(cursor.fetchall())
            finally:
                self._roll_back(connection)

    def read_positions(self) -> list[Position]:
        """Every open position, read on this connection. Raises ValueError for a row that is none."""
        connection = self._ready()
        with WATCHDOG.over(connection, max(self._limit, LOAD_LIMIT_SECONDS)):
            try:
                return copied_positions(connection)
            finally:
                self._roll_back(connection)

    def read_confirmed(self, name: str, parameters: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The same, once what was found is where a failover finds it too: then somebody may be told of it."""
        connection = self._ready()
        with WATCHDOG.over(connection, self._limit):
            try:
                with translated(), connection.cursor(cursor_factory=RealDictCursor) as cursor:
                    cursor.execute(statement(name), parameters)
                    found: list[Mapping[str, Any]] = list(cursor.fetchall())
                if found:
                    confirm(connection)
                return found
            finally:
                self._roll_back(connection)

    def take_term(self, instance_id: str) -> int:
        """The next term, ours. A transaction of an earlier writer that hangs on to the old one is ended."""
        connection = self._ready()
        with WATCHDOG.over(connection, self._limit):
            try:
                self._lock_leadership(connection)
                with translated(), connection.cursor() as cursor:
                    cursor.execute(statement("take_term"), {"instance_id": instance_id})
                    (term,) = cursor.fetchone() or (0,)
            except BaseException as error:
                self._after(error, connection)
                raise
            self._commit(connection)
        return int(term)

    def warm_up(self) -> None:
        """Connect, and have the server plan what write() runs: the first batch need not wait for either. Raises Retryable."""
        connection = self._ready()
        with WATCHDOG.over(connection, self._limit):
            try:
                connection.autocommit = True
                with translated(), connection.cursor() as cursor:
                    for form in Form:
                        # Plans it as EXECUTE would, and keeps the plan; nothing is run.
                        cursor.execute(f"EXPLAIN (COSTS off) EXECUTE {form} ('{{}}')")
            finally:
                self._roll_back(connection)

    def close(self) -> None:
        """Close the connection; it is not opened again."""
        self._closed = True
        self._drop()

    def _ready(self) -> Connection:
        if self._closed:
            raise DatabaseAway("the writer is closed")
        if self._connection is None or is_dead(self._connection):
            self._drop()
            connection = self._make()
            try:
                with WATCHDOG.over(connection, self._limit), translated(), connection.cursor() as cursor:
                    cursor.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
                    cursor.execute(f"{PLANNING}; {_STANDARD}")
                    cursor.execute(";\n".join(map(preparation, Form)))
                    connection.commit()
            except BaseException:
                connection.close()
                raise
            self._connection, self._has_run_whole = connection, False
        return self._connection

    def _commit(self, connection: Connection) -> None:
        # commit() after a failed statement would roll back without a word.
        if connection.info.transaction_status != extensions.TRANSACTION_STATUS_INTRANS:
            self._roll_back(connection)
            raise DatabaseAway("the transaction was already over before its COMMIT")
        del connection.notices[:]
        try:
            connection.commit()
        except psycopg2.Error as error:
            ours = self._lost_or_refused(error)
            self._drop()
            raise ours from error
        self._require_standby(connection)

    def _lost_or_refused(self, error: Exception) -> PortfolioError:
        """Our error for what ended a call that a COMMIT was part of. Only an ERROR of the server says that there was none: what
        ends a session or the server, and what is the client's own, may come behind it. Then the connection is given up."""
        if isinstance(error, psycopg2.Error) and was_refused(error):
            return as_ours(error)
        self._drop()
        return CommitUnknown(str(error).strip())

    def _require_standby(self, connection: Connection) -> None:
        if lacks_its_standby(connection):
            self._drop()
            raise CommitUnknown(NOT_REPLICATED)

    def _look(self, connection: Connection, seq: int, term: int) -> tuple[bool, int]:
        self._lock_leadership(connection)
        with translated(), connection.cursor() as cursor:
            cursor.execute(statement("find_entry"), {"seq": seq, "term": term})
            found = cursor.fetchone() is not None
            cursor.execute(statement("raise_fence"), {"term": term})
            # Under another's term no number is ours.
            (fencing_number,) = cursor.fetchone() or (0,)
            cursor.execute(statement("barrier"))
        self._commit(connection)
        return found, int(fencing_number)

    def _lock_leadership(self, connection: Connection) -> None:
        # Behind this lock no transaction of a lost connection is still on its way to land.
        try:
            with translated(), connection.cursor() as cursor:
                cursor.execute(statement("lock_leadership"))
        except Retryable as error:
            if getattr(error.__cause__, "pgcode", None) != "55P03":
                raise
            self._roll_back(connection)
            self._end_blockers(connection)
            with translated(), connection.cursor() as cursor:
                cursor.execute(statement("lock_leadership"))

    def _end_blockers(self, connection: Connection) -> None:
        with translated(), connection.cursor() as cursor:
            cursor.execute(statement("blockers"))
            for (pid,) in cursor.fetchall():
                cursor.execute(statement("terminate_backend"), {"pid": pid})
            connection.commit()

    def _after(self, error: BaseException, connection: Connection) -> None:
        """End a transaction that failed; on a server that is no primary any more, the connection too."""
        if isinstance(error, ReadOnlyServer):
            self._drop()
        else:
            self._roll_back(connection)

    def _roll_back(self, connection: Connection) -> None:
        try:
            connection.rollback()
            connection.autocommit = False
        except psycopg2.Error:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg2.Error):
                connection.close()


def _call(form: Form, document: bytes) -> bytes:
    """The call of a form. psycopg2 would look at every character by itself, which takes forty times as long: of a large batch
    some 3 %."""
    return b"".join((b"EXECUTE ", form.encode(), b" ('", document.replace(b"'", b"''"), b"')"))
