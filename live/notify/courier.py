"""One channel of one portfolio: what the journal says is sent in its order, and its cursor moved, by a thread of its own.

A crash loses none of it, and what may come twice says so: docs/decisions/0022-told-at-least-once.md.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import chain, repeat

import structlog
from tenacity import Retrying, retry_if_result, sleep_using_event, wait_random_exponential

from core.errors import LeadershipLost, PortfolioError, Retryable
from core.notifications import Channel
from live.engine import LiveTradingEngine
from live.links import Linked, Links
from live.notify.leading import Leading
from live.notify.message import Digest, Message
from live.notify.notices import Asks, Notice
from live.notify.pace import Pace
from live.notify.sender import Sender

LOOK_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
# What is not in the journal is told as well as can be.
MOST_ASIDES = 50
JOIN_SECONDS = 2.0
log = structlog.get_logger(__name__)


class Courier:
    """`engine_now` is asked each time: it is another one after a portfolio was begun anew. `who` says which process tells what
    is not in the journal; with `links` a proposal can be decided from what is sent. It looks every `every` seconds, and
    waits up to `longest_pause` between tries."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        sender: Sender,
        engine_now: Callable[[], LiveTradingEngine],
        *,
        clock: Callable[[], datetime],
        who: str,
        every: float = LOOK_SECONDS,
        longest_pause: float = LONGEST_PAUSE_SECONDS,
        links: Links | None = None,
    ) -> None:
        self._name = name
        self._channel = channel
        self._sender = sender
        self._engine_now = engine_now
        self._portfolio = engine_now().portfolio_name
        self._clock = clock
        self._who = who
        self._every = every
        self._longest_pause = longest_pause
        self._links = links if channel.links else None
        self._pace = Pace(channel)
        self._asides: deque[Notice] = deque(maxlen=MOST_ASIDES)
        self._leading: Leading | None = None
        self._complained = ""
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"notify-{self._portfolio}-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def tell(self, notice: Notice) -> None:
        """Tell what is not in the journal: as well as can be, nothing of it is kept. Never blocks."""
        if notice.level.rank >= self._channel.least_level.rank:
            self._asides.append(notice)
            self._wake.set()

    def stop(self) -> None:
        """Send what is told aside, and end; nobody waits long for it."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._turn()
            self._wake.wait(self._every)
            self._wake.clear()
        if self._asides:
            self._tell_asides()

    def _turn(self) -> None:
        try:
            self._tell_asides()
            self._tell_journal()
        except LeadershipLost:
            self._leading = None
        except Retryable as error:
            # The database is away, say: that is told by whoever notices. Where the cursor is by now has to be read.
            log.debug("notifications wait", channel=self._name, error=str(error))
            self._leading = None
        except PortfolioError as error:
            self._complain(str(error))
            self._leading = None
        except Exception:
            # Without this thread nobody would be told anything any more.
            log.exception("a turn of notifications failed", channel=self._name)
            self._leading = None

    def _complain(self, error: str) -> None:
        """A missing right, say: once, not once a second."""
        if error != self._complained:
            log.error("nobody is told anything", channel=self._name, error=error)
            self._complained = error

    # --- what is not in the journal

    def _tell_asides(self) -> None:
        asides = list(self._asides)
        if not asides:
            return
        digest = Digest(asides)
        if not self._pace.allows(digest.level, self._clock()):
            return
        if self._sent_once(digest.message(self._portfolio, who=self._who)):
            for notice in asides:
                with suppress(ValueError):
                    self._asides.remove(notice)

    # --- what is

    def _tell_journal(self) -> None:
        engine = self._engine_now()
        if not engine.serving:
            self._leading = None
            return
        if self._leading is None or self._leading.engine is not engine:
            self._leading = Leading(engine, self._name, self._channel.least_level, self._link_of)
        leading = self._leading
        if leading.begun_before and not self._sent(leading):
            return
        leading.look()
        if not leading.digest:
            leading.skip()
        elif self._pace.allows(leading.digest.level, self._clock()):
            self._sent(leading)

    def _link_of(self, asks: Asks) -> str | None:
        """What decides it for whoever reads the message; None where links are off, or its time is over by now."""
        linked = Linked(portfolio=self._portfolio, proposal_id=asks.proposal_id, expires_at=asks.expires_at)
        return None if self._links is None or self._links.is_over(linked) else self._links.address(linked)

    def _sent(self, leading: Leading) -> bool:
        """Whether what is to be told was sent; else whoever leads goes on from what is kept."""
        digest, again = leading.digest, leading.begun_before
        leading.begin()
        if digest and not self._taken(digest, leading, again=again):
            self._leading = None
            return False
        leading.end()
        if digest:
            log.info("notified", channel=self._name, notices=digest.total, fingerprints=digest.fingerprints)
        return True

    def _taken(self, digest: Digest, leading: Leading, *, again: bool) -> bool:
        """Sent until it is taken, with growing pauses: nothing may overtake it. False where this instance no longer may."""
        repeated = digest.message(self._portfolio, again=True)
        messages = chain([repeated if again else digest.message(self._portfolio)], repeat(repeated))
        retrying = Retrying(
            retry=retry_if_result(lambda taken: not taken),
            wait=wait_random_exponential(multiplier=1, max=self._longest_pause),
            stop=lambda _: self._stopping.is_set() or not leading.leads,
            sleep=sleep_using_event(self._stopping),
            retry_error_callback=lambda _: False,
        )
        return bool(retrying(lambda: self._sent_once(next(messages))))

    def _sent_once(self, message: Message) -> bool:
        self._pace.sent(self._clock())
        reason = self._sender.send(message)
        if reason is not None:
            log.warning("a notification was not taken", channel=self._name, title=message.title, reason=reason)
        return reason is None
