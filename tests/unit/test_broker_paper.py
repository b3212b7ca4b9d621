"""The paper broker: deterministic to the last digit, whatever is asked of it and however often it is looked at."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.fills import paper_fill
from core.models import Side
from live.brokers.paper import PaperBroker
from live.brokers.port import (
    Action,
    BrokerAway,
    BrokerOrderState,
    BrokerRefused,
    OrderRequest,
    OrderType,
    OutcomeUnknown,
)
from live.brokers.settings import PaperSettings
from tests.broker_worlds import GOLD, WEDNESDAY, PaperWorld, SetClock

Made = Callable[..., PaperWorld]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Made]:
    """A paper broker with the market at 72,000, by its settings."""
    worlds: list[PaperWorld] = []

    def made(**given_settings: Any) -> PaperWorld:
        worlds.append(PaperWorld(tmp_path, **given_settings))
        worlds[-1].move(72_000)
        return worlds[-1]

    yield made
    for world in worlds:
        world.close()


def filled(world: PaperWorld) -> list[tuple[Decimal, Decimal]]:
    return [(fill.quantity, fill.price) for fill in world.broker.fills()]


@pytest.mark.parametrize("action", list(Action))
def test_slippage_is_the_same_as_that_of_the_engines_own_fills(make: Made, action: Action) -> None:
    world = make(slippage_percent=Decimal("0.05"))
    world.broker.place(world.request(action))
    expected = paper_fill(Side.LONG, Decimal(72_000), Decimal("0.05"), entering=action is Action.BUY)
    assert filled(world) == [(Decimal(5), expected)]
    assert (expected > 72_000) is (action is Action.BUY)


def test_slippage_never_goes_beyond_a_limit(make: Made) -> None:
    world = make(slippage_percent=Decimal(1))
    world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=72_100))
    assert filled(world) == [(Decimal(5), Decimal(72_100))]


def test_a_market_order_before_any_quote_waits_for_the_first(tmp_path: Path) -> None:
    world = PaperWorld(tmp_path)
    world.broker.place(world.request())
    assert not filled(world)
    world.move(71_000)
    assert filled(world) == [(Decimal(5), Decimal(71_000))]
    world.close()


def test_an_order_is_filled_after_the_latency_at_the_quote_of_then(make: Made) -> None:
    world = make(latency_seconds=Decimal(2))
    world.broker.place(world.request())
    placed_at = world.clock()
    world.move(72_050)
    assert not filled(world)
    world.clock.forward(5)
    (fill,) = world.broker.fills()
    assert (fill.price, fill.filled_at) == (Decimal(72_050), placed_at + timedelta(seconds=2))


def test_a_cancel_takes_the_latency_too_and_may_come_too_late(make: Made) -> None:
    world = make(latency_seconds=Decimal(2))
    late = world.broker.place(world.request(client_order_id="late"))
    world.clock.forward(1)
    world.broker.cancel(late)
    world.clock.forward(10)
    (order,) = world.broker.orders()
    assert order.state is BrokerOrderState.FILLED


def test_a_cancel_before_the_fill_wins(make: Made) -> None:
    world = make(latency_seconds=Decimal(2))
    placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
    world.broker.cancel(placed)
    world.clock.forward(3)
    world.move(70_000)
    (order,) = world.broker.orders()
    assert order.state is BrokerOrderState.CANCELLED
    assert not filled(world)


def test_parts_come_with_their_seconds_between_and_in_whole_steps(tmp_path: Path) -> None:
    clock = SetClock()
    fractions = (Decimal("0.5"), Decimal("0.3"), Decimal("0.2"))
    paper = PaperSettings(fill_fractions=fractions, seconds_between_fills=Decimal(10))
    with PaperBroker(tmp_path / "paper.sqlite", paper, clock, lambda *_: Decimal(30)) as broker:
        broker.quote_seen(GOLD, "MCX", Decimal(72_000), clock())
        broker.place(a_request(quantity=150))
        clock.forward(60)
        fills = broker.fills()
        # 75 is two and a half lots of 30, 120 is four: what is left over comes with the next part.
        assert [fill.quantity for fill in fills] == [Decimal(60), Decimal(60), Decimal(30)]
        times = [fill.filled_at for fill in fills]
        assert times == [WEDNESDAY + timedelta(seconds=10 * number) for number in range(3)]


def test_a_part_that_would_be_nothing_is_left_out(make: Made) -> None:
    world = make(fill_fractions=(Decimal("0.1"), Decimal("0.9")))
    world.broker.place(world.request(units=5))
    assert filled(world) == [(Decimal(5), Decimal(72_000))]


def test_the_average_price_is_that_of_the_parts(make: Made) -> None:
    world = make(fill_fractions=(Decimal("0.4"), Decimal("0.6")), seconds_between_fills=Decimal(60))
    world.broker.place(world.request())
    world.move(72_010)
    world.clock.forward(60)
    (order,) = world.broker.orders()
    assert order.average_price == Decimal(72_006)


def test_every_nth_order_is_rejected_and_a_repeat_is_told_the_same(make: Made) -> None:
    world = make(reject_every=2)
    world.broker.place(world.request(client_order_id="a-1"))
    for _ in range(2):
        with pytest.raises(BrokerRefused, match="number 2"):
            world.broker.place(world.request(client_order_id="a-2"))
    world.restart()
    world.broker.place(world.request(client_order_id="a-3"))
    assert [order.state.value for order in world.broker.orders()] == ["filled", "rejected", "filled"]


def test_an_order_can_be_rejected_in_the_book_only(make: Made) -> None:
    world = make(reject_symbols=(GOLD,), reject_in_book=True)
    placed = world.broker.place(world.request())
    (order,) = world.broker.orders()
    assert (order.broker_order_id, order.state) == (placed, BrokerOrderState.REJECTED)
    assert order.message == f"orders in {GOLD} are rejected, by setting"
    assert not filled(world)


def test_a_repeat_changes_nothing_and_is_given_the_first_id(make: Made) -> None:
    world = make()
    placed = world.broker.place(world.request())
    before = world.broker.orders()
    world.clock.forward(5)
    assert world.broker.place(world.request(units=9)) == placed
    world.restart()
    assert world.broker.place(world.request()) == placed
    assert world.broker.orders() == before


def test_an_older_quote_than_the_last_one_changes_nothing(make: Made) -> None:
    world = make()
    world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
    assert isinstance(world.broker, PaperBroker)
    world.broker.quote_seen(GOLD, "MCX", Decimal(70_000), WEDNESDAY - timedelta(minutes=5))
    assert world.broker.quote(GOLD, "MCX").last == 72_000
    assert not filled(world)


def test_a_clock_that_goes_back_does_not_bring_the_past_back(make: Made) -> None:
    world = make(latency_seconds=Decimal(2))
    world.clock.forward(100)
    world.broker.place(world.request())
    world.clock.forward(-100)
    assert not filled(world)
    world.restart()
    (order,) = world.broker.orders()
    assert order.placed_at == WEDNESDAY + timedelta(seconds=101)
    world.clock.forward(102)
    assert filled(world) == [(Decimal(5), Decimal(72_000))]


def test_an_order_after_a_clock_was_set_back_is_taken_at_the_latest_time_there_was(make: Made) -> None:
    world = make()
    latest = world.clock()
    world.clock.forward(-3600)
    world.broker.place(world.request())
    (fill,) = world.broker.fills()
    assert fill.filled_at == latest


def test_a_symbol_without_a_quote_has_none(make: Made) -> None:
    with pytest.raises(BrokerRefused, match="no quote"):
        make().broker.quote("SILVERM", "MCX")


def test_less_than_what_is_filled_is_no_quantity_to_change_to(make: Made) -> None:
    world = make()
    world.fill_two_of_five()
    placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=72_100))
    with pytest.raises(BrokerRefused, match="2 of it are filled"):
        world.broker.modify(placed, world.request(Action.BUY, OrderType.LIMIT, units=2, price=72_100))


@pytest.mark.parametrize(
    "action, order_type, prices",
    [(Action.SELL, OrderType.LIMIT, {"price": 71_000}), (Action.BUY, OrderType.STOP_MARKET, {"trigger_price": 73_000})],
)
def test_the_side_and_the_type_of_an_order_cannot_be_changed(
    make: Made, action: Action, order_type: OrderType, prices: dict[str, int]
) -> None:
    world = make()
    placed = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_000))
    with pytest.raises(BrokerRefused, match="side and type"):
        world.broker.modify(placed, world.request(action, order_type, **prices))


def test_what_ended_long_ago_is_kept_and_not_listed(make: Made) -> None:
    world = make(listed_days=2)
    old = world.broker.place(world.request(client_order_id="old"))
    resting = world.broker.place(world.request(Action.BUY, OrderType.LIMIT, client_order_id="resting", price=1))
    world.clock.forward(3 * 86_400)
    assert [order.broker_order_id for order in world.broker.orders()] == [resting]
    assert not world.broker.fills()
    assert world.broker.positions()[0].quantity == 5
    assert world.broker.place(world.request(client_order_id="old")) == old


def test_quotes_come_from_a_file_as_time_passes(tmp_path: Path) -> None:
    file = tmp_path / "quotes.csv"
    lines = [f"{(WEDNESDAY + timedelta(seconds=at)).isoformat()},{GOLD},{price}" for at, price in QUOTES]
    file.write_text("\n".join(["time,symbol,price", *lines]), encoding="utf-8")
    world = PaperWorld(tmp_path, quotes_file=file)
    world.broker.place(world.request(Action.BUY, OrderType.LIMIT, price=71_950))
    world.clock.forward(15)
    assert not filled(world)
    world.restart()
    world.clock.forward(600)
    (fill,) = world.broker.fills()
    assert (fill.price, fill.filled_at) == (Decimal("71940.5"), WEDNESDAY + timedelta(seconds=30))
    assert world.broker.quote(GOLD, "MCX").last == 72_100
    world.close()


QUOTES = [(-60, 72_500), (-30, 72_400), (10, 72_000), (30, "71940.5"), (40, 71_000), (50, 72_100)]


def test_a_file_that_is_no_book_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "paper.sqlite"
    file.write_text("this is no database, it is only text" * 50, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        PaperBroker(file, PaperSettings(), SetClock())


def test_a_book_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "paper.sqlite"
    PaperBroker(file, PaperSettings(), SetClock()).close()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer program"):
        PaperBroker(file, PaperSettings(), SetClock())


def test_a_book_that_cannot_be_written_takes_no_order(make: Made) -> None:
    world = make()
    other = sqlite3.connect(world.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BrokerAway, match="cannot be written"):
        world.broker.place(world.request())
    other.execute("ROLLBACK")
    other.close()
    assert world.broker.orders() == []


def test_a_commit_that_fails_leaves_the_outcome_unknown_and_a_repeat_settles_it(
    make: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    assert isinstance(world.broker, PaperBroker)

    def fails() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(world.broker._book, "commit", fails)
        with pytest.raises(OutcomeUnknown, match="disk"):
            world.broker.place(world.request())
    assert world.broker.orders() == []
    world.broker.place(world.request())
    assert len(world.broker.fills()) == 1


def a_request(
    number: int = 1,
    order_type: OrderType = OrderType.MARKET,
    action: Action = Action.BUY,
    quantity: int = 5,
    **prices: Decimal,
) -> OrderRequest:
    return OrderRequest(
        client_order_id=f"a-{number}",
        tag="",
        symbol=GOLD,
        exchange="MCX",
        action=action,
        order_type=order_type,
        quantity=Decimal(quantity),
        **prices,
    )


def asked(number: int, step: tuple[str, int, Action]) -> OrderRequest:
    kind, price, action = step
    at = Decimal(price)
    prices = {
        "MARKET": {},
        "LIMIT": {"price": at},
        "STOP": {"price": at, "trigger_price": at},
        "STOP_MARKET": {"trigger_price": at},
    }
    return a_request(number, OrderType(kind), action, **prices[kind])


_KINDS = st.sampled_from(["MARKET", "LIMIT", "STOP", "STOP_MARKET"])
_STEPS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.one_of(
            st.tuples(_KINDS, st.integers(95, 105), st.sampled_from(list(Action))),
            st.tuples(st.just("quote"), st.integers(95, 105), st.just(Action.BUY)),
            st.tuples(st.just("cancel"), st.integers(0, 5), st.just(Action.BUY)),
        ),
    ),
    min_size=1,
    max_size=12,
)


def told(steps: list[tuple[float, tuple[str, int, Action]]], *, looks: bool, restarts: bool) -> tuple[Any, ...]:
    """What the books say after these steps; with `looks`, they are also read all the time."""
    paper = PaperSettings(
        latency_seconds=Decimal("1.5"),
        fill_fractions=(Decimal("0.4"), Decimal("0.4"), Decimal("0.2")),
        seconds_between_fills=Decimal(4),
        slippage_percent=Decimal("0.01"),
    )
    clock = SetClock()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "paper.sqlite"
        broker = PaperBroker(file, paper, clock)
        for number, (seconds, step) in enumerate(steps):
            for _ in range(4):
                clock.forward(seconds / 4)
                if looks:
                    broker.orders()
            if restarts:
                broker.close()
                broker = PaperBroker(file, paper, clock)
            do(broker, clock, number, step)
        clock.forward(100)
        books = (broker.orders(), broker.fills(), broker.positions())
        broker.close()
    return books


def do(broker: PaperBroker, clock: SetClock, number: int, step: tuple[str, int, Action]) -> None:
    if step[0] == "quote":
        broker.quote_seen(GOLD, "MCX", Decimal(step[1]), clock())
    elif step[0] == "cancel":
        live = [order for order in broker.orders() if order.state.value in ("pending", "working")]
        if live:
            broker.cancel(live[step[1] % len(live)].broker_order_id)
    else:
        broker.place(asked(number, step))


# Each example writes three books, synced at every step.
@settings(max_examples=15)
@given(_STEPS)
def test_a_book_depends_neither_on_how_often_it_is_looked_at_nor_on_restarts(
    steps: list[tuple[float, tuple[str, int, Action]]],
) -> None:
    plain = told(steps, looks=False, restarts=False)
    assert told(steps, looks=True, restarts=False) == plain
    assert told(steps, looks=False, restarts=True) == plain


@settings(max_examples=30)
@given(_STEPS)
def test_fills_sum_to_orders_and_positions_and_keep_to_the_limits(
    steps: list[tuple[float, tuple[str, int, Action]]],
) -> None:
    orders, fills, positions = told(steps, looks=False, restarts=False)
    for order in orders:
        own = [fill for fill in fills if fill.broker_order_id == order.broker_order_id]
        assert sum(fill.quantity for fill in own) == order.filled_quantity <= order.quantity
        assert (order.filled_quantity == order.quantity) is (order.state is BrokerOrderState.FILLED)
        for fill in own:
            assert order.price is None or (fill.price - order.price) * (1 if order.action is Action.BUY else -1) <= 0
    signed = sum(fill.quantity if fill.action is Action.BUY else -fill.quantity for fill in fills)
    assert [position.quantity for position in positions] == ([signed] if signed else [])
