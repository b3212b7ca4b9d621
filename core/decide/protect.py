"""The disaster stop at the broker: as large as what is open and not being sold, a little beyond our own stop (DOMAIN.md).

It is for when nobody else can act. Whoever sells waits until it is out of the way, so that nothing is sold twice.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from core.decide.leaving import leaving_order
from core.events import OrderCancelAsked, OrderIntended, OrderMoved
from core.models import Position, Side
from core.numbers import price, product
from core.orders import Order, OrderPurpose, OrderType
from core.portfolio import Portfolio
from core.symbols import Action, BelowOneTick, trigger_on_tick

if TYPE_CHECKING:
    from core.decide.decision import Draft

STOP_REASON = "DISASTER_STOP"
_ROLLS = (OrderPurpose.ROLL_OUT, OrderPurpose.ROLL_IN)


def protect(draft: "Draft", instrument: str) -> None:
    """Bring the stops of an instrument's positions to where they belong; end those of positions that are closed."""
    stops = {o.position_id: o for o in draft.portfolio.orders_of(instrument) if o.purpose is OrderPurpose.STOP}
    for position in draft.portfolio.positions_of(instrument):
        _protect_one(draft, position, stops.pop(position.position_id, None))
    for left_over in stops.values():
        _end(draft, left_over)


def lacks_stop(portfolio: Portfolio, position: Position) -> bool:
    """Whether a position should have a stop at the broker and there is none, not even one that is asked for."""
    if portfolio.settings.execution.fills != "broker":
        return False
    orders = portfolio.orders_of(position.instrument)
    if any(order.purpose is OrderPurpose.STOP and order.position_id == position.position_id for order in orders):
        return False
    lots, trigger = _wanted(portfolio, position, None)
    return trigger is not None and lots > 0


def _protect_one(draft: "Draft", position: Position, stop: Order | None) -> None:
    lots, trigger = _wanted(draft.portfolio, position, stop)
    if trigger is None or lots <= 0:
        if stop is not None:
            _end(draft, stop)
    elif stop is None:
        draft.apply(OrderIntended(order=_stop_order(draft.portfolio, position, lots, trigger)))
    elif stop.has_ended or stop.cancel_asked or stop.try_over:
        pass  # the next one comes once it is known what this one sold
    elif (stop.lots_left, stop.trigger_price) != (lots, trigger):
        moved = OrderMoved(client_order_id=stop.client_order_id, lots=stop.filled_lots + lots, trigger_price=trigger)
        draft.apply(moved)


def _end(draft: "Draft", stop: Order) -> None:
    if not stop.has_ended and not stop.cancel_asked:
        draft.apply(OrderCancelAsked(client_order_id=stop.client_order_id, reason=STOP_REASON))


def _wanted(portfolio: Portfolio, position: Position, stop: Order | None) -> tuple[int, Decimal | None]:
    """Lots and trigger (points, on the tick) of the stop; no trigger where there is to be none."""
    orders = portfolio.orders_of(position.instrument)
    if any(order.purpose in _ROLLS and order.position_id == position.position_id for order in orders):
        return 0, None
    return position.lots - portfolio.lots_leaving(position), _trigger(portfolio, position, stop)


def _trigger(portfolio: Portfolio, position: Position, stop: Order | None) -> Decimal | None:
    beyond, instrument = portfolio.settings.execution.stop_atr, portfolio.settings.instruments.get(position.instrument)
    if beyond is None or instrument is None or position.current_stop is None or position.atr is None:
        return None
    if position.ce_symbol is not None:
        return None  # two options have no one price that a stop could wait for
    level = price(position.current_stop - position.side.sign * product(beyond, position.atr))
    sells = position.side is Side.LONG
    try:
        trigger = trigger_on_tick(level, instrument.tick, Action.SELL if sells else Action.BUY) if level > 0 else None
    except BelowOneTick:
        return None
    if trigger is None or stop is None or stop.trigger_price is None:
        return trigger
    return max(trigger, stop.trigger_price) if sells else min(trigger, stop.trigger_price)


def _stop_order(portfolio: Portfolio, position: Position, lots: int, trigger: Decimal) -> Order:
    order = leaving_order(portfolio, position, OrderPurpose.STOP, lots, trigger)
    return replace(order, reason=STOP_REASON, order_type=OrderType.STOP_MARKET, trigger_price=trigger)
