"""GET /portfolios, /instances, /status, /db/status, /health and /ready."""

from typing import Any

from flask import Blueprint, Response

from core.errors import DatabaseAway
from live.api.encoding import respond, respond_with_etag
from live.api.errors import error_body
from live.api.pages import cut
from live.api.queries import LARGEST_ID, Query
from live.metrics import Metrics
from live.portfolios import Portfolios
from live.ports import Engine


def status_blueprint(portfolios: Portfolios) -> Blueprint:
    """The views of how engines and their database are."""
    blueprint = Blueprint("status", __name__)

    @blueprint.get("/portfolios")
    def list_portfolios() -> Response:
        Query(portfolios)
        return respond_with_etag({"portfolios": [_shown(served.engine) for served in portfolios]})

    @blueprint.get("/instances")
    def list_instances() -> Response:
        query = Query(portfolios, "limit", "before")
        reads, limit, before = query.engine.reads, query.limit(), query.whole("before", LARGEST_ID)
        terms = cut("terms", "term", limit, reads.terms(limit=limit + 1, before=before))
        # Who was alive last is asked about now: there is no page behind it.
        return respond({"instances": reads.instances(limit=limit), **terms})

    @blueprint.get("/status")
    def show_status() -> Response:
        engine = Query(portfolios).engine
        try:
            return respond_with_etag(engine.status())
        except DatabaseAway as error:
            return respond({**engine.backlog(), **error_body("database_away", str(error))}, 503)

    @blueprint.get("/db/status")
    def show_database() -> Response:
        engine = Query(portfolios).engine
        try:
            return respond({"connected": True, **engine.database_status(), **engine.backlog()})
        except DatabaseAway as error:
            away = error_body("database_away", str(error))
            return respond({"connected": False, **engine.backlog(), **away}, 503)

    return blueprint


def health_blueprint(portfolios: Portfolios, metrics: Metrics) -> Blueprint:
    """What supervisors, load balancers and Prometheus ask."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/health")
    def show_alive() -> Response:
        Query(portfolios)
        return respond({"status": "alive"})

    @blueprint.get("/ready")
    def show_ready() -> Response:
        query = Query(portfolios)
        if query.portfolio is not None:
            return _readiness([query.engine])
        return _readiness([served.engine for served in portfolios])

    @blueprint.get("/leader")
    def show_leader() -> Response:
        """Two words only: a balancer asks without a token."""
        leads = Query(portfolios).engine.role == "leader"
        return respond({"leader": leads}, 200 if leads else 503)

    @blueprint.get("/metrics")
    def show_metrics() -> Response:
        Query(portfolios)
        text, content_type = metrics.text()
        return Response(text, content_type=content_type, headers={"Cache-Control": "no-store"})

    return blueprint


def _shown(engine: Engine) -> dict[str, Any]:
    return {"portfolio": engine.portfolio_name, "role": engine.role, "ready": engine.ready, **engine.backlog()}


def _readiness(engines: list[Engine]) -> Response:
    """One portfolio that is not ready must not keep alerts from the others."""
    not_ready = [engine.portfolio_name for engine in engines if not engine.ready]
    if len(not_ready) == len(engines):
        return respond({"ready": False, **error_body("not_ready", "signals cannot be kept yet")}, 503)
    return respond({"ready": True, **({"not_ready": not_ready} if not_ready else {})})
