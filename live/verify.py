"""`verify`: the journal decided again from its first entry, its hash chain, and every row that it must account for."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.decide import Decision, decide, failed
from core.errors import PortfolioError
from core.events import Event, OrderIntended, PositionOpened, PositionSaved
from core.evolve import evolve
from core.inputs import Input
from core.journal import FORMAT, NO_HASH, RULES_VERSION, content_hash, new_fills
from core.models import PortfolioState, Position, Status
from core.numbers import ZERO
from core.orders import Order
from core.portfolio import Portfolio
from core.postgres.journal_stream import JournalStream, Row
from core.settings import Settings


class Wrong(PortfolioError):
    """the journal, or a row that it accounts for, is not what it has to be; the message names the first"""


class Verified(Struct, frozen=True, kw_only=True):
    """What was checked: entries decided again, entries of older rules applied again, hashes, rows of tables."""

    entries: int
    redecided: int
    reapplied: int
    hashes: int
    signals: int
    positions: int
    orders: int
    fills: int
    last_hash: str


def verify(stream: JournalStream, name: str, progress: Callable[[int], None] = lambda _: None) -> Verified:
    """Check everything; Wrong names the first entry or row that is not what it has to be."""
    checker = _Checker(stream, name)
    for rows in stream.entries():
        for row in rows:
            checker.take(row)
        checker.check_orders(rows)
        checker.check_signals(rows)
        checker.check_closed()
        progress(len(rows))
    return checker.finish()


class _Checker:
    def __init__(self, stream: JournalStream, name: str) -> None:
        self._stream = stream
        self._portfolio = Portfolio(
            name=name,
            settings=Settings(instruments={}),
            state=PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO),
        )
        self._seq = 0
        self._hash = NO_HASH
        self._term = 0
        self._counted = {"redecided": 0, "reapplied": 0, "hashes": 0, "signals": 0, "fills": 0}
        self._opened: int = 0
        self._closed: dict[str, Position] = {}
        self._suspects: dict[str, Position] = {}
        self._orders: int = 0
        self._fills: list[Row] = []
        self._settled: dict[str, Order] = {}

    def take(self, row: Row) -> None:
        """One entry: its place, its hash, its decision."""
        self._check_place(row)
        self._check_hash(row)
        given = _converted(row, "input", Input)
        events = tuple(_converted(row, "events", list[Event]))
        known = {order_id: len(order.fill_ids) for order_id, order in self._portfolio.orders.items()}
        self._fills += new_fills(row["seq"], given, events, known)
        if row["rules_version"] == RULES_VERSION:
            self._redecide(row, given, events)
        else:
            self._reapply(row, events)
        self._opened += sum(map(_opens, events))
        self._orders += sum(isinstance(event, OrderIntended) for event in events)
        self._closed |= dict(self._portfolio.closed)
        self._settled |= dict(self._portfolio.settled_orders)
        self._portfolio = self._portfolio.settled()

    def check_signals(self, rows: Sequence[Row]) -> None:
        """The signal log says of each of these signals what the journal says."""
        decided = {row["fingerprint"]: row for row in rows if row["fingerprint"] is not None}
        logged = self._stream.signals(list(decided))
        for fingerprint, row in decided.items():
            kept = logged.get(fingerprint)
            outcome = {**row["outcome"], "sizing": row["figures"]}
            if kept is None:
                raise Wrong(f"signal_log: no row of fingerprint {fingerprint}, decided by journal entry {row['seq']}")
            if kept["processing_status"] != outcome["status"] or kept["outcome"] != outcome:
                raise Wrong(f"signal_log: {fingerprint} is not what journal entry {row['seq']} decided")
        self._counted["signals"] += len(decided)

    def check_closed(self) -> None:
        """The rows of what was closed lately; one that differs may still be changed by a later entry by hand."""
        for position_id, position in self._closed.items():
            if self._stream.position(position_id) == position:
                self._suspects.pop(position_id, None)
            else:
                self._suspects[position_id] = position
        self._closed.clear()

    def check_orders(self, rows: Sequence[Row]) -> None:
        """The rows of what was settled and filled lately; neither is ever changed again."""
        for order_id, order in self._settled.items():
            if self._stream.order(order_id) != order:
                raise Wrong(f"orders: {order_id} is not what the journal left of it")
        reports = [row["seq"] for row in rows if row["kind"] == "report"]
        if reports and list(map(dict, self._stream.fills_of(reports))) != sorted(self._fills, key=_fill_key):
            raise Wrong(f"fills: those of journal entries {reports[0]} to {reports[-1]} are not what was booked")
        self._counted["fills"] += len(self._fills)
        self._settled.clear()
        self._fills.clear()

    def finish(self) -> Verified:
        """The state tables are what the journal leads to."""
        for position_id in self._suspects:
            raise Wrong(f"portfolio_positions: {position_id} is not what the journal left of it")
        self._check_tables()
        return Verified(
            entries=self._seq,
            positions=self._opened,
            orders=self._orders,
            last_hash=self._hash,
            **self._counted,
        )

    def _check_place(self, row: Row) -> None:
        if row["seq"] != self._seq + 1:
            raise Wrong(f"journal entry {self._seq + 1} is missing: entry {row['seq']} comes after {self._seq}")
        if row["term"] < self._term:
            raise Wrong(f"journal entry {row['seq']}: its term {row['term']} is below the one before, {self._term}")
        if row["format"] > FORMAT:
            raise Wrong(
                f"journal entry {row['seq']} is of format {row['format']}: this program knows {FORMAT}, use a newer one"
            )
        self._seq, self._term = row["seq"], row["term"]

    def _check_hash(self, row: Row) -> None:
        expected = content_hash(row, self._hash)
        if row["content_hash"] != expected:
            raise Wrong(f"journal entry {row['seq']}: its hash is not that of its content and the entry before it")
        self._hash = expected
        self._counted["hashes"] += 1

    def _redecide(self, row: Row, given: Input, events: tuple[Event, ...]) -> None:
        decision = self._decided(row, given)
        told = msgspec.to_builtins(decision.outcome)
        kept = {**row["outcome"], "sizing": row["figures"]}
        if msgspec.json.encode(told, order="sorted") != msgspec.json.encode(kept, order="sorted"):
            raise Wrong(
                f"journal entry {row['seq']} is decided otherwise now: {told['status']}, kept: {kept['status']}"
            )
        if decision.events != events:
            raise Wrong(f"journal entry {row['seq']}: other events follow from its input than were kept")
        self._portfolio = decision.portfolio
        self._counted["redecided"] += 1

    def _decided(self, row: Row, given: Input) -> Decision:
        if row["outcome"]["status"] == Status.FAILED:
            # Why it failed then (a mistake since mended, a full disk) cannot be made again; what followed from it can.
            return failed(self._portfolio, given, row["outcome"]["reason"])
        return decide(replace(self._portfolio, seq=row["seq"]), given, row["decided_at"])

    def _reapply(self, row: Row, events: tuple[Event, ...]) -> None:
        try:
            for event in events:
                self._portfolio = evolve(self._portfolio, event)
        except (KeyError, ValueError, TypeError) as error:
            raise Wrong(f"journal entry {row['seq']}: its events do not fit what came before: {error}") from error
        self._counted["reapplied"] += 1

    def _check_tables(self) -> None:
        portfolio, counts = self._portfolio, self._stream.counts()
        started = portfolio.state.version > 0
        if started and self._stream.state() != portfolio.state:
            raise Wrong("portfolio_state: the row is not what the journal leads to")
        _same_rows("portfolio_positions", self._stream.open_positions(), dict(portfolio.positions))
        _same_rows("orders", self._stream.unsettled_orders(), dict(portfolio.orders))
        _same_rows("pyramiding_state", self._stream.pyramiding(), dict(portfolio.pyramiding))
        wanted = {
            "positions": self._opened,
            "signals": self._counted["signals"],
            "flowed": portfolio.state.flows_total,
            "orders": self._orders,
            "fills": self._counted["fills"],
        }
        for name, value in wanted.items():
            if counts[name] != value:
                raise Wrong(f"{_TABLES[name]}: {counts[name]}, the journal accounts for {value}")
        if counts["term"] < self._term:
            raise Wrong(f"leadership: its term {counts['term']} is below the journal's last, {self._term}")


_TABLES = {
    "positions": "portfolio_positions: rows",
    "signals": "signal_log: decided rows",
    "flowed": "capital_flows: the sum of amounts",
    "orders": "orders: rows",
    "fills": "fills: rows",
}


def _opens(event: Event) -> bool:
    return isinstance(event, PositionOpened) or (isinstance(event, PositionSaved) and event.position.version == 0)


def _fill_key(fill: Row) -> tuple[int, str, int]:
    return fill["journal_seq"], fill["client_order_id"], fill["number"]


def _same_rows(table: str, kept: dict[str, Any], expected: dict[str, Any]) -> None:
    for key in sorted(kept.keys() | expected.keys()):
        if kept.get(key) != expected.get(key):
            raise Wrong(f"{table}: {key} is not what the journal leads to")


def _converted(row: Row, column: str, kind: Any) -> Any:
    try:
        return msgspec.convert(row[column], kind)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise Wrong(f"journal entry {row['seq']}: its {column} cannot be read: {error}") from error
