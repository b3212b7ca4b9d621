"""The leader is stopped, or cut off from PostgreSQL, in the middle of an order, for longer than its lease, and comes back
beside the next one: the order reaches the broker once at most, and is not forgotten."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.postgres.journal_stream import journal_stream
from live.verify import verify
from tests.crash.load import eventually
from tests.crash.totals import FULL, Note
from tests.e2e.test_live import an_alert
from tests.e2e.test_orders import KEY, SYMBOL
from tests.misbehaving_server import Trouble
from tests.openalgo_server import OpenAlgoServer
from tests.partitions.cluster import NAMES, SECRET, Cluster, Instance, cluster, network_of
from tests.partitions.test_pauses import THE_COMMIT, away_while_it_waits, held_back, holding
from tests.queries import rows
from tests.redis_server import NEEDS_REDIS

ENTRY = "SELECT state, settled FROM orders WHERE purpose = 'entry' AND instrument = %s"
# Where each is traded, its price, its stop.
MARKETS: dict[str, tuple[str, str, float, float]] = {
    "BANK_NIFTY": (SYMBOL, "NFO", 58412.6, 57985.0),
    "GOLD_MINI": ("GOLDM05FEB26FUT", "MCX", 138000.0, 137500.0),
    "SILVER_MINI": ("SILVERM27FEB26FUT", "MCX", 90000.0, 89100.0),
    "COPPER": ("COPPER30JAN26FUT", "MCX", 830.0, 824.0),
}


class FreezingServer(OpenAlgoServer):
    """A broker beside whom something happens when an endpoint is asked the first time: before it is done, or then."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.before: dict[str, Callable[[], None]] = {}
        self.behind: dict[str, Callable[[], None]] = {}

    def perform(self, endpoint: str, fields: dict[str, Any], trouble: Trouble | None) -> tuple[int, Any]:
        self.before.pop(endpoint, _nothing)()
        answer = super().perform(endpoint, fields, trouble)
        self.behind.pop(endpoint, _nothing)()
        return answer

    def bought(self, instrument: str) -> int:
        """How many orders to buy it reached the broker."""
        placed = [fields for endpoint, fields in self.requests if endpoint == "placeorder"]
        return sum(fields["symbol"] == MARKETS[instrument][0] and fields["action"] == "BUY" for fields in placed)


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Two instances and their broker, all of whom the test's machine reaches."""

    ours: Cluster
    server: FreezingServer
    away: str

    def without(self, leader: Instance) -> AbstractContextManager[None]:
        """It is away for the block."""
        return self.ours.paused(leader) if self.away == "stopped" else self.ours.cut_off(leader)

    def enter(self, instrument: str) -> None:
        """An alert whose order is about to be on its way; the follower answers it, whatever becomes of the leader."""
        _, _, price, stop = MARKETS[instrument]
        atr = abs(price - stop)
        alert = an_alert(instrument=instrument, price=price, stop=stop, atr=atr, secret=SECRET)
        status, answer = self.ours.follower.process.post(alert)
        assert status == 202 or answer["status"] == "accepted", answer

    def entry(self, instrument: str) -> list[tuple[str, bool]]:
        """What the order's row says: its state, and whether it is settled."""
        return rows(self.ours.dsn, ENTRY, (instrument,))


@contextmanager
def a_world(folder: Path, away: str, *, redis: bool) -> Iterator[World]:
    with network_of(*NAMES) as network, FreezingServer(network["test"].address) as server:
        markets = {}
        for instrument, (symbol, exchange, price, _) in MARKETS.items():
            server.exchange.set_quote(symbol, Decimal(str(price)))
            markets[instrument] = {"symbol": symbol, "exchange": exchange}
        file = folder / "config.json"
        file.write_text(
            json.dumps({"brokers": {"openalgo": {"url": server.url, "read_seconds": 1}, "markets": markets}})
        )
        options = ("--config", str(file), "--broker", "openalgo", "--capital", "50000000")
        with cluster(folder, redis=redis, network=network, arguments=options, **KEY) as ours:
            yield World(ours=ours, server=server, away=away)


# --- in the middle of what


@contextmanager
def stopped_by_the_broker(
    world: World, instrument: str, hooks: dict[str, Callable[[], None]], endpoint: str
) -> Iterator[None]:
    """When that is asked of it."""
    asked = threading.Event()
    leader = world.ours.leader
    with ExitStack() as pause:

        def freeze() -> None:
            pause.enter_context(world.without(leader))
            asked.set()

        hooks[endpoint] = freeze
        world.enter(instrument)
        assert asked.wait(60)
        yield


@contextmanager
def stopped_while_its_quote_is_asked_for(world: World, instrument: str) -> Iterator[None]:
    """Nothing is kept as sent yet."""
    with stopped_by_the_broker(world, instrument, world.server.before, "quotes"):
        yield


@contextmanager
def stopped_once_it_is_kept_as_sent(world: World, instrument: str) -> Iterator[None]:
    """The broker would be called next."""
    leader = world.ours.leader
    held_back(world.ours.dsn, "orders", "NEW.state = 'sent'")
    with holding(world.ours.dsn, THE_COMMIT) as let_go:
        world.enter(instrument)
        with away_while_it_waits(world.ours, partial(world.without, leader)):
            term = world.ours.term
            let_go()
            eventually(lambda: world.entry(instrument) == [("sent", False)], "an order that is kept as sent")
            assert rows(world.ours.dsn, "SELECT term FROM decision_journal WHERE kind = 'send'") == [(term,)]
            yield


@contextmanager
def stopped_before_the_broker_does_it(world: World, instrument: str) -> Iterator[None]:
    """The call is there."""
    with stopped_by_the_broker(world, instrument, world.server.before, "placeorder"):
        yield


@contextmanager
def stopped_before_it_hears_that_it_is_done(world: World, instrument: str) -> Iterator[None]:
    """It is done, and not answered."""
    with stopped_by_the_broker(world, instrument, world.server.behind, "placeorder"):
        yield


# The first one leaves an order that nobody knows of, which freezes its instrument. It is the first because whoever wakes has
# nothing else to tell then, by which he would learn that he was replaced before he comes to the call.
MOMENTS = {
    "COPPER": stopped_once_it_is_kept_as_sent,
    "BANK_NIFTY": stopped_while_its_quote_is_asked_for,
    "GOLD_MINI": stopped_before_the_broker_does_it,
    "SILVER_MINI": stopped_before_it_hears_that_it_is_done,
}


@pytest.mark.parametrize(
    "away, lease",
    [
        ("stopped", "in PostgreSQL"),
        *([("cut off", "in PostgreSQL"), pytest.param("cut off", "in Redis", marks=NEEDS_REDIS)] if FULL else []),
    ],
)
def test_an_order_in_whose_middle_the_leader_goes_away_reaches_the_broker_once_at_most_and_is_not_forgotten(
    folder: Path, note: Note, away: str, lease: str
):
    with a_world(folder, away, redis=lease == "in Redis") as world:
        for instrument, stopped in MOMENTS.items():
            _replaced_and_woken(world, instrument, stopped)
            if stopped is stopped_once_it_is_kept_as_sent:
                _require_in_doubt(world, instrument)
            else:
                _require_bought(world, instrument)
        world.ours.require_history()
        world.ours.require_agreement()
        with journal_stream(world.ours.dsn, "main") as stream:
            verify(stream, "main")
        held = sum(world.server.exchange.positions().values())
        assert [(held,)] == rows(world.ours.dsn, "SELECT sum(quantity) FROM portfolio_positions")
    note(faults=len(MOMENTS), signals=len(MOMENTS))


def _replaced_and_woken(world: World, instrument: str, stopped: Any) -> None:
    ours = world.ours
    leader, term, ended = ours.leader, ours.term, len(ours.supervisor.ended)
    with stopped(world, instrument):
        eventually(lambda: ours.term > term, "another leader")
    # What it does wrong it does at once. Where it tells the writer nothing, a bar to be decided ends it sooner.
    time.sleep(1)
    with suppress(OSError):
        leader.process.post(an_alert("MARKET_DATA", "", instrument=instrument, secret=SECRET))
    eventually(lambda: len(ours.supervisor.ended) > ended, "an end of the one that was replaced")
    ours.at_work()


def _require_bought(world: World, instrument: str) -> None:
    eventually(lambda: world.entry(instrument) == [("filled", True)], lambda: _told(world, instrument))
    assert world.server.bought(instrument) == 1, _told(world, instrument)


def _require_in_doubt(world: World, instrument: str) -> None:
    """Whether it reached the broker the next leader cannot know: it waits for as long as it might show, and says so."""
    if FULL:
        eventually(lambda: world.entry(instrument) == [("in_doubt", False)], lambda: _told(world, instrument))
        assert world.ours.leader.process.get("/status")[1]["frozen"].keys() == {instrument}
    else:
        assert world.entry(instrument) == [("sent", False)], _told(world, instrument)
    assert world.server.bought(instrument) == 0


def _told(world: World, instrument: str) -> str:
    journal = rows(world.ours.dsn, "SELECT seq, kind, term FROM decision_journal ORDER BY seq")
    return f"the entry: {world.entry(instrument)}, {journal}, asked of the broker: {world.server.requests[-20:]}"
