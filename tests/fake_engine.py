"""An engine for tests of the HTTP shell: answers what it is told to, and remembers what it was asked."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse

from core.config import RateLimitSettings
from core.errors import DatabaseAway
from core.fingerprint import fingerprint_of
from core.inputs import Command, SignalInput
from core.models import Position, Signal
from core.orders import OrderState
from core.portfolio import Portfolio
from live.answers import Answer, AnswerKind
from live.app import Application, create_app
from live.deliveries import Delivery
from live.links import Links
from live.operators import Operators
from live.portfolios import Portfolios, Served
from live.reckoning import Reckoning
from live.reconcile import Finding
from live.webhook_secrets import WebhookSecrets
from tests.builders import NOON, a_portfolio, a_position

TOKEN = "operator-token-for-tests"
KOLKATA = timezone(timedelta(hours=5, minutes=30))
BASE_ENTRY = {
    "type": "BASE_ENTRY",
    "instrument": "BANK_NIFTY",
    "position": "Long_1",
    "price": 52000,
    "stop": 51650,
    "atr": 350,
    "er": 0.82,
    "timestamp": "2026-01-14T06:15:00Z",
}
EXECUTED = {
    "status": "executed",
    "reason": None,
    "position_id": "BANK_NIFTY-Long_1-0123456789ab",
    "positions": [],
    "lots": 2,
    "limiter": "volatility",
    "sizing": {"lot_r": "3.904762", "lot_v": "2.380000", "lot_m": Decimal("11.110000"), "lots": 2},
}


class FakeReads:
    """Lists as the database answers them; every call is noted in `asked`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[dict[str, Any]] = []
        self.proposal_rows: list[dict[str, Any]] = []
        self.known_orders = {"pm4-0123456789ab-e1"}
        self.away = False

    def _answer(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        if self.away:
            raise DatabaseAway
        self.asked.append((name, parameters))
        return self.rows[: parameters.get("limit")]

    def positions(self, **parameters: Any) -> list[dict[str, Any]]:
        return self._answer("positions", **parameters)

    def orders(self, **parameters: Any) -> list[dict[str, Any]]:
        return self._answer("orders", **parameters)

    def order(self, client_order_id: str) -> dict[str, Any] | None:
        if self.away:
            raise DatabaseAway
        return {"client_order_id": client_order_id} if client_order_id in self.known_orders else None

    def proposals(self, **parameters: Any) -> list[dict[str, Any]]:
        return self.proposal_rows[: parameters["limit"]]

    def proposals_by_id(self, proposal_ids: Sequence[str]) -> list[dict[str, Any]]:
        return [row for row in self.proposal_rows if row["proposal_id"] in proposal_ids]

    def proposal(self, proposal_id: str) -> dict[str, Any] | None:
        if self.away:
            raise DatabaseAway
        return next(iter(self.proposals_by_id([proposal_id])), None)

    def proposal_of(self, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        return next(
            (row for row in self.proposal_rows if row["fingerprint"] == entry["input"].get("fingerprint")), None
        )

    def signals(self, **parameters: Any) -> list[dict[str, Any]]:
        return self._answer("signals", **parameters)

    def journal(self, **parameters: Any) -> list[dict[str, Any]]:
        return self._answer("journal", **parameters)

    def instances(self, **parameters: Any) -> list[dict[str, Any]]:
        return self._answer("instances", **parameters)

    def terms(self, **parameters: Any) -> list[dict[str, Any]]:
        return self._answer("terms", **parameters)

    def signal_counts(self) -> list[dict[str, Any]]:
        return self._answer("signal_counts")

    def explained_entry(self, identity: str) -> dict[str, Any] | None:
        return next(iter(self._answer("explained_entry", identity=identity)), None)

    def one(self, name: str) -> dict[str, Any] | None:
        return next(iter(self._answer(name)), None)


class FakeEngine:
    """Takes signals and commands; `answers` is asked for each answer (default: executed). With `begins` it takes signals
    without a thread that waits, too."""

    def __init__(self, *, begins: bool = False) -> None:
        self.begins = begins
        self.begun: list[Delivery] = []
        self.portfolio_name = "main"
        self.portfolio: Portfolio = a_portfolio()
        self.ready = True
        self.role = "leader"
        self.followed = True
        self.last_signal_at: datetime | None = NOON
        self.reads = self.lists = FakeReads()
        self.signals: list[tuple[Signal, dict[str, Any]]] = []
        self.commands: list[Command] = []
        self.resolved: list[tuple[str, OrderState, dict[str, Any]]] = []
        self.findings: tuple[Finding, ...] | Exception | None = None
        self.answers: Callable[[], Answer] = decided
        self.known = {"GOLD_MINI-Long_1-abc": a_position()}

    def deliver(self, signal: Signal, payload: dict[str, Any]) -> Answer:
        self.signals.append((signal, payload))
        answer = self.answers()
        return Answer(
            kind=answer.kind,
            outcome=answer.outcome,
            fingerprint=fingerprint_of(self.portfolio_name, signal),
            signal_id=answer.signal_id,
            journal_seq=answer.journal_seq,
            differs=answer.differs,
            message=answer.message,
        )

    def begin(self, signal: Signal, payload: dict[str, Any], when_done: Callable[[], None]) -> Delivery | None:
        if not self.begins:
            return None
        given = SignalInput(signal=signal, fingerprint=fingerprint_of(self.portfolio_name, signal), received_at=NOON)
        delivery = Delivery(given, payload, when_done=when_done)
        self.begun.append(delivery)
        self.settled_by_itself(delivery)
        return delivery

    def settled_by_itself(self, delivery: Delivery) -> None:
        """Decide in a moment what was begun with."""
        given = delivery.given
        assert isinstance(given, SignalInput)

        def decide() -> None:
            delivery.settle(self.deliver(given.signal, delivery.payload))

        threading.Thread(target=decide, daemon=True).start()

    def finish(self, delivery: Delivery) -> Answer:
        return delivery.wait(2.0) or Answer(kind=AnswerKind.QUEUED, fingerprint=delivery.fingerprint, message="kept")

    def position_rows(self) -> list[Position]:
        return list(self.portfolio.positions.values())

    def give_lead_away(self) -> bool:
        return self.followed

    def exchange_day(self) -> date:
        return date(2026, 1, 21)

    def command(self, command: Command) -> Answer:
        self.commands.append(command)
        return self.answers()

    def resolve(self, client_order_id: str, state: OrderState, **given: Any) -> Answer:
        self.resolved.append((client_order_id, state, given))
        return self.answers()

    def reconcile(self) -> tuple[Finding, ...] | None:
        if isinstance(self.findings, Exception):
            raise self.findings
        return self.findings

    def status(self) -> dict[str, Any]:
        return {"initial_capital": Decimal("5000000.0000"), "halted": False, "term": 3, "since": NOON}

    def backlog(self) -> dict[str, Any]:
        return {"backlog": 2, "spool": {"kept": 1, "set_aside": 0, "usable": True}}

    def database_status(self) -> dict[str, Any]:
        if self.reads.away:
            raise DatabaseAway
        return {"server_version": "18.1", "latency_ms": 0.25, "last_commit": datetime(2026, 1, 14, tzinfo=UTC)}

    def position(self, position_id: str) -> Position | None:
        if self.reads.away:
            raise DatabaseAway
        return self.known.get(position_id)


def decided(**changes: Any) -> Answer:
    """An answer to a signal that was executed, but for the changes of its outcome."""
    return Answer(kind=AnswerKind.DECIDED, outcome={**EXECUTED, **changes}, signal_id=7, journal_seq=12)


def served_by(engine: FakeEngine, **options: Any) -> Served:
    """The fake as HTTP knows it, without a webhook secret unless told otherwise."""
    defaults: dict[str, Any] = {
        "instruments": lambda: ("BANK_NIFTY", "GOLD_MINI"),
        "naive_timezone": KOLKATA,
        "secrets": None,
    }
    if (secret := options.pop("webhook_secret", None)) is not None:
        options["secrets"] = WebhookSecrets(clock=lambda: NOON, current=secret)
    return Served(engine_now=lambda: engine, **{**defaults, **options})


def an_app(
    engine: FakeEngine,
    *,
    operator_token: str = TOKEN,
    operators: Operators | None = None,
    allowed_addresses: Collection[str] = (),
    trusted_proxies: Collection[str] = (),
    rate_limits: Mapping[str, str | None] | None = None,
    links: Links | None = None,
    reckoning: Callable[[], Reckoning | None] = lambda: None,
    **options: Any,
) -> Application:
    """The application around the fake as the only portfolio."""
    return create_app(
        Portfolios({engine.portfolio_name: served_by(engine, **options)}),
        operators=operators or Operators(operator_token, Path("none")),
        session_secret=operator_token,
        allowed_addresses=allowed_addresses,
        trusted_proxies=trusted_proxies,
        rate_limits=RateLimitSettings(**(rate_limits or {})),
        links=links,
        reckoning=reckoning,
    )


def error_of(response: TestResponse) -> dict[str, str]:
    """The error of an answer, which must be in the API's one form."""
    assert response.mimetype == "application/json"
    body = response.get_json()
    error = body["error"]
    assert {"code", "message"} <= set(error) <= {"code", "message", "field"}
    assert all(isinstance(text, str) and text for text in error.values())
    return error
