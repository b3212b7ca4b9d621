"""What a failover of the database can do to an engine: one server's word for it while another one leads, or will in a moment."""

import os
import signal as signals
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

import core.postgres.connections
from core.db_state_manager import DatabaseStateManager
from core.errors import DatabaseAway
from core.fingerprint import fingerprint_of
from core.postgres.connections import connect, dsn_of, is_dead, replica_dsn_of
from core.postgres.embedded import EmbeddedServer
from core.postgres.errors import ReadOnlyServer
from core.postgres.journal_stream import journal_stream
from core.postgres.lease import PortfolioLock
from core.postgres.listen import Listener
from core.postgres.migrations import migrate
from core.postgres.servers import Servers
from core.postgres.watchdog import WATCHDOG
from live.answers import AnswerKind
from live.engine import LiveTradingEngine
from live.spool import open_spool
from live.verify import verify
from tests.builders import NOON, a_signal, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of, without_waiting
from tests.proxy import Proxy, Way
from tests.queries import rows
from tests.waiting import eventually

GOLD = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}
READ_ONLY = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"


@pytest.fixture
def own_dsn() -> Iterator[str]:
    """A server of the test's own, whose settings it may change."""
    with tempfile.TemporaryDirectory(prefix="pm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with EmbeddedServer(folder) as server:
            migrate(server.dsn, "main")
            yield server.dsn


@contextmanager
def a_standby_that_never_comes(dsn: str) -> Iterator[None]:
    """COMMIT waits for it. What is written is seen once whoever waits is ended, as it is after a restart of the server."""
    try:
        _set_standby(dsn, "nobody")
        yield
    finally:
        _set_standby(dsn, "")


def _set_standby(dsn: str, name: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
            cursor.execute("SELECT pg_reload_conf()")
    assert eventually(lambda: rows(dsn, "SHOW synchronous_standby_names") == [(name,)])


@contextmanager
def waits_for_it_ended(dsn: str, function: str) -> Iterator[None]:
    """Whoever waits for the standby is ended, or told to wait no longer, as soon as he is seen."""
    over = threading.Event()

    def end() -> None:
        while not over.wait(0.05):
            rows(dsn, f"SELECT {function}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")

    ending = threading.Thread(target=end)
    ending.start()
    try:
        yield
    finally:
        over.set()
        ending.join()


def follower_on(manager: DatabaseStateManager, **given: object) -> LiveTradingEngine:
    engine = LiveTradingEngine(manager, without_waiting(), clock=Clock(minutes(3)), **given)
    engine.follow()
    return engine


# --- what may yet be lost is no ground for an answer


@pytest.mark.parametrize("function", ["pg_terminate_backend", "pg_cancel_backend"])
def test_nobody_is_told_of_an_outcome_that_no_standby_has(own_dsn, function):
    """Cancelled, a COMMIT is acknowledged all the same, and a notice is the only trace of what it lacks."""
    with an_engine(own_dsn) as engine:
        with a_standby_that_never_comes(own_dsn), waits_for_it_ended(own_dsn, function):
            assert engine.process_signal(a_signal()).kind is AnswerKind.UNKNOWN
            assert eventually(lambda: rows(own_dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)])
            assert engine.process_signal(a_signal()).kind is AnswerKind.UNKNOWN
        assert eventually(lambda: engine.process_signal(a_signal()).kind is AnswerKind.DUPLICATE)
        assert rows_as_portfolio(own_dsn, engine.portfolio) == engine.portfolio


def test_another_writer_tells_nobody_of_a_first_outcome_that_no_standby_has(own_dsn):
    with an_engine(own_dsn):
        pass
    with DatabaseStateManager(own_dsn, commit_limit=1.0) as manager:
        with a_standby_that_never_comes(own_dsn):
            _insert_unseen(own_dsn)
            with pytest.raises(DatabaseAway):
                manager.find_signal("f" * 64)
        found = manager.find_signal("f" * 64)
        assert found is not None
        assert found["processing_status"] == "executed"


def _insert_unseen(dsn: str) -> None:
    """A decided signal that is seen although its COMMIT was to wait for a standby."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = local")
        cursor.execute(
            "INSERT INTO signal_log (instrument, signal_type, position, signal_timestamp, fingerprint, received_at,"
            " processed_at, processing_status, outcome, payload) VALUES ('GOLD_MINI', 'EXIT', 'ALL', now(), %s, now(), now(),"
            " 'executed', '{}', '{}')",
            ("f" * 64,),
        )
        connection.commit()


def test_a_follower_tells_nobody_of_an_entry_that_no_standby_has(own_dsn):
    with an_engine(own_dsn):
        pass
    # Whoever leads with it does not wait for a standby: his entries are seen, and a failover would lose them.
    unseen = psycopg2.extensions.make_dsn(own_dsn, options="-c synchronous_commit=local")
    with DatabaseStateManager(own_dsn, instance_id="follower") as manager, ExitStack() as stack:
        manager._pool.limit_seconds = 0.5
        follower = follower_on(manager, answer_within=4.0)
        stack.callback(follower.stop)
        answers = []
        client = threading.Thread(target=lambda: answers.append(follower.deliver(a_signal(timestamp=minutes(2)))))
        client.start()
        assert eventually(lambda: rows(own_dsn, "SELECT count(*) FROM signal_log") == [(1,)])
        with a_standby_that_never_comes(own_dsn):
            stack.enter_context(an_engine(unseen, clock=Clock(minutes(3))))
            assert eventually(lambda: rows(own_dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)])
            client.join(60)
        assert [answer.kind for answer in answers] == [AnswerKind.QUEUED]
        assert eventually(lambda: follower.deliver(a_signal(timestamp=minutes(2))).kind is AnswerKind.DUPLICATE)


def test_what_goes_into_the_inbox_without_its_standby_is_kept_on_the_disk_as_well(dsn, tmp_path):
    """The only trace is a notice of the server."""
    with an_engine(dsn):
        pass
    rows(
        dsn,
        "CREATE FUNCTION notice() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RAISE WARNING"
        " 'canceling wait for synchronous replication due to user request'; RETURN NULL; END $f$;"
        " CREATE CONSTRAINT TRIGGER late AFTER INSERT ON signal_log DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION notice()",
    )
    with open_spool(tmp_path, "main") as spool, DatabaseStateManager(dsn, instance_id="follower") as manager:
        follower = follower_on(manager, spool=spool)
        try:
            assert follower.deliver(a_signal(timestamp=minutes(2))).kind is AnswerKind.QUEUED
            assert spool.kept == 1
        finally:
            follower.stop()


def test_a_signal_that_is_known_to_one_server_and_not_to_another_one_stays_on_the_disk(dsn, tmp_path, monkeypatch):
    """As between two primaries: the older one shows what its COMMIT has waited for in vain."""
    with an_engine(dsn, clock=Clock(minutes(3))):
        pass
    with open_spool(tmp_path, "main") as spool, DatabaseStateManager(dsn, instance_id="follower") as manager:
        follower = follower_on(manager, spool=spool)
        try:
            signal = a_signal(timestamp=minutes(2))
            assert manager.log_signal(signal, fingerprint_of("main", signal), received_at=NOON)
            monkeypatch.setattr(manager.reads, "confirmed", lambda *_, **__: [])
            assert follower.deliver(signal).kind is AnswerKind.QUEUED
            follower.hand_over()
            assert spool.kept == 1
            monkeypatch.undo()
            follower.hand_over()
            assert spool.kept == 0
        finally:
            follower.stop()


# --- a server whose journal ends otherwise


def test_on_a_server_that_lacks_the_last_entries_it_is_read_anew_and_no_entry_is_left_out(dsn):
    """As after a failover to a standby that had not got them; where replication is synchronous there is none such."""
    with an_engine(dsn, clock=Clock(minutes(3))) as engine:
        for number in range(3):
            exit_all = a_signal("EXIT", layer="ALL", timestamp=minutes(2 + number / 10))
            assert status_of(engine.process_signal(exit_all)).startswith("rejected")
        rows(dsn, "ALTER TABLE decision_journal DISABLE TRIGGER ALL")
        rows(dsn, "DELETE FROM decision_journal WHERE seq > (SELECT max(seq) - 2 FROM decision_journal)")
        unknown = (
            "NOT EXISTS (SELECT FROM decision_journal WHERE decision_journal.fingerprint = signal_log.fingerprint)"
        )
        rows(dsn, f"DELETE FROM signal_log WHERE {unknown}")
        exit_all = a_signal("EXIT", layer="ALL", timestamp=minutes(1))
        assert status_of(engine.process_signal(exit_all)).startswith("rejected")
        assert engine.portfolio.state.halted
        ((last, number),) = rows(dsn, "SELECT max(seq), count(*) FROM decision_journal")
        assert last == number
        with journal_stream(dsn, "main") as stream:
            verify(stream, "main")


# --- a primary that is none any more


def test_a_demoted_primary_is_left_for_a_new_connection(dsn):
    """Its connection lives, and would refuse for ever."""
    with an_engine(dsn) as engine:
        manager = engine.db_manager
        engine.process_signal(a_signal())
        with manager._writer._connection.cursor() as cursor:
            cursor.execute(READ_ONLY)
        manager._writer._connection.commit()
        assert status_of(engine.process_signal(a_signal(**GOLD))) == "executed"
        with manager.get_connection() as connection, connection.cursor() as cursor:
            cursor.execute(READ_ONLY)
            connection.commit()
        with pytest.raises(ReadOnlyServer):
            manager.count_delivery("f" * 64)
        manager.count_delivery("f" * 64)


def test_a_lock_on_a_demoted_primary_is_given_up(dsn):
    lock = PortfolioLock(dsn, "main", "the test")
    lock.acquire(1)
    lock.ask("renew_lease", holder="the test", seconds=2)
    with lock._connection.cursor() as cursor:
        cursor.execute(READ_ONLY)
    with pytest.raises(ReadOnlyServer):
        lock.ask("renew_lease", holder="the test", seconds=2)
    assert lock.held is False
    lock.keep()
    lock.ask("renew_lease", holder="the test", seconds=2)
    lock.release()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Servers:
    """Of no server anything is known yet."""
    made = Servers()
    for module in (core.postgres.connections, core.postgres.listen):
        monkeypatch.setattr(module, "SERVERS", made)
    monkeypatch.setattr(WATCHDOG, "_on_cut", made.suspect)
    return made


def _twice(dsn: str) -> str:
    """The same server as two of them."""
    parts = psycopg2.extensions.parse_dsn(dsn)
    return psycopg2.extensions.make_dsn(dsn, host=f"{parts['host']},{parts['host']}")


def test_once_a_newer_timeline_was_seen_an_older_primary_is_asked_nothing_more(dsn, known):
    several = _twice(dsn)
    with closing(connect(several, "main", "before")) as before, closing(connect(dsn, "main", "another")) as another:
        assert not is_dead(before)
        (servers,) = known._newest
        known._newest[servers] += 1
        assert is_dead(before)
        assert not is_dead(another)
        with pytest.raises(DatabaseAway, match="is a primary of timeline 1 still, another one leads on 2"):
            connect(several, "main", "behind")


def test_a_server_that_had_to_be_cut_off_is_asked_after_the_others(dsn, known, monkeypatch):
    with Proxy(dsn) as frozen, Proxy(dsn) as other:
        ports = [psycopg2.extensions.parse_dsn(one.dsn)["port"] for one in (frozen, other)]
        several = psycopg2.extensions.make_dsn(frozen.dsn, host="127.0.0.1,127.0.0.1", port=",".join(ports))
        monkeypatch.setitem(core.postgres.connections._DEFAULTS, "load_balance_hosts", "disable")
        with closing(connect(several, "main", "cut")) as connection:
            assert str(connection.info.port) == ports[0]
            with (
                pytest.raises(psycopg2.OperationalError),
                WATCHDOG.over(connection, 0.2),
                connection.cursor() as cursor,
            ):
                cursor.execute("SELECT pg_sleep(20)")
        with closing(connect(several, "main", "after")) as connection:
            assert str(connection.info.port) == ports[1]
        other.refuse(True)
        with closing(connect(several, "main", "where there is nobody else")) as connection:
            assert str(connection.info.port) == ports[0]
        other.refuse(False)
        known._suspect_until = dict.fromkeys(known._suspect_until, time.monotonic())
        with closing(connect(several, "main", "later")) as connection:
            assert str(connection.info.port) == ports[0]


def test_whoever_was_connected_to_an_older_primary_connects_anew(dsn, known):
    heard = []
    listener = Listener(_twice(dsn))
    listener.hear("a_channel", lambda: heard.append(1))
    with an_engine(_twice(dsn)) as engine:
        lock = PortfolioLock(_twice(dsn), "main", "the test")
        lock.acquire(1)
        listening = "SELECT pid FROM pg_stat_activity WHERE application_name = 'portfolio-manager listen'"
        assert eventually(lambda: rows(dsn, listening) != [])
        before = rows(dsn, listening)
        (servers,) = known._newest
        known._newest[servers] += 1
        assert lock.held is False
        assert engine.process_signal(a_signal()).kind is AnswerKind.UNKNOWN
        known._newest[servers] -= 1
        assert eventually(lambda: engine.process_signal(a_signal()).kind is not AnswerKind.UNKNOWN)
        lock.keep()
        assert lock.held
        assert eventually(lambda: rows(dsn, listening) not in ([], before))
        lock.release()
    listener.stop()


# --- one that stands still


def test_a_listener_whose_server_stands_still_hears_again_over_a_new_connection(own_dsn):
    heard = []
    listener = Listener(own_dsn)
    listener.hear("a_channel", lambda: heard.append(1))
    listening = "SELECT pid FROM pg_stat_activity WHERE query IN ('LISTEN \"a_channel\"', 'SELECT 1') AND pid <> pg_backend_pid()"
    assert eventually(lambda: rows(own_dsn, listening) != [])
    ((pid,),) = rows(own_dsn, listening)
    os.kill(pid, signals.SIGSTOP)
    try:
        assert eventually(lambda: len(rows(own_dsn, listening)) == 2)
        rows(own_dsn, "NOTIFY a_channel")
        assert eventually(lambda: heard)
    finally:
        os.kill(pid, signals.SIGCONT)
        listener.stop()


def test_a_follower_that_loads_from_a_server_that_falls_silent_is_not_held_up_for_ever(dsn):
    with Proxy(dsn) as proxy, journal_stream(proxy.dsn, "main", within=0.5) as stream:
        proxy.silence(*Way)
        with pytest.raises(DatabaseAway):
            stream.end()


# --- where to connect, and where to read


def test_of_several_hosts_whoever_is_given_the_connection_string_finds_the_one_that_takes_writes():
    several = psycopg2.extensions.parse_dsn(dsn_of({"host": ["db1", "db2"], "port": [5432, 5433]}))
    assert (several["host"], several["port"]) == ("db1,db2", "5432,5433")
    assert several["target_session_attrs"] == "read-write"
    # psql knows it from 16 on; every connection of ours has it all the same.
    assert "load_balance_hosts" not in several
    assert "target_session_attrs" not in dsn_of({"host": "db1"})


def test_a_replica_is_read_where_that_is_configured_and_by_an_instance_that_follows_only(dsn, empty_dsn):
    from core.config import DatabaseSettings

    assert replica_dsn_of(DatabaseSettings(host="db1,db2")) is None
    there = replica_dsn_of(DatabaseSettings(host="db1,db2", reads="replica"))
    assert psycopg2.extensions.parse_dsn(there or "")["target_session_attrs"] == "prefer-standby"

    with an_engine(dsn):
        pass
    migrate(empty_dsn, "main")  # a replica that is far behind
    with DatabaseStateManager(dsn, replica=empty_dsn) as manager:
        follower = follower_on(manager)
        assert follower.lists.journal(limit=9, before=None) == []
        assert follower.reads.journal(limit=9, before=None) != []
        assert follower.portfolio.state.version == 1
        follower.start()
        try:
            assert follower.lists.journal(limit=9, before=None) != []
            assert status_of(follower.process_signal(a_signal(timestamp=minutes(2)))) == "executed"
        finally:
            follower.stop()
