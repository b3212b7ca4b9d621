"""An order that sells what is open (an exit, the near side of a roll, a stop at the broker), and one that never was sent."""

from decimal import Decimal

from core.decide.legs import first_leg, pair_of
from core.events import OrderReported
from core.models import Position
from core.numbers import ZERO
from core.orders import Order, OrderPurpose, OrderState, client_order_id_of
from core.portfolio import Portfolio


def leaving_order(
    portfolio: Portfolio, position: Position, purpose: OrderPurpose, lots: int, reference: Decimal, *, attempt: int = 1
) -> Order:
    """What sells `lots` of a position at the broker, in the contract that it is in: of a synthetic future its first leg."""
    pair = pair_of(position)
    leg = None if pair is None else first_leg(position.side, purpose)
    return Order(
        client_order_id=client_order_id_of(portfolio.seq, position.position_id, purpose, attempt, leg),
        journal_seq=portfolio.seq,
        position_id=position.position_id,
        instrument=position.instrument,
        layer=position.layer,
        side=position.side,
        purpose=purpose,
        attempt=attempt,
        lots=lots,
        lot_size=position.lot_size,
        point_value=position.point_value,
        reference_price=reference,
        symbol=position.futures_symbol if pair is None or leg is None else pair.symbol_of(leg),
        leg=leg,
        strike=None if pair is None else pair.strike,
    )


def never_sent(order: Order, reason: str) -> OrderReported:
    """The end of an intent of which the broker is never to hear."""
    return OrderReported(
        client_order_id=order.client_order_id,
        state=OrderState.CANCELLED,
        broker_order_id=None,
        message=reason[:1000],
        filled_lots=0,
        average_price=None,
        fill_ids=(),
        risk_reserved=ZERO,
        vol_reserved=ZERO,
        settled=True,
    )
