"""The database away under an engine that has a spool: nobody is turned away, nothing is lost, doubled or overtaken."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

import live.writer
from core.db_state_manager import DatabaseStateManager
from core.errors import DatabaseAway
from core.inputs import Halt
from core.postgres.errors import StatementFailed
from core.postgres.journal_stream import journal_stream
from live.answers import AnswerKind
from live.engine import LiveTradingEngine
from live.inbox import hand_over
from live.spool import Spool
from live.verify import verify
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of, without_waiting
from tests.proxy import Cut, Proxy
from tests.queries import rows

QUEUED = AnswerKind.QUEUED
NOW = minutes(20)
GOLD = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with Proxy(dsn) as made:
        yield made


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "main-1.sqlite")
    yield made
    made.close()


def eventually(holds: Callable[[], object], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


def drained(engine: LiveTradingEngine) -> bool:
    backlog = engine.backlog()
    return backlog["backlog"] == 0 and backlog["spool"]["kept"] == 0


def outcomes(dsn: str) -> list[tuple[str, str, str, str | None]]:
    """Of each signal in the journal, in the order they were decided."""
    return rows(
        dsn,
        "SELECT input -> 'signal' ->> 'type', input -> 'signal' ->> 'instrument', outcome ->> 'status',"
        " outcome ->> 'reason' FROM decision_journal WHERE kind = 'signal' ORDER BY seq",
    )


def proved(dsn: str, engine: LiveTradingEngine) -> None:
    assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")


# --- while PostgreSQL cannot be reached


def test_signals_are_kept_and_decided_in_domains_order_when_the_database_is_back(dsn, proxy, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        # The EXIT comes first, its entry after it: bar times say what is what.
        told = [
            engine.process_signal(a_signal("EXIT", price=52100, timestamp=minutes(17))),
            engine.process_signal(a_signal(timestamp=minutes(16))),
            engine.process_signal(a_signal(**GOLD, timestamp=minutes(18))),
        ]
        assert [answer.kind for answer in told] == [QUEUED] * 3
        assert all(answer.fingerprint for answer in told)
        assert engine.backlog()["spool"] == {"kept": 3, "set_aside": 0, "usable": True}
        assert engine.status()["backlog"] == 3
        assert engine.ready
        assert rows(dsn, "SELECT count(*) FROM signal_log") == [(0,)]
        proxy.refuse(False)
        assert eventually(lambda: drained(engine))
        assert outcomes(dsn) == [
            ("BASE_ENTRY", "BANK_NIFTY", "executed", None),
            ("EXIT", "BANK_NIFTY", "executed", None),
            ("BASE_ENTRY", "GOLD_MINI", "executed", None),
        ]
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(16)))) == "duplicate"
        proved(dsn, engine)


def test_nobody_waits_once_it_is_known_that_the_database_is_away(proxy, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
        started = time.monotonic()
        threads = [
            threading.Thread(target=engine.process_signal, args=[a_signal(timestamp=minutes(16 + number / 60))])
            for number in range(1, 101)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 1.5
        assert spool.kept == 101
        assert engine.command(Halt()).kind in (AnswerKind.UNKNOWN, AnswerKind.NOT_TAKEN)


def test_what_was_kept_is_decided_after_a_restart_before_anything_newer(dsn, proxy, tmp_path):
    spool = Spool(tmp_path / "s.sqlite")
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
    spool.close()
    proxy.refuse(False)
    again = Spool(tmp_path / "s.sqlite")
    with an_engine(dsn, spool=again, clock=Clock(NOW)) as engine:
        answer = engine.process_signal(a_signal("EXIT", price=52100, timestamp=minutes(17)))
        assert status_of(answer) == "executed"
        assert eventually(lambda: drained(engine))
        assert [kind for kind, *_ in outcomes(dsn)] == ["BASE_ENTRY", "EXIT"]
        proved(dsn, engine)
    again.close()


def test_a_resend_of_what_is_kept_is_kept_once_and_told_the_first_outcome_later(dsn, proxy, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        for _ in range(3):
            assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
        assert spool.kept == 1
        proxy.refuse(False)
        assert eventually(lambda: drained(engine))
        assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]
        answer = engine.process_signal(a_signal(timestamp=minutes(16)))
        assert (status_of(answer), answer.outcome["status"], answer.differs) == ("duplicate", "executed", False)


def test_an_entry_that_waited_too_long_is_refused_an_exit_never(dsn, proxy, spool):
    clock = Clock(NOW)
    with an_engine(proxy.dsn, spool=spool, clock=clock) as engine:
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(16)))) == "executed"
        proxy.refuse(True)
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(19)))
        engine.process_signal(a_signal("EXIT", price=52100, timestamp=minutes(19)))
        clock.forward(hours=2)
        proxy.refuse(False)
        assert eventually(lambda: drained(engine))
        assert outcomes(dsn)[1:] == [
            ("EXIT", "BANK_NIFTY", "executed", None),
            ("BASE_ENTRY", "GOLD_MINI", "rejected", "stale"),
        ]


def test_a_start_without_a_database_takes_signals_and_decides_them_later(dsn, proxy, spool):
    proxy.refuse(True)
    manager = DatabaseStateManager(proxy.dsn, connect_for=None)
    engine = LiveTradingEngine(manager, without_waiting(), clock=Clock(NOW), spool=spool)
    with pytest.raises(DatabaseAway):
        engine.start()
    assert not engine.ready
    engine.database_away = True
    assert engine.ready
    assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
    assert engine.command(Halt()).kind is AnswerKind.NOT_TAKEN
    with pytest.raises(DatabaseAway):
        engine.status()
    assert engine.backlog()["backlog"] == 1
    proxy.refuse(False)
    engine.start()
    engine.database_away = False
    assert eventually(lambda: drained(engine))
    proved(dsn, engine)
    assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]
    engine.stop()
    manager.close()


# --- where nobody knows


def test_a_commit_unknown_for_two_seconds_is_kept_and_takes_effect_once(dsn, proxy, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW), commit_limit=0.3) as engine:
        proxy.cut = Cut.AFTER
        # What became of it cannot be looked up: who is connected stays, nobody else is let in.
        proxy._refusing = True
        started = time.monotonic()
        answer = engine.process_signal(a_signal(timestamp=minutes(16)))
        assert time.monotonic() - started < 2.0
        assert answer.kind is QUEUED
        assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]
        assert spool.kept == 1
        proxy.refuse(False)
        assert eventually(lambda: drained(engine))
        assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]
        proved(dsn, engine)


def test_a_silent_server_makes_signals_wait_less_than_two_seconds(dsn, spool):
    """Locked out of its own table: the server lives, answers nothing, and no error comes."""
    with an_engine(dsn, spool=spool, clock=Clock(NOW)) as engine:
        blocker = psycopg2.connect(dsn)
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE decision_journal IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
        assert time.monotonic() - started < 2.0
        blocker.rollback()
        blocker.close()
        assert eventually(lambda: drained(engine))
        proved(dsn, engine)


# --- where not even the spool can keep it


def test_without_database_and_spool_nothing_is_kept_and_the_caller_is_told(dsn, proxy, tmp_path):
    spool = Spool(tmp_path / "s.sqlite", most=1)
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW), answer_within=0.5) as engine:
        proxy.refuse(True)
        assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
        assert engine.process_signal(a_signal(**GOLD, timestamp=minutes(16))).kind is AnswerKind.UNKNOWN
        assert not engine.ready
        proxy.refuse(False)
        assert eventually(lambda: drained(engine))
        assert engine.ready
        assert [instrument for _, instrument, *_ in outcomes(dsn)] == ["BANK_NIFTY"]
        assert status_of(engine.process_signal(a_signal(**GOLD, timestamp=minutes(16)))) == "executed"
    spool.close()


# --- poison


def test_a_kept_signal_that_fails_alone_fails_alone(dsn, proxy, spool, monkeypatch):
    real = live.writer.decide

    def deciding(portfolio, given, now):
        if getattr(getattr(given, "signal", None), "instrument", "") == "COPPER":
            raise ZeroDivisionError("a mistake of ours")
        return real(portfolio, given, now)

    monkeypatch.setattr(live.writer, "decide", deciding)
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        engine.process_signal(a_signal(instrument="COPPER", price=800, stop=790, timestamp=minutes(16)))
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(17)))
        proxy.refuse(False)
        assert eventually(lambda: drained(engine))
        assert [(instrument, status) for _, instrument, status, _ in outcomes(dsn)] == [
            ("COPPER", "failed"),
            ("GOLD_MINI", "executed"),
        ]


def test_what_the_database_refuses_in_every_form_is_set_aside_and_blocks_nobody(dsn, proxy, spool):
    """No row of COPPER can be written at all, not even that it failed."""
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        connection = psycopg2.connect(dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute("ALTER TABLE signal_log ADD CONSTRAINT no_copper CHECK (instrument <> 'COPPER')")
        proxy.refuse(True)
        engine.process_signal(a_signal(instrument="COPPER", price=800, stop=790, timestamp=minutes(16)))
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(17)))
        proxy.refuse(False)
        assert eventually(lambda: engine.backlog()["spool"] == {"kept": 0, "set_aside": 1, "usable": True})
        assert engine.status()["backlog"] == 0
        assert [(instrument, status) for _, instrument, status, _ in outcomes(dsn)] == [("GOLD_MINI", "executed")]
        with connection, connection.cursor() as cursor:
            cursor.execute("ALTER TABLE signal_log DROP CONSTRAINT no_copper")
        connection.close()
    # The cause is gone: the next start decides it.
    with an_engine(dsn, spool=spool, clock=Clock(NOW)) as engine:
        assert eventually(lambda: drained(engine))
        assert outcomes(dsn)[1][1:3] == ("COPPER", "blocked")
        proved(dsn, engine)


def test_a_statement_refused_for_one_input_is_told_from_one_refused_for_all(dsn, spool, monkeypatch):
    with an_engine(dsn, spool=spool, clock=Clock(NOW)) as engine:
        real, broken_for = engine.db_manager.commit, {"COPPER", "GOLD_MINI", "BANK_NIFTY"}

        def commit(batch):
            for entry in batch.entries:
                if getattr(entry.given, "signal", None) and entry.given.signal.instrument in broken_for:
                    raise StatementFailed("54001: statement too complex")
            return real(batch)

        monkeypatch.setattr(engine.db_manager, "commit", commit)
        for fields in ({"instrument": "COPPER", "price": 800, "stop": 790}, GOLD, {}):
            assert engine.process_signal(a_signal(**fields, timestamp=minutes(16))).kind is QUEUED
        # All are refused: that is the database's fault, and all of them wait.
        assert spool.kept == 3
        broken_for -= {"GOLD_MINI", "BANK_NIFTY"}
        assert eventually(lambda: engine.backlog()["spool"] == {"kept": 0, "set_aside": 1, "usable": True})
        assert {instrument for _, instrument, *_ in outcomes(dsn)} == {"GOLD_MINI", "BANK_NIFTY"}


# --- under another leader


def test_a_process_that_lost_the_term_leaves_what_it_kept_in_the_leaders_inbox(dsn, proxy, spool):
    lost: list[str] = []
    with (
        an_engine(proxy.dsn, spool=spool, clock=Clock(NOW), on_fatal=lost.append) as old,
        an_engine(dsn, clock=Clock(NOW)) as leader,
    ):
        answer = old.process_signal(a_signal(timestamp=minutes(16)))
        assert answer.kind is QUEUED
        assert eventually(lambda: lost)
        assert old.process_signal(a_signal(**GOLD, timestamp=minutes(16))).kind is QUEUED
        assert not leader.positions
        assert hand_over(spool, old.db_manager) == 2
        assert spool.kept == 0
        assert rows(dsn, "SELECT DISTINCT processing_status FROM signal_log") == [("received",)]
        leader.look_into_inbox()
        leader.look_into_inbox()
        assert eventually(lambda: len(leader.positions) == 2)
        assert rows(dsn, "SELECT count(*) FROM decision_journal WHERE kind = 'signal'") == [(2,)]
        proved(dsn, leader)


def test_what_cannot_be_handed_over_stays(proxy, dsn, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert hand_over(spool, engine.db_manager) == 0
        assert spool.kept == 1
