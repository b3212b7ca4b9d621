"""DatabaseStateManager's single calls, by the first specification's names, on a real PostgreSQL."""

import threading
import time
from datetime import UTC
from decimal import Decimal

import psycopg2
import psycopg2.extensions
import pytest
from msgspec.structs import asdict, replace

from core.config import DatabaseSettings
from core.db_state_manager import DatabaseStateManager
from core.errors import ConfigurationError, DatabaseAway, LeadershipLost, PoolExhausted, StaleVersion
from core.fingerprint import fingerprint_of
from core.models import PortfolioState, PositionStatus, RolloverStatus, Side
from tests.builders import NOON, a_position, a_signal, minutes
from tests.queries import rows

STATE = PortfolioState(
    initial_capital=Decimal(5_000_000), closed_equity=Decimal(5_000_000), equity_high=Decimal(5_000_000)
)


# --- connections


def test_connection_pool_initialization(dsn):
    with DatabaseStateManager(dsn, pool_size=3) as manager:
        assert manager.pool_in_use() == (0, 3)
        with manager.get_connection() as connection, connection.cursor() as cursor:
            assert manager.pool_in_use() == (1, 3)
            cursor.execute("SHOW timezone")
            assert cursor.fetchone() == ("UTC",)
        assert manager.pool_in_use() == (0, 3)


def test_a_manager_can_be_built_from_settings_and_from_a_mapping_of_them(dsn):
    parts = psycopg2.extensions.parse_dsn(dsn)
    values = {"host": parts["host"], "port": parts["port"], "database": parts["dbname"], "user": parts["user"]}
    for database in (values, DatabaseSettings.model_validate(values)):
        with DatabaseStateManager(database) as manager:
            assert manager.get_all_open_positions() == {}


def test_connection_retry_on_failure(dsn):
    parts = psycopg2.extensions.parse_dsn(dsn)
    away = psycopg2.extensions.make_dsn(**{**parts, "host": parts["host"] + "-not-there"})
    started = time.monotonic()
    with pytest.raises(DatabaseAway):
        DatabaseStateManager(away, connect_for=0.7)
    assert time.monotonic() - started >= 0.5


def test_a_server_that_does_not_keep_what_it_acknowledges_is_refused(dsn):
    from core.errors import UnsafeServer

    unsafe = psycopg2.extensions.make_dsn(dsn, options="-c synchronous_commit=off")
    with pytest.raises(UnsafeServer, match="synchronous_commit = off"):
        DatabaseStateManager(unsafe)


@pytest.mark.parametrize("name", ["book", "risk", "public", "pg_temp", "Alpha", "a-b", "", "x" * 31, "a;drop"])
def test_a_portfolio_whose_name_is_no_schema_of_ours_is_refused(dsn, name):
    with pytest.raises(ConfigurationError, match="portfolio"):
        DatabaseStateManager(dsn, portfolio=name)


def test_transaction_rollback_on_error(manager, dsn):
    def fail_halfway() -> None:
        with manager.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO pyramiding_state (instrument) VALUES ('GOLD_MINI')")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    assert rows(dsn, "SELECT count(*) FROM pyramiding_state") == [(0,)]


def test_a_transaction_is_committed_at_the_end_of_its_block(manager, dsn):
    with manager.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO pyramiding_state (instrument) VALUES ('GOLD_MINI')")
    assert rows(dsn, "SELECT count(*) FROM pyramiding_state") == [(1,)]


def test_a_whole_transaction_is_run_again_when_its_backend_is_ended(manager, dsn):
    tries = []

    def work(connection):
        tries.append(1)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO pyramiding_state (instrument) VALUES ('GOLD_MINI')")
            if len(tries) == 1:
                rows(dsn, f"SELECT pg_terminate_backend({connection.info.backend_pid})")
            cursor.execute("SELECT count(*) FROM pyramiding_state")
            return cursor.fetchone()

    assert manager.run_transaction(work) == (1,)
    assert len(tries) == 2


def test_a_dead_pooled_connection_is_not_handed_out(manager, dsn):
    with manager.get_connection() as connection:
        pid = connection.info.backend_pid
    rows(dsn, f"SELECT pg_terminate_backend({pid})")
    time.sleep(0.1)
    with manager.get_connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert connection.info.backend_pid != pid


def test_an_exhausted_pool_waits_for_a_connection_and_gives_up_only_after_its_bound(dsn):
    with DatabaseStateManager(dsn, pool_size=1) as manager:
        manager._pool.wait_seconds = 0.2
        with manager.get_connection(), pytest.raises(PoolExhausted, match=r"0\.2 s"), manager.get_connection():
            pass
        manager._pool.wait_seconds = 5
        held = threading.Event()

        def hold() -> None:
            with manager.get_connection():
                held.set()
                time.sleep(0.3)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        with manager.get_connection() as connection:
            assert not connection.closed
        holder.join()


# --- positions


def test_save_position_insert(manager, dsn):
    assert manager.save_position(a_position()) is True
    assert rows(dsn, "SELECT position_id, lots, quantity, version FROM portfolio_positions") == [
        ("GOLD_MINI-Long_1-abc", 2, Decimal(200), 1)
    ]


def test_save_position_update(manager, dsn):
    manager.save_position(a_position())
    position = manager.get_position("GOLD_MINI-Long_1-abc")
    assert manager.save_position(replace(position, current_stop=Decimal("71800.5"))) is True
    assert rows(dsn, "SELECT current_stop, version FROM portfolio_positions") == [(Decimal("71800.5"), 2)]


def test_save_position_optimistic_locking(manager, dsn):
    manager.save_position(a_position())
    read = manager.get_position("GOLD_MINI-Long_1-abc")
    manager.save_position(replace(read, current_stop=Decimal(71600)))
    with pytest.raises(StaleVersion):
        manager.save_position(replace(read, current_stop=Decimal(71700)))
    assert rows(dsn, "SELECT current_stop, version FROM portfolio_positions") == [(Decimal(71600), 2)]
    assert manager.get_position("GOLD_MINI-Long_1-abc").current_stop == Decimal(71600)
    assert rows(dsn, "SELECT count(*) FROM decision_journal") == [(2,)]


def test_a_new_position_does_not_overwrite_a_row_of_its_id(manager, dsn):
    manager.save_position(a_position())
    with pytest.raises(StaleVersion):
        manager.save_position(a_position(current_stop=Decimal(1)))
    assert rows(dsn, "SELECT current_stop FROM portfolio_positions") == [(Decimal(71500),)]


def test_a_position_that_was_never_there_cannot_be_updated(manager, dsn):
    with pytest.raises(StaleVersion):
        manager.save_position(a_position(version=3))
    assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(0,)]


def test_a_change_made_by_hand_in_the_database_makes_a_save_stale(manager, dsn):
    manager.save_position(a_position())
    read = manager.get_position("GOLD_MINI-Long_1-abc")
    with manager.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE portfolio_positions SET current_stop = 1, version = version + 1")
    with pytest.raises(StaleVersion):
        manager.save_position(replace(read, current_stop=Decimal(71700)))
    assert manager.get_all_open_positions()[read.position_id].current_stop == 1


def test_get_position_cache_hit(manager, dsn):
    manager.save_position(a_position())
    before = manager.cache.hits
    with manager.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE portfolio_positions SET current_stop = 1")
    assert manager.get_position("GOLD_MINI-Long_1-abc").current_stop == Decimal(71500)
    assert manager.cache.hits == before + 1


def test_get_position_cache_miss(manager, dsn):
    manager.save_position(a_position())
    with DatabaseStateManager(dsn) as other:
        found = other.get_position("GOLD_MINI-Long_1-abc")
        assert found == replace(a_position(), version=1)
        assert (other.cache.hits, other.cache.misses) == (0, 1)
        assert other.get_position("nobody") is None


def test_a_closed_position_is_found_again_from_the_cache(manager):
    manager.save_position(a_position())
    position = manager.get_position("GOLD_MINI-Long_1-abc")
    closed = replace(position, lots=0, quantity=Decimal(0), status=PositionStatus.CLOSED, exit_price=Decimal(73000))
    manager.save_position(closed)
    assert manager.get_all_open_positions() == {}
    hits = manager.cache.hits
    assert manager.get_position(closed.position_id) == replace(closed, version=2)
    assert manager.cache.hits == hits + 1


def test_get_all_open_positions(manager):
    manager.save_position(a_position("open"))
    manager.save_position(a_position("partial", layer="Long_2", lots=1))
    manager.save_position(a_position("closed", layer="Long_3", lots=0))
    assert set(manager.get_all_open_positions()) == {"open", "partial"}


def test_position_serialization_is_base_position(manager, dsn):
    full = a_position(
        "everything",
        layer="Short_2",
        is_base_position=False,
        strategy_id="basso",
        entry_bar_time=minutes(-5),
        entry_costs=Decimal("12.3456"),
        unrealized_pnl=Decimal("-1.5"),
        realized_pnl=Decimal("9999999999.9999"),
        costs=Decimal("0.0001"),
        exit_timestamp=minutes(3),
        exit_price=Decimal("0.00000001"),
        exit_reason="TRAILING_STOP",
        rollover_status=RolloverStatus.ROLLED,
        original_expiry=NOON.date(),
        original_strike=Decimal(72000),
        original_entry_price=Decimal("71999.99999999"),
        rollover_timestamp=minutes(4),
        rollover_pnl=Decimal(-5),
        rollover_count=2,
        strike=Decimal(72500),
        expiry=NOON.date(),
        pe_symbol="P",
        ce_symbol="C",
        pe_order_id="1",
        ce_order_id="2",
        pe_entry_price=Decimal("1.05"),
        ce_entry_price=Decimal("2.05"),
        contract_month="2026-01",
        futures_symbol="GOLDM05FEB26FUT",
        futures_order_id="3",
        limiter="risk",
        risk_contribution=Decimal(10),
        vol_contribution=Decimal(20),
    )
    base = a_position("base", is_base_position=True)
    for position in (full, base):
        manager.save_position(position)
    with DatabaseStateManager(dsn) as other:
        assert other.get_position("everything") == replace(full, version=1)
        assert other.get_position("base").is_base_position is True
        assert other.get_position("everything").is_base_position is False
        read = other.get_position("everything")
    assert read.side is Side.SHORT
    assert read.entry_timestamp.tzinfo is UTC
    assert all(isinstance(value, Decimal) for value in (read.entry_price, read.costs, read.exit_price))
    assert manager._dict_to_position(manager._position_to_dict(full)) == full


def test_a_row_with_an_unknown_value_crashes_instead_of_being_defaulted(manager):
    row = {**manager._position_to_dict(a_position()), "rollover_status": "perhaps"}
    with pytest.raises(ValueError, match="perhaps"):
        manager._dict_to_position(row)


def test_the_cache_shows_nothing_of_a_save_that_failed(manager):
    manager.save_position(a_position())
    with pytest.raises(StaleVersion):
        manager.save_position(a_position(current_stop=Decimal(1), version=7))
    assert manager.get_position("GOLD_MINI-Long_1-abc").current_stop == Decimal(71500)


# --- the portfolio's row


def test_save_portfolio_state(manager, dsn):
    assert manager.save_portfolio_state(STATE) is True
    assert rows(dsn, "SELECT id, initial_capital, closed_equity, halted, version FROM portfolio_state") == [
        (1, Decimal(5_000_000), Decimal(5_000_000), False, 1)
    ]


def test_get_portfolio_state(manager, dsn):
    assert manager.get_portfolio_state() is None
    manager.save_portfolio_state(STATE)
    expected = asdict(replace(STATE, version=1))
    assert manager.get_portfolio_state() == expected
    with DatabaseStateManager(dsn) as other:
        assert other.get_portfolio_state() == expected


def test_portfolio_state_version_increment(manager):
    manager.save_portfolio_state(STATE)
    manager.save_portfolio_state(replace(STATE, halted=True, version=1))
    assert manager.get_portfolio_state()["version"] == 2
    with pytest.raises(StaleVersion):
        manager.save_portfolio_state(replace(STATE, version=1))
    assert manager.get_portfolio_state()["halted"] is True


# --- pyramiding


def test_save_pyramiding_state(manager, dsn):
    manager.save_position(a_position())
    assert manager.save_pyramiding_state("GOLD_MINI", Decimal("72000.5"), "GOLD_MINI-Long_1-abc") is True
    assert rows(dsn, "SELECT instrument, last_pyramid_price, base_position_id FROM pyramiding_state") == [
        ("GOLD_MINI", Decimal("72000.5"), "GOLD_MINI-Long_1-abc")
    ]


def test_get_pyramiding_state(manager, dsn):
    manager.save_pyramiding_state("GOLD_MINI", Decimal(72000), None)
    manager.save_pyramiding_state("COPPER", None, None, frozen_reason="looked at by hand")
    expected = {
        "GOLD_MINI": {
            "instrument": "GOLD_MINI",
            "last_pyramid_price": Decimal(72000),
            "base_position_id": None,
            "frozen_reason": None,
            "accepted_difference": None,
            "last_alert_seq": None,
            "last_bar_atr": None,
            "last_bar_time": None,
        },
        "COPPER": {
            "instrument": "COPPER",
            "last_pyramid_price": None,
            "base_position_id": None,
            "frozen_reason": "looked at by hand",
            "accepted_difference": None,
            "last_alert_seq": None,
            "last_bar_atr": None,
            "last_bar_time": None,
        },
    }
    assert manager.get_pyramiding_state() == expected
    with DatabaseStateManager(dsn) as other:
        assert other.get_pyramiding_state() == expected


def test_save_pyramiding_state_keeps_the_columns_that_it_does_not_name(manager, dsn):
    manager.save_pyramiding_state("GOLD_MINI", Decimal(72000), None)
    rows(dsn, "UPDATE pyramiding_state SET accepted_difference = 100, last_alert_seq = 7")
    with DatabaseStateManager(dsn) as other:
        other.save_pyramiding_state("GOLD_MINI", Decimal(72500), None)
    query = "SELECT last_pyramid_price, accepted_difference, last_alert_seq FROM pyramiding_state"
    assert rows(dsn, query) == [(72500, 100, 7)]


def test_base_position_id_nullable(manager, dsn):
    manager.save_position(a_position())
    manager.save_pyramiding_state("GOLD_MINI", Decimal(72000), "GOLD_MINI-Long_1-abc")
    with manager.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM portfolio_positions")
    assert rows(dsn, "SELECT base_position_id FROM pyramiding_state") == [(None,)]


def test_a_base_position_that_does_not_exist_is_refused(manager):
    from core.errors import DataRefused

    with pytest.raises(DataRefused) as refused:
        manager.save_pyramiding_state("GOLD_MINI", Decimal(72000), "nobody")
    assert refused.value.constraint == "fk_pyramiding_state_base_position"
    assert manager.get_pyramiding_state() == {}


# --- signals


def test_check_duplicate_signal_exists(manager):
    signal = a_signal()
    fingerprint = fingerprint_of("main", signal)
    manager.log_signal(signal, fingerprint, received_at=NOON)
    assert manager.check_duplicate_signal(fingerprint) is True


def test_check_duplicate_signal_not_exists(manager):
    assert manager.check_duplicate_signal("0" * 64) is False


def test_log_signal_insert(manager, dsn):
    signal = a_signal()
    assert manager.log_signal(signal, fingerprint_of("main", signal), received_at=NOON, payload={"a": "b"}) is True
    assert rows(
        dsn, "SELECT instrument, signal_type, position, processing_status, deliveries, payload, outcome FROM signal_log"
    ) == [("BANK_NIFTY", "BASE_ENTRY", "Long_1", "received", 1, {"a": "b"}, None)]


def test_log_signal_duplicate_detection(manager, dsn):
    signal = a_signal()
    fingerprint = fingerprint_of("main", signal)
    assert manager.log_signal(signal, fingerprint, received_at=NOON) is True
    assert manager.log_signal(signal, fingerprint, received_at=NOON) is False
    manager.count_delivery(fingerprint)
    assert rows(dsn, "SELECT deliveries, is_duplicate FROM signal_log") == [(2, True)]


def test_cleanup_empties_old_payloads_and_leaves_fingerprints_outcomes_and_what_waits(manager, dsn):
    with manager.transaction() as connection, connection.cursor() as cursor:
        for number, (status, days) in enumerate((("executed", 40), ("executed", 10), ("received", 40))):
            outcome = None if status == "received" else "{}"
            cursor.execute(
                "INSERT INTO signal_log (instrument, signal_type, position, signal_timestamp, fingerprint, received_at,"
                " processed_at, processing_status, outcome, payload) VALUES ('X', 'EXIT', 'ALL', now(), %s, now(),"
                " now() - make_interval(days => %s), %s, %s, '{\"k\": 1}')",
                (str(number) * 64, days, status, outcome),
            )
        cursor.execute("SELECT cleanup_old_signals(30)")
        assert cursor.fetchone() == (1,)
    assert rows(dsn, "SELECT payload = '{}' FROM signal_log ORDER BY fingerprint") == [(True,), (False,), (False,)]
    assert manager.check_duplicate_signal("0" * 64) is True


# --- terms


def test_a_manager_built_without_a_term_takes_one_at_its_first_write(manager):
    assert manager.term is None
    manager.save_position(a_position())
    assert manager.term == 1


def test_an_older_manager_is_fenced_off(manager, dsn):
    manager.save_position(a_position())
    with DatabaseStateManager(dsn) as newer:
        newer.take_term()
        with pytest.raises(LeadershipLost):
            manager.save_position(a_position("another", layer="Long_2"))
        assert rows(dsn, "SELECT count(*) FROM portfolio_positions") == [(1,)]
        newer.save_position(a_position("another", layer="Long_2"))
    assert rows(dsn, "SELECT max(term), count(*) FROM decision_journal") == [(2, 2)]


def test_a_zombie_inside_a_transaction_does_not_keep_the_term_for_ever(manager, dsn):
    manager.take_term()
    zombie = psycopg2.connect(dsn)
    try:
        with zombie.cursor() as cursor:
            cursor.execute("SELECT term FROM leadership FOR SHARE")
        with DatabaseStateManager(dsn) as newer:
            assert newer.take_term() == 2
    finally:
        zombie.close()


def test_a_save_by_hand_is_journalled_with_the_whole_row(manager, dsn):
    manager.save_position(a_position())
    ((kind, given, events),) = rows(dsn, "SELECT kind, input, events FROM decision_journal")
    assert kind == "manual"
    assert given["position"]["entry_price"] == "72000"
    assert events[0]["event"] == "position_saved"
