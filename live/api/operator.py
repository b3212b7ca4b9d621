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
from live.answers import AnswerKind
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


class Operator:
    """The commands; each needs `Authorization: Bearer` with the token, on loopback too."""

    def __init__(self, engine: Engine, token: str) -> None:
        self._engine = engine
        self._token = token.encode()

    def blueprint(self) -> Blueprint:
        """The routes of the commands."""
        blueprint = Blueprint("operator", __name__)
        blueprint.before_request(self._require_token)
        blueprint.post("/halt")(self.halt)
        blueprint.post("/resume")(self.resume)
        blueprint.post("/positions/<position_id>/close")(self.close)
        blueprint.post("/capital")(self.capital)
        return blueprint

    def halt(self) -> Response:
        """No entries until resumed."""
        body = CommandBody("reason", "request_id")
        return self._carry_out(Halt(request_id=body.request_id(), reason=body.text("reason", REASON_LENGTH)))

    def resume(self) -> Response:
        """Entries again, or the end of one instrument's freeze."""
        body = CommandBody("instrument", "request_id")
        return self._carry_out(Resume(request_id=body.request_id(), instrument=body.instrument()))

    def close(self, position_id: str) -> Response:
        """Close one position, or `ALL`, at the given price or at the marks."""
        body = CommandBody("price", "reason", "request_id")
        request_id, price = body.request_id(), _price_of(body)
        reason = body.text("reason", REASON_LENGTH) or "OPERATOR"
        if position_id != ALL_LAYERS:
            find_position(self._engine, position_id)
        elif price is not None and len(self._engine.portfolio.by_instrument) > 1:
            raise malformed("`price` cannot be one for several instruments: close them one by one", "price")
        return self._carry_out(
            ClosePositions(request_id=request_id, position_id=position_id, price=price, reason=reason)
        )

    def capital(self) -> Response:
        """A deposit, or with a negative amount a withdrawal."""
        body = CommandBody("amount", "note", "request_id")
        amount = body.required_number("amount", scale=MONEY_SCALE, limit=MONEY_LIMIT)
        return self._carry_out(
            MoveCapital(request_id=body.request_id(), amount=money(amount), note=body.text("note", NOTE_LENGTH))
        )

    def _require_token(self) -> None:
        if request.method == "OPTIONS":  # tells the methods, does nothing
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(errors="replace"), self._token):
            log.warning("operator refused", path=request.path, remote=request.remote_addr)
            raise HttpRefused(
                401,
                "unauthorized",
                "the operator's token is required: `Authorization: Bearer TOKEN`",
                headers={"WWW-Authenticate": 'Bearer realm="portfolio manager"'},
            )
        Query(self._engine.portfolio_name)

    def _carry_out(self, command: Command) -> Response:
        answer = self._engine.command(command)
        if answer.kind is AnswerKind.UNKNOWN and command.request_id is None:
            # Nothing tells a repeat of it from a second command.
            raise HttpRefused(
                503,
                "unknown",
                "unknown: it may have been done; see GET /journal first, and give a `request_id` next time",
            )
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


def _price_of(body: CommandBody) -> Decimal | None:
    price = body.number("price", scale=PRICE_SCALE, limit=PRICE_LIMIT)
    if price is None:
        return None
    if price <= 0:
        raise BodyRefused("`price` must be above 0", field="price")
    return to_price(price)
