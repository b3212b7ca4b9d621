"""POST /halt, /resume, /positions/<id>/close and /capital: the operator's commands, with his token."""

import hmac
from decimal import Decimal

import structlog
from flask import Blueprint, Response, request

from core.inputs import ClosePositions, Command, Halt, MoveCapital, Resume
from core.models import ALL_LAYERS, MONEY_LIMIT, PRICE_LIMIT
from core.numbers import MONEY_SCALE, PRICE_SCALE, money
from core.numbers import price as to_price
from core.strict_json import BodyRefused
from live.api.bodies import CommandBody
from live.api.encoding import respond
from live.api.errors import HttpRefused, malformed
from live.api.positions import find_position
from live.api.queries import Query
from live.api.told import told
from live.ports import Engine

log = structlog.get_logger("live.operator")

REASON_LENGTH = 200
NOTE_LENGTH = 500  # capital_flows.note VARCHAR(500)
_TOLD = ("reason", "position_id", "positions", "lots", "sizing")


def operator_blueprint(engine: Engine, operator_token: str) -> Blueprint:
    """The operator's commands; each needs `Authorization: Bearer` with the token, on loopback too."""
    blueprint = Blueprint("operator", __name__)
    token = operator_token.encode()

    @blueprint.before_request
    def require_token() -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(errors="replace"), token):
            log.warning("operator refused", path=request.path, remote=request.remote_addr)
            raise HttpRefused(
                401,
                "unauthorized",
                "the operator's token is required: `Authorization: Bearer TOKEN`",
                headers={"WWW-Authenticate": 'Bearer realm="portfolio manager"'},
            )
        Query(engine.portfolio_name)

    @blueprint.post("/halt")
    def halt() -> Response:
        body = CommandBody("reason", "request_id")
        return _carry_out(engine, Halt(request_id=body.request_id(), reason=body.text("reason", REASON_LENGTH)))

    @blueprint.post("/resume")
    def resume() -> Response:
        body = CommandBody("instrument", "request_id")
        return _carry_out(engine, Resume(request_id=body.request_id(), instrument=body.instrument()))

    @blueprint.post("/positions/<position_id>/close")
    def close(position_id: str) -> Response:
        body = CommandBody("price", "reason", "request_id")
        price = _price_of(body)
        if position_id != ALL_LAYERS:
            find_position(engine, position_id)
        elif price is not None and len(engine.portfolio.by_instrument) > 1:
            raise malformed("`price` cannot be one for several instruments: close them one by one", "price")
        reason = body.text("reason", REASON_LENGTH) or "OPERATOR"
        return _carry_out(
            engine,
            ClosePositions(request_id=body.request_id(), position_id=position_id, price=price, reason=reason),
        )

    @blueprint.post("/capital")
    def capital() -> Response:
        body = CommandBody("amount", "note", "request_id")
        amount = body.required_number("amount", scale=MONEY_SCALE, limit=MONEY_LIMIT)
        return _carry_out(
            engine,
            MoveCapital(request_id=body.request_id(), amount=money(amount), note=body.text("note", NOTE_LENGTH)),
        )

    return blueprint


def _price_of(body: CommandBody) -> Decimal | None:
    price = body.number("price", scale=PRICE_SCALE, limit=PRICE_LIMIT)
    if price is None:
        return None
    if price <= 0:
        raise BodyRefused("`price` must be above 0", field="price")
    return to_price(price)


def _carry_out(engine: Engine, command: Command) -> Response:
    answer = engine.command(command)
    body = told(answer, {"journal_seq": answer.journal_seq}, _TOLD)
    log.info(
        "operator's command",
        command=type(command).__name__,
        status=body["status"],
        reason=body.get("reason"),
        request_id=command.request_id,
        journal_seq=answer.journal_seq,
        remote=request.remote_addr,
    )
    return respond(body)
