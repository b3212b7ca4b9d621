"""What is read outside the writer: lists for people, one signal, one command, the server's health."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psycopg2.extras import RealDictCursor
from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from core.errors import DatabaseAway
from core.models import Status
from core.postgres.connections import ReaderPool, commit_replicated, confirm
from core.postgres.errors import translated
from core.postgres.patience import seconds_left
from core.postgres.statements import statement
from core.proposals import proposal_id_of

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
        return self._until_there(lambda: self._once(name, parameters))

    def one(self, name: str, **parameters: Any) -> Row | None:
        """The first row of one statement, None if it has none."""
        rows = self.all(name, **parameters)
        return rows[0] if rows else None

    def run(self, name: str, **parameters: Any) -> list[Row]:
        """One statement that changes something outside the state (a delivery's count, a heartbeat), committed; not retried.

        Raises DatabaseAway also where a standby may not have it.
        """
        # Nobody waits long for what is best effort, neither for a connection nor for a row.
        with (
            self._pool.connection(BEST_EFFORT_SECONDS) as connection,
            translated(),
            connection.cursor(cursor_factory=RealDictCursor) as cursor,
        ):
            cursor.execute("SET LOCAL lock_timeout = '200ms'")
            cursor.execute(statement(name), parameters)
            rows: list[Row] = list(cursor.fetchall()) if cursor.description else []
            commit_replicated(connection)
        return rows

    def confirmed(self, name: str, when: Callable[[list[Row]], object] = bool, **parameters: Any) -> list[Row]:
        """The rows; where `when` holds of them, once they are where a failover finds them too: then one may tell of them."""
        return self._until_there(lambda: self._once(name, parameters, when))

    def positions(
        self, *, statuses: Sequence[str] | None, instrument: str | None, limit: int, before: str | None
    ) -> list[Row]:
        """Positions as rows, newest first, behind the position `before`."""
        status = None if statuses is None else list(statuses)
        return self.all("list_positions", status=status, instrument=instrument, limit=limit, before=before)

    def instances(self, *, limit: int) -> list[Row]:
        """The processes of the portfolio, the one that was alive last first."""
        return self.all("instances", limit=limit)

    def terms(self, *, limit: int, before: int | None = None) -> list[Row]:
        """Who led, the newest term first, behind the term `before`."""
        return self.all("leadership_history", limit=limit, before=before)

    def orders(
        self, *, states: Sequence[str] | None, instrument: str | None, limit: int, before: str | None
    ) -> list[Row]:
        """Orders as rows, newest first, behind the order `before`; each with its `fills` in the order they came."""
        state = None if states is None else list(states)
        parameters = {"state": state, "instrument": instrument, "limit": limit, "before": before}
        # One limit for both statements: nobody waits twice for a database that goes away between them.
        return self._until_there(lambda: self._orders_with_fills(parameters))

    def order(self, client_order_id: str) -> Row | None:
        """One order as a row, settled or not, with its fills' ids."""
        return self.one("orders_by_id", client_order_ids=[client_order_id])

    def proposals(
        self, *, states: Sequence[str] | None, instrument: str | None, limit: int, before: int | None
    ) -> list[Row]:
        """Proposals as rows, newest first, made before the journal's entry `before`."""
        state = None if states is None else list(states)
        return self.all("list_proposals", state=state, instrument=instrument, limit=limit, before=before)

    def proposal(self, proposal_id: str) -> Row | None:
        """One proposal as a row, decided or not."""
        return self.one("proposals_by_id", proposal_ids=[proposal_id])

    def proposals_by_id(self, proposal_ids: Sequence[str]) -> list[Row]:
        """These proposals as rows, decided or not."""
        return self.all("proposals_by_id", proposal_ids=list(proposal_ids))

    def proposal_of(self, entry: Row) -> Row | None:
        """The proposal that a journal's row has made of its signal; None where it made none."""
        if entry["kind"] != "signal" or entry["outcome"]["status"] != Status.PROPOSED:
            return None
        return self.proposal(proposal_id_of(entry["input"]["fingerprint"]))

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

    def _orders_with_fills(self, parameters: Mapping[str, Any]) -> list[Row]:
        orders = self._once("list_orders", parameters)
        ids = [order["client_order_id"] for order in orders]
        fills: dict[str, list[Row]] = {client_order_id: [] for client_order_id in ids}
        for fill in self._once("fills_of_orders", {"client_order_ids": ids}) if ids else ():
            fills[fill["client_order_id"]].append(fill)
        return [{**order, "fills": _fills_shown(order, fills[order["client_order_id"]])} for order in orders]

    def _until_there(self, read: Callable[[], list[Row]]) -> list[Row]:
        limit = seconds_left(self._limit)
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type(DatabaseAway),
                stop=stop_before_delay(limit),
                wait=wait_random_exponential(multiplier=0.02, max=0.3),
                reraise=True,
            ):
                with attempt:
                    rows = read()
        except DatabaseAway as error:
            if seconds_left(1.0):
                raise
            # What was cut because nobody waits any longer says nothing of that itself.
            raise DatabaseAway(f"the database did not answer within {limit:.1f} s") from error
        return rows

    def _once(
        self, name: str, parameters: Mapping[str, Any], when: Callable[[list[Row]], object] = lambda _: False
    ) -> list[Row]:
        with (
            self._pool.connection() as connection,
            translated(),
            connection.cursor(cursor_factory=RealDictCursor) as cursor,
        ):
            cursor.execute(statement(name), parameters)
            rows: list[Row] = list(cursor.fetchall())
            if when(rows):
                confirm(connection)
            return rows


def _fills_shown(order: Row, fills: Sequence[Row]) -> list[dict[str, Any]]:
    """The fills that the order's row counts: one that was committed after the row was read is the next answer's."""
    shown, lots = [], 0
    for fill in fills:
        lots += fill["lots"]
        if lots <= order["filled_lots"]:
            shown.append({name: value for name, value in fill.items() if name != "client_order_id"})
    return shown
