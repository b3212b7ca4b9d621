"""A position as it was entered: the fills of its entry count, what came with a roll and after it does not."""

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from core.events import Event, PositionIncreased, PositionOpened, PositionRolled
from core.models import Position
from core.rollover import RolledFields
from risk.tag_trades import as_entered
from tests.builders import a_portfolio, a_signal, after


def opened() -> Position:
    """2 lots at 52,000."""
    (position,) = after(a_portfolio(), a_signal()).positions.values()
    return position


def increased(position: Position, price: int, lots: int) -> Event:
    given: dict[str, Any] = {name: getattr(position, name) for name in PositionIncreased.__struct_fields__}
    more = {"entry_lots": lots, "lots": lots, "quantity": lots * position.lot_size}
    return PositionIncreased(**{**given, **more, "entry_price": Decimal(price)})


def rolled(position: Position) -> Event:
    fields = RolledFields(**{name: getattr(position, name) for name in RolledFields.__struct_fields__})
    return PositionRolled(
        position_id=position.position_id,
        pnl=Decimal(0),
        fields=fields,
        futures_symbol=None,
        ce_symbol=None,
        pe_symbol=None,
    )


def test_the_fills_of_the_entry_count_and_what_comes_with_a_roll_does_not() -> None:
    position = opened()
    other = replace(position, position_id="other")
    events = [
        increased(position, 1, 1),
        PositionOpened(position=position),
        PositionOpened(position=other),
        increased(position, 52_010, 3),
        increased(other, 60_000, 9),
        rolled(other),
        increased(position, 52_020, 4),
        rolled(position),
        increased(position, 53_000, 5),
    ]
    found = as_entered(events, position.position_id)
    lots = {"entry_lots": 4, "lots": 4, "quantity": Decimal(120)}
    assert found == replace(position, entry_price=Decimal(52_020), **lots)
    assert (position.entry_price, position.entry_lots) == (52_000, 2)


def test_of_what_no_event_tells_the_opening_nothing_is_known() -> None:
    position = opened()
    assert as_entered([], position.position_id) is None
    assert as_entered([increased(position, 1, 1), rolled(position)], position.position_id) is None
