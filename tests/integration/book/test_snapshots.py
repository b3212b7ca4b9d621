"""Snapshots: the same content is kept once, and A, B, A are three moments."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from book.models import PortfolioSnapshot, PortfolioSnapshotContent
from book.snapshots import OtherSnapshot, Taken, snapshot_as_of, take_snapshot
from tests.book_world import NOON, TODAY, a_node, kept
from tests.queries import rows

A = {"positions": {"BANK_NIFTY": "60", "GOLD_MINI": "100"}, "equity": "5000000"}
B = {"positions": {"BANK_NIFTY": "30"}, "equity": "5006000"}


@pytest.fixture
def node(sessions: sessionmaker[Session]) -> int:
    with sessions.begin() as session:
        return a_node(session).portfolio_node_id


def taken(sessions: sessionmaker[Session], node: int, payload: dict[str, Any], *, day: int) -> Taken:
    """The snapshot of the end of a day."""
    with sessions.begin() as session:
        at = NOON + timedelta(days=day)
        return take_snapshot(session, node, at.date(), at, payload)


def counts(dsn: str) -> tuple[int, int]:
    """How many moments, and how many contents."""
    tables = ("portfolio_snapshot", "portfolio_snapshot_content")
    ((moments,), (contents,)) = (rows(dsn, f"SELECT count(*) FROM book.{table}")[0] for table in tables)
    return int(moments), int(contents)


def test_a_then_b_then_a_are_three_moments_and_two_contents(
    sessions: sessionmaker[Session], book_dsn: str, node: int
) -> None:
    first, second, third = (taken(sessions, node, payload, day=day) for day, payload in enumerate((A, B, A)))
    assert counts(book_dsn) == (3, 2)
    assert (first.is_new_content, second.is_new_content, third.is_new_content) == (True, True, False)
    assert len({first.snapshot_id, second.snapshot_id, third.snapshot_id}) == 3
    assert first.payload_hash == third.payload_hash != second.payload_hash
    with sessions() as session:
        as_of = [snapshot_as_of(session, node, TODAY + timedelta(days=day)) for day in (-1, 0, 1, 2, 9)]
    assert as_of == [None, A, B, A, A]


def test_the_order_of_keys_makes_no_difference_and_a_digit_does(
    sessions: sessionmaker[Session], book_dsn: str, node: int
) -> None:
    turned = {"equity": "5000000", "positions": {"GOLD_MINI": "100", "BANK_NIFTY": "60"}}
    assert taken(sessions, node, A, day=0).payload_hash == taken(sessions, node, turned, day=1).payload_hash
    other = {**A, "equity": "5000001"}
    assert taken(sessions, node, other, day=2).is_new_content
    assert counts(book_dsn) == (3, 2)


def test_decimals_and_times_are_kept_as_they_are(sessions: sessionmaker[Session], node: int) -> None:
    exact = {"price": Decimal("52000.12345678"), "at": datetime(2026, 1, 14, 6, 15, tzinfo=UTC), "day": TODAY}
    taken(sessions, node, exact, day=0)
    with sessions() as session:
        found = snapshot_as_of(session, node, TODAY)
    assert found == {"price": "52000.12345678", "at": "2026-01-14T06:15:00Z", "day": "2026-01-14"}


def test_what_json_cannot_hold_is_refused(sessions: sessionmaker[Session], book_dsn: str, node: int) -> None:
    with pytest.raises(Exception, match="not JSON compliant"):
        taken(sessions, node, {"price": float("nan")}, day=0)
    assert counts(book_dsn) == (0, 0)


def test_two_nodes_share_the_same_content(sessions: sessionmaker[Session], book_dsn: str, node: int) -> None:
    with sessions.begin() as session:
        other = a_node(session, "Other").portfolio_node_id
    taken(sessions, node, A, day=0)
    assert not taken(sessions, other, A, day=0).is_new_content
    assert counts(book_dsn) == (2, 1)


def test_the_same_moment_again_changes_nothing_and_another_content_for_it_is_refused(
    sessions: sessionmaker[Session], book_dsn: str, node: int
) -> None:
    first = taken(sessions, node, A, day=0)
    again = taken(sessions, node, A, day=0)
    assert (again.snapshot_id, again.is_new_content) == (first.snapshot_id, False)
    with pytest.raises(OtherSnapshot, match="another snapshot"):
        taken(sessions, node, B, day=0)
    assert counts(book_dsn) == (1, 1)


def test_of_one_day_the_last_moment_counts(sessions: sessionmaker[Session], node: int) -> None:
    with sessions.begin() as session:
        take_snapshot(session, node, TODAY, NOON + timedelta(hours=1), B)
        take_snapshot(session, node, TODAY, NOON, A)
        assert snapshot_as_of(session, node, TODAY) == B


def test_two_sessions_that_take_the_same_at_once_keep_it_once(
    sessions: sessionmaker[Session], book_dsn: str, node: int
) -> None:
    barrier, outcomes = threading.Barrier(4), []

    def take(number: int) -> None:
        with sessions.begin() as session:
            session.scalar(select(func.count()).select_from(PortfolioSnapshotContent))
            barrier.wait(60)
            outcomes.append(take_snapshot(session, node, TODAY, NOON + timedelta(seconds=number), A))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(book_dsn) == (4, 1)
    assert [outcome.is_new_content for outcome in outcomes].count(True) == 1


def test_the_hash_is_the_contents_own_whoever_writes(book_dsn: str) -> None:
    rows(book_dsn, 'INSERT INTO book.portfolio_snapshot_content (payload_json) VALUES (\'{"b": 1, "a": 2}\')')
    ((found,),) = rows(book_dsn, "SELECT payload_hash FROM book.portfolio_snapshot_content")
    ((expected,),) = rows(book_dsn, "SELECT encode(sha256('{\"a\": 2, \"b\": 1}'), 'hex')")
    assert found == expected
    with pytest.raises(psycopg2.errors.GeneratedAlways):
        rows(
            book_dsn,
            "INSERT INTO book.portfolio_snapshot_content (payload_hash, payload_json) VALUES (repeat('0', 64), '{}')",
        )
    with pytest.raises(psycopg2.errors.CheckViolation, match="ck_portfolio_snapshot_content_payload"):
        rows(book_dsn, "INSERT INTO book.portfolio_snapshot_content (payload_json) VALUES ('[]')")


@pytest.mark.parametrize("table", ["portfolio_snapshot", "portfolio_snapshot_content"])
@pytest.mark.parametrize(
    "command",
    ["UPDATE book.{table} SET payload_hash = DEFAULT", "DELETE FROM book.{table}", "TRUNCATE book.{table} CASCADE"],
)
def test_what_was_taken_is_neither_changed_nor_removed(
    sessions: sessionmaker[Session], book_dsn: str, node: int, table: str, command: str
) -> None:
    taken(sessions, node, A, day=0)
    for mode in ("", "SET session_replication_role = replica; "):
        with pytest.raises(psycopg2.errors.RestrictViolation, match="keeps what it has"):
            rows(book_dsn, mode + command.format(table=table))
    assert counts(book_dsn) == (1, 1)


def test_a_snapshot_refers_to_a_node_and_a_content_that_are_there(sessions: sessionmaker[Session], node: int) -> None:
    for change, constraint in (
        ({"portfolio_node_id": 4711}, "fk_portfolio_snapshot_portfolio_node_id"),
        ({"payload_hash": "0" * 64}, "fk_portfolio_snapshot_payload_hash"),
    ):
        values = {"portfolio_node_id": node, "as_of_date": TODAY, "taken_at": NOON}
        with sessions() as session:
            payload_hash = take_snapshot(session, node, TODAY, NOON - timedelta(hours=1), A).payload_hash
            with pytest.raises(IntegrityError, match=constraint):
                kept(session, PortfolioSnapshot(**{**values, "payload_hash": payload_hash, **change}))


def test_the_last_snapshot_up_to_a_day_is_found_by_an_index(book_dsn: str) -> None:
    connection = psycopg2.connect(book_dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT payload_hash FROM book.portfolio_snapshot WHERE portfolio_node_id = 1"
            " AND as_of_date <= '2026-01-14' ORDER BY as_of_date DESC LIMIT 1"
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
    connection.close()
    assert "ix_portfolio_snapshot_portfolio_node_id_as_of_date" in plan
    assert "Sort" not in plan
