"""/api/book/positions: positions that a person enters, corrects and closes."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import structlog
from flask import Blueprint, Response

from core.models import PRICE_LIMIT
from core.numbers import MONEY_SCALE, PRICE_SCALE
from live.api.access import Access
from live.api.bodies import CommandBody
from live.api.encoding import respond, respond_with_etag
from live.api.errors import HttpRefused, malformed
from live.api.pages import cut
from live.api.queries import LARGEST_ID, Query
from live.operators import Operator, Role
from live.portfolios import Portfolios

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from book.portfolio_management import PortfolioPosition

Sessions = Callable[[], AbstractContextManager["Session"]]
NAME_LENGTH, NOTES_LENGTH = 100, 2000
_MOST_MONEY, _MOST_UNITS = Decimal(10) ** 16, Decimal(10) ** 20
_DETAILS = ("fx_rate", "costs", "strategies", "risks", "notes")
_STATUSES: Mapping[str, bool | None] = {"open": True, "closed": False, "all": None}
log = structlog.get_logger("live.book")


class BookPositions:
    """The views and commands; `sessions` answers what the book refuses, `clock` tells now."""

    def __init__(
        self, portfolios: Portfolios, access: Access, sessions: Sessions, clock: Callable[[], datetime]
    ) -> None:
        self._portfolios = portfolios
        self._access = access
        self._sessions = sessions
        self._clock = clock

    def blueprint(self) -> Blueprint:
        """Its routes."""
        blueprint = Blueprint("book_positions", __name__, url_prefix="/api/book")
        blueprint.get("/positions")(self.list_positions)
        blueprint.post("/positions")(self.add)
        blueprint.post("/positions/<entered_id>")(self.change)
        blueprint.post("/positions/<entered_id>/close")(self.close)
        return blueprint

    def list_positions(self) -> Response:
        """Those that were entered, the latest first, with their last marks."""
        query = Query(self._portfolios, "status", "limit", "before")
        status, limit, before = query.text("status") or "open", query.limit(), query.whole("before", LARGEST_ID)
        if status not in _STATUSES:
            raise malformed(f"`status` must be one of {', '.join(_STATUSES)}", "status")
        with self._sessions() as session:
            from book.entered_positions import entered_positions

            rows = entered_positions(session, is_open=_STATUSES[status], limit=limit + 1, before=before)
        return respond_with_etag(cut("positions", "id", limit, rows))

    def add(self) -> Response:
        """A position is entered."""
        operator = self._require_trader()
        body = CommandBody(
            "node", "instrument", "direction", "quantity", "price", "at", "currency", *_DETAILS, "request_id"
        )
        node = body.required("node", _node(body))
        given: dict[str, Any] = {
            "instrument": body.required("instrument", body.instrument()),
            "direction": body.required("direction", body.text("direction", NAME_LENGTH)),
            "quantity": body.required("quantity", _units(body)),
            "price": body.required("price", body.price("price")),
            "at": _time(body),
            "currency": body.text("currency", NAME_LENGTH),
            "request_id": body.request_id(),
        }
        details = _given(body)
        with self._sessions() as session:
            from book.entered_positions import NewPosition, add_position

            position, is_new = add_position(session, NewPosition(node=node, **given, **details), self._clock())
            told = _told(position, changed=is_new)
        log.info("position entered", position=told["id"], operator=operator.shown, is_new=is_new)
        return respond(told)

    def change(self, entered_id: str) -> Response:
        """A position is corrected."""
        operator = self._require_trader()
        body = CommandBody("node", "quantity", "price", *_DETAILS)
        named = {"node": _node(body), "quantity": _units(body), "price": body.price("price"), **_given(body)}
        given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if not given:
            raise malformed("what is to be otherwise is required", "quantity")
        number = _number(entered_id)
        with self._sessions() as session:
            from book.entered_positions import Correction, change_position

            position, changed = change_position(session, number, Correction(**given))
            told = _told(position, changed=changed)
        log.info("position corrected", position=number, operator=operator.shown, changed=changed)
        return respond(told)

    def close(self, entered_id: str) -> Response:
        """A position is closed whole."""
        operator = self._require_trader()
        body = CommandBody("price", "at", "costs")
        price, at, costs = body.required("price", body.price("price")), _time(body), _costs(body)
        number = _number(entered_id)
        with self._sessions() as session:
            from book.entered_positions import close_position

            now = self._clock()
            position, changed = close_position(session, number, price, at or now, now, costs=costs or Decimal(0))
            told = _told(position, changed=changed)
        log.info("position closed", position=number, operator=operator.shown, changed=changed)
        return respond(told)

    def _require_trader(self) -> Operator:
        operator = self._access.require(Role.TRADER)
        Query(self._portfolios)
        return operator


def _given(body: CommandBody) -> dict[str, Any]:
    """What may be said of a position and is."""
    found = {
        "fx_rate": body.price("fx_rate"),
        "costs": _costs(body),
        "strategies": body.numbers("strategies", scale=PRICE_SCALE, limit=PRICE_LIMIT),
        "risks": body.numbers("risks", scale=PRICE_SCALE, limit=_MOST_MONEY),
        "notes": body.text("notes", NOTES_LENGTH),
    }
    return {name: value for name, value in found.items() if value is not None}


def _node(body: CommandBody) -> int | None:
    number = body.number("node", scale=0, limit=PRICE_LIMIT)
    if number is not None and not 0 < number <= LARGEST_ID:
        raise malformed("`node` must be a node's number", "node")
    return None if number is None else int(number)


def _units(body: CommandBody) -> Decimal | None:
    quantity = body.number("quantity", scale=PRICE_SCALE, limit=_MOST_UNITS)
    if quantity is not None and quantity <= 0:
        raise malformed("`quantity` must be above 0", "quantity")
    return quantity


def _costs(body: CommandBody) -> Decimal | None:
    return body.number("costs", scale=MONEY_SCALE, limit=_MOST_MONEY)


def _time(body: CommandBody) -> datetime | None:
    given = body.text("at", NAME_LENGTH)
    try:
        time = None if given is None else datetime.fromisoformat(given)
    except ValueError:
        time = None
    if given is not None and (time is None or time.utcoffset() is None):
        raise malformed("`at` must be a time with its zone such as 2026-01-14T06:15:00Z", "at")
    return time


def _number(given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) < len(str(LARGEST_ID)) and int(given)):
        raise HttpRefused(404, "unknown_position", "there is no such position")
    return int(given)


def _told(position: "PortfolioPosition", *, changed: bool) -> dict[str, Any]:
    names = ("id", "notional_base", "notional_usd", "entry_fx_rate", "realized_pnl_base", "is_open")
    return {**{name: getattr(position, name) for name in names}, "changed": changed}
