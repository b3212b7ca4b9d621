"""What a replay reads and what comes out of it."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from core.errors import Refused
from core.models import Side, Signal


class BadFile(Refused):
    """a file that cannot be replayed: the message names the file, the line and what is wrong there"""


class Recorded(Struct, frozen=True, kw_only=True):
    """One recorded input in canonical form; `payload` is what live would keep of it, `line` where it stands in its file."""

    signal: Signal
    payload: dict[str, Any]
    line: int


class Trade(Struct, frozen=True, kw_only=True):
    """One exit of lots from a layer. Prices in points, money net of both sides' costs; times aware UTC.

    `number` is the file's own `Trade #` or a count; `initial_risk` is s x (entry - initial stop) x lots x point value,
    None where there was no stop.
    """

    number: int
    instrument: str
    layer: str
    side: Side
    lots: int
    entry_time: datetime
    entry_price: Decimal
    exit_time: datetime
    exit_price: Decimal
    net_pnl: Decimal
    initial_risk: Decimal | None = None
    reason: str = ""


class OpenTrade(Struct, frozen=True, kw_only=True):
    """What is still open at the end: marked, not counted."""

    instrument: str
    layer: str
    side: Side
    lots: int
    entry_time: datetime
    entry_price: Decimal
    mark_price: Decimal
    unrealized_pnl: Decimal


class ReplayResult(Struct, frozen=True, kw_only=True):
    """A finished replay. `capital`, and money in `trades`, in one currency; `trades` in the order they were closed.

    `started_at` and `ended_at` are the first and the last input's time.
    """

    capital: Decimal
    trades: tuple[Trade, ...]
    open_trades: tuple[OpenTrade, ...]
    started_at: datetime
    ended_at: datetime
    signals: int
    outcomes: dict[str, int]
