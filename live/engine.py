"""LiveTradingEngine: one writer decides what waits, commits it as one batch, shows it, and only then answers."""

import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime
from datetime import time as clock_time
from decimal import Decimal
from typing import Any

import structlog

from core.db_state_manager import DatabaseStateManager, Loaded
from core.errors import DatabaseAway, Halt, LeadershipLost, PortfolioError
from core.fingerprint import fingerprint_of
from core.inputs import ClosePositions, Command, ExpireProposals, OrderInput, OrderReport, SetContracts, SignalInput
from core.journal import Batch
from core.models import Position, Signal, SignalType
from core.orders import Fill, OrderState, counted
from core.portfolio import Portfolio
from core.portfolio_state import PortfolioStateManager
from core.postgres.patience import seconds_left
from core.postgres.reads import Reads
from core.postgres.rows import position_from_row
from core.settings import Settings
from live.answers import Answer, AnswerKind
from live.contracts_desk import DailyContracts
from live.counting import DeliveryCounter
from live.deliveries import CROWD, CROWDED_SECONDS, Delivery, Waiting
from live.following import LOOK_SECONDS, Follower, News
from live.freezes import tell_freezes
from live.inbox import Inbox, hand_over
from live.intake import Intake
from live.keeping import NOT_KEPT, SILENT_FOR_SECONDS, Keeping
from live.margin import tell_margin
from live.order_log import tell_kept, tell_orders
from live.origins import Origins
from live.reconcile import Finding
from live.recovery import recover, require_fitting
from live.rollover import DailyRoll, exchange_day
from live.spool import Spool
from live.writer import PortfolioWriter, settle_all

log = structlog.get_logger(__name__)

# Of the two seconds that no request waits longer than, what is left is for the local disk.
ANSWER_WITHIN_SECONDS = 1.8
# One failure may be a connection that died idle: the next try tells.
FAILURES_UNTIL_AWAY = 2


class LiveTradingEngine:
    """The one owner of a portfolio's state. `clock` gives aware UTC; `on_fatal` is told when it may not go on, `ending`
    ends a start that waits for the database. With a `spool` signals are taken from construction on: what cannot be
    decided in time is kept there and decided later; without one it is not taken. `contracts_on` tells what instruments are
    traded in on a day (core.listed_contracts as JSON), `roll_at` when what is due to leave one is rolled, None = by command.
    Who follows looks into the journal every `follow_every` seconds."""

    def __init__(
        self,
        db_manager: DatabaseStateManager,
        settings: Settings,
        *,
        clock: Callable[[], datetime],
        initial_capital: Decimal | None = None,
        on_fatal: Callable[[str], None] = lambda _: None,
        answer_within: float = ANSWER_WITHIN_SECONDS,
        ending: threading.Event | None = None,
        spool: Spool | None = None,
        contracts_on: Callable[[date], dict[str, Any]] = lambda _: {},
        roll_at: clock_time | None = None,
        follow_every: float = LOOK_SECONDS,
    ) -> None:
        self.db_manager = db_manager
        self.portfolio_name = db_manager.portfolio
        self.failed_invariants: tuple[str, ...] = ()
        self.serving = False
        self.database_away = False
        self.replaced = False
        # Another program's version leads: what comes is kept here, and handed on from the spool.
        self.hands_on = False
        self.database_seen: float | None = None
        self.spool = spool
        self.on_commit: Callable[[Batch], None] = lambda _: None
        # Whether another instance takes the lead from this one, which follows then.
        self.give_lead_away: Callable[[], bool] = lambda: False
        self.reconcile_with_broker: Callable[[], tuple[Finding, ...]] | None = None
        self.portfolio_state_manager = PortfolioStateManager(lambda: self.portfolio)
        self._settings = settings
        self._initial_capital = initial_capital
        self._clock = clock
        self._on_fatal = on_fatal
        self._answer_within = answer_within
        self._waiting = Waiting(self._marks)
        self._writer: PortfolioWriter | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer-{self.portfolio_name}", daemon=True)
        self._ending = ending or threading.Event()
        self._stopping = threading.Event()
        self._inbox = Inbox(db_manager, settings)
        self._follow_every = follow_every
        self._contracts = DailyContracts(contracts_on)
        self._rolls = DailyRoll(roll_at)
        self._counter = DeliveryCounter(lambda fingerprint: db_manager.count_delivery(fingerprint))
        self._in_hand: list[Delivery] = []
        self._keeping = Keeping(spool, self._waiting)
        self._follower: Follower | None = None
        self._news = News()
        self._origins = Origins()

    # --- lifecycle

    def follow(self) -> None:
        """Know the state while another instance leads, and hand it what comes in. Raises DatabaseAway, StateDiverged."""
        if self._follower is None or not self._follower.follows:
            follower = Follower(
                self.db_manager,
                self._settings,
                require_fitting=self._require_fitting,
                on_fatal=self._on_fatal,
                every=self._follow_every,
                news=self._news,
            )
            follower.start()
            self._follower = follower
            self.hands_on = False

    def _require_fitting(self, loaded: Loaded) -> None:
        # What could not lead must not follow either: it would take the term, and then give up.
        contracts = self._contracts.at_start(self._clock().date())
        require_fitting(loaded, self._settings, self._initial_capital, contracts)

    @property
    def following(self) -> bool:
        """Whether another instance leads."""
        return self._follower is not None

    def hand_over(self) -> None:
        """Put what the spool holds into the leader's inbox. Never raises."""
        if self.spool is not None and self.spool.kept:
            # It is for whoever leads to decide, and he finds it there.
            self._waiting.forget(hand_over(self.spool, self.db_manager))

    def start(self) -> None:
        """Take the term, load, check, take up what was kept undecided, then serve.

        Raises ConfigurationError (another capital than the portfolio's, an open position's instrument not configured),
        DatabaseAway, StateDiverged.
        """
        if self.serving:
            return
        followed = None
        if self._follower is not None:
            # Signals go on into the inbox until they are decided here.
            self._follower.stop()
            followed = self._follower.followed
        now = self._clock()
        contracts = self._contracts.at_start(now.date())
        recovered = recover(self.db_manager, self._settings, self._initial_capital, now, contracts, followed)
        writer = PortfolioWriter(
            self.db_manager,
            recovered.portfolio,
            clock=lambda _: self._clock(),
            pause=self._ending.wait,
            give_back=self._waiting.put_back,
            failing=self._failing,
            observe=self._committed,
        )
        self.failed_invariants = recovered.broken
        for kept in self._inbox.look():
            self._waiting.put(kept)
        self._load_origins(recovered.portfolio)
        self._writer = writer
        writer.parks = True
        # From here on an ending process lets what waits be decided first; stop() says when that is enough.
        writer.pause = self._stopping.wait
        self._thread.start()
        self.serving = True
        if self._follower is not None or self.hands_on:
            self._follower, self.hands_on = None, False
            self.take_up_the_rest()

    def take_up_the_rest(self) -> None:
        """What was put into the inbox, or could not be and is in the spool, while we loaded or another engine was in our place.
        Told twice it is decided once."""
        self._take_up_the_spool()
        # Once a second somebody looks there besides.
        with suppress(PortfolioError):
            self.look_into_inbox()

    def _take_up_the_spool(self) -> None:
        with suppress(PortfolioError):
            for spooled in [] if self.spool is None else self.spool.load():
                self._waiting.put(Delivery(spooled.given, spooled.payload, kept=True))

    def stop(self, timeout: float = 4.0) -> None:
        """Decide what waits, then stop; what cannot be decided within `timeout` seconds is answered `not taken`."""
        self.serving = False
        self._waiting.close()
        if self._follower is not None:
            self._follower.stop()
        if self._thread.ident is None:
            self._answer_the_rest("the engine stops")
        else:
            self._thread.join(timeout)
            self._stopping.set()
            self._thread.join(1.0)
        self._counter.stop()

    # --- what others see: committed state only

    @property
    def portfolio(self) -> Portfolio:
        """The committed portfolio: one moment, replaced as a whole after each COMMIT, or as it is followed."""
        follower = self._follower
        return self._held_writer.portfolio if follower is None else follower.portfolio

    @property
    def ready(self) -> bool:
        """Whether signals can be kept now: by the database, or where that is away by the spool."""
        if not self.serving and not self.following and not self.hands_on and not self.database_away:
            return False
        return self.database_answers or self._keeping.usable

    @property
    def database_answers(self) -> bool:
        """Whether the database is there, as far as the last heartbeat knows."""
        # A heartbeat that is late is one that hangs on a server which no longer answers.
        seen = self.database_seen
        answers = seen is None or time.monotonic() - seen < SILENT_FOR_SECONDS
        return (self.serving or self.following) and answers and not self.database_away and not self._keeping.failing

    @property
    def role(self) -> str:
        """`leader`, `follower`, or `starting` where it is neither yet."""
        return "leader" if self.serving else "follower" if self.following else "starting"

    @property
    def last_signal_at(self) -> datetime | None:
        """When the last batch was committed."""
        return None if self._writer is None else self._writer.last_signal_at

    @property
    def _held_writer(self) -> PortfolioWriter:
        if self._writer is None:
            raise DatabaseAway("the engine has not loaded its state yet")
        return self._writer

    @property
    def positions(self) -> Mapping[str, Position]:
        """Open and partial positions by id: the manager's committed ones, read-only."""
        return self.db_manager.cache.current.positions

    @property
    def reads(self) -> Reads:
        """The database, where what is committed is seen."""
        return self.db_manager.reads

    @property
    def lists(self) -> Reads:
        """The same for what is only shown: while another instance leads, a replica's where that is configured."""
        return self.db_manager.lists if self.following else self.db_manager.reads

    def position(self, position_id: str) -> Position | None:
        """A position, open or closed."""
        return self.db_manager.get_position(position_id)

    def status(self) -> dict[str, Any]:
        """The portfolio's figures, and who serves it."""
        follower, portfolio = self._follower, self.portfolio
        return {
            **self.portfolio_state_manager.measure(),
            "portfolio": self.portfolio_name,
            **({"leader": True, "term": self.db_manager.term} if follower is None else follower.told_of_the_leader()),
            "instance_id": self.db_manager.instance_id,
            "pid": os.getpid(),
            **self.backlog(),
            "ready": self.ready,
            "fills": self._settings.execution.fills,
            "orders": counted(portfolio.orders.values()),
            "proposals": portfolio.waiting_proposals,
            "failed_invariants": list(self.failed_invariants),
            "frozen": {row.instrument: row.frozen_reason for row in portfolio.pyramiding.values() if row.frozen_reason},
        }

    def backlog(self) -> dict[str, Any]:
        """How many inputs wait to be decided, and how many of them the spool holds; never raises."""
        writer = self._writer
        parked = 0 if writer is None else len(writer.parked)
        return {"backlog": len(self._waiting) + len(self._begun_with) + parked, "spool": self._keeping.told()}

    def database_status(self) -> dict[str, Any]:
        """What /db/status tells; DatabaseAway when it cannot be asked."""
        in_use, size = self.db_manager.pool_in_use()
        cache = self.db_manager.cache
        return {
            "connected": True,
            **self.reads.server_facts(),
            "pool": {"in_use": in_use, "size": size},
            "cache": {"hits": cache.hits, "misses": cache.misses},
            "migration_version": self.db_manager.migration_version(),
            "term": self.db_manager.term,
        }

    # --- what comes in

    def deliver(self, signal: Signal, payload: dict[str, Any] | None = None) -> Answer:
        """Decide a signal, durably, and answer within two seconds; a duplicate is told its first outcome."""
        delivery = self._delivery(signal, payload)
        follower, kept_only = self._follower, self.hands_on
        answer = self._kept(delivery, self._taken(delivery, follower, kept_only=kept_only), kept_only=kept_only)
        if (follower is not None or kept_only) and delivery.kept and not self.following and not self.hands_on:
            # Meanwhile this instance leads.
            self._waiting.put(delivery)
        return answer

    def begin(self, signal: Signal, payload: dict[str, Any], when_done: Callable[[], None]) -> Delivery | None:
        """The same without waiting: `when_done` is called once finish() need not wait. None where nothing was begun with,
        because deciding is not all that may be needed: then it is for deliver(). Never blocks."""
        if self._follower is not None or self.hands_on or not self.serving:
            return None
        if not self._keeping.patience(self._answer_within, database_away=self.database_away):
            return None
        delivery = self._delivery(signal, payload, when_done)
        return delivery if self._waiting.put(delivery) else None

    def finish(self, delivery: Delivery) -> Answer:
        """What became of what was begun with; waits for it until two seconds are over since."""
        answer = delivery.answer or self._waited_on(delivery)
        return self._kept(delivery, answer, kept_only=False)

    def _delivery(
        self, signal: Signal, payload: dict[str, Any] | None, when_done: Callable[[], None] | None = None
    ) -> Delivery:
        fingerprint = fingerprint_of(self.portfolio_name, signal)
        given = SignalInput(signal=signal, fingerprint=fingerprint, received_at=self._clock())
        return Delivery(given, payload, when_done=when_done)

    def _marks(self, delivery: Delivery) -> int:
        """How many positions it marks, as far as is known now."""
        given, writer = delivery.given, self._writer
        if writer is None or not isinstance(given, SignalInput) or given.signal.type is not SignalType.MARKET_DATA:
            return 0
        return len(writer.portfolio.by_instrument.get(given.signal.instrument, ()))

    def _waited_on(self, delivery: Delivery) -> Answer | None:
        """The answer to a signal that waits in the queue, if it comes in time; nobody waits as one of a crowd."""
        left = 0.0 if self._crowded else self._answer_within - (time.monotonic() - delivery.begun)
        answer = delivery.wait(seconds_left(max(0.0, left)))
        if answer is None:
            self._keeping.away(self._begun_with)
        return answer

    def _kept(self, delivery: Delivery, answer: Answer | None, *, kept_only: bool) -> Answer:
        """The answer, once a signal that was not decided is kept to be decided, or is known not to be."""
        if answer is None or answer.kind in NOT_KEPT:
            kept = self._keeping.keep(delivery) or (self._put_into_the_inbox(delivery) if kept_only else None)
            answer = kept or answer or self._abandon(delivery)
        if answer.kind is AnswerKind.DUPLICATE:
            self._counter.count(delivery.fingerprint or "")
        return answer

    def _taken(self, delivery: Delivery, follower: Follower | None, *, kept_only: bool) -> Answer | None:
        if kept_only and self.spool is not None:
            return None
        return self._decided(delivery) if follower is None else self._handed_on(follower, delivery)

    def _put_into_the_inbox(self, delivery: Delivery) -> Answer | None:
        """What the disk does not take; where that cannot be done either, None."""
        given = delivery.given
        assert isinstance(given, SignalInput)  # noqa: S101 - commands are not taken here
        with suppress(PortfolioError):
            signal_id = self.db_manager.keep_received(
                given.signal, given.fingerprint, received_at=given.received_at, payload=delivery.payload or None
            )
            message = "kept in the database, decided by the instance that leads"
            return Answer(kind=AnswerKind.QUEUED, fingerprint=given.fingerprint, signal_id=signal_id, message=message)
        return None

    def _decided(self, delivery: Delivery) -> Answer | None:
        # A request may have waited for another signal of its alert already.
        patience = self._keeping.patience(seconds_left(self._answer_within), database_away=self.database_away)
        answer = self._submit(delivery, min(patience, CROWDED_SECONDS))
        return self._waited_on(delivery) if answer is None and patience else answer

    def _handed_on(self, follower: Follower, delivery: Delivery) -> Answer | None:
        patience = self._keeping.patience(seconds_left(self._answer_within), database_away=self.database_away)
        return follower.deliver(delivery, patience) if patience else None

    def command(self, command: Command) -> Answer:
        """Decide an operator's command; a repeated `request_id` is told its first outcome."""
        if (follower := self._follower) is not None:
            return Answer(kind=AnswerKind.NOT_TAKEN, message=follower.where_to())
        delivery = Delivery(command)
        # What a request has read before, it has waited for already.
        return self._submit(delivery, seconds_left(self._answer_within)) or self._abandon(delivery)

    def order_input(self, given: OrderInput) -> Answer:
        """Decide what a broker tells of an order, or how it is sent; what was not kept is told again."""
        delivery = Delivery(given)
        return self._submit(delivery, seconds_left(self._answer_within)) or self._abandon(delivery)

    def resolve(
        self,
        client_order_id: str,
        state: OrderState,
        *,
        lots: int,
        price: Decimal | None,
        broker_order_id: str | None,
        request_id: str,
    ) -> Answer:
        """The end of an order as the operator saw it at the broker, with `lots` filled at `price` that are not booked yet.

        The same `request_id` again books nothing again.
        """
        fills: tuple[Fill, ...] = ()
        if lots and price is not None:
            fill_id = f"by-hand-{request_id}"[:100]
            fills = (Fill(fill_id=fill_id, lots=lots, price=price, filled_at=self._clock()),)
        return self.order_input(
            OrderReport(
                client_order_id=client_order_id,
                state=state,
                broker_order_id=broker_order_id,
                fills=fills,
                message="resolved by the operator",
                settled=True,
            )
        )

    def reconcile(self) -> tuple[Finding, ...] | None:
        """Ours beside the broker's positions, now; None where there is no broker. Raises what the broker raises."""
        return None if self.reconcile_with_broker is None else self.reconcile_with_broker()

    def position_rows(self) -> list[Position]:
        """The open positions as the database has them. Raises DatabaseAway."""
        return [position_from_row(row) for row in self.reads.all("load_positions")]

    def origin_of(self, client_order_id: str) -> str | None:
        """The fingerprint of the signal that an order on its way comes from; None where it comes from none."""
        return self._origins.of(client_order_id)

    def _load_origins(self, portfolio: Portfolio) -> None:
        if not portfolio.orders:
            return
        # For the log only: a start does not fail by it.
        with suppress(PortfolioError):
            rows = self.reads.all("origins_of_orders")
            self._origins.load({row["client_order_id"]: row["fingerprint"] for row in rows})

    def known_broker_orders(self) -> set[str]:
        """The brokers' ids of our latest orders, settled or not. Raises DatabaseAway."""
        return {row["broker_order_id"] for row in self.reads.all("recent_broker_orders")}

    def look_into_inbox(self) -> None:
        """Take up what others have put into the database to be decided. Raises DatabaseAway."""
        if self.serving:
            for delivery in self._inbox.look():
                self._waiting.put(delivery)

    def look_into_spool(self) -> None:
        """Take up what is kept and waits nowhere: a request of the engine before this one was late to keep it. Never raises."""
        spool = self.spool
        if self.serving and spool is not None and spool.kept and spool.usable and not self.backlog()["backlog"]:
            self._take_up_the_spool()

    def look_into_contracts(self) -> None:
        """Once a day: journal the contracts where they are others by now. Never raises."""
        if self.serving:
            self._contracts.refresh(self._clock().date(), self.portfolio, self._set_contracts)

    def look_into_proposals(self) -> None:
        """End the proposals whose time is over. Never raises."""
        now = self._clock()
        if self.serving and any(proposal.expires_at <= now for proposal in self.portfolio.pending_proposals()):
            delivery = Delivery(ExpireProposals())
            self._submit(delivery, self._answer_within) or self._abandon(delivery)

    def look_into_rolls(self) -> None:
        """Once a day, at its time: roll what is due. Never raises."""
        roll = self._rolls.wanted(self.portfolio, self._clock()) if self.serving else None
        if roll is not None and self.command(roll).kind in (AnswerKind.DECIDED, AnswerKind.DUPLICATE):
            self._rolls.done(roll)

    def exchange_day(self) -> date:
        """Which day it is where contracts are traded."""
        return exchange_day(self.portfolio, self._clock())

    def _set_contracts(self, given: SetContracts) -> bool:
        delivery = Delivery(given)
        answer = self._submit(delivery, self._answer_within) or self._abandon(delivery)
        return answer.kind is AnswerKind.DECIDED

    def process_signal(self, signal: Signal) -> Answer:
        """Hand a signal to its handler."""
        handlers = {
            SignalType.BASE_ENTRY: self._handle_base_entry_live,
            SignalType.PYRAMID: self._handle_pyramid_live,
            SignalType.EXIT: self._handle_exit_live,
            SignalType.MARKET_DATA: self._handle_market_data_live,
        }
        return handlers[signal.type](signal)

    def close_position(self, position_id: str, price: Decimal | None = None, reason: str = "OPERATOR") -> Answer:
        """Close one position at `price`, or at its mark."""
        return self.command(ClosePositions(position_id=position_id, price=price, reason=reason))

    def _handle_base_entry_live(self, signal: Signal) -> Answer:
        return self.deliver(signal)

    def _handle_pyramid_live(self, signal: Signal) -> Answer:
        return self.deliver(signal)

    def _handle_exit_live(self, signal: Signal) -> Answer:
        return self.deliver(signal)

    def _handle_market_data_live(self, signal: Signal) -> Answer:
        return self.deliver(signal)

    @property
    def _begun_with(self) -> list[Delivery]:
        """What the writer has taken out of the queue and not yet answered, apart from what is parked."""
        return [*self._in_hand, *([] if self._writer is None else self._writer.ahead)]

    @property
    def _crowded(self) -> bool:
        """Whether so many wait that those behind them, who wait for a thread to be heard, had better be answered."""
        return self.spool is not None and len(self._waiting) + len(self._begun_with) >= CROWD

    def _submit(self, delivery: Delivery, patience: float) -> Answer | None:
        takes = self.serving or (self.spool is not None and delivery.fingerprint is not None)
        if not takes or not self._waiting.put(delivery):
            return Answer(
                kind=AnswerKind.NOT_TAKEN, fingerprint=delivery.fingerprint, message="the engine is not serving"
            )
        return delivery.wait(patience)

    def _abandon(self, delivery: Delivery) -> Answer:
        # Not begun yet: then nothing of it is kept, and nothing will be.
        self._keeping.forget(delivery)
        return Answer(kind=AnswerKind.UNKNOWN, fingerprint=delivery.fingerprint, message="unknown, send again")

    # --- the writer

    def _committed(self, batch: Batch) -> None:
        self._news.tell()
        tell_margin(batch)
        tell_freezes(batch)
        self.on_commit(batch)
        tell_orders(batch, self._origins)

    def _run(self) -> None:
        writer = self._held_writer
        intake = Intake(
            self._waiting,
            writer,
            same_bar_seconds=self._settings.timing.same_bar_seconds,
            stopping=self._stopping,
        )
        try:
            while not self._done(writer):
                self._turn(writer, intake)
            self._answer_the_rest("the engine stops")
        except Halt as error:
            self.replaced = isinstance(error, LeadershipLost)
            self._give_up(str(error))
        except BaseException:  # noqa: BLE001 - whatever it was, memory can no longer be trusted to be what the rows say
            failure = traceback.format_exc()
            self._give_up("the writer has failed; its log says why")
            log.critical("the writer has failed", failure=failure)

    def _give_up(self, reason: str) -> None:
        # First what must happen; a log that cannot be written must not keep it from happening.
        self.serving = False
        self._stopping.set()
        self._on_fatal(reason)
        self._waiting.close()
        self._answer_the_rest(reason)
        log.critical("the engine stops", reason=reason)

    def _answer_the_rest(self, reason: str) -> None:
        rest: list[Delivery] = []
        if self._writer is not None:
            self._writer.close(reason)
            rest += self._writer.parked.release_all()
        while waiting := self._waiting.take(0):
            rest.extend(waiting)
        settle_all(rest, AnswerKind.NOT_TAKEN, reason)

    def _done(self, writer: PortfolioWriter) -> bool:
        if not self._waiting.closed or writer.sending:
            return False
        return self._stopping.is_set() or not (len(self._waiting) or len(writer.parked) or writer.ahead)

    def _turn(self, writer: PortfolioWriter, intake: Intake) -> None:
        self._in_hand = writer.ahead or intake.next()
        writer.keep(self._in_hand, intake)
        if not writer.failures:
            self._keeping.back()
        self._keeping.tidy(self._in_hand)
        tell_kept(self._in_hand)
        self._in_hand = []

    def _failing(self) -> None:
        if self._held_writer.failures >= FAILURES_UNTIL_AWAY:
            self._keeping.away(self._begun_with)
