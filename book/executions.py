"""Executions: each purchase and sale that a journal tells of, in its order, by contract."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from msgspec import Struct, convert
from msgspec.structs import replace

from core.events import (
    Event,
    PositionExited,
    PositionIncreased,
    PositionOpened,
    PositionRolled,
    PositionSaved,
)
from core.models import Position
from core.numbers import ZERO
from core.rollover import rolled

Kind = Literal["open", "increase", "exit", "roll_out", "roll_in", "manual"]
_CHANGES = (PositionOpened, PositionIncreased, PositionExited, PositionRolled, PositionSaved)
_TAGS = frozenset(str(event.__struct_config__.tag) for event in _CHANGES)
_PLACES = Decimal("0.00000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Lots bought or sold at a price (points). `contract` is the symbol it is in, the instrument's name where it has one market;
    `costs` (money) are what was booked with it; `number` counts within the journal's entry."""

    portfolio: str
    journal_seq: int
    number: int
    time: datetime
    kind: Kind
    position_id: str
    instrument: str
    contract: str
    side: Literal["BUY", "SELL"]
    lots: int
    quantity: Decimal
    price: Decimal
    point_value: Decimal
    costs: Decimal = ZERO

    @property
    def signed_lots(self) -> int:
        """Above 0 where it buys."""
        return self.lots if self.side == "BUY" else -self.lots


class Entry(Struct, frozen=True, kw_only=True):
    """What of a journal's entry is needed: its number, its time (aware) and its events as they were written."""

    seq: int
    decided_at: datetime
    events: list[dict[str, Any]]


def executions_of(portfolio: str, entries: Iterable[Entry]) -> Iterator[Execution]:
    """The executions that a journal's entries, from the first one on and in their order, tell of."""
    held: dict[str, Position] = {}
    for entry in entries:
        number = 0
        for document in entry.events:
            if document["event"] not in _TAGS:
                continue
            event = convert(document, Event)
            for made in _made(held, event, entry.decided_at):
                number += 1
                yield Execution(portfolio=portfolio, journal_seq=entry.seq, number=number, **made)
            _apply(held, event)


def _made(held: Mapping[str, Position], event: Event, decided_at: datetime) -> Iterator[dict[str, Any]]:
    match event:
        case PositionOpened(position=position):
            yield _of(
                position, "open", position.entry_timestamp, position.entry_lots, position.entry_price, enters=True
            )
        case PositionIncreased():
            yield _increase(held[event.position_id], event, decided_at)
        case PositionExited():
            position = held[event.position_id]
            sold = _of(position, "exit", event.exit_timestamp, event.lots_sold, event.fill_price, enters=False)
            yield {**sold, "costs": event.costs}
        case PositionRolled():
            yield from _roll(held[event.position_id], event)
        case PositionSaved(position=position):
            yield from _by_hand(held.get(position.position_id), position, decided_at)
        case _:
            return


def _increase(position: Position, event: PositionIncreased, decided_at: datetime) -> dict[str, Any]:
    lots = event.entry_lots - position.entry_lots
    # The event has the average: what the new lots cost follows from both, to the column's last digit.
    paid = Fraction(event.entry_price) * event.entry_lots - Fraction(position.entry_price) * position.entry_lots
    return _of(position, "increase", decided_at, lots, _rounded(paid / lots), enters=True)


def _roll(position: Position, event: PositionRolled) -> Iterator[dict[str, Any]]:
    fields, far = event.fields, _after_roll(position, event)
    costs = fields.costs - position.costs
    earned = Fraction(event.pnl + costs) / (Fraction(position.lots) * Fraction(position.point_value))
    left = _rounded(Fraction(position.entry_price) + position.side.sign * earned)
    when = fields.rollover_timestamp
    yield {**_of(position, "roll_out", when, position.lots, left, enters=False), "costs": costs}
    yield _of(far, "roll_in", when, fields.lots, fields.entry_price, enters=True)


def _by_hand(before: Position | None, position: Position, decided_at: datetime) -> Iterator[dict[str, Any]]:
    """A row written by hand: lots that are there and were not, or the other way round, at its mark."""
    lots = position.lots - (0 if before is None else before.lots)
    if lots:
        price = position.entry_price if before is None else position.mark_price
        yield _of(position, "manual", decided_at, abs(lots), price, enters=lots > 0)


def _of(position: Position, kind: Kind, time: datetime, lots: int, price: Decimal, *, enters: bool) -> dict[str, Any]:
    buys = (position.side.sign > 0) is enters
    return {
        "time": time,
        "kind": kind,
        "position_id": position.position_id,
        "instrument": position.instrument,
        "contract": position.futures_symbol or position.ce_symbol or position.instrument,
        "side": "BUY" if buys else "SELL",
        "lots": lots,
        "quantity": position.lot_size * lots,
        "price": price,
        "point_value": position.point_value,
    }


def _apply(held: dict[str, Position], event: Event) -> None:
    match event:
        case PositionOpened(position=position) | PositionSaved(position=position):
            held[position.position_id] = position
        case PositionIncreased():
            held[event.position_id] = _changed(held[event.position_id], event, "entry_price", "entry_lots", "status")
        case PositionExited():
            held[event.position_id] = _changed(held[event.position_id], event, "status")
            if not event.lots:
                del held[event.position_id]
        case PositionRolled():
            held[event.position_id] = _after_roll(held[event.position_id], event)
        case _:
            return


def _changed(position: Position, event: PositionIncreased | PositionExited, *names: str) -> Position:
    same = {name: getattr(event, name) for name in names}
    costs = position.costs + event.costs if isinstance(event, PositionExited) else position.costs
    return replace(position, lots=event.lots, quantity=event.quantity, costs=costs, **same)


def _after_roll(position: Position, event: PositionRolled) -> Position:
    return replace(
        rolled(position, event.fields),
        futures_symbol=event.futures_symbol,
        ce_symbol=event.ce_symbol,
        pe_symbol=event.pe_symbol,
    )


def _rounded(value: Fraction) -> Decimal:
    return Decimal(round(value * 10**8)) * _PLACES
