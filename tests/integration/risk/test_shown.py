"""What pages ask of a day that was reckoned: the same as the batch kept, at most so much of it."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from book.database import transaction
from book.fx import set_rate
from live.contracts_file import load_calendar
from risk.batch.given import Method
from risk.batch.run import run_batch
from risk.daily import PortfolioRisk, PositionRisk, StressResult
from risk.factors import StressScenario
from risk.reckoned import floats
from risk.shown import beside, largest_positions, node_on, stress_by_position, tree
from tests.risk_world import AFTER, DAYS, USD, a_world, closes

FIRST, LAST = DAYS[-2], DAYS[-1]
FUND, DESK = 1, 2
CRASH = "2008 Financial Crisis"


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    with transaction(book_engine) as session:
        a_world(session)
        set_rate(session, "USD/INR", Decimal(str(USD)), FIRST)
    calendar = load_calendar()
    for day in (FIRST, LAST):
        method = Method(minimum=50, paths=2_000)
        run_batch(book_engine, day, calendar=calendar, clock=lambda: AFTER, method=method)
    return book_engine


def test_of_a_day_those_beside_it_are_known_and_without_one_it_is_the_newest(world: Engine) -> None:
    between = FIRST - timedelta(days=1)
    with Session(world) as session:
        assert beside(session, None) == (LAST, True, FIRST, None, LAST)
        assert beside(session, FIRST) == (FIRST, True, None, LAST, LAST)
        assert beside(session, between) == (between, False, None, FIRST, LAST)
        assert beside(session, date.max) == (date.max, False, LAST, None, LAST)


def test_where_nothing_was_reckoned_there_is_no_day(book_engine: Engine) -> None:
    with Session(book_engine) as session:
        assert beside(session, None) == (None, False, None, None, None)
        assert beside(session, LAST) == (LAST, False, None, None, None)
        assert tree(session, LAST) == {}


def test_each_node_is_below_its_parent_with_its_measures(world: Engine) -> None:
    with transaction(world) as session:
        kept = session.get_one(PortfolioRisk, (LAST, DESK))
        kept.left_out = {"position/2": {"value": "NoPrices: none"}}
        kept.measures = {name: floats(each) for name, each in kept.measures.items() if name != "normal_99%"}
    with Session(world) as session:
        fund, desk = tree(session, LAST).values()
        of_desk = session.get_one(PortfolioRisk, (LAST, DESK)).measures
    assert [(node["name"], node["depth"], node["parent_id"]) for node in (fund, desk)] == [
        ("Fund", 0, None),
        ("Desk", 1, FUND),
    ]
    assert (desk["currency"], desk["positions"], desk["left_out"], fund["left_out"]) == ("INR", 2, 1, 0)
    assert desk["gross"] == float(of_desk["exposure"]["gross"])
    assert desk["volatility"] == float(of_desk["volatility"]["daily"])
    assert desk["historical"] == float(of_desk["historical_95%"]["value_at_risk"])
    assert (desk["normal"], fund["normal"] is None) == (None, False)


def test_a_node_is_told_without_its_positions(world: Engine) -> None:
    with Session(world) as session:
        told = node_on(session, LAST, FUND)
        kept = session.get_one(PortfolioRisk, (LAST, FUND))
        assert told["has_snapshot"]
        assert told["day_pnl"] is None  # nothing was marked
        kept.snapshot = {**floats(kept.snapshot), "pnl": {"day_pnl": "12.5000"}}
        session.flush()
        assert node_on(session, LAST, FUND)["day_pnl"] == Decimal("12.5")
    assert told["measures"]["exposure"]["net"] == float(kept.measures["exposure"]["net"])
    assert "snapshot" not in told


def test_the_largest_positions_come_first_in_the_nodes_currency(world: Engine) -> None:
    told = closes()
    sizes = {"COPPER": 100 * USD * told["COPPER"][-1], "BANK_NIFTY": 60 * told["BANK_NIFTY"][-1]}
    sizes["GOLD_MINI"] = -40 * told["GOLD_MINI"][-1]
    with Session(world) as session:
        found = largest_positions(session, LAST, FUND, 9)
        assert [each["symbol"] for each in largest_positions(session, LAST, DESK, 1)] == ["COPPER"]
    assert [each["symbol"] for each in found] == sorted(sizes, key=lambda symbol: -abs(sizes[symbol]))
    assert {each["symbol"]: each["value_here"] for each in found} == pytest.approx(sizes)
    copper = found[0]
    assert (copper["currency"], copper["value"]) == ("USD", pytest.approx(100 * told["COPPER"][-1]))


def test_positions_stress_adds_up_to_the_nodes_in_its_currency(world: Engine) -> None:
    with Session(world) as session:
        for node in (FUND, DESK):
            found = stress_by_position(session, LAST, node, CRASH, 9)
            of_node = session.scalar(
                select(StressResult.pnl)
                .join(StressScenario, StressScenario.scenario_id == StressResult.scenario_id)
                .where(StressScenario.name == CRASH, StressResult.portfolio_node_id == node)
                .where(StressResult.calculation_date == LAST)
            )
            assert sum(each["pnl_here"] for each in found) == pytest.approx(of_node)
            assert [each["pnl_here"] for each in found] == sorted(
                (each["pnl_here"] for each in found), key=lambda pnl: -abs(pnl)
            )
        (copper,) = [each for each in found if each["symbol"] == "COPPER"]
        assert copper["pnl_here"] == pytest.approx(copper["pnl"] * USD)
        assert stress_by_position(session, LAST, FUND, "no such", 9) == []


def test_what_is_worth_nothing_earns_nothing_and_what_is_not_known_is_last(world: Engine) -> None:
    with transaction(world) as session:
        numbers = select(StressScenario.scenario_id).where(StressScenario.name == CRASH).scalar_subquery()
        of_crash = session.query(StressResult).filter(
            StressResult.calculation_date == LAST, StressResult.scenario_id == numbers
        )
        of_crash.filter(StressResult.position == "position/1").update(
            {"pnl": None, "reason": "why not"}, synchronize_session=False
        )
        of_crash.filter(StressResult.position == "position/2").update({"pnl": 0}, synchronize_session=False)
        session.query(PositionRisk).filter_by(calculation_date=LAST, position="position/2").update({"value": 0})
    with Session(world) as session:
        found = stress_by_position(session, LAST, FUND, CRASH, 9)
    assert [(each["position"], each["pnl_here"]) for each in found[1:]] == [("position/2", 0), ("position/1", None)]
    assert found[-1]["reason"] == "why not"
