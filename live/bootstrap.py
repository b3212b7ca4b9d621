"""Puts the process together: the process with what its portfolios share; the only place that reads the clock."""

import os
import socket
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import structlog

from core.config import FileSettings, load_file_settings
from core.errors import ConfigurationError, PortfolioError
from core.postgres.embedded import EmbeddedServerError
from core.postgres.listen import Listener
from live.assembly import CLOSELY, Configured, Shared, begin_life
from live.book_desk import BookDesk
from live.collector import collector_off, set_aside
from live.database import database_to_be
from live.ending import Ending
from live.engine import LiveTradingEngine
from live.leadership import redis_client
from live.links import Links
from live.logs import configure_logging, in_background
from live.operators import OPERATORS_FILE, Operators
from live.options import LiveOptions
from live.order_desk import require_accounts_apart
from live.secret_files import secret_from
from live.service import Service
from live.service_manager import READY, STOPPING, tell_service_manager
from live.spool import open_spool
from live.spread import Moves
from live.traces import traced

if TYPE_CHECKING:
    from live.briefings.keeper import BookKeeper
    from live.reckoning import RiskKeeper
    from live.server import Server

DRAIN_SECONDS = 3.0
STOPPED_AT_ONCE = 16
log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def run_live(options: LiveOptions) -> int:
    """Serve portfolios until SIGTERM or SIGINT; the process' exit code, 1 with a sentence on stderr when it cannot."""
    configure_logging(json_lines=options.log == "json")
    with in_background():
        try:
            return _serve(options, load_file_settings(options.config))
        except (PortfolioError, EmbeddedServerError) as error:
            log.error("cannot serve", reason=str(error))
            return 1


def _serve(options: LiveOptions, file_settings: FileSettings) -> int:
    from live.secrets import operator_token

    configured = [Configured.of(name, file_settings, options, utc_now) for name in options.portfolios]
    require_accounts_apart({each.name: each.brokers for each in configured})
    for each in configured:
        each.contracts.document_on(utc_now().date())  # what is wrong with a file is told before anything is begun
    with Ending() as process, ExitStack() as stack:
        instance_id = f"{socket.gethostname()[:40]}-{os.getpid()}-{os.urandom(3).hex()}"
        stack.enter_context(traced(instance_id))
        _make_folder(options.data_dir)
        token = operator_token(options.data_dir, file_settings.operator_token)
        operators = Operators(token, options.data_dir / OPERATORS_FILE)
        spools = [stack.enter_context(open_spool(options.data_dir / "spool", each.name)) for each in configured]
        database = stack.enter_context(database_to_be(options.data_dir, options.db_config, options.db_env, create=True))
        services: dict[str, Service] = {}
        links = _links(options, file_settings)
        largest = file_settings.book.upload_max_bytes
        book = BookDesk(
            database.dsn,
            utc_now,
            options.data_dir / "uploads",
            upload_max_bytes=largest,
            batch=_batch_given(file_settings),
        )
        stack.callback(book.close)
        keeper = _book_keeper(database.dsn, configured, services)
        risk = _risk_keeper(file_settings, services, book)
        server = _server(options, file_settings, operators, token, configured, services, links, book, keeper, risk)
        listener = Listener(database.dsn)
        stack.callback(listener.stop)
        shared = Shared(
            options=options,
            database=database,
            clock=utc_now,
            instance_id=instance_id,
            redis=_redis(file_settings),
            connections=Shared.connections_for(options, database),
            listener=listener,
            port=server.port,
            moves=Moves(),
            say_ready=_Readiness(options.portfolios, partial(_say_ready, options.host, server.port)).one_more,
        )
        alone = len(configured) == 1
        for each, spool in zip(configured, spools, strict=True):
            begin = partial(begin_life, shared, each, spool)
            services[each.name] = Service(each.name, begin, process.fail if alone else None)
            stack.callback(services[each.name].close)
            stack.callback(services[each.name].leave_to_the_leader)
        serving = threading.Thread(target=server.serve, name="http", daemon=True)
        # Undone from the last to the first: nobody new is let in, what waits is decided and answered, then the rest.
        stack.callback(lambda: serving.join(DRAIN_SECONDS) if serving.ident is not None else None)
        stack.callback(_stop, list(services.values()))
        _notify(options, configured, services, server.port, process, stack, links, risk)
        stack.callback(server.stop)
        stack.callback(book.work.close)
        beside = [each for each in (keeper, risk) if each is not None]
        for each_beside in beside:
            stack.callback(each_beside.stop)
        serving.start()
        for service in services.values():
            service.start()
        for each_beside in beside:
            each_beside.start()
        process.wait()
        tell_service_manager(STOPPING)
        log.info("stopping", reason=process.failure or "asked to")
    return 0 if process.failure is None else 1


def _notify(
    options: LiveOptions,
    configured: list[Configured],
    services: dict[str, Service],
    port: int,
    process: Ending,
    stack: ExitStack,
    links: Links | None,
    risk: "RiskKeeper | None",
) -> None:
    """Have somebody told what happens, where that is configured. Raises ConfigurationError."""
    settings = {each.name: each.file_settings.notifications for each in configured}
    if not any(each.wanted for each in settings.values()):
        return
    from live.notify.service import Notifications

    def engine_of(name: str) -> Callable[[], LiveTradingEngine]:
        return lambda: services[name].engine

    pace = max(1.0, len(configured) / CLOSELY)
    notifications = Notifications(
        settings,
        engine_of,
        options.data_dir,
        port=port,
        clock=utc_now,
        pace=pace,
        links=links,
        troubles=tuple if risk is None else risk.troubles,
    )
    stack.callback(lambda: notifications.stop(process.failure))
    notifications.start()


def _book_keeper(dsn: str, configured: list[Configured], services: dict[str, Service]) -> "BookKeeper | None":
    """What keeps the book, where that is configured for any portfolio; nothing is imported elsewhere."""
    wanted = [each for each in configured if each.file_settings.book.enabled]
    if not wanted:
        return None
    from live.briefings.keeper import BookKeeper, KeptBook

    def engine_of(name: str) -> LiveTradingEngine:
        return services[name].engine

    books = {
        each.name: KeptBook(
            settings=each.file_settings.book,
            notifications=each.file_settings.notifications,
            engine_now=partial(engine_of, each.name),
            calendar=each.contracts.calendar,
        )
        for each in wanted
    }
    return BookKeeper(dsn, books, clock=utc_now)


def _batch_given(file_settings: FileSettings) -> dict[str, Any]:
    """What is configured for days that are reckoned, as the worker takes it."""
    given = file_settings.contracts.calendar
    calendar = {} if given is None else {"calendar": str(given)}
    return {"grace_seconds": file_settings.book.close_grace_seconds, **calendar}


def _risk_keeper(file_settings: FileSettings, services: dict[str, Service], book: BookDesk) -> "RiskKeeper | None":
    """What has days reckoned, where that is configured; nothing is imported elsewhere."""
    if not file_settings.risk.enabled:
        return None
    from live.contracts_file import DEFAULT_CALENDAR, load_calendar
    from live.reckoning import RiskKeeper

    return RiskKeeper(
        book,
        file_settings.risk,
        engines=lambda: [service.engine for service in services.values()],
        calendar=partial(load_calendar, file_settings.contracts.calendar or DEFAULT_CALENDAR),
        close_grace_seconds=file_settings.book.close_grace_seconds,
        clock=utc_now,
    )


def _stop(services: list[Service]) -> None:
    """At the same time: others take the lead of each as soon as it is given up."""
    with ThreadPoolExecutor(max_workers=min(len(services), STOPPED_AT_ONCE)) as stopping:
        list(stopping.map(Service.stop, services))


class _Readiness:
    """The first start of every portfolio, over or kept waiting by what cannot be mended here: then the process says ready."""

    def __init__(self, awaited: Collection[str], say: Callable[[], None]) -> None:
        self._awaited = set(awaited)
        self._say = say
        self._lock = threading.Lock()

    def one_more(self, portfolio: str) -> None:
        """One of them is."""
        with self._lock:
            if portfolio not in self._awaited:
                return
            self._awaited.remove(portfolio)
            if not self._awaited:
                self._say()


def _links(options: LiveOptions, file_settings: FileSettings) -> Links | None:
    """What decides proposals for whoever has it; None where nobody says where a browser finds us. Raises ConfigurationError."""
    from live.secrets import LEAST_LINK_SECRET, link_secret

    if file_settings.public_url is None:
        return None
    file, given = file_settings.link_secret_file, file_settings.link_secret
    configured = given if file is None else secret_from(file, "link_secret_file", LEAST_LINK_SECRET)
    return Links(link_secret(options.data_dir, configured), file_settings.public_url, utc_now)


def _redis(file_settings: FileSettings) -> Any | None:
    url = file_settings.leadership.redis_url
    try:
        return None if url is None else redis_client(url)
    except ValueError:
        # Not its words: they show a part of the address, and the password may be in it.
        raise ConfigurationError(
            "`leadership.redis_url` cannot be read; a password's `/`, `#`, `?`, `@` and `%` are written %2F, %23, %3F, %40, %25"
        ) from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"`--data-dir`: {folder} cannot be made: {error.strerror}") from error


def _server(
    options: LiveOptions,
    file_settings: FileSettings,
    operators: Operators,
    session_secret: str,
    configured: list[Configured],
    services: dict[str, Service],
    links: Links | None,
    book: BookDesk,
    keeper: "BookKeeper | None",
    risk: "RiskKeeper | None",
) -> "Server":
    # Flask and waitress are imported where something is served: the other commands start without them.
    with collector_off():
        from live.app import create_app
        from live.arriving import asked_of
        from live.portfolios import Portfolios, Served
        from live.server import Server

    def engine_of(name: str) -> LiveTradingEngine:
        return services[name].engine

    served = {
        each.name: Served(
            engine_now=partial(engine_of, each.name),
            instruments=partial(getattr, each.settings, "instruments"),
            naive_timezone=ZoneInfo(each.file_settings.naive_timezone),
            secrets=each.secrets,
            intake=each.intake,
            as_listed=each.settings.sizing.mode == "as_listed",
            lease_in_redis=each.file_settings.leadership.redis_url is not None,
            book_lag=(lambda: None) if keeper is None else partial(keeper.lag, each.name),
        )
        for each in configured
    }
    app = create_app(
        Portfolios(served),
        operators=operators,
        session_secret=session_secret,
        allowed_addresses=file_settings.allowed_addresses,
        trusted_proxies=file_settings.trusted_proxies,
        rate_limits=file_settings.rate_limits,
        links=links,
        book=book,
        reckoning=(lambda: None) if risk is None else risk.told,
    )
    return Server(
        app,
        options.host,
        options.port,
        begin=app.webhook.begin,
        admit=partial(asked_of, app),
        largest_upload=book.work.upload_max_bytes,
    )


def _say_ready(host: str, port: int) -> None:
    # What was made until now stays: nobody who waits for an answer is to wait for the collector to look through it.
    set_aside()
    shown = f"[{host}]" if ":" in host else host
    os.write(1, f"ready on http://{shown}:{port}\n".encode())
    tell_service_manager(READY)
