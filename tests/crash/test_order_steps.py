"""Killed before, during and after each call to a broker, and at each statement between: no order twice, none forgotten."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from core.inputs import SendOrder
from core.models import Signal
from core.orders import OrderState
from core.settings import Settings
from live.answers import Answer, AnswerKind
from tests.builders import a_signal, minutes
from tests.crash.order_scenario import (
    BANK,
    GOLD,
    HELD_IN_THE_END,
    NOW,
    PROTECTED,
    SETTINGS,
    SIGNALS,
    Desk,
    Move,
    Part,
    Settled,
    SteeredServer,
    Turns,
    a_desk,
    at_exchange,
    at_paper,
    held_by,
    move_paper,
    openalgo,
    paper,
    require_reconciled,
    story,
    story_in_legs,
    units,
)
from tests.crash.totals import FULL, SEED
from tests.crash.zygote import Zygote
from tests.engines import Clock
from tests.misbehaving_server import Trouble
from tests.postgres_server import drop_database, fresh_database
from tests.queries import rows

SHARDS = 2
# Of the steps that are neither an order nor its cancel, in the short form; and of the paper book's many, in full.
SAMPLE = 16
PAPER_SAMPLE = 400 if FULL else 16
PROTECTED_SAMPLE = 30
LEGS_SAMPLE = 6
# A short undone, an entry in two tries, each with its second leg, a pyramid, and both sold.
ORDERS_IN_LEGS = 3 + 4 + 2 + 4
CHANGES = ("placeorder", "cancelorder")
# How the steps end at which an order may be kept as sent and has not gone out: an operator says that it never came.
BETWEEN_KEPT_AND_SENT = ("database", "analyzer before", "analyzer sent", "analyzer answered", "placeorder before")
# What meets the process that comes after: the same market, a market hours later, a book that cannot be read at first.
AFTERWARDS = ("at once", "hours later", "blind at first")


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    with Zygote("tests.crash.order_scenario") as made:
        yield made


@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_around_each_call_to_openalgo_no_order_is_sent_twice_or_forgotten(
    server_dsn, template, zygote, shard, note
):
    labels = _undisturbed_with_openalgo(server_dsn, template, zygote)
    assert sum(label.startswith("placeorder") for label in labels) == 3 * 10
    assert sum(label.startswith("cancelorder") for label in labels) == 3 * 3
    for kill_at in _kills(labels)[shard::SHARDS]:
        dsn = fresh_database(server_dsn, template=template)
        with SteeredServer() as server:
            killed = zygote.run(dsn=dsn, broker="openalgo", at=server.url, kill_at=kill_at)
            assert killed["killed"], f"not killed at step {kill_at}"
            told = f"{kill_at}, {labels[kill_at - 1]}"
            _recover_with_openalgo(dsn, server, killed["answered"], told, AFTERWARDS[kill_at % 3])
        drop_database(dsn)
        note(faults=1, signals=SIGNALS + killed["answered"])


def test_killed_around_each_write_to_the_paper_book_no_order_is_sent_twice_or_forgotten(
    server_dsn, template, zygote, tmp_path, note
):
    dsn = fresh_database(server_dsn, template=template)
    whole = zygote.run(dsn=dsn, broker="paper", at=str(tmp_path / "undisturbed"), kill_at=0)
    assert whole["answered"] == SIGNALS
    drop_database(dsn)
    kills = Random(SEED).sample(range(1, len(whole["told"]) + 1), PAPER_SAMPLE)
    for kill_at in kills:
        dsn, file = fresh_database(server_dsn, template=template), tmp_path / f"{kill_at}.sqlite"
        killed = zygote.run(dsn=dsn, broker="paper", at=str(file), kill_at=kill_at)
        assert killed["killed"], f"not killed at step {kill_at}"
        _recover_with_paper(dsn, file, killed["answered"], str(kill_at))
        drop_database(dsn)
        note(faults=1, signals=SIGNALS + killed["answered"])


def test_killed_around_each_call_about_a_stop_none_is_left_twice_forgotten_or_in_the_way(
    server_dsn, template, zygote, note
):
    labels = _undisturbed_with_openalgo(server_dsn, template, zygote, protected=True)
    about = [step for step, label in enumerate(labels, 1) if label.startswith((*CHANGES, "modifyorder"))]
    assert any(label.startswith("modifyorder") for label in labels)
    kills = range(1, len(labels) + 1) if FULL else Random(SEED).sample(about, PROTECTED_SAMPLE)
    for kill_at in kills:
        dsn = fresh_database(server_dsn, template=template)
        with SteeredServer() as server:
            killed = zygote.run(dsn=dsn, broker="openalgo", at=server.url, kill_at=kill_at, protected=True)
            assert killed["killed"], f"not killed at step {kill_at}"
            told = f"{kill_at}, {labels[kill_at - 1]}"
            _recover_with_openalgo(dsn, server, killed["answered"], told, AFTERWARDS[kill_at % 3], PROTECTED)
        drop_database(dsn)
        note(faults=1, signals=SIGNALS + killed["answered"])


@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_around_each_call_about_a_leg_no_leg_is_sent_twice_and_none_is_left_untold(
    server_dsn, template, zygote, shard, note
):
    labels = _undisturbed_with_openalgo(server_dsn, template, zygote, legs=True)
    assert sum(label.startswith("placeorder") for label in labels) == 3 * ORDERS_IN_LEGS
    assert sum(label.startswith("cancelorder") for label in labels) == 3 * 2
    told = sum(isinstance(part, Signal) for part in story_in_legs())
    for kill_at in _kills(labels, LEGS_SAMPLE)[shard::SHARDS]:
        dsn = fresh_database(server_dsn, template=template)
        with SteeredServer() as server:
            killed = zygote.run(dsn=dsn, broker="openalgo", at=server.url, kill_at=kill_at, legs=True)
            assert killed["killed"], f"not killed at step {kill_at}"
            killed_at = f"{kill_at}, {labels[kill_at - 1]}"
            afterwards = AFTERWARDS[kill_at % 3]
            _recover_with_openalgo(dsn, server, killed["answered"], killed_at, afterwards, legs=True)
        drop_database(dsn)
        note(faults=1, signals=told + killed["answered"])


@contextmanager
def a_fresh_desk(dsn: str) -> Iterator[tuple[Desk, SteeredServer]]:
    """Nobody is killed; the market and the server do what the test says."""
    clock = Clock(NOW)
    with (
        SteeredServer() as server,
        openalgo(server.url) as broker,
        a_desk(dsn, broker, _mover(server), clock=clock, shows_within=0.1) as desk,
    ):
        yield desk, server


def test_an_exit_waits_until_what_works_of_its_entry_is_seen_cancelled(dsn):
    with a_fresh_desk(dsn) as (desk, server):
        desk.move(Move(instrument=BANK, price=52000, most=1))
        desk.tell(a_signal(timestamp=minutes(16)))
        desk.tell(Turns(3))
        server.misbehave("cancelorder", Trouble.LOST_BEFORE)
        desk.tell(a_signal("EXIT", timestamp=minutes(17)))
        desk.tell(Turns(3))
        # Not cancelled, and filled after all: the position is still there to take it.
        desk.move(Move(instrument=BANK, price=52000))
        desk.tell(Settled(BANK))
        assert not desk.engine.portfolio.positions
        require_reconciled(dsn, desk.engine, at_exchange(server.exchange))


@pytest.mark.parametrize("trouble", [None, Trouble.REJECTS, Trouble.LOST_AFTER])
def test_what_a_call_came_to_is_told_again_where_it_could_not_be_kept(dsn, trouble):
    with a_fresh_desk(dsn) as (desk, server):
        desk.move(Move(instrument=BANK, price=52000))
        if trouble is not None:
            server.misbehave("placeorder", trouble)
        desk.tell(a_signal(timestamp=minutes(16)))
        with _database_away(desk):
            desk.tell(Turns(3))
            assert [order.state for order in desk.engine.portfolio.orders.values()] == [OrderState.SENT]
        desk.tell(Settled(BANK))
        require_reconciled(dsn, desk.engine, at_exchange(server.exchange))
        assert server.asked("placeorder") == 1


def test_an_order_in_doubt_that_is_found_partly_filled_is_in_doubt_no_more(dsn):
    with a_fresh_desk(dsn) as (desk, server):
        desk.move(Move(instrument=BANK, price=52000, most=1))
        server.misbehave("placeorder", Trouble.LOST_AFTER)
        desk.tell(a_signal(timestamp=minutes(16)))
        desk.tell(Turns(3))
        assert [order.state for order in desk.engine.portfolio.orders.values()] == [OrderState.PARTIAL]
        assert desk.engine.portfolio.pyramiding_of(BANK).frozen_reason is None


def test_a_row_that_cannot_be_booked_keeps_no_other_from_being_read(dsn):
    with a_fresh_desk(dsn) as (desk, server):
        desk.move(Move(instrument=BANK, price=52000))
        desk.move(Move(instrument=GOLD, price=72000))
        server.exchange.most[GOLD] = Decimal(150)  # a lot and a half
        desk.tell(a_signal(instrument=GOLD, price=72000, stop=71500, atr=500, timestamp=minutes(16)))
        desk.tell(a_signal(timestamp=minutes(16)))
        desk.tell(Settled(BANK))
        assert [position.instrument for position in desk.engine.portfolio.positions.values()] == [BANK]


def test_a_book_that_cannot_be_true_is_told_once(dsn):
    with a_fresh_desk(dsn) as (desk, server):
        desk.move(Move(instrument=BANK, price=52000, most=1))
        desk.tell(a_signal(timestamp=minutes(16)))
        desk.tell(Turns(3))
        (order,) = server.exchange.orders.values()
        server.exchange.trades += [replace(server.exchange.trades[0], price=Decimal(price)) for price in (1, 2, 3)]
        desk.tell(Turns(3))
        told = rows(dsn, "SELECT count(*) FROM decision_journal")
        desk.tell(Turns(5))
        assert rows(dsn, "SELECT count(*) FROM decision_journal") == told
        frozen = desk.engine.portfolio.pyramiding_of(BANK).frozen_reason
        assert frozen == f"order {order.tag}: fills exceed the order"


@contextmanager
def _database_away(desk: Desk) -> Iterator[None]:
    """Nothing that the broker tells is kept any more."""
    take = desk.engine.order_input
    desk.engine.order_input = (  # type: ignore[method-assign]
        lambda given: take(given) if isinstance(given, SendOrder) else Answer(kind=AnswerKind.UNKNOWN)
    )
    yield
    desk.engine.order_input = take  # type: ignore[method-assign]


def _undisturbed_with_openalgo(
    server_dsn: str, template: str, zygote: Zygote, *, protected: bool = False, legs: bool = False
) -> list[str]:
    """The steps of a child that nobody kills."""
    dsn = fresh_database(server_dsn, template=template)
    with SteeredServer() as server:
        whole = zygote.run(dsn=dsn, broker="openalgo", at=server.url, kill_at=0, protected=protected, legs=legs)
        assert whole["answered"] == sum(isinstance(part, Signal) for part in _story(legs=legs))
        assert at_exchange(server.exchange).held == ({} if legs else HELD_IN_THE_END)
    drop_database(dsn)
    labels: list[str] = whole["told"]
    return labels


def _story(*, legs: bool) -> list[Part]:
    return story_in_legs() if legs else story()


def _kills(labels: list[str], sample: int = SAMPLE) -> list[int]:
    """Every step in full; else every one of an order and of a cancel, and some of the others."""
    steps = range(1, len(labels) + 1)
    if FULL:
        return list(steps)
    changes = [step for step in steps if labels[step - 1].startswith(CHANGES)]
    others = [step for step in steps if step not in changes]
    return sorted([*changes, *Random(SEED).sample(others, sample)])


def _mover(server: SteeredServer) -> Callable[[Move], None]:
    return lambda move: server.exchange.steer(move.instrument, Decimal(move.price), units(move))


def _recover_with_openalgo(
    dsn: str,
    server: SteeredServer,
    answered: int,
    killed_at: str,
    afterwards: str,
    settings: Settings = SETTINGS,
    *,
    legs: bool = False,
) -> None:
    clock = Clock(NOW)
    if afterwards == "hours later":
        clock.forward(hours=2)
    if afterwards == "blind at first":
        server.misbehave("orderbook", Trouble.FAILS_AFTER, times=7)
    expected = {} if legs else HELD_IN_THE_END
    waits = {"shows_within": 0.1, "pause": 0.001} if legs else {}
    with (
        openalgo(server.url) as broker,
        a_desk(dsn, broker, _mover(server), clock=clock, settings=settings, legs=legs, **waits) as desk,
    ):
        desk.at_broker = lambda: at_exchange(server.exchange)
        _tell_on(desk, answered, killed_at, _story(legs=legs))
        # An entry that was kept as sent and never came is nobody's any more, once the operator has said so.
        assert held_by(desk.engine) == expected or afterwards == "hours later" or desk.resolved, killed_at
        assert desk.resolved <= 1
        assert not desk.resolved or killed_at.endswith(BETWEEN_KEPT_AND_SENT), killed_at
        require_reconciled(dsn, desk.engine, at_exchange(server.exchange))


def _recover_with_paper(dsn: str, file: Path, answered: int, killed_at: str) -> None:
    clock = Clock(NOW)
    clock.forward(minutes=25)
    with paper(file, clock) as broker, a_desk(dsn, broker, lambda m: move_paper(broker, m, clock), clock=clock) as desk:
        _tell_on(desk, answered, killed_at, story())
        assert held_by(desk.engine) == HELD_IN_THE_END, killed_at
        require_reconciled(dsn, desk.engine, at_paper(broker))


def _tell_on(desk: Desk, answered: int, killed_at: str, parts: list[Part]) -> None:
    """What was answered is told again, for a caller may not have heard it; from there on the story goes on."""
    signals_at = [number for number, part in enumerate(parts) if isinstance(part, Signal)]
    goes_on_at = signals_at[answered - 1] if answered else 0
    for number, part in enumerate(parts):
        if number < goes_on_at and not isinstance(part, Signal):
            continue
        try:
            desk.tell(part)
        except AssertionError as error:
            raise AssertionError(f"killed at step {killed_at}; at {part}: {error}") from error
