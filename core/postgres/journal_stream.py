"""The whole journal and the tables beside it, read as of one moment and a piece at a time: memory stays flat."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from core.journal import JournalRow
from core.models import PortfolioState, Position, PyramidingState
from core.orders import Order
from core.postgres.connections import Connection, connect
from core.postgres.errors import translated
from core.postgres.open_positions import copied_positions
from core.postgres.rows import (
    order_from_row,
    position_from_row,
    proposal_from_row,
    pyramiding_from_row,
    state_from_row,
)
from core.postgres.statements import statement
from core.postgres.watchdog import WATCHDOG
from core.proposals import Proposal

Row = Mapping[str, Any]
ROWS_AT_ONCE = 500


class JournalStream:
    """One portfolio as one transaction sees it, whatever is written meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def entries(self) -> Iterator[Sequence[JournalRow]]:
        """The journal's rows in their order, in chunks."""
        with translated(), self._connection.cursor(name="journal") as cursor:
            cursor.execute(statement("stream_journal"))
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield [JournalRow(*row) for row in rows]

    def length(self) -> int:
        """How many entries there are, by the last one's number."""
        return self.end()[0]

    def end(self) -> tuple[int, str]:
        """The last entry's number and hash; 0 and nothing before the first."""
        row = self._one("last_seq")
        return (0, "") if row is None else (int(row["seq"]), str(row["content_hash"]))

    def settings(self) -> dict[str, Any] | None:
        """The settings in force, as they were journalled; None before the first."""
        row = self._one("last_settings")
        return None if row is None else row["settings"]

    def contracts(self) -> dict[str, Any]:
        """The contracts in force (core.listed_contracts as JSON)."""
        row = self._one("last_contracts")
        return {} if row is None else row["contracts"]

    def signals(self, fingerprints: Collection[str]) -> dict[str, Row]:
        """The signal log's rows of these fingerprints, outcomes as text."""
        found = self._all("signals_by_fingerprint", fingerprints=list(fingerprints))
        return {row["fingerprint"]: row for row in found}

    def positions(self, position_ids: Collection[str]) -> dict[str, Position]:
        """The rows of these positions, open or closed."""
        rows = self._all("positions_by_id", position_ids=list(position_ids)) if position_ids else []
        return {position.position_id: position for position in map(position_from_row, rows)}

    def open_positions(self) -> dict[str, Position]:
        """The rows with lots left."""
        return {position.position_id: position for position in copied_positions(self._connection)}

    def state(self) -> PortfolioState | None:
        """The portfolio's row."""
        row = self._one("load_state")
        return None if row is None else state_from_row(row)

    def pyramiding(self) -> dict[str, PyramidingState]:
        """The instruments' rows."""
        rows = map(pyramiding_from_row, self._all("load_pyramiding"))
        return {row.instrument: row for row in rows}

    def unsettled_orders(self) -> dict[str, Order]:
        """The orders of which more may come."""
        orders = map(order_from_row, self._all("load_orders"))
        return {order.client_order_id: order for order in orders}

    def orders(self, client_order_ids: Collection[str]) -> dict[str, Order]:
        """The rows of these orders, settled or not."""
        rows = self._all("orders_by_id", client_order_ids=list(client_order_ids)) if client_order_ids else []
        return {order.client_order_id: order for order in map(order_from_row, rows)}

    def pending_proposals(self) -> dict[str, Proposal]:
        """The proposals that wait."""
        proposals = map(proposal_from_row, self._all("load_proposals"))
        return {proposal.proposal_id: proposal for proposal in proposals}

    def proposals(self, proposal_ids: Collection[str]) -> dict[str, Proposal]:
        """The rows of these proposals, decided or not."""
        rows = self._all("proposals_by_id", proposal_ids=list(proposal_ids)) if proposal_ids else []
        return {proposal.proposal_id: proposal for proposal in map(proposal_from_row, rows)}

    def fills_of(self, seqs: Collection[int], client_order_ids: Collection[str]) -> list[Row]:
        """The fills that these entries booked for these orders, in their order."""
        if not seqs:
            return []
        return self._all("fills_of_entries", seqs=list(seqs), client_order_ids=list(client_order_ids))

    def counts(self) -> Row:
        """How many rows the journal has to account for."""
        row = self._one("table_counts")
        assert row is not None  # noqa: S101 - counts are always there
        return row

    def _all(self, name: str, **parameters: Any) -> list[Row]:
        with translated(), self._connection.cursor() as cursor:
            cursor.execute(statement(name), parameters)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _one(self, name: str, **parameters: Any) -> Row | None:
        rows = self._all(name, **parameters)
        return rows[0] if rows else None


@contextmanager
def journal_stream(dsn: str, portfolio: str, within: float | None = None) -> Iterator[JournalStream]:
    """The portfolio at one moment, for as long as the block takes; one that takes longer than `within` seconds is cut off."""
    connection = connect(dsn, portfolio, f"portfolio-manager {portfolio} verify")
    try:
        with nullcontext() if within is None else WATCHDOG.over(connection, within):
            with translated():
                connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
                with connection.cursor() as cursor:
                    # Deciding a chunk may take a while; nobody waits for this transaction.
                    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0")
            yield JournalStream(connection)
    finally:
        connection.close()
