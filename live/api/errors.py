"""Every refusal and failure in one form: `{"error": {"code", "message", "field"?}}`."""

import traceback

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from core.errors import DatabaseAway, PortfolioError, Retryable
from core.strict_json import BodyRefused
from live.api.encoding import respond
from live.logs import without_secrets

log = structlog.get_logger("live.api")

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}
_DOCUMENTED_SERVER_ERROR = 503


class HttpRefused(PortfolioError):
    """the request is refused with an HTTP status, a code, and the field or parameter that is wrong"""

    def __init__(
        self, status: int, code: str, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.headers = headers


def malformed(message: str, field: str | None = None) -> HttpRefused:
    """A 400 that names the field and the rule."""
    return HttpRefused(400, "malformed", message, field=field)


def unknown_portfolio(served: str | None) -> HttpRefused:
    """A 404 for a portfolio that another engine would have to serve; `served` is the only one, None where there are
    several, whose names are not told."""
    rule = "is not served here" if served is None else f"`{served}` is the only one that is served here"
    return HttpRefused(404, "unknown_portfolio", f"`portfolio`: {rule}", field="portfolio")


def error_body(code: str, message: str, field: str | None = None) -> dict[str, dict[str, str]]:
    """The one form of an error."""
    error = {"code": code, "message": message}
    return {"error": error if field is None else {**error, "field": field}}


def error_response(
    status: int, code: str, message: str, field: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """An answer in the one form of an error."""
    return respond(error_body(code, message, field), status, headers)


def status_of(refused: BodyRefused) -> int:
    """413 for a body that is too large, 400 for all else that is wrong in one."""
    return 413 if refused.code == "too_large" else 400


def install(app: Flask) -> None:
    """Answer whatever a view raises."""
    app.register_error_handler(HttpRefused, _refused)
    app.register_error_handler(BodyRefused, _body_refused)
    app.register_error_handler(Retryable, _away)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _refused(error: HttpRefused) -> Response:
    return error_response(error.status, error.code, str(error), error.field, error.headers)


def _body_refused(error: BodyRefused) -> Response:
    log.warning(
        "request refused", path=without_secrets(request.path), code=error.code, field=error.field, message=str(error)
    )
    return error_response(status_of(error), error.code, str(error), error.field)


def _away(error: Retryable) -> Response:
    code = "database_away" if isinstance(error, DatabaseAway) else "unavailable"
    log.warning(code, path=without_secrets(request.path), message=str(error))
    return error_response(503, code, f"{error}; send again")


def _http(error: HTTPException) -> Response:
    status = error.code or _DOCUMENTED_SERVER_ERROR
    if status >= 500:  # 500 and 504 are never answered
        return _unexpected(error)
    headers: dict[str, str] = {}
    message = error.description or error.name
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
        message = f"this address takes {headers['Allow']}"
    elif status == 404:
        message = "there is nothing at this address"
    return error_response(status, _CODES.get(status, "bad_request"), message, headers=headers)


def _unexpected(error: Exception) -> Response:
    """A fault of ours. 503, since sending again is safe and a caller gives up on a 500."""
    # As text: what renders an exception may show the variables of its frames, and with them the body and the secret.
    trace = "".join(traceback.format_exception(error))
    log.error("request failed", path=without_secrets(request.path), method=request.method, traceback=trace)
    return error_response(503, "internal", "an unexpected error, which was logged; send again")
