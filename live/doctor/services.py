"""What else orders and the lead depend on: the broker, and Redis."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic

from core.errors import ConfigurationError
from live.brokers.port import Broker, BrokerAway, BrokerRefused, OutcomeUnknown
from live.brokers.settings import BrokersSettings
from live.doctor.configuration import Configuration
from live.doctor.findings import Finding, failed, ok, skipped, warning
from live.leadership import LeaseAway, redis_client, version_of
from live.order_desk import SWITCH

_UNREADABLE = "the configuration cannot be read"


def check_broker(configuration: Configuration, clock: Callable[[], datetime]) -> Iterator[Finding]:
    """Whether it is reached and takes our credentials, by reading what the account has; no order is sent."""
    brokers, settings = configuration.brokers, configuration.settings
    if brokers is None or settings is None:
        yield skipped("broker", _UNREADABLE)
        return
    folder = configuration.options.data_dir / "broker"
    if brokers.use != "paper":
        yield _asked(brokers, clock)
    elif settings.execution.fills == "paper":
        yield ok("broker", "paper: entries and exits are filled at the signal's price as they are decided")
    else:
        yield _paper_book(folder / configuration.portfolio / "paper.sqlite")
    if (folder / SWITCH).exists():
        yield warning(
            "broker", f"{folder / SWITCH} is there: no order is sent, exits neither", "remove it to trade again"
        )


def _asked(brokers: BrokersSettings, clock: Callable[[], datetime]) -> Finding:
    try:
        with _connected(brokers, clock) as broker:
            began = monotonic()
            broker.require_ready()
            broker.funds()
            took = monotonic() - began
    except (BrokerRefused, ConfigurationError) as error:
        return failed(
            "broker", f"{brokers.use}: {error}", "put the keys and settings of `brokers` right, docs/brokers.md"
        )
    except (BrokerAway, OutcomeUnknown) as error:
        return failed(
            "broker", f"{brokers.use} is not reached: {error}", "see that it runs, at the address of `brokers`"
        )
    return ok("broker", f"{brokers.use} takes our keys and tells the account's funds, in {took * 1000:.0f} ms")


@contextmanager
def _connected(brokers: BrokersSettings, clock: Callable[[], datetime]) -> Iterator[Broker]:
    if brokers.openalgo is not None and brokers.use == "openalgo":
        from live.brokers.openalgo import OpenAlgoBroker

        with OpenAlgoBroker(brokers.openalgo.model_copy(update={"read_attempts": 1}), clock) as openalgo:
            yield openalgo
    elif brokers.ccxt is not None:
        from live.brokers.ccxt import CcxtBroker

        with CcxtBroker(brokers.ccxt.model_copy(update={"read_attempts": 1}), clock) as venue:
            yield venue


def _paper_book(file: Path) -> Finding:
    if not file.exists():
        return skipped("broker", f"paper: the book {file} is not there yet; `live` makes it")
    try:
        orders = _orders_in(file)
    except (OSError, sqlite3.Error) as error:
        return failed(
            "broker",
            f"paper: the book {file} cannot be read: {error}",
            "restore it, or move it away while nothing is open",
        )
    return ok("broker", f"paper: the book {file} is whole, with {orders:,} orders")


def _orders_in(file: Path) -> int:
    # Of a copy: even to be read, SQLite would make files beside the book.
    with tempfile.TemporaryDirectory() as temporary:
        copied = Path(temporary) / file.name
        for part in (file, file.with_name(f"{file.name}-wal")):
            if part.exists():
                shutil.copyfile(part, copied.with_name(part.name))
        with closing(sqlite3.connect(copied)) as connection:
            (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if health != "ok":
                raise sqlite3.DatabaseError(health)
            (orders,) = connection.execute("SELECT count(*) FROM orders").fetchone()
    return int(orders)


def check_redis(configuration: Configuration) -> Iterator[Finding]:
    """Whether it answers, where the lease is to be kept there."""
    if configuration.settings is None:
        yield skipped("redis", _UNREADABLE)
        return
    url = configuration.settings.leadership.redis_url
    if url is None:
        yield skipped("redis", "not configured: the leader's lease is kept in PostgreSQL")
        return
    began = monotonic()
    try:
        version = version_of(redis_client(url))
    except LeaseAway as error:
        yield warning(
            "redis",
            f"{error}; the lease is kept in PostgreSQL meanwhile",
            "start it, or leave `leadership.redis_url` out",
        )
        return
    took = (monotonic() - began) * 1000
    yield ok("redis", f"Redis {version} answers in {took:.0f} ms; it need not keep anything over a restart of its own")
