"""The engine alone, without HTTP: what one thread begins with, as the server's does, and `deliver` from a thread for each signal
that waits; beside the same documents by a bare writer."""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial

from bench.host import BareWriter, Document, Host
from bench.measure import Comparisons, in_turns
from bench.stories import Recorder, Story, settings
from core.db_state_manager import DatabaseStateManager
from core.models import Signal
from live.answers import Answer
from live.collector import set_aside
from live.deliveries import MOST_AT_ONCE, Delivery
from live.engine import LiveTradingEngine

UNDER_WAY = (1, 32, 128)
# Of the bare writer's signals a second; one signal waits for each commit and is no load.
_TARGETS = {128: 0.6}
_ANSWER_WITHIN_SECONDS = 30.0
_SIGNALS = 6400
_QUICK_SIGNALS = 1280


def engine(host: Host) -> Comparisons:
    """Signals a second with 1, 32 and 128 of them under way; the bare loop writes batches of as many."""
    found = Comparisons("engine")
    for under_way in UNDER_WAY:
        _measure(host, found, under_way)
    return found


def _measure(host: Host, found: Comparisons, under_way: int) -> None:
    each = max(10, (_QUICK_SIGNALS if host.quick else _SIGNALS) // under_way // (8 if under_way == 1 else 1))
    with DatabaseStateManager(host.database()) as manager, closing(BareWriter(host.database())) as bare:
        running = LiveTradingEngine(
            manager, settings(), clock=lambda: datetime.now(UTC), answer_within=_ANSWER_WITHIN_SECONDS
        )
        running.start()
        set_aside()  # as a process does that serves
        pair = _Pair(running, bare, under_way)
        for round_number in range(-1, host.rounds):
            rates = pair.round(round_number, each)
            if round_number < 0:
                continue
            limit = f"bare batches of {under_way}"
            told = partial(found.add, unit="/s", limit=limit, better="higher")
            told(f"{under_way} begun with", rates["begun"], rates["raw"], target=_TARGETS.get(under_way))
            told(f"{under_way} thread{'s' if under_way > 1 else ''}", rates["delivered"], rates["raw"])
        running.stop()
    found.notes[f"answers to {under_way} at once"] = dict(pair.answers)


class _Pair:
    """The engine and the bare writer, each with the same story."""

    def __init__(self, running: LiveTradingEngine, bare: BareWriter, under_way: int) -> None:
        self._running, self._bare, self._under_way = running, bare, under_way
        self._story, self._recorder = Story(), Recorder()
        self.answers: Counter[str] = Counter()
        bare.write(self._recorder.start())

    def round(self, number: int, each: int) -> dict[str, float]:
        """Signals a second: begun with, delivered from threads, and the bare writer's; `each` signals a client."""
        clients = range(self._under_way)
        begun, delivered = (
            deque(self._story.signal(client) for _ in range(each) for client in clients) for _ in range(2)
        )
        documents = [self._recorder.batch(clients) for _ in range(each)]
        rates: dict[str, float] = {}
        in_turns(
            number,
            # Between the two, since their signals' bars are one after the other.
            lambda: rates.update(begun=self._begun(begun), delivered=self._delivered(delivered)),
            lambda: rates.update(raw=self._written(documents)),
        )
        return rates

    def _begun(self, signals: deque[Signal]) -> float:
        """One thread begins with more whenever some are done; of full batches two are under way, so that one waits."""
        count, done, woken = len(signals), deque[None](), threading.Event()

        def when_done() -> None:
            done.append(None)
            if not woken.is_set():
                woken.set()

        deliveries: list[Delivery] = []
        begun, room = time.perf_counter(), self._under_way * (2 if self._under_way == MOST_AT_ONCE else 1)
        while len(done) < count:
            for _ in range(min(room - len(deliveries) + len(done), len(signals))):
                delivery = self._running.begin(signals.popleft(), {}, when_done)
                if delivery is None:
                    raise RuntimeError("the engine begins with nothing")
                deliveries.append(delivery)
            woken.wait(_ANSWER_WITHIN_SECONDS)
            woken.clear()
        seconds = time.perf_counter() - begun
        self._count(self._running.finish(delivery) for delivery in deliveries)
        return count / seconds

    def _delivered(self, signals: deque[Signal]) -> float:
        count = len(signals)
        seconds, told = delivered(self._running, signals, self._under_way)
        self._count(told)
        return count / seconds

    def _count(self, answers: Iterable[Answer]) -> None:
        self.answers.update(
            " ".join(filter(None, (answer.outcome.get("status", answer.kind), answer.outcome.get("reason"))))
            for answer in answers
        )

    def _written(self, documents: list[Document]) -> float:
        begun = time.perf_counter()
        for document in documents:
            self._bare.write(document)
        return len(documents) * self._under_way / (time.perf_counter() - begun)


def delivered(running: LiveTradingEngine, signals: deque[Signal], threads: int) -> tuple[float, deque[Answer]]:
    """Seconds from the first thread's start to the last one's end, and the answers. Each thread takes the next signal, so
    that bars stay in order."""
    together, told = threading.Barrier(threads + 1), deque[Answer]()

    def deliver() -> None:
        together.wait()
        with suppress(IndexError):
            while True:
                told.append(running.deliver(signals.popleft()))

    workers = [threading.Thread(target=deliver) for _ in range(threads)]
    for worker in workers:
        worker.start()
    together.wait()
    begun = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - begun, told
