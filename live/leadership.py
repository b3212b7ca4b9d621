"""Who leads: the portfolio's lock, and a lease by which others see that its holder is alive; in Redis, or else in PostgreSQL.

Both are hints (the term in PostgreSQL decides, and fences): they say who may try. The lock tells that a leader's process is gone.
The lease tells that a leader is silent; then another one hangs up on its session, and has the lock.

With Redis the lease is renewed there, which costs PostgreSQL a question and no commit; its row says `infinity` meanwhile. A
leader that cannot reach Redis renews the row instead, and one that cannot reach PostgreSQL renews neither. So Redis may go, come
back empty, or be cut off from one of them: nobody is replaced for it.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from core.config import LONGEST_LEASE_SECONDS, LeadershipSettings
from core.errors import Retryable
from core.postgres.errors import StatementFailed
from core.postgres.lease import PortfolioLock
from core.postgres.reads import Reads

log = structlog.get_logger(__name__)


class LeaseAway(Retryable):
    """the lease cannot be asked after or renewed now"""


class Lease(Protocol):
    """Renewed by one, asked after by others. Each raises LeaseAway or DatabaseAway where that cannot be done now."""

    def renew(self) -> None:
        """The holder is alive from now on for the lease's time."""

    def expired(self) -> bool:
        """Whether its last holder has been silent for longer than that."""

    def release(self) -> None:
        """Nobody holds it any more. Never raises."""


class PostgresLease:
    """The row of `leader_lease`, over the session of the lock."""

    def __init__(self, lock: PortfolioLock, holder: str, seconds: float) -> None:
        self._lock = lock
        self._holder = holder
        self._seconds = seconds

    def renew(self) -> None:
        """As Lease."""
        self._lock.ask("renew_lease", holder=self._holder[:100], seconds=self._seconds)

    def kept_elsewhere(self) -> None:
        """Another lease tells of this leader, for as long as it lasts."""
        self._lock.ask("lease_elsewhere", holder=self._holder[:100])

    def expired(self) -> bool:
        """As Lease; False where it is kept elsewhere, or was never taken."""
        return self._state()[0]

    def is_elsewhere(self) -> bool:
        """Whether the leader has said that another lease tells of it."""
        return self._state()[1]

    def release(self) -> None:
        """The lock goes with its session, and that is enough."""

    def holder(self) -> str:
        """Whose it is, or was."""
        return self._state()[2]

    def _state(self) -> tuple[bool, bool, str]:
        row = self._lock.look("lease_state")
        return (False, False, "") if row is None else (bool(row["expired"]), bool(row["elsewhere"]), str(row["holder"]))


class RedisLease:
    """A key that expires, by the redis library's own lock: taken where it is free, renewed and released by its owner only."""

    def __init__(self, client: Any, name: str, seconds: float) -> None:
        from redis.lock import Lock

        self._client = client
        self._name = name
        self._lock = Lock(client, name, timeout=seconds, blocking=False, thread_local=False)

    def renew(self) -> None:
        """As Lease; LeaseAway also where another holds it."""
        from redis.exceptions import LockError, RedisError

        try:
            try:
                self._lock.reacquire()
            except LockError:
                # Not taken yet, or Redis has lost it.
                if not self._lock.acquire(blocking=False):
                    raise LeaseAway("another instance holds the lease in Redis") from None
        except RedisError as error:
            raise LeaseAway(f"Redis: {error}") from error

    def expired(self) -> bool:
        """As Lease; it is so as well where Redis has forgotten it, or would have it for longer than any lease lasts: since
        its clock was set back nobody has renewed it."""
        from redis.exceptions import RedisError

        try:
            milliseconds_left = self._client.pttl(self._name)
        except RedisError as error:
            raise LeaseAway(f"Redis: {error}") from error
        return not 0 <= milliseconds_left <= LONGEST_LEASE_SECONDS * 1000

    def release(self) -> None:
        """As Lease."""
        from redis.exceptions import RedisError

        try:
            self._lock.release()
        except RedisError:
            log.debug("the lease in Redis was not released; it expires")


def redis_client(url: str) -> Any:
    """A client that answers soon or says that it cannot: the library's own default tries ten times."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, retry=Retry(NoBackoff(), 0)
    )


def version_of(client: Any) -> str:
    """What Redis answers there; raises LeaseAway where none does."""
    from redis.exceptions import RedisError

    try:
        return str(client.info("server")["redis_version"])
    except RedisError as error:
        raise LeaseAway(f"Redis: {error}") from error


REDIS_SECONDS = 0.3


class Leadership:
    """The lock with its lease; `in_redis` where that is configured. For the threads of one process."""

    def __init__(
        self,
        lock: PortfolioLock,
        lease: PostgresLease,
        *,
        seconds: float,
        in_redis: Lease | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lock = lock
        self._lease = lease
        self._redis = in_redis
        self.seconds = seconds
        self._clock = clock
        self._valid_until = float("-inf")
        self._silent_since: float | None = None
        self._elsewhere = False

    @property
    def held(self) -> bool:
        """Whether the lock is ours, as far as is known without asking."""
        return self.lock.held

    @property
    def seconds_left(self) -> float:
        """For how long nobody may take the lead, by this machine's clock; 0 once somebody may, or it is not ours."""
        return max(0.0, self._valid_until - self._clock()) if self.held else 0.0

    @property
    def may_send(self) -> bool:
        """Whether enough of the lease is left to send an order: half of it, longer than a broker takes to hear of one."""
        return self.seconds_left > self.seconds / 2

    def try_to_lead(self, *, seize: bool) -> bool:
        """Take the lock if it is free; with `seize`, also from a leader that is silent. Raises DatabaseAway."""
        if not self.lock.try_to_hold() and not (seize and self._leader_is_silent() and self._seized()):
            return False
        if seize:
            # Nobody else is to find the lease of the one before.
            self.renew()
        return True

    def _seized(self) -> bool:
        holder = self._lease.holder()
        log.warning("the leader is silent: its session is ended", holder=holder)
        try:
            self.lock.hang_up_on(holder)
        except StatementFailed as error:
            log.error("the session of a silent leader cannot be ended: is it another role's?", error=str(error))
            self._silent_since = None
            return False
        return self.lock.try_to_hold()

    def ask_the_database(self) -> None:
        """Raises DatabaseAway where it is not there."""
        self.lock.look("server_clock")

    def renew(self) -> None:
        """Say that this leader is alive. Raises DatabaseAway where nobody could be told, or the database is not there."""
        asked_at = self._clock()
        if self._elsewhere:
            # One who reaches Redis only leads nobody: the server may have hung up on its lock, and another have it.
            self.ask_the_database()
        if not self._renewed_in_redis():
            self._lease.renew()
            self._elsewhere = False
        elif not self._elsewhere:
            self._lease.kept_elsewhere()
            self._elsewhere = True
        self._valid_until = asked_at + self.seconds

    def keep(self) -> None:
        """Take the lock again if its connection was lost. Raises LockHeld, DatabaseAway."""
        self.lock.keep()

    def release(self) -> None:
        """Let another one lead."""
        self.lock.give_up()
        if self._redis is not None:
            self._redis.release()

    def _renewed_in_redis(self) -> bool:
        if self._redis is None:
            return False
        try:
            self._redis.renew()
        except LeaseAway as away:
            if self._elsewhere:
                log.warning("the lease is kept in PostgreSQL until Redis is back", error=str(away))
            return False
        return True

    def _leader_is_silent(self) -> bool:
        """For a while: after a pause of the server itself the leader's next renewal comes as soon as our question."""
        silent, patience = self._heard_nothing()
        if not silent:
            self._silent_since = None
            return False
        self._silent_since = self._silent_since or self._clock()
        return self._clock() - self._silent_since >= patience

    def _heard_nothing(self) -> tuple[bool, float]:
        """Whether no lease tells of the leader now, and for how many seconds that has to last."""
        if self._redis is None:
            return self._lease.expired(), self.seconds / 4
        try:
            if not self._redis.expired():
                return False, 0.0
        except LeaseAway:
            # The leader may reach it: only what it says in PostgreSQL counts.
            return self._lease.expired(), self.seconds / 4
        # Where Redis lost it, or cannot be reached from there, the leader says so within its next renewals.
        return self._lease.expired() or self._lease.is_elsewhere(), self.seconds / 2


def leadership(
    dsn: str,
    portfolio: str,
    holder: str,
    settings: LeadershipSettings,
    *,
    redis: Any | None = None,
    reads: Reads | None = None,
) -> Leadership:
    """As it is configured. A `redis` client may be shared; without one a client is made where that says so. With `reads` a
    connection of its own is made only to lead."""
    seconds = float(settings.lease_seconds)
    lock = PortfolioLock(dsn, portfolio, holder, reads)
    in_redis = None
    if settings.redis_url is not None:
        client = redis or redis_client(settings.redis_url)
        in_redis = RedisLease(client, f"{settings.redis_prefix}:{portfolio}:leader", seconds)
    return Leadership(lock, PostgresLease(lock, holder, seconds), seconds=seconds, in_redis=in_redis)
