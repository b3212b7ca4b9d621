"""What a signal may cost, counted: questions to the database, and memory. Times are the bench's, and fail nothing."""

import gc
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from bench.stories import INSTRUMENTS, STEPS, Recorder, Story
from bench.stories import settings as story_settings
from core.db_state_manager import DatabaseStateManager
from core.fingerprint import fingerprint_of
from core.inputs import SignalInput
from core.postgres.forms import Form
from live.deliveries import MOST_AT_ONCE, Delivery
from live.recovery import recover
from live.writer import PortfolioWriter
from tests.engines import an_engine, status_of
from tests.listening_proxy import ListeningProxy
from tests.queries import rows

# The one statement, which is its own COMMIT: however many signals are in it.
MOST_ROUND_TRIPS_OF_A_BATCH = 1
# What a bar of a position takes until its batch is written: the decision, the rows, their JSON. 9,100 where this was written.
MOST_BYTES_OF_A_DECISION = 12_000
# A bar of each instrument, from many clients.
BARS = range(len(INSTRUMENTS), len(INSTRUMENTS) + MOST_AT_ONCE)


def clock() -> datetime:
    return datetime.now(UTC)


@contextmanager
def listened_to(dsn: str) -> Iterator[tuple[PortfolioWriter, ListeningProxy]]:
    """The writer of a portfolio, and the proxy through which it asks."""
    with ListeningProxy(dsn) as proxy, DatabaseStateManager(proxy.dsn) as manager:
        portfolio = recover(manager, story_settings(), None, clock()).portfolio
        manager.warm_up()
        yield (
            PortfolioWriter(
                manager, portfolio, clock=lambda _: clock(), pause=lambda _: True, give_back=lambda _: None
            ),
            proxy,
        )


def delivery(story: Story, client: int) -> Delivery:
    signal = story.signal(client)
    return Delivery(SignalInput(signal=signal, fingerprint=fingerprint_of("main", signal), received_at=clock()))


@pytest.mark.parametrize("signals", [1, 2, 16, MOST_AT_ONCE])
def test_a_batch_is_one_statement_and_nothing_else_however_many_signals_are_in_it(dsn, signals):
    story = Story()
    with listened_to(dsn) as (writer, proxy):
        # The first one buys what all bars of the second are about.
        writer.keep([delivery(story, client) for client in range(len(INSTRUMENTS))])
        proxy.asked.clear()
        batch = [delivery(story, client) for client in range(signals)]
        writer.keep(batch)
        asked = list(proxy.asked)
    assert all(one.answer is not None and one.answer.outcome["status"] == "executed" for one in batch)
    assert len(asked) <= MOST_ROUND_TRIPS_OF_A_BATCH, asked
    assert sum(text.startswith("EXECUTE commit_") for text in asked) == 1
    assert rows(dsn, "SELECT count(*) FROM decision_journal WHERE kind = 'signal'") == [(len(INSTRUMENTS) + signals,)]


def test_a_whole_trade_asks_nothing_besides_its_batches(dsn):
    story = Story()
    with ListeningProxy(dsn) as proxy, an_engine(proxy.dsn, settings=story_settings(), clock=clock) as engine:
        proxy.asked.clear()
        told = [status_of(engine.deliver(story.signal(0))) for _ in range(STEPS)]
        prepared = [text for text in proxy.asked if text.startswith("PREPARE")]
        asked = [text for text in proxy.asked if text not in prepared]
    assert told == ["executed"] * STEPS
    assert len(prepared) == len(set(prepared)) <= len(Form)
    assert len(asked) <= MOST_ROUND_TRIPS_OF_A_BATCH * STEPS, asked
    assert sum("EXECUTE commit_" in text for text in asked) == STEPS


def test_a_start_asks_as_much_after_a_history_as_before_one(dsn):
    story = Story()
    with ListeningProxy(dsn) as proxy:

        def asked_at_a_start() -> int:
            proxy.asked.clear()
            with an_engine(proxy.dsn, settings=story_settings(), clock=clock):
                return len(proxy.asked)

        asked_at_a_start()
        before = asked_at_a_start()
        with an_engine(proxy.dsn, settings=story_settings(), clock=clock) as engine:
            assert {status_of(engine.deliver(story.signal(0))) for _ in range(3 * STEPS)} == {"executed"}
        assert asked_at_a_start() == before


@pytest.fixture
def recorder() -> Recorder:
    """With a position of each instrument, and its caches warm."""
    recorder = Recorder()
    recorder.start()
    recorder.batch(range(len(INSTRUMENTS)))
    for _ in range(3):
        recorder.batch(BARS)
    return recorder


def test_a_decided_bar_allocates_no_more_than_it_did(recorder):
    gc.collect()
    tracemalloc.start()
    try:
        document = recorder.batch(BARS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(document.text) < peak < MOST_BYTES_OF_A_DECISION * len(BARS)


def test_what_was_decided_leaves_nothing_behind(recorder):
    for _ in range(10):
        recorder.batch(BARS)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(10):
        recorder.batch(BARS)
    gc.collect()
    # Some figures of a portfolio are shared objects in one bar and not in the next.
    assert sys.getallocatedblocks() - before < len(BARS)
