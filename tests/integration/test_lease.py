"""The portfolio's lock, and scratch portfolios that are dropped whatever becomes of their run."""

import time
from decimal import Decimal

import psycopg2
import pytest

from core.errors import ConfigurationError, DatabaseAway, LockHeld
from core.inputs import MoveCapital
from core.postgres.lease import PortfolioLock
from core.postgres.scratch import drop_portfolio, scratch_portfolio
from core.postgres.statements import statement
from core.postgres.writer import Writer
from tests.engines import an_engine
from tests.queries import rows

END_HOLDER = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name LIKE '%% main holder' AND datname = current_database()"
)


def test_a_second_holder_is_told_who_has_the_lock(dsn):
    first, second = PortfolioLock(dsn, "main", "holder"), PortfolioLock(dsn, "main", "other")
    first.acquire(0)
    started = time.monotonic()
    with pytest.raises(LockHeld, match=r"portfolio-manager main holder.*backend \d+.* since "):
        second.acquire(0.5)
    assert time.monotonic() - started >= 0.5
    first.release()
    second.acquire(5)
    second.release()


def test_each_portfolio_has_a_lock_of_its_own(dsn):
    first, second = PortfolioLock(dsn, "main", "holder"), PortfolioLock(dsn, "alpha", "other")
    first.acquire(0)
    second.acquire(0)
    first.release()
    second.release()


def test_a_lock_whose_connection_was_lost_is_taken_again(dsn):
    lock, other = PortfolioLock(dsn, "main", "holder"), PortfolioLock(dsn, "main", "other")
    lock.acquire(0)
    lock.keep()
    rows(dsn, END_HOLDER)
    time.sleep(0.2)
    lock.keep()
    with pytest.raises(LockHeld):
        other.acquire(0)
    lock.release()
    other.release()


def test_a_lock_that_another_took_meanwhile_is_lost_after_some_patience(dsn):
    lock, other = PortfolioLock(dsn, "main", "holder"), PortfolioLock(dsn, "main", "other")
    lock.acquire(0)
    rows(dsn, END_HOLDER)
    time.sleep(0.2)
    other.acquire(0)
    lock.keep()
    lock.patience_seconds = 0.1
    time.sleep(0.2)
    with pytest.raises(LockHeld):
        lock.keep()
    other.release()
    lock.keep()
    lock.release()


def test_a_lock_on_a_server_that_is_away_says_so(dsn):
    lock = PortfolioLock(psycopg2.extensions.make_dsn(dsn, host="/not/there"), "main", "holder")
    with pytest.raises(DatabaseAway):
        lock.acquire(0)


def test_a_transaction_that_was_over_before_its_commit_is_not_taken_for_committed(dsn, monkeypatch):
    """COMMIT of a transaction that is over raises nothing: the status is looked at first."""
    import core.postgres.writer as module
    from core.postgres.connections import connect

    monkeypatch.setattr(module, "statement", lambda name: "ROLLBACK" if name == "barrier" else statement(name))
    writer = Writer(lambda: connect(dsn, "main", "test"))
    try:
        with pytest.raises(DatabaseAway, match="already over"):
            writer.landed(1, 1)
    finally:
        writer.close()


def test_a_commit_that_its_standby_may_not_have_is_unknown_until_it_was_looked_up(dsn, monkeypatch):
    """The server says so in a notice only."""
    import core.postgres.writer as module

    with an_engine(dsn) as engine:
        told = iter([True])
        monkeypatch.setattr(module, "lacks_its_standby", lambda _: next(told, False))
        assert engine.command(MoveCapital(amount=Decimal(5))).outcome["status"] == "executed"
        assert next(told, None) is None
    assert rows(dsn, "SELECT amount FROM capital_flows") == [(Decimal(5),)]
    assert rows(dsn, "SELECT fencing_number FROM leadership") == [(1,)]


# --- scratch portfolios


def test_a_scratch_portfolio_is_dropped_and_main_never(empty_dsn):
    with scratch_portfolio(empty_dsn, None) as name:
        assert rows(empty_dsn, f"SELECT count(*) FROM {name}.portfolio_positions") == [(0,)]
    assert rows(empty_dsn, "SELECT to_regnamespace(%s)", (name,)) == [(None,)]
    with pytest.raises(ConfigurationError, match="main"):
        drop_portfolio(empty_dsn, "main")


def test_one_that_is_in_use_is_spared_and_one_that_was_left_is_dropped(empty_dsn):
    rows(empty_dsn, "CREATE SCHEMA scratch_0123456789ab; CREATE SCHEMA scratch_of_mine")
    with scratch_portfolio(empty_dsn, None) as first, scratch_portfolio(empty_dsn, None) as second:
        found = {name for (name,) in rows(empty_dsn, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'scratch%%'")}
        assert found == {first, second, "scratch_of_mine"}


@pytest.mark.parametrize("name", ["main", "taken"])
def test_a_name_that_is_taken_is_refused(empty_dsn, name):
    rows(empty_dsn, "CREATE SCHEMA taken")
    with pytest.raises(ConfigurationError, match="exists already"), scratch_portfolio(empty_dsn, name):
        pass
    assert rows(empty_dsn, "SELECT to_regnamespace('taken') IS NOT NULL") == [(True,)]
