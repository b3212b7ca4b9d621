"""Recorded inputs through the writer that live uses: decided in order, committed in batches, the clock from the inputs."""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import islice

from msgspec import Struct

from core.db_state_manager import DatabaseStateManager
from core.errors import DatabaseAway
from core.fingerprint import fingerprint_of
from core.inputs import SignalInput
from core.portfolio import Portfolio
from core.settings import Settings
from live.deliveries import Delivery, first_of_each
from live.recovery import recover
from live.replay.collect import Collector
from live.replay.model import BadFile, Recorded, ReplayResult
from live.writer import PortfolioWriter

# Nobody waits for one of them: more in a transaction than live ever has.
TOGETHER = 512


class Replayed(Struct, frozen=True, kw_only=True):
    """What a replay has done: its result, and the portfolio as its last batch left it."""

    result: ReplayResult
    portfolio: Portfolio


def replay(
    manager: DatabaseStateManager,
    settings: Settings,
    capital: Decimal,
    recorded: Iterable[Recorded],
    *,
    portfolio: str,
    marks: Mapping[tuple[str, str], Decimal] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Decide and commit `recorded`, which is in order, from an empty scratch portfolio of `capital`.

    `portfolio` is the name that fingerprints are made with, whatever the scratch one is called. Every input's own time is
    the clock when it is decided. Raises BadFile where there is nothing to replay, DatabaseAway.
    """
    inputs = iter(recorded)
    batch = list(islice(inputs, TOGETHER))
    if not batch:
        raise BadFile("there is nothing to replay: no input in the files, or none between --from and --to")
    clock = _InputClock(batch[0].signal.time)
    started = clock.now
    collector, signals = Collector(), 0
    recovered = recover(manager, settings, capital, clock.now)
    again: list[Delivery] = []
    writer = PortfolioWriter(
        manager,
        recovered.portfolio,
        clock=clock,
        pause=threading.Event().wait,
        give_back=again.extend,
        observe=collector.observe,
    )
    while batch:
        deliveries = [_delivery(one, portfolio) for one in batch]
        clock.now = max(clock.now, *(one.signal.time for one in batch))
        writer.keep(first_of_each(deliveries))
        while again:
            left, again[:] = list(again), []
            writer.keep(left)
        if any(delivery.answer is None for delivery in deliveries):
            raise DatabaseAway("the database went away during the replay")
        collector.outcomes["duplicate"] += sum(
            d.answer is not None and d.answer.kind == "duplicate" for d in deliveries
        )
        signals += len(batch)
        progress(len(batch))
        batch = list(islice(inputs, TOGETHER))
    result = ReplayResult(
        capital=capital,
        trades=tuple(collector.trades),
        open_trades=collector.open_trades(dict(marks or {})),
        started_at=started,
        ended_at=clock.now,
        signals=signals,
        outcomes={status: count for status, count in sorted(collector.outcomes.items()) if count},
    )
    return Replayed(result=result, portfolio=writer.portfolio)


class _InputClock:
    """The time of the batch's latest input."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def _delivery(one: Recorded, portfolio: str) -> Delivery:
    given = SignalInput(
        signal=one.signal, fingerprint=fingerprint_of(portfolio, one.signal), received_at=one.signal.time
    )
    return Delivery(given, one.payload)
