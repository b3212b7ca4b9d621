"""A follower beside a leader: the same state from the journal, and answers to what it is sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.alert import canonical_payload
from core.db_state_manager import DatabaseStateManager
from core.errors import DatabaseAway
from core.inputs import Halt, MoveCapital, Resume
from core.postgres.listen import Listener, inbox_channel
from live.answers import AnswerKind
from live.engine import LiveTradingEngine
from live.spool import open_spool
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of, without_waiting
from tests.proxy import Proxy
from tests.queries import rows
from tests.waiting import eventually


class Ticking(Clock):
    """A clock that tells no time twice."""

    def __call__(self) -> datetime:
        self.forward(microseconds=1)
        return self.now


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with Proxy(dsn) as made:
        yield made


GOLD: dict[str, Any] = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}


@contextmanager
def a_follower(dsn: str, **given: Any) -> Iterator[LiveTradingEngine]:
    with DatabaseStateManager(dsn, instance_id="follower") as manager:
        engine = LiveTradingEngine(manager, without_waiting(), clock=Ticking(minutes(3)), answer_within=1.0, **given)
        engine.follow()
        try:
            yield engine
        finally:
            engine.stop()


@contextmanager
def a_leader_that_listens(dsn: str) -> Iterator[LiveTradingEngine]:
    with an_engine(dsn, clock=Ticking(minutes(3.01))) as leader:
        listener = Listener(dsn, "main", inbox_channel("main"), leader.look_into_inbox)
        listener.start()
        try:
            yield leader
        finally:
            listener.stop()


def test_the_followed_state_is_the_leaders_whatever_happens(dsn):
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn) as follower:
        leader.process_signal(a_signal(timestamp=minutes(2)))
        leader.process_signal(a_signal(**GOLD, timestamp=minutes(2)))
        leader.process_signal(a_signal("MARKET_DATA", price=53000, timestamp=minutes(2.2)))
        leader.process_signal(a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(2.3)))
        leader.command(MoveCapital(amount=Decimal(1000), request_id="once"))
        leader.process_signal(a_signal("EXIT", **{**GOLD, "stop": None}, timestamp=minutes(2.5)))
        leader.command(Halt(reason="a test"))
        assert eventually(lambda: follower.portfolio == leader.portfolio)
        assert follower.portfolio == rows_as_portfolio(dsn, leader.portfolio)
        assert dict(follower.positions) == dict(leader.positions)
        assert follower.status()["leader"] is False


def test_a_journal_that_went_back_is_loaded_anew(dsn):
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn) as follower:
        leader.process_signal(a_signal(timestamp=minutes(2)))
        assert eventually(lambda: follower.positions)
        follower._follower._seq -= 2  # as after a restore, and more that was decided since
        rows(dsn, "ALTER TABLE decision_journal DISABLE TRIGGER ALL")
        rows(dsn, "DELETE FROM decision_journal WHERE seq = (SELECT max(seq) - 1 FROM decision_journal)")
        leader.process_signal(a_signal(**GOLD, timestamp=minutes(2)))
        assert eventually(lambda: follower.portfolio == leader.portfolio)


def test_a_journal_of_a_newer_program_ends_the_follower_with_a_sentence(dsn):
    told: list[str] = []
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn, on_fatal=told.append) as follower:
        leader.process_signal(a_signal(timestamp=minutes(2)))
        assert eventually(lambda: follower.positions)
        rows(
            dsn,
            "INSERT INTO decision_journal SELECT (jsonb_populate_record(j, jsonb_build_object('seq', seq + 1, 'format', 9,"
            " 'fingerprint', NULL))).* FROM decision_journal j ORDER BY seq DESC LIMIT 1",
        )
        assert eventually(lambda: told)
        assert "is of format 9, this program knows 1: use the newer program" in told[0]


def test_a_signal_is_answered_with_what_the_leader_decided(dsn):
    with a_leader_that_listens(dsn) as leader, a_follower(dsn) as follower:
        signal = a_signal(timestamp=minutes(2))
        body = canonical_payload(signal)
        answer = follower.deliver(signal, body)
        assert status_of(answer) == "executed"
        assert answer.outcome["lots"] == 2
        assert answer.outcome["sizing"]
        assert rows(dsn, "SELECT id FROM signal_log") == [(answer.signal_id,)]
        assert rows(dsn, "SELECT seq FROM decision_journal WHERE kind = 'signal'") == [(answer.journal_seq,)]
        for engine in (follower, leader):
            again = engine.deliver(signal, {**body, "note": "again"})
            assert (again.kind, again.outcome, again.differs) == (AnswerKind.DUPLICATE, answer.outcome, True)
        assert follower.deliver(signal, body).differs is False


def test_many_at_once_at_both_are_decided_once_each(dsn):
    with a_leader_that_listens(dsn) as leader, a_follower(dsn) as follower:
        told: list[tuple[int, AnswerKind]] = []

        def client(engine: LiveTradingEngine) -> None:
            for number in range(30):
                bar = a_signal("MARKET_DATA", price=52000 + number, timestamp=minutes(2 + number / 30))
                told.append((number, engine.deliver(bar).kind))

        clients = [threading.Thread(target=client, args=(engine,)) for engine in (leader, follower) * 3]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        assert sorted(number for number, kind in told if kind is AnswerKind.DECIDED) == list(range(30))
        assert {kind for _, kind in told} == {AnswerKind.DECIDED, AnswerKind.DUPLICATE}
        assert rows(dsn, "SELECT count(*) FROM decision_journal WHERE kind = 'signal'") == [(30,)]


def test_without_anybody_who_decides_a_signal_waits_in_the_inbox_for_the_next_leader(dsn):
    with an_engine(dsn):
        pass
    with a_follower(dsn) as follower:
        answer = follower.deliver(a_signal(timestamp=minutes(2)))
        assert (answer.kind, bool(answer.signal_id)) == (AnswerKind.QUEUED, True)
        assert follower.deliver(a_signal(timestamp=minutes(2))).kind is AnswerKind.QUEUED
        follower.start()
        assert not follower.following
        assert eventually(lambda: follower.positions)
        assert follower.deliver(a_signal(timestamp=minutes(2))).kind is AnswerKind.DUPLICATE
        assert status_of(follower.command(Resume())) == "executed"


def test_what_waits_for_an_answer_gets_it_from_the_instance_that_takes_over(dsn):
    with an_engine(dsn):
        pass
    with a_follower(dsn) as follower:
        answers: list[Any] = []
        client = threading.Thread(target=lambda: answers.append(follower.deliver(a_signal(timestamp=minutes(2)))))
        client.start()
        assert eventually(lambda: rows(dsn, "SELECT count(*) FROM signal_log") == [(1,)])
        follower.start()
        client.join()
        assert status_of(answers[0]) == "executed"


def test_while_the_database_is_away_a_follower_keeps_signals_and_hands_them_over_later(dsn, proxy, tmp_path: Path):
    with a_leader_that_listens(dsn) as leader, open_spool(tmp_path, "main") as spool:
        with a_follower(proxy.dsn, spool=spool) as follower:
            proxy.refuse(True)
            follower.database_away = True
            assert follower.deliver(a_signal(timestamp=minutes(2))).kind is AnswerKind.QUEUED
            assert spool.kept == 1
            proxy.refuse(False)
            follower.database_away = False
            follower.hand_over()
            assert spool.kept == 0
        leader.look_into_inbox()
        assert eventually(lambda: leader.positions)


def test_a_portfolio_that_was_never_started_has_nothing_to_show_yet(dsn):
    with a_follower(dsn) as follower:
        with pytest.raises(DatabaseAway, match="no journal yet"):
            follower.status()
        with an_engine(dsn, clock=Clock(minutes(3))) as leader:
            assert eventually(lambda: follower.following and _shown(follower) == leader.portfolio)


def _shown(follower: LiveTradingEngine) -> Any:
    try:
        return follower.portfolio
    except DatabaseAway:
        return None
