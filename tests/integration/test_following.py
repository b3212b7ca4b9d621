"""A follower beside a leader: the same state from the journal, and answers to what it is sent."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.alert import canonical_payload
from core.db_state_manager import DatabaseStateManager
from core.errors import ConfigurationError, DatabaseAway, PoolExhausted
from core.fingerprint import fingerprint_of
from core.inputs import Halt, MoveCapital, Resume, SignalInput
from core.postgres.lease import PortfolioLock
from core.postgres.listen import Listener, inbox_channel
from live import engine as engine_module
from live import following
from live import start as start_module
from live.answers import AnswerKind
from live.database import DatabaseInUse
from live.deliveries import CROWD
from live.engine import LiveTradingEngine
from live.heartbeat import Heartbeat
from live.spool import Spool, open_spool
from live.start import Start
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, led_by, rows_as_portfolio, status_of, without_waiting
from tests.queries import rows
from tests.waiting import eventually


class Ticking(Clock):
    """A clock that tells no time twice."""

    def __call__(self) -> datetime:
        self.forward(microseconds=1)
        return self.now


GOLD: dict[str, Any] = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}


@contextmanager
def a_follower(dsn: str, **given: Any) -> Iterator[LiveTradingEngine]:
    with DatabaseStateManager(dsn, instance_id="follower") as manager:
        given = {"answer_within": 1.8, **given}
        engine = LiveTradingEngine(manager, without_waiting(), clock=Ticking(minutes(3)), **given)
        engine.follow()
        try:
            yield engine
        finally:
            engine.stop()


@contextmanager
def a_leader_that_listens(dsn: str) -> Iterator[LiveTradingEngine]:
    with an_engine(dsn, clock=Ticking(minutes(3.01))) as leader:
        listener = Listener(dsn)
        listener.hear(inbox_channel("main"), leader.look_into_inbox)
        listens = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %%' AND datname = current_database()"
        assert eventually(lambda: rows(dsn, listens) == [(1,)])
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


def test_a_journal_that_went_back_and_on_from_there_is_loaded_anew(dsn):
    """As after a restore, or a failover to a standby that did not have it all: the same numbers, another history."""
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn) as follower:
        for number in range(3):
            leader.command(MoveCapital(amount=Decimal(1000), request_id=f"before {number}"))
        assert eventually(lambda: follower.portfolio == leader.portfolio)
        leader.stop()
        _go_back(dsn, entries=2, amount=2000)
        with an_engine(dsn, clock=Clock(minutes(3))) as another:
            for number in range(5):
                another.command(MoveCapital(amount=Decimal(7), request_id=f"after {number}"))
            assert eventually(lambda: follower.portfolio == another.portfolio)


def _go_back(dsn: str, *, entries: int, amount: int) -> None:
    for table, column in (("capital_flows", "journal_seq"), ("decision_journal", "seq")):
        rows(dsn, f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        rows(dsn, f"DELETE FROM {table} WHERE {column} > (SELECT max(seq) - {entries} FROM decision_journal)")
    rows(
        dsn,
        f"UPDATE portfolio_state SET closed_equity = closed_equity - {amount}, flows_total = flows_total - {amount},"
        f" equity_high = equity_high - {amount}",
    )


def test_who_begins_to_follow_while_the_leader_writes_has_its_state(dsn):
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, ExitStack() as stack:
        over = threading.Event()

        def write() -> None:
            number = 0
            while not over.is_set():
                number += 1
                leader.command(MoveCapital(amount=Decimal(1), request_id=f"{number}"))

        writing = threading.Thread(target=write)
        writing.start()
        followers = [stack.enter_context(a_follower(dsn)) for _ in range(6)]
        over.set()
        writing.join()
        for follower in followers:
            assert eventually(lambda follower=follower: follower.portfolio == leader.portfolio)


def test_an_entry_that_fails_once_leaves_no_half_of_it(dsn, monkeypatch):
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn) as follower:
        applied, failed = following.applied, []

        def once(portfolio, row):
            if len(failed) < 2:
                failed.append(row["seq"])
                if len(failed) == 2:
                    raise MemoryError("once")
            return applied(portfolio, row)

        monkeypatch.setattr(following, "applied", once)
        for number in range(4):
            leader.command(MoveCapital(amount=Decimal(1), request_id=f"{number}"))
        assert eventually(lambda: follower.portfolio == leader.portfolio)
        assert len(failed) == 2


def test_who_could_not_lead_does_not_follow_either(dsn):
    with an_engine(dsn, initial_capital=Decimal(5_000_000)) as leader:
        with pytest.raises(ConfigurationError, match="initial_capital"), a_follower(dsn, initial_capital=Decimal(1)):
            pass
        assert status_of(leader.process_signal(a_signal(timestamp=minutes(-0.5)))) == "executed"


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


def test_who_waits_for_the_instance_that_takes_over_hears_as_soon_as_it_has_decided(dsn, monkeypatch):
    # Nobody looks again by himself before the test is over.
    monkeypatch.setattr(following, "LOOK_UP_SECONDS", 60)
    with an_engine(dsn):
        pass
    with a_follower(dsn, answer_within=60) as follower:
        told: list[Any] = []
        client = threading.Thread(target=lambda: told.append(follower.deliver(a_signal(timestamp=minutes(2)))))
        client.start()
        assert eventually(lambda: rows(dsn, "SELECT count(*) FROM signal_log") == [(1,)])
        has_looked = threading.Event()
        wait, look = following.News.wait, follower._inbox.look
        monkeypatch.setattr(following.News, "wait", lambda *given: (has_looked.set(), wait(*given)))
        monkeypatch.setattr(follower._inbox, "look", lambda: has_looked.wait(60) and look())
        follower.start()
        client.join(60)
        assert [status_of(answer) for answer in told] == ["executed"]


@contextmanager
def starting(engine: LiveTradingEngine, dsn: str) -> Iterator[threading.Event]:
    """The engine's start, tried again and again beside the test until it leads or the event is set."""
    ending = threading.Event()
    leads = led_by(PortfolioLock(dsn, "main", "the other one"))
    beat = Heartbeat(engine.db_manager, leads, engine, revive=lambda: None, on_lost=pytest.fail)
    start = Start(DatabaseInUse(dsn=dsn), leads, beat, engine, port=1, say_ready=lambda: None)
    thread = threading.Thread(target=start.run, args=(ending,))
    thread.start()
    try:
        yield ending
    finally:
        ending.set()
        thread.join()
        engine.stop()
        beat.stop()
        leads.release()


def test_who_follows_has_the_connection_that_it_will_write_on_before_it_leads(dsn):
    session = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'portfolio-manager main write follower'"
        " AND datname = current_database()"
    )
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn) as follower:
        lock = PortfolioLock(dsn, "main", "the leader")
        assert lock.try_to_hold()
        with starting(follower, dsn):
            assert eventually(lambda: len(rows(dsn, session)) == 1)
            first = rows(dsn, session)
            rows(dsn, f"SELECT pg_terminate_backend({first[0][0]})")
            assert eventually(lambda: len(rows(dsn, session)) == 1 and rows(dsn, session) != first)
            warm = rows(dsn, session)
            leader.stop()
            lock.give_up()
            assert eventually(lambda: follower.serving)
            assert status_of(follower.process_signal(a_signal(timestamp=minutes(2)))) == "executed"
            assert rows(dsn, session) == warm


def test_a_follower_that_is_stopped_leaves_no_thread_behind(dsn):
    """Of several portfolios in a process one may be begun anew again and again."""
    before = set(threading.enumerate())
    with a_leader_that_listens(dsn), a_follower(dsn) as follower:
        signal = a_signal(timestamp=minutes(2))
        assert status_of(follower.process_signal(signal)) == "executed"
        assert follower.process_signal(signal).kind is AnswerKind.DUPLICATE
        assert eventually(lambda: rows(dsn, "SELECT deliveries FROM signal_log") == [(2,)])
    # The watchdog is the process's.
    assert eventually(lambda: {each.name for each in set(threading.enumerate()) - before} <= {"database-watchdog"})


def test_what_a_follower_may_not_put_into_the_inbox_is_kept_on_its_disk(dsn, tmp_path: Path):
    with an_engine(dsn), open_spool(tmp_path, "main") as spool, a_follower(dsn, spool=spool) as follower:
        rows(dsn, "ALTER TABLE signal_log RENAME TO taken_away")
        assert follower.process_signal(a_signal(timestamp=minutes(2))).kind is AnswerKind.QUEUED
        rows(dsn, "ALTER TABLE taken_away RENAME TO signal_log")
        follower.hand_over()
        assert rows(dsn, "SELECT processing_status FROM signal_log") == [("received",)]


def test_while_another_versions_program_leads_signals_are_handed_on_to_it(dsn, tmp_path: Path, monkeypatch):
    lock = PortfolioLock(dsn, "main", "the leader")
    lock.acquire(0)
    monkeypatch.setattr(start_module, "head", lambda: "999")
    with (
        open_spool(tmp_path / "spool", "main") as spool,
        DatabaseStateManager(dsn, instance_id="newer") as manager,
    ):
        newer = LiveTradingEngine(manager, without_waiting(), clock=Ticking(minutes(3)), spool=spool)
        with a_leader_that_listens(dsn) as leader, starting(newer, dsn):
            assert not newer.ready
            assert eventually(lambda: newer.hands_on)
            assert newer.ready
            answer = newer.process_signal(a_signal(timestamp=minutes(2)))
            assert answer.kind is AnswerKind.QUEUED
            assert eventually(lambda: leader.look_into_inbox() or len(leader.positions) == 1)
            assert not newer.serving
            # By now its schema fits: it follows as any other, and leads when the leader is gone.
            monkeypatch.undo()
            assert eventually(lambda: newer.following)
            assert eventually(lambda: newer.positions == leader.positions)
            leader.stop()
            lock.release()
            assert eventually(lambda: newer.serving)
            assert status_of(newer.process_signal(a_signal(**GOLD, timestamp=minutes(2.5)))) == "executed"


def test_while_another_versions_program_leads_a_full_disk_turns_no_signal_away(dsn, tmp_path: Path):
    with an_engine(dsn) as leader, DatabaseStateManager(dsn, instance_id="newer") as manager:
        spool = Spool(tmp_path / "main-1.sqlite", most=0)
        newer = LiveTradingEngine(manager, without_waiting(), clock=Ticking(minutes(3)), spool=spool)
        newer.hands_on = True
        assert newer.process_signal(a_signal(timestamp=minutes(2))).kind is AnswerKind.QUEUED
        leader.look_into_inbox()
        assert eventually(lambda: len(leader.positions) == 1)
        rows(dsn, "ALTER TABLE signal_log RENAME TO taken_away")
        assert newer.process_signal(a_signal(**GOLD, timestamp=minutes(2))).kind is AnswerKind.UNKNOWN
        newer.stop()
        spool.close()


def test_what_was_kept_on_the_disk_while_it_took_over_is_decided_by_the_new_leader(dsn, tmp_path: Path):
    with an_engine(dsn):
        pass
    with open_spool(tmp_path, "main") as spool, a_follower(dsn, spool=spool) as follower:
        follower.hand_over()
        follower.database_away = True
        assert follower.deliver(a_signal(timestamp=minutes(2))).kind is AnswerKind.QUEUED
        follower.start()
        follower.database_away = False
        assert eventually(lambda: follower.positions)
        assert eventually(lambda: spool.kept == 0)


def test_what_comes_while_it_takes_over_is_answered_when_it_is_decided(dsn, monkeypatch):
    with an_engine(dsn):
        pass
    with a_follower(dsn) as follower:
        began, go_on = threading.Event(), threading.Event()
        recover = engine_module.recover

        def slowly(*given):
            began.set()
            assert go_on.wait(60)
            return recover(*given)

        monkeypatch.setattr(engine_module, "recover", slowly)
        start = threading.Thread(target=follower.start)
        start.start()
        assert began.wait(60)
        answers: list[Any] = []
        client = threading.Thread(target=lambda: answers.append(follower.deliver(a_signal(timestamp=minutes(2)))))
        client.start()
        assert eventually(lambda: rows(dsn, "SELECT count(*) FROM signal_log") == [(1,)])
        go_on.set()
        client.join()
        start.join()
        assert status_of(answers[0]) == "executed"


def test_a_look_into_the_inbox_that_fails_at_the_end_of_a_start_does_no_harm(dsn, monkeypatch):
    with an_engine(dsn):
        pass
    with a_follower(dsn) as follower:

        def look() -> None:
            raise PoolExhausted

        monkeypatch.setattr(follower, "look_into_inbox", look)
        follower.start()
        term = follower.db_manager.term
        follower.start()
        assert (follower.serving, follower.db_manager.term) == (True, term)


def test_a_crowd_at_a_follower_is_answered_before_the_others_are_turned_away(dsn, tmp_path: Path):
    with an_engine(dsn):
        pass
    answered: list[AnswerKind] = []

    def client(number: int) -> None:
        bar = a_signal("MARKET_DATA", price=52000 + number, timestamp=minutes(2 - number / 10))
        answered.append(follower.deliver(bar).kind)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(2 * CROWD)]
    # Whoever is not one of a crowd waits for ten minutes.
    with open_spool(tmp_path, "main") as spool, a_follower(dsn, spool=spool, answer_within=600) as follower:
        for one in clients:
            one.start()
        assert eventually(lambda: len(answered) > CROWD)
        assert set(answered) == {AnswerKind.QUEUED}
        with an_engine(dsn, clock=Clock(minutes(4))) as leader:
            leader.look_into_inbox()
        for one in clients:
            one.join()
    told = Counter(answered)
    assert told[AnswerKind.QUEUED] > CROWD
    assert told[AnswerKind.QUEUED] + told[AnswerKind.DECIDED] == 2 * CROWD


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


def test_what_was_kept_before_it_followed_waits_here_no_more_once_it_is_in_the_leaders_inbox(dsn, tmp_path: Path):
    with a_leader_that_listens(dsn) as leader, open_spool(tmp_path, "main") as spool:
        signal = a_signal(timestamp=minutes(2))
        spool.keep(SignalInput(signal=signal, fingerprint=fingerprint_of("main", signal), received_at=minutes(2)), {})
        with a_follower(dsn, spool=spool) as follower:
            assert follower.backlog()["backlog"] == 1
            follower.hand_over()
            assert (follower.backlog()["backlog"], spool.kept) == (0, 0)
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
