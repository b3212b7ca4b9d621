"""The engine alone: `deliver` from many threads without HTTP, beside the same documents by a bare writer."""

import threading
import time
from collections import Counter, deque
from contextlib import closing, suppress
from datetime import UTC, datetime

from bench.host import BareWriter, Host
from bench.measure import Comparisons, in_turns
from bench.stories import Recorder, Story, settings
from core.db_state_manager import DatabaseStateManager
from core.models import Signal
from live.answers import Answer
from live.engine import LiveTradingEngine

THREADS = (1, 32, 128)
# Of the bare writer's signals a second; one thread waits for each commit and is no load.
_TARGETS = {128: 0.6}
_ANSWER_WITHIN_SECONDS = 30.0
_SIGNALS = 6400
_QUICK_SIGNALS = 1280


def engine(host: Host) -> Comparisons:
    """Signals a second from 1, 32 and 128 threads; the bare loop writes batches of as many."""
    found = Comparisons("engine")
    for threads in THREADS:
        _measure(host, found, threads)
    return found


def _measure(host: Host, found: Comparisons, threads: int) -> None:
    each = max(10, (_QUICK_SIGNALS if host.quick else _SIGNALS) // threads // (8 if threads == 1 else 1))
    with DatabaseStateManager(host.database()) as manager, closing(BareWriter(host.database())) as bare:
        running = LiveTradingEngine(
            manager, settings(), clock=lambda: datetime.now(UTC), answer_within=_ANSWER_WITHIN_SECONDS
        )
        running.start()
        pair = _Pair(running, bare, threads)
        for round_number in range(-1, host.rounds):
            ours, raw = pair.round(round_number, each)
            if round_number >= 0:
                name = f"{threads} thread{'s' if threads > 1 else ''}"
                found.add(
                    name,
                    ours,
                    raw,
                    unit="/s",
                    limit=f"bare batches of {threads}",
                    better="higher",
                    target=_TARGETS.get(threads),
                )
        running.stop()
    found.notes[f"answers to {threads} threads"] = dict(pair.answers)


class _Pair:
    """The engine and the bare writer, each with the same story."""

    def __init__(self, running: LiveTradingEngine, bare: BareWriter, threads: int) -> None:
        self._running, self._bare, self._threads = running, bare, threads
        self._story, self._recorder = Story(), Recorder()
        self.answers: Counter[str] = Counter()
        bare.write(self._recorder.start())

    def round(self, number: int, each: int) -> tuple[float, float]:
        """Signals a second of ours and of the bare writer, of `each` signals a thread."""
        clients = range(self._threads)
        signals = deque(self._story.signal(client) for _ in range(each) for client in clients)
        documents = [self._recorder.batch(clients) for _ in range(each)]
        rates: dict[str, float] = {}
        in_turns(
            number,
            lambda: rates.update(ours=self._delivered(signals)),
            lambda: rates.update(raw=self._written(documents)),
        )
        return rates["ours"], rates["raw"]

    def _delivered(self, signals: deque[Signal]) -> float:
        count = len(signals)
        seconds, told = delivered(self._running, signals, self._threads)
        self.answers.update(
            " ".join(filter(None, (answer.outcome.get("status", answer.kind), answer.outcome.get("reason"))))
            for answer in told
        )
        return count / seconds

    def _written(self, documents: list[str]) -> float:
        begun = time.perf_counter()
        for document in documents:
            self._bare.write(document)
        return len(documents) * self._threads / (time.perf_counter() - begun)


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
