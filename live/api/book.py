"""/api/book: the tree of portfolios with its figures, nodes, instruments and rates. Not part of any one portfolio."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import structlog
from flask import Blueprint, Response

from core.errors import Refused
from core.models import PRICE_LIMIT
from core.numbers import PRICE_SCALE
from live.api.access import Access
from live.api.bodies import CommandBody
from live.api.book_query import currency_of, day_in, node_number
from live.api.encoding import respond, respond_with_etag
from live.api.errors import HttpRefused, malformed
from live.api.queries import LARGEST_ID, Query
from live.book_desk import BookDesk
from live.operators import Operator, Role
from live.portfolios import Portfolios

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from book.roll_up import NodeLine

log = structlog.get_logger("live.book")

NAME_LENGTH = 100
SOURCE_LENGTH = 100
MOST_SNAPSHOTS = 100
# By the refusal's name: its status and code. The field that is wrong is named in the message.
_REFUSED: Mapping[str, tuple[int, str]] = {
    "BookNotMigrated": (409, "book_not_migrated"),
    "UnknownNode": (404, "unknown_node"),
    "UnknownPortfolio": (404, "unknown_portfolio"),
    "UnknownInstrument": (404, "unknown_instrument"),
    "UnknownPosition": (404, "unknown_position"),
    "UnknownEntity": (404, "unknown_entity"),
    "EntityExists": (409, "entity_exists"),
    "InstrumentExists": (409, "instrument_exists"),
    "OtherPosition": (409, "other_position"),
    "PositionClosed": (409, "position_closed"),
    "NotEntered": (409, "not_entered"),
    "NodeExists": (409, "node_exists"),
    "WrongLevel": (409, "wrong_level"),
    "MissingRate": (409, "missing_rate"),
    "CurrencyNeeded": (409, "currency_needed"),
    "NoDays": (409, "no_days"),
    "CapitalNeeded": (409, "capital_needed"),
    "LibraryMissing": (409, "library_missing"),
    "UnknownDay": (404, "unknown_day"),
    "UnknownScenario": (404, "unknown_scenario"),
    "NoSuchBars": (404, "unknown_bars"),
    "NoSuchSession": (404, "unknown_session"),
    "SourceNeeded": (409, "source_needed"),
    "NoTradingDay": (409, "no_trading_day"),
    "BatchRuns": (409, "batch_runs"),
    "StepTaken": (409, "batch_runs"),
    "StepFailed": (409, "step_failed"),
}


# Where the message names none.
_FIELDS: Mapping[str, str] = {
    "UnreadableFile": "file",
    "CannotExport": "format",
    "UnknownDay": "date",
    "NoTradingDay": "date",
}


class BookApi:
    """The book's views and commands."""

    def __init__(self, portfolios: Portfolios, access: Access, desk: BookDesk | None) -> None:
        self._portfolios = portfolios
        self._access = access
        self._desk = desk

    def blueprint(self) -> Blueprint:
        """Its routes."""
        blueprint = Blueprint("book", __name__, url_prefix="/api/book")
        blueprint.get("/tree")(self.show_tree)
        blueprint.get("/nodes")(self.list_nodes)
        blueprint.get("/nodes/<node_id>")(self.show_node)
        blueprint.get("/instruments")(self.list_instruments)
        blueprint.get("/fx")(self.list_rates)
        blueprint.post("/nodes")(self.add_node)
        blueprint.post("/nodes/<node_id>")(self.change_node)
        blueprint.post("/nodes/<node_id>/portfolios")(self.hang_portfolio)
        blueprint.post("/fx")(self.set_rate)
        return blueprint

    # --- views

    def show_tree(self) -> Response:
        """Every node with the figures of all below it."""
        query = Query(self._portfolios, "as_of", "currency")
        day, currency = self._day(query), currency_of(query)
        with self.session() as session:
            from book.roll_up import tree

            found = tree(session, day, currency=currency)
        told = {"as_of": found.as_of, "currency": found.currency, "marked_on": found.marked_on}
        return respond_with_etag({**told, "nodes": [_node_line(line) for line in found.nodes]})

    def show_node(self, node_id: str) -> Response:
        """One node with all below it, its figures by instrument, sector and currency, and when it was kept as it was."""
        query = Query(self._portfolios, "as_of", "currency")
        day, currency, node = self._day(query), currency_of(query), node_number(node_id)
        with self.session() as session:
            from book.roll_up import Dimension, lines, tree
            from book.snapshots import snapshots_of

            found = tree(session, day, currency=currency, node=node)
            by = {
                f"by_{dimension.value}": [
                    {"key": line.key, **asdict(line.figures)}
                    for line in lines(session, dimension, day, currency=found.currency, node=node)
                ]
                for dimension in (Dimension.INSTRUMENT, Dimension.SECTOR, Dimension.CURRENCY)
            }
            kept = snapshots_of(session, node, MOST_SNAPSHOTS)
            snapshots = [
                {"snapshot_id": each.snapshot_id, "as_of_date": each.as_of_date, "taken_at": each.taken_at}
                | {"payload_hash": each.payload_hash}
                for each in kept
            ]
        told = {"as_of": found.as_of, "currency": found.currency, "marked_on": found.marked_on}
        return respond_with_etag(
            {**told, "nodes": [_node_line(line) for line in found.nodes], **by, "snapshots": snapshots}
        )

    def list_nodes(self) -> Response:
        """The nodes without figures, and what hangs on them."""
        day = self._day(Query(self._portfolios, "as_of"))
        with self.session() as session:
            from book.nodes import nodes_on

            found = nodes_on(session, day)
        return respond_with_etag({"nodes": found})

    def list_instruments(self) -> Response:
        """The master of instruments."""
        Query(self._portfolios)
        with self.session() as session:
            from book.master import master

            found = master(session)
        return respond_with_etag({"instruments": found})

    def list_rates(self) -> Response:
        """The newest rate of each pair on or before a day."""
        day = self._day(Query(self._portfolios, "as_of"))
        with self.session() as session:
            from book.fx import rates_on

            found = rates_on(session, day)
        return respond_with_etag({"as_of": day, "rates": found})

    # --- commands

    def add_node(self) -> Response:
        """A new node."""
        operator = self.require_trader()
        body = CommandBody("name", "node_type", "parent_id", "base_ccy")
        name = body.required("name", body.text("name", NAME_LENGTH))
        node_type = body.required("node_type", body.text("node_type", NAME_LENGTH))
        parent_id, base_ccy = _node_id(body, "parent_id"), body.text("base_ccy", NAME_LENGTH)
        with self.session() as session:
            from book.nodes import add_node

            node, is_new = add_node(session, name, node_type, base_ccy=base_ccy, parent_id=parent_id or None)
            node_id = node.portfolio_node_id
        log.info("node added", node=node_id, name=name, operator=operator.shown, is_new=is_new)
        return respond({"portfolio_node_id": node_id, "changed": is_new})

    def change_node(self, node_id: str) -> Response:
        """Another name, another parent, or both."""
        operator = self.require_trader()
        body = CommandBody("name", "parent_id")
        name, parent_id = body.text("name", NAME_LENGTH), _node_id(body, "parent_id")
        if name is None and parent_id is None:
            raise malformed("`name` or `parent_id` is required", "name")
        number = node_number(node_id)
        with self.session() as session:
            from book.nodes import move_node, node_of, rename_node

            node = node_of(session, number)
            before = (node.name, node.parent_id)
            if name is not None:
                rename_node(session, number, name)
            if parent_id is not None:
                move_node(session, number, parent_id or None)
            changed = before != (node.name, node.parent_id)
        log.info("node changed", node=number, operator=operator.shown, changed=changed)
        return respond({"portfolio_node_id": number, "changed": changed})

    def hang_portfolio(self, node_id: str) -> Response:
        """A portfolio of the engine hangs on this node from now on."""
        operator = self.require_trader()
        body = CommandBody("portfolio")
        portfolio = body.required("portfolio", body.text("portfolio", NAME_LENGTH))
        number = node_number(node_id)
        with self.session() as session:
            from book.nodes import hang

            changed = hang(session, portfolio.lower(), number)
        log.info("portfolio hung", portfolio=portfolio, node=number, operator=operator.shown, changed=changed)
        return respond({"portfolio_node_id": number, "changed": changed})

    def set_rate(self) -> Response:
        """A rate as of a day."""
        operator = self.require_trader()
        body = CommandBody("pair", "rate", "as_of", "source")
        pair = body.required("pair", body.text("pair", NAME_LENGTH))
        rate = body.required_number("rate", scale=PRICE_SCALE, limit=PRICE_LIMIT)
        day = day_in(body.text("as_of", NAME_LENGTH), "as_of") or self.desk().today()
        source = body.text("source", SOURCE_LENGTH) or operator.shown
        with self.session() as session:
            from book.fx import set_rate

            changed = set_rate(session, pair, rate, day, source=source)
        log.info("rate set", pair=pair, rate=str(rate), day=day.isoformat(), operator=operator.shown, changed=changed)
        return respond({"pair": pair.upper(), "rate": rate, "as_of_date": day, "changed": changed})

    # --- what they share

    def require_trader(self, *allowed: str) -> Operator:
        """Who asks, if he may change the book; only these parameters may be given."""
        operator = self._access.require(Role.TRADER)
        self.query(*allowed)
        return operator

    def query(self, *allowed: str) -> Query:
        """The request's parameters, of which only these may be given."""
        return Query(self._portfolios, *allowed)

    @contextmanager
    def session(self) -> Iterator["Session"]:
        """A transaction whose refusals are answered as such."""
        try:
            with self.desk().transaction() as session:
                yield session
        except Refused as error:
            raise self.refused(type(error).__name__, str(error)) from error

    def today(self) -> date:
        """The day that is meant where none is named. Raises HttpRefused where there is no book."""
        return self.desk().today()

    def now(self) -> datetime:
        """The clock, where there is a book."""
        return self.desk().now()

    @staticmethod
    def refused(name: str, message: str) -> HttpRefused:
        """A refusal of the book's, by its name, as it is answered."""
        status, code = _REFUSED.get(name, (400, "malformed"))
        return HttpRefused(status, code, message, field=_FIELDS.get(name) or _field_of(message))

    def desk(self) -> BookDesk:
        """The book's own; HttpRefused where there is none."""
        if self._desk is None:
            raise HttpRefused(409, "book_not_migrated", "there is no book of record here")
        return self._desk

    def _day(self, query: Query) -> date:
        return day_in(query.text("as_of"), "as_of") or self.today()


def _node_id(body: CommandBody, name: str) -> int | None:
    """A node's number; 0 is none, which makes what is moved there a root; None where it is absent."""
    number = body.number(name, scale=0, limit=PRICE_LIMIT)
    if number is not None and not 0 <= number <= LARGEST_ID:
        raise malformed(f"`{name}` must be a node's number, or 0 for none", name)
    return None if number is None else int(number)


def _field_of(message: str) -> str | None:
    """The field that a refusal begins with."""
    found = re.match(r"`(\w+)`", message)
    return None if found is None else found[1]


def _node_line(line: "NodeLine") -> dict[str, Any]:
    told = asdict(line)
    figures: dict[str, Any] = told.pop("figures")
    return {**told, **figures}
