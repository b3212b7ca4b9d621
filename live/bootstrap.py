"""Puts the process together: the only place that names concrete classes and reads the clock."""

import os
import signal
import socket
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog

from core.config import FileSettings, load_file_settings
from core.db_state_manager import DatabaseStateManager
from core.errors import ConfigurationError, PortfolioError
from core.postgres.embedded import EmbeddedServerError
from core.settings import Settings
from live.contracts_desk import ContractsDesk
from live.database import database_to_be
from live.engine import LiveTradingEngine
from live.heartbeat import Heartbeat
from live.inbox import hand_over
from live.leadership import leadership
from live.logs import configure_logging
from live.options import LiveOptions
from live.order_desk import brokers_settings, order_desk, settings_for
from live.spool import Spool, open_spool
from live.start import Start

if TYPE_CHECKING:
    from live.server import Server

DRAIN_SECONDS = 3.0
log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def run_live(options: LiveOptions) -> int:
    """Serve a portfolio until SIGTERM or SIGINT; the process' exit code, 1 with a sentence on stderr when it cannot."""
    configure_logging()
    try:
        return _serve(options, load_file_settings(options.config))
    except (PortfolioError, EmbeddedServerError) as error:
        log.error("cannot serve", reason=str(error))
        return 1


class _Process:
    """Why and when the process ends: asked to by a signal, or because it may not go on."""

    def __init__(self) -> None:
        self.ending = threading.Event()
        self.failure: str | None = None

    def fail(self, reason: str) -> None:
        """End with exit code 1."""
        self.failure = self.failure or reason
        self.ending.set()

    def asked(self, _number: int, _frame: FrameType | None) -> None:
        """End with exit code 0."""
        self.ending.set()


def _serve(options: LiveOptions, file_settings: FileSettings) -> int:
    from live.secrets import operator_token, require_safe_bind

    require_safe_bind(options.host, file_settings.webhook_secret)
    brokers = brokers_settings(file_settings, options.broker)
    settings = settings_for(file_settings.settings, brokers)
    contracts = ContractsDesk(file_settings.contracts, settings, brokers.by_contract)
    contracts.document_on(utc_now().date())  # what is wrong with a file is told before anything is begun
    process = _Process()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, process.asked)
    with ExitStack() as stack:
        _make_folder(options.data_dir)
        token = operator_token(options.data_dir, file_settings.operator_token)
        spool = stack.enter_context(open_spool(options.data_dir / "spool", options.portfolio))
        database = stack.enter_context(database_to_be(options.data_dir, options.db_config, options.db_env, create=True))
        instance_id = f"{socket.gethostname()[:40]}-{os.getpid()}-{os.urandom(3).hex()}"
        manager = stack.enter_context(
            DatabaseStateManager(
                database.dsn,
                portfolio=options.portfolio,
                instance_id=instance_id,
                pool_size=database.pool_size,
                replica=database.replica,
                connect_for=None,
            )
        )
        holder = f"live pid {os.getpid()} on {socket.gethostname()}"
        leads = leadership(database.dsn, options.portfolio, holder, file_settings.leadership)
        capital = options.capital if options.capital is not None else file_settings.initial_capital
        engine = LiveTradingEngine(
            manager,
            settings,
            clock=utc_now,
            initial_capital=capital,
            on_fatal=process.fail,
            ending=process.ending,
            spool=spool,
            contracts_on=contracts.document_on,
            roll_at=file_settings.contracts.roll_at,
        )
        server = _server(options, file_settings, settings, engine, token)
        serving = threading.Thread(target=server.serve, name="http", daemon=True)

        def replaced(reason: str) -> None:
            engine.replaced = True
            process.fail(reason)

        heartbeat = Heartbeat(manager, leads, engine, revive=database.revive, on_lost=replaced)
        # Undone from the last to the first: nobody new is let in, what waits is decided and answered, then the rest.
        stack.callback(_leave_to_the_leader, engine, spool)
        stack.callback(lambda: serving.join(DRAIN_SECONDS) if serving.ident is not None else None)
        # A follower need not wait for our last answers.
        stack.callback(leads.release)
        stack.callback(heartbeat.stop)
        stack.callback(engine.stop, DRAIN_SECONDS)
        desk = order_desk(
            engine,
            settings,
            brokers,
            options.data_dir / "broker" / options.portfolio,
            clock=utc_now,
            may_send=lambda: engine.serving and leads.seconds_left > 0,
            contracts=contracts,
        )
        start_orders = stack.enter_context(desk)
        stack.callback(server.stop)
        serving.start()
        start = Start(
            database,
            leads,
            heartbeat,
            engine,
            port=server.port,
            say_ready=lambda: _say_ready(options.host, server.port),
        )
        start.run(process.ending)
        if engine.serving:
            start_orders()
        process.ending.wait()
        log.info("stopping", reason=process.failure or "asked to")
    return 0 if process.failure is None else 1


def _leave_to_the_leader(engine: LiveTradingEngine, spool: Spool) -> None:
    # Whoever leads next decides it: that may be another instance.
    if spool.kept and not engine.database_away:
        hand_over(spool, engine.db_manager)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"`--data-dir`: {folder} cannot be made: {error.strerror}") from error


def _server(
    options: LiveOptions, file_settings: FileSettings, settings: Settings, engine: LiveTradingEngine, token: str
) -> "Server":
    # Flask and waitress are imported where something is served: the other commands start without them.
    from live.app import create_app
    from live.server import Server

    app = create_app(
        engine,
        instruments=lambda: settings.instruments,
        naive_timezone=ZoneInfo(file_settings.naive_timezone),
        webhook_secret=file_settings.webhook_secret,
        operator_token=token,
        allowed_addresses=file_settings.allowed_addresses,
        as_listed=settings.sizing.mode == "as_listed",
    )
    return Server(app, options.host, options.port)


def _say_ready(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    os.write(1, f"ready on http://{shown}:{port}\n".encode())
