"""A long past costs nothing that is read all the time: each list and each start reads a page, counted in rows."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest

from bench.history import STORY_SIGNALS, fill, tell_story
from core.postgres.connections import connect
from core.postgres.statements import statement
from tests.queries import rows
from tests.waiting import eventually

COPIES = 100
PAGE = 10
# A page, and what is looked at beside it.
MOST_ROWS_READ = 10 * PAGE
SWEEPS = 10


@contextmanager
def explained(dsn: str) -> Iterator[Any]:
    """A cursor whose plans may use nothing but what the statistics suggest."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        yield cursor


def rows_read(plan: dict[str, Any]) -> int:
    """How many rows a plan's scans have looked at, taken or not."""
    within = sum(rows_read(part) for part in plan.get("Plans", ()))
    if "Scan" not in plan["Node Type"]:
        return within
    looked_at = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return within + int(looked_at * plan["Actual Loops"])


def test_no_workers_are_started_for_what_is_read(dsn):
    """A long history suggests them, and they take longer to start than the page to be read."""
    with closing(connect(dsn, "main", "a reader")) as connection, connection.cursor() as cursor:
        cursor.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
        for asked, workers in ((0, False), (2, True)):
            if asked:
                cursor.execute("SET max_parallel_workers_per_gather = %s", (asked,))
            cursor.execute("EXPLAIN SELECT count(*) FROM signal_log")
            assert any("Gather" in line for (line,) in cursor.fetchall()) is workers


def count_on(dsn: str, limit: int = 1_000_000) -> list[tuple[Any, ...]]:
    """Count all that is decided, however lately."""
    return rows(dsn, statement("count_signals"), {"settled_seconds": 0, "limit": limit})


def counted_anew(dsn: str) -> list[tuple[Any, ...]]:
    return rows(
        dsn,
        "SELECT signal_type, processing_status, count(*), sum(deliveries - 1)::BIGINT FROM signal_log"
        " GROUP BY 1, 2 ORDER BY 1, 2",
    )


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("load_positions", {}),
        ("load_orders", {}),
        ("load_proposals", {}),
        ("last_seq", {}),
        ("last_settings", {}),
        ("last_contracts", {}),
        ("load_received", {"after_id": 0, "limit": PAGE}),
        ("list_positions", {"status": None, "instrument": None, "before": None, "limit": PAGE}),
        ("list_positions", {"status": ["open"], "instrument": None, "before": None, "limit": PAGE}),
        ("list_signals", {"status": None, "instrument": None, "before": None, "limit": PAGE}),
        ("list_signals", {"status": ["executed"], "instrument": None, "before": None, "limit": PAGE}),
        ("list_signals", {"status": ["failed"], "instrument": None, "before": None, "limit": PAGE}),
        ("list_signals", {"status": ["failed", "blocked"], "instrument": None, "before": None, "limit": PAGE}),
        ("list_signals", {"status": None, "instrument": "NEVER_HEARD_OF", "before": None, "limit": PAGE}),
        ("list_journal", {"before": None, "limit": PAGE}),
        ("signal_counts", {}),
        ("list_orders", {"state": None, "instrument": None, "before": None, "limit": PAGE}),
        ("list_orders", {"state": ["filled"], "instrument": None, "before": None, "limit": PAGE}),
        ("list_orders", {"state": ["in_doubt"], "instrument": None, "before": None, "limit": PAGE}),
        ("list_orders", {"state": None, "instrument": "NEVER_HEARD_OF", "before": None, "limit": PAGE}),
    ],
    ids=str,
)
def test_what_is_read_of_a_long_history_is_a_page_of_it(dsn, name, parameters):
    tell_story(dsn)
    fill(dsn, COPIES * STORY_SIGNALS)
    count_on(dsn)
    with explained(dsn) as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement(name)}", parameters)
        ((plan,),) = cursor.fetchone()
    assert rows_read(plan["Plan"]) <= MOST_ROWS_READ


def test_the_indexes_of_what_is_rare_hold_nothing_of_what_is_not(dsn):
    tell_story(dsn)
    fill(dsn, COPIES * STORY_SIGNALS)
    found = rows(
        dsn,
        "SELECT relname, reltuples::INTEGER FROM pg_class"
        " WHERE relname IN ('ix_signal_log_not_executed', 'ix_orders_not_filled')",
    )
    assert sorted(found) == [("ix_orders_not_filled", 0), ("ix_signal_log_not_executed", 0)]


def test_most_changes_of_every_position_touch_no_index(dsn):
    tell_story(dsn)
    rows(
        dsn,
        "INSERT INTO portfolio_positions SELECT (jsonb_populate_record(told, jsonb_build_object("
        "'position_id', number || told.position_id))).* FROM portfolio_positions AS told, generate_series(1, 50) AS number",
    )
    ((positions,),) = rows(dsn, "SELECT count(*) FROM portfolio_positions")
    counted = (
        "SELECT n_tup_ins, n_tup_upd, n_tup_upd - n_tup_hot_upd FROM pg_stat_user_tables"
        " WHERE relname = 'portfolio_positions'"
    )
    # Backends tell what they did when they end.
    assert eventually(lambda: rows(dsn, counted)[0][0] == positions)
    ((_, updated, elsewhere_before),) = rows(dsn, counted)
    for _ in range(SWEEPS):
        rows(dsn, "UPDATE portfolio_positions SET mark_price = mark_price + 1, version = version + 1")
    assert eventually(lambda: rows(dsn, counted)[0][1] == updated + SWEEPS * positions)
    ((_, _, elsewhere),) = rows(dsn, counted)
    # What somebody else, autovacuum say, looks at just then is not cleared away in time.
    assert elsewhere - elsewhere_before < SWEEPS * positions / 2


def test_signals_are_as_many_as_there_are_however_far_they_were_counted(dsn):
    tell_story(dsn)
    last = -1
    for _ in range(6):
        assert rows(dsn, statement("signal_counts")) == counted_anew(dsn)
        for up_to, more in count_on(dsn, limit=20):
            assert up_to > last
            last = up_to
            assert more == (up_to % 20 == 0)
    assert rows(dsn, "SELECT up_to_id = (SELECT max(id) FROM signal_log) FROM signal_totals") == [(True,)]
    # What comes again is of a signal that was counted long ago.
    rows(dsn, "UPDATE signal_log SET deliveries = deliveries + 2, is_duplicate = TRUE WHERE id = 7")
    assert rows(dsn, statement("signal_counts")) == counted_anew(dsn)
    assert sum(row[3] for row in counted_anew(dsn)) == 2


def test_what_waits_to_be_decided_and_what_was_decided_just_now_is_not_counted_for_good(dsn):
    tell_story(dsn)
    ((middle,),) = rows(dsn, "SELECT max(id) / 2 FROM signal_log")
    rows(dsn, "UPDATE signal_log SET processing_status = 'received' WHERE id = %s", [middle])
    assert rows(dsn, statement("count_signals"), {"settled_seconds": 600, "limit": 1000}) == []
    assert [up_to for up_to, _ in count_on(dsn)] == [middle - 1]
    assert rows(dsn, statement("signal_counts")) == counted_anew(dsn)
    rows(dsn, "UPDATE signal_log SET processing_status = 'executed' WHERE id = %s", [middle])
    assert count_on(dsn) != []
    assert rows(dsn, statement("signal_counts")) == counted_anew(dsn)


def test_behind_whoever_may_still_commit_a_smaller_number_nothing_is_counted(dsn):
    tell_story(dsn)
    assert count_on(dsn) != []
    one_more = (
        "INSERT INTO signal_log (instrument, signal_type, position, signal_timestamp, fingerprint, received_at, processed_at,"
        " processing_status, outcome) SELECT instrument, signal_type, position, signal_timestamp, repeat(%s, 64), received_at,"
        " now(), 'executed', outcome FROM signal_log LIMIT 1"
    )
    with closing(psycopg2.connect(dsn)) as waiting, waiting.cursor() as cursor:
        cursor.execute(one_more, ["a"])
        rows(dsn, one_more, ["b"])
        assert count_on(dsn) == []
        assert rows(dsn, statement("signal_counts")) == counted_anew(dsn)
        waiting.commit()
    assert count_on(dsn) != []
    assert rows(dsn, statement("signal_counts")) == counted_anew(dsn)
    assert rows(dsn, "SELECT up_to_id = (SELECT max(id) FROM signal_log) FROM signal_totals") == [(True,)]


def test_two_who_count_on_at_once_count_once(dsn):
    tell_story(dsn)
    assert count_on(dsn, limit=5) != []
    told: list[Any] = []
    with closing(psycopg2.connect(dsn)) as first, first.cursor() as cursor:
        cursor.execute(statement("count_signals"), {"settled_seconds": 0, "limit": 1000})
        assert cursor.fetchall() != []
        second = threading.Thread(target=lambda: told.append(count_on(dsn)))
        second.start()
        assert eventually(lambda: rows(dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted") == [(1,)])
        first.commit()
        second.join(60)
    assert told == [[]]
    assert rows(dsn, statement("signal_counts")) == counted_anew(dsn)
