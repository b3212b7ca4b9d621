"""The tree with its figures: what is added up adds up, in any currency, on any day, and a missing rate is never guessed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, sessionmaker

from book.fx import rate_between, set_rate
from book.models import FxSpot, PortfolioNode, PortfolioPosition, Position, PositionPnLHistory
from book.nodes import add_node, move_node, rename_node
from book.refusals import CurrencyNeeded, MissingRate, UnknownNode
from book.roll_up import Dimension, Figures, Line, NodeLine, lines, tree
from book.statements import statements
from core.postgres.statements import _PARAMETER
from tests.book_world import NOON, TODAY, a_feed, a_held_position, a_node, an_instrument, kept, pnl_values
from tests.queries import rows

DAY = timedelta(days=1)
ON_EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def a_mark(session: Session, position: PortfolioPosition, day: date = TODAY, **others: Any) -> None:
    kept(session, PositionPnLHistory(**pnl_values(position_id=position.id, snapshot_date=day, **others)))


def named(found: tuple[NodeLine, ...], name: str) -> NodeLine:
    (line,) = [line for line in found if line.name == name]
    return line


def keyed(found: tuple[Line, ...]) -> dict[str, Figures]:
    return {line.key: line.figures for line in found}


@pytest.mark.parametrize("name", sorted(statements()))
def test_every_statement_is_planned_against_the_schema(book_dsn: str, name: str) -> None:
    parameters = dict.fromkeys(_PARAMETER.findall(statements()[name]))
    assert rows(book_dsn, f"EXPLAIN {statements()[name]}", parameters)


def test_every_statement_says_in_one_line_what_it_is_for() -> None:
    for name, text in statements().items():
        assert text.startswith("-- "), name


# --- figures


def test_a_node_has_the_figures_of_all_below_it(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        fund = a_node(session).portfolio_node_id
        desk = a_node(session, "Desk", "DESK", parent_id=fund).portfolio_node_id
        book = a_node(session, "Book", "BOOK", parent_id=desk).portfolio_node_id
        a_node(session, "Empty", "DESK", parent_id=fund)
        metal = an_instrument(session, "GOLD_MINI").instrument_id
        index = an_instrument(session).instrument_id
        long = a_held_position(session, book, metal, entry_dv01=Decimal(3))
        short = a_held_position(session, desk, index, direction="SHORT", notional_base=Decimal(400))
        a_mark(session, long, notional_base=Decimal(1_100), unrealized_pnl_base=Decimal(100), daily_pnl_base=Decimal(7))
        found = tree(session, TODAY)
        assert short.id
        assert (found.currency, found.marked_on) == ("INR", TODAY)
        assert [(line.name, line.depth) for line in found.nodes] == [
            ("Fund", 0),
            ("Desk", 1),
            ("Book", 2),
            ("Empty", 1),
        ]
        assert named(found.nodes, "Book").figures == Figures(
            positions=1,
            unmarked=0,
            unvalued=0,
            gross=Decimal(1_100),
            net=Decimal(1_100),
            day_pnl=Decimal(7),
            realized_pnl=Decimal(0),
            unrealized_pnl=Decimal(100),
            dv01=Decimal(3),
            var_contribution=None,
        )
        whole = named(found.nodes, "Fund").figures
        assert whole == named(found.nodes, "Desk").figures
        assert (whole.positions, whole.unmarked, whole.gross, whole.net) == (2, 1, Decimal(1_500), Decimal(700))
        assert named(found.nodes, "Empty").figures.day_pnl is None
        assert named(found.nodes, "Empty").figures.gross == 0
        assert [line.name for line in tree(session, TODAY, node=desk).nodes] == ["Desk", "Book"]
        by_instrument = keyed(lines(session, Dimension.INSTRUMENT, TODAY))
        assert {key: figures.net for key, figures in by_instrument.items()} == {
            "BANK_NIFTY": Decimal(-400),
            "GOLD_MINI": Decimal(1_100),
        }
        assert keyed(lines(session, Dimension.SECTOR, TODAY)).keys() == {""}
        assert keyed(lines(session, Dimension.CURRENCY, TODAY, node=book))["INR"].gross == Decimal(1_100)


def test_what_was_uploaded_counts_at_its_cost_and_what_has_no_price_is_told(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        node = a_node(session).portfolio_node_id
        for symbol, quantity, price in (("GOLD_MINI", "-2.5", "100.5"), ("COPPER", "7", None)):
            holding = Position(
                portfolio_node_id=node,
                instrument_id=an_instrument(session, symbol).instrument_id,
                quantity=Decimal(quantity),
                average_price=None if price is None else Decimal(price),
                base_ccy="INR",
                created_at=NOON,
            )
            kept(session, holding)
        (line,) = tree(session, TODAY).nodes
        assert (line.figures.positions, line.figures.unvalued) == (2, 1)
        assert (line.figures.gross, line.figures.net) == (Decimal("251.25"), Decimal("-251.25"))
        assert tree(session, TODAY - DAY).nodes[0].figures.positions == 0


# --- days


def test_a_day_is_told_as_it_was(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        node, gold = a_node(session).portfolio_node_id, an_instrument(session).instrument_id
        kept_on = a_held_position(session, node, gold)
        sold = a_held_position(
            session,
            node,
            gold,
            is_open=False,
            exit_timestamp=NOON - DAY,
            exit_price=Decimal(120),
            realized_pnl_base=Decimal(200),
        )
        for age, notional in ((2, 1_010), (1, 1_020)):
            for position in (kept_on, sold):
                a_mark(
                    session,
                    position,
                    TODAY - age * DAY,
                    notional_base=Decimal(notional),
                    unrealized_pnl_base=Decimal(notional - 1_000),
                    daily_pnl_base=Decimal(10),
                )

        def then(day: date) -> tuple[Any, ...]:
            figures = tree(session, day).nodes[0].figures
            return figures.positions, figures.gross, figures.day_pnl, figures.realized_pnl, figures.unrealized_pnl

        assert then(TODAY - 11 * DAY) == (0, 0, None, 0, 0)
        assert then(TODAY - 3 * DAY) == (2, 2_000, None, 200, 0)
        assert then(TODAY - 2 * DAY) == (2, 2_020, 20, 0, 20)
        # Sold at noon: its profit of the day counts, what it was worth does not.
        assert then(TODAY - DAY) == (1, 1_020, 20, 200, 20)
        # Not marked since: as it was marked last, and of today nothing is known.
        assert then(TODAY) == (1, 1_020, None, 200, 20)


def test_a_position_that_missed_the_newest_marks_is_taken_at_its_own_last_one(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        node, gold = a_node(session).portfolio_node_id, an_instrument(session).instrument_id
        first, second = (a_held_position(session, node, gold) for _ in range(2))
        a_mark(session, first, TODAY - 3 * DAY, notional_base=Decimal(900))
        a_mark(session, first, TODAY - 2 * DAY, notional_base=Decimal(800), daily_pnl_base=Decimal(-100))
        a_mark(session, second, TODAY, notional_base=Decimal(1_200), daily_pnl_base=Decimal(5))
        found = tree(session, TODAY).nodes[0].figures
        assert (found.gross, found.day_pnl, found.unmarked) == (2_000, 5, 0)


def test_the_tree_is_told_as_it_was_before_nodes_were_renamed_and_moved(book_engine: Engine) -> None:
    with Session(book_engine) as session, session.begin():
        fund = a_node(session).portfolio_node_id
        other = a_node(session, "Other").portfolio_node_id
        desk = a_node(session, "Desk", "DESK", parent_id=fund).portfolio_node_id
    with Session(book_engine) as session, session.begin():
        today = session.scalars(select(func.now())).one().astimezone(UTC).date()
        rename_node(session, desk, "Macro")
        move_node(session, desk, other)
        now = {line.name: line.parent_id for line in tree(session, today).nodes}
        assert now == {"Fund": None, "Other": None, "Macro": other}
        before = {line.name: line.parent_id for line in tree(session, today - DAY).nodes}
        assert before == {"Fund": None, "Other": None, "Desk": fund}


# --- currencies


@pytest.fixture
def in_two_currencies(sessions: sessionmaker[Session]) -> Iterator[Session]:
    with sessions() as session:
        fund = a_node(session).portfolio_node_id
        dollars = a_node(session, "Dollars", "DESK", parent_id=fund, base_ccy="USD").portfolio_node_id
        gold = an_instrument(session, "GOLD_MINI").instrument_id
        a_held_position(session, fund, gold)
        a_held_position(session, dollars, gold, base_ccy="USD", notional_base=Decimal(10))
        yield session


def test_figures_are_converted_with_the_rate_of_the_day(in_two_currencies: Session) -> None:
    session = in_two_currencies
    for age, rate in ((5, 80), (2, 85)):
        assert set_rate(session, "USD/INR", Decimal(rate), TODAY - age * DAY)
    for age, whole in ((1, 1_850), (2, 1_850), (3, 1_800), (5, 1_800)):
        assert tree(session, TODAY - age * DAY).nodes[0].figures.gross == whole
    assert tree(session, TODAY, currency="usd").nodes[0].figures.gross == Decimal("21.7647")
    assert keyed(lines(session, Dimension.CURRENCY, TODAY))["USD"].gross == 850


def test_a_missing_rate_is_refused_by_name_and_not_taken_for_one(in_two_currencies: Session) -> None:
    set_rate(in_two_currencies, "USD/INR", Decimal(85), TODAY)
    with pytest.raises(MissingRate, match="between USD and INR on or before 2026-01-13"):
        tree(in_two_currencies, TODAY - DAY)


def test_a_rate_that_may_not_be_used_is_none(in_two_currencies: Session) -> None:
    feed = a_feed(in_two_currencies, validation_status="FAIL")
    kept(in_two_currencies, FxSpot(pair="USD/INR", snapshot_id=feed.feed_id, rate=Decimal(85)))
    with pytest.raises(MissingRate):
        tree(in_two_currencies, TODAY)


def test_roots_in_different_currencies_need_one_to_be_named(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        a_node(session)
        a_node(session, "Dollars", base_ccy="USD")
        with pytest.raises(CurrencyNeeded, match="INR, USD"):
            tree(session, TODAY)
        assert tree(session, TODAY, currency="INR").currency == "INR"
        with pytest.raises(UnknownNode):
            tree(session, TODAY, node=10**12)


def test_the_same_rate_again_changes_nothing_and_another_one_holds_from_then_on(
    sessions: sessionmaker[Session],
) -> None:
    with sessions() as session:
        assert set_rate(session, "usd/inr", Decimal(85), TODAY)
        assert not set_rate(session, "USD/INR", Decimal("85.00"), TODAY)
        assert set_rate(session, "USD/INR", Decimal("85.5"), TODAY)
        assert rate_between(session, "USD", "INR", TODAY) == Decimal("85.5")
        assert rate_between(session, "INR", "INR", TODAY) == 1


def test_of_the_pair_and_the_way_through_dollars_the_newer_is_used(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        set_rate(session, "EUR/INR", Decimal(90), TODAY - 3 * DAY)
        assert rate_between(session, "EUR", "INR", TODAY) == 90
        set_rate(session, "EUR/USD", Decimal("1.1"), TODAY - 3 * DAY)
        set_rate(session, "USD/INR", Decimal(85), TODAY - 3 * DAY)
        assert rate_between(session, "EUR", "INR", TODAY) == 90
        set_rate(session, "EUR/USD", Decimal("1.2"), TODAY)
        set_rate(session, "USD/INR", Decimal(85), TODAY - DAY)
        assert rate_between(session, "EUR", "INR", TODAY) == 102
        assert rate_between(session, "EUR", "INR", TODAY - 2 * DAY) == 90


# --- whatever the tree, the positions and the rates

SYMBOLS = ("GOLD_MINI", "COPPER", "BANK_NIFTY")
LEVELS = ("FUND", "DESK", "BOOK", "STRATEGY")
MONEY = st.decimals(min_value=0, max_value=10**12, places=4)
SIGNED = st.decimals(min_value=-(10**12), max_value=10**12, places=4)
RATE = st.decimals(min_value="0.00000100", max_value="1000000", places=8).filter(lambda rate: rate > 0)
POSITIONS = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from(SYMBOLS),
        st.sampled_from(["INR", "USD", "EUR"]),
        st.sampled_from(["LONG", "SHORT"]),
        MONEY,
        st.none() | st.tuples(MONEY, SIGNED, SIGNED, SIGNED, st.none() | SIGNED),
    ),
    max_size=12,
)


@contextmanager
def undone(engine: Engine) -> Iterator[Session]:
    """A session of which nothing stays."""
    with Session(engine) as session:
        yield session
        session.rollback()


@ON_EXAMPLES
@given(
    parents=st.lists(st.integers(0, 30), min_size=1, max_size=10),
    positions=POSITIONS,
    usd_inr=RATE,
    eur_usd=RATE,
    currency=st.sampled_from(["INR", "USD", "EUR"]),
)
def test_what_a_node_holds_and_what_is_below_it_add_up_to_it_and_so_does_every_dimension(
    book_engine: Engine, parents: list[int], positions: list[Any], usd_inr: Decimal, eur_usd: Decimal, currency: str
) -> None:
    with undone(book_engine) as session:
        set_rate(session, "USD/INR", usd_inr, TODAY)
        set_rate(session, "EUR/USD", eur_usd, TODAY)
        nodes = [a_node(session)]
        for number, place in enumerate(parents):
            above = nodes[place % len(nodes)]
            if above.node_type != "STRATEGY":
                level = LEVELS[LEVELS.index(above.node_type) + 1]
                nodes.append(a_node(session, f"n{number}", level, parent_id=above.portfolio_node_id))
        of_groups = _held_in(session, nodes, positions)
        rates = {base: rate_between(session, base, currency, TODAY) for base in ("INR", "USD", "EUR")}
        own: dict[int, dict[str, Decimal]] = {node.portfolio_node_id: _nothing() for node in nodes}
        for (node, _, base), amounts in of_groups.items():
            for name, amount in amounts.items():
                own[node][name] += _rounded(amount, rates[base])
        found = tree(session, TODAY, currency=currency)
        told = {line.portfolio_node_id: _told(line.figures) for line in found.nodes}
        for node_id, figures in told.items():
            children = [told[line.portfolio_node_id] for line in found.nodes if line.parent_id == node_id]
            assert figures == _sum([own[node_id], *children])
        for dimension in (Dimension.INSTRUMENT, Dimension.SECTOR, Dimension.CURRENCY):
            by = lines(session, dimension, TODAY, currency=currency)
            assert _sum([_told(line.figures) for line in by]) == told[nodes[0].portfolio_node_id]
        assert found.nodes[0].figures.positions == len(positions)


NAMES = ("longs", "shorts", "unrealized_pnl", "realized_pnl", "day_pnl", "dv01")


def _held_in(
    session: Session, nodes: list[PortfolioNode], positions: list[Any]
) -> dict[tuple[int, str, str], dict[str, Decimal]]:
    """The positions, put into the book; and what they come to for each node, instrument and currency, added up here."""
    master = {symbol: an_instrument(session, symbol).instrument_id for symbol in SYMBOLS}
    groups: dict[tuple[int, str, str], dict[str, Decimal]] = {}
    for place, symbol, base_ccy, direction, notional, mark in positions:
        node = nodes[place % len(nodes)].portfolio_node_id
        given = {"base_ccy": base_ccy, "direction": direction, "notional_base": notional}
        held = a_held_position(session, node, master[symbol], **given)
        values = [notional, 0, 0, 0, 0]
        if mark is not None:
            names = ("notional_base", "unrealized_pnl_base", "realized_pnl_base", "daily_pnl_base", "dv01")
            a_mark(session, held, **dict(zip(names, mark, strict=True)))
            values = [value or 0 for value in mark]
        group = groups.setdefault((node, symbol, base_ccy), _nothing())
        group["longs" if direction == "LONG" else "shorts"] += values[0]
        for name, value in zip(NAMES[2:], values[1:], strict=True):
            group[name] += value
    return groups


def _nothing() -> dict[str, Decimal]:
    return dict.fromkeys(NAMES, Decimal(0))


def _rounded(amount: Decimal, rate: Decimal) -> Decimal:
    with localcontext(prec=100):
        return (amount * rate).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def _told(figures: Figures) -> dict[str, Decimal]:
    told = {name: getattr(figures, name) or Decimal(0) for name in NAMES[2:]}
    return {**told, "longs": (figures.gross + figures.net) / 2, "shorts": (figures.gross - figures.net) / 2}


def _sum(figures: list[dict[str, Decimal]]) -> dict[str, Decimal]:
    return {name: sum((each[name] for each in figures), Decimal(0)) for name in NAMES}


@ON_EXAMPLES
@given(amount=SIGNED, rate=RATE, turned=st.booleans())
def test_money_that_is_changed_and_changed_back_is_what_it_was(
    book_engine: Engine, amount: Decimal, rate: Decimal, turned: bool
) -> None:
    with undone(book_engine) as session:
        set_rate(session, "EUR/USD" if turned else "USD/EUR", rate, TODAY)
        there, back = rate_between(session, "USD", "EUR", TODAY), rate_between(session, "EUR", "USD", TODAY)
        assert abs(amount * there * back - amount) < Decimal("0.00005")


@ON_EXAMPLES
@given(rates=st.tuples(RATE, RATE), turned=st.tuples(st.booleans(), st.booleans()))
def test_a_cross_is_what_goes_through_dollars(
    book_engine: Engine, rates: tuple[Decimal, Decimal], turned: tuple[bool, bool]
) -> None:
    with undone(book_engine) as session:
        for other, rate, is_turned in zip(("EUR", "INR"), rates, turned, strict=True):
            set_rate(session, f"USD/{other}" if is_turned else f"{other}/USD", rate, TODAY)
        with localcontext(prec=100):
            legs = rate_between(session, "EUR", "USD", TODAY) * rate_between(session, "USD", "INR", TODAY)
        assert rate_between(session, "EUR", "INR", TODAY) == legs


def test_a_cross_that_lacks_a_leg_is_missing(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        add_node(session, "Fund", "FUND", base_ccy="INR")
        set_rate(session, "EUR/USD", Decimal("1.1"), TODAY)
        with pytest.raises(MissingRate, match="between EUR and INR"):
            rate_between(session, "EUR", "INR", TODAY)
