"""Who leads: the lock and the lease, one contract for PostgreSQL's and Redis', and what becomes of both when Redis fails."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fakeredis
import pytest

from core.config import LeadershipSettings
from core.errors import DatabaseAway
from core.postgres.errors import StatementFailed
from core.postgres.lease import PortfolioLock
from live.heartbeat import RENEWALS, Heartbeat
from live.leadership import Leadership, Lease, LeaseAway, PostgresLease, RedisLease, leadership, redis_client
from tests.engines import an_engine
from tests.proxy import Proxy, Way
from tests.queries import rows
from tests.redis_server import NEEDS_REDIS, redis_server
from tests.waiting import Stopwatch, eventually

__all__ = ["redis_server"]

SECONDS = 0.5


# --- the contract


@pytest.fixture(params=["postgres", "fakeredis", pytest.param("redis", marks=NEEDS_REDIS)])
def two_leases(request: pytest.FixtureRequest, dsn: str) -> Iterator[tuple[Lease, Lease]]:
    """A leader's and a follower's."""
    if request.param == "postgres":
        locks = [PortfolioLock(dsn, "main", name) for name in ("leader", "follower")]
        yield PostgresLease(locks[0], "leader", SECONDS), PostgresLease(locks[1], "follower", SECONDS)
        for lock in locks:
            lock.release()
        return
    server = fakeredis.FakeServer()

    def client() -> Any:
        if request.param == "fakeredis":
            return fakeredis.FakeRedis(server=server)
        return redis_client(request.getfixturevalue("redis_server").url)

    yield RedisLease(client(), "a:lease", SECONDS), RedisLease(client(), "a:lease", SECONDS)


def test_a_lease_lasts_as_long_as_it_is_renewed_and_no_longer(two_leases):
    leader, follower = two_leases
    leader.renew()
    assert not follower.expired()
    for _ in range(4):
        time.sleep(SECONDS / 2)
        leader.renew()
        assert not follower.expired()
    time.sleep(SECONDS + 0.2)
    assert follower.expired()
    leader.renew()
    assert not follower.expired()
    leader.release()


def test_a_lease_that_expired_is_the_next_ones(two_leases):
    leader, follower = two_leases
    leader.renew()
    time.sleep(SECONDS + 0.2)
    follower.renew()
    assert not leader.expired()


@pytest.mark.parametrize("server", ["fakeredis", pytest.param("redis", marks=NEEDS_REDIS)])
def test_a_lease_that_redis_would_keep_for_an_hour_since_its_clock_was_set_back_has_expired_until_it_is_renewed(
    request, server
):
    client = (
        fakeredis.FakeRedis() if server == "fakeredis" else redis_client(request.getfixturevalue("redis_server").url)
    )
    leader, follower = (RedisLease(client, "a:lease", SECONDS) for _ in range(2))
    leader.renew()
    client.pexpire("a:lease", 3_600_000)
    assert follower.expired()
    leader.renew()
    assert not follower.expired()


# --- the lock and the lease


@contextmanager
def led(dsn: str, client: Callable[[], Any] | None = None) -> Iterator[tuple[Leadership, Leadership]]:
    """One that leads and one that would."""
    made = []
    for name in ("leader", "follower"):
        lock = PortfolioLock(dsn, "main", name)
        in_redis = None if client is None else RedisLease(client(), "main:leader", SECONDS)
        made.append(Leadership(lock, PostgresLease(lock, name, SECONDS), seconds=SECONDS, in_redis=in_redis))
    leader, follower = made
    assert leader.try_to_lead(seize=True)
    leader.renew()
    yield leader, follower
    leader.release()
    follower.release()


def never_within(seconds: float, follower: Leadership, leader: Leadership | None = None) -> bool:
    """Whether the follower does not come to lead in this time, in which the leader renews."""
    over, until = threading.Event(), time.monotonic() + seconds

    def renew() -> None:
        while leader is not None and not over.wait(SECONDS / RENEWALS):
            leader.renew()

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        while time.monotonic() < until:
            if follower.try_to_lead(seize=True):
                return False
            time.sleep(0.05)
        return True
    finally:
        over.set()
        renewing.join()


def test_the_lock_is_free_as_soon_as_the_leader_gives_it_up(dsn):
    with led(dsn) as (leader, follower):
        assert not follower.try_to_lead(seize=True)
        assert 0 < leader.seconds_left <= SECONDS
        leader.release()
        assert leader.seconds_left == 0
        assert eventually(lambda: follower.try_to_lead(seize=False))


def test_orders_are_sent_only_while_half_of_the_lease_is_left(dsn):
    with led(dsn) as (leader, follower):
        assert leader.may_send
        assert not follower.may_send
        leader._clock = lambda: time.monotonic() + 0.6 * SECONDS
        assert leader.seconds_left > 0
        assert not leader.may_send
        leader.renew()
        assert leader.may_send


def test_a_leader_that_ends_in_the_middle_of_a_renewal_holds_nothing_afterwards(dsn, monkeypatch):
    """Its process may go on, and follow: neither a session nor the lease is to be the old one's."""
    with an_engine(dsn) as engine:
        leader = leadership(dsn, "main", "leader", LeadershipSettings(lease_seconds=1))
        assert leader.try_to_lead(seize=False)
        beat = Heartbeat(engine.db_manager, leader, engine, revive=lambda: None, on_lost=pytest.fail)
        beat.start(hostname="here", port=1, version="0")
        beat.lead()
        renew, begun, over = leader.renew, threading.Event(), threading.Event()

        def slowly() -> None:
            begun.set()
            time.sleep(0.5)
            renew()
            over.set()

        monkeypatch.setattr(leader, "renew", slowly)
        assert begun.wait(60)
        beat.stop()
        leader.release()
        assert over.wait(60)
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%% main leader'"
        assert eventually(lambda: rows(dsn, sessions) == [(0,)])


def test_a_leader_is_replaced_once_its_lease_has_expired_and_not_before(dsn):
    with led(dsn) as (leader, follower):
        assert never_within(3 * SECONDS, follower, leader)
        time.sleep(SECONDS + 0.1)
        assert leader.seconds_left == 0
        assert not follower.try_to_lead(seize=False)
        assert leader.held
        assert eventually(lambda: follower.try_to_lead(seize=True))
        follower.renew()
        assert eventually(lambda: not leader.held)
        with pytest.raises(DatabaseAway, match="session of the portfolio's lock was lost"):
            leader.try_to_lead(seize=True)
        assert not leader.try_to_lead(seize=True)


def test_of_two_who_find_the_leader_silent_one_leads_and_is_left_alone_by_the_other(dsn):
    with led(dsn) as (_, one):
        lock = PortfolioLock(dsn, "main", "another")
        another = Leadership(lock, PostgresLease(lock, "another", SECONDS), seconds=SECONDS)
        assert not another.try_to_lead(seize=True)
        time.sleep(SECONDS + 0.1)
        for follower in (one, another):
            assert not follower.try_to_lead(seize=True)
        time.sleep(SECONDS / 2)
        # The server needs a moment to end a session.
        assert eventually(lambda: one.try_to_lead(seize=True))
        assert rows(dsn, "SELECT holder FROM leader_lease") == [("follower",)]
        assert never_within(SECONDS, another, one)
        # It had found the one before silent, and asks for the end of that one's session.
        lock.hang_up_on("leader")
        assert one.held
        another.release()


def test_a_silent_leader_of_another_role_is_left_where_it_is(dsn, monkeypatch):
    with led(dsn) as (leader, follower):
        time.sleep(SECONDS + 0.1)

        def refused(_: str) -> None:
            raise StatementFailed("42501: must be a member of the role")

        monkeypatch.setattr(follower.lock, "hang_up_on", refused)
        assert never_within(2 * SECONDS, follower)
        assert leader.held


def test_asking_and_renewing_at_once_the_lock_is_not_taken_for_lost(dsn):
    with led(dsn) as (leader, _):
        over = threading.Event()

        def renew() -> None:
            while not over.is_set():
                leader.renew()

        renewing = threading.Thread(target=renew)
        renewing.start()
        session = leader.lock._connection
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            leader.keep()
            assert leader.held
        over.set()
        renewing.join()
        assert leader.lock._connection is session


def test_one_who_never_said_anything_is_not_replaced(dsn):
    holder, other = (leadership(dsn, "main", name, LeadershipSettings()) for name in ("holder", "other"))
    assert holder.try_to_lead(seize=True)
    assert not other.try_to_lead(seize=True)
    holder.release()
    other.release()


@NEEDS_REDIS
def test_with_redis_a_silent_leader_is_replaced_too_and_postgresql_is_not_written_meanwhile(dsn, redis_server):
    with led(dsn, lambda: redis_client(redis_server.url)) as (leader, follower):
        assert rows(dsn, "SELECT expires_at = 'infinity' FROM leader_lease") == [(True,)]
        written = rows(dsn, "SELECT xmin::TEXT FROM leader_lease")
        assert never_within(3 * SECONDS, follower, leader)
        assert rows(dsn, "SELECT xmin::TEXT FROM leader_lease") == written
        began = time.monotonic()
        assert eventually(lambda: follower.try_to_lead(seize=True))
        assert time.monotonic() - began > SECONDS
        follower.renew()
        assert eventually(lambda: not leader.held)


@NEEDS_REDIS
@pytest.mark.parametrize("fault", ["FLUSHALL", "restarted empty", "stopped", "frozen"])
def test_a_leader_that_is_alive_is_not_replaced_whatever_redis_does(dsn, redis_server, fault):
    with led(dsn, lambda: redis_client(redis_server.url)) as (leader, follower):
        match fault:
            case "FLUSHALL":
                redis_client(redis_server.url).flushall()
            case "restarted empty":
                redis_server.restart()
            case "stopped":
                redis_server.stop()
            case "frozen":
                os.kill(redis_server.process.pid, signal.SIGSTOP)
        assert never_within(4 * SECONDS, follower, leader)
        assert leader.seconds_left > 0


def test_a_leader_that_reaches_redis_and_not_the_database_says_nothing_and_sends_nothing(dsn):
    server = fakeredis.FakeServer()
    with Proxy(dsn) as proxy:
        lock = PortfolioLock(proxy.dsn, "main", "leader")
        lease, others = (RedisLease(fakeredis.FakeRedis(server=server), "main:leader", SECONDS) for _ in range(2))
        leader = Leadership(lock, PostgresLease(lock, "leader", SECONDS), seconds=SECONDS, in_redis=lease)
        assert leader.try_to_lead(seize=True)
        leader.renew()
        assert leader.seconds_left > 0
        proxy.silence(*Way)
        with pytest.raises(DatabaseAway):
            leader.renew()
        assert leader.seconds_left == 0
        assert others.expired()
        leader.release()


@NEEDS_REDIS
def test_while_redis_is_away_postgresql_tells_of_a_silent_leader(dsn, redis_server):
    with led(dsn, lambda: redis_client(redis_server.url)) as (leader, follower):
        redis_server.stop()
        leader.renew()
        assert rows(dsn, "SELECT expires_at = 'infinity' FROM leader_lease") == [(False,)]
        assert eventually(lambda: follower.try_to_lead(seize=True))
        assert eventually(lambda: not leader.held)


@NEEDS_REDIS
def test_one_that_cannot_reach_redis_does_not_replace_a_leader_that_can(dsn, redis_server):
    with led(dsn, lambda: redis_client(redis_server.url)) as (leader, _):
        cut_off = leadership(
            dsn, "main", "cut off", LeadershipSettings(lease_seconds="0.5", redis_url="redis://127.0.0.1:1/0")
        )
        assert never_within(3 * SECONDS, cut_off, leader)
        without = leadership(dsn, "main", "without", LeadershipSettings(lease_seconds="0.5"))
        assert never_within(3 * SECONDS, without, leader)
        cut_off.release()
        without.release()


def test_a_redis_that_is_not_there_says_so_soon():
    lease = RedisLease(redis_client("redis://127.0.0.1:1/0"), "a:lease", SECONDS)
    began = Stopwatch()
    for ask in (lease.renew, lease.expired):
        with pytest.raises(LeaseAway, match="Redis"):
            ask()
    lease.release()
    assert began.seconds < 2


def test_two_leases_of_one_name_exclude_each_other():
    server = fakeredis.FakeServer()
    one, other = (RedisLease(fakeredis.FakeRedis(server=server), "a:lease", SECONDS) for _ in range(2))
    one.renew()
    with pytest.raises(LeaseAway, match="another instance holds"):
        other.renew()
    other.release()
    one.renew()
    one.release()
    other.renew()
