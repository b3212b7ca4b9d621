"""The database away under an engine that has a spool: nobody is turned away, nothing is lost, doubled or overtaken."""

import json
import threading
import time
from datetime import UTC
from decimal import Decimal

import psycopg2
import pytest
from structlog.testing import capture_logs

import core.postgres.written
from core.alert import parse_alert
from core.db_state_manager import DatabaseStateManager
from core.errors import DatabaseAway, PortfolioError
from core.fingerprint import fingerprint_of
from core.inputs import Halt, MoveCapital, SignalInput
from core.models import Signal
from core.postgres.errors import StatementFailed, as_ours
from core.postgres.journal_stream import journal_stream
from core.postgres.lease import PortfolioLock
from live.answers import AnswerKind
from live.database import DatabaseInUse
from live.engine import LiveTradingEngine
from live.heartbeat import Heartbeat
from live.inbox import hand_over
from live.spool import Spool
from live.start import Start
from live.verify import verify
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, led_by, rows_as_portfolio, spoil_decisions_of, status_of, without_waiting
from tests.proxy import Cut, Way
from tests.queries import rows
from tests.waiting import Stopwatch, eventually

QUEUED = AnswerKind.QUEUED
NOW = minutes(20)
GOLD = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}


def a_bar(minute: float, **fields: object) -> Signal:
    return a_signal(
        "MARKET_DATA", **{"instrument": "GOLD_MINI", "price": 72000, "timestamp": minutes(minute), **fields}
    )


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
        with capture_logs() as logs:
            proxy.refuse(False)
            assert eventually(lambda: drained(engine))
        assert outcomes(dsn) == [
            ("BASE_ENTRY", "BANK_NIFTY", "executed", None),
            ("EXIT", "BANK_NIFTY", "executed", None),
            ("BASE_ENTRY", "GOLD_MINI", "executed", None),
        ]
        # Whoever sent them was not told: the log is.
        decided = [line for line in logs if line["event"] == "kept signal decided"]
        assert [(line["type"], line["status"]) for line in decided] == [
            ("BASE_ENTRY", "executed"),
            ("EXIT", "executed"),
            ("BASE_ENTRY", "executed"),
        ]
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(16)))) == "duplicate"
        proved(dsn, engine)


def test_nobody_waits_once_it_is_known_that_the_database_is_away(proxy, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
        started = Stopwatch()
        threads = [
            threading.Thread(target=engine.process_signal, args=[a_signal(timestamp=minutes(16 + number / 60))])
            for number in range(1, 101)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert started.seconds < 1.5
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


# --- a server that is there and refuses


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "57014", "53100", "53300", "55P03"])
def test_what_a_server_cannot_do_now_is_done_when_it_can(dsn, spool, sqlstate):
    """Serialization failure, deadlock, statement timeout, full disk, no connection, lock timeout: raised by the server."""
    rows(
        dsn,
        "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION 'not now' USING ERRCODE = '{sqlstate}'; END $$;"
        " CREATE TRIGGER not_now BEFORE INSERT ON decision_journal FOR EACH ROW WHEN (NEW.kind = 'signal')"
        " EXECUTE FUNCTION refuse()",
    )
    with an_engine(dsn, spool=spool, clock=Clock(NOW)) as engine:
        started = Stopwatch()
        assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
        assert started.seconds < 2
        rows(dsn, "DROP TRIGGER not_now ON decision_journal")
        assert eventually(lambda: drained(engine))
        assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]
        proved(dsn, engine)


def test_a_primary_that_was_demoted_is_waited_for(dsn, spool):
    """Read-only from one moment to the next, as after a failover that left our connection standing."""
    database = psycopg2.extensions.parse_dsn(dsn)["dbname"]
    with an_engine(dsn, spool=spool, clock=Clock(NOW)) as engine:
        rows(dsn, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        rows(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
        connection = psycopg2.connect(dsn)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        connection.close()
        assert eventually(lambda: drained(engine))
        proved(dsn, engine)


# --- where nobody knows


def test_a_commit_unknown_for_two_seconds_is_kept_and_takes_effect_once(dsn, proxy, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW), commit_limit=0.3) as engine:
        proxy.cut = Cut.AFTER
        # What became of it cannot be looked up: who is connected stays, nobody else is let in.
        proxy._refusing = True
        started = Stopwatch()
        answer = engine.process_signal(a_signal(timestamp=minutes(16)))
        assert started.seconds < 2.0
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
        started = Stopwatch()
        assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
        assert started.seconds < 2.0
        blocker.rollback()
        blocker.close()
        assert eventually(lambda: drained(engine))
        proved(dsn, engine)


def test_who_waited_in_vain_spares_the_next_the_wait(proxy, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        assert engine.process_signal(a_signal(timestamp=minutes(15))).kind is AnswerKind.DECIDED
        proxy.silence(Way.TO_SERVER, Way.TO_CLIENT)
        took = []
        for number in range(3):
            started = Stopwatch()
            assert engine.process_signal(a_signal(timestamp=minutes(16 + number / 60))).kind is QUEUED
            took.append(started.seconds)
        proxy.speak()
        assert max(took[1:]) < 0.5
        assert eventually(lambda: drained(engine))


def test_who_waited_in_vain_frees_those_who_wait_behind(dsn, spool):
    with an_engine(dsn, spool=spool, clock=Clock(NOW)) as engine:
        blocker = psycopg2.connect(dsn)
        blocker.cursor().execute("LOCK TABLE decision_journal IN ACCESS EXCLUSIVE MODE")
        took: list[float] = []

        def send(number: int) -> None:
            started = Stopwatch()
            engine.process_signal(a_signal(timestamp=minutes(16 + number / 60)))
            took.append(started.seconds)

        threads = []
        for number, pause in enumerate((0.1, 0.9, 0.0)):
            threads.append(threading.Thread(target=send, args=[number]))
            threads[-1].start()
            time.sleep(pause)
        for thread in threads:
            thread.join()
        blocker.rollback()
        blocker.close()
        # Not its whole 1.8 seconds.
        assert min(took) < 1.5
        assert eventually(lambda: drained(engine))


def test_a_crowd_does_not_wait_its_whole_time(proxy, spool):
    """So that those whom no thread has heard yet are answered in time too."""
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.silence(Way.TO_SERVER, Way.TO_CLIENT)
        took: list[float] = []

        def send(number: int) -> None:
            started = Stopwatch()
            assert engine.process_signal(a_signal(timestamp=minutes(16 + number / 60))).kind is QUEUED
            took.append(started.seconds)

        threads = [threading.Thread(target=send, args=[number]) for number in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        proxy.speak()
        assert max(took) < 1.5
        assert eventually(lambda: drained(engine))


def test_one_decided_while_it_was_written_is_told_so_and_not_kept(dsn, spool):
    with an_engine(dsn, spool=spool, clock=Clock(NOW), answer_within=0.3) as engine:
        blocker = psycopg2.connect(dsn)
        blocker.cursor().execute("LOCK TABLE decision_journal IN ACCESS EXCLUSIVE MODE")
        real = spool.keep

        def keep(given, payload):
            kept = real(given, payload)
            blocker.rollback()
            assert eventually(lambda: outcomes(dsn))
            time.sleep(0.3)
            return kept

        spool.keep = keep
        assert engine.process_signal(a_signal(timestamp=minutes(16))).kind is AnswerKind.DECIDED
        blocker.close()
        assert spool.kept == 0
        assert spool.load() == []


def test_who_comes_to_a_long_backlog_does_not_wait(proxy, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        for number in range(400):
            engine.process_signal(a_bar(1 + number / 60))
        proxy.delay = 0.15
        proxy.refuse(False)
        assert eventually(lambda: spool.kept < 400)
        started = Stopwatch()
        engine.process_signal(a_signal("EXIT", price=52100, timestamp=minutes(18)))
        assert started.seconds < 0.5
        proxy.delay = 0.0
        assert eventually(lambda: drained(engine))


def test_a_repeated_command_is_decided_for_the_one_who_still_waits(proxy):
    with an_engine(proxy.dsn, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        told: dict[int, AnswerKind] = {}

        def give(number: int) -> None:
            told[number] = engine.command(MoveCapital(request_id="x", amount=Decimal(5), note=None)).kind

        first, second = (threading.Thread(target=give, args=[number]) for number in (1, 2))
        first.start()
        time.sleep(1.2)
        second.start()
        first.join()
        time.sleep(0.3)
        proxy.refuse(False)
        second.join()
        assert told[1] is AnswerKind.UNKNOWN
        assert told[2] in (AnswerKind.DECIDED, AnswerKind.DUPLICATE)


def test_what_waits_at_the_stop_is_decided_if_the_database_comes_back_in_time(proxy):
    with an_engine(proxy.dsn, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        told: list[AnswerKind] = []
        waiting = threading.Thread(target=lambda: told.append(engine.command(Halt()).kind))
        waiting.start()
        time.sleep(0.3)
        threading.Timer(0.5, proxy.refuse, [False]).start()
        engine.stop()
        waiting.join()
        assert told == [AnswerKind.DECIDED]


def test_resends_of_what_is_kept_take_no_memory(proxy, spool):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        for _ in range(500):
            engine.process_signal(a_signal(timestamp=minutes(16)))
        held = [*(delivery for _, delivery in list(engine._waiting._heap)), *engine._in_hand]
        assert sum(len(delivery.everybody) for delivery in held) < 100
        proxy.refuse(False)
        assert eventually(lambda: drained(engine))


def test_a_clock_that_is_put_back_does_not_refuse_what_was_taken(dsn, proxy, spool):
    clock = Clock(NOW)
    with an_engine(proxy.dsn, spool=spool, clock=clock) as engine:
        engine.process_signal(a_signal(timestamp=minutes(16)))
        proxy.refuse(True)
        assert engine.process_signal(a_signal("EXIT", price=52100, timestamp=minutes(19))).kind is QUEUED
        clock.forward(minutes=-30)
        proxy.refuse(False)
        assert eventually(lambda: drained(engine))
        assert outcomes(dsn)[1] == ("EXIT", "BANK_NIFTY", "executed", None)


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
    spoil_decisions_of(monkeypatch, "COPPER")
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

        def commit(written):
            for entry in written.batch.entries:
                if getattr(entry.given, "signal", None) and entry.given.signal.instrument in broken_for:
                    raise StatementFailed("54001: statement too complex")
            return real(written)

        monkeypatch.setattr(engine.db_manager, "commit", commit)
        for fields in ({"instrument": "COPPER", "price": 800, "stop": 790}, GOLD, {}):
            assert engine.process_signal(a_signal(**fields, timestamp=minutes(16))).kind is QUEUED
        # All are refused: that is the database's fault, and all of them wait.
        assert spool.kept == 3
        broken_for -= {"GOLD_MINI", "BANK_NIFTY"}
        assert eventually(lambda: engine.backlog()["spool"] == {"kept": 0, "set_aside": 1, "usable": True})
        assert {instrument for _, instrument, *_ in outcomes(dsn)} == {"GOLD_MINI", "BANK_NIFTY"}


def refusing(engine, monkeypatch, refuses) -> list[list[str]]:
    """Let the commit of batches raise what `refuses(batch's signals, number of the commit)` gives."""
    real, seen = engine.db_manager.commit, []

    def commit(written):
        signals = [entry.given.signal for entry in written.batch.entries if hasattr(entry.given, "signal")]
        seen.append([f"{signal.type.value} {signal.instrument}" for signal in signals])
        failure = refuses(signals, len(seen))
        if failure is not None:
            raise failure
        return real(written)

    monkeypatch.setattr(engine.db_manager, "commit", commit)
    return seen


def test_several_that_can_never_be_kept_block_nobody(dsn, spool, monkeypatch):
    with an_engine(dsn, spool=spool, clock=Clock(NOW)) as engine:
        refusing(engine, monkeypatch, lambda signals, _: _complex(any(s.instrument == "COPPER" for s in signals)))
        for number in range(4):
            bar = a_bar(15 + number / 10, instrument="COPPER", price=800)
            assert engine.process_signal(bar).kind is QUEUED
        for number in range(5):
            engine.process_signal(a_bar(16 + number / 10))
        assert eventually(lambda: len(outcomes(dsn)) == 5)
        # One after the other is found out, by others that are kept beside it.
        for number in range(5):
            assert eventually(lambda aside=number: engine.backlog()["spool"]["set_aside"] >= min(4, aside))
            engine.process_signal(a_bar(17 + number / 10))
        assert eventually(lambda: engine.backlog()["spool"] == {"kept": 0, "set_aside": 4, "usable": True})


@pytest.mark.parametrize("failures", [2, 3, 4])
def test_a_refusal_that_ends_in_the_middle_sets_nothing_aside_and_lets_no_exit_overtake(
    dsn, proxy, spool, monkeypatch, failures
):
    with an_engine(proxy.dsn, spool=spool, clock=Clock(NOW)) as engine:
        proxy.refuse(True)
        engine.process_signal(a_signal(timestamp=minutes(16)))
        engine.process_signal(a_signal("EXIT", price=52100, timestamp=minutes(17)))
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(18)))
        refusing(engine, monkeypatch, lambda _, number: _complex(number <= failures))
        proxy.refuse(False)
        assert eventually(lambda: drained(engine))
        assert engine.backlog()["spool"]["set_aside"] == 0
        nifty = [(kind, status) for kind, instrument, status, _ in outcomes(dsn) if instrument == "BANK_NIFTY"]
        assert nifty == [("BASE_ENTRY", "executed"), ("EXIT", "executed")]


def _complex(refused: bool) -> StatementFailed | None:
    return StatementFailed("54001: statement too complex") if refused else None


@pytest.mark.parametrize("sqlstate", ["58030", "XX000", "53100"])
def test_the_servers_own_trouble_is_nobodys_fault(sqlstate):
    class Refused(psycopg2.OperationalError):
        pgcode = sqlstate

    assert isinstance(as_ours(Refused("input/output error")), DatabaseAway)


def test_what_cannot_even_be_written_down_fails_alone_and_ends_nothing(dsn, spool, monkeypatch):
    real = core.postgres.written.batch_rows

    def rows_of(batch, **given):
        if any(getattr(getattr(e.given, "signal", None), "instrument", "") == "COPPER" for e in batch.entries):
            raise ValueError("a mistake of ours")
        return real(batch, **given)

    monkeypatch.setattr(core.postgres.written, "batch_rows", rows_of)
    fatal: list[str] = []
    with an_engine(dsn, spool=spool, clock=Clock(NOW), on_fatal=fatal.append) as engine:
        copper = a_signal(instrument="COPPER", price=800, stop=790, timestamp=minutes(16))
        assert engine.process_signal(copper).kind is AnswerKind.UNDECIDABLE
        assert status_of(engine.process_signal(a_signal(**GOLD, timestamp=minutes(16)))) == "executed"
    assert fatal == []


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
        assert len(hand_over(spool, old.db_manager)) == 2
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
        assert len(hand_over(spool, engine.db_manager)) == 0
        assert spool.kept == 1


def kept_in(spool: Spool, *signals) -> None:
    for signal in signals:
        spool.keep(SignalInput(signal=signal, fingerprint=fingerprint_of("main", signal), received_at=NOW), {})


def test_one_that_the_inbox_refuses_keeps_no_other_from_being_handed_over(dsn, spool):
    rows(dsn, "ALTER TABLE signal_log ADD CONSTRAINT no_copper CHECK (instrument <> 'COPPER')")
    copper = a_signal(instrument="COPPER", price=800, stop=790, timestamp=minutes(15))
    kept_in(spool, copper, a_signal(**GOLD, timestamp=minutes(16)))
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        assert len(hand_over(spool, engine.db_manager)) == 1
        assert rows(dsn, "SELECT instrument FROM signal_log") == [("GOLD_MINI",)]
    assert spool.kept == 1


def test_what_is_handed_over_in_part_keeps_its_order(dsn, spool):
    kept_in(spool, a_signal("EXIT", price=52100, timestamp=minutes(17)), a_signal(timestamp=minutes(16)), a_bar(18))
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        real, calls = engine.db_manager.log_signal, []

        def log_signal(*arguments, **given):
            calls.append(1)
            if len(calls) > 2:
                raise DatabaseAway("gone again")
            return real(*arguments, **given)

        engine.db_manager.log_signal = log_signal
        assert len(hand_over(spool, engine.db_manager)) == 2
        assert spool.kept == 1
    with an_engine(dsn, clock=Clock(NOW), spool=spool) as engine:
        assert eventually(lambda: drained(engine) and len(outcomes(dsn)) == 3)
    assert [status for _, _, status, _ in outcomes(dsn)] == ["executed"] * 3


def test_a_large_inbox_is_decided_in_order_with_what_the_spool_holds(dsn, spool):
    with DatabaseStateManager(dsn) as manager:
        for signal in (
            a_signal("EXIT", price=52100, timestamp=minutes(17)),
            *(a_bar(-number) for number in range(1001)),
        ):
            manager.log_signal(signal, fingerprint_of("main", signal), received_at=NOW)
    kept_in(spool, a_signal(timestamp=minutes(16)))
    with an_engine(dsn, clock=Clock(NOW), spool=spool) as engine:
        assert eventually(lambda: len(outcomes(dsn)) == 1003)
        assert eventually(lambda: drained(engine))
    nifty = [(kind, status) for kind, instrument, status, _ in outcomes(dsn) if instrument == "BANK_NIFTY"]
    assert nifty == [("BASE_ENTRY", "executed"), ("EXIT", "executed")]


def test_a_body_that_was_taken_once_can_be_read_from_the_inbox(dsn, spool):
    body = {"type": "EXIT", "instrument": "BANK_NIFTY", "position": "Long_1", "price": 52100}
    notes = {f"note_{number}": "\u0905" * 1000 for number in range(15)}
    document = json.dumps({**body, "timestamp": "2026-01-14T06:32:00Z", **notes}, ensure_ascii=False).encode()
    alert = parse_alert(document, instruments=["BANK_NIFTY"], naive_timezone=UTC)
    given = SignalInput(signal=alert.signal, fingerprint=fingerprint_of("main", alert.signal), received_at=NOW)
    spool.keep(given, alert.payload)
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert len(hand_over(spool, engine.db_manager)) == 1
        engine.look_into_inbox()
        assert eventually(lambda: len(outcomes(dsn)) == 2)


# --- starts and heartbeats


@pytest.mark.parametrize("number", range(1, 9))
def test_a_start_whose_commit_is_lost_is_done_again(dsn, proxy, spool, number):
    manager = DatabaseStateManager(proxy.dsn, connect_for=None)
    engine = LiveTradingEngine(manager, without_waiting(), clock=Clock(NOW), spool=spool)
    lock = PortfolioLock(proxy.dsn, "main", "A")
    beat = Heartbeat(manager, led_by(lock), engine, revive=lambda: None, on_lost=print)
    start = Start(DatabaseInUse(dsn=proxy.dsn), led_by(lock), beat, engine, port=1, say_ready=lambda: None)
    proxy.cut_commit(number)
    start.run(threading.Event())
    assert engine.serving
    # A start with fewer commits leaves the cut to this alert's: it waits in the spool, and is decided as well.
    engine.process_signal(a_signal(timestamp=minutes(16)))
    assert eventually(lambda: [status for _, _, status, _ in outcomes(dsn)] == ["executed"])
    engine.stop()
    beat.stop()
    manager.close()
    lock.release()
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")


def test_a_start_that_lost_the_lock_does_not_take_the_term_from_who_has_it_now(dsn, spool):
    manager, other_manager = (DatabaseStateManager(dsn, connect_for=None) for _ in range(2))
    lock, other_lock = (PortfolioLock(dsn, "main", name) for name in "AB")
    engine = LiveTradingEngine(manager, without_waiting(), clock=Clock(NOW), spool=spool)
    other = LiveTradingEngine(other_manager, without_waiting(), clock=Clock(NOW))
    lost, ending = [], threading.Event()
    lock.patience_seconds = 1.0

    def replaced(reason: str) -> None:
        lost.append(reason)
        ending.set()

    beat = Heartbeat(manager, led_by(lock), engine, revive=lambda: None, on_lost=replaced)
    start = Start(DatabaseInUse(dsn=dsn), led_by(lock), beat, engine, port=1, say_ready=lambda: None)
    real, tries = engine.start, []

    def interrupted() -> None:
        tries.append(1)
        if len(tries) > 1:
            real()
            return
        # The database goes away in the middle of A's start, and A's lock with it; B is quicker.
        rows(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%% A'")
        assert eventually(lambda: _taken(other_lock))
        other.start()
        raise DatabaseAway("gone")

    engine.start = interrupted
    start.run(ending)
    assert lost
    assert len(tries) == 1
    assert status_of(other.process_signal(a_signal(timestamp=minutes(16)))) == "executed"
    engine.stop()
    beat.stop()
    other.stop()
    manager.close()
    other_manager.close()
    lock.release()
    other_lock.release()


def _taken(lock: PortfolioLock) -> bool:
    try:
        lock.acquire(0)
    except PortfolioError:
        return False
    return True


def test_what_the_engine_before_this_one_was_late_to_keep_is_decided(dsn, spool):
    """A request that was with it when the portfolio was begun anew may be on the disk only after the new one has looked."""
    with an_engine(dsn, clock=Clock(NOW)) as before:
        before.spool = before._keeping.spool = spool
    with an_engine(dsn, clock=Clock(NOW), spool=spool) as engine:
        engine.take_up_the_rest()
        assert before.process_signal(a_signal(timestamp=minutes(16))).kind is QUEUED
        lock = PortfolioLock(dsn, "main", "A")
        lock.acquire(1)
        beat = Heartbeat(engine.db_manager, led_by(lock), engine, revive=lambda: None, on_lost=print)
        beat.start(hostname="h", port=1, version="1")
        try:
            assert eventually(lambda: len(engine.positions) == 1 and not spool.kept)
            assert outcomes(dsn)[-1][2] == "executed"
        finally:
            beat.stop()
            lock.release()
        proved(dsn, engine)


def test_a_heartbeat_that_fails_in_any_way_goes_on(dsn, proxy, spool):
    with an_engine(proxy.dsn, spool=spool) as engine:
        lock = PortfolioLock(proxy.dsn, "main", "A")

        def revive() -> None:
            raise ValueError("a mistake of ours")

        beat = Heartbeat(engine.db_manager, led_by(lock), engine, revive=revive, on_lost=print)
        lock.acquire(1)
        beat.start(hostname="h", port=1, version="1")
        proxy.refuse(True)
        assert eventually(lambda: engine.database_away)
        proxy.refuse(False)
        assert eventually(lambda: not engine.database_away)
        beat.stop()
        lock.release()
