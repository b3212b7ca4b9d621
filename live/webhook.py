"""POST /webhook: an alert in, what became of it out."""

import hmac
from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import structlog
from flask import Blueprint, Response, request

from core.alert import Alert, parse_alert, portfolio_named_in
from core.errors import ConfigurationError
from core.strict_json import BodyRefused
from live.answers import Answer, AnswerKind
from live.api.bodies import read_body
from live.api.encoding import respond
from live.api.errors import HttpRefused, status_of
from live.api.told import told
from live.portfolios import Portfolios, Served

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
        self._allowed = _networks(allowed_addresses)

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
        if not self._allowed:
            return
        try:
            address = ip_address(remote or "")
        except ValueError:
            address = None
        if address is None or not any(address in network for network in self._allowed):
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


def _networks(addresses: Collection[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(address) for address in addresses)
    except ValueError as error:
        raise ConfigurationError(f"`allowed_addresses`: {error}; an address or a network in CIDR form") from error
