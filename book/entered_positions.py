"""Positions that a person enters: added, corrected and closed by hand, in two currencies and with their risk at entry."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from book.dollar_rates import DOLLAR, DollarRates, in_dollars
from book.entered_marks import forget_marks, value_of
from book.nodes import node_of, require_currency
from book.portfolio_management import NotWeights, PortfolioPosition
from book.reference_data import Instrument
from book.refusals import UnknownInstrument
from book.statements import rows_of
from core.errors import Refused
from core.numbers import MONEY_SCALE, PRICE_SCALE, ZERO, decimals_of

SOURCE = "manual"
DIRECTIONS = ("LONG", "SHORT")
NOTES_LENGTH = 2000
STRATEGY_LENGTH = 50
REQUEST_ID_LENGTH = 100
# Each number's decimals, and how many digits it has before the point.
_MONEY, _PRICE, _QUANTITY, _YEARS = (MONEY_SCALE, 16), (PRICE_SCALE, 10), (8, 20), (6, 6)
RISKS = {
    "dv01": _MONEY,
    "delta": _PRICE,
    "convexity": _PRICE,
    "var_contribution": _MONEY,
    "spread_duration": _YEARS,
}


class UnknownPosition(Refused):
    """there is no such position"""


class PositionNotValid(Refused):
    """something of a position is not what it has to be"""


class OtherPosition(Refused):
    """another position was entered under that request_id"""


class PositionClosed(Refused):
    """a position that is closed stays as it is"""


class NotEntered(Refused):
    """only what a person entered is changed by hand"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPosition:
    """What is entered, `at` an aware time or now: `quantity` in units, `price` in points, `fx_rate` how much of the currency
    one dollar was. Without a currency it is the instrument's, without a rate the book's of that day, if it has one. `risks` as in
    RISKS; each strategy has its weight, and they add up to 1."""

    node: int
    instrument: str
    direction: str
    quantity: Decimal
    price: Decimal
    at: datetime | None = None
    currency: str | None = None
    fx_rate: Decimal | None = None
    costs: Decimal = ZERO
    risks: Mapping[str, Decimal] = field(default_factory=dict)
    strategies: Mapping[str, Decimal] = field(default_factory=dict)
    notes: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What is to be otherwise; None stays as it is."""

    node: int | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None
    fx_rate: Decimal | None = None
    costs: Decimal | None = None
    risks: Mapping[str, Decimal] | None = None
    strategies: Mapping[str, Decimal] | None = None
    notes: str | None = None


def add_position(session: Session, new: NewPosition, now: datetime) -> tuple[PortfolioPosition, bool]:
    """The position, and whether it is new: the same `request_id` with the same position adds none.

    Raises UnknownNode, UnknownInstrument, PositionNotValid, NotWeights, OtherPosition.
    """
    values = _values(session, new, now)
    adding = insert(PortfolioPosition).values(**values, source=SOURCE, request_id=_request_id(new.request_id))
    added = session.scalar(adding.on_conflict_do_nothing(index_elements=["request_id"]).returning(PortfolioPosition.id))
    if added is not None:
        return session.get_one(PortfolioPosition, added), True
    own = select(PortfolioPosition).where(PortfolioPosition.request_id == new.request_id)
    there = session.scalars(own).one()
    # Corrected or closed since, it is the same still: what it was entered as is not kept twice.
    same = ["instrument_id", "direction", "base_ccy", *([] if new.at is None else ["entry_timestamp"])]
    if any(getattr(there, name) != values[name] for name in same):
        raise OtherPosition(f"`request_id`: {new.request_id} entered position {there.id}, another one")
    return there, False


def change_position(session: Session, position_id: int, correction: Correction) -> tuple[PortfolioPosition, bool]:
    """The position corrected, and whether anything changed. Its marks are reckoned anew.

    Raises UnknownPosition, NotEntered, PositionClosed, UnknownNode, PositionNotValid, NotWeights.
    """
    position = _entered(session, position_id)
    if not position.is_open:
        raise PositionClosed(f"position {position_id} is closed")
    given = {each.name: getattr(correction, each.name) for each in fields(correction)}
    given = {name: value for name, value in given.items() if value is not None}
    before = _as_new(session, position)
    asked = NewPosition(**{**before, **given})
    values = _values(session, asked, position.entry_timestamp)
    changed = {name: value for name, value in values.items() if getattr(position, name) != value}
    for name, value in changed.items():
        setattr(position, name, value)
    session.flush()
    if changed.keys() & {"quantity", "entry_price", "notional_base"}:
        forget_marks(session, position=position_id, since=position.entry_timestamp.date())
    return position, bool(changed)


def close_position(
    session: Session, position_id: int, price: Decimal, at: datetime, now: datetime, *, costs: Decimal = ZERO
) -> tuple[PortfolioPosition, bool]:
    """The position closed whole at a price (points) and an aware time, at costs of its own; whether it was open before.

    Raises UnknownPosition, NotEntered, PositionNotValid, and PositionClosed where it was closed otherwise.
    """
    position = _entered(session, position_id)
    _number("price", price, _PRICE, least=0)
    _number("costs", costs, _MONEY)
    at = _time("at", at, now)
    if not position.is_open:
        if (position.exit_price, position.exit_timestamp) != (price, at):
            raise PositionClosed(
                f"position {position_id} was closed at {position.exit_price}, {position.exit_timestamp}"
            )
        return position, False
    if at < position.entry_timestamp:
        raise PositionNotValid(f"`at`: {at.isoformat()} is before its entry, {position.entry_timestamp.isoformat()}")
    instrument = session.get_one(Instrument, position.instrument_id)
    value = value_of(instrument, position.quantity, price)
    gained = value - position.notional_base if position.direction == "LONG" else position.notional_base - value
    rate = DollarRates(session, [position.base_ccy], [at.date()]).on(position.base_ccy, at.date())
    position.is_open, position.exit_timestamp, position.exit_price, position.exit_fx_rate = False, at, price, rate
    position.transaction_costs_base += costs
    position.realized_pnl_base = gained - position.transaction_costs_base
    position.realized_pnl_usd = in_dollars(position.realized_pnl_base, rate)
    for name, amount in (("price", position.realized_pnl_base), ("at", position.realized_pnl_usd or ZERO)):
        _number(name, amount, _MONEY)
    session.flush()
    forget_marks(session, position=position_id, since=at.date())
    return position, True


def entered_positions(
    session: Session, *, is_open: bool | None, limit: int, before: int | None = None
) -> list[Mapping[str, Any]]:
    """The latest of those that were entered, with their last mark: `is_stale` where its price is of a day before."""
    asked = {"is_open": is_open, "limit": limit, "before": before}
    return [dict(row) for row in rows_of(session, "entered_positions", **asked)]


def _entered(session: Session, position_id: int) -> PortfolioPosition:
    position = session.get(PortfolioPosition, position_id, with_for_update=True)
    if position is None:
        raise UnknownPosition(f"there is no position {position_id}")
    if position.source != SOURCE:
        raise NotEntered(f"position {position_id} is of source {position.source}: only what was entered is changed")
    return position


def _as_new(session: Session, position: PortfolioPosition) -> dict[str, Any]:
    """The position as it would be entered now."""
    risks = {name: getattr(position, f"entry_{name}") for name in RISKS}
    return {
        "node": position.portfolio_node_id,
        "instrument": session.get_one(Instrument, position.instrument_id).symbol,
        "direction": position.direction,
        "quantity": position.quantity,
        "price": position.entry_price,
        "at": position.entry_timestamp,
        "currency": position.base_ccy,
        "fx_rate": position.entry_fx_rate,
        "costs": position.transaction_costs_base,
        "risks": {name: value for name, value in risks.items() if value is not None},
        "strategies": {name: Decimal(weight) for name, weight in position.strategy_weights.items()},
        "notes": position.notes,
    }


def _values(session: Session, new: NewPosition, now: datetime) -> dict[str, Any]:
    """Its columns. Raises as `add_position`."""
    node = node_of(session, new.node)
    instrument = session.scalar(select(Instrument).where(Instrument.symbol == new.instrument.upper()))
    if instrument is None:
        raise UnknownInstrument(f"`instrument`: the master has no {new.instrument[:29]!r}")
    if new.direction.upper() not in DIRECTIONS:
        raise PositionNotValid(f"`direction` must be one of {', '.join(DIRECTIONS)}")
    currency = instrument.currency if new.currency is None else require_currency(new.currency, "currency")
    _number("quantity", new.quantity, _QUANTITY, least=0)
    _number("price", new.price, _PRICE, least=0)
    _number("costs", new.costs, _MONEY)
    notional = value_of(instrument, new.quantity, new.price)
    _number("quantity", notional, _MONEY)
    at = _time("at", new.at or now, now)
    rate = _rate(session, new, currency, at)
    _number("fx_rate", in_dollars(notional, rate) or ZERO, _MONEY)
    return {
        "portfolio_node_id": node.portfolio_node_id,
        "instrument_id": instrument.instrument_id,
        "direction": new.direction.upper(),
        "quantity": new.quantity,
        "base_ccy": currency,
        "notional_base": notional,
        "notional_usd": in_dollars(notional, rate),
        "entry_fx_rate": rate,
        "entry_price": new.price,
        "entry_timestamp": at,
        "transaction_costs_base": new.costs,
        "notes": _notes(new.notes),
        **_risks(new.risks),
        **_strategies(new.strategies),
    }


def _rate(session: Session, new: NewPosition, currency: str, at: datetime) -> Decimal | None:
    if new.fx_rate is None:
        return DollarRates(session, [currency], [at.date()]).on(currency, at.date())
    _number("fx_rate", new.fx_rate, _PRICE, least=0)
    if currency == DOLLAR and new.fx_rate != 1:
        raise PositionNotValid("`fx_rate`: one dollar is one dollar")
    return new.fx_rate


def _risks(given: Mapping[str, Decimal]) -> dict[str, Decimal | None]:
    for name in given.keys() - RISKS:
        raise PositionNotValid(f"`risks`: {name[:50]!r} is none of {', '.join(RISKS)}")
    for name, value in given.items():
        _number(name, value, RISKS[name])
    return {f"entry_{name}": given.get(name) for name in RISKS}


def _strategies(given: Mapping[str, Decimal]) -> dict[str, Any]:
    for name, weight in given.items():
        if not (0 < len(name) <= STRATEGY_LENGTH and name.isprintable() and name == name.strip()):
            raise PositionNotValid(f"`strategies`: {name[:STRATEGY_LENGTH]!r} is no strategy's name")
        _number("strategies", weight, _PRICE, least=0)
    if given and sum(given.values()) != 1:
        raise NotWeights(f"`strategies`: the weights of {', '.join(given)} do not add up to 1")
    # Text, so that 0.1 is what it was written as.
    return {"strategy_ids": sorted(given), "strategy_weights": {name: str(given[name]) for name in sorted(given)}}


def _notes(given: str | None) -> str | None:
    text = (given or "").strip() or None
    if text is not None and (len(text) > NOTES_LENGTH or "\0" in text):
        raise PositionNotValid(f"`notes` must be at most {NOTES_LENGTH} characters")
    return text


def _request_id(given: str | None) -> str | None:
    if given is not None and not (given.strip() and given.isprintable() and len(given) <= REQUEST_ID_LENGTH):
        raise PositionNotValid(f"`request_id` must be 1 to {REQUEST_ID_LENGTH} printable characters")
    return given


def _time(name: str, given: datetime, now: datetime) -> datetime:
    if given.utcoffset() is None:
        raise PositionNotValid(f"`{name}`: {given} has no time zone")
    if given > now:
        raise PositionNotValid(f"`{name}`: {given.isoformat()} is in the future")
    return given.astimezone(UTC)


def _number(name: str, given: Decimal, columns: tuple[int, int], *, least: int | None = None) -> None:
    scale, digits = columns
    if not given.is_finite() or decimals_of(given) > scale or abs(given) >= Decimal(10) ** digits:
        raise PositionNotValid(f"`{name}`: {given} has more than {digits} digits before the point, or {scale} behind")
    if least is not None and given <= least:
        raise PositionNotValid(f"`{name}`: {given} must be above {least}")
