"""The paper broker's file: orders, fills, positions and quotes, as rows. It decides nothing."""

import os
import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from core.errors import ConfigurationError
from core.numbers import exactly
from live.brokers.port import Action, BrokerFill, BrokerOrder, BrokerOrderState, BrokerPosition, OrderRequest, OrderType
from live.durable_sqlite import format_of, make_durable, set_format

_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    broker_order_id TEXT NOT NULL UNIQUE,
    client_order_id TEXT NOT NULL UNIQUE,
    tag TEXT NOT NULL,
    symbol TEXT NOT NULL,
    exchange TEXT NOT NULL,
    action TEXT NOT NULL,
    order_type TEXT NOT NULL,
    quantity TEXT NOT NULL,
    price TEXT,
    trigger_price TEXT,
    state TEXT NOT NULL,
    filled TEXT NOT NULL,
    value TEXT NOT NULL,
    placed_at TEXT NOT NULL,
    ready_at TEXT NOT NULL,
    cancel_at TEXT,
    ended_at TEXT,
    message TEXT
);
CREATE INDEX IF NOT EXISTS ix_orders_live ON orders (symbol) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS ix_orders_ended ON orders (ended_at);
CREATE TABLE IF NOT EXISTS fills (
    fill_id TEXT PRIMARY KEY,
    broker_order_id TEXT NOT NULL REFERENCES orders (broker_order_id),
    symbol TEXT NOT NULL,
    exchange TEXT NOT NULL,
    action TEXT NOT NULL,
    quantity TEXT NOT NULL,
    price TEXT NOT NULL,
    filled_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ix_fills_order ON fills (broker_order_id);
CREATE INDEX IF NOT EXISTS ix_fills_time ON fills (filled_at);
CREATE TABLE IF NOT EXISTS positions (
    symbol TEXT NOT NULL, exchange TEXT NOT NULL, quantity TEXT NOT NULL, PRIMARY KEY (symbol, exchange)
);
CREATE TABLE IF NOT EXISTS quotes (
    symbol TEXT NOT NULL, exchange TEXT NOT NULL, price TEXT NOT NULL, at TEXT NOT NULL, seen_at TEXT NOT NULL,
    PRIMARY KEY (symbol, exchange)
);
CREATE TABLE IF NOT EXISTS quotes_file (id INTEGER PRIMARY KEY CHECK (id = 1), applied_to TEXT NOT NULL);
"""
_UPDATE = """
UPDATE orders SET quantity = :quantity, price = :price, trigger_price = :trigger_price,
    state = :state, filled = :filled, value = :value, ready_at = :ready_at, cancel_at = :cancel_at, ended_at = :ended_at
WHERE number = :number
"""


class SeenQuote(Struct, frozen=True, kw_only=True):
    """A price, when it was traded, and when the broker was shown it."""

    price: Decimal
    at: datetime
    seen_at: datetime


class PaperOrder(Struct, frozen=True, kw_only=True):
    """An order's row. `ready_at`: not filled before; `value`: what is filled, times its price; no `ended_at`: live."""

    number: int
    broker_order_id: str
    client_order_id: str
    tag: str
    symbol: str
    exchange: str
    action: Action
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None
    trigger_price: Decimal | None
    state: BrokerOrderState
    filled: Decimal
    value: Decimal
    placed_at: datetime
    ready_at: datetime
    cancel_at: datetime | None
    ended_at: datetime | None
    message: str | None

    @property
    def live(self) -> bool:
        """Whether it may still be filled."""
        return self.ended_at is None

    @exactly
    def as_reported(self) -> BrokerOrder:
        """The order as the port has it."""
        return BrokerOrder(
            broker_order_id=self.broker_order_id,
            client_order_id=self.client_order_id,
            tag=self.tag,
            symbol=self.symbol,
            exchange=self.exchange,
            action=self.action,
            order_type=self.order_type,
            quantity=self.quantity,
            state=self.state,
            filled_quantity=self.filled,
            average_price=self.value / self.filled if self.filled else None,
            price=self.price,
            trigger_price=self.trigger_price,
            placed_at=self.placed_at,
            message=self.message,
        )


class PaperBook:
    """One SQLite file, synced at each commit. One thread at a time. Raises sqlite3.Error; ConfigurationError if too new."""

    def __init__(self, file: Path) -> None:
        new = not file.exists()
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=1.0)
        self._connection.row_factory = sqlite3.Row
        try:
            self._prepare(file)
        except (sqlite3.Error, ConfigurationError):
            self._connection.close()
            raise
        if new:
            _sync_folder(file.parent)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def begin(self) -> None:
        """Start a transaction that may write."""
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """On return it is on the disk."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was not committed."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def next_number(self) -> int:
        """The number that the next order gets."""
        (number,) = self._connection.execute("SELECT coalesce(max(number), 0) + 1 FROM orders").fetchone()
        return int(number)

    def add(
        self,
        request: OrderRequest,
        broker_order_id: str,
        placed_at: datetime,
        ready_at: datetime,
        reason_to_reject: str | None,
    ) -> PaperOrder:
        """A new order: waiting for its trigger or working; rejected where there is a reason to."""
        waits = request.order_type in (OrderType.STOP, OrderType.STOP_MARKET)
        state = BrokerOrderState.PENDING if waits else BrokerOrderState.WORKING
        order = PaperOrder(
            number=self.next_number(),
            broker_order_id=broker_order_id,
            client_order_id=request.client_order_id,
            tag=request.tag,
            symbol=request.symbol,
            exchange=request.exchange,
            action=request.action,
            order_type=request.order_type,
            quantity=request.quantity,
            price=request.price,
            trigger_price=request.trigger_price,
            state=state if reason_to_reject is None else BrokerOrderState.REJECTED,
            filled=Decimal(0),
            value=Decimal(0),
            placed_at=placed_at,
            ready_at=ready_at,
            cancel_at=None,
            ended_at=None if reason_to_reject is None else placed_at,
            message=reason_to_reject,
        )
        row = _row(order)
        columns = ", ".join(row)
        marks = ", ".join(f":{column}" for column in row)
        self._connection.execute(f"INSERT INTO orders ({columns}) VALUES ({marks})", row)  # noqa: S608 - the struct's fields
        return order

    def update(self, order: PaperOrder, **changes: Any) -> PaperOrder:
        """The order with these fields changed."""
        changed: PaperOrder = replace(order, **changes)
        self._connection.execute(_UPDATE, _row(changed))
        return changed

    def replace(self, order: PaperOrder, request: OrderRequest, *, ready_at: datetime) -> PaperOrder:
        """The order with the request's price, trigger and quantity; one that was triggered stays so."""
        return self.update(
            order,
            quantity=request.quantity,
            price=request.price,
            trigger_price=request.trigger_price,
            ready_at=ready_at,
        )

    @exactly
    def fill(self, order: PaperOrder, quantity: Decimal, price: Decimal, at: datetime) -> PaperOrder:
        """Write a fill and the position; the order with what it is worth so far."""
        query = "SELECT count(*) FROM fills WHERE broker_order_id = ?"
        (before,) = self._connection.execute(query, (order.broker_order_id,)).fetchone()
        self._connection.execute(
            "INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                f"{order.broker_order_id}-{before + 1}",
                order.broker_order_id,
                order.symbol,
                order.exchange,
                order.action.value,
                str(quantity),
                str(price),
                _text(at),
            ),
        )
        self._move_position(order, quantity if order.action is Action.BUY else -quantity)
        return self.update(order, filled=order.filled + quantity, value=order.value + quantity * price)

    def find(self, client_order_id: str) -> PaperOrder | None:
        """The order that was placed with this id."""
        return self._one("SELECT * FROM orders WHERE client_order_id = ?", client_order_id)

    def order(self, broker_order_id: str) -> PaperOrder | None:
        """The order that we gave this id."""
        return self._one("SELECT * FROM orders WHERE broker_order_id = ?", broker_order_id)

    def live(self, symbol: str | None = None) -> list[PaperOrder]:
        """Orders that may still be filled, oldest first: all, or those of a symbol."""
        # INDEXED BY: else SQLite goes through all orders there ever were, for the sake of their order.
        query = """SELECT * FROM orders INDEXED BY ix_orders_live
                   WHERE ended_at IS NULL AND (?1 IS NULL OR symbol = ?1) ORDER BY number"""
        return [_order(row) for row in self._connection.execute(query, (symbol,))]

    def orders(self, ended_from: datetime) -> list[PaperOrder]:
        """Live orders and those that ended since, oldest first."""
        query = """SELECT * FROM (SELECT * FROM orders INDEXED BY ix_orders_live WHERE ended_at IS NULL
                   UNION ALL SELECT * FROM orders INDEXED BY ix_orders_ended WHERE ended_at >= ?) ORDER BY number"""
        return [_order(row) for row in self._connection.execute(query, (_text(ended_from),))]

    def fills(self, since: datetime) -> list[BrokerFill]:
        """Fills since, oldest first."""
        query = "SELECT * FROM fills WHERE filled_at >= ? ORDER BY filled_at, rowid"
        return [_fill(row) for row in self._connection.execute(query, (_text(since),))]

    def positions(self) -> list[BrokerPosition]:
        """What is held, without zero rows."""
        rows = self._connection.execute("SELECT * FROM positions ORDER BY symbol, exchange")
        held = [
            BrokerPosition(symbol=symbol, exchange=exchange, quantity=Decimal(text)) for symbol, exchange, text in rows
        ]
        return [position for position in held if position.quantity]

    def quote(self, symbol: str, exchange: str) -> SeenQuote | None:
        """The one that holds: the one shown last, of the exchange or of the quotes file, which names none."""
        query = (
            "SELECT * FROM quotes WHERE symbol = ? AND exchange IN (?, '') ORDER BY seen_at DESC, exchange DESC LIMIT 1"
        )
        return _seen(self._connection.execute(query, (symbol, exchange)).fetchone())

    def quote_of(self, symbol: str, exchange: str) -> SeenQuote | None:
        """The last one shown of exactly this symbol and exchange."""
        query = "SELECT * FROM quotes WHERE symbol = ? AND exchange = ?"
        return _seen(self._connection.execute(query, (symbol, exchange)).fetchone())

    def set_quote(self, symbol: str, exchange: str, quote: SeenQuote) -> None:
        """Show a quote."""
        row = (symbol, exchange, str(quote.price), _text(quote.at), _text(quote.seen_at))
        self._connection.execute("INSERT OR REPLACE INTO quotes VALUES (?, ?, ?, ?, ?)", row)

    def file_time(self) -> datetime | None:
        """Up to when the quotes file was taken in."""
        row = self._connection.execute("SELECT applied_to FROM quotes_file").fetchone()
        return None if row is None else datetime.fromisoformat(row["applied_to"])

    def set_file_time(self, at: datetime) -> None:
        """Note up to when the quotes file was taken in."""
        self._connection.execute("INSERT OR REPLACE INTO quotes_file VALUES (1, ?)", (_text(at),))

    def latest(self) -> datetime | None:
        """The latest time at which anything here happened."""
        query = """SELECT max(at) AS at FROM (SELECT max(placed_at) AS at FROM orders
                   UNION ALL SELECT max(filled_at) FROM fills UNION ALL SELECT max(seen_at) FROM quotes)"""
        (found,) = self._connection.execute(query).fetchone()
        return None if found is None else datetime.fromisoformat(found)

    def _prepare(self, file: Path) -> None:
        make_durable(self._connection)
        format_of(self._connection, _FORMAT, "paper broker's book", file)
        self._connection.executescript(_SCHEMA)
        set_format(self._connection, _FORMAT)

    def _one(self, query: str, value: str) -> PaperOrder | None:
        row = self._connection.execute(query, (value,)).fetchone()
        return None if row is None else _order(row)

    def _move_position(self, order: PaperOrder, signed_quantity: Decimal) -> None:
        query = "SELECT quantity FROM positions WHERE symbol = ? AND exchange = ?"
        row = self._connection.execute(query, (order.symbol, order.exchange)).fetchone()
        held = Decimal(0) if row is None else Decimal(row["quantity"])
        self._connection.execute(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
            (order.symbol, order.exchange, str(held + signed_quantity)),
        )


def _text(at: datetime) -> str:
    # All of one length, so that they sort as they follow each other.
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _row(order: PaperOrder) -> dict[str, Any]:
    return {name: _written(getattr(order, name)) for name in order.__struct_fields__}


def _written(value: object) -> object:
    if isinstance(value, datetime):
        return _text(value)
    return str(value) if isinstance(value, Decimal) else value


def _time_or_none(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _decimal_or_none(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _order(row: sqlite3.Row) -> PaperOrder:
    return PaperOrder(
        number=row["number"],
        broker_order_id=row["broker_order_id"],
        client_order_id=row["client_order_id"],
        tag=row["tag"],
        symbol=row["symbol"],
        exchange=row["exchange"],
        action=Action(row["action"]),
        order_type=OrderType(row["order_type"]),
        quantity=Decimal(row["quantity"]),
        price=_decimal_or_none(row["price"]),
        trigger_price=_decimal_or_none(row["trigger_price"]),
        state=BrokerOrderState(row["state"]),
        filled=Decimal(row["filled"]),
        value=Decimal(row["value"]),
        placed_at=datetime.fromisoformat(row["placed_at"]),
        ready_at=datetime.fromisoformat(row["ready_at"]),
        cancel_at=_time_or_none(row["cancel_at"]),
        ended_at=_time_or_none(row["ended_at"]),
        message=row["message"],
    )


def _fill(row: sqlite3.Row) -> BrokerFill:
    return BrokerFill(
        fill_id=row["fill_id"],
        broker_order_id=row["broker_order_id"],
        symbol=row["symbol"],
        exchange=row["exchange"],
        action=Action(row["action"]),
        quantity=Decimal(row["quantity"]),
        price=Decimal(row["price"]),
        filled_at=datetime.fromisoformat(row["filled_at"]),
    )


def _seen(row: sqlite3.Row | None) -> SeenQuote | None:
    if row is None:
        return None
    return SeenQuote(
        price=Decimal(row["price"]),
        at=datetime.fromisoformat(row["at"]),
        seen_at=datetime.fromisoformat(row["seen_at"]),
    )


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
