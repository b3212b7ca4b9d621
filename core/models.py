"""What the kernel speaks of: signals, positions, the portfolio's row, pyramids. Frozen, exact, valid from birth."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import force_setattr

from core.numbers import MONEY_SCALE, PERCENT_SCALE, PRICE_SCALE, ZERO, Numeric
from core.numbers import price as canonical_price

MONEY_LIMIT = Decimal(10) ** 16  # NUMERIC(20,4)
PRICE_LIMIT = Decimal(10) ** 10  # NUMERIC(18,8)
PERCENT_LIMIT = Decimal(10) ** 6  # NUMERIC(12,6)
QUANTITY_LIMIT = Decimal(10) ** 12  # NUMERIC(20,8)
MOST_LOTS = 2**31 - 1  # INTEGER
MONEY_COLUMN = Numeric(MONEY_SCALE, MONEY_LIMIT)
PRICE_COLUMN = Numeric(PRICE_SCALE, PRICE_LIMIT)
PERCENT_COLUMN = Numeric(PERCENT_SCALE, PERCENT_LIMIT)
QUANTITY_COLUMN = Numeric(PRICE_SCALE, QUANTITY_LIMIT)


_Struct = TypeVar("_Struct", bound=Struct)


class SignalType(StrEnum):
    """What an alert asks for."""

    BASE_ENTRY = "BASE_ENTRY"
    PYRAMID = "PYRAMID"
    EXIT = "EXIT"
    MARKET_DATA = "MARKET_DATA"


ENTRIES = (SignalType.BASE_ENTRY, SignalType.PYRAMID)


class Side(StrEnum):
    """Which way a position earns."""

    LONG = "long"
    SHORT = "short"

    @property
    def sign(self) -> int:
        """+1 long, -1 short."""
        return 1 if self is Side.LONG else -1


class MarketPosition(StrEnum):
    """Where a strategy says that it is after its alert."""

    LONG = "long"
    SHORT = "short"
    FLAT = "flat"


def market_position_of(size: Decimal) -> MarketPosition:
    """What a signed position size says: long above 0, short below it."""
    if size == 0:
        return MarketPosition.FLAT
    return MarketPosition.LONG if size > 0 else MarketPosition.SHORT


class PositionStatus(StrEnum):
    """partial = some lots sold, some left."""

    OPEN = "open"
    PARTIAL = "partial"
    CLOSED = "closed"


class RolloverStatus(StrEnum):
    """Where a position is on its way to the next contract."""

    NONE = "none"
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    ROLLED = "rolled"
    FAILED = "failed"


class Status(StrEnum):
    """What became of a signal; all but `received` are final."""

    RECEIVED = "received"
    ACCEPTED = "accepted"
    PROPOSED = "proposed"
    REJECTED = "rejected"
    BLOCKED = "blocked"
    EXECUTED = "executed"
    FAILED = "failed"


ALL_LAYERS = "ALL"
# Of a pyramid: the first layer that is free when it is decided.
NEXT_LAYER = "next"
_LAYERS = {
    SignalType.BASE_ENTRY: re.compile(r"(Long|Short)_1"),
    SignalType.PYRAMID: re.compile(r"(Long|Short)_([2-6]|next)"),
    SignalType.EXIT: re.compile(r"(Long|Short)_[1-6]|ALL"),
    SignalType.MARKET_DATA: re.compile(""),
}


def layer_side(layer: str) -> Side:
    """The side that a layer's name tells: `Long_2` is long."""
    return Side.LONG if layer.startswith("Long_") else Side.SHORT


@lru_cache(maxsize=1024)
def layer_number(layer: str) -> int:
    """1 for the base, 2 and more for the pyramids: `Long_3` is 3."""
    return int(layer.rpartition("_")[2])


def require_utc(owner: str, **times: datetime | None) -> None:
    """Refuse a naive time or one of another zone; ValueError names the field."""
    for name, value in times.items():
        if value is not None and value.tzinfo is not UTC:
            raise ValueError(f"{owner}.{name} must be an aware UTC datetime, not {value!r}")


def require_exact(owner: Any, names: Iterable[str], column: Numeric) -> None:
    """Refuse what is no Decimal that a column of this type holds exactly; the error names the field."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and value is not ZERO:
            _require_held(owner, name, value, column)


def _require_held(owner: Any, name: str, value: Any, column: Numeric) -> None:
    # One call in C for the range and the decimals: this is asked of every number that changes.
    try:
        column.quantize(value, column.quantum)
        if value.is_finite():
            return
    except (ArithmeticError, TypeError, AttributeError):
        pass
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(owner).__name__}.{name} must be a Decimal, not {type(value).__name__}") from None
    if not value.is_finite() or abs(value) >= column.limit:
        raise ValueError(f"{type(owner).__name__}.{name} is out of range: {value}") from None
    raise ValueError(f"{type(owner).__name__}.{name} has more than {column.scale} decimals: {value}") from None


_columns_are_exact: ContextVar[bool] = ContextVar("columns_are_exact", default=False)


@contextmanager
def exact_columns() -> Iterator[None]:
    """A block that reads positions from columns which, by their types, hold no number that `require_exact` would refuse, and
    in UTC: neither is asked of each again. Other threads ask as ever."""
    before = _columns_are_exact.set(True)
    try:
        yield
    finally:
        _columns_are_exact.reset(before)


class Signal(Struct, frozen=True, kw_only=True):
    """One alert in canonical form. Prices, stop, ATR in points; times aware UTC; `layer` is `` for MARKET_DATA.

    `trade_number` is the listed trade that an as-listed EXIT closes a part of. `seq` is the alert's number, rising by one an
    instrument; `position_size` (signed) and `market_position` are the strategy's own position after this alert. `alert_id` is
    the sender's own: what tells two alerts of one bar and layer apart.
    """

    type: SignalType
    instrument: str
    layer: str = ""
    price: Decimal
    stop: Decimal | None = None
    lots: int | None = None
    atr: Decimal | None = None
    er: Decimal | None = None
    supertrend: Decimal | None = None
    roc: Decimal | None = None
    reason: str | None = None
    timestamp: datetime | None = None
    bar_time: datetime | None = None
    trade_number: int | None = None
    seq: int | None = None
    position_size: Decimal | None = None
    market_position: MarketPosition | None = None
    # Unset rather than None: entries of the journal from before they were known read, and are hashed, as they were written.
    alert_id: str | UnsetType = UNSET
    # In place of the ATR: that of the instrument's last bar, if it is no older than so many seconds at this signal's bar.
    atr_max_age_seconds: Decimal | UnsetType = UNSET
    # In place of the stop: so many ATR from the price.
    stop_atr: Decimal | UnsetType = UNSET

    def __post_init__(self) -> None:
        require_utc("Signal", timestamp=self.timestamp, bar_time=self.bar_time)
        require_exact(self, SIGNAL_NUMBERS, PRICE_COLUMN)
        if self.timestamp is None and self.bar_time is None:
            raise ValueError("Signal needs a timestamp or a bar_time: without either two alerts cannot be told apart")
        if self.price <= 0:
            raise ValueError(f"Signal.price must be above 0, not {self.price}")
        if self.atr is not None and self.atr <= 0:
            raise ValueError(f"Signal.atr must be above 0, not {self.atr}")
        if self.er is not None and not 0 <= self.er <= 1:
            raise ValueError(f"Signal.er must be 0..1, not {self.er}")
        if not _LAYERS[self.type].fullmatch(self.layer):
            raise ValueError(f"Signal.layer {self.layer!r} is none of {self.type}")
        self._require_strategy()
        self._require_above_zero()
        # Written as the columns write them: what is journalled reads the same before and after a restart.
        for name in SIGNAL_NUMBERS:
            value = getattr(self, name)
            if value is not None:
                force_setattr(self, name, canonical_price(value))

    def _require_strategy(self) -> None:
        if self.seq is not None and self.seq < 0:
            raise ValueError(f"Signal.seq must be 0 or above, not {self.seq}")
        if self.position_size is not None and self.strategy_position is not market_position_of(self.position_size):
            raise ValueError(f"Signal.position_size {self.position_size} is not {self.market_position}")

    def _require_above_zero(self) -> None:
        for name in SIGNAL_STAND_INS:
            value = getattr(self, name)
            if value is UNSET:
                continue
            _require_held(self, name, value, PRICE_COLUMN)
            if value <= 0:
                raise ValueError(f"Signal.{name} must be above 0, not {value}")
            force_setattr(self, name, canonical_price(value))

    @property
    def bar(self) -> datetime:
        """Identity and order: the time of the bar that fired the alert, else the time it fired."""
        time = self.bar_time or self.timestamp
        assert time is not None  # noqa: S101 - held by __post_init__
        return time

    @property
    def time(self) -> datetime:
        """The signal's own time, kept as entry and exit time: when it fired, else its bar."""
        return self.timestamp or self.bar

    @property
    def side(self) -> Side:
        """The side of its layer; meaningless for `ALL` and MARKET_DATA."""
        return layer_side(self.layer)

    @property
    def strategy_position(self) -> MarketPosition | None:
        """Where the strategy is after this alert; None where the alert does not tell."""
        if self.market_position is not None or self.position_size is None:
            return self.market_position
        return market_position_of(self.position_size)


SIGNAL_NUMBERS = ("price", "stop", "atr", "er", "supertrend", "roc", "position_size")
SIGNAL_STAND_INS = ("atr_max_age_seconds", "stop_atr")


class Position(Struct, frozen=True, kw_only=True, gc=False):
    """One layer from entry to close: the columns of `portfolio_positions` but its two wall-clock ones.

    Prices, stops and ATR in points, money in the instrument's currency, `lots` and `quantity` what is open now.
    `unrealized_pnl` is before costs, `realized_pnl` net of them and with rolls; `costs` is what has been booked so far.
    `risk_contribution` and `vol_contribution` are money: max(0, s x (entry - stop)) x lots x pv and ATR x lots x pv.
    It holds nothing that could hold it: the garbage collector is not told of it.
    """

    position_id: str
    instrument: str
    layer: str
    side: Side
    status: PositionStatus = PositionStatus.OPEN
    strategy_id: str | None = None
    entry_timestamp: datetime
    entry_bar_time: datetime | None = None
    entry_price: Decimal
    entry_lots: int
    entry_costs: Decimal = ZERO
    lots: int
    quantity: Decimal
    lot_size: Decimal
    point_value: Decimal
    initial_stop: Decimal | None
    current_stop: Decimal | None
    highest_close: Decimal
    atr: Decimal | None
    mark_price: Decimal
    mark_time: datetime
    unrealized_pnl: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    costs: Decimal = ZERO
    exit_timestamp: datetime | None = None
    exit_price: Decimal | None = None
    exit_reason: str | None = None
    rollover_status: RolloverStatus = RolloverStatus.NONE
    original_expiry: date | None = None
    original_strike: Decimal | None = None
    original_entry_price: Decimal | None = None
    rollover_timestamp: datetime | None = None
    rollover_pnl: Decimal = ZERO
    rollover_count: int = 0
    strike: Decimal | None = None
    expiry: date | None = None
    pe_symbol: str | None = None
    ce_symbol: str | None = None
    pe_order_id: str | None = None
    ce_order_id: str | None = None
    pe_entry_price: Decimal | None = None
    ce_entry_price: Decimal | None = None
    contract_month: str | None = None
    futures_symbol: str | None = None
    futures_order_id: str | None = None
    limiter: str | None = None
    risk_contribution: Decimal = ZERO
    vol_contribution: Decimal = ZERO
    is_base_position: bool = False
    version: int = 0

    def __post_init__(self) -> None:
        if not _columns_are_exact.get():
            require_exact(self, POSITION_PRICES, PRICE_COLUMN)
            require_exact(self, POSITION_MONEY, MONEY_COLUMN)
            require_utc("Position", **{name: getattr(self, name) for name in POSITION_TIMES})
        self.require_fitting()

    def require_fitting(self) -> None:
        """ValueError unless status and quantity are those of the lots."""
        if self.entry_lots <= 0 or not 0 <= self.lots <= self.entry_lots:
            raise ValueError(
                f"Position.lots must be 0..entry_lots and entry_lots above 0: {self.lots}/{self.entry_lots}"
            )
        if self.status is not status_of(self.lots, self.entry_lots):
            raise ValueError(f"Position.status {self.status} does not fit {self.lots} of {self.entry_lots} lots")
        if self.quantity != self.lots * self.lot_size:
            raise ValueError(f"Position.quantity {self.quantity} is not {self.lots} lots of {self.lot_size}")

    @property
    def is_open(self) -> bool:
        """Whether any lot is left."""
        return self.lots > 0

    @property
    def initial_risk_points(self) -> Decimal | None:
        """R: the initial risk per unit in points, abs(entry - initial_stop); None for a position without a stop."""
        return None if self.initial_stop is None else abs(self.entry_price - self.initial_stop)


def _copied(row: _Struct) -> _Struct:
    # What copy() comes to in the end, after a search that takes longer.
    after: _Struct = row.__copy__()  # type: ignore[attr-defined]
    return after


def at_version(position: Position, version: int) -> Position:
    """The same position at another version; nothing else has changed, so nothing is checked again."""
    after = _copied(position)
    force_setattr(after, "version", version)
    return after


def marked(position: Position, mark: Any) -> Position:
    """The same position with what a bar changes taken from `mark` (core.events.PositionMarked), at the next version.

    Only that is checked: most of what ever happens to a position is a mark.
    """
    require_utc(type(mark).__name__, mark_time=mark.mark_time)
    after = _copied(position)
    for name, column in _MARKED:
        value = getattr(mark, name)
        if value is not None and value is not ZERO:
            _require_held(mark, name, value, column)
        force_setattr(after, name, value)
    force_setattr(after, "mark_time", mark.mark_time)
    force_setattr(after, "version", position.version + 1)
    return after


MARK_PRICES = ("mark_price", "atr", "highest_close", "current_stop")
MARK_MONEY = ("unrealized_pnl", "risk_contribution", "vol_contribution")
_MARKED = (*((name, PRICE_COLUMN) for name in MARK_PRICES), *((name, MONEY_COLUMN) for name in MARK_MONEY))
POSITION_PRICES = (
    "entry_price",
    "quantity",
    "lot_size",
    "point_value",
    "initial_stop",
    "current_stop",
    "highest_close",
    "atr",
    "mark_price",
    "exit_price",
    "original_strike",
    "original_entry_price",
    "strike",
    "pe_entry_price",
    "ce_entry_price",
)
POSITION_MONEY = (
    "entry_costs",
    "unrealized_pnl",
    "realized_pnl",
    "costs",
    "rollover_pnl",
    "risk_contribution",
    "vol_contribution",
)
POSITION_TIMES = ("entry_timestamp", "entry_bar_time", "mark_time", "exit_timestamp", "rollover_timestamp")


def status_of(lots: int, entry_lots: int) -> PositionStatus:
    """open = nothing sold, partial = some left, closed = none left."""
    if lots == 0:
        return PositionStatus.CLOSED
    return PositionStatus.OPEN if lots == entry_lots else PositionStatus.PARTIAL


class Statistics(Struct, frozen=True, kw_only=True):
    """Counts and sums over closed positions, kept in `portfolio_state.statistics`. Money net of costs."""

    trades_closed: int = 0
    trades_won: int = 0
    gross_profit: Decimal = ZERO
    gross_loss: Decimal = ZERO
    costs: Decimal = ZERO

    def __post_init__(self) -> None:
        require_exact(self, STATISTICS_MONEY, MONEY_COLUMN)


STATISTICS_MONEY = ("gross_profit", "gross_loss", "costs")


class PortfolioState(Struct, frozen=True, kw_only=True):
    """The one row of `portfolio_state`. Money; percentages are of the sizing equity, None where that is not positive."""

    initial_capital: Decimal
    closed_equity: Decimal
    realized_total: Decimal = ZERO
    flows_total: Decimal = ZERO
    equity_high: Decimal
    total_risk_amount: Decimal = ZERO
    total_risk_percent: Decimal | None = ZERO
    total_vol_amount: Decimal = ZERO
    margin_used: Decimal = ZERO
    halted: bool = False
    statistics: Statistics = Statistics()
    version: int = 0

    def __post_init__(self) -> None:
        require_exact(self, STATE_MONEY, MONEY_COLUMN)
        require_exact(self, ("total_risk_percent",), PERCENT_COLUMN)


STATE_MONEY = (
    "initial_capital",
    "closed_equity",
    "realized_total",
    "flows_total",
    "equity_high",
    "total_risk_amount",
    "total_vol_amount",
    "margin_used",
)


class PyramidingState(Struct, frozen=True, kw_only=True):
    """What an instrument's next pyramid is measured against, and whether its entries are frozen.

    `accepted_difference` is what the broker holds besides ours and an operator has accepted: its quantity minus ours, in its
    units. `last_alert_seq` is the number of the last alert that was seen. `last_bar_atr` (points) is the ATR of the newest
    bar, `last_bar_time` that bar's time, where they are kept (core.settings.Bars).
    """

    instrument: str
    last_pyramid_price: Decimal | None = None
    base_position_id: str | None = None
    frozen_reason: str | None = None
    accepted_difference: Decimal | None = None
    last_alert_seq: int | None = None
    # Unset rather than None, as in Signal: whole rows are journalled too.
    last_bar_atr: Decimal | UnsetType = UNSET
    last_bar_time: datetime | UnsetType = UNSET

    def __post_init__(self) -> None:
        require_exact(self, ("last_pyramid_price",), PRICE_COLUMN)
        require_exact(self, ("accepted_difference",), QUANTITY_COLUMN)
        if self.last_bar_atr is not UNSET:
            require_exact(self, ("last_bar_atr",), PRICE_COLUMN)
        if self.last_bar_time is not UNSET:
            require_utc("PyramidingState", last_bar_time=self.last_bar_time)


_COLUMNS: dict[type, dict[str, Numeric]] = {
    Position: {**dict.fromkeys(POSITION_PRICES, PRICE_COLUMN), **dict.fromkeys(POSITION_MONEY, MONEY_COLUMN)},
    PortfolioState: {**dict.fromkeys(STATE_MONEY, MONEY_COLUMN), "total_risk_percent": PERCENT_COLUMN},
    Statistics: dict.fromkeys(STATISTICS_MONEY, MONEY_COLUMN),
    PyramidingState: {
        "last_pyramid_price": PRICE_COLUMN,
        "accepted_difference": QUANTITY_COLUMN,
        "last_bar_atr": PRICE_COLUMN,
    },
}
_Row = TypeVar("_Row", Position, PortfolioState, Statistics, PyramidingState)


def changed(row: _Row, **changes: Any) -> _Row:
    """The same row with these columns changed, as valid as a new one; what has not changed is not checked again."""
    after, columns = _copied(row), _COLUMNS[type(row)]
    for name, value in changes.items():
        force_setattr(after, name, value)
        column = columns.get(name)
        if column is not None and value is not None:
            _require_held(after, name, value, column)
        elif isinstance(value, datetime):
            require_utc(type(row).__name__, **{name: value})
    if isinstance(after, Position):
        after.require_fitting()
    return after
