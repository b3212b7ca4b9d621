"""The WSGI application: intake, operator's commands and views around the engines."""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from flask import Flask, request
from flask.typing import ResponseReturnValue

from core.config import RateLimitSettings
from core.postgres.patience import within
from live.api import errors
from live.api.access import Access
from live.api.book import BookApi
from live.api.book_briefings import book_briefings_blueprint
from live.api.book_files import BookFiles
from live.api.book_pnl import book_pnl_blueprint
from live.api.book_positions import BookPositions
from live.api.book_reference import BookReference
from live.api.book_reports import BookReports
from live.api.description import description_blueprint
from live.api.operator import OperatorCommands
from live.api.orders import orders_blueprint
from live.api.positions import positions_blueprint
from live.api.proposals import proposals_blueprint
from live.api.risk import RiskApi
from live.api.risk_sessions import RiskSessionsApi
from live.api.signals import signals_blueprint
from live.api.status import health_blueprint, status_blueprint
from live.book_desk import BookDesk
from live.dashboard.book import BookPages
from live.dashboard.linked import LinkedPages
from live.dashboard.pages import dashboard_blueprint
from live.dashboard.risk import RiskPages
from live.links import Links
from live.metrics import Metrics
from live.operators import Operators
from live.portfolios import Portfolios
from live.proxies import TrustedProxies, networks_of
from live.rate_limits import RateLimits
from live.short_cut import BEGUN
from live.webhook import BegunAlert, Webhook

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from live.reckoning import Reckoning

# Of the two seconds that no request waits longer than, what is left is for the answer itself.
READ_WITHIN_SECONDS = 1.8
NO_OTHER_LIMITS = RateLimitSettings()
_OF_THE_BOOK = ("/api/book/", "/api/risk/", "/dashboard/book", "/dashboard/risk")


class Application(Flask):
    """Flask with one deadline for all that a request reads from the database; `webhook` may also be asked past it. `book` is
    what requests of the book ask, where there is one."""

    webhook: Webhook
    book: BookDesk | None

    def wsgi_app(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """A request. Nothing is left to read once it is answered: bodies are whole."""
        if self.book is not None and environ["PATH_INFO"].startswith(_OF_THE_BOOK):
            # Once a process, and not on the time of what is then asked of the database. What is not installed is told there.
            with suppress(ImportError):
                self.book.get_ready()
        with within(READ_WITHIN_SECONDS):
            return super().wsgi_app(environ, start_response)

    def dispatch_request(self) -> ResponseReturnValue:
        """The answer. What was begun with is past all that could be refused, by routing too."""
        begun: BegunAlert | None = request.environ.get(BEGUN)
        return super().dispatch_request() if begun is None else self.webhook.finish(begun)


def create_app(
    portfolios: Portfolios,
    *,
    operators: Operators,
    session_secret: str,
    allowed_addresses: Collection[str] = (),
    trusted_proxies: Collection[str] = (),
    rate_limits: RateLimitSettings = NO_OTHER_LIMITS,
    links: Links | None = None,
    book: BookDesk | None = None,
    reckoning: "Callable[[], Reckoning | None]" = lambda: None,
) -> Application:
    """The application around the portfolios' engines. Sessions of browsers are signed with what `session_secret` gives.

    Where `allowed_addresses` (addresses or networks) is not empty, alerts come from there only; who they come from is what
    `trusted_proxies` say, where they connect. `links` decide proposals; None: there are none. Without `book` none is
    told of; `reckoning` tells how its days stand. Raises ConfigurationError for an address that is none.
    """
    app = Application("live", static_folder=None)
    app.book = book
    # A path is right or wrong: a redirect would be an answer that the sender of an alert does not follow.
    app.url_map.merge_slashes = False
    trusted = networks_of(trusted_proxies, "trusted_proxies")
    if trusted:
        app.wsgi_app = TrustedProxies(app.wsgi_app, trusted)  # type: ignore[method-assign]  # Flask's own way
    errors.install(app)
    limits = RateLimits(rate_limits)
    access = Access(operators, limits.tokens, secret=session_secret, trusts_proxies=bool(trusted))
    access.install(app)
    metrics = Metrics(portfolios, reckoning)
    app.webhook = Webhook(portfolios, metrics, limits, allowed_addresses=allowed_addresses, trusted_proxies=trusted)
    app.register_blueprint(app.webhook.blueprint())
    app.register_blueprint(positions_blueprint(portfolios))
    app.register_blueprint(orders_blueprint(portfolios))
    app.register_blueprint(proposals_blueprint(portfolios))
    app.register_blueprint(signals_blueprint(portfolios))
    app.register_blueprint(status_blueprint(portfolios))
    app.register_blueprint(health_blueprint(portfolios, metrics))
    app.register_blueprint(dashboard_blueprint(portfolios))
    app.register_blueprint(LinkedPages(portfolios, links, limits.tokens).blueprint())
    app.register_blueprint(OperatorCommands(portfolios, access).blueprint())
    book_api = BookApi(portfolios, access, book)
    app.register_blueprint(book_api.blueprint())
    app.register_blueprint(BookFiles(book_api).blueprint())
    app.register_blueprint(BookReports(book_api).blueprint())
    app.register_blueprint(BookReference(book_api).blueprint())
    app.register_blueprint(BookPositions(portfolios, access, book_api.session, book_api.now).blueprint())
    app.register_blueprint(book_briefings_blueprint(portfolios, book_api.session))
    app.register_blueprint(book_pnl_blueprint(portfolios, book_api.session, book_api.today))
    app.register_blueprint(RiskApi(book_api).blueprint())
    app.register_blueprint(RiskSessionsApi(book_api).blueprint())
    app.register_blueprint(BookPages(portfolios, book_api).blueprint())
    app.register_blueprint(RiskPages(portfolios, book_api).blueprint())
    app.register_blueprint(description_blueprint())
    return app
