"""How an order is sent: at which price, how often it is tried, and when it is not sent at all (DOMAIN.md, Broker). Pure.

`quote` is the price at which the order would trade now: the ask of a buy, the bid of a sale, else the last trade; points.
"""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from msgspec import Struct

from core.decide.timing import duration
from core.inputs import SendOrder
from core.models import Position
from core.numbers import price, product, quotient
from core.orders import Order, OrderPurpose, OrderType
from core.portfolio import Portfolio
from core.settings import Execution
from core.symbols import Action, BelowOneTick, limit_on_tick

NO_LONGER_WANTED = "no longer wanted"


class Sending(Struct, frozen=True, kw_only=True):
    """What is asked of the broker now; `limit_price` None: at market."""

    lots: int
    order_type: OrderType
    limit_price: Decimal | None = None


class NotSent(Struct, frozen=True, kw_only=True):
    """Why it is not sent, now or later; `diverged`: because the market is too far from the signal's price."""

    reason: str
    diverged: bool = False


def refusal_of(portfolio: Portfolio, order: Order, now: datetime) -> str | None:
    """Why an order is not to be sent whatever the market says: nobody wants it, or its entry is too old; None where it may."""
    if order.cancel_asked or _is_overtaken(portfolio, order) or _has_lost_its_position(portfolio, order):
        return NO_LONGER_WANTED
    # A second leg belongs to what is bought already: it is not too late for it.
    if order.purpose is not OrderPurpose.ENTRY or order.plan is None or order.leg_price is not None:
        return None
    if portfolio.state.halted:
        return "halted"
    most = portfolio.settings.timing.max_entry_age_seconds
    if most is not None and now - order.plan.entry_timestamp > duration(most):
        return "stale"
    return None


def _is_overtaken(portfolio: Portfolio, order: Order) -> bool:
    """Whether a roll that has not begun at the broker is of a position that is to be closed."""
    position = portfolio.positions.get(order.position_id)
    begins = order.purpose is OrderPurpose.ROLL_OUT and order.leg_price is None
    return begins and position is not None and portfolio.lots_leaving(position) == position.lots


def _has_lost_its_position(portfolio: Portfolio, order: Order) -> bool:
    """Whether earlier tries of an entry made a position that is closed by now."""
    tried = order.purpose is OrderPurpose.ENTRY and order.leg is None and order.filled_before > 0
    return tried and order.position_id not in portfolio.positions


def waits_for_roll(portfolio: Portfolio, order: Order) -> bool:
    """Whether an exit has to wait for the step in hand of its position's roll."""
    return order.purpose is OrderPurpose.EXIT and any(
        other.purpose in (OrderPurpose.ROLL_OUT, OrderPurpose.ROLL_IN) and other.position_id == order.position_id
        for other in portfolio.orders_of(order.instrument)
    )


def needs_quote(order: Order) -> bool:
    """Whether the market has to be known before it is sent: of entries; what leaves goes at whatever it gets."""
    return order.purpose is OrderPurpose.ENTRY


def sending(portfolio: Portfolio, order: Order, given: SendOrder) -> Sending | NotSent:
    """The order as it is sent at these quotes. An entry needs one; what leaves goes at market."""
    if order.purpose is OrderPurpose.UNDO:
        return Sending(lots=order.lots, order_type=OrderType.MARKET)
    if order.purpose is not OrderPurpose.ENTRY:
        return _leaving(portfolio, order)
    market = given.market if order.is_first_leg else given.quote
    if given.quote is None or market is None:
        return NotSent(reason="no quote")
    rules = portfolio.settings.execution
    if order.leg_price is not None:
        return _priced(portfolio, order, given.quote, order.lots)
    refusal, lots = _too_far(order, market, rules), _lots_at(order, market, rules)
    if refusal is not None:
        return refusal
    return lots if isinstance(lots, NotSent) else _priced(portfolio, order, given.quote, lots)


def _leaving(portfolio: Portfolio, order: Order) -> Sending | NotSent:
    """What leaves goes at market, and no more than is there by now; a stop waits at the broker."""
    position = portfolio.positions.get(order.position_id)
    if position is None:
        return NotSent(reason="nothing is left to sell")
    if order.purpose is OrderPurpose.STOP:
        return Sending(lots=order.lots, order_type=OrderType.STOP_MARKET)
    if order.purpose is not OrderPurpose.EXIT:
        return _rolling(order, position)
    others = sum(o.lots_to_come for o in portfolio.exits_of(position) if o.client_order_id != order.client_order_id)
    lots = min(order.lots, position.lots - others)
    if lots <= 0:
        return NotSent(reason="nothing is left to sell")
    return Sending(lots=lots, order_type=OrderType.MARKET)


def _rolling(order: Order, position: Position) -> Sending:
    """All of it leaves the near contract, what the broker's stop has left; all of what left enters the far one."""
    lots = position.lots if order.purpose is OrderPurpose.ROLL_OUT and order.leg_price is None else order.lots
    return Sending(lots=min(order.lots, lots), order_type=OrderType.MARKET)


def _too_far(order: Order, quote: Decimal, rules: Execution) -> NotSent | None:
    """Divergence: the market is not where the signal was decided."""
    assert order.plan is not None  # noqa: S101 - an entry has a plan
    most = rules.base_divergence_percent if order.plan.is_base_position else rules.pyramid_divergence_percent
    apart = quotient(product(abs(quote - order.reference_price), 100), order.reference_price)
    if apart <= most:
        return None
    reason = f"divergence: the market at {quote:f} is {apart:.2f} % from {order.reference_price:f}"
    return NotSent(reason=reason, diverged=True)


def _priced(portfolio: Portfolio, order: Order, quote: Decimal, lots: int) -> Sending | NotSent:
    rules = portfolio.settings.execution
    if order.attempt > rules.tries:
        return Sending(lots=lots, order_type=OrderType.MARKET)
    tick = _tick(portfolio, order)
    if tick is None:
        return NotSent(reason=f"{order.instrument} is not configured any more")
    away = rules.limit_percent + rules.step_percent * (order.attempt - 1)
    worst = price(quotient(product(quote, 100 + away if order.buys else 100 - away), 100))
    try:
        limit = limit_on_tick(worst, tick, Action.BUY if order.buys else Action.SELL)
    except BelowOneTick as error:
        return NotSent(reason=str(error))
    return Sending(lots=lots, order_type=OrderType.LIMIT, limit_price=limit)


def _tick(portfolio: Portfolio, order: Order) -> Decimal | None:
    instrument, listed = portfolio.settings.instruments.get(order.instrument), portfolio.contracts.get(order.instrument)
    if instrument is None:
        return None
    month = None if order.plan is None else order.plan.contract_month
    contract = None if listed is None or order.leg is None else listed.of_month(month)
    return instrument.tick if contract is None or contract.option_tick is None else contract.option_tick


def _lots_at(order: Order, quote: Decimal, rules: Execution) -> int | NotSent:
    """A base is cut so that its risk is what was decided, where the market has made a lot riskier; a pyramid is refused."""
    assert order.plan is not None  # noqa: S101 - an entry has a plan
    if order.plan.stop is None:
        return order.lots
    planned = order.side.sign * (order.reference_price - order.plan.stop)
    risk = order.side.sign * (quote - order.plan.stop)
    if risk <= 0:
        return NotSent(reason=f"the market at {quote:f} is beyond the stop {order.plan.stop:f}")
    if planned <= 0 or product(risk, 100) <= product(planned, 100 + rules.risk_growth_percent):
        return order.lots
    grown = f"risk per lot grew by {quotient(product(risk - planned, 100), planned):.2f} %"
    lots = int(Fraction(planned) * order.lots / Fraction(risk)) if order.plan.is_base_position else 0
    return lots or NotSent(reason=grown)
