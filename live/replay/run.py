"""Recorded inputs through the writer that live uses: decided in order, committed in batches, the clock from the inputs."""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice

from msgspec import Struct

from core.db_state_manager import DatabaseStateManager
from core.errors import DatabaseAway
from core.fingerprint import fingerprint_of
from core.inputs import SignalInput
from core.portfolio import Portfolio
from core.settings import Settings
from live.collector import left_alone
from live.deliveries import Delivery, first_of_each
from live.recovery import recover
from live.replay.collect import Collector
from live.replay.model import BadFile, Recorded, ReplayResult
from live.writer import PortfolioWriter

# Nobody waits for one of them: more in a transaction than live ever has.
TOGETHER = 512
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


class Replayed(Struct, frozen=True, kw_only=True):
    """What a replay has done: its result, and the portfolio as its last batch left it."""

    result: ReplayResult
    portfolio: Portfolio


@left_alone()
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
    feed = _Feed(recorded, portfolio)
    in_hand = feed.more()
    if not in_hand:
        raise BadFile("there is nothing to replay: no input in the files, or none between --from and --to")
    started = feed.first_time
    collector, signals = Collector(), 0
    recovered = recover(manager, settings, capital, started)
    again: list[Delivery] = []
    writer = PortfolioWriter(
        manager,
        recovered.portfolio,
        clock=feed.time_of,
        pause=threading.Event().wait,
        give_back=again.extend,
        observe=collector.observe,
    )
    while in_hand:
        writer.keep(in_hand, feed)
        answers = [one.answer for delivery in in_hand for one in delivery.everybody if one.answer is not None]
        collector.outcomes["duplicate"] += sum(answer.kind == "duplicate" for answer in answers)
        signals += len(answers)
        progress(len(answers))
        in_hand, again[:] = list(again) or writer.ahead or feed.more(), []
    writer.close("the replay is over")
    if signals != feed.count:
        raise DatabaseAway("the database went away during the replay")
    result = ReplayResult(
        capital=capital,
        trades=tuple(collector.trades),
        open_trades=collector.open_trades(dict(marks or {})),
        started_at=started,
        ended_at=feed.last_time,
        signals=signals,
        outcomes={status: count for status, count in sorted(collector.outcomes.items()) if count},
    )
    return Replayed(result=result, portfolio=writer.portfolio)


class _Feed:
    """What is decided next, so many at once; each as of the latest signal that was decided with it the first time."""

    def __init__(self, recorded: Iterable[Recorded], portfolio: str) -> None:
        self._inputs, self._portfolio = iter(recorded), portfolio
        self.count = 0
        self.first_time = self.last_time = _BEFORE_ALL
        # Of the last two batches: one may be decided again while the other is ahead.
        self._times: list[dict[Delivery, datetime]] = []

    def more(self, _over: Callable[[], bool] | None = None) -> list[Delivery]:
        """The next of them; empty at the end."""
        inputs = list(islice(self._inputs, TOGETHER))
        if not inputs:
            return []
        if not self.count:
            self.first_time = inputs[0].signal.time
        self.count += len(inputs)
        self.last_time = max(self.last_time, *(one.signal.time for one in inputs))
        deliveries = first_of_each([_delivery(one, self._portfolio) for one in inputs])
        self._times = [*self._times[-1:], dict.fromkeys(deliveries, self.last_time)]
        return deliveries

    def time_of(self, deliveries: list[Delivery]) -> datetime:
        """When these are decided."""
        return max(times[one] for one in deliveries for times in self._times if one in times)

    def look_again(self) -> None:
        """It never waits."""


def _delivery(one: Recorded, portfolio: str) -> Delivery:
    given = SignalInput(
        signal=one.signal, fingerprint=fingerprint_of(portfolio, one.signal), received_at=one.signal.time
    )
    return Delivery(given, one.payload)
