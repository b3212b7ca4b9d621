"""What may neither end the writer, nor hang it, nor make it answer untruly: faults met beside the batch itself."""

import os
import signal as signals
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest

import core.db_state_manager
import core.postgres.writer
import live.engine
import live.writer
import tests.proxy
from core.db_state_manager import DatabaseStateManager
from core.decide import decide
from core.errors import DatabaseAway, StateDiverged
from core.fingerprint import fingerprint_of
from core.inputs import Halt, MoveCapital
from core.journal import Batch, Entry
from core.postgres.embedded import EmbeddedServer
from core.postgres.lease import PortfolioLock
from core.postgres.migrations import migrate
from core.postgres.writer import Writer
from live.answers import AnswerKind
from live.deliveries import Delivery
from live.engine import LiveTradingEngine
from live.heartbeat import Heartbeat
from live.recovery import recover
from tests.builders import NOON, a_position, a_signal, minutes
from tests.engines import Clock, an_engine, led_by, rows_as_portfolio, spoil_decisions_of, status_of, without_waiting
from tests.proxy import Cut, Proxy, _end, commits
from tests.queries import rows
from tests.waiting import Stopwatch, eventually

GOLD = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}


def kept(dsn: str, instrument: str) -> int:
    ((count,),) = rows(dsn, "SELECT count(*) FROM signal_log WHERE instrument = %s", (instrument,))
    return count


def received(dsn: str, **fields: object) -> None:
    with DatabaseStateManager(dsn) as manager:
        signal = a_signal(**fields)
        manager.log_signal(signal, fingerprint_of("main", signal), received_at=NOON)


# --- a batch in doubt


def test_what_keeps_the_engine_from_looking_does_not_end_the_doubt(dsn, proxy):
    """The reconnect meets a server that is not safe: the batch stays in doubt, and no other is answered in its place."""
    database = psycopg2.extensions.parse_dsn(dsn)["dbname"]
    with an_engine(proxy.dsn) as engine:
        rows(dsn, f'ALTER DATABASE "{database}" SET synchronous_commit = off')
        proxy.cut = Cut.AFTER
        first = engine.process_signal(a_signal())
        assert first.kind is AnswerKind.UNKNOWN
        rows(dsn, f'ALTER DATABASE "{database}" RESET synchronous_commit')
        second = engine.process_signal(a_signal(**GOLD))
        assert status_of(second) == "executed"
        assert (kept(dsn, "BANK_NIFTY"), kept(dsn, "GOLD_MINI")) == (1, 1)
        assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio


def test_a_batch_in_doubt_when_the_engine_stops_is_not_answered_for_another(proxy, dsn, monkeypatch):
    manager = DatabaseStateManager(proxy.dsn)
    engine = LiveTradingEngine(manager, without_waiting(), clock=Clock(), answer_within=15)
    engine.start()
    settle, answers = manager.settle, {}

    def settle_once_stopping():
        if not engine._stopping.is_set():
            raise DatabaseAway("away")
        return settle()

    monkeypatch.setattr(manager, "settle", settle_once_stopping)
    proxy.cut = Cut.AFTER
    threads = []
    for name, signal in (("first", a_signal()), ("second", a_signal(**GOLD))):
        threads.append(
            threading.Thread(
                target=lambda name=name, signal=signal: answers.update({name: engine.process_signal(signal)})
            )
        )
        threads[-1].start()
        time.sleep(0.3)
    engine.stop(0.3)
    for thread in threads:
        thread.join(60)
    manager.close()
    assert answers["first"].kind is AnswerKind.UNKNOWN
    assert (answers["second"].kind is AnswerKind.DECIDED) == (kept(dsn, "GOLD_MINI") == 1)


def test_a_manager_in_doubt_writes_nothing_before_it_has_looked(dsn, proxy):
    """Its next batch was decided on what the lost one may have changed."""
    with DatabaseStateManager(proxy.dsn) as manager:
        manager.take_term()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(manager, "settle", lambda: None)
            proxy.cut = Cut.AFTER
            with pytest.raises(Exception, match=r"."):
                manager.save_position(a_position("first"))
        with pytest.raises(core.db_state_manager.StaleVersion, match="found out first"):
            manager.save_position(a_position("second", layer="Long_2"))
        assert manager.save_position(a_position("second", layer="Long_2")) is True
        assert set(manager.get_all_open_positions()) == {"first", "second"}


class LateCommit(Proxy):
    """The client loses its connection at COMMIT; the COMMIT reaches the server a moment later all the same, and is done then."""

    forwarded = 0

    def _upstream(self, client: socket.socket, server: socket.socket, state: dict[str, bool]) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if commits(data) and self.cut is Cut.BEFORE:
                    self._done()
                    _end(client)
                    time.sleep(0.7)
                    server.sendall(data)
                    time.sleep(0.5)
                    self.forwarded += 1
                    break
                server.sendall(data)
        _end(client, server)


def test_a_batch_that_arrives_after_it_was_looked_for_takes_no_effect(dsn):
    """It was not found, and is decided again; what comes late names a fencing number of yesterday."""
    with LateCommit(dsn) as late, an_engine(late.dsn) as engine:
        late.cut = Cut.BEFORE
        assert status_of(engine.process_signal(a_signal())) == "executed"
        assert eventually(lambda: late.forwarded == 1)
        assert rows(dsn, "SELECT fencing_number FROM leadership") == [(1,)]
        assert rows(dsn, "SELECT count(*) FROM decision_journal WHERE kind = 'signal'") == [(1,)]
        assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio
        assert status_of(engine.process_signal(a_signal(**GOLD))) == "executed"


def test_a_batch_that_arrives_late_and_would_fit_again_takes_no_effect(dsn):
    """The journal ends where it did when the batch was sent: nothing but the fencing number keeps it off."""
    with LateCommit(dsn) as late, DatabaseStateManager(late.dsn) as manager:
        manager.take_term()
        entries = rows(dsn, "SELECT count(*) FROM decision_journal")
        late.cut = Cut.BEFORE
        with pytest.raises(DatabaseAway, match="nothing was changed"):
            manager.save_position(a_position())
        assert eventually(lambda: late.forwarded == 1)
        assert rows(dsn, "SELECT count(*) FROM decision_journal") == entries
        assert manager.save_position(a_position()) is True


def test_a_commit_that_its_standby_may_not_have_is_looked_up(dsn, monkeypatch):
    """The only trace is a notice of the server."""
    looked = []
    landed = Writer.landed
    monkeypatch.setattr(Writer, "landed", lambda self, seq, term: looked.append(seq) or landed(self, seq, term))
    with an_engine(dsn) as engine:
        rows(
            dsn,
            "CREATE FUNCTION notice() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RAISE WARNING"
            " 'canceling wait for synchronous replication due to user request'; RETURN NULL; END $f$;"
            " CREATE CONSTRAINT TRIGGER late AFTER INSERT ON decision_journal DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION notice()",
        )
        assert status_of(engine.process_signal(a_signal())) == "executed"
        assert len(looked) == 1
        assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio


def test_a_fencing_number_that_was_lost_alone_is_read_anew(dsn, monkeypatch):
    """A failover that has lost nothing but that a batch was looked for."""
    with an_engine(dsn, on_fatal=pytest.fail) as engine:
        doubts = iter([True])
        monkeypatch.setattr(core.postgres.writer, "lacks_its_standby", lambda _: next(doubts, False))
        engine.process_signal(a_signal())
        assert rows(dsn, "UPDATE leadership SET fencing_number = fencing_number - 1 RETURNING fencing_number") == [(0,)]
        assert status_of(engine.process_signal(a_signal(**GOLD))) == "executed"
        assert not engine.portfolio.state.halted
        assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio


def test_a_batch_that_was_written_down_behind_a_lost_one_is_written_down_again(dsn, monkeypatch):
    """The lost one was found: what the next one was decided on is there, and is not read anew."""
    with DatabaseStateManager(dsn) as manager:
        before = recover(manager, without_waiting(), None, NOON).portfolio
        batches, behind = [], None
        for request_id in ("first", "second"):
            flow = MoveCapital(request_id=request_id, amount=Decimal(1000))
            decision = decide(before, flow, NOON)
            entry = Entry(given=flow, decision=decision, decided_at=NOON)
            batch = Batch(before=before, after=decision.portfolio, entries=(entry,))
            batches.append(manager.write_down(batch, behind))
            before, behind = decision.portfolio.settled(), batches[-1].end
        doubts = iter([True])
        monkeypatch.setattr(core.postgres.writer, "lacks_its_standby", lambda _: next(doubts, False))
        with pytest.raises(core.db_state_manager.CommitUnknown):
            manager.commit(batches[0])
        assert manager.settle() is not None
        assert manager.commit(batches[1]).first_seq == batches[1].first_seq
    assert rows(dsn, "SELECT count(*) FROM capital_flows") == [(2,)]


@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_a_batch_that_is_still_running_when_it_is_looked_for_is_found(dsn, level):
    database = psycopg2.extensions.parse_dsn(dsn)["dbname"]
    rows(dsn, f"ALTER DATABASE \"{database}\" SET default_transaction_isolation = '{level}'")
    with an_engine(dsn, commit_limit=0.8, answer_within=15) as engine:
        rows(
            dsn,
            "CREATE SEQUENCE batches; CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
            " IF nextval('batches') = 1 THEN PERFORM pg_sleep(1.2); END IF; RETURN NULL; END $f$;"
            " CREATE TRIGGER pause AFTER INSERT ON decision_journal FOR EACH ROW EXECUTE FUNCTION pause()",
        )
        assert status_of(engine.process_signal(a_signal())) == "executed"
        assert rows(dsn, "SELECT kind FROM decision_journal ORDER BY seq DESC LIMIT 1") == [("signal",)]
        assert rows(dsn, "SELECT fencing_number FROM leadership") == [(1,)]


def test_a_save_that_is_interrupted_is_in_doubt_until_it_was_looked_for(dsn, monkeypatch):
    with DatabaseStateManager(dsn) as manager:
        manager.take_term()

        def interrupt(_: object) -> bool:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(core.postgres.writer, "dict", interrupt, raising=False)
            with pytest.raises(KeyboardInterrupt):
                manager.save_position(a_position())
        assert manager.settle() is not None
        assert set(manager.cache.current.positions) == {a_position().position_id}
    assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]


def test_a_session_that_is_ended_in_the_middle_of_its_batch_leaves_it_in_doubt(dsn):
    """What the server says then has an SQLSTATE of its own, and might have been said behind the COMMIT as well."""
    rows(
        dsn,
        "CREATE SEQUENCE batches; CREATE FUNCTION end_the_first() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
        " IF nextval('batches') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL; END $f$;",
    )
    with an_engine(dsn) as engine:
        rows(
            dsn,
            "CREATE CONSTRAINT TRIGGER ends AFTER INSERT ON decision_journal DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION end_the_first()",
        )
        assert status_of(engine.process_signal(a_signal())) == "executed"
        assert rows(dsn, "SELECT fencing_number FROM leadership") == [(1,)]
        assert rows(dsn, "SELECT count(*) FROM decision_journal WHERE kind = 'signal'") == [(1,)]
        assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio


def test_a_zombie_in_the_middle_of_its_statement_does_not_land_behind_the_new_leaders_back(dsn):
    outcomes: list[object] = []
    rows(
        dsn,
        "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $f$;"
        " CREATE TRIGGER pause AFTER INSERT ON decision_journal FOR EACH ROW EXECUTE FUNCTION pause()",
    )
    with DatabaseStateManager(dsn, commit_limit=20) as old, DatabaseStateManager(dsn) as new:
        old.take_term()

        def save() -> None:
            try:
                outcomes.append(old.save_position(a_position()))
            except DatabaseAway as error:
                outcomes.append(str(error))

        thread = threading.Thread(target=save)
        thread.start()
        pausing = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        assert eventually(lambda: rows(dsn, pausing) == [(1,)])
        new.take_term()
        loaded = new.load()
        thread.join(60)
        assert loaded.positions == ()
        assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(0,)]
        assert outcomes == ["the connection was lost, and nothing was changed"]


# --- the database fails while a failure is dealt with


def test_a_busy_pool_and_a_duplicate_do_not_end_the_writer(dsn):
    reasons = []
    with an_engine(dsn, on_fatal=reasons.append) as engine:
        engine.process_signal(a_signal())
        with ExitStack() as busy:
            for _ in range(4):
                busy.enter_context(engine.db_manager.get_connection())
            assert status_of(engine.process_signal(a_signal())) == "duplicate"
        assert status_of(engine.process_signal(a_signal(**GOLD))) == "executed"
    assert reasons == []


@pytest.mark.parametrize("call", ["find_signal", "load"])
def test_a_database_that_goes_away_while_a_failure_is_dealt_with_does_not_end_the_writer(dsn, proxy, monkeypatch, call):
    reasons = []
    with an_engine(proxy.dsn, on_fatal=reasons.append) as engine:
        engine.process_signal(a_signal())
        if call == "load":
            rows(dsn, "UPDATE portfolio_positions SET version = version + 1")
        real = getattr(engine.db_manager, call)

        def away(*arguments: object) -> object:
            proxy.refuse(True)
            return real(*arguments)

        monkeypatch.setattr(engine.db_manager, call, away)
        signal = a_signal() if call == "find_signal" else a_signal("MARKET_DATA", price=52001, timestamp=minutes(0.1))
        assert engine.process_signal(signal).kind is AnswerKind.UNKNOWN
        monkeypatch.undo()
        proxy.refuse(False)
        assert eventually(lambda: engine.process_signal(a_signal(**GOLD)).kind is not AnswerKind.UNKNOWN)
        assert engine.process_signal(a_signal("EXIT", timestamp=minutes(0.2))).kind is AnswerKind.DECIDED
        assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio
    assert reasons == []


def test_rows_that_keep_changing_stop_the_engine_with_a_reason(dsn, monkeypatch):
    reasons = []
    with an_engine(dsn, on_fatal=reasons.append) as engine:
        engine.process_signal(a_signal())
        rows(dsn, "UPDATE portfolio_positions SET version = version + 1")
        monkeypatch.setattr(live.writer, "reload", lambda _, portfolio: portfolio)
        bar = a_signal("MARKET_DATA", price=52001, timestamp=minutes(0.1))
        assert engine.process_signal(bar).kind is AnswerKind.NOT_TAKEN
        assert eventually(lambda: bool(reasons))
        assert "keep changing" in reasons[0]


# --- nothing waits for ever


@pytest.mark.parametrize("what", ["command", "duplicate"])
def test_frozen_backends_hang_neither_writer_nor_heartbeat(what):
    """As after a failover: who was connected hears nothing more, new connections work."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pm-")))
        folder.chmod(0o755)
        dsn = stack.enter_context(EmbeddedServer(folder)).dsn
        migrate(dsn, "main")
        engine = stack.enter_context(an_engine(dsn, commit_limit=1.0))
        engine.db_manager._pool.limit_seconds = 1.0
        engine.process_signal(a_signal())
        lock = PortfolioLock(dsn, "main", "the test")
        stack.callback(lock.release)
        lock.acquire(1)
        heartbeat = Heartbeat(engine.db_manager, led_by(lock), engine, revive=lambda: None, on_lost=pytest.fail)
        heartbeat.start(hostname="here", port=1, version="0")
        time.sleep(0.3)
        frozen = [
            pid
            for (pid,) in rows(
                dsn,
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
            )
        ]
        for pid in frozen:
            os.kill(pid, signals.SIGSTOP)
            stack.callback(_continue, pid)
        first = engine.command(Halt(request_id="q")) if what == "command" else engine.process_signal(a_signal())
        assert first.kind in (AnswerKind.UNKNOWN, AnswerKind.DECIDED, AnswerKind.DUPLICATE)
        # Frozen, and so not gone: what their locks keep from us ends only when they are ended.
        for pid in frozen:
            _continue(pid)
        assert eventually(lambda: engine.process_signal(a_signal(**GOLD)).kind is not AnswerKind.UNKNOWN)
        started = Stopwatch()
        heartbeat.stop()
        assert started.seconds < 6
        assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio


def test_a_silent_server_makes_the_engine_not_ready(dsn):
    with an_engine(dsn) as engine:
        assert engine.ready is True
        engine.database_seen = time.monotonic() - 10
        assert engine.ready is False


def test_a_duplicate_does_not_wait_for_its_delivery_to_be_counted(dsn):
    with an_engine(dsn) as engine:
        engine.process_signal(a_signal())
        release = threading.Event()
        engine.db_manager.count_delivery = lambda _: release.wait(60)
        started = Stopwatch()
        assert status_of(engine.process_signal(a_signal())) == "duplicate"
        assert started.seconds < 1.5
        release.set()


def test_a_duplicate_is_answered_in_time_though_the_answer_to_its_count_never_comes(dsn, proxy):
    with an_engine(proxy.dsn) as engine:
        engine.process_signal(a_signal())
        # The first is the batch's, which finds that it is one.
        proxy.cut_commit(2, Cut.SILENT)
        started = Stopwatch()
        assert status_of(engine.process_signal(a_signal())) == "duplicate"
        assert started.seconds < 2
        assert eventually(lambda: proxy.cuts == 1)


def test_deliveries_are_counted(dsn):
    with an_engine(dsn) as engine:
        for _ in range(3):
            engine.process_signal(a_signal())
    assert rows(dsn, "SELECT deliveries, is_duplicate FROM signal_log") == [(3, True)]


def test_the_resend_of_an_entry_that_was_executed_does_not_wait_for_an_exit(dsn, settings):
    with an_engine(dsn, settings=settings) as engine:
        engine.process_signal(a_signal())
        started = Stopwatch()
        assert status_of(engine.process_signal(a_signal())) == "duplicate"
        assert started.seconds < 0.8


def test_a_half_open_lock_connection_is_borne_for_a_while(dsn, monkeypatch):
    with Proxy(dsn) as proxy:
        lock = PortfolioLock(proxy.dsn, "main", "live pid 1")
        lock.acquire(1)
        with monkeypatch.context() as patch:
            patch.setattr(tests.proxy, "_end", lambda client, _: _end(client))
            servers = [server for _, server in proxy._pairs]
            proxy.cut_all()
            time.sleep(0.3)
            lock.keep()
        _end(*servers)
        assert eventually(lambda: lock.keep() is None and lock._connection is not None)
        lock.release()


# --- a start


def test_what_was_kept_is_decided_although_the_database_goes_away_in_between(dsn, proxy):
    received(dsn)
    manager = DatabaseStateManager(proxy.dsn)
    engine = LiveTradingEngine(manager, without_waiting(), clock=Clock())
    look = engine._inbox.look

    def then_away() -> list[Delivery]:
        found = look()
        proxy.refuse(True)
        return found

    engine._inbox.look = then_away
    engine.start()
    time.sleep(0.3)
    assert not engine.positions
    proxy.refuse(False)
    assert eventually(lambda: len(engine.positions) == 1)
    engine.stop()
    manager.close()


def test_a_kept_row_that_somebody_has_locked_is_decided_when_it_is_free(dsn):
    received(dsn)
    blocker = psycopg2.connect(dsn)
    with blocker.cursor() as cursor:
        cursor.execute("SELECT 1 FROM signal_log FOR UPDATE")
    with an_engine(dsn) as engine:
        time.sleep(0.3)
        assert not engine.positions
        blocker.close()
        assert eventually(lambda: len(engine.positions) == 1)


def test_a_thousand_kept_signals_that_cannot_be_read_hide_no_other(dsn):
    rows(
        dsn,
        "INSERT INTO signal_log (instrument, signal_type, position, signal_timestamp, fingerprint, received_at, payload)"
        " SELECT 'GONE', 'EXIT', 'ALL', now(), encode(sha256(i::TEXT::BYTEA), 'hex'), now(), '{\"type\": \"EXIT\"}'"
        " FROM generate_series(1, 1000) AS i",
    )
    received(dsn)
    with an_engine(dsn) as engine:
        assert eventually(lambda: len(engine.positions) == 1)


def test_a_kept_signal_that_can_be_neither_decided_nor_failed_does_not_keep_the_engine_from_starting(dsn):
    with an_engine(dsn) as engine:
        engine.process_signal(a_signal())
    rows(dsn, "DELETE FROM signal_log")
    received(dsn)
    with an_engine(dsn) as engine:
        assert status_of(engine.process_signal(a_signal(**GOLD))) == "executed"
    assert rows(dsn, "SELECT count(*) FROM portfolio_positions WHERE instrument = 'BANK_NIFTY'") == [(1,)]


def test_a_kept_entry_is_as_old_as_its_first_receipt(dsn):
    """It has no timestamp: its age runs from when it was received, not from when it is decided."""
    received(dsn, timestamp=None, bar_time=minutes(-15))
    with an_engine(dsn, clock=Clock(minutes(6))):
        pass
    assert rows(dsn, "SELECT processing_status, outcome ->> 'reason' FROM signal_log") == [("rejected", "stale")]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE portfolio_positions SET layer = 'Foo'",
        'UPDATE portfolio_state SET statistics = \'{"trades_closed": "x"}\'',
    ],
)
def test_a_row_that_no_state_can_have_is_told_in_a_sentence(dsn, damage):
    with an_engine(dsn) as engine:
        engine.process_signal(a_signal())
    rows(dsn, damage)
    with pytest.raises(StateDiverged, match="no valid state"), an_engine(dsn):
        pass


# --- logs that cannot be written


def test_a_log_that_cannot_be_written_changes_nothing_that_is_done(dsn, monkeypatch):
    spoil_decisions_of(monkeypatch, "COPPER")
    with an_engine(dsn) as engine, Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        failing = engine.process_signal(a_signal(instrument="COPPER", price=800, stop=790, atr=3))
        other = engine.process_signal(a_signal(**GOLD))
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
    assert status_of(failing).startswith("failed")
    assert status_of(other) == "executed"


# --- commands


def test_two_different_commands_of_one_request_id_at_once_are_told_apart(dsn):
    with an_engine(dsn) as engine:
        pair = [Delivery(MoveCapital(request_id="r", amount=Decimal(amount))) for amount in (5, 9)]
        with engine._waiting._condition:
            for delivery in pair:
                engine._waiting._push(delivery)
            engine._waiting._condition.notify()
        first, second = (delivery.wait(60) for delivery in pair)
        assert (first.kind, second.kind, second.differs) == (AnswerKind.DECIDED, AnswerKind.DUPLICATE, True)
    assert rows(dsn, "SELECT amount FROM capital_flows") == [(Decimal(5),)]


def test_a_repeated_command_is_told_its_first_outcome_with_its_figures(dsn):
    with an_engine(dsn) as engine:
        command = MoveCapital(request_id="a", amount=Decimal(-9_000_000_000))
        first, second = engine.command(command), engine.command(command)
    assert first.outcome["sizing"]
    assert second.outcome["sizing"] == first.outcome["sizing"]


def _continue(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signals.SIGCONT)
