"""The running instance, as whoever sends alerts reaches it."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from live.doctor.findings import Finding, failed, ok, skipped, warning
from live.secrets import is_loopback

_PATIENCE_SECONDS = 3.0  # TradingView's
_SLOW_SECONDS = 1.0
_PORTS = {"http": 80, "https": 443}
_CHECK = "webhook"
# The intake refuses it for want of a type: before the secret, and before anything is kept.
_EMPTY_ALERT = b"{}"
_REFUSED = (400, 401)
_NOT_NOW = (429, 503)
# What a proxy tells somebody who is not on its list.
_KEPT_OUT = (403, 404)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Where it is; `told` where the user has named the address."""

    url: str
    portfolio: str
    told: bool

    @classmethod
    def of(cls, host: str, port: int, url: str | None, portfolio: str) -> "Instance":
        """At `url`, or else where `live` with that host and port would be reached from this machine."""
        if url is not None:
            return cls(url=url, portfolio=portfolio, told=True)
        reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what everybody reaches, we do on loopback
        shown = f"[{reached}]" if ":" in reached else reached
        return cls(url=f"http://{shown}:{port}", portfolio=portfolio, told=False)

    @property
    def is_here(self) -> bool:
        """Whether it is asked without leaving this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")

    def ask(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        """One request, as long as TradingView would wait. Raises httpx.TransportError."""
        with httpx.Client(base_url=self.url, timeout=_PATIENCE_SECONDS, trust_env=not self.is_here) as http:
            return http.request(method, path, content=body, headers={"Content-Type": "application/json"})

    def is_alive(self) -> bool:
        """Whether what answers there is one of ours."""
        try:
            return _object_of(self.ask("GET", "/health")).get("status") == "alive"
        except httpx.TransportError:
            return False


def check_webhook(instance: Instance) -> Iterator[Finding]:
    """Whether an alert gets through, and nothing else does from outside. What is sent is refused, and changes nothing."""
    path = "/webhook" if instance.portfolio == "main" else f"/webhook/{instance.portfolio}"
    began = monotonic()
    try:
        response = instance.ask("POST", path, _EMPTY_ALERT)
    except httpx.TransportError as error:
        yield _not_reached(instance, error)
        return
    yield _answered(instance, response, monotonic() - began)
    if not instance.is_here:
        yield from _from_outside(instance)


def _not_reached(instance: Instance, error: httpx.TransportError) -> Finding:
    if not instance.told:
        mend = "start `live` and look again; --url looks at the address that TradingView calls"
        return skipped(_CHECK, f"no instance runs at {instance.url}", mend)
    mend = "see that name, firewall, certificate and proxy are right, and that `live` runs behind it"
    return failed(_CHECK, f"{instance.url} is not reached: {str(error) or type(error).__name__}", mend)


def _answered(instance: Instance, response: httpx.Response, took: float) -> Finding:
    problem = _object_of(response).get("error")
    code = problem.get("code") if isinstance(problem, dict) else None
    told = f"{instance.url} answers {response.status_code} in {took * 1000:.0f} ms"
    if code is None and not instance.is_here and response.status_code in _KEPT_OUT:
        found = f"{told}, without asking the engine: whether TradingView is let in is not seen from here"
        return warning(_CHECK, found, "add this machine's address to the proxy's list for a while, and look again")
    if code is None:
        mend = "let the proxy, or --url, lead to the engine, and see that `live` runs"
        return failed(_CHECK, f"{told}, and not as the engine would", mend)
    if response.status_code in _NOT_NOW:
        return warning(_CHECK, f"{told}: {code}", "try again in a moment; GET /ready says why it takes none")
    if response.status_code == 403:
        found = f"{told}: alerts are not taken from here"
        return warning(
            _CHECK, found, "see that `allowed_addresses` (behind a proxy with `trusted_proxies`) lets senders in"
        )
    if response.status_code not in _REFUSED:
        return failed(_CHECK, f"{told}: {code}", "see that --portfolio is served there")
    if took > _SLOW_SECONDS:
        return warning(
            _CHECK, f"{told}, and TradingView waits 3 s", "see what is slow on the way: the log says `signal`"
        )
    return ok(_CHECK, f"{told}: an empty alert gets there and is refused")


def _from_outside(instance: Instance) -> Iterator[Finding]:
    parts = urlsplit(instance.url)
    if parts.scheme != "https":
        yield warning(_CHECK, f"{instance.url} is no https: the secret travels in the clear", "let the proxy speak TLS")
    if (parts.port or _PORTS[parts.scheme]) not in _PORTS.values():
        yield failed(_CHECK, f"TradingView calls no port {parts.port}", "let the proxy listen on 443")
    try:
        shows = _object_of(instance.ask("GET", "/status"))
    except httpx.TransportError:
        return
    if "closed_equity" in shows:
        found = f"{instance.url}/status is shown to everybody who asks"
        yield failed(
            _CHECK, found, "let the proxy pass POST /webhook and nothing else, as deploy/nginx and deploy/caddy do"
        )


def _object_of(response: httpx.Response) -> dict[str, Any]:
    try:
        return msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
