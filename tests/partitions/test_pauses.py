"""The leader is stopped in the middle of a commit, for longer than its lease, and wakes beside the next one."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.crash.load import Ledger, Load, Sent, a_market, dice_of, eventually, prove
from tests.crash.totals import FULL, Note
from tests.partitions.cluster import SECRET, Cluster, Instance, cluster
from tests.queries import rows
from tests.redis_server import NEEDS_REDIS

LEASES = ["in PostgreSQL", pytest.param("in Redis", marks=NEEDS_REDIS)]
# The writer's statement gives up a lock after a second: it is found waiting before.
FOUND_EVERY = 0.005
# While this advisory lock is held no COMMIT of a transaction that touched the table gets on.
_HOLD = """
    CREATE FUNCTION hold_commit() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(4711);
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT OR UPDATE ON {table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ({rows}) EXECUTE FUNCTION hold_commit();
"""
THE_COMMIT = "SELECT pg_advisory_xact_lock(4711)"
_WRITER = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name LIKE 'portfolio-manager %% write %%' AND {state}
"""
Ask = Callable[[], None]
Stopped = Callable[[Cluster, Instance, Ask], AbstractContextManager[None]]
WAITS = "wait_event_type = 'Lock'"


@contextmanager
def holding(dsn: str, statement: str) -> Iterator[Callable[[], None]]:
    """Locks are held until the block ends, or until what it is given is called."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.cursor().execute(statement)
        yield connection.rollback


def the_writer(dsn: str, state: str) -> None:
    """Wait until it is in this state."""
    eventually(lambda: rows(dsn, _WRITER.format(state=state)) == [(1,)], f"a writer: {state}", every=FOUND_EVERY)


def held_back(dsn: str, table: str, touched: str) -> None:
    """From now on `holding(dsn, THE_COMMIT)` holds the COMMITs that touched such rows of a table."""
    rows(dsn, _HOLD.format(table=table, rows=touched))


@contextmanager
def away_while_it_waits(ours: Cluster, away: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """In the middle of a statement or of a COMMIT. One that gave up just then tries again."""
    while True:
        the_writer(ours.dsn, WAITS)
        with away():
            if rows(ours.dsn, _WRITER.format(state=WAITS)) == [(1,)]:
                yield
                return


@contextmanager
def stopped_while_its_statement_waits(ours: Cluster, leader: Instance, ask: Ask) -> Iterator[None]:
    """For a row that somebody else has locked."""
    with holding(ours.dsn, "SELECT FROM portfolio_state FOR UPDATE"):
        ask()
        with away_while_it_waits(ours, partial(ours.paused, leader)):
            yield


@contextmanager
def stopped_in_its_commit(ours: Cluster, leader: Instance, ask: Ask) -> Iterator[None]:
    """It takes place, and nobody hears of it."""
    held_back(ours.dsn, "decision_journal", "TRUE")
    with holding(ours.dsn, THE_COMMIT) as let_go:
        ask()
        with away_while_it_waits(ours, partial(ours.paused, leader)):
            last = "SELECT count(*) FROM decision_journal"
            before = rows(ours.dsn, last)
            let_go()
            eventually(lambda: rows(ours.dsn, last) != before, "what is committed while nobody hears of it")
            yield


COMMITS = (stopped_while_its_statement_waits, stopped_in_its_commit)


@pytest.mark.parametrize("lease", LEASES if FULL else LEASES[:1])
def test_a_leader_that_is_stopped_in_the_middle_of_a_commit_changes_nothing_when_it_wakes(
    folder: Path, note: Note, lease: str
):
    with cluster(folder, redis=lease == "in Redis") as ours:
        load = ours.load(f"pauses {lease}", hang_up_after=None)
        with load.running():
            # Later ones than those of the load.
            for stopped, alert in zip(COMMITS, a_market(dice_of("pauses"), range(60, 70), SECRET), strict=False):
                load.wait_for(answers=10)
                _replaced_and_woken(ours, load, stopped, alert)
        ours.settled()
        prove(load, ours.leader.process, ours.dsn, note, faults=len(COMMITS))
        ours.require_history()
        ours.require_agreement()
        ours.require_taken(load.ledger)


def _replaced_and_woken(ours: Cluster, load: Load, stopped: Stopped, alert: Sent) -> None:
    leader, term, ended = ours.leader, ours.term, len(ours.supervisor.ended)
    patient = threading.Thread(target=_ask_patiently, args=(leader, load.ledger, alert))
    with stopped(ours, leader, patient.start):
        eventually(lambda: ours.term > term, "another leader")
    patient.join()
    eventually(lambda: len(ours.supervisor.ended) > ended, "an end of the one that was replaced")
    assert ours.supervisor.ended[-1].name == leader.url
    ours.at_work()


def _ask_patiently(leader: Instance, ledger: Ledger, alert: Sent) -> None:
    """Who still listens when it wakes is told no more than what is so; how long that took is not the question."""
    answer: Any = None
    since = time.monotonic()
    try:
        status, answer = leader.process.ask("POST", "/webhook", alert.body)
    except OSError:
        status = 0
    ledger.note(alert, status, answer, 0.0, instance=leader.url.removeprefix("http://"), since=since)
