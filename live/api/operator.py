"""The operators' commands: POST /halt, /resume, /capital, /handover, /reconcile and what settles a finding of it,
/rollover, and below /positions and /orders."""

from collections.abc import Callable
from difflib import get_close_matches

import structlog
from flask import Blueprint, Response, g, request
from msgspec.structs import asdict, replace

from core.findings import DIFFERENCES
from core.inputs import (
    ClosePositions,
    Command,
    FindingCommand,
    Freeze,
    Halt,
    MoveCapital,
    ProposalCommand,
    Resume,
    Roll,
)
from core.models import ALL_LAYERS, MONEY_LIMIT
from core.numbers import MONEY_SCALE, money
from core.orders import OrderState
from core.strict_json import BodyRefused
from live.answers import Answer, AnswerKind
from live.api.access import Access
from live.api.bodies import CommandBody
from live.api.encoding import respond
from live.api.errors import HttpRefused, malformed
from live.api.findings import REASON_LENGTH, SETTLED_BY
from live.api.positions import find_position
from live.api.proposals import DECIDED_BY, require_proposal
from live.api.queries import Query
from live.api.told import told
from live.brokers.port import BrokerAway, BrokerRefused, OutcomeUnknown
from live.operators import Role
from live.portfolios import Portfolios
from live.ports import Engine

log = structlog.get_logger("live.operator")

_RESOLUTIONS = ("cancelled", "rejected", "filled")
POSITION_ID_LENGTH = 50  # portfolio_positions.position_id VARCHAR(50)
NOTE_LENGTH = 500  # capital_flows.note VARCHAR(500)
_TOLD = ("reason", "position_id", "positions", "lots", "sizing")


# All else is a trader's.
_OF_ADMINISTRATORS = frozenset({"operator.capital", "operator.handover"})


class OperatorCommands:
    """Each needs an operator of the right role, on loopback too."""

    def __init__(self, portfolios: Portfolios, access: Access) -> None:
        self._portfolios = portfolios
        self._access = access

    @property
    def _engine(self) -> Engine:
        """The engine of the portfolio that this request is for: one from its beginning to its end."""
        engine: Engine = g.engine
        return engine

    def blueprint(self) -> Blueprint:
        """The routes of the commands."""
        blueprint = Blueprint("operator", __name__)
        blueprint.before_request(self._require_operator)
        blueprint.post("/halt")(self.halt)
        blueprint.post("/resume")(self.resume)
        blueprint.post("/positions/<position_id>/close")(self.close)
        blueprint.post("/capital")(self.capital)
        blueprint.post("/handover")(self.handover)
        blueprint.post("/reconcile")(self.reconcile)
        for name, read in SETTLED_BY.items():
            blueprint.post(f"/reconcile/{name}", endpoint=name)(self._settle(read))
        for name in ("scan", "execute"):
            blueprint.post(f"/rollover/{name}", endpoint=f"rollover_{name}")(self._roll(execute=name == "execute"))
        blueprint.post("/orders/<client_order_id>/resolve")(self.resolve)
        for name, word in DECIDED_BY.items():
            blueprint.post(f"/proposals/<proposal_id>/{name}", endpoint=f"proposal_{name}")(self._decide(word))
        return blueprint

    def halt(self) -> Response:
        """No entries until resumed; with an instrument, none of that one."""
        body = CommandBody("instrument", "reason", "request_id")
        instrument = self._known(body.instrument())
        if instrument is not None:
            reason = body.text("reason", REASON_LENGTH)
            return self._carry_out(Freeze(request_id=body.request_id(), instrument=instrument, reason=reason))
        return self._carry_out(Halt(request_id=body.request_id(), reason=body.text("reason", REASON_LENGTH)))

    def resume(self) -> Response:
        """Entries again, or the end of one instrument's freeze."""
        body = CommandBody("instrument", "request_id")
        return self._carry_out(Resume(request_id=body.request_id(), instrument=self._known(body.instrument())))

    def close(self, position_id: str) -> Response:
        """Close one position, or `ALL`, at the given price or at the marks."""
        body = CommandBody("price", "reason", "request_id")
        request_id, price = body.request_id(), body.price("price")
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

    def handover(self) -> Response:
        """Another instance leads from now on, and this one follows it. No alert is turned away meanwhile."""
        CommandBody("request_id").request_id()
        if self._engine.role == "follower":
            return respond({"status": "follower"})
        if not self._engine.give_lead_away():
            raise HttpRefused(409, "no_follower", "there is no other instance that follows and could lead")
        log.info("operator's command", command="handover", operator=g.operator.shown, remote=request.remote_addr)
        return respond({"status": "handed_over"})

    def reconcile(self) -> Response:
        """The broker's positions beside ours; what differs twice in a row freezes its instrument's entries."""
        CommandBody("request_id").request_id()
        try:
            findings = self._engine.reconcile()
        except (BrokerAway, BrokerRefused, OutcomeUnknown) as error:
            raise HttpRefused(503, "broker_away", f"the broker's positions cannot be read: {error}") from error
        if findings is None:
            raise HttpRefused(409, "no_broker", "there is no broker: fills come from the decisions themselves")
        return respond(
            {
                "findings": [asdict(finding) for finding in findings],
                "mismatches": sum(finding.kind in DIFFERENCES for finding in findings),
            }
        )

    def _roll(self, *, execute: bool) -> Callable[[], Response]:
        """What is due to leave its contract today is said and marked, or rolled; or the one position that is named."""

        def view() -> Response:
            body = CommandBody("position_id", "request_id")
            position_id = body.text("position_id", POSITION_ID_LENGTH)
            if position_id is not None:
                find_position(self._engine, position_id)
            day = self._engine.exchange_day()
            return self._carry_out(
                Roll(request_id=body.request_id(), day=day, execute=execute, position_id=position_id)
            )

        return view

    def _settle(self, read: Callable[[], FindingCommand]) -> Callable[[], Response]:
        return lambda: self._carry_out(read())

    def _decide(self, word: Callable[[str], ProposalCommand]) -> Callable[[str], Response]:
        def view(proposal_id: str) -> Response:
            command = word(proposal_id)
            require_proposal(self._engine, proposal_id)
            return self._carry_out(command)

        return view

    def resolve(self, client_order_id: str) -> Response:
        """What became of an order that nobody knows of, as the operator saw it at the broker: the end of it.

        `lots` and `price` are what was filled besides what is booked already, together or not at all.
        """
        body = CommandBody("state", "lots", "price", "broker_order_id", "request_id")
        state = body.text("state", 20)
        if state not in _RESOLUTIONS:
            raise malformed(f"`state` must be one of {', '.join(_RESOLUTIONS)}", "state")
        lots, price = body.lots(), body.price("price")
        if (lots is None) != (price is None):
            raise malformed("`lots` (above 0) and `price` come together", "lots")
        if state == OrderState.FILLED and lots is None:
            raise malformed("`lots` and `price` are needed: what was filled and is not booked yet", "lots")
        if self._engine.reads.order(client_order_id) is None:
            raise HttpRefused(404, "not_found", "there is no order of this id")
        request_id = body.request_id()
        answer = self._engine.resolve(
            client_order_id,
            OrderState(state),
            lots=lots or 0,
            price=price,
            broker_order_id=body.text("broker_order_id", 100),
            request_id=request_id or f"by-hand-{state}",
        )
        return self._told(answer, "resolve", request_id)

    def _known(self, instrument: str | None) -> str | None:
        """The instrument as given; refused where it is neither configured nor known from before (frozen, or open)."""
        portfolio = self._engine.portfolio
        configured = portfolio.settings.instruments
        if instrument is None or any(
            instrument in known
            for known in (configured, portfolio.pyramiding, portfolio.by_instrument, portfolio.orders_by_instrument)
        ):
            return instrument
        near = get_close_matches(instrument, configured, n=1)
        suggestion = f"; did you mean {near[0]}?" if near else ""
        raise BodyRefused(
            f"`instrument` {instrument} is not configured{suggestion}", code="unknown_instrument", field="instrument"
        )

    def _told(self, answer: Answer, command: str, request_id: str | None) -> Response:
        body = told(answer, {"journal_seq": answer.journal_seq}, _TOLD)
        log.info(
            "operator's command",
            command=command,
            status=body["status"],
            reason=body.get("reason"),
            request_id=request_id,
            operator=g.operator.shown,
            journal_seq=answer.journal_seq,
            remote=request.remote_addr,
        )
        return respond(body)

    def _require_operator(self) -> None:
        if request.method == "OPTIONS":  # tells the methods, does nothing
            return
        role = Role.ADMIN if request.endpoint in _OF_ADMINISTRATORS else Role.TRADER
        g.operator = self._access.require(role)
        g.engine = Query(self._portfolios).engine

    def _carry_out(self, command: Command) -> Response:
        if g.operator.name is not None:
            command = replace(command, operator=g.operator.name)
        answer = self._engine.command(command)
        if answer.kind is AnswerKind.UNKNOWN and command.request_id is None:
            # Nothing tells a repeat of it from a second command.
            raise HttpRefused(
                503,
                "unknown",
                "unknown: it may have been done; see GET /journal first, and give a `request_id` next time",
            )
        return self._told(answer, type(command).__name__, command.request_id)
