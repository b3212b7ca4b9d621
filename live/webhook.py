"""POST /webhook: an alert in, what became of it out."""

import hmac
from collections.abc import Collection

import structlog
from flask import Blueprint, Response, request

from core.alert import Alert, parse_alert, portfolio_named_in
from core.strict_json import BodyRefused
from live.answers import Answer, AnswerKind
from live.api.bodies import read_body
from live.api.encoding import respond
from live.api.errors import HttpRefused, status_of
from live.api.told import told
from live.portfolios import Portfolios, Served
from live.proxies import address_of, is_in, networks_of

log = structlog.get_logger("live.webhook")

_TOLD = ("position_id", "positions", "lots", "limiter", "reason", "sizing")


class Webhook:
    """The intake: who may send, what is well formed, for which portfolio; the engine decides the rest."""

    def __init__(
        self,
        portfolios: Portfolios,
        *,
        allowed_addresses: Collection[str] = (),
    ) -> None:
        self._portfolios = portfolios
        self._allowed = networks_of(allowed_addresses, "allowed_addresses")

    def blueprint(self) -> Blueprint:
        """The routes of the intake."""
        blueprint = Blueprint("webhook", __name__)
        blueprint.add_url_rule("/webhook", "webhook", self.receive, methods=["POST"])
        blueprint.add_url_rule("/webhook/<portfolio>", "webhook_of", self.receive, methods=["POST"])
        return blueprint

    def receive(self, portfolio: str | None = None) -> Response:
        """Take one alert and answer what became of it; refusals are logged, bodies never."""
        try:
            served, alert = self._accepted(portfolio)
        except (BodyRefused, HttpRefused) as error:
            status = status_of(error) if isinstance(error, BodyRefused) else error.status
            log.warning(
                "alert refused",
                status=status,
                code=error.code,
                field=error.field,
                message=str(error),
                remote=request.remote_addr,
            )
            raise HttpRefused(status, error.code, str(error), field=error.field) from None
        engine = served.engine
        answer = engine.deliver(alert.signal, alert.payload)
        _log_outcome(engine.portfolio_name, alert, answer)
        identity = {
            "signal_id": answer.signal_id,
            "fingerprint": answer.fingerprint,
            "journal_seq": answer.journal_seq,
            "warnings": alert.warnings,
        }
        return respond(told(answer, identity, _TOLD), 202 if answer.kind is AnswerKind.QUEUED else 200)

    def _accepted(self, portfolio: str | None) -> tuple[Served, Alert]:
        """What path, query and body say of the portfolio has to agree, and to be one that is served."""
        _require_no_web_page()
        self._require_address(request.remote_addr)
        body, named = read_body(), [portfolio, *request.args.getlist("portfolio")]
        # Which instruments there are, and which secret is asked for, is the portfolio's.
        served = self._portfolios.only or self._portfolios.named(*named, portfolio_named_in(body))
        alert = parse_alert(
            body,
            instruments=served.instruments(),
            naive_timezone=served.naive_timezone,
            as_listed=served.as_listed,
        )
        _require_secret(served, alert)
        self._portfolios.named(*named, alert.portfolio)
        return served, alert

    def _require_address(self, remote: str | None) -> None:
        if self._allowed and not is_in(address_of(remote or ""), self._allowed):
            raise HttpRefused(403, "forbidden_address", "alerts are not taken from this address")


def _require_secret(served: Served, alert: Alert) -> None:
    if served.webhook_secret is None:
        return
    # On bytes: compare_digest refuses text that is not ASCII.
    if not hmac.compare_digest((alert.secret or "").encode(), served.webhook_secret.encode()):
        rule = "is required" if alert.secret is None else "is wrong"
        raise HttpRefused(401, "unauthorized", f"`secret` {rule}", field="secret")


def _require_no_web_page() -> None:
    # A page in the user's browser can post to loopback without asking; browsers then name it, senders of alerts do not.
    if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
        raise HttpRefused(403, "web_page", "alerts are not taken from a web page")


def _log_outcome(portfolio: str, alert: Alert, answer: Answer) -> None:
    duplicate = answer.kind is AnswerKind.DUPLICATE
    log.info(
        "signal",
        status="duplicate" if duplicate else answer.outcome.get("status", answer.kind.value),
        portfolio=portfolio,
        type=alert.signal.type.value,
        instrument=alert.signal.instrument,
        layer=alert.signal.layer,
        fingerprint=answer.fingerprint,
        position_id=answer.outcome.get("position_id"),
        lots=answer.outcome.get("lots"),
        reason=answer.outcome.get("reason") or answer.message or None,
        differs=answer.differs,
        journal_seq=answer.journal_seq,
        remote=request.remote_addr,
    )
