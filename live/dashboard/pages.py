"""GET / and what its page asks for: changes as a stream or by polling, what charts are drawn from, the journal in words."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, render_template, request

from core.errors import PortfolioError
from live.api.access import PAGE_POLICY
from live.api.encoding import JSON, respond
from live.api.errors import HttpRefused
from live.api.queries import INSTRUMENT, Query
from live.dashboard.assets import address, asset
from live.dashboard.board import Board
from live.dashboard.history import Shared, equity_curve, ladder
from live.dashboard.journal import STATUSES, search
from live.dashboard.streams import Streams
from live.dashboard.view import View, glance
from live.portfolios import Portfolios, Served
from live.short_cut import DRAINING

# The cookie of whoever is signed in; without one nobody has to ask who that is.
SESSION_COOKIE = "pm_session"
_YEAR = "public, max-age=31536000, immutable"
_EVENTS = "text/event-stream"


class Dashboard:
    """The pages of all portfolios: one board each, read while somebody looks."""

    def __init__(self, portfolios: Portfolios, streams: Streams | None = None) -> None:
        self._portfolios = portfolios
        self._streams = streams or Streams()
        self._boards: dict[str, Board] = {}
        self._shared = Shared()

    def blueprint(self) -> Blueprint:
        """The routes."""
        blueprint = Blueprint("dashboard", __name__, template_folder="templates")
        blueprint.after_request(_with_policy)
        blueprint.get("/")(self.page)
        blueprint.get("/events")(self.events)
        blueprint.get("/dashboard/state")(self.state)
        blueprint.get("/dashboard/equity")(self.equity)
        blueprint.get("/dashboard/ladder/<instrument>")(self.ladder)
        blueprint.get("/dashboard/journal")(self.journal)
        blueprint.get("/dashboard/static/<digest>/<name>")(self.static)
        return blueprint

    def page(self) -> Response:
        """One portfolio; or, where several are served and none is named, how each of them is."""
        query = Query(self._portfolios)
        if query.portfolio is None and self._portfolios.only is None:
            return _page("portfolios.html", portfolios=[(name, *glance(s)) for name, s in self._named()])
        served = self._portfolios.named(query.portfolio)
        board = self._board(served)
        board.look()
        version = board.version
        return _page(
            "dashboard.html",
            portfolio=served.engine.portfolio_name,
            names=[name for name, _ in self._named()],
            sections=board.sections(),
            version=version,
            signed_in=SESSION_COOKIE in request.cookies,
        )

    def events(self) -> Response:
        """The page's changes as they come; 503 where as many pages as may are told of them so: then GET /dashboard/state."""
        board = self._board_asked_for("version")
        if request.method == "HEAD":
            return Response(mimetype=_EVENTS)
        version = request.headers.get("Last-Event-ID") or request.args.get("version")
        ending: Callable[[], bool] = request.environ.get(DRAINING, lambda: False)
        stream = self._streams.begin(board, version, ending)
        if stream is None:
            raise HttpRefused(
                503, "too_many_streams", "too many pages are open: ask for /dashboard/state from time to time"
            )
        # A proxy that collected what is streamed would hold it back.
        return Response(stream, mimetype=_EVENTS, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    def state(self) -> Response:
        """What has changed since `version`, or everything."""
        board = self._board_asked_for("version")
        board.look()
        version = request.args.get("version")
        changes = board.since(version)
        if changes is None:
            return respond({"version": version, "whole": False, "rows": {}})
        return Response(changes.body, mimetype=JSON, headers={"Cache-Control": "no-store"})

    def equity(self) -> Response:
        """Closed equity, trade by trade."""
        engine = Query(self._portfolios).engine
        return respond(self._shared.get(f"{engine.portfolio_name} equity curve", lambda: equity_curve(engine)))

    def ladder(self, instrument: str) -> Response:
        """An instrument's prices and layers."""
        engine = Query(self._portfolios).engine
        if not INSTRUMENT.fullmatch(instrument):
            raise HttpRefused(404, "not_found", "there is no such instrument")
        return respond(self._shared.get(f"{engine.portfolio_name} {instrument}", lambda: ladder(engine, instrument)))

    def journal(self) -> Response:
        """What was asked and decided, in words."""
        query = Query(self._portfolios, "of", "instrument", "status", "before")
        engine = query.engine
        given = {name: (query.text(name) or "").strip() for name in ("of", "instrument", "status", "before")}
        try:
            found, status = search(engine, given), 200
        except PortfolioError as error:
            if isinstance(error, HttpRefused):
                raise
            found, status = None, 503
        page = _page(
            "journal.html",
            portfolio=engine.portfolio_name,
            given=given,
            found=found,
            statuses=STATUSES,
        )
        page.status_code = status
        return page

    def static(self, digest: str, name: str) -> Response:
        """A script or a style; its address changes with it, so that it may be kept."""
        found = asset(name)
        if found is None or found.digest != digest:
            raise HttpRefused(404, "not_found", "there is no such file")
        return Response(found.body, mimetype=found.mimetype, headers={"Cache-Control": _YEAR})

    def _named(self) -> list[tuple[str, Served]]:
        return [(served.engine.portfolio_name, served) for served in self._portfolios]

    def _board_asked_for(self, *allowed: str) -> Board:
        query = Query(self._portfolios, *allowed)
        return self._board(self._portfolios.named(query.portfolio))

    def _board(self, served: Served) -> Board:
        # setdefault: of two first pages at the same time both get the same one.
        name = served.engine.portfolio_name
        return self._boards.get(name) or self._boards.setdefault(name, Board(View(served).sections))


def dashboard_blueprint(portfolios: Portfolios, streams: Streams | None = None) -> Blueprint:
    """The routes of the dashboard."""
    return Dashboard(portfolios, streams).blueprint()


def _page(template: str, **given: Any) -> Response:
    text = render_template(template, address=address, **given)
    return Response(text, mimetype="text/html", headers={"Cache-Control": "no-store"})


def _with_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response
