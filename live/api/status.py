"""GET /status, /db/status, /health and /ready."""

from flask import Blueprint, Response

from core.errors import DatabaseAway
from live.api.encoding import respond
from live.api.errors import error_body
from live.api.queries import Query
from live.ports import Engine


def status_blueprint(engine: Engine) -> Blueprint:
    """The views of how the engine and its database are."""
    blueprint = Blueprint("status", __name__)

    @blueprint.get("/status")
    def show_status() -> Response:
        Query(engine.portfolio_name)
        try:
            return respond(engine.status())
        except DatabaseAway as error:
            return respond({**engine.backlog(), **error_body("database_away", str(error))}, 503)

    @blueprint.get("/db/status")
    def show_database() -> Response:
        Query(engine.portfolio_name)
        try:
            return respond({"connected": True, **engine.database_status(), **engine.backlog()})
        except DatabaseAway as error:
            away = error_body("database_away", str(error))
            return respond({"connected": False, **engine.backlog(), **away}, 503)

    @blueprint.get("/health")
    def show_alive() -> Response:
        Query(engine.portfolio_name)
        return respond({"status": "alive"})

    @blueprint.get("/ready")
    def show_ready() -> Response:
        Query(engine.portfolio_name)
        if engine.ready:
            return respond({"ready": True})
        return respond({"ready": False, **error_body("not_ready", "signals cannot be kept yet")}, 503)

    return blueprint
