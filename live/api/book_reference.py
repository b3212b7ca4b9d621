"""/api/book: what there is besides what the engine trades, and what was known on a day."""

from functools import partial
from typing import Any

import structlog
from flask import Blueprint, Response

from core.models import PRICE_LIMIT
from core.numbers import MONEY_SCALE
from live.api.bodies import CommandBody
from live.api.book import NAME_LENGTH, BookApi
from live.api.book_query import day_in, number_in
from live.api.encoding import respond, respond_with_etag
from live.api.errors import HttpRefused, malformed
from live.api.queries import LARGEST_ID

ENTITY_TYPES = ("ISSUER", "SECTOR", "GEOGRAPHY", "CURRENCY")
_IDENTIFIERS = ("isin", "cusip")
_PRICES = ("lot_size", "point_value", "tick")
_WORDS = ("name", "asset_class", "kind", "currency", "exchange")
_LONGEST_NAME = 200
log = structlog.get_logger("live.book")


class BookReference:
    """The views and commands; `api` has the book's session, and what it refuses."""

    def __init__(self, api: BookApi) -> None:
        self._api = api

    def blueprint(self) -> Blueprint:
        """Its routes."""
        blueprint = Blueprint("book_reference", __name__, url_prefix="/api/book")
        blueprint.get("/entities")(self.list_entities)
        blueprint.post("/entities")(self.add_entity)
        blueprint.post("/entities/<entity_id>")(self.change_entity)
        blueprint.post("/instruments")(self.add_instrument)
        blueprint.post("/instruments/<instrument>")(self.change_instrument)
        for kind in ("ratings", "prices", "servicing"):
            blueprint.add_url_rule(f"/{kind}", kind, partial(self.show_known, kind), methods=["GET"])
        blueprint.get("/uploads/<batch_id>/lineage")(self.show_lineage)
        return blueprint

    def list_entities(self) -> Response:
        """Issuers, sectors, geographies, currencies, by type and name."""
        query = self._api.query("type")
        entity_type = query.text("type")
        if entity_type is not None and entity_type.upper() not in ENTITY_TYPES:
            raise malformed(f"`type` must be one of {', '.join(ENTITY_TYPES)}", "type")
        with self._api.session() as session:
            from book.entities import entities

            found = entities(session, entity_type)
        return respond_with_etag({"entities": found})

    def add_entity(self) -> Response:
        """A new one."""
        operator = self._api.require_trader()
        body = CommandBody("entity_type", "name", "ticker", *_IDENTIFIERS, "parent_id")
        entity_type = body.required("entity_type", body.text("entity_type", NAME_LENGTH))
        fields = _entity_fields(body)
        with self._api.session() as session:
            from book.entities import EntityFields, add_entity

            made, is_new = add_entity(session, entity_type, EntityFields(**fields))
            entity_id = made.entity_id
        log.info("entity added", entity=entity_id, operator=operator.shown, is_new=is_new)
        return respond({"entity_id": entity_id, "changed": is_new})

    def change_entity(self, entity_id: str) -> Response:
        """Another name, ticker, number or group."""
        operator = self._api.require_trader()
        fields = _some(_entity_fields(CommandBody("name", "ticker", *_IDENTIFIERS, "parent_id")), "name")
        number = number_in(entity_id)
        if number is None:
            raise HttpRefused(404, "unknown_entity", "there is no such entity")
        with self._api.session() as session:
            from book.entities import EntityFields, change_entity

            _, changed = change_entity(session, number, EntityFields(**fields))
        log.info("entity changed", entity=number, operator=operator.shown, changed=changed)
        return respond({"entity_id": number, "changed": changed})

    def add_instrument(self) -> Response:
        """A new one in the master."""
        operator = self._api.require_trader()
        body = CommandBody("symbol", *_INSTRUMENT_FIELDS)
        symbol = body.required("symbol", body.text("symbol", NAME_LENGTH)).upper()
        fields = _instrument_fields(body)
        with self._api.session() as session:
            from book.entities import InstrumentFields, add_instrument

            _, is_new = add_instrument(session, symbol, InstrumentFields(**fields))
        log.info("instrument added", instrument=symbol, operator=operator.shown, is_new=is_new)
        return respond({"symbol": symbol, "changed": is_new})

    def change_instrument(self, instrument: str) -> Response:
        """Other words for one that is there."""
        operator = self._api.require_trader()
        fields = _some(_instrument_fields(CommandBody(*_INSTRUMENT_FIELDS)), "name")
        symbol = instrument.upper()
        with self._api.session() as session:
            from book.entities import InstrumentFields, change_instrument

            _, changed = change_instrument(session, symbol, InstrumentFields(**fields))
        log.info("instrument changed", instrument=symbol, operator=operator.shown, changed=changed)
        return respond({"symbol": symbol, "changed": changed})

    def show_known(self, kind: str) -> Response:
        """The newest word of each on or before a day."""
        query = self._api.query("as_of")
        day = day_in(query.text("as_of"), "as_of") or self._api.today()
        with self._api.session() as session:
            from book.known import known_on

            found = known_on(session, kind, day)
        return respond_with_etag({"as_of": day, kind: found})

    def show_lineage(self, batch_id: str) -> Response:
        """Where an upload and its feeds came from."""
        self._api.query()
        number = number_in(batch_id)
        if number is None:
            raise HttpRefused(404, "not_found", "there is no such upload")
        with self._api.session() as session:
            from book.known import lineage_of
            from book.uploads.batches import UnknownBatch

            try:
                found = lineage_of(session, number)
            except UnknownBatch as error:
                raise HttpRefused(404, "not_found", str(error)) from error
        return respond_with_etag({"lineage": found})


_INSTRUMENT_FIELDS = (*_WORDS, *_PRICES, "margin_per_lot", "issuer_id", "sector_id", *_IDENTIFIERS, "is_active")


def _entity_fields(body: CommandBody) -> dict[str, Any]:
    return {
        "name": body.text("name", _LONGEST_NAME),
        **{name: body.text(name, NAME_LENGTH) for name in ("ticker", *_IDENTIFIERS)},
        "parent_id": _number(body, "parent_id"),
    }


def _instrument_fields(body: CommandBody) -> dict[str, Any]:
    margin = body.number("margin_per_lot", scale=MONEY_SCALE, limit=PRICE_LIMIT)
    return {
        "name": body.text("name", _LONGEST_NAME),
        **{name: body.text(name, NAME_LENGTH) for name in (*_WORDS[1:], *_IDENTIFIERS)},
        **{name: body.price(name) for name in _PRICES},
        "margin_per_lot": margin,
        "issuer_id": _number(body, "issuer_id"),
        "sector_id": _number(body, "sector_id"),
        "is_active": body.flag("is_active"),
    }


def _some(fields: dict[str, Any], named: str) -> dict[str, Any]:
    if all(value is None for value in fields.values()):
        raise malformed("what is to be otherwise is required", named)
    return fields


def _number(body: CommandBody, name: str) -> int | None:
    number = body.number(name, scale=0, limit=PRICE_LIMIT)
    if number is not None and not 0 < number <= LARGEST_ID:
        raise malformed(f"`{name}` must be an entity's number", name)
    return None if number is None else int(number)
