"""One portfolio's parts put together, for as long as its engine lives."""

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from core.config import FileSettings
from core.db_state_manager import DatabaseStateManager
from core.errors import PortfolioError
from core.postgres.connections import Connections
from core.postgres.listen import Listener, lead_channel
from core.settings import Settings
from live.brokers.settings import BrokersSettings
from live.contracts_desk import ContractsDesk
from live.database import DatabaseInUse
from live.engine import LiveTradingEngine
from live.following import LOOK_SECONDS
from live.heartbeat import EVERY_SECONDS, Heartbeat
from live.leadership import leadership
from live.options import LiveOptions
from live.order_desk import brokers_settings, order_desk, settings_for
from live.secrets import require_safe_bind
from live.service import Life, Over
from live.spool import Spool
from live.spread import SETTLED_SECONDS, Moves, precedence
from live.start import FOLLOW_SECONDS, Start
from live.webhook_secrets import WebhookSecrets

if TYPE_CHECKING:
    from core.profiles import Profile

DRAIN_SECONDS = 3.0
# So many portfolios are looked after as closely as one; more share what that costs the database.
CLOSELY = 5
MOST_CONNECTIONS = 30
# Who is silent for three seconds is not taken for alive.
MOST_BETWEEN_BEATS = 2.0
# For so long another instance may take what was given up for it.
HOLD_BACK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What is configured for one portfolio."""

    name: str
    file_settings: FileSettings
    secrets: WebhookSecrets | None
    intake: "Profile | None"
    brokers: BrokersSettings
    settings: Settings
    contracts: ContractsDesk
    capital: Decimal | None

    @classmethod
    def of(cls, name: str, file_settings: FileSettings, options: LiveOptions, clock: Callable[[], datetime]) -> Self:
        """Read from what is configured for all. Raises ConfigurationError."""
        own = file_settings.of(name)
        secrets = WebhookSecrets.of(own, clock)
        require_safe_bind(options.host, None if secrets is None else secrets.current)
        brokers = brokers_settings(own, options.broker)
        settings = settings_for(own.settings, brokers)
        return cls(
            name=name,
            file_settings=own,
            secrets=secrets,
            intake=own.intake_profile(),
            brokers=brokers,
            settings=settings,
            contracts=ContractsDesk(own.contracts, settings, brokers.by_contract),
            capital=options.capital if options.capital is not None else own.initial_capital,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the portfolios of a process have in common."""

    options: LiveOptions
    database: DatabaseInUse
    clock: Callable[[], datetime]
    instance_id: str
    redis: Any | None
    connections: Connections | None
    listener: Listener
    port: int
    say_ready: Callable[[str], None]
    moves: Moves

    @classmethod
    def connections_for(cls, options: LiveOptions, database: DatabaseInUse) -> Connections | None:
        """What several portfolios read over together; None: one has its own."""
        several = len(options.portfolios) - 1
        return Connections(min(database.pool_size + several // CLOSELY, MOST_CONNECTIONS)) if several else None

    @property
    def pace(self) -> float:
        """How many times longer than one portfolio each is left to itself."""
        return max(1.0, len(self.options.portfolios) / CLOSELY)


def begin_life(shared: Shared, configured: Configured, spool: Spool, gave_away: bool) -> Life:
    """An engine with all that it needs, not running yet. Where the lead was given away, it is not taken back at once.

    Raises ConfigurationError.
    """
    held, running = ExitStack(), ExitStack()
    try:
        return _assembled(shared, configured, spool, held, running, gave_away=gave_away)
    except BaseException:
        running.close()
        held.close()
        raise


def _assembled(
    shared: Shared, configured: Configured, spool: Spool, held: ExitStack, running: ExitStack, *, gave_away: bool
) -> Life:
    over, options, dsn = Over(), shared.options, shared.database.dsn
    manager = held.enter_context(
        DatabaseStateManager(
            dsn,
            portfolio=configured.name,
            instance_id=shared.instance_id,
            pool_size=shared.database.pool_size,
            replica=shared.database.replica,
            connect_for=None,
            shared=shared.connections,
        )
    )
    holder = f"live pid {os.getpid()} on {socket.gethostname()}"
    leads = leadership(
        dsn,
        configured.name,
        holder,
        configured.file_settings.leadership,
        redis=shared.redis,
        reads=manager.reads if shared.pace > 1 else None,
    )
    engine = LiveTradingEngine(
        manager,
        configured.settings,
        clock=shared.clock,
        initial_capital=configured.capital,
        on_fatal=over.fail,
        ending=over.event,
        spool=spool,
        contracts_on=configured.contracts.document_on,
        roll_at=configured.file_settings.contracts.roll_at,
        follow_every=LOOK_SECONDS * shared.pace,
    )

    def replaced(reason: str) -> None:
        engine.replaced = True
        over.fail(reason)

    heartbeat = Heartbeat(
        manager,
        leads,
        engine,
        revive=shared.database.revive,
        on_lost=replaced,
        listener=shared.listener,
        on_lead_free=over.woken.set,
        every=min(EVERY_SECONDS * shared.pace, MOST_BETWEEN_BEATS),
    )
    # Undone from the last to the first; a follower need not wait for our last answers.
    running.callback(_tell_followers, engine)
    running.callback(leads.release)
    running.callback(heartbeat.stop)
    running.callback(engine.stop, DRAIN_SECONDS)
    start_orders = running.enter_context(
        order_desk(
            engine,
            configured.settings,
            configured.brokers,
            options.data_dir / "broker" / configured.name,
            clock=shared.clock,
            may_send=lambda: engine.serving and leads.may_send,
            contracts=configured.contracts,
        )
    )
    start = Start(
        shared.database,
        leads,
        heartbeat,
        engine,
        port=shared.port,
        say_ready=partial(shared.say_ready, configured.name),
        follow_every=FOLLOW_SECONDS * shared.pace,
        # With many, connections are what a server has too few of.
        keep_warm=shared.pace == 1,
        woken=over.woken,
        not_before=HOLD_BACK_SECONDS if gave_away else 0.0,
    )

    turns = _Turns(shared, manager, engine, start, start_orders)
    engine.give_lead_away = partial(turns.give_lead_away, over)
    return Life(
        over=over,
        engine=engine,
        run=partial(turns.run, over),
        stop=running.close,
        close=held.close,
        wanted_elsewhere=turns.wanted_elsewhere,
    )


def _tell_followers(engine: LiveTradingEngine) -> None:
    # They look by themselves, too: nobody waits for a database that is away.
    if not engine.database_away:
        with suppress(PortfolioError):
            engine.reads.run("wake", channel=lead_channel(engine.portfolio_name))


@dataclass(frozen=True, slots=True)
class _Turns:
    """Who leads: this instance as soon as it may, and as long as no other one is to."""

    shared: Shared
    manager: DatabaseStateManager
    engine: LiveTradingEngine
    start: Start
    start_orders: Callable[[], None]

    @property
    def _several(self) -> bool:
        return len(self.shared.options.portfolios) > 1

    def run(self, over: Over) -> None:
        """Until the engine serves."""
        try:
            self.start.run(over.event)
        except Exception:
            if self._several:
                # It is tried again, and the others do not wait for it.
                self.shared.say_ready(self.manager.portfolio)
            raise
        if self.engine.serving:
            self.start_orders()

    def give_lead_away(self, over: Over) -> bool:
        """As engine.give_lead_away."""
        if not self.engine.serving or not self._others():
            return False
        over.end()
        return True

    def _others(self) -> list[str]:
        followers = self.manager.reads.all("followers")
        return [row["instance_id"] for row in followers if row["instance_id"] != self.manager.instance_id]

    def wanted_elsewhere(self) -> bool:
        """Whether one who follows should lead. An instance with one portfolio keeps it."""
        if not self._several or self.start.served_for < SETTLED_SECONDS:
            return False
        try:
            others = self._others()
        except PortfolioError:
            return False
        first, *_ = precedence(self.manager.portfolio, [self.manager.instance_id, *others])
        return first != self.manager.instance_id and self.shared.moves.may_move()
