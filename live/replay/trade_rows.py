"""TradingView's "List of trades", two rows a trade: each trade by itself, checked against its twin."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from pathlib import Path

from msgspec import Struct

from core.models import Side
from core.strict_json import MAX_TEXT, shown
from live.replay.lines import bad_file
from live.replay.table import Row, read_table

MAX_ROWS = 200_000  # five times what TradingView's deepest backtest lists
OPEN = "Open"

NUMBER, TYPE, TIME, SIGNAL, PRICE, SIZE, NET = (
    "Trade #",
    "Type",
    "Date/Time",
    "Signal",
    "Price",
    "Position size (qty)",
    "Net P&L",
)
# The names of 2025 first, then those of the exports before and after; a currency follows some of them.
_COLUMNS = {
    NUMBER: re.compile(r"Trade (?:#|number)"),
    TYPE: re.compile(r"Type"),
    TIME: re.compile(r"Date/Time|Date and time"),
    SIGNAL: re.compile(r"Signal"),
    PRICE: re.compile(r"Price(?: [A-Z]{2,8})?"),
    SIZE: re.compile(r"(?:Position size|Size) \(qty\)|Contracts"),
    NET: re.compile(r"(?:Net P&L|Net PnL|Profit)(?: [A-Z]{2,8})?"),
}
_TYPE = re.compile(r"(entry|exit) (long|short)", re.IGNORECASE | re.ASCII)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d)(?::(\d\d))?", re.ASCII)
_ENTRY = re.compile(r"(?:EOD-)?ENTRY-(\d{1,9})([LS])", re.ASCII)
_PYRAMID = re.compile(r"PYR([1-5])-(\d{1,9})([LS])", re.ASCII)
_SIDES = {"L": Side.LONG, "S": Side.SHORT}
_YEARS = range(1970, 2101)


class ListedRow(Struct, frozen=True, kw_only=True):
    """One of a trade's two rows, as listed; `time` aware UTC."""

    row: Row
    number: int
    is_entry: bool
    side: Side
    time: datetime
    signal: str
    price: Decimal
    lots: int


class Label(Struct, frozen=True, kw_only=True):
    """What the Signal of an entry says: layer 1 is the base, PYRn layer n + 1; `lots` of the whole entry."""

    layer: int
    lots: int
    side: Side


class ListedTrade(Struct, frozen=True, kw_only=True):
    """Both rows of a trade, which agree. `net_pnl` is the file's own; `is_open` where the exit is but a mark."""

    entry: ListedRow
    exit: ListedRow
    label: Label
    net_pnl: Decimal
    is_open: bool


def listed_trades(path: Path, timezone: tzinfo) -> Iterator[ListedTrade]:
    """The trades in the order of the file, which is that of their numbers; BadFile for the first that is none."""
    first: ListedRow | None = None
    number = 0
    for row in read_table(path, _COLUMNS, most_rows=MAX_ROWS):
        listed = _row(row, timezone)
        if first is None:
            if listed.number <= number:
                raise row.refused(_order_rule(listed.number, number))
            first = listed
        else:
            yield _trade(first, listed)
            first, number = None, listed.number
    if first is not None:
        raise first.row.refused(_no_twin(first))
    if number == 0:
        raise bad_file(path, 1, "no trades below the header")


def _order_rule(number: int, before: int) -> str:
    if number == before:
        return f"trade {number} has a third row: a trade has one Entry row and one Exit row"
    return f"unsorted: trade {number} after trade {before}; sort the list by `{NUMBER}`, ascending"


def _no_twin(row: ListedRow) -> str:
    missing = "Exit" if row.is_entry else "Entry"
    return f"trade {row.number} has no {missing} row beside this one"


def _row(row: Row, timezone: tzinfo) -> ListedRow:
    kind = _TYPE.fullmatch(row.text(TYPE))
    if kind is None:
        raise row.refused(
            f"`{TYPE}` must be Entry long, Entry short, Exit long or Exit short, not {shown(row.text(TYPE))}"
        )
    signal = row.text(SIGNAL)
    if len(signal) > MAX_TEXT:
        raise row.refused(f"`{SIGNAL}` is longer than {MAX_TEXT} characters")
    return ListedRow(
        row=row,
        number=row.whole(NUMBER),
        is_entry=kind[1].lower() == "entry",
        side=Side(kind[2].lower()),
        time=_utc(row, timezone),
        signal=signal,
        price=row.price(PRICE),
        lots=_lots(row),
    )


def _lots(row: Row) -> int:
    size = row.number(SIZE)
    if not 0 < size < 10**9 or size != int(size):
        raise row.refused(f"`{SIZE}` must be a whole number of lots above 0, not {shown(row.text(SIZE))}")
    return int(size)


def _utc(row: Row, timezone: tzinfo) -> datetime:
    """The listed wall-clock time of the chart's zone; an hour that comes twice is the earlier one."""
    text = row.text(TIME)
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise row.refused(f"`{TIME}` must be written YYYY-MM-DD HH:MM, not {shown(text)}")
    year, month, day, hour, minute, second = (int(part or 0) for part in parts.groups())
    try:
        if year not in _YEARS:
            raise ValueError  # noqa: TRY301 - told in the same words as a day that does not exist
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone).astimezone(UTC)
    except ValueError:
        raise row.refused(f"`{TIME}` {shown(text)} is no time of the years 1970 to 2100") from None


def _trade(first: ListedRow, second: ListedRow) -> ListedTrade:
    _require_twins(first, second)
    entry, exit_ = (first, second) if first.is_entry else (second, first)
    is_open = exit_.signal == OPEN
    # The mark of what was entered on the last bar stands on that bar; a sale there would come before its entry.
    if exit_.time < entry.time or (exit_.time == entry.time and not is_open):
        raise exit_.row.refused(
            f"trade {entry.number} leaves at or before its entry (line {entry.row.line}): an exit needs a later bar"
        )
    label = _label(entry)
    # Of the exit row: older exports leave the entry's figures blank.
    return ListedTrade(entry=entry, exit=exit_, label=label, net_pnl=exit_.row.number(NET), is_open=is_open)


def _require_twins(first: ListedRow, second: ListedRow) -> None:
    if second.number != first.number:
        raise first.row.refused(_no_twin(first))
    if second.is_entry == first.is_entry:
        kind = "Entry" if first.is_entry else "Exit"
        raise second.row.refused(f"trade {first.number} has two {kind} rows (the other is line {first.row.line})")
    if second.side is not first.side:
        raise second.row.refused(f"trade {first.number} is {first.side} on line {first.row.line}, {second.side} here")
    if second.lots != first.lots:
        rule = f"trade {first.number} is of {first.lots} lots on line {first.row.line}, of {second.lots} here"
        raise second.row.refused(rule)


def _label(entry: ListedRow) -> Label:
    if base := _ENTRY.fullmatch(entry.signal):
        label = Label(layer=1, lots=int(base[1]), side=_SIDES[base[2]])
    elif pyramid := _PYRAMID.fullmatch(entry.signal):
        label = Label(layer=int(pyramid[1]) + 1, lots=int(pyramid[2]), side=_SIDES[pyramid[3]])
    else:
        known = "ENTRY-15L, EOD-ENTRY-14L, PYR1-1L to PYR5-1L (a short may say S for L)"
        raise entry.row.refused(f"unknown entry signal {shown(entry.signal)}: known are {known}")
    # The L of a label is its lots as well as its side: on a short it says no more than that.
    if label.side is Side.SHORT and entry.side is Side.LONG:
        raise entry.row.refused(f"the signal {entry.signal} says {label.side}, `{TYPE}` says {entry.side}")
    return label
