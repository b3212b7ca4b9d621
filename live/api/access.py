"""Who asks, and whether he may: an operator's token as Bearer, or the session that a browser was given for one at /login.

From this machine everybody may look; from elsewhere only a viewer may, apart from what senders of alerts, supervisors and
balancers ask. Commands need an operator everywhere.
"""

import hashlib
import hmac
import secrets
import time
from datetime import timedelta
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import structlog
from flask import Blueprint, Flask, Request, Response, g, redirect, render_template, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from itsdangerous import URLSafeTimedSerializer

from live.api.encoding import respond
from live.api.errors import HttpRefused
from live.operators import Operator, Operators, Role
from live.rate_limits import FailureLimit
from live.secrets import is_loopback

log = structlog.get_logger("live.access")

SESSION_HOURS = 12
CSRF_HEADER = "X-CSRF-Token"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
_FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP")
_SALT = b"portfolio manager, sessions of browsers"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_TOKEN_REQUIRED = "the operator's token is required: `Authorization: Bearer TOKEN`"  # noqa: S105 - a sentence
# Who asks these shows himself otherwise, or need not.
_FOR_ALL = frozenset({"health.show_alive", "health.show_ready", "health.show_leader"})
_OF_THEIR_OWN = ("webhook.", "access.", "linked.")


class _Sessions(SecureCookieSessionInterface):
    """Flask's, signed with what `secret` gives. The cookie is kept to encrypted connections as soon as it came over one."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._lock = Lock()

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Most who ask have none: for them nothing is made."""
        if not request.cookies.get(self.get_cookie_name(app)):
            return self.session_class()
        return super().open_session(app, request)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Its key is made slowly, once it is needed: who has a cookie is not to find the secret by trying."""
        with self._lock:
            app.secret_key = app.secret_key or hashlib.scrypt(self._secret, salt=_SALT, n=2**14, r=8, p=1)
        return super().get_signing_serializer(app)

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002 - Flask's own hook
        """Whether this request came over one."""
        return request.is_secure


class Access:
    """Installed in an application, it stands before every request of it. `trusts_proxies`: whom a request came from is known
    through them."""

    def __init__(self, operators: Operators, failures: FailureLimit, *, secret: str, trusts_proxies: bool) -> None:
        self._operators = operators
        self._failures = failures
        # Of the process' token: with the same one instances know each other's sessions, and another one ends them all.
        self._sessions = _Sessions(secret)
        self._trusts_proxies = trusts_proxies
        self._closed: dict[str, float] = {}
        self._lock = Lock()

    def install(self, app: Flask) -> None:
        """Guard the application, and answer /login, /logout and /session."""
        app.config.update(
            SESSION_COOKIE_NAME="pm_session",
            SESSION_COOKIE_HTTPONLY=True,
            SESSION_COOKIE_SAMESITE="Strict",
            SESSION_REFRESH_EACH_REQUEST=False,
            PERMANENT_SESSION_LIFETIME=timedelta(hours=SESSION_HOURS),
        )
        app.session_interface = self._sessions
        app.before_request(self._guard)
        app.after_request(_with_headers)
        app.register_blueprint(self._blueprint())

    def require(self, role: Role) -> Operator:
        """Who asks, if he may; HttpRefused 401 or 403, also for a session's command without its CSRF token."""
        operator = self.asking()
        if operator is None:
            log.warning("operator refused", path=request.path, remote=request.remote_addr)
            raise HttpRefused(
                401,
                "unauthorized",
                _TOKEN_REQUIRED,
                headers={"WWW-Authenticate": 'Bearer realm="portfolio manager"'},
            )
        if operator.role < role:
            log.warning("operator refused", path=request.path, operator=operator.shown, remote=request.remote_addr)
            raise HttpRefused(
                403, "forbidden", f"this needs the role `{role.word}`, and you are `{operator.role.word}`"
            )
        if g.by_session and request.method not in _SAFE:
            self._require_csrf_token()
        return operator

    def asking(self) -> Operator | None:
        """Who asks; None where nobody has shown who he is."""
        if "asking" not in g:
            g.by_session = False
            g.asking = self._by_token() if "Authorization" in request.headers else self._by_session()
        operator: Operator | None = g.asking
        return operator

    def _guard(self) -> ResponseReturnValue | None:
        endpoint = request.endpoint or ""
        # What is nowhere is told as such; what is asked of an address tells nothing either.
        if not endpoint or endpoint in _FOR_ALL or endpoint.startswith(_OF_THEIR_OWN) or request.method == "OPTIONS":
            return None
        if endpoint.endswith(".static") or self._is_local():
            return None
        if self.asking() is None and request.accept_mimetypes.best == "text/html" and request.method == "GET":
            return redirect("/login", 303)
        self.require(Role.VIEWER)
        return None

    def _is_local(self) -> bool:
        """From this machine, by a name of it: what a proxy brings is not, nor a page that leads its own name here."""
        if not self._trusts_proxies and any(name in request.headers for name in _FORWARDED):
            return False
        return is_loopback(request.remote_addr or "") and is_loopback(_asked_host())

    def _by_token(self) -> Operator | None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return self._of_token(given) if scheme.lower() == "bearer" else None

    def _of_token(self, given: str) -> Operator | None:
        """Whose token that is; HttpRefused 429 where too many wrong ones came from there."""
        self._failures.require(request.remote_addr)
        operator = self._operators.of_token(given.strip())
        if operator is None:
            self._failures.failed(request.remote_addr)
        return operator

    def _by_session(self) -> Operator | None:
        key, known_as = session.get("key"), session.get("id")
        if not isinstance(key, str) or not isinstance(known_as, str) or known_as in self._closed:
            return None
        operator = self._operators.still(session.get("name"), key)
        g.by_session = operator is not None
        return operator

    def _require_csrf_token(self) -> None:
        given = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(given.encode(errors="replace"), str(session.get("csrf", "")).encode()):
            raise HttpRefused(403, "csrf", f"the header `{CSRF_HEADER}` must be what GET /session tells")

    # --- sessions

    def _blueprint(self) -> Blueprint:
        blueprint = Blueprint(
            "access", __name__, template_folder="templates", static_folder="static", static_url_path="/login/static"
        )
        blueprint.get("/login")(self.show_login)
        blueprint.post("/login")(self.login)
        blueprint.post("/logout")(self.logout)
        blueprint.get("/session")(self.show_session)
        return blueprint

    def show_login(self) -> ResponseReturnValue:
        """The page with the form."""
        return self._page(refused=False)

    def login(self) -> ResponseReturnValue:
        """A session for who has a token."""
        if request.headers.get("Sec-Fetch-Site") not in (None, "same-origin", "none"):
            raise HttpRefused(403, "web_page", "a session is not opened from another site's page")
        operator = self._of_token(request.form.get("token", ""))
        if operator is None:
            log.warning("operator refused", path=request.path, remote=request.remote_addr)
            return self._page(refused=True)
        session.clear()
        session.permanent = True
        session.update(
            name=operator.name, key=operator.key, csrf=secrets.token_urlsafe(24), id=secrets.token_urlsafe(12)
        )
        log.info("signed in", operator=operator.shown, role=operator.role.word, remote=request.remote_addr)
        return redirect("/", 303)

    def logout(self) -> ResponseReturnValue:
        """The end of the session, for whoever may have its cookie too."""
        operator = self.asking()
        if operator is not None and g.by_session:
            self._require_csrf_token()
            self._close(str(session.get("id")))
            log.info("signed out", operator=operator.shown)
        session.clear()
        return respond({"status": "signed_out"})

    def show_session(self) -> ResponseReturnValue:
        """Who is signed in, and what his commands have to carry."""
        operator = self.require(Role.VIEWER)
        told: dict[str, Any] = {"operator": operator.shown, "role": operator.role.word}
        return respond({**told, "csrf_token": session.get("csrf") if g.by_session else None})

    def _close(self, known_as: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._closed = {one: until for one, until in self._closed.items() if until > now}
            self._closed[known_as] = now + SESSION_HOURS * 3600

    @staticmethod
    def _page(*, refused: bool) -> Response:
        page = Response(
            render_template("login.html", refused=refused), status=401 if refused else 200, mimetype="text/html"
        )
        page.headers["Content-Security-Policy"] = PAGE_POLICY
        page.headers["Cache-Control"] = "no-store"
        return page


def _asked_host() -> str:
    try:
        return urlsplit(f"//{request.headers.get('Host', 'localhost')}").hostname or ""
    except ValueError:
        return ""


def _with_headers(response: Response) -> Response:
    if request.blueprint == "webhook":
        # No browser is answered there, and most of its answers come by the short cut, all the same.
        return response
    response.headers.setdefault("Content-Security-Policy", _DATA_POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
