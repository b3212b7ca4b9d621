"""DatabaseStateManager: the portfolio's committed state. Writes through to PostgreSQL, shows it only afterwards."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, TypeVar
from uuid import uuid4

import immutables
import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from core.alert import canonical_payload
from core.config import DatabaseSettings
from core.decide.command import decide_save
from core.errors import CommitUnknown, DatabaseAway, DataRefused, StaleVersion
from core.inputs import SaveRow
from core.journal import NO_HASH, Batch, Entry, require_known_format
from core.models import PortfolioState, Position, PyramidingState, Signal
from core.numbers import ZERO
from core.orders import Order
from core.portfolio import Portfolio
from core.postgres.cache import Committed, StateCache
from core.postgres.connections import (
    Connection,
    Connections,
    ReaderPool,
    commit_replicated,
    connect,
    dsn_of,
    require_portfolio_name,
)
from core.postgres.errors import translated
from core.postgres.reads import Reads, Row
from core.postgres.rows import (
    order_from_row,
    position_from_row,
    position_to_row,
    proposal_from_row,
    pyramiding_from_row,
    pyramiding_to_row,
    state_from_row,
)
from core.postgres.writer import COMMIT_LIMIT_SECONDS, Writer
from core.postgres.written import End, Written, require_kept, written_down
from core.proposals import Proposal
from core.settings import Settings

CONNECT_FOR_SECONDS = 10.0
RETRY_FOR_SECONDS = 5.0
RECEIVED_AT_ONCE = 1000
_Result = TypeVar("_Result")


class Loaded(Struct, frozen=True, kw_only=True):
    """What a start reads: O(open positions), whatever the history. `state` None: the journal is empty; `by_id` are the same
    positions."""

    positions: tuple[Position, ...]
    by_id: immutables.Map[str, Position]
    state: PortfolioState | None
    pyramiding: tuple[PyramidingState, ...]
    settings: dict[str, Any] | None
    last_seq: int
    orders: tuple[Order, ...] = ()
    contracts: dict[str, Any] = {}
    proposals: tuple[Proposal, ...] = ()


class Kept(Struct, frozen=True, kw_only=True):
    """A batch that was committed: the journal seq of its first entry, and its signals' ids by fingerprint."""

    first_seq: int
    signal_ids: dict[str, int] = {}


class DatabaseStateManager:
    """The facade over core/postgres: the batch that the engine commits, and the first specification's single calls.

    `database` is a libpq string, DatabaseSettings or a mapping of them; `replica`, a libpq string, is where `lists` are
    read, None = there as well. Raises DatabaseAway when no connection can be had within `connect_for` seconds (None: it
    is not tried yet), UnsafeServer where the server would lose what it acknowledges. It reads over `pool_size` connections of
    its own, or over those that are `shared`.
    """

    def __init__(
        self,
        database: str | DatabaseSettings | Mapping[str, Any],
        *,
        portfolio: str = "main",
        instance_id: str | None = None,
        pool_size: int = 4,
        replica: str | None = None,
        connect_for: float | None = CONNECT_FOR_SECONDS,
        commit_limit: float = COMMIT_LIMIT_SECONDS,
        shared: Connections | None = None,
    ) -> None:
        self.portfolio = require_portfolio_name(portfolio)
        self.instance_id = instance_id or f"manager-{uuid4().hex[:12]}"
        self.dsn = dsn_of(database)
        self.cache = StateCache()
        self._term: int | None = None
        self._last_seq = 0
        self._last_hash = NO_HASH
        # Of our term: it rises when a batch was lost and has been looked for.
        self._fencing_number = 0
        self._in_doubt: Written | None = None
        self._pool = ReaderPool(self.dsn, portfolio, f"portfolio-manager {portfolio} read", pool_size, shared)
        writer_name = f"portfolio-manager {portfolio} write {self.instance_id}"
        self._writer = Writer(partial(connect, self.dsn, portfolio, writer_name), commit_limit)
        self.reads = Reads(self._pool)
        # A replica is behind: nothing is decided or acknowledged by what is read there.
        lists = f"portfolio-manager {portfolio} list"
        self._replicas = None if replica is None else ReaderPool(replica, portfolio, lists, pool_size)
        self.lists = self.reads if self._replicas is None else Reads(self._replicas)
        if connect_for is not None:
            self._retried(self._pool_answers, connect_for)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        with self._writer.alone:
            self._writer.close()
        self._pool.close()
        if self._replicas is not None:
            self._replicas.close()

    # --- connections

    @contextmanager
    def get_connection(self) -> Iterator[Connection]:
        """A pooled connection for the block; what is not committed there is rolled back. Waits, bounded, for a free one."""
        with self._pool.connection() as connection, translated():
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: committed at the block's end, rolled back by an exception. State belongs to commit() instead."""
        with self.get_connection() as connection:
            yield connection
            commit_replicated(connection)

    def run_transaction(
        self, work: Callable[[Connection], _Result], *, retry_for: float = RETRY_FOR_SECONDS
    ) -> _Result:
        """Run `work` in a transaction, as a whole again where the database was away. `work` must have no other effect."""

        def once() -> _Result:
            with self.transaction() as connection:
                return work(connection)

        return self._retried(once, retry_for)

    def pool_in_use(self) -> tuple[int, int]:
        """How many pooled connections are out, and how many there may be."""
        return self._pool.in_use, self._pool.size

    # --- leadership and loading

    @property
    def term(self) -> int | None:
        """The term this manager writes under; None until it took one."""
        return self._term

    def take_term(self) -> int:
        """Become the writer. From here on every older manager's write raises LeadershipLost. Raises TooNew, and then nothing
        has changed, where the journal is a newer program's."""
        with self._writer.alone:
            # What this program could not go on from, it takes from nobody.
            self._journal_end()
            self._term, self._fencing_number = self._writer.take_term(self.instance_id), 0
            # Behind the term's lock whatever was in doubt has landed or never will: the journal's end tells.
            self._in_doubt = None
            self._last_seq, self._last_hash, _ = self._journal_end()
            return self._term

    def warm_up(self) -> None:
        """Have the writer's connection made and what it runs planned, for one who may have to take the term soon. Changes
        nothing. Raises Retryable."""
        with self._writer.alone:
            self._writer.warm_up()

    def load(self) -> Loaded:
        """Read the state anew and show it. Take the term first: a reader that is not the writer may read what is stale."""
        with self._writer.alone:
            last_seq, last_hash, fencing_number = self._journal_end()
            positions = self._writer.read_positions()
            loaded = Loaded(
                positions=tuple(positions),
                by_id=immutables.Map({row.position_id: row for row in positions}),
                state=self._read_state(),
                pyramiding=tuple(map(pyramiding_from_row, self._writer.read("load_pyramiding"))),
                settings=(self._one("last_settings") or {}).get("settings"),
                last_seq=last_seq,
                orders=tuple(map(order_from_row, self._writer.read("load_orders"))),
                contracts=(self._one("last_contracts") or {}).get("contracts", {}),
                proposals=tuple(map(proposal_from_row, self._writer.read("load_proposals"))),
            )
            # Not before all of it was read: what is written next is behind what was read, or is not written.
            self._last_seq, self._last_hash, self._fencing_number = last_seq, last_hash, fencing_number
            self.cache.publish(
                Committed(
                    positions=loaded.by_id,
                    state=loaded.state,
                    pyramiding=immutables.Map({row.instrument: row for row in loaded.pyramiding}),
                )
            )
            return loaded

    def journal_from(self, seq: int, limit: int) -> list[Row]:
        """So many entries from `seq` on, as a follower reads them, over the writer's connection."""
        with self._writer.alone:
            return list(self._writer.read("journal_after", {"seq": seq, "limit": limit}))

    def last_documents(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """The settings and the contracts in force, as they were journalled."""
        with self._writer.alone:
            settings, contracts = self._one("last_settings") or {}, self._one("last_contracts") or {}
            return settings.get("settings"), contracts.get("contracts", {})

    def show(self, portfolio: Portfolio) -> None:
        """Show this state: what was committed, by us or by whoever is followed."""
        state = portfolio.state if portfolio.state.version else None
        self.cache.publish(Committed(positions=portfolio.positions, state=state, pyramiding=portfolio.pyramiding))

    # --- the batch

    @property
    def next_seq(self) -> int:
        """The journal's number that the next entry will have."""
        return self._last_seq + 1

    def write_down(self, batch: Batch, behind: End | None = None) -> Written:
        """The batch as commit() will send it: behind the journal's end, or behind that of a batch which is on its way.

        Raises DataRefused.
        """
        return written_down(batch, behind or self._end(), self.instance_id)

    def commit(self, batch: Batch | Written) -> Kept:
        """Keep a batch in one transaction, then show it.

        Raises AlreadyClaimed (some of its signals were decided before), StaleVersion (reload, decide again),
        LeadershipLost, StateDiverged, DataRefused, DatabaseAway: nothing was changed. Raises CommitUnknown: call settle().
        """
        with self._writer.alone:
            if self._in_doubt is not None:
                # What this batch was decided on may be what the other one has changed meanwhile.
                self.settle()
                raise StaleVersion("an earlier batch had to be found out first; decide again")
            written = self._written_behind(self._end(), batch)
            try:
                found = self._writer.write(written.document, written.form)
            except (CommitUnknown, KeyboardInterrupt, SystemExit):
                self._in_doubt = written
                raise
            except DataRefused as error:
                if error.constraint == "pk_decision_journal":
                    raise StaleVersion("the journal has moved on since it was read; nothing was changed") from error
                raise
            require_kept(found)
            self._show(written)
            return Kept(first_seq=written.first_seq, signal_ids=found["claimed"])

    def _written_behind(self, end: End, batch: Batch | Written) -> Written:
        if isinstance(batch, Batch):
            return self.write_down(batch)
        if batch.previous == end:
            return batch
        if replace(batch.previous, fencing_number=end.fencing_number) == end:
            # A batch before it was lost, and found: what this one was decided on is there.
            return self.write_down(batch.batch)
        raise StaleVersion("the journal does not end where this batch was written down to follow")

    def _end(self) -> End:
        # First: who takes the term learns where the journal ends.
        term = self._held_term()
        return End(seq=self._last_seq, content_hash=self._last_hash, term=term, fencing_number=self._fencing_number)

    def settle(self) -> Kept | None:
        """What became of the batch whose COMMIT was unknown; None if it never took place.

        Raises DatabaseAway (ask again) while that cannot be known.
        """
        with self._writer.alone:
            if self._in_doubt is None:
                return None
            written = self._in_doubt
            try:
                landed, self._fencing_number = self._writer.landed(written.end.seq, self._held_term())
            except CommitUnknown as error:
                raise DatabaseAway(str(error)) from error
            self._in_doubt = None
            if not landed:
                return None
            self._show(written)
            return Kept(first_seq=written.first_seq)

    def _show(self, written: Written) -> None:
        self._last_seq, self._last_hash = written.end.seq, written.end.content_hash
        after = written.batch.after
        for position in after.closed.values():
            self.cache.keep_closed(position)
        self.show(after)

    # --- positions

    def save_position(self, position: Position) -> bool:
        """Write one whole position, journalled as `manual`. `position.version` is the one it was read with, 0 for a new one.

        Raises StaleVersion when the row has moved on; nothing is changed then.
        """
        return self._save(SaveRow(position=position), position.position_id)

    def get_position(self, position_id: str) -> Position | None:
        """A position, open or closed: from the cache, else from the database; None if there is none."""
        found = self.cache.find(position_id)
        if found is not None:
            return found
        row = self.reads.one("positions_by_id", position_ids=[position_id])
        if row is None:
            return None
        position = position_from_row(row)
        if not position.is_open:
            self.cache.keep_closed(position)
        return position

    def get_all_open_positions(self) -> dict[str, Position]:
        """Every open and partial position by its id, read anew from the database and shown."""
        return dict(self.load().by_id)

    # --- the portfolio's row

    def save_portfolio_state(self, state: PortfolioState) -> bool:
        """Write the portfolio's whole row, journalled as `manual`; StaleVersion as for a position."""
        return self._save(SaveRow(state=state), None)

    def get_portfolio_state(self) -> dict[str, Any] | None:
        """The portfolio's row by its columns' names; None before the first start."""
        state = self.cache.current.state
        if state is None:
            self.cache.misses += 1
            state = self._read_state()
        else:
            self.cache.hits += 1
        return None if state is None else asdict(state)

    # --- pyramiding

    def save_pyramiding_state(
        self, instrument: str, last_pyramid_price: Any, base_position_id: str | None, frozen_reason: str | None = None
    ) -> bool:
        """Write these columns of an instrument's pyramiding row, journalled as `manual`; the others stay."""
        if not self.cache.loaded:
            self.load()
        row = replace(
            self.cache.current.pyramiding.get(instrument) or PyramidingState(instrument=instrument),
            last_pyramid_price=last_pyramid_price,
            base_position_id=base_position_id,
            frozen_reason=frozen_reason,
        )
        return self._save(SaveRow(pyramiding=row), None)

    def get_pyramiding_state(self) -> dict[str, dict[str, Any]]:
        """Every instrument's pyramiding row by its columns' names."""
        if not self.cache.loaded:
            self.load()
        return {instrument: pyramiding_to_row(row) for instrument, row in self.cache.current.pyramiding.items()}

    # --- signals

    def check_duplicate_signal(self, fingerprint: str) -> bool:
        """Whether a signal of this fingerprint is known, decided or not."""
        return self.find_signal(fingerprint) is not None

    def find_signal(self, fingerprint: str) -> Row | None:
        """What became of a signal: id, processing_status, outcome, payload. Whoever sent it may be told."""
        return self._one_confirmed("find_signal", fingerprint=fingerprint)

    def log_signal(
        self, signal: Signal, fingerprint: str, *, received_at: datetime, payload: Mapping[str, Any] | None = None
    ) -> bool:
        """Keep a signal as `received`, to be decided by whoever leads. False: its fingerprint is known already.

        Raises DatabaseAway where it is not, or may not be, kept.
        """
        if self.keep_received(signal, fingerprint, received_at=received_at, payload=payload) is not None:
            return True
        # Whoever asks takes it for kept, and nothing was written just now that would have waited for a standby.
        if not self.reads.confirmed("find_signal", fingerprint=fingerprint):
            raise DatabaseAway("a signal that one server knows is not known to another one")
        return False

    def keep_received(
        self, signal: Signal, fingerprint: str, *, received_at: datetime, payload: Mapping[str, Any] | None = None
    ) -> int | None:
        """The same; its row's id, None where its fingerprint is known already: as far as can be seen, a failover may lose it."""
        rows = self.reads.run(
            "insert_received",
            instrument=signal.instrument,
            signal_type=signal.type.value,
            position=signal.layer,
            signal_timestamp=signal.time,
            bar_time=signal.bar_time,
            fingerprint=fingerprint,
            received_at=received_at,
            payload=msgspec.json.encode(canonical_payload(signal) if payload is None else payload).decode(),
        )
        return int(rows[0]["id"]) if rows else None

    def count_delivery(self, fingerprint: str) -> None:
        """Note that a signal came again."""
        self.reads.run("count_delivery", fingerprint=fingerprint)

    def inbox(self, after_id: int = 0) -> list[Row]:
        """What was kept as `received` behind `after_id` and is not decided yet, oldest first, at most a thousand."""
        return self.reads.run("load_received", after_id=after_id, limit=RECEIVED_AT_ONCE)

    def find_request(self, request_id: str) -> Row | None:
        """An operator's command by its request id: seq, kind, input, outcome. Whoever gave it may be told."""
        return self._one_confirmed("find_request", request_id=request_id)

    def migration_version(self) -> str | None:
        """The version that the portfolio's schema was migrated to; None where that was done by hand."""
        exists = self.reads.one("version_table")
        row = self.reads.one("migration_version") if exists and exists["present"] else None
        return None if row is None else str(row["version_num"])

    # --- rows and objects

    @staticmethod
    def _position_to_dict(position: Position) -> dict[str, Any]:
        return position_to_row(position)

    @staticmethod
    def _dict_to_position(row: Mapping[str, Any]) -> Position:
        return position_from_row(row)

    # --- inside

    def _save(self, given: SaveRow, position_id: str | None) -> bool:
        with self._writer.alone:
            self._held_term()
            before = self._before_save(given, position_id)
            decision = decide_save(before, given)
            entry = Entry(given=given, decision=decision, decided_at=self._server_time())
            try:
                self.commit(Batch(before=before, after=decision.portfolio, entries=(entry,)))
            except CommitUnknown as unknown:
                self._require_landed(unknown)
        return True

    def _require_landed(self, unknown: CommitUnknown) -> None:
        try:
            kept = self._retried(self.settle, RETRY_FOR_SECONDS)
        except DatabaseAway as error:
            raise CommitUnknown(str(error)) from unknown
        if kept is None:
            raise DatabaseAway("the connection was lost, and nothing was changed") from unknown

    def _before_save(self, given: SaveRow, position_id: str | None) -> Portfolio:
        """The committed state, with the row's own version as the one that has to be there still."""
        if not self.cache.loaded:
            self.load()
        current = self.cache.current
        state = given.state if given.state is not None else current.state or _no_state()
        before = Portfolio(
            name=self.portfolio, settings=Settings(instruments={}), state=state, pyramiding=current.pyramiding
        )
        if given.position is None or position_id is None:
            return replace(before, positions=current.positions)
        positions = current.positions.delete(position_id) if position_id in current.positions else current.positions
        if given.position.version == 0:
            return replace(before, positions=positions)
        return replace(before, positions=positions.set(position_id, given.position))

    def _held_term(self) -> int:
        return self._term if self._term is not None else self.take_term()

    def _read_state(self) -> PortfolioState | None:
        row = self._one("load_state")
        return None if row is None else state_from_row(row)

    def _journal_end(self) -> tuple[int, str, int]:
        """The last entry's seq and hash, and the fencing number."""
        row = self._one("journal_head")
        if row is None:
            return 0, NO_HASH, self._fencing_number
        require_known_format(row["seq"], row["format"])
        return int(row["seq"]), row["content_hash"], int(row["fencing_number"])

    def _server_time(self) -> datetime:
        row = self._one("server_clock")
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        time: datetime = row["now"].astimezone(UTC)
        return time

    def _one(self, name: str, **parameters: Any) -> Row | None:
        """The first row of a statement, on the writer's own connection: one that is not bounded would stop the writer."""
        with self._writer.alone:
            rows = self._writer.read(name, parameters)
        return rows[0] if rows else None

    def _one_confirmed(self, name: str, **parameters: Any) -> Row | None:
        with self._writer.alone:
            rows = self._writer.read_confirmed(name, parameters)
        return rows[0] if rows else None

    def _pool_answers(self) -> None:
        with self._pool.cursor() as cursor:
            cursor.execute("SELECT 1")

    @staticmethod
    def _retried(work: Callable[[], _Result], seconds: float) -> _Result:
        retrying = Retrying(
            retry=retry_if_exception_type(DatabaseAway),
            stop=stop_after_delay(seconds),
            wait=wait_random_exponential(multiplier=0.05, max=1),
            reraise=True,
        )
        return retrying(work)


def _no_state() -> PortfolioState:
    return PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO)
