"""LiveTradingEngine: one writer decides what waits, commits it as one batch, shows it, and only then answers."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import structlog

from core.db_state_manager import DatabaseStateManager, Kept
from core.decide import Decision, decide, failed
from core.errors import (
    CommitUnknown,
    DatabaseAway,
    DataRefused,
    Halt,
    LeadershipLost,
    PoolExhausted,
    PortfolioError,
    Retryable,
    StaleVersion,
)
from core.fingerprint import fingerprint_of
from core.inputs import ClosePositions, Command, SignalInput
from core.journal import Batch, Entry
from core.models import Position, Signal, SignalType
from core.portfolio import Portfolio
from core.portfolio_state import PortfolioStateManager
from core.postgres.reads import Reads
from core.postgres.writer import AlreadyClaimed
from core.settings import Settings
from live.answers import Answer, AnswerKind
from live.deliveries import Delivery, Waiting, in_order
from live.exit_wait import Parked, may_wait
from live.recovery import received_deliveries, recover, reload

log = structlog.get_logger(__name__)

ANSWER_WITHIN_SECONDS = 2.0
RETRY_EVERY_SECONDS = 0.1
STALE_TRIES = 5


class LiveTradingEngine:
    """The one owner of a portfolio's state. `clock` gives aware UTC; `on_fatal` is told when it may not go on."""

    def __init__(
        self,
        db_manager: DatabaseStateManager,
        settings: Settings,
        *,
        clock: Callable[[], datetime],
        initial_capital: Decimal | None = None,
        on_fatal: Callable[[str], None] = lambda _: None,
        answer_within: float = ANSWER_WITHIN_SECONDS,
    ) -> None:
        self.db_manager = db_manager
        self.portfolio_name = db_manager.portfolio
        self.failed_invariants: tuple[str, ...] = ()
        self.ready = False
        self.portfolio_state_manager = PortfolioStateManager(lambda: self.portfolio)
        self._settings = settings
        self._initial_capital = initial_capital
        self._clock = clock
        self._on_fatal = on_fatal
        self._answer_within = answer_within
        self._waiting = Waiting()
        self._parked = Parked()
        self._portfolio: Portfolio | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer-{self.portfolio_name}", daemon=True)
        self._stopping = threading.Event()
        self.last_signal_at: datetime | None = None

    # --- lifecycle

    def start(self) -> None:
        """Take the term, load, check, decide what was kept undecided, then serve.

        Raises ConfigurationError (another capital than the portfolio's, an open position's instrument not configured),
        DatabaseAway, StateDiverged.
        """
        recovered = recover(self.db_manager, self._settings, self._initial_capital, self._clock())
        self._portfolio = recovered.portfolio
        self.failed_invariants = recovered.broken
        while received := received_deliveries(self.db_manager, self._settings):
            self._keep(in_order(received))
            if any(delivery.answer is None for delivery in received):
                raise DatabaseAway("the database went away while what it had kept was decided")
        self._thread.start()
        self.ready = True

    def stop(self, timeout: float = 4.0) -> None:
        """Decide what waits, then stop; what cannot be decided within `timeout` seconds is answered `not taken`."""
        self.ready = False
        self._waiting.close()
        if self._thread.ident is None:
            return
        self._thread.join(timeout)
        self._stopping.set()
        self._thread.join(1.0)

    # --- what others see: committed state only

    @property
    def portfolio(self) -> Portfolio:
        """The committed portfolio: one moment, replaced as a whole after each COMMIT."""
        if self._portfolio is None:
            raise StaleVersion("the engine has not loaded its state yet")
        return self._portfolio

    @property
    def positions(self) -> Mapping[str, Position]:
        """Open and partial positions by id: the manager's committed ones, read-only."""
        return self.db_manager.cache.current.positions

    @property
    def reads(self) -> Reads:
        """Lists from the database."""
        return self.db_manager.reads

    def position(self, position_id: str) -> Position | None:
        """A position, open or closed."""
        return self.db_manager.get_position(position_id)

    def status(self) -> dict[str, Any]:
        """The portfolio's figures, and who serves it."""
        portfolio = self.portfolio
        return {
            **self.portfolio_state_manager.measure(),
            "portfolio": self.portfolio_name,
            "leader": True,
            "term": self.db_manager.term,
            "instance_id": self.db_manager.instance_id,
            "pid": os.getpid(),
            "backlog": len(self._waiting) + len(self._parked),
            "ready": self.ready,
            "failed_invariants": list(self.failed_invariants),
            "frozen": {row.instrument: row.frozen_reason for row in portfolio.pyramiding.values() if row.frozen_reason},
        }

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
        fingerprint = fingerprint_of(self.portfolio_name, signal)
        given = SignalInput(signal=signal, fingerprint=fingerprint, received_at=self._clock())
        answer = self._submit(Delivery(given, payload))
        if answer.kind is AnswerKind.DUPLICATE:
            # Counted outside, best effort: a lost count changes no state.
            with suppress(PortfolioError):
                self.db_manager.count_delivery(fingerprint)
        return answer

    def command(self, command: Command) -> Answer:
        """Decide an operator's command; a repeated `request_id` is told its first outcome."""
        return self._submit(Delivery(command))

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

    def _submit(self, delivery: Delivery) -> Answer:
        if not self.ready or not self._waiting.put(delivery):
            return Answer(
                kind=AnswerKind.NOT_TAKEN, fingerprint=delivery.fingerprint, message="the engine is not serving"
            )
        answer = delivery.wait(self._answer_within)
        if answer is None:
            # Not begun yet: then nothing of it is kept, and nothing will be.
            self._waiting.discard(delivery)
        return answer or Answer(
            kind=AnswerKind.UNKNOWN, fingerprint=delivery.fingerprint, message="unknown, send again"
        )

    # --- the writer

    def _run(self) -> None:
        try:
            while not (self._waiting.closed and not len(self._waiting) and not len(self._parked)):
                self._turn()
        except Halt as error:
            self._give_up(str(error))
        except BaseException:
            # Whatever it was, memory can no longer be trusted to be what the database says.
            log.critical("the writer has failed", exc_info=True)
            self._give_up("the writer has failed; its log says why")
            raise

    def _give_up(self, reason: str) -> None:
        self.ready = False
        self._stopping.set()
        self._waiting.close()
        self._not_taken(self._parked.release([], 0.0, self._settings.timing.same_bar_seconds, everyone=True), reason)
        while waiting := self._waiting.take(0):
            self._not_taken(waiting, reason)
        log.critical("the engine stops", reason=reason)
        self._on_fatal(reason)

    def _turn(self) -> None:
        deadline = self._parked.next_deadline()
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        arrived = [delivery for delivery in self._waiting.take(timeout) if not self._joins_parked(delivery)]
        same_bar = self._settings.timing.same_bar_seconds
        released = self._parked.release(arrived, time.monotonic(), same_bar, everyone=self._waiting.closed)
        self._keep(in_order(self._first_of_each([*arrived, *released])))

    def _joins_parked(self, delivery: Delivery) -> bool:
        parked = self._parked.find(delivery.fingerprint)
        if parked is None:
            return False
        parked.followers.append(delivery)
        return True

    @staticmethod
    def _first_of_each(deliveries: list[Delivery]) -> list[Delivery]:
        """Of equal fingerprints or request ids the first is decided; the others wait for it."""
        first: dict[str, Delivery] = {}
        distinct = []
        for delivery in deliveries:
            key = _identity(delivery)
            if key is not None and key in first:
                first[key].followers.append(delivery)
                continue
            if key is not None:
                first[key] = delivery
            distinct.append(delivery)
        return distinct

    def _keep(self, deliveries: list[Delivery]) -> None:
        """Decide and commit until every delivery is answered, parked, or no longer wanted by anybody."""
        stale = 0
        while deliveries:
            try:
                deliveries = self._without_known_requests(deliveries)
                self._keep_batch(deliveries)
            except AlreadyClaimed as claimed:
                deliveries = self._without_claimed(deliveries, claimed.fingerprints)
            except StaleVersion:
                stale += 1
                if stale > STALE_TRIES:
                    raise
                self._portfolio = reload(self.db_manager, self.portfolio)
            except DataRefused as refused:
                self._isolate(deliveries, refused)
                return
            except LeadershipLost:
                self._not_taken(deliveries, "another instance has taken over; send again")
                raise
            except Halt as error:
                log.exception("a batch could not be kept")
                self._not_taken(deliveries, f"{error}; send again")
                return
            except CommitUnknown:
                self._settle_all(deliveries, AnswerKind.UNKNOWN, "unknown, send again")
                return
            except (DatabaseAway, PoolExhausted) as away:
                deliveries = self._still_wanted(deliveries, away)
            else:
                return

    def _keep_batch(self, deliveries: list[Delivery]) -> None:
        now = self._clock()
        before = after = self.portfolio
        decided: list[tuple[Delivery, Decision]] = []
        parked = []
        for delivery in deliveries:
            decision = self._decide(after, delivery, now)
            if self._has_to_wait(delivery, decision):
                parked.append(delivery)
                continue
            decided.append((delivery, decision))
            after = decision.portfolio
        if decided:
            self._commit(before, after, decided, now)
        # Only now: a batch that is decided again may find one of them flat after all.
        for delivery in parked:
            self._parked.put(delivery)

    def _decide(self, portfolio: Portfolio, delivery: Delivery, now: datetime) -> Decision:
        if delivery.failure is not None:
            return failed(portfolio, delivery.given, delivery.failure)
        try:
            return decide(portfolio, delivery.given, now)
        except Exception as error:
            # Whatever it is, it is this input's: it is failed and kept so, the others go on.
            log.exception("an input could not be decided", fingerprint=delivery.fingerprint)
            return failed(portfolio, delivery.given, f"{type(error).__name__}: {error}"[:200])

    def _has_to_wait(self, delivery: Delivery, decision: Decision) -> bool:
        if not may_wait(delivery, decision) or self._waiting.closed or not self._thread.is_alive():
            return False
        if delivery.wait_until is None:
            delivery.wait_until = time.monotonic() + float(self._settings.timing.exit_wait_seconds)
        return time.monotonic() < delivery.wait_until

    def _commit(
        self, before: Portfolio, after: Portfolio, decided: list[tuple[Delivery, Decision]], now: datetime
    ) -> None:
        entries = tuple(
            Entry(given=delivery.given, decision=decision, decided_at=now, payload=delivery.payload)
            for delivery, decision in decided
        )
        batch = Batch(before=before, after=after, entries=entries)
        try:
            kept = self.db_manager.commit(batch)
        except CommitUnknown:
            kept = self._find_out()
        self._portfolio = after.settled()
        self.last_signal_at = now
        for seq, (delivery, decision) in enumerate(decided, kept.first_seq):
            self._answer(delivery, decision, seq, kept)

    def _find_out(self) -> Kept:
        """What became of a COMMIT whose answer was lost: asked until it is known, never guessed."""
        while True:
            try:
                kept = self.db_manager.settle()
            except DatabaseAway as away:
                if self._stopping.wait(RETRY_EVERY_SECONDS):
                    raise CommitUnknown(str(away)) from away
                continue
            if kept is None:
                raise DatabaseAway("the connection was lost before the COMMIT took place")
            return kept

    # --- answers

    @staticmethod
    def _answer(delivery: Delivery, decision: Decision, seq: int, kept: Kept) -> None:
        fingerprint = delivery.fingerprint
        outcome = msgspec.to_builtins(decision.outcome)
        signal_id = None if fingerprint is None else kept.signal_ids.get(fingerprint)
        delivery.settle(
            Answer(
                kind=AnswerKind.DECIDED, outcome=outcome, fingerprint=fingerprint, signal_id=signal_id, journal_seq=seq
            )
        )
        for follower in delivery.followers:
            _settle_duplicate(follower, outcome, signal_id, seq, delivery.payload)

    def _without_claimed(self, deliveries: list[Delivery], fingerprints: set[str]) -> list[Delivery]:
        """Answer those that were decided before; the rest is decided again without them."""
        others = []
        for delivery in deliveries:
            if delivery.fingerprint not in fingerprints:
                others.append(delivery)
                continue
            first = self.db_manager.find_signal(delivery.fingerprint or "")
            if first is None:
                raise StaleVersion("a claimed signal has vanished from signal_log")
            for duplicate in (delivery, *delivery.followers):
                _settle_duplicate(duplicate, first["outcome"], first["id"], None, first["payload"])
        return others

    def _without_known_requests(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Answer the commands whose request id is in the journal; only the writer adds any, so looking first is enough."""
        others = []
        for delivery in deliveries:
            request_id = getattr(delivery.given, "request_id", None)
            first = None if request_id is None else self.db_manager.find_request(request_id)
            if first is None:
                others.append(delivery)
                continue
            for duplicate in (delivery, *delivery.followers):
                differs = msgspec.to_builtins(duplicate.given) != first["input"]
                duplicate.settle(
                    Answer(
                        kind=AnswerKind.DUPLICATE, outcome=first["outcome"], journal_seq=first["seq"], differs=differs
                    )
                )
        return others

    def _isolate(self, deliveries: list[Delivery], refused: DataRefused) -> None:
        """A batch that fails on its data is redone one by one; the one that fails alone is the culprit."""
        if len(deliveries) > 1:
            for delivery in deliveries:
                self._keep([delivery])
            return
        (culprit,) = deliveries
        log.error("an input is refused by the database and fails", fingerprint=culprit.fingerprint, error=str(refused))
        if culprit.failure is None:
            culprit.failure = f"{refused.sqlstate or 'data'} {refused.constraint}".strip()
        elif culprit.payload:
            # Not even its failure can be kept with this body; without it, it may.
            culprit.payload = {}
        else:
            self._not_taken(deliveries, "the database refuses this input, and that it failed")
            return
        self._keep(deliveries)

    def _still_wanted(self, deliveries: list[Delivery], away: Retryable) -> list[Delivery]:
        """Nothing was kept: those whose caller was told so are dropped, the others are tried again in a moment."""
        if self._stopping.wait(RETRY_EVERY_SECONDS):
            self._not_taken(deliveries, str(away))
            return []
        return [delivery for delivery in deliveries if delivery.wanted]

    def _not_taken(self, deliveries: list[Delivery], reason: str) -> None:
        self._settle_all(deliveries, AnswerKind.NOT_TAKEN, reason)

    @staticmethod
    def _settle_all(deliveries: list[Delivery], kind: AnswerKind, message: str) -> None:
        for delivery in deliveries:
            for waiting in (delivery, *delivery.followers):
                waiting.settle(Answer(kind=kind, fingerprint=waiting.fingerprint, message=message))


def _identity(delivery: Delivery) -> str | None:
    if delivery.fingerprint is not None:
        return delivery.fingerprint
    request_id = getattr(delivery.given, "request_id", None)
    return None if request_id is None else f"request:{request_id}"


def _settle_duplicate(
    delivery: Delivery,
    outcome: dict[str, Any],
    signal_id: int | None,
    seq: int | None,
    first_payload: Mapping[str, Any],
) -> None:
    differs = bool(first_payload) and bool(delivery.payload) and dict(first_payload) != delivery.payload
    delivery.settle(
        Answer(
            kind=AnswerKind.DUPLICATE,
            outcome=outcome,
            fingerprint=delivery.fingerprint,
            signal_id=signal_id,
            journal_seq=seq,
            differs=differs,
        )
    )
