"""From TradingView's "List of trades" to the entries and exits of an as-listed replay."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from core.alert import canonical_payload
from core.models import Side, Signal, SignalType
from live.replay.merge import in_order
from live.replay.model import Recorded
from live.replay.trade_rows import ListedTrade, listed_trades

_NEVER = datetime.max.replace(tzinfo=UTC)


class Mark(Struct, frozen=True, kw_only=True):
    """What is still open of a layer at the list's end, and the price it stands at. `time` aware UTC."""

    instrument: str
    layer: str
    price: Decimal
    time: datetime
    lots: int
    trade_number: int


class TradeList(Struct, frozen=True, kw_only=True):
    """A list of trades as inputs in the order they are decided in; `listed` is each closed trade's own Net P&L.

    A position of several rows is one entry and an exit for each row, told apart by their `trade_number`.
    """

    inputs: list[Recorded]
    marks: list[Mark]
    listed: dict[int, Decimal]

    @property
    def positions_open(self) -> int:
        """How many layers are open at the end."""
        return len({mark.layer for mark in self.marks})


def read_trade_list(path: Path, *, instrument: str, timezone: tzinfo) -> TradeList:
    """The trades of `path`, all of `instrument`; the list's times are of the chart's `timezone`.

    Raises BadFile for what the engine could not replay to the same trades: it names the line and the rule.
    """
    found = TradeList(inputs=[], marks=[], listed={})
    for parts in _entries(_in_turn(listed_trades(path, timezone))):
        _add(found, instrument, parts)
    # Stable, and read in the order of the trades' numbers: what the key cannot tell apart keeps that order.
    return replace(found, inputs=in_order(found.inputs))


# --- what the engine would refuse ---------------------------------------------------------------------------------


def _in_turn(trades: Iterable[ListedTrade]) -> Iterator[ListedTrade]:
    """The trades, entered and left in the order of their numbers: first in, first out.

    A queue's lots leave in the order they came, so numbered in one order they are in the other too.
    """
    before: ListedTrade | None = None
    for trade in trades:
        if before is not None:
            _require_turn(before, trade)
        before = trade
        yield trade


def _require_turn(before: ListedTrade, trade: ListedTrade) -> None:
    number, earlier = trade.entry.number, before.entry.number
    if trade.entry.time < before.entry.time:
        raise trade.entry.row.refused(f"unsorted: trade {number} is entered before trade {earlier}")
    if before.is_open and not trade.is_open:
        raise trade.exit.row.refused(
            f"not first in, first out: trade {number} is closed, trade {earlier} before it still open"
        )
    if trade.exit.time < before.exit.time:
        raise trade.exit.row.refused(f"not first in, first out: trade {number} leaves before trade {earlier}")


def _entries(trades: Iterable[ListedTrade]) -> Iterator[list[ListedTrade]]:
    """The trades of each entry: rows of equal entry time and Signal, whose sizes sum to the Signal's lots."""
    layers = _Layers()
    for _, group in groupby(trades, key=lambda trade: (trade.entry.time, trade.entry.signal)):
        parts = list(group)
        _require_one_entry(parts)
        layers.enter(parts)
        yield parts


def _require_one_entry(parts: list[ListedTrade]) -> None:
    entry, label = parts[0].entry, parts[0].label
    for part in parts:
        if (part.entry.side, part.entry.price) != (entry.side, entry.price):
            raise part.entry.row.refused(
                f"{entry.signal} is one entry with trade {entry.number}, but at another price: "
                f"{part.entry.price:f}, not {entry.price:f}"
            )
    total = sum(part.entry.lots for part in parts)
    if total != label.lots:
        rule = f"{entry.signal} stands for {label.lots} lots, but the sizes of its {len(parts)} trades sum to {total}"
        raise parts[-1].entry.row.refused(rule)


class _Layers:
    """When each layer of the list's one instrument is free again; what an entry needs free and open is checked."""

    def __init__(self) -> None:
        self._busy_until: dict[int, datetime] = {}
        self._side = Side.LONG

    def enter(self, parts: list[ListedTrade]) -> None:
        """Take the entry's layer until its last part is sold; BadFile where the engine would refuse the entry."""
        entry, layer = parts[0].entry, parts[0].label.layer
        # An exit of the entry's own bar is decided before it, so a layer is free on the bar that closes it.
        held = {number for number, until in self._busy_until.items() if until > entry.time}
        if layer == 1 and held:
            names = ", ".join(f"{self._side.capitalize()}_{number}" for number in sorted(held))
            raise entry.row.refused(f"{entry.signal} is a base entry, but {names} is still open: bases never overlap")
        if layer > 1 and (1 not in held or self._side is not entry.side):
            raise entry.row.refused(f"{entry.signal} is a pyramid, but no {entry.side} base is open")
        if layer in held:
            raise entry.row.refused(f"{entry.signal} is layer {layer}, which is still open")
        self._side = entry.side
        self._busy_until = {number: until for number, until in self._busy_until.items() if number in held}
        self._busy_until[layer] = max(_NEVER if part.is_open else part.exit.time for part in parts)


# --- what is replayed ---------------------------------------------------------------------------------------------


def _add(found: TradeList, instrument: str, parts: list[ListedTrade]) -> None:
    first = parts[0]
    layer = f"{first.entry.side.capitalize()}_{first.label.layer}"
    found.inputs.append(_entry(first, instrument, layer))
    for part in parts:
        if part.is_open:
            found.marks.append(_mark(part, instrument, layer))
        else:
            found.inputs.append(_exit(part, instrument, layer))
            found.listed[part.entry.number] = part.net_pnl


def _entry(trade: ListedTrade, instrument: str, layer: str) -> Recorded:
    signal = Signal(
        type=SignalType.BASE_ENTRY if trade.label.layer == 1 else SignalType.PYRAMID,
        instrument=instrument,
        layer=layer,
        price=trade.entry.price,
        lots=trade.label.lots,
        bar_time=trade.entry.time,
    )
    return Recorded(signal=signal, payload=canonical_payload(signal), line=trade.entry.row.line)


def _exit(trade: ListedTrade, instrument: str, layer: str) -> Recorded:
    signal = Signal(
        type=SignalType.EXIT,
        instrument=instrument,
        layer=layer,
        price=trade.exit.price,
        lots=trade.exit.lots,
        reason=trade.exit.signal or None,
        bar_time=trade.exit.time,
        trade_number=trade.exit.number,
    )
    return Recorded(signal=signal, payload=canonical_payload(signal), line=trade.exit.row.line)


def _mark(trade: ListedTrade, instrument: str, layer: str) -> Mark:
    return Mark(
        instrument=instrument,
        layer=layer,
        price=trade.exit.price,
        time=trade.exit.time,
        lots=trade.exit.lots,
        trade_number=trade.exit.number,
    )
