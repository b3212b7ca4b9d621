"""The writer: decides what was taken from the queue, commits it as one batch, shows it, and only then answers."""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from core.db_state_manager import DatabaseStateManager, Kept
from core.decide import Decision, decide, failed
from core.errors import (
    CommitUnknown,
    DatabaseAway,
    DataRefused,
    Halt,
    HistoryLost,
    LeadershipLost,
    PortfolioError,
    Retryable,
    StaleVersion,
    StateDiverged,
)
from core.inputs import Halt as HaltTrading
from core.inputs import OrderReport, SignalInput
from core.journal import Batch, Entry
from core.models import Status
from core.portfolio import Portfolio
from core.postgres.written import AlreadyClaimed, Written
from live.ahead import NOTHING, Committer, Upcoming
from live.answers import Answer, AnswerKind
from live.deliveries import Delivery, has_another_body
from live.exit_wait import Parked, may_wait
from live.recovery import doubts, reload
from live.traces import tell_commit

log = structlog.get_logger(__name__)

RETRY_EVERY_SECONDS = 0.1
STALE_TRIES = 5
REFUSED_IN_EVERY_FORM = "the database refuses this input, and that it failed"


class Plan(Struct, frozen=True, kw_only=True):
    """What becomes of some deliveries if `before` is what is committed then: `left` is it afterwards, `written` None where
    nothing is to be committed."""

    deliveries: list[Delivery]
    before: Portfolio
    left: Portfolio
    decided: list[tuple[Delivery, Decision]]
    parked: list[Delivery]
    now: datetime
    written: Written | None


class PortfolioWriter:
    """One thread's: nobody else decides. `portfolio` is the committed one, `failures` how often in a row nothing could be
    kept. `clock` tells when deliveries are decided. `pause` waits so many seconds before the database is tried again, and is
    true when it is not to be tried any more; `failing` is told each time, `give_back` takes what is to be tried again."""

    def __init__(
        self,
        manager: DatabaseStateManager,
        portfolio: Portfolio,
        *,
        clock: Callable[[list[Delivery]], datetime],
        pause: Callable[[float], bool],
        give_back: Callable[[list[Delivery]], None],
        failing: Callable[[], None] = lambda: None,
        observe: Callable[[Batch], None] = lambda _: None,
    ) -> None:
        self.portfolio = portfolio
        self.parked = Parked()
        self.parks = False
        self.last_signal_at: datetime | None = None
        self._manager = manager
        self._clock = clock
        self.pause = pause
        self.give_back = give_back
        self.failures = 0
        self.failing = failing
        self._observe = observe
        self._stale_tries = 0
        self.ahead: list[Delivery] = []
        self._planned: Plan | None = None
        self._under_way: Future[Kept] | None = None
        self._committer = Committer(manager)

    def keep(self, deliveries: list[Delivery], upcoming: Upcoming = NOTHING) -> None:
        """Decide and commit until every delivery is answered, parked, given back, or no longer wanted by anybody.

        What is `upcoming` while the batch is on its way is decided meanwhile, and is then `ahead`, to be kept next. Raises
        LeadershipLost, and StateDiverged where the rows stay different from what was just read of them.
        """
        self.ahead = []
        left, failure = self._tried(deliveries, upcoming)
        if isinstance(failure, Halt) and len(left) > 1:
            left = self._one_by_one(left)
        if left and failure is not None:
            self._later(left, failure)

    @property
    def sending(self) -> bool:
        """Whether what is `ahead` is on its way already."""
        return self._under_way is not None

    def close(self, reason: str) -> None:
        """Decide nothing more: what was begun with is not taken, but for what is on its way: of that nobody asks any more."""
        kind = AnswerKind.NOT_TAKEN
        if self._under_way is not None:
            wait([self._under_way])
            kind, reason = AnswerKind.UNKNOWN, "unknown, send again"
        settle_all(self.ahead, kind, reason)
        self.ahead = []
        self._committer.close()

    def _tried(
        self, deliveries: list[Delivery], upcoming: Upcoming = NOTHING
    ) -> tuple[list[Delivery], PortfolioError | None]:
        """What could not be kept now, and why; whatever only needs to be decided again is. Behind a part of a batch nothing is
        begun with: the other parts come first."""
        failure: PortfolioError | None = None
        while deliveries:
            try:
                if failure is None:
                    deliveries = self._without_known_requests(deliveries)
                    self._keep_batch(deliveries, upcoming)
                    self._stale_tries = self.failures = 0
                    return [], None
                # In here too: what a failure asks for may itself fail, for want of the database.
                after, failure = failure, None
                deliveries = self._after(after, deliveries)
            except (LeadershipLost, StateDiverged) as error:
                settle_all(deliveries, AnswerKind.NOT_TAKEN, f"{error}; send again")
                raise
            except (AlreadyClaimed, DataRefused, StaleVersion, CommitUnknown) as error:
                failure = error
            except (Retryable, Halt) as error:
                return deliveries, error
        return [], None

    def _after(self, failure: PortfolioError, deliveries: list[Delivery]) -> list[Delivery]:
        """What is left to decide again after a batch was not kept."""
        match failure:
            case AlreadyClaimed():
                return self._without_claimed(deliveries, failure.fingerprints)
            case DataRefused():
                return self._isolate(deliveries, failure)
            case HistoryLost():
                return [*self._halted_by(failure), *deliveries]
            case StaleVersion():
                self._stale_tries += 1
                if self._stale_tries > STALE_TRIES:
                    raise StateDiverged(f"rows keep changing under the engine: {failure}")
                self.portfolio = reload(self._manager, self.portfolio)
                return deliveries
            case _:
                settle_all(deliveries, AnswerKind.UNKNOWN, "unknown, send again")
                return []

    def _halted_by(self, lost: HistoryLost) -> list[Delivery]:
        """What is decided first once the state was read anew: orders may have been sent of which nothing is known any more, and
        signals that were decided may come again. So there are only exits until an operator has looked."""
        log.critical("the database went back to an earlier time: trading is halted", error=str(lost))
        self.portfolio = reload(self._manager, self.portfolio)
        reason = f"the database went back to an earlier time, to journal entry {self._manager.next_seq - 1}"
        given: list[OrderReport | HaltTrading] = [*doubts(self.portfolio, reason), HaltTrading(reason=reason)]
        # Nobody waits for them, and none of them may be dropped.
        return [Delivery(one, kept=True) for one in given]

    def _keep_batch(self, deliveries: list[Delivery], upcoming: Upcoming) -> None:
        plan, self._planned = self._planned, None
        # What was decided ahead is true only if what it was decided on was committed, and nothing else.
        if plan is None or plan.before is not self.portfolio or plan.deliveries != deliveries:
            assert self._under_way is None, "what is under way comes next"  # noqa: S101
            plan = self._plan(deliveries, self.portfolio)
        if plan.written is not None:
            # An EXIT that comes meanwhile must find the entry that waits for it.
            self._commit(plan, plan.written, NOTHING if plan.parked else upcoming)
        # Only now: a batch that is decided again may find one of them flat after all.
        for delivery in plan.parked:
            self.parked.put(delivery)
        if plan.parked and self.ahead:
            # Its EXIT may be among what was taken before it had to wait.
            self._give_back_ahead()

    def _give_back_ahead(self) -> None:
        ahead, self.ahead = self.ahead, []
        self.give_back([delivery for delivery in ahead if delivery.wanted])

    def _plan(self, deliveries: list[Delivery], before: Portfolio, behind: Written | None = None) -> Plan:
        """Decide on what is committed, or on what a batch that is on its way leaves behind."""
        now, after = self._clock(deliveries), before
        decided: list[tuple[Delivery, Decision]] = []
        parked = []
        first_seq = self._manager.next_seq if behind is None else behind.end.seq + 1
        for delivery in deliveries:
            decision = self._decide(replace(after, seq=first_seq + len(decided)), delivery, now)
            if self._has_to_wait(delivery, decision):
                parked.append(delivery)
                continue
            decided.append((delivery, decision))
            after = decision.portfolio
        return Plan(
            deliveries=deliveries,
            before=before,
            left=after.settled(),
            decided=decided,
            parked=parked,
            now=now,
            written=self._written_down(before, after, decided, now, behind) if decided else None,
        )

    def _written_down(
        self,
        before: Portfolio,
        after: Portfolio,
        decided: list[tuple[Delivery, Decision]],
        now: datetime,
        behind: Written | None,
    ) -> Written:
        entries = tuple(
            Entry(given=delivery.given, decision=decision, decided_at=now, payload=delivery.payload)
            for delivery, decision in decided
        )
        batch = Batch(before=before, after=after, entries=entries)
        return self._manager.write_down(batch, None if behind is None else behind.end)

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
        if not self.parks or not may_wait(delivery, decision):
            return False
        if delivery.wait_until is None:
            known = self._manager.find_signal(delivery.fingerprint or "")
            if known is not None and known["processing_status"] != Status.RECEIVED:
                return False  # a resend is told at once what became of the first
            delivery.wait_until = time.monotonic() + float(self.portfolio.settings.timing.exit_wait_seconds)
        return time.monotonic() < delivery.wait_until

    def _commit(self, plan: Plan, written: Written, upcoming: Upcoming) -> None:
        begun = time.monotonic()
        try:
            kept = self._sent(plan, written, upcoming)
        except CommitUnknown:
            kept = self._find_out()
        waited = time.monotonic() - begun
        self.portfolio = plan.left
        self.last_signal_at = plan.now
        self._begin_with_the_next()
        try:
            self._observe(written.batch)
            tell_commit(written.batch, waited)
        except Exception:
            # It is committed: who looks on must not keep it from being answered.
            log.exception("an observer of commits failed")
        for seq, (delivery, decision) in enumerate(plan.decided, kept.first_seq):
            self._answer(delivery, decision, seq, kept)

    def _sent(self, plan: Plan, written: Written, upcoming: Upcoming) -> Kept:
        """Commit here, or where more waits in a thread of its own, and decide that meanwhile, as if this had succeeded."""
        under_way, self._under_way = self._under_way, None
        if under_way is None:
            self.ahead = self.ahead or upcoming.more(_at_once)
            if not self.ahead or upcoming is NOTHING:
                return self._manager.commit(written)
            under_way = self._committer.begin(written)
        try:
            self._plan_ahead(plan, written, upcoming, under_way)
        finally:
            wait([under_way])
        return under_way.result()

    def _plan_ahead(self, plan: Plan, written: Written, upcoming: Upcoming, under_way: Future[Kept]) -> None:
        if not self.ahead:
            under_way.add_done_callback(lambda _: upcoming.look_again())
            self.ahead = upcoming.more(under_way.done)
        # Whatever it fails by, it fails again when its turn has come: first this batch has to be answered.
        with suppress(Exception):
            self._planned = self._plan(self.ahead, plan.left, written) if self.ahead else None

    def _begin_with_the_next(self) -> None:
        """Commit what was decided meanwhile, while those who wait for this batch are answered. A command has to be looked for
        first."""
        plan = self._planned
        if plan is not None and plan.written is not None and not any(map(_request_id, plan.deliveries)):
            self._under_way = self._committer.begin(plan.written)

    def _find_out(self) -> Kept:
        """What became of a COMMIT whose answer was lost: asked until it is known, never guessed."""
        while True:
            try:
                kept = self._manager.settle()
            except PortfolioError as error:
                # Whatever keeps us from looking, the batch stays in doubt, and nothing else may be written before it.
                self._failed("what became of a batch is not known yet", error)
                if self.pause(RETRY_EVERY_SECONDS):
                    raise CommitUnknown(str(error)) from error
                continue
            if kept is None:
                raise DatabaseAway("the connection was lost, and the batch took no effect")
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
            differs = has_another_body(follower, delivery.payload) if fingerprint else follower.given != delivery.given
            _settle_duplicate(follower, outcome, signal_id, seq, differs=differs)

    def _without_claimed(self, deliveries: list[Delivery], fingerprints: set[str]) -> list[Delivery]:
        """Answer those that were decided before; the rest is decided again without them."""
        others = []
        for delivery in deliveries:
            if delivery.fingerprint not in fingerprints:
                others.append(delivery)
                continue
            first = self._manager.find_signal(delivery.fingerprint or "")
            if first is None:
                raise StaleVersion("a claimed signal has vanished from signal_log")
            for duplicate in delivery.everybody:
                differs = has_another_body(duplicate, first["payload"])
                _settle_duplicate(duplicate, first["outcome"], first["id"], None, differs=differs)
        return others

    def _without_known_requests(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Answer the commands whose request id is in the journal; only the writer adds any, so looking first is enough."""
        others = []
        for delivery in deliveries:
            request_id = _request_id(delivery)
            first = None if request_id is None else self._manager.find_request(request_id)
            if first is None:
                others.append(delivery)
                continue
            for duplicate in delivery.everybody:
                differs = msgspec.to_builtins(duplicate.given) != first["input"]
                duplicate.settle(
                    Answer(
                        kind=AnswerKind.DUPLICATE, outcome=first["outcome"], journal_seq=first["seq"], differs=differs
                    )
                )
        return others

    def _isolate(self, deliveries: list[Delivery], refused: DataRefused) -> list[Delivery]:
        """A batch that fails on its data is redone one by one; the one that fails alone is the culprit."""
        if len(deliveries) > 1:
            for number, delivery in enumerate(deliveries):
                left, failure = self._tried([delivery])
                if left and failure is not None:
                    # In their order: what comes after it waits for it.
                    self._later(deliveries[number:], failure)
                    break
            return []
        (culprit,) = deliveries
        log.error("an input is refused by the database and fails", fingerprint=culprit.fingerprint, error=str(refused))
        if culprit.failure is None:
            culprit.failure = f"{refused.sqlstate or 'data'} {refused.constraint}".strip()
        elif culprit.payload:
            # Not even its failure can be kept with this body; without it, it may.
            culprit.payload = {}
        else:
            settle_all(deliveries, AnswerKind.UNDECIDABLE, REFUSED_IN_EVERY_FORM)
            return []
        return deliveries

    def _one_by_one(self, deliveries: list[Delivery]) -> list[Delivery]:
        """A statement of ours was refused: by reason of one input, or whatever it is asked. The others tell which.

        What comes after a refused signal of the same instrument waits behind it, so that no EXIT overtakes its entry.
        """
        refused: list[Delivery] = []
        behind: list[Delivery] = []
        others_kept = False
        for number, delivery in enumerate(deliveries):
            if any(_same_instrument(delivery, one) for one in refused):
                behind.append(delivery)
                continue
            left, failure = self._tried([delivery])
            if left and not isinstance(failure, Halt):
                return [*refused, *behind, *deliveries[number:]]
            refused.extend(left)
            others_kept = others_kept or delivery.answer is not None
        return [*(self._still_refused(refused) if others_kept else refused), *behind]

    def _still_refused(self, refused: list[Delivery]) -> list[Delivery]:
        """The database keeps what it is asked: who is refused again now never will be kept. What is left of the others."""
        if not self._can_be_asked():
            return refused
        left: list[Delivery] = []
        for delivery in refused:
            again, failure = self._tried([delivery])
            if again and isinstance(failure, Halt) and self._can_be_asked():
                settle_all(again, AnswerKind.UNDECIDABLE, REFUSED_IN_EVERY_FORM)
            else:
                left.extend(again)
        return left

    def _can_be_asked(self) -> bool:
        """Whether nothing is missing, a right or a table, that others could do without."""
        try:
            self._manager.warm_up()
        except PortfolioError as error:
            log.warning("the database would not take every batch", error=str(error))
            return False
        return True

    def _later(self, deliveries: list[Delivery], failure: PortfolioError) -> None:
        """Nothing was kept: those whose caller was told so are dropped, the others are tried again in a moment, and what was
        begun with behind them too: nothing may overtake them."""
        self._failed("a batch could not be kept and is tried again", failure)
        deliveries, self.ahead = [*deliveries, *self.ahead], []
        if self.pause(RETRY_EVERY_SECONDS):
            settle_all(deliveries, AnswerKind.NOT_TAKEN, str(failure))
            return
        self.give_back([delivery for delivery in deliveries if delivery.wanted])

    def _failed(self, what: str, failure: PortfolioError) -> None:
        if not self.failures:
            log.warning(what, error=str(failure))
        self.failures += 1
        self.failing()


def _at_once() -> bool:
    return True


def _request_id(delivery: Delivery) -> str | None:
    return getattr(delivery.given, "request_id", None)


def _same_instrument(delivery: Delivery, other: Delivery) -> bool:
    one, two = delivery.given, other.given
    return (
        isinstance(one, SignalInput) and isinstance(two, SignalInput) and one.signal.instrument == two.signal.instrument
    )


def settle_all(deliveries: list[Delivery], kind: AnswerKind, message: str) -> None:
    """Give everybody who waits for these the same answer, one without an outcome."""
    for delivery in deliveries:
        for waiting in delivery.everybody:
            waiting.settle(Answer(kind=kind, fingerprint=waiting.fingerprint, message=message))


def _settle_duplicate(
    delivery: Delivery, outcome: dict[str, Any], signal_id: int | None, seq: int | None, *, differs: bool
) -> None:
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
