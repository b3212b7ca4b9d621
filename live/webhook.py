"""POST /webhook: an alert in, what became of it out."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import structlog
from flask import Blueprint, Response, request

from core.alert import Alert, portfolio_named_in
from core.strict_json import BodyRefused
from live.answers import Answer, AnswerKind
from live.api.bodies import read_body
from live.api.encoding import encode, respond
from live.api.errors import HttpRefused, status_of
from live.api.told import told
from live.deliveries import Delivery
from live.metrics import Metrics
from live.portfolios import Portfolios, Served
from live.ports import Engine
from live.proxies import Networks, address_of, is_in, networks_of, sender
from live.rate_limits import RateLimits
from live.secrets import holds_a_part
from live.short_cut import ARRIVED, Posted
from live.traces import tell_answer
from live.webhook_secrets import SIGNATURE, SIGNED_AT, SenderRefused, WebhookSecrets

log = structlog.get_logger("live.webhook")

_PATH, _BELOW = "/webhook", "/webhook/"
# An alert has a few hundred bytes. A body may be of 64 KiB and take 20 ms to look at, by the thread that serves everybody.
_READ_AT_ONCE_BYTES = 4096
_TOLD = ("position_id", "positions", "lots", "limiter", "reason", "sizing")


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunAlert:
    """An alert that waits to be decided, and who sent it."""

    engine: Engine
    alert: Alert
    delivery: Delivery
    remote: str
    metrics: Metrics

    @property
    def answerable(self) -> bool:
        """Whether it is decided: whoever hears anything else may have to be told more, or it has to be kept first."""
        answer = self.delivery.answer
        return answer is not None and answer.kind is AnswerKind.DECIDED

    def body(self) -> bytes:
        """The body of the 200."""
        return encode(_body(self.alert, self._answer))

    def answered(self) -> None:
        """Log and count the answer."""
        self._note(self._answer)

    def told(self, answer: Answer) -> dict[str, Any]:
        """The answer's body, logged and counted as well."""
        self._note(answer)
        return _body(self.alert, answer)

    @property
    def _answer(self) -> Answer:
        assert self.delivery.answer is not None  # noqa: S101 - it is answerable
        return self.delivery.answer

    def _note(self, answer: Answer) -> None:
        _note(self.engine, self.alert, answer, self.remote, self.metrics, self.delivery.begun)


class Webhook:
    """The intake: who may send, what is well formed, for which portfolio; the engine decides the rest."""

    def __init__(
        self,
        portfolios: Portfolios,
        metrics: Metrics,
        limits: RateLimits,
        *,
        allowed_addresses: Collection[str] = (),
        trusted_proxies: Networks = (),
    ) -> None:
        self._portfolios = portfolios
        self._metrics = metrics
        self._limits = limits
        self._allowed = networks_of(allowed_addresses, "allowed_addresses")
        self._trusted = trusted_proxies

    def blueprint(self) -> Blueprint:
        """The routes of the intake."""
        blueprint = Blueprint("webhook", __name__)
        blueprint.add_url_rule("/webhook", "webhook", self.receive, methods=["POST"])
        blueprint.add_url_rule("/webhook/<portfolio>", "webhook_of", self.receive, methods=["POST"])
        blueprint.add_url_rule("/webhook/<portfolio>/<token>", "webhook_with", self.receive, methods=["POST"])
        return blueprint

    def begin(self, posted: Posted, when_done: Callable[[], None]) -> BegunAlert | None:
        """Have an alert decided without waiting for it, if nothing speaks against it: the short cut past all that
        receive() does for other requests; finish() is for what takes long. None: it is for receive(), as if nothing had
        been. Never blocks, never raises."""
        addressed = _addressed(posted.path)
        if addressed is None or posted.query or not _is_routed(posted.headers):
            return None
        portfolio, token = addressed
        body = posted.read_body()
        if len(body) > _READ_AT_ONCE_BYTES:
            return None
        remote = sender(posted.peer, posted.headers.get("X_FORWARDED_FOR", ""), self._trusted)
        counted_for = None
        with suppress(BodyRefused, HttpRefused):
            self._limits.count_address(remote)
            _require_no_web_page(posted.headers.get("ORIGIN"), posted.headers.get("SEC_FETCH_SITE"))
            self._require_address(remote)
            self._limits.secrets.require(remote)
            served, alerts = self._read(body, [portfolio] if portfolio else [], posted.headers, token)
            engine, alert = served.engine, alerts[0]
            counted_for = engine.portfolio_name
            self._limits.count_portfolio(counted_for)
            # Of several the second is only for when the first is kept: that is to be waited for.
            delivery = None if len(alerts) > 1 else engine.begin(alert.signal, alert.payload, when_done)
            if delivery is not None:
                return BegunAlert(engine=engine, alert=alert, delivery=delivery, remote=remote, metrics=self._metrics)
        self._limits.take_back(remote, counted_for)
        return None

    @staticmethod
    def finish(begun: BegunAlert) -> Response:
        """What became of an alert that was begun with: whatever its request says besides, it is not refused any more."""
        answer = begun.engine.finish(begun.delivery)
        return respond(begun.told(answer), _http_status(answer))

    def receive(self, portfolio: str | None = None, token: str | None = None) -> Response:
        """Take one alert and answer what became of it; refusals are logged, bodies never."""
        try:
            served, alerts = self._accepted(portfolio, token)
        except (BodyRefused, HttpRefused) as error:
            raise self._refused(error) from None
        arrived = request.environ.get(ARRIVED) or time.monotonic()
        answers = self._delivered(served.engine, alerts, arrived)
        bodies = [body for body, _ in answers]
        told = bodies[0] if len(bodies) == 1 else {"status": bodies[-1]["status"], "signals": bodies}
        return respond(told, max(status for _, status in answers))

    def _accepted(self, portfolio: str | None, token: str | None) -> tuple[Served, tuple[Alert, ...]]:
        remote = request.remote_addr
        self._limits.count_address(remote)
        _require_no_web_page(request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site"))
        self._require_address(remote)
        self._limits.secrets.require(remote)
        found = {name: request.headers.get(name.replace("_", "-")) for name in (SIGNATURE, SIGNED_AT)}
        headers = {name: value for name, value in found.items() if value is not None}
        named = [portfolio, *request.args.getlist("portfolio")]
        served, alerts = self._read(read_body(), named, headers, token)
        self._limits.count_portfolio(served.engine.portfolio_name)
        return served, alerts

    def _refused(self, error: BodyRefused | HttpRefused) -> HttpRefused:
        """The answer to an alert that is not taken, which is logged and counted."""
        refused = error
        if isinstance(refused, BodyRefused):
            refused = HttpRefused(status_of(refused), refused.code, str(refused), field=refused.field)
        if holds_a_part(
            f"{refused} {refused.field}",
            (secret for served in self._portfolios if served.secrets for secret in served.secrets.known),
        ):
            refused = HttpRefused(
                refused.status, refused.code, "what is wrong is not shown: a part of the secret is in it"
            )
        if refused.status == 401:
            self._limits.secrets.failed(request.remote_addr)
        self._metrics.refused(refused.code)
        log.warning(
            "alert refused",
            status=refused.status,
            code=refused.code,
            field=refused.field,
            message=str(refused),
            remote=request.remote_addr,
        )
        return refused

    def _delivered(self, engine: Engine, alerts: Sequence[Alert], arrived: float) -> list[tuple[dict[str, Any], int]]:
        """What became of each, and its HTTP status. One that nothing was kept of ends it: sent again, the alert goes on from
        there, for those before it count once."""
        answers = []
        for alert in alerts:
            answer = engine.deliver(alert.signal, alert.payload)
            _note(engine, alert, answer, request.remote_addr, self._metrics, arrived)
            answers.append((_body(alert, answer), _http_status(answer)))
        return answers

    def _read(
        self, body: bytes, named: Sequence[str | None], headers: Mapping[str, str], token: str | None
    ) -> tuple[Served, tuple[Alert, ...]]:
        """What path, query and body say of the portfolio has to agree, and to be one that is served."""
        # Which instruments there are, and which secret is asked for, is the portfolio's.
        served = self._portfolios.only or self._portfolios.named(*named, portfolio_named_in(body))
        secrets = served.secrets
        try:
            may_send = secrets is None or secrets.accepts_before_the_body(headers, token, body)
            alerts = served.read(body)
            if secrets is not None:
                if not may_send:
                    secrets.require_in_body(alerts[0].secret, alerts[0].secret_field)
                alerts = _without_secrets(served, secrets, body, alerts, in_body=not may_send)
        except SenderRefused as refused:
            raise HttpRefused(401, "unauthorized", str(refused), field=refused.field) from None
        self._portfolios.named(*named, alerts[0].portfolio)
        return served, alerts

    def _require_address(self, remote: str | None) -> None:
        if self._allowed and not is_in(address_of(remote or ""), self._allowed):
            raise HttpRefused(403, "forbidden_address", "alerts are not taken from this address")


def _without_secrets(
    served: Served, secrets: WebhookSecrets, body: bytes, alerts: tuple[Alert, ...], *, in_body: bool
) -> tuple[Alert, ...]:
    """The same alerts, read without a secret that stands where it does not belong, in a comment, say."""
    struck = secrets.struck_from(body, in_body=in_body)
    if struck is not body:
        # What cannot be read without it (a secret of digits, in a number) is taken as it came: an exit must not fail for this.
        with suppress(BodyRefused):
            return served.read(struck)
    return alerts


def _addressed(path: str) -> tuple[str, str | None] | None:
    """The name below the webhook's address, empty at the address itself, and the secret below that; None for any other
    address."""
    if path == _PATH:
        return "", None
    name, slash, token = path.removeprefix(_BELOW).partition("/")
    if not path.startswith(_BELOW) or not name or "/" in token or (slash and not token):
        return None
    return name, token if slash else None


def _is_routed(headers: Mapping[str, str]) -> bool:
    """Whether Flask leads a request with these headers to its view: it does not where the host is no name, nor a websocket's."""
    return "UPGRADE" not in headers and _is_a_name(headers.get("HOST", ""))


@lru_cache(maxsize=16)
def _is_a_name(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _require_no_web_page(origin: str | None, site: str | None) -> None:
    # A page in the user's browser can post to loopback without asking; browsers then name it, senders of alerts do not.
    if origin is not None or site not in (None, "none"):
        raise HttpRefused(403, "web_page", "alerts are not taken from a web page")


def _http_status(answer: Answer) -> int:
    return 202 if answer.kind is AnswerKind.QUEUED else 200


def _body(alert: Alert, answer: Answer) -> dict[str, Any]:
    identity = {
        "signal_id": answer.signal_id,
        "fingerprint": answer.fingerprint,
        "journal_seq": answer.journal_seq,
        "warnings": alert.warnings,
    }
    return told(answer, identity, _TOLD)


def _note(engine: Engine, alert: Alert, answer: Answer, remote: str | None, metrics: Metrics, arrived: float) -> None:
    seconds = time.monotonic() - arrived
    metrics.answered(engine.portfolio_name, alert.signal.type, answer, seconds)
    tell_answer(
        answer.fingerprint,
        seconds,
        portfolio=engine.portfolio_name,
        type=alert.signal.type.value,
        instrument=alert.signal.instrument,
        answer=answer.kind.value,
        journal_seq=answer.journal_seq,
    )
    _log_outcome(engine.portfolio_name, alert, answer, remote)


def _log_outcome(portfolio: str, alert: Alert, answer: Answer, remote: str | None) -> None:
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
        remote=remote,
    )
