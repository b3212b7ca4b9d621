"""The WSGI application: intake, operator's commands and views around one engine."""

from collections.abc import Callable, Collection, Iterable
from datetime import tzinfo
from typing import TYPE_CHECKING

from flask import Flask

from core.postgres.patience import within
from live.api import errors
from live.api.operator import Operator
from live.api.orders import orders_blueprint
from live.api.positions import positions_blueprint
from live.api.signals import signals_blueprint
from live.api.status import status_blueprint
from live.ports import Engine
from live.proxies import TrustedProxies, networks_of
from live.webhook import Webhook

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Of the two seconds that no request waits longer than, what is left is for the answer itself.
READ_WITHIN_SECONDS = 1.8


class _Bounded(Flask):
    """Flask with one deadline for all that a request reads from the database."""

    def wsgi_app(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """A request. Nothing is left to read once it is answered: bodies are whole."""
        with within(READ_WITHIN_SECONDS):
            return super().wsgi_app(environ, start_response)


def create_app(
    engine: Engine,
    *,
    instruments: Callable[[], Collection[str]],
    naive_timezone: tzinfo,
    webhook_secret: str | None,
    operator_token: str,
    allowed_addresses: Collection[str] = (),
    trusted_proxies: Collection[str] = (),
    as_listed: bool = False,
) -> Flask:
    """The application for one engine.

    `instruments` tells what is configured now; a time without an offset is of `naive_timezone`; where
    `allowed_addresses` (addresses or networks) is not empty, alerts come from there only; who they come from is what
    `trusted_proxies` say, where they connect; `as_listed` takes entries without stop, ATR and ER. Raises
    ConfigurationError for an address that is none.
    """
    app = _Bounded("live", static_folder=None)
    # A path is right or wrong: a redirect would be an answer that the sender of an alert does not follow.
    app.url_map.merge_slashes = False
    if trusted_proxies:
        trusted = networks_of(trusted_proxies, "trusted_proxies")
        app.wsgi_app = TrustedProxies(app.wsgi_app, trusted)  # type: ignore[method-assign]  # Flask's own way
    errors.install(app)
    webhook = Webhook(
        engine,
        instruments=instruments,
        naive_timezone=naive_timezone,
        secret=webhook_secret,
        allowed_addresses=allowed_addresses,
        as_listed=as_listed,
    )
    app.register_blueprint(webhook.blueprint())
    app.register_blueprint(positions_blueprint(engine))
    app.register_blueprint(orders_blueprint(engine))
    app.register_blueprint(signals_blueprint(engine))
    app.register_blueprint(status_blueprint(engine))
    app.register_blueprint(Operator(engine, operator_token).blueprint())
    return app
