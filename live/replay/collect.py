"""Trades out of what was committed: each exit of lots, joined to the entry it closes."""

from collections import Counter
from decimal import Decimal

from msgspec.structs import replace

from core.events import PositionExited, PositionMarked, PositionOpened
from core.fills import gross_pnl, risk_amount
from core.inputs import SignalInput
from core.journal import Batch, Entry
from core.models import Position
from live.replay.model import OpenTrade, Trade


class Collector:
    """Watches the writer's batches; holds the open positions and the trades closed so far."""

    def __init__(self) -> None:
        self.trades: list[Trade] = []
        self.outcomes: Counter[str] = Counter()
        self._open: dict[str, Position] = {}
        self._marks: dict[str, Decimal] = {}

    def observe(self, batch: Batch) -> None:
        """Take in one committed batch."""
        for entry in batch.entries:
            if isinstance(entry.given, SignalInput):
                self.outcomes[entry.decision.outcome.status.value] += 1
            for event in entry.decision.events:
                self._take(entry, event)

    def open_trades(self, marks: dict[tuple[str, str], Decimal]) -> tuple[OpenTrade, ...]:
        """What is still open, at the given marks (by instrument and layer) or its own."""
        return tuple(
            _marked(position, marks.get((position.instrument, position.layer), self._marks[position_id]))
            for position_id, position in self._open.items()
        )

    def _take(self, entry: Entry, event: object) -> None:
        match event:
            case PositionOpened():
                self._open[event.position.position_id] = event.position
                self._marks[event.position.position_id] = event.position.mark_price
            case PositionMarked():
                self._marks[event.position_id] = event.mark_price
            case PositionExited():
                self._exit(entry, event)
            case _:
                pass

    def _exit(self, entry: Entry, event: PositionExited) -> None:
        position = self._open[event.position_id]
        given = entry.given
        listed = given.signal.trade_number if isinstance(given, SignalInput) else None
        risk = risk_amount(
            position.side, position.entry_price, position.initial_stop, event.lots_sold, position.point_value
        )
        self.trades.append(
            Trade(
                number=len(self.trades) + 1 if listed is None else listed,
                instrument=position.instrument,
                layer=position.layer,
                side=position.side,
                lots=event.lots_sold,
                entry_time=position.entry_timestamp,
                entry_price=position.entry_price,
                exit_time=event.exit_timestamp,
                exit_price=event.fill_price,
                net_pnl=event.pnl,
                initial_risk=risk if position.initial_stop is not None else None,
                reason=event.exit_reason,
            )
        )
        if event.lots == 0:
            del self._open[event.position_id], self._marks[event.position_id]
            return
        self._marks[event.position_id] = event.fill_price
        self._open[event.position_id] = replace(position, status=event.status, lots=event.lots, quantity=event.quantity)


def _marked(position: Position, mark: Decimal) -> OpenTrade:
    return OpenTrade(
        instrument=position.instrument,
        layer=position.layer,
        side=position.side,
        lots=position.lots,
        entry_time=position.entry_timestamp,
        entry_price=position.entry_price,
        mark_price=mark,
        unrealized_pnl=gross_pnl(position.side, position.entry_price, mark, position.lots, position.point_value),
    )
