"""The engine's begin() and finish(): a signal is queued without a thread that waits, and nothing of what deliver() promises is
lost by that."""

import threading
import time

import psycopg2

from core.journal import Batch
from core.models import Signal
from live.answers import AnswerKind
from live.deliveries import Delivery
from live.engine import LiveTradingEngine
from live.spool import Spool
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio
from tests.proxy import Cut, Proxy, Way
from tests.queries import rows
from tests.waiting import Stopwatch, eventually

NOW = minutes(20)


def begun(engine: LiveTradingEngine, signal: Signal, done: threading.Event | None = None) -> Delivery:
    """What was begun with, which must be possible."""
    delivery = engine.begin(signal, {}, (done or threading.Event()).set)
    assert delivery is not None
    return delivery


def entry(minute: float = 16) -> Signal:
    return a_signal(timestamp=minutes(minute))


def test_it_is_told_when_a_signal_is_decided_durably_and_not_before(dsn: str) -> None:
    done = threading.Event()
    seen: list[tuple[bool, int]] = []
    with an_engine(dsn, clock=Clock(NOW)) as engine:

        def look(_: Batch) -> None:
            seen.append((done.is_set(), rows(dsn, "SELECT count(*) FROM decision_journal WHERE kind = 'signal'")[0][0]))

        engine.on_commit = look
        delivery = begun(engine, entry(), done)
        assert done.wait(60)
        answer = engine.finish(delivery)
        assert (answer.kind, answer.outcome["status"]) == (AnswerKind.DECIDED, "executed")
        assert seen == [(False, 1)]
        assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio


def test_two_of_one_signal_are_decided_once_and_both_are_told(dsn: str) -> None:
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        told = [engine.finish(delivery) for delivery in [begun(engine, entry()) for _ in range(3)]]
        assert sorted(answer.kind for answer in told) == ["decided", "duplicate", "duplicate"]
        assert eventually(lambda: rows(dsn, "SELECT count(*), max(deliveries) FROM signal_log") == [(1, 3)])


def test_what_was_begun_with_when_the_database_goes_is_kept_and_decided_once(
    dsn: str, proxy: Proxy, spool: Spool
) -> None:
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW), commit_limit=0.3) as engine:
        proxy.silence(Way.TO_SERVER, Way.TO_CLIENT)
        done = threading.Event()
        delivery = begun(engine, entry(), done)
        # The writer gives up on the server, and lets nobody wait for it.
        assert done.wait(60)
        assert engine.finish(delivery).kind is AnswerKind.QUEUED
        assert spool.kept == 1
        # From then on nothing is begun with that would have to wait.
        assert engine.begin(entry(17), {}, done.set) is None
        proxy.speak()
        assert eventually(lambda: spool.kept == 0)
        assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]


def test_a_commit_whose_answer_is_lost_takes_effect_once(dsn: str, proxy: Proxy, spool: Spool) -> None:
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.cut = Cut.AFTER
        assert engine.finish(begun(engine, entry())).kind is AnswerKind.DECIDED
        assert proxy.cuts == 1
        assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]


def test_finishing_waits_until_two_seconds_after_the_beginning_and_no_longer(dsn: str, spool: Spool) -> None:
    with an_engine(dsn, spool=spool, clock=Clock(NOW)) as engine:
        blocker = psycopg2.connect(dsn)
        blocker.cursor().execute("LOCK TABLE decision_journal IN ACCESS EXCLUSIVE MODE")
        waited = Stopwatch()
        delivery = begun(engine, entry())
        time.sleep(0.7)
        assert engine.finish(delivery).kind is AnswerKind.QUEUED
        assert waited.seconds < 2.5
        blocker.close()
        assert eventually(lambda: spool.kept == 0)
        assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]


def test_without_a_spool_what_is_not_decided_in_time_is_taken_back(dsn: str) -> None:
    with an_engine(dsn, clock=Clock(NOW), answer_within=0.3) as engine:
        blocker = psycopg2.connect(dsn)
        blocker.cursor().execute("LOCK TABLE decision_journal IN ACCESS EXCLUSIVE MODE")
        first, second = begun(engine, entry()), begun(engine, entry(17))
        assert [engine.finish(delivery).kind for delivery in (first, second)] == [AnswerKind.UNKNOWN] * 2
        assert eventually(lambda: engine.backlog()["backlog"] <= 1)
        blocker.close()
        assert eventually(lambda: engine.backlog()["backlog"] == 0)
        # With the first one the writer may have begun already; the second was never taken.
        assert rows(
            dsn, "SELECT count(*) FROM signal_log WHERE bar_time = %s OR signal_timestamp = %s", [minutes(17)] * 2
        ) == [(0,)]


def test_an_engine_that_does_not_serve_begins_with_nothing(dsn: str) -> None:
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        engine.database_away = True
        done = threading.Event()
        assert engine.begin(entry(), {}, done.set) is not None  # without a spool there is nothing better to do
        engine.hands_on = True
        assert engine.begin(entry(17), {}, done.set) is None
        engine.hands_on = False
    assert engine.begin(entry(18), {}, done.set) is None


def test_what_waits_when_the_engine_stops_is_told_so(dsn: str) -> None:
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        blocker = psycopg2.connect(dsn)
        blocker.cursor().execute("LOCK TABLE decision_journal IN ACCESS EXCLUSIVE MODE")
        done = [threading.Event(), threading.Event()]
        deliveries = []
        for number in range(2):
            deliveries.append(begun(engine, entry(16 + number), done[number]))
            eventually(lambda: bool(engine._in_hand))
        engine.stop(0.1)
        blocker.close()
        assert all(one.wait(60) for one in done)
        assert engine.finish(deliveries[1]).kind is AnswerKind.NOT_TAKEN
