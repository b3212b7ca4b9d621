"""Kept totals: whatever is written, in whatever order and by however many at once, they come to what the positions come to."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from book.fx import set_rate
from book.models import GroupTotal, PortfolioNode, PortfolioPosition, PositionGroup, PositionPnLHistory, TotalChange
from book.nodes import move_node
from book.roll_up import Dimension, lines, tree
from book.totals import keep_totals, reckon
from tests.book_world import NOON, TODAY, a_held_position, a_node, an_instrument, pnl_values

DAY = timedelta(days=1)
SYMBOLS = ("GOLD_MINI", "COPPER")
CURRENCIES = ("INR", "USD")
AGES = st.integers(0, 5)
PLACE = st.integers(0, 50)
MONEY = st.decimals(min_value=-(10**9), max_value=10**9, places=4)
RISK = st.none() | st.decimals(min_value=-(10**6), max_value=10**6, places=4)
WRITES = st.one_of(
    st.tuples(st.just("enter"), PLACE, PLACE, PLACE, st.sampled_from(["LONG", "SHORT"]), MONEY, RISK, AGES),
    st.tuples(st.just("enter"), PLACE, PLACE, PLACE, st.sampled_from(["LONG", "SHORT"]), MONEY, RISK, AGES),
    st.tuples(st.just("mark"), PLACE, AGES, MONEY, MONEY, RISK),
    st.tuples(st.just("mark"), PLACE, AGES, MONEY, MONEY, RISK),
    st.tuples(st.just("unmark"), PLACE, AGES),
    st.tuples(st.just("close"), PLACE, AGES, MONEY),
    st.tuples(st.just("open again"), PLACE),
    st.tuples(st.just("correct"), PLACE, MONEY, RISK),
    st.tuples(st.just("hang elsewhere"), PLACE, PLACE),
    st.tuples(st.just("forget"), PLACE),
    st.tuples(st.just("move a node"), PLACE),
    st.tuples(st.just("rate"), AGES, st.decimals(min_value="0.01", max_value=1000, places=8).filter(bool)),
    st.tuples(st.just("reckon")),
    st.tuples(st.just("reckon")),
)

ENTERED = ("enter", 0, 0, 0, "LONG", Decimal(1000), Decimal(5), 4)
LEFT = ("close", 0, 3, Decimal(70))
MARKED, AGAIN = (Decimal(900), Decimal(11), Decimal(2)), (Decimal(800), Decimal(12), None)
# Of one group that has a past: closed and kept, marked behind that, opened again.
FEW = st.integers(0, 3)
FEW_AGES = st.integers(0, 4)
OF_ONE_GROUP = st.one_of(
    st.tuples(
        st.just("enter"), st.just(0), st.just(0), st.just(0), st.sampled_from(["LONG", "SHORT"]), MONEY, RISK, FEW_AGES
    ),
    st.tuples(st.just("mark"), FEW, FEW_AGES, MONEY, MONEY, RISK),
    st.tuples(st.just("close"), FEW, FEW_AGES, MONEY),
    st.tuples(st.just("unmark"), FEW, FEW_AGES),
    st.tuples(st.just("open again"), FEW),
    st.tuples(st.just("forget"), FEW),
    st.tuples(st.just("hang elsewhere"), FEW, FEW),
    st.tuples(st.just("reckon")),
    st.tuples(st.just("reckon")),
    st.tuples(st.just("reckon")),
)


class Desk:
    """Writes to a small book, as they come."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._funds = [a_node(session, name) for name in ("Fund", "Other")]
        self._desk = a_node(session, "Desk", "DESK", parent_id=self._funds[0].portfolio_node_id)
        self._nodes: list[PortfolioNode] = [*self._funds, self._desk]
        self._instruments = [an_instrument(session, symbol).instrument_id for symbol in SYMBOLS]
        self._positions: list[int] = []
        set_rate(session, "USD/INR", Decimal(80), TODAY - 9 * DAY)

    def write(self, what: str, *given: Any) -> None:
        if what == "reckon":
            reckon(self._session)
        elif what == "rate":
            set_rate(self._session, "USD/INR", given[1], TODAY - given[0] * DAY)
        elif what == "move a node":
            move_node(self._session, self._desk.portfolio_node_id, self._funds[given[0] % 2].portfolio_node_id)
        elif what == "enter":
            self._enter(*given)
        elif self._positions:
            own = self._positions[given[0] % len(self._positions)]
            getattr(self, f"_{what.replace(' ', '_')}")(own, *given[1:])
        self._session.expire_all()

    def _enter(
        self, node: int, symbol: int, currency: int, direction: str, notional: Decimal, dv01: Decimal | None, age: int
    ) -> None:
        position = a_held_position(
            self._session,
            self._nodes[node % len(self._nodes)].portfolio_node_id,
            self._instruments[symbol % len(SYMBOLS)],
            base_ccy=CURRENCIES[currency % len(CURRENCIES)],
            direction=direction,
            notional_base=notional,
            entry_dv01=dv01,
            entry_timestamp=NOON - age * DAY,
        )
        self._positions.append(position.id)

    def _mark(self, own: int, age: int, notional: Decimal, daily: Decimal, var: Decimal | None) -> None:
        values = pnl_values(
            position_id=own,
            snapshot_date=TODAY - age * DAY,
            notional_base=notional,
            unrealized_pnl_base=daily * 2,
            realized_pnl_base=daily * 3,
            daily_pnl_base=daily,
            var_contribution=var,
        )
        adding = insert(PositionPnLHistory).values(values)
        changed = {name: value for name, value in values.items() if name not in ("position_id", "snapshot_date")}
        keys = ["position_id", "snapshot_date"]
        self._session.execute(adding.on_conflict_do_update(index_elements=keys, set_=changed))

    def _unmark(self, own: int, age: int) -> None:
        history = PositionPnLHistory
        day = TODAY - age * DAY
        self._session.execute(delete(history).where(history.position_id == own, history.snapshot_date == day))

    def _close(self, own: int, age: int, realized: Decimal) -> None:
        entered = self._session.get_one(PortfolioPosition, own).entry_timestamp
        left = max(entered, NOON - age * DAY)
        self._change(own, is_open=False, exit_timestamp=left, realized_pnl_base=realized)

    def _open_again(self, own: int) -> None:
        self._change(own, is_open=True, exit_timestamp=None)

    def _correct(self, own: int, notional: Decimal, dv01: Decimal | None) -> None:
        self._change(own, notional_base=notional, entry_dv01=dv01)

    def _hang_elsewhere(self, own: int, node: int) -> None:
        self._change(own, portfolio_node_id=self._nodes[node % len(self._nodes)].portfolio_node_id)

    def _forget(self, own: int) -> None:
        self._positions.remove(own)
        self._session.execute(delete(PortfolioPosition).where(PortfolioPosition.id == own))

    def _change(self, own: int, **values: Any) -> None:
        self._session.execute(update(PortfolioPosition).where(PortfolioPosition.id == own).values(values))


def told(session: Session, *, anew: bool) -> list[Any]:
    """The tree and all dimensions on each day that anything was written of, and around them."""
    found: list[Any] = []
    for age in range(-1, 7):
        day = TODAY - age * DAY
        found += tree(session, day, currency="INR", anew=anew).nodes
        for by in (Dimension.INSTRUMENT, Dimension.SECTOR, Dimension.CURRENCY):
            found += lines(session, by, day, currency="INR", anew=anew)
    return found


@contextmanager
def undone(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session
        session.rollback()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(writes=st.lists(WRITES, min_size=3, max_size=25))
def test_whatever_is_written_the_kept_totals_come_to_what_the_positions_come_to(
    book_engine: Engine, writes: list[tuple[Any, ...]]
) -> None:
    compare(book_engine, writes)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(writes=st.lists(OF_ONE_GROUP, min_size=6, max_size=25))
@example(writes=[ENTERED, LEFT, ("reckon",), ("mark", 0, 1, *MARKED), ("reckon",), ("mark", 0, 1, *AGAIN)])
@example(writes=[ENTERED, ("mark", 0, 1, *MARKED), LEFT, ("reckon",), ENTERED, ("mark", 1, 2, *AGAIN), ("reckon",)])
def test_whatever_was_closed_before_the_totals_go_on_from_there(
    book_engine: Engine, writes: list[tuple[Any, ...]]
) -> None:
    compare(book_engine, writes)


def compare(engine: Engine, writes: list[tuple[Any, ...]]) -> None:
    """What is kept with what all positions come to, and with the totals that are made from nothing."""
    with undone(engine) as session:
        desk = Desk(session)
        for write in writes:
            desk.write(*write)
        by_positions = told(session, anew=True)
        assert told(session, anew=False) == by_positions
        while reckon(session, at_once=1):
            pass
        assert told(session, anew=False) == by_positions
        assert session.scalar(select(func.count()).select_from(TotalChange)) == 0
        kept = totals_by_day(session)
        session.execute(delete(GroupTotal))
        session.execute(update(PositionGroup).values(stale_from=TODAY - 30 * DAY))
        reckon(session)
        assert totals_by_day(session) == kept


def totals_by_day(session: Session) -> list[Any]:
    """Every column of what holds at the end of each day, with the day's own P&L."""
    found: list[Any] = []
    for age in range(-1, 7):
        day = TODAY - age * DAY
        for group in session.scalars(select(PositionGroup.group_id).order_by(PositionGroup.group_id)):
            last = select(GroupTotal).where(GroupTotal.group_id == group, GroupTotal.day <= day)
            total = session.scalars(last.order_by(GroupTotal.day.desc()).limit(1)).first()
            if total is not None and total.entered:
                own = {name: getattr(total, name) for name in GroupTotal.__table__.columns.keys()}  # noqa: SIM118
                found.append((day, own | {"day": None, "day_pnl": total.day_pnl if total.day == day else None}))
        session.expire_all()
    return found


@pytest.fixture
def two_positions(book_engine: Engine) -> tuple[int, int]:
    with Session(book_engine) as session, session.begin():
        node, gold = a_node(session).portfolio_node_id, an_instrument(session, "GOLD_MINI").instrument_id
        return a_held_position(session, node, gold).id, a_held_position(session, node, gold).id


def stale(session: Session) -> int:
    reckoned = session.scalar(select(func.count()).where(PositionGroup.stale_from.is_not(None)))
    return (reckoned or 0) + (session.scalar(select(func.count()).select_from(TotalChange)) or 0)


def test_what_is_kept_is_what_a_roll_up_reads(book_engine: Engine, two_positions: tuple[int, int]) -> None:
    """Else it would come to the same by reading all positions, and nobody would notice."""
    assert two_positions
    assert keep_totals(book_engine) == 1
    with undone(book_engine) as session:
        session.execute(update(GroupTotal).values(longs=7))
        assert tree(session, TODAY).nodes[0].figures.gross == 7
        assert tree(session, TODAY, anew=True).nodes[0].figures.gross == 2_000


def test_what_was_closed_before_is_not_reckoned_again(book_engine: Engine, two_positions: tuple[int, int]) -> None:
    """Its share is in the total before, and stays as it is there: even where that was made another one behind our back."""
    over, still_open = two_positions
    with Session(book_engine) as session, session.begin():
        closed = update(PortfolioPosition).where(PortfolioPosition.id == over)
        entered = {"entry_timestamp": NOON - 5 * DAY, "exit_timestamp": NOON - 3 * DAY}
        session.execute(closed.values(is_open=False, realized_pnl_base=50, **entered))
        session.execute(update(PortfolioPosition).values(entry_timestamp=NOON - 5 * DAY))
    keep_totals(book_engine)
    with undone(book_engine) as session:
        session.execute(update(GroupTotal).where(GroupTotal.realized_pnl == 50).values(closed_pnl=57))
        mark = {"notional_base": Decimal(1_200), "realized_pnl_base": Decimal(3), "snapshot_date": TODAY}
        session.add(PositionPnLHistory(**pnl_values(position_id=still_open, **mark)))
        session.flush()
        reckon(session)
        figures = tree(session, TODAY).nodes[0].figures
        assert (figures.positions, figures.gross, figures.realized_pnl) == (1, 1_200, 60)


def test_what_no_total_has_in_it_leaves_them_as_they_are(book_engine: Engine, two_positions: tuple[int, int]) -> None:
    first, _ = two_positions
    with Session(book_engine) as session, session.begin():
        session.add(PositionPnLHistory(**pnl_values(position_id=first)))
    keep_totals(book_engine)
    with Session(book_engine) as session, session.begin():
        session.execute(update(PortfolioPosition).values(notes="seen", notional_base=PortfolioPosition.notional_base))
        session.execute(update(PositionPnLHistory).values(mark_price=Decimal(3)))
        assert stale(session) == 0
        session.execute(update(PositionPnLHistory).values(notional_base=Decimal(3)))
        assert stale(session) == 1


@pytest.mark.parametrize("table", ["portfolio_positions", "position_pnl_history"])
def test_totals_of_a_table_that_was_emptied_hold_no_longer(
    book_engine: Engine, two_positions: tuple[int, int], table: str
) -> None:
    with Session(book_engine) as session, session.begin():
        session.add(PositionPnLHistory(**pnl_values(position_id=two_positions[0])))
    keep_totals(book_engine)
    with undone(book_engine) as session:
        before = told(session, anew=False)
        session.execute(text(f"TRUNCATE book.{table}"))
        now = told(session, anew=True)
        assert now != before
        assert told(session, anew=False) == now
        reckon(session)
        assert told(session, anew=False) == now


def test_what_is_not_committed_is_in_nobodys_totals(book_engine: Engine, two_positions: tuple[int, int]) -> None:
    first, _ = two_positions
    with Session(book_engine) as writer:
        writer.execute(update(PortfolioPosition).where(PortfolioPosition.id == first).values(notional_base=5_000))
        assert keep_totals(book_engine) == 1
        with undone(book_engine) as reader:
            assert tree(reader, TODAY).nodes[0].figures.gross == 2_000
        writer.commit()
    with undone(book_engine) as reader:
        assert tree(reader, TODAY).nodes[0].figures.gross == 6_000
        assert stale(reader) == 1
    keep_totals(book_engine)
    with undone(book_engine) as reader:
        assert tree(reader, TODAY).nodes[0].figures.gross == 6_000


def test_a_mark_of_a_position_that_is_being_moved_is_found_where_it_went(
    book_engine: Engine, two_positions: tuple[int, int]
) -> None:
    """Marked by one while another hangs it elsewhere, the totals reckoned in between: neither sees what the other does."""
    first, _ = two_positions
    with Session(book_engine) as session, session.begin():
        other = a_node(session, "Other").portfolio_node_id
    keep_totals(book_engine)
    with Session(book_engine) as marking, Session(book_engine) as moving:
        marking.add(PositionPnLHistory(**pnl_values(position_id=first, notional_base=Decimal(7))))
        marking.flush()
        moved = update(PortfolioPosition).where(PortfolioPosition.id == first)
        moving.execute(moved.values(portfolio_node_id=other))
        moving.commit()
        keep_totals(book_engine)
        marking.commit()
    for _ in range(2):
        with undone(book_engine) as session:
            assert told(session, anew=False) == told(session, anew=True)
            assert [line.figures.gross for line in tree(session, TODAY).nodes] == [1_000, 7]
        keep_totals(book_engine)


WRITERS, ROUNDS = 4, 25


def write_on(engine: Engine, number: int, positions: list[int], nodes: list[int]) -> None:
    """Positions and their marks, again and again, in transactions of a few statements."""
    history = pnl_values()
    for turn in range(ROUNDS):
        with Session(engine) as session, session.begin():
            session.execute(text("SET LOCAL lock_timeout = '20s'"))
            for position in positions:
                amount, day = Decimal(turn * 10 + number), TODAY - (turn % 5) * DAY
                changed = update(PortfolioPosition).where(PortfolioPosition.id == position)
                session.execute(changed.values(notional_base=amount, portfolio_node_id=nodes[turn % 2]))
                values = {**history, "position_id": position, "snapshot_date": day, "notional_base": amount}
                adding = insert(PositionPnLHistory).values(values)
                keys, again = ["position_id", "snapshot_date"], {"notional_base": amount + 1}
                session.execute(adding.on_conflict_do_update(index_elements=keys, set_=again))


def test_writers_at_once_neither_lose_a_total_nor_wait_for_each_other(book_engine: Engine) -> None:
    """Each with positions of its own in the same groups, in opposite orders, while totals are reckoned all the time."""
    with Session(book_engine) as session, session.begin():
        nodes = [a_node(session, name).portfolio_node_id for name in ("Fund", "Other")]
        gold = an_instrument(session, "GOLD_MINI").instrument_id
        owned = [
            [a_held_position(session, node, gold).id for node in (nodes if number % 2 else nodes[::-1])]
            for number in range(WRITERS)
        ]
    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(write_on, book_engine, number, own, nodes) for number, own in enumerate(owned)]
        while not all(one.done() for one in writing):
            keep_totals(book_engine, at_once=1)
        for one in writing:
            one.result()
    for _ in range(2):
        with undone(book_engine) as session:
            assert told(session, anew=False) == told(session, anew=True)
        keep_totals(book_engine)


def test_a_day_is_a_day_in_utc(book_engine: Engine) -> None:
    """Entered and left around midnight, asked by somebody whose clock is another one's."""
    late = datetime.combine(TODAY, time(23, 59, 59, 999999), UTC)
    with Session(book_engine) as session, session.begin():
        node, gold = a_node(session).portfolio_node_id, an_instrument(session, "GOLD_MINI").instrument_id
        a_held_position(session, node, gold, entry_timestamp=late)
        a_held_position(session, node, gold, is_open=False, exit_timestamp=late + timedelta(microseconds=1))
    with undone(book_engine) as session:
        session.execute(text("SET LOCAL timezone = 'Pacific/Kiritimati'"))
        by_positions = told(session, anew=True)
        reckon(session)
        assert told(session, anew=False) == by_positions
        counts = {age: tree(session, TODAY + age * DAY).nodes[0].figures.positions for age in (-1, 0, 1)}
        assert counts == {-1: 1, 0: 2, 1: 1}
