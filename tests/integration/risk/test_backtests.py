"""Value at risk beside what came of it, day by day, and what is drawn of a day's correlations."""

from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from scipy import stats
from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from book.database import transaction
from book.fx import set_rate
from book.models import PositionPnLHistory
from live.contracts_file import load_calendar
from risk.batch.given import Method
from risk.batch.run import run_batch
from risk.daily import InstrumentCovariance, PortfolioRisk
from risk.reckoned import breaches, correlations, days, value_at_risk_days
from tests.book_world import pnl_values
from tests.risk_world import AFTER, DAYS, USD, a_world, closes

THREE = DAYS[-3:]
CALENDAR = load_calendar()
FUND = 1


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    with transaction(book_engine) as session:
        a_world(session)
        for day in THREE[:2]:
            set_rate(session, "USD/INR", Decimal(str(USD)), day)
    return book_engine


def marked(engine: Engine, day: date, earned: int) -> None:
    """The fund's own position earned so much on a day, the others nothing."""
    with transaction(engine) as session:
        for position in (1, 2, 3):
            pnl = Decimal(earned if position == 1 else 0)
            given = {"notional_base": Decimal(1), "daily_pnl_base": pnl, "unrealized_pnl_base": pnl}
            session.add(PositionPnLHistory(**pnl_values(position_id=position, snapshot_date=day, **given)))


def reckoned(engine: Engine, *days: date, method: Method | None = None) -> None:
    for day in days:
        run_batch(engine, day, calendar=CALENDAR, clock=lambda: AFTER, method=method or Method(minimum=50, paths=2_000))


def test_a_loss_above_what_the_day_before_foresaw_is_a_breach_and_is_counted(world: Engine) -> None:
    reckoned(world, THREE[0])
    marked(world, THREE[1], -(10**8))
    reckoned(world, THREE[1])
    marked(world, THREE[2], 5)
    reckoned(world, THREE[2])
    with Session(world) as session:
        foreseen = [session.get_one(PortfolioRisk, (day, FUND)).measures["historical_95%"] for day in THREE]
        first, second, third = value_at_risk_days(
            session, FUND, THREE[0], THREE[2], method="historical", confidence="95%"
        )
        assert days(session) == THREE[::-1]
        assert days(session, until=THREE[1], most=1) == [THREE[1]]
    assert (first["breach"], first["reason"]) == (None, f"the day before, {date(2026, 1, 9)}, was not reckoned")
    assert (second["day"], second["made_on"], second["currency"]) == (THREE[1], str(THREE[0]), "INR")
    assert (second["pnl"], second["breach"], second["reason"]) == (-1e8, True, None)
    assert second["value_at_risk"] == float(foreseen[0]["value_at_risk"])
    assert second["tests"] == {"reason": "TooFewObservations: 1 observations; 2 are needed"}
    assert (third["pnl"], third["breach"], third["value_at_risk"]) == (5, False, float(foreseen[1]["value_at_risk"]))
    assert breaches([first, second, third]) == 1
    # One breach of two days at 5 %: by hand, -2 ln of 0.05 x 0.95 over 0.5 x 0.5.
    tests = third["tests"]
    assert (tests["observations"], tests["breaches"], tests["expected"]) == (2, 1, pytest.approx(0.1))
    statistic = -2 * np.log(0.05 * 0.95 / 0.25)
    assert tests["kupiec"]["statistic"] == pytest.approx(statistic)
    assert tests["kupiec"]["p_value"] == pytest.approx(stats.chi2.sf(statistic, 1))


def test_what_is_not_known_of_a_days_result_is_said_and_not_counted(world: Engine) -> None:
    reckoned(world, *THREE[:2])
    with Session(world) as session:
        told = value_at_risk_days(session, FUND, *THREE[1:], method="normal", confidence="99%")
    assert [day["reason"] for day in told] == ["P&L of the day is not whole: 3 unmarked"]
    marked(world, THREE[2], -10)
    with transaction(world) as session:
        session.query(PortfolioRisk).filter_by(calculation_date=THREE[1]).update({"currency": "USD"})
    reckoned(world, THREE[2])
    with Session(world) as session:
        told = value_at_risk_days(session, FUND, *THREE[1:], method="normal", confidence="99%")
    assert told[-1]["reason"] == f"on {THREE[1]} it was in USD"
    assert (told[-1]["value_at_risk"], told[-1]["breach"], breaches(told)) == (None, None, 0)


def test_correlations_are_those_of_what_a_node_held_the_largest_first(world: Engine) -> None:
    reckoned(world, THREE[2])
    with Session(world) as session:
        whole = correlations(session, THREE[2], FUND)
        desk = correlations(session, THREE[2], 2)
        largest = correlations(session, THREE[2], FUND, most=1)
        pairs = {
            (row.instrument1_id, row.instrument2_id): row.covariance
            for row in session.scalars(select(InstrumentCovariance))
        }
    told = closes()
    sizes = {"COPPER": 100 * USD * told["COPPER"][-1], "BANK_NIFTY": 60 * told["BANK_NIFTY"][-1]}
    sizes["GOLD_MINI"] = 40 * told["GOLD_MINI"][-1]
    assert whole["symbols"] == sorted(sizes, key=lambda symbol: -sizes[symbol])
    assert (desk["symbols"], desk["unknown"], desk["more"]) == (["COPPER", "GOLD_MINI"], [], 0)
    assert (largest["symbols"], largest["matrix"], largest["more"]) == (["COPPER"], [[1.0]], 2)
    matrix = np.array(whole["matrix"])
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 1).all()
    numbers = sorted({first for first, _ in pairs})
    by_hand = sorted(
        pairs[one, other] / np.sqrt(pairs[one, one] * pairs[other, other]) for one, other in pairs if one != other
    )
    assert len(numbers) == 3
    assert np.allclose(sorted(matrix[np.triu_indices(3, 1)]), by_hand, rtol=1e-12)
    assert sorted(whole["volatilities"]) == pytest.approx(sorted(np.sqrt(pairs[one, one]) for one in numbers))


def test_a_pair_or_an_instrument_that_is_not_known_is_said(world: Engine) -> None:
    reckoned(world, THREE[2])
    with transaction(world) as session:
        of = {symbol: number for number, symbol in instruments(session).items()}
        gone = InstrumentCovariance.instrument1_id == of["BANK_NIFTY"]
        session.execute(delete(InstrumentCovariance).where(gone, InstrumentCovariance.instrument2_id == of["COPPER"]))
        gold = InstrumentCovariance.instrument2_id == of["GOLD_MINI"]
        session.execute(
            delete(InstrumentCovariance).where(gold, InstrumentCovariance.instrument1_id == of["GOLD_MINI"])
        )
        told = correlations(session, THREE[2], FUND)
    assert (sorted(told["symbols"]), told["unknown"]) == (["BANK_NIFTY", "COPPER"], ["GOLD_MINI"])
    assert told["matrix"] == [[1.0, None], [None, 1.0]]


def instruments(session: Session) -> dict[int, str]:
    from risk.daily import PositionRisk

    asked = select(PositionRisk.instrument_id, PositionRisk.symbol)
    return {row.instrument_id: row.symbol for row in session.execute(asked)}
