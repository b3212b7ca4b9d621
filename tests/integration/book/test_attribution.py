"""P&L by day and by what made it: days add up to periods, parts to the whole, in any currency, to the last digit."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from book.attribution import By, attribution_of, period_of
from book.fx import set_rate
from book.models import PortfolioPosition, PositionPnLHistory
from book.pnl_calendar import MOST_DAYS, DayPnL, calendar_of
from book.refusals import CurrencyNeeded, MissingRate, PeriodNotValid, UnknownNode, UnknownPortfolio
from book.roll_up import tree
from core.postgres.migrations import migrate
from tests.book_world import (
    TODAY,
    a_held_position,
    a_live_portfolio,
    a_node,
    an_instrument,
    kept,
    pnl_values,
)
from tests.queries import rows

DAY = timedelta(days=1)
FIRST = TODAY - 3 * DAY
ON_EXAMPLES = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def a_day(session: Session, position: PortfolioPosition, day: date, pnl: Any, so_far: Any = None) -> None:
    """What it earned on a day, and what it has by then: that alone, where it is its first."""
    earned = Decimal(pnl if so_far is None else so_far)
    values = {"daily_pnl_base": Decimal(pnl), "unrealized_pnl_base": earned}
    kept(session, PositionPnLHistory(**pnl_values(position_id=position.id, snapshot_date=day, **values)))


def engine_id(own: str) -> dict[str, Any]:
    return {"source": "engine", "portfolio": "main", "engine_position_id": own}


def of_engine(session: Session, node: int, instrument: int, own: str, **others: Any) -> PortfolioPosition:
    return a_held_position(session, node, instrument, **engine_id(own), **others)


def a_desk(session: Session) -> tuple[int, int, dict[str, PortfolioPosition]]:
    """A fund with a desk, and of two instruments three layers, of the last two days."""
    fund = a_node(session).portfolio_node_id
    desk = a_node(session, "Desk", "DESK", parent_id=fund)
    a_live_portfolio(session, desk)
    gold, index = (an_instrument(session, name).instrument_id for name in ("GOLD_MINI", "BANK_NIFTY"))
    own = desk.portfolio_node_id
    held = {
        "gold": of_engine(session, own, gold, "GOLD_MINI-Long_1-0123456789ab", **weights(trend="0.75", carry="0.25")),
        "more": of_engine(session, own, gold, "GOLD_MINI-Long_2-0123456789ac", **weights(trend="1")),
        "bank": of_engine(session, own, index, "BANK_NIFTY-Long_1-0123456789ad"),
        "hand": a_held_position(session, fund, index),
    }
    for name, first, second in (("gold", 100, -30), ("more", 10, 7), ("bank", -50, 20), ("hand", 3, 4)):
        a_day(session, held[name], TODAY - DAY, first)
        a_day(session, held[name], TODAY, second, first + second)
    return fund, own, held


def weights(**given: str) -> dict[str, Any]:
    return {"strategy_ids": sorted(given), "strategy_weights": {name: Decimal(own) for name, own in given.items()}}


def shown(session: Session, by: By, **asked: Any) -> dict[str, Decimal]:
    found = attribution_of(session, by, **{"from_date": TODAY - DAY, "to_date": TODAY, **asked})
    return {line.name: line.pnl for line in found.lines}


def test_each_day_tells_what_it_earned_and_how_many_positions_had_a_mark(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        fund, desk, _ = a_desk(session)
        found = calendar_of(session, TODAY - 5 * DAY, TODAY)
        assert found.days == (
            DayPnL(date=TODAY - DAY, daily_pnl=Decimal(63), positions=4),
            DayPnL(date=TODAY, daily_pnl=Decimal(1), positions=4),
        )
        assert (found.total, found.currency) == (Decimal(64), "INR")
        assert calendar_of(session, TODAY, TODAY, node=fund).total == 1
        assert [day.daily_pnl for day in calendar_of(session, TODAY - DAY, TODAY, node=desk).days] == [60, -3]
        assert calendar_of(session, TODAY - DAY, TODAY, portfolio="main").total == 57
        assert calendar_of(session, TODAY + DAY, TODAY + 9 * DAY).days == ()


def test_a_change_is_told_by_instrument_strategy_layer_and_child_node(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        fund, desk, _ = a_desk(session)
        assert shown(session, By.INSTRUMENT) == {"BANK_NIFTY": 24, "GOLD_MINI": -23}
        assert shown(session, By.LAYER) == {"": 4, "Long_1": -10, "Long_2": 7}
        assert shown(session, By.STRATEGY) == {"": 24, "carry": Decimal("-7.5"), "trend": Decimal("-15.5")}
        assert shown(session, By.NODE) == {"Fund": 1}
        assert shown(session, By.NODE, node=fund) == {"Desk": -3, "Fund": 4}
        assert shown(session, By.NODE, node=desk) == {"Desk": -3}
        assert shown(session, By.INSTRUMENT, portfolio="main") == {"BANK_NIFTY": 20, "GOLD_MINI": -23}
        both = shown(session, By.INSTRUMENT, from_date=TODAY - 2 * DAY)
        assert both == {"BANK_NIFTY": -23, "GOLD_MINI": 87}
        assert shown(session, By.INSTRUMENT, from_date=TODAY, to_date=TODAY + DAY) == {}


def test_equity_changes_by_what_was_earned_and_what_was_paid_in(book_dsn: str, sessions: sessionmaker[Session]) -> None:
    started(
        book_dsn, "public", 1_000_000, [("2026-01-14 23:30+00", 500), ("2026-01-15 01:00+00", 7), ("2026-01-02", -100)]
    )
    with sessions.begin() as session:
        fund, desk, _ = a_desk(session)
        change = attribution_of(session, By.INSTRUMENT, TODAY - DAY, TODAY, node=desk).equity
        assert change is not None
        assert (change.from_equity, change.to_equity) == (999_960, 1_000_457)
        assert (change.flows, change.revaluation) == (500, 0)
        # Positions that nobody's engine holds earn something too, without any capital of their own.
        whole = attribution_of(session, By.NODE, TODAY - 2 * DAY, TODAY, node=fund).equity
        assert whole is not None
        assert (whole.from_equity, whole.to_equity, whole.flows) == (999_900, 1_000_464, 500)
        alone = a_node(session, "Alone").portfolio_node_id
        assert attribution_of(session, By.NODE, TODAY - DAY, TODAY, node=alone).equity is None


def started(dsn: str, schema: str, capital: int, flows: list[tuple[str, int]]) -> None:
    """The engine's own tables, as far as they tell of capital."""
    given = f"SET search_path TO {schema};"
    given += (
        f"INSERT INTO portfolio_state (id, initial_capital, closed_equity, equity_high) VALUES (1, {capital}, 1, 1);"
    )
    given += "ALTER TABLE capital_flows DROP CONSTRAINT fk_capital_flows_journal;"
    for seq, (time, amount) in enumerate(flows, start=1):
        given += f"INSERT INTO capital_flows (journal_seq, amount, flowed_at) VALUES ({seq}, {amount}, '{time}');"
    rows(dsn, f"{given} SELECT 1")


def test_what_rates_made_of_the_equity_is_told_apart(book_dsn: str, sessions: sessionmaker[Session]) -> None:
    started(book_dsn, "public", 8_000, [("2026-01-14", 820)])
    with sessions.begin() as session:
        set_rate(session, "USD/INR", Decimal(80), TODAY - DAY)
        set_rate(session, "USD/INR", Decimal(82), TODAY)
        _, desk, _ = a_desk(session)
        found = attribution_of(session, By.LAYER, TODAY - DAY, TODAY, node=desk, currency="USD")
        assert found.equity is not None
        assert found.equity.flows == 10
        assert found.equity.from_equity == Decimal("100.75")  # 8,060 rupees at 80
        assert found.equity.to_equity == Decimal("108.2561")  # 8,877 at 82
        assert found.pnl == Decimal("-0.0366")
        assert found.equity.revaluation == Decimal("108.2561") - Decimal("100.75") - 10 - found.pnl
    with pytest.raises(MissingRate), sessions.begin() as session:
        attribution_of(session, By.LAYER, TODAY - DAY, TODAY, currency="EUR")
    with pytest.raises(MissingRate), sessions.begin() as session:
        calendar_of(session, TODAY - DAY, TODAY, currency="EUR")


def test_a_second_portfolio_has_capital_of_its_own(book_dsn: str, sessions: sessionmaker[Session]) -> None:
    migrate(book_dsn, "alpha")
    started(book_dsn, "public", 1_000, [])
    started(book_dsn, "alpha", 200, [("2026-01-14", 30)])
    with sessions.begin() as session:
        fund, desk, _ = a_desk(session)
        a_live_portfolio(session, a_node(session, "Other", "DESK", parent_id=fund), "alpha")
        for asked, equity, flows in (
            ({"node": fund}, 1_294, 30),
            ({"portfolio": "alpha"}, 230, 30),
            ({"node": desk}, 1_057, 0),
        ):
            change = attribution_of(session, By.NODE, TODAY - DAY, TODAY, **asked).equity
            assert change is not None
            assert (change.to_equity, change.flows) == (equity, flows)


def test_what_cannot_be_answered_is_refused_by_name(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        a_desk(session)
        for wrong in ((TODAY, TODAY - DAY), (TODAY - (MOST_DAYS + 1) * DAY, TODAY)):
            with pytest.raises(PeriodNotValid, match="`from`"):
                calendar_of(session, *wrong)
            with pytest.raises(PeriodNotValid, match="`from`"):
                attribution_of(session, By.NODE, *wrong)
        with pytest.raises(PeriodNotValid, match="in between"):
            attribution_of(session, By.NODE, TODAY, TODAY)
        with pytest.raises(UnknownNode):
            calendar_of(session, TODAY, TODAY, node=9999)
        with pytest.raises(UnknownPortfolio):
            calendar_of(session, TODAY, TODAY, portfolio="nobodys")
        a_node(session, "Dollars", base_ccy="USD")
        with pytest.raises(CurrencyNeeded):
            calendar_of(session, TODAY, TODAY)
        assert calendar_of(session, TODAY, TODAY, portfolio="main").currency == "INR"


def test_without_days_the_last_change_is_meant(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        assert period_of(session, None, None, TODAY) == (TODAY - DAY, TODAY)
        _, _, held = a_desk(session)
        a_day(session, held["gold"], TODAY - 9 * DAY, 0)
        assert period_of(session, None, None, TODAY + 50 * DAY) == (TODAY - DAY, TODAY)
        assert period_of(session, None, None, TODAY - DAY) == (TODAY - 9 * DAY, TODAY - DAY)
        assert period_of(session, None, None, TODAY - 8 * DAY) == (TODAY - 10 * DAY, TODAY - 9 * DAY)
        assert period_of(session, TODAY - 3 * DAY, TODAY + DAY, TODAY) == (TODAY - 3 * DAY, TODAY + DAY)
        assert period_of(session, None, TODAY + DAY, TODAY) == (TODAY - DAY, TODAY + DAY)
        assert period_of(session, None, TODAY + 9_999 * DAY, TODAY) == (
            TODAY + (9_999 - MOST_DAYS) * DAY,
            TODAY + 9_999 * DAY,
        )
        assert period_of(session, None, date.min, TODAY) == (date.min, date.min)


# --- whatever there is

AMOUNTS = st.decimals(min_value=-(10**6), max_value=10**6, places=4)
WEIGHTS = st.sampled_from(
    ({}, {"a": "1"}, {"a": "0.333333", "b": "0.333333", "c": "0.333334"}, {"b": "0.1", "c": "0.9"})
)
HELD = st.tuples(
    st.integers(0, 2),  # which node
    st.integers(0, 1),  # which instrument
    st.sampled_from(["INR", "USD", "EUR"]),
    WEIGHTS,
    st.sampled_from([None, "Long_1", "Long_2", "Short_1"]),
    st.lists(AMOUNTS, min_size=1, max_size=4),  # its days
)
RATES = st.decimals(min_value=Decimal("0.001"), max_value=200, places=8)


@ON_EXAMPLES
@given(
    held=st.lists(HELD, min_size=1, max_size=6),
    quoted=st.lists(RATES, min_size=4, max_size=4),
    currency=st.sampled_from(["INR", "USD", "JPY"]),
)
def test_by_whatever_it_is_told_it_adds_up_to_the_calendar_and_the_tree(
    book_engine: Engine, held: list[Any], quoted: list[Decimal], currency: str
) -> None:
    with Session(book_engine) as session:  # never committed
        nodes = a_random_book(session, held, quoted)
        calendar = calendar_of(session, FIRST, TODAY, currency=currency)
        for day in calendar.days:
            (root,) = [line for line in tree(session, day.date, currency=currency).nodes if line.depth == 0]
            assert root.figures.day_pnl == day.daily_pnl
        for node, by in product((None, *nodes), By):
            found = attribution_of(session, by, FIRST, TODAY, node=node, currency=currency)
            days = calendar_of(session, FIRST + DAY, TODAY, node=node, currency=currency)
            assert sum((line.pnl for line in found.lines), Decimal(0)) == found.pnl == days.total
        session.rollback()


def a_random_book(session: Session, held: list[Any], quoted: list[Decimal]) -> list[int]:
    """Positions on three nodes, one below the other, on four days of which two have new rates."""
    nodes = [a_node(session).portfolio_node_id]
    for name, level in (("Desk", "DESK"), ("Book", "BOOK")):
        nodes.append(a_node(session, name, level, parent_id=nodes[-1]).portfolio_node_id)
    a_live_portfolio(session, a_node(session, "Engine", "DESK", parent_id=nodes[0]))
    instruments = [an_instrument(session, name).instrument_id for name in ("GOLD_MINI", "BANK_NIFTY")]
    for day, number in ((FIRST, 0), (TODAY, 1)):
        for pair, rate in (("USD/INR", quoted[number]), ("EUR/USD", quoted[2 + number]), ("USD/JPY", Decimal(150))):
            set_rate(session, pair, rate, day)
    for number, (node, instrument, ccy, weighted, layer, days) in enumerate(held):
        given_of: dict[str, Any] = {"base_ccy": ccy, **weights(**weighted)}
        own_id = {} if layer is None else engine_id(f"GOLD_MINI-{layer}-{number:012x}")
        position = a_held_position(session, nodes[node], instruments[instrument], **given_of, **own_id)
        for after, pnl in enumerate(days):
            a_day(session, position, FIRST + after * DAY, pnl)
    return nodes
