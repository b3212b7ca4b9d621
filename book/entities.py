"""Issuers, sectors, geographies, currencies, and the instruments that the engine does not trade: entered by a person."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from book.identifiers import require_cusip, require_isin
from book.master import engine_instruments
from book.nodes import require_currency
from book.reference_data import ASSET_CLASSES, INSTRUMENT_KINDS, Instrument, ReferenceData
from book.refusals import (
    EntityExists,
    EntityNotValid,
    InstrumentExists,
    InstrumentNotValid,
    UnknownEntity,
    UnknownInstrument,
)
from book.statements import rows_of
from core.errors import Refused

ENTITY_TYPES = ("ISSUER", "SECTOR", "GEOGRAPHY", "CURRENCY")
NAME_LENGTH, TICKER_LENGTH = 200, 30
_SYMBOL = re.compile(r"[A-Z0-9_]{1,29}", re.ASCII)
_SIZES = ("lot_size", "point_value", "tick", "margin_per_lot")
# By the engine, for what it trades: it decides by them, and `sync` would put them back.
_OF_ENGINE = ("kind", "exchange", "currency", *_SIZES)


class EntityFields(Struct, frozen=True, kw_only=True):
    """What may be said of an entity; what is not said stays as it is. `parent_id` is a group of the same type."""

    name: str | None = None
    ticker: str | None = None
    isin: str | None = None
    cusip: str | None = None
    parent_id: int | None = None


class InstrumentFields(Struct, frozen=True, kw_only=True):
    """What may be said of an instrument; what is not said stays as it is. Lots in units, margin in its currency, all above 0."""

    name: str | None = None
    asset_class: str | None = None
    kind: str | None = None
    currency: str | None = None
    exchange: str | None = None
    lot_size: Decimal | None = None
    point_value: Decimal | None = None
    tick: Decimal | None = None
    margin_per_lot: Decimal | None = None
    issuer_id: int | None = None
    sector_id: int | None = None
    isin: str | None = None
    cusip: str | None = None
    is_active: bool | None = None


def entities(session: Session, entity_type: str | None = None) -> list[Mapping[str, Any]]:
    """All of them, or those of one type, by type and name. Raises EntityNotValid."""
    wanted = None if entity_type is None else _entity_type(entity_type)
    return [dict(row) for row in rows_of(session, "entities", entity_type=wanted)]


def add_entity(session: Session, entity_type: str, fields: EntityFields) -> tuple[ReferenceData, bool]:
    """The entity of that type and name, and whether it is new. The same again changes nothing.

    Raises EntityExists where one of that name is another one, EntityNotValid, NotAnIdentifier, UnknownEntity (its group).
    """
    entity_type, values = _entity_type(entity_type), _entity_values(session, entity_type, fields)
    if "name" not in values:
        raise EntityNotValid("`name` is required")
    rows_of(session, "hold_reference")
    own = select(ReferenceData).filter_by(entity_type=entity_type, name=values["name"])
    there = session.scalars(own.order_by(ReferenceData.entity_id)).first()
    if there is not None:
        if any(getattr(there, name) != value for name, value in values.items()):
            raise EntityExists(
                f"`name`: {values['name']!r} is there already, as {there.entity_id}, and is another {entity_type}"
            )
        return there, False
    made = ReferenceData(entity_type=entity_type, **values)
    session.add(made)
    session.flush()
    return made, True


def change_entity(session: Session, entity_id: int, fields: EntityFields) -> tuple[ReferenceData, bool]:
    """The entity as it is from now on, and whether that is otherwise. Raises what add_entity does."""
    rows_of(session, "hold_reference")
    entity = entity_of(session, entity_id)
    values = _entity_values(session, entity.entity_type, fields, own=entity_id)
    named = values.get("name", entity.name)
    others = select(ReferenceData.entity_id).where(
        ReferenceData.entity_type == entity.entity_type,
        ReferenceData.name == named,
        ReferenceData.entity_id != entity_id,
    )
    if named != entity.name and session.scalar(others.limit(1)) is not None:
        raise EntityExists(f"`name`: {named!r} is there already")
    return entity, _changed(session, entity, values)


def entity_of(session: Session, entity_id: int) -> ReferenceData:
    """The entity of that number. Raises UnknownEntity."""
    entity = session.get(ReferenceData, entity_id)
    if entity is None:
        raise UnknownEntity(f"there is no entity {entity_id}")
    return entity


def add_instrument(session: Session, symbol: str, fields: InstrumentFields) -> tuple[Instrument, bool]:
    """The instrument of that symbol in the master, and whether it is new. The same again changes nothing.

    `asset_class`, `kind` and `currency` are required. Raises InstrumentExists where another one has that symbol,
    InstrumentNotValid, NotAnIdentifier, UnknownEntity (its issuer or sector).
    """
    if not _SYMBOL.fullmatch(symbol):
        raise InstrumentNotValid(f"`symbol`: {symbol[:40]!r} is not 1 to 29 of A-Z, 0-9 and _")
    values = {"name": symbol.replace("_", " ").title(), **_instrument_values(session, fields)}
    for required in ("asset_class", "kind", "currency"):
        if required not in values:
            raise InstrumentNotValid(f"`{required}` is required")
    rows_of(session, "hold_reference")
    there = session.scalar(select(Instrument).filter_by(symbol=symbol))
    if there is not None:
        if any(getattr(there, name) != value for name, value in values.items()):
            raise InstrumentExists(f"`symbol`: {symbol} is there already, and is another one")
        return there, False
    made = Instrument(symbol=symbol, **values)
    session.add(made)
    session.flush()
    return made, True


def change_instrument(session: Session, symbol: str, fields: InstrumentFields) -> tuple[Instrument, bool]:
    """The instrument as it is from now on, and whether that is otherwise.

    What the engine trades is what its settings say; name, asset class, issuer, sector and identifiers are the book's.
    Raises UnknownInstrument, and what add_instrument does.
    """
    instrument = session.scalar(select(Instrument).filter_by(symbol=symbol).with_for_update())
    if instrument is None:
        raise UnknownInstrument(f"`instrument`: {symbol[:40]} is not in the master of instruments")
    values = _instrument_values(session, fields)
    taken = [name for name in _OF_ENGINE if name in values and values[name] != getattr(instrument, name)]
    if taken and symbol in engine_instruments(session):
        raise InstrumentNotValid(f"`{taken[0]}`: the engine trades {symbol}, and its settings say what it is")
    return instrument, _changed(session, instrument, values)


def _changed(session: Session, row: ReferenceData | Instrument, values: Mapping[str, Any]) -> bool:
    otherwise = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in otherwise.items():
        setattr(row, name, value)
    session.flush()
    return bool(otherwise)


def _given(fields: Struct) -> dict[str, Any]:
    named = {name: getattr(fields, name) for name in fields.__struct_fields__}
    return {name: value for name, value in named.items() if value is not None}


def _entity_values(
    session: Session, entity_type: str, fields: EntityFields, *, own: int | None = None
) -> dict[str, Any]:
    given = _given(fields)
    values: dict[str, Any] = {**_named(given, EntityNotValid), **_identifiers(given)}
    if "ticker" in given:
        values["ticker"] = _ticker(given["ticker"], entity_type)
    if entity_type == "CURRENCY" and own is None and "ticker" not in values:
        raise EntityNotValid("`ticker` is required: a currency's letters, such as USD")
    if "parent_id" in given:
        values["parent_entity_id"] = _group(session, given["parent_id"], entity_type, own)
    return values


def _group(session: Session, parent_id: int, entity_type: str, own: int | None) -> int:
    """The group's number: of the same type, and not in what is put into it."""
    above: int | None = parent_id
    while above is not None:
        if above == own:
            raise EntityNotValid(f"`parent_id`: {parent_id} is in {own} itself")
        group = entity_of(session, above)
        if group.entity_type != entity_type:
            raise EntityNotValid(f"`parent_id`: {parent_id} is a {group.entity_type}, not a {entity_type}")
        above = group.parent_entity_id
    return parent_id


def _instrument_values(session: Session, fields: InstrumentFields) -> dict[str, Any]:
    given = _given(fields)
    values = {**given, **_named(given, InstrumentNotValid), **_identifiers(given)}
    for name, known in (("asset_class", ASSET_CLASSES), ("kind", INSTRUMENT_KINDS)):
        if name in given:
            values[name] = _word(name, given[name], known)
    if "currency" in given:
        values["currency"] = require_currency(given["currency"], "currency")
    if "exchange" in given:
        values["exchange"] = _printable("exchange", given["exchange"], 20, InstrumentNotValid)
    for name in _SIZES:
        if name in given and not given[name] > 0:
            raise InstrumentNotValid(f"`{name}`: {given[name]} is not above 0")
    _require_types(session, given)
    return values


def _word(name: str, given: str, known: Sequence[str]) -> str:
    for word in known:
        if word.upper() == given.upper():
            return word
    raise InstrumentNotValid(f"`{name}`: {given[:40]!r} is none of {', '.join(known)}")


def _require_types(session: Session, given: Mapping[str, Any]) -> None:
    for name, entity_type in (("issuer_id", "ISSUER"), ("sector_id", "SECTOR")):
        if name in given and (found := entity_of(session, given[name]).entity_type) != entity_type:
            raise InstrumentNotValid(f"`{name}`: {given[name]} is a {found}")


def _named(given: Mapping[str, Any], refusal: type[Refused]) -> dict[str, str]:
    return {"name": _printable("name", given["name"], NAME_LENGTH, refusal)} if "name" in given else {}


def _identifiers(given: Mapping[str, Any]) -> dict[str, str]:
    required = {"isin": require_isin, "cusip": require_cusip}
    return {name: require(given[name]) for name, require in required.items() if name in given}


def _ticker(given: str, entity_type: str) -> str:
    if entity_type == "CURRENCY":
        return require_currency(given, "ticker")
    return _printable("ticker", given, TICKER_LENGTH, EntityNotValid)


def _entity_type(given: str) -> str:
    if given.upper() not in ENTITY_TYPES:
        raise EntityNotValid(f"`entity_type`: {given[:20]!r} is none of {', '.join(ENTITY_TYPES)}")
    return given.upper()


def _printable(field: str, given: str, longest: int, refusal: type[Refused]) -> str:
    name = given.strip()
    if not name or len(name) > longest or not name.isprintable():
        raise refusal(f"`{field}` must be 1 to {longest} printable characters")
    return name
