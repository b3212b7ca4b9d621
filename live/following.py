"""What an instance does while another one leads: it knows the state, and hands signals to the leader's inbox.

The state is the journal's: loaded once, then every entry's events are applied as they were kept, so that it is the leader's a
moment later. What was decided of a signal that waits here is in the same entries.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from msgspec.structs import replace

from core.db_state_manager import DatabaseStateManager, Loaded
from core.errors import DatabaseAway, DataRefused, Halt, PortfolioError, Retryable, StateDiverged
from core.inputs import SignalInput
from core.models import Status
from core.portfolio import Portfolio
from core.postgres.listen import inbox_channel
from core.postgres.reads import Row
from core.settings import Settings
from live.answers import Answer, AnswerKind
from live.deliveries import CROWD, CROWDED_SECONDS, Delivery, has_another_body
from live.recovery import ENTRIES_AT_ONCE, Followed, applied, load_one_moment, portfolio_of

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.1
# While somebody waits for an answer.
SOON_SECONDS = 0.01
LOOK_UP_SECONDS = 0.05
AGAIN_SECONDS = 1.0


class News:
    """That something was committed here: who waits for it looks at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.told = 0

    def tell(self) -> None:
        """Something was."""
        with self._changed:
            self.told += 1
            self._changed.notify_all()

    def wait(self, seconds: float, known: int) -> None:
        """Until more was than is `known`, for so long at most."""
        with self._changed:
            self._changed.wait_for(lambda: self.told != known, seconds)


class Follower:
    """A follower's state and its waiting requests, kept up by a thread of its own. `require_fitting` raises where this
    instance could not lead from what is there; `on_fatal` is told where the journal cannot be followed; while nobody waits
    it is looked into `every` so many seconds. `news` tells what this instance commits, once it leads."""

    def __init__(
        self,
        manager: DatabaseStateManager,
        settings: Settings,
        *,
        require_fitting: Callable[[Loaded], None] = lambda _: None,
        on_fatal: Callable[[str], None],
        every: float = LOOK_SECONDS,
        news: News | None = None,
    ) -> None:
        self._manager = manager
        self._news = news or News()
        self._settings = settings
        self._require_fitting = require_fitting
        self._on_fatal = on_fatal
        self._every = every
        self._portfolio: Portfolio | None = None
        # The last entry that was followed, by its number and hash.
        self._seq, self._hash = 0, ""
        self._waiting: dict[str, list[Delivery]] = {}
        self._lock = threading.Lock()
        self._showing = threading.Lock()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follower-{manager.portfolio}", daemon=True)

    def start(self) -> None:
        """Load the state and follow. Raises DatabaseAway, StateDiverged, ConfigurationError."""
        self._load()
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Follow no longer; who waits still is answered that his signal is kept."""
        with self._showing:
            self._stopping.set()
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        with self._lock:
            waiting = [delivery for deliveries in self._waiting.values() for delivery in deliveries]
        for delivery in waiting:
            delivery.hurry()

    @property
    def follows(self) -> bool:
        """Whether the journal is followed."""
        return self._thread.is_alive() and not self._stopping.is_set()

    @property
    def portfolio(self) -> Portfolio:
        """The state as of the last entry that was followed. Raises DatabaseAway where nothing was kept yet."""
        if self._portfolio is None:
            raise DatabaseAway("the portfolio has no journal yet: its leader is about to begin it")
        return self._portfolio

    @property
    def followed(self) -> Followed | None:
        """The state to go on from, once it is followed no longer; None where it has to be loaded."""
        portfolio = self._portfolio
        if portfolio is None or not self._hash:
            return None
        return Followed(portfolio=portfolio, seq=self._seq, content_hash=self._hash)

    def told_of_the_leader(self) -> dict[str, Any]:
        """What /status says of who leads. Raises DatabaseAway."""
        leader = dict(self._manager.reads.one("leader") or {})
        return {"leader": False, "term": leader.pop("term", None), "led_by": leader}

    def where_to(self) -> str:
        """What is not taken here, and who takes it. Never raises."""
        leader: Row = {}
        with suppress(PortfolioError):
            leader = self._manager.reads.one("leader") or {}
        known = f", {leader['hostname']}:{leader['port']}" if leader.get("hostname") else ""
        return f"this instance follows another one; send it to the one that leads{known}"

    # --- signals

    def deliver(self, delivery: Delivery, seconds: float) -> Answer | None:
        """Put a signal into the leader's inbox, and wait so long for what becomes of it; None: it could not be put there."""
        given = delivery.given
        assert isinstance(given, SignalInput)  # noqa: S101 - commands are not taken here
        until = time.monotonic() + seconds
        with self._awaited(delivery):
            if self._stopping.is_set():
                delivery.hurry()  # the journal is not followed for it any more
            try:
                # Without a body the signal itself is written as one: the inbox is read from bodies.
                body = delivery.payload or None
                signal_id = self._manager.keep_received(
                    given.signal, given.fingerprint, received_at=given.received_at, payload=body
                )
                first = None if signal_id is not None else self._signal(given.fingerprint)
                if signal_id is None and first is None:
                    return None  # one server knows it, and another one, which may have taken its place, does not
            except DataRefused as refused:
                return Answer(
                    kind=AnswerKind.UNDECIDABLE, fingerprint=given.fingerprint, message=f"nothing was kept: {refused}"
                )
            except PortfolioError as error:
                if not isinstance(error, Retryable):
                    log.error(
                        "a signal could not be put into the inbox", fingerprint=given.fingerprint, error=str(error)
                    )
                return None
            if first is not None and first["processing_status"] != Status.RECEIVED:
                return _duplicate(delivery, first)
            self._wake()
            if len(self._waiting) >= CROWD:
                # It is kept: those that no thread has heard yet come first.
                until = min(until, time.monotonic() + CROWDED_SECONDS)
            answer = delivery.wait(max(0.0, until - time.monotonic())) or self._looked_up(delivery, until)
            return self._told(delivery, answer, signal_id)

    def _signal(self, fingerprint: str) -> Row | None:
        found = self._manager.reads.confirmed("find_signal", fingerprint=fingerprint)
        return found[0] if found else None

    def _looked_up(self, delivery: Delivery, until: float) -> Answer | None:
        """What the journal says of a signal that is waited for, once it is no longer followed."""
        while self._stopping.is_set():
            known = self._news.told
            with suppress(PortfolioError):
                for row in self._manager.reads.confirmed("decided_signal", fingerprint=delivery.fingerprint):
                    return _answer(delivery, row)
            if time.monotonic() >= until:
                break
            self._news.wait(min(LOOK_UP_SECONDS, until - time.monotonic()), known)
        return None

    @contextmanager
    def _awaited(self, delivery: Delivery) -> Iterator[None]:
        fingerprint = delivery.fingerprint or ""
        with self._lock:
            self._waiting.setdefault(fingerprint, []).append(delivery)
        self._wanted.set()
        try:
            yield
        finally:
            with self._lock:
                self._waiting[fingerprint].remove(delivery)
                if not self._waiting[fingerprint]:
                    del self._waiting[fingerprint]

    def _wake(self) -> None:
        try:
            self._manager.reads.run("wake", channel=inbox_channel(self._manager.portfolio))
        except PortfolioError:
            log.debug("the leader was not woken: it looks by itself")

    def _told(self, delivery: Delivery, answer: Answer | None, signal_id: int | None) -> Answer:
        if answer is None:
            return Answer(
                kind=AnswerKind.QUEUED,
                fingerprint=delivery.fingerprint,
                signal_id=signal_id,
                message="kept in the database, decided by the instance that leads",
            )
        if answer.kind is AnswerKind.DUPLICATE:
            with suppress(PortfolioError):
                first = self._signal(delivery.fingerprint or "")
                return answer if first is None else _duplicate(delivery, first)
        return replace(answer, signal_id=signal_id)

    # --- the state

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except Retryable:
                pass  # the heartbeat says that the database is away
            except Halt as error:
                self._on_fatal(str(error))
                return
            except Exception:
                # Without this thread nobody who waits here would hear anything. Half of an entry is not to be gone on from.
                log.exception("the journal could not be followed: the state is loaded anew")
                self._forget()
                self._stopping.wait(AGAIN_SECONDS)
            self._pause()

    def _pause(self) -> None:
        if self._waiting:
            self._stopping.wait(SOON_SECONDS)
            return
        self._wanted.clear()
        if not self._waiting:
            self._wanted.wait(self._every)

    def _look(self) -> None:
        if not self._hash:
            self._load()
        while self._hash and self._portfolio is not None:
            rows, told = self._read_on()
            if not rows or (rows[0]["seq"], rows[0]["content_hash"]) != (self._seq, self._hash):
                # The database went back to an earlier time, or was put in another one's place.
                self._forget()
                self._load()
                return
            new = rows[1:]
            if not new:
                return
            portfolio = self._portfolio
            for row in new:
                portfolio = applied(portfolio, row)
            self._show(portfolio, new[-1]["seq"], new[-1]["content_hash"])
            for row in new:
                # Who came since then finds it in the signal log.
                if row["fingerprint"] in told:
                    self._settle(row)

    def _read_on(self) -> tuple[list[Row], set[str]]:
        """The last entry that was followed and those behind it, and the signals among these whose senders may be told."""
        told: set[str] = set()

        def waited_for(rows: list[Row]) -> bool:
            with self._lock:
                told.update(row["fingerprint"] for row in rows[1:] if row["fingerprint"] in self._waiting)
            return bool(told)

        rows = self._manager.reads.confirmed("journal_after", waited_for, seq=self._seq, limit=ENTRIES_AT_ONCE)
        return rows, told

    def _forget(self) -> None:
        # What is shown stays: it was so once, and is mended in a moment.
        self._hash = ""

    def _load(self) -> None:
        loaded, last_hash = load_one_moment(self._manager)
        if loaded.state is None:
            return
        self._require_fitting(loaded)
        try:
            settings = self._settings if loaded.settings is None else Settings.model_validate(loaded.settings)
            portfolio = portfolio_of(self._manager.portfolio, settings, loaded)
        except (TypeError, ValueError, KeyError) as error:
            raise StateDiverged(f"a row of the database is no valid state: {error}") from error
        self._show(portfolio, loaded.last_seq, last_hash)

    def _show(self, portfolio: Portfolio, seq: int, content_hash: str) -> None:
        with self._showing:
            # Once this instance leads, its writer shows what it commits.
            if self._stopping.is_set():
                return
            self._portfolio, self._seq, self._hash = portfolio, seq, content_hash
            self._manager.show(portfolio)

    def _settle(self, row: Row) -> None:
        with self._lock:
            waiting = list(self._waiting.get(row["fingerprint"] or "", ()))
        for delivery in waiting:
            delivery.settle(_answer(delivery, row))


def _answer(delivery: Delivery, row: Row) -> Answer:
    """Of two deliveries to two instances one is the first: the one that the journal has."""
    assert isinstance(delivery.given, SignalInput)  # noqa: S101 - commands are not taken here
    first = delivery.given.received_at == row["received_at"]
    return Answer(
        kind=AnswerKind.DECIDED if first else AnswerKind.DUPLICATE,
        outcome=row["outcome"],
        fingerprint=delivery.fingerprint,
        journal_seq=row["seq"],
    )


def _duplicate(delivery: Delivery, first: Mapping[str, Any]) -> Answer:
    return Answer(
        kind=AnswerKind.DUPLICATE,
        outcome=first["outcome"],
        fingerprint=delivery.fingerprint,
        signal_id=first["id"],
        differs=has_another_body(delivery, first["payload"]),
    )
