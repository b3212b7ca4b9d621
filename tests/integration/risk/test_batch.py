"""The daily batch: its figures are those reckoned by hand, it is begun again where it stopped, and never runs twice at once."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from book.database import engine_of, transaction
from book.models import FxSpot, PortfolioNode
from live.contracts_file import load_calendar
from risk.batch.run import STEPS, BatchDone, BatchRuns, NoTradingDay, run_batch
from risk.daily import (
    CalculationAuditLog,
    FactorCovariance,
    InstrumentCovariance,
    PortfolioRisk,
    PositionFactorExposure,
    PositionRisk,
    StressResult,
)
from risk.factors import FactorDefinition
from risk.market_data import MarketData
from risk.seeds import seed
from risk.upsert import table_of
from tests.book_role import a_book_role
from tests.book_world import a_held_position, a_live_portfolio, an_instrument
from tests.builders import a_signal
from tests.crash.scenario import SILVER
from tests.engines import an_engine
from tests.live_process import ROOT
from tests.queries import rows
from tests.risk_world import AFTER, DAY, DAYS, FACTORS, SYMBOLS, USD, a_world, bars, closes
from tests.waiting import eventually

RESULTS = (
    PositionRisk,
    PositionFactorExposure,
    FactorCovariance,
    InstrumentCovariance,
    PortfolioRisk,
    StressResult,
)
NAMES = ("position/1", "position/2", "position/3")
CALENDAR = load_calendar()


@pytest.fixture
def world(book_engine: Engine) -> Iterator[Engine]:
    with transaction(book_engine) as session:
        a_world(session)
    return book_engine


def reckon(engine: Engine, day: date = DAY, **others: Any) -> BatchDone:
    return run_batch(engine, day, **{"calendar": CALENDAR, "clock": lambda: AFTER, **others})


def results(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """All that is kept of every day, but for numbers and times that rows have of their own."""
    with Session(engine) as session:
        found = {
            model.__tablename__: [
                {name: value for name, value in row.items() if name not in ("id", "created_at")}
                for row in session.execute(select(table_of(model))).mappings()
            ]
            for model in RESULTS
        }
    return {name: sorted(told, key=repr) for name, told in found.items()}


def node(engine: Engine, number: int) -> PortfolioRisk:
    with Session(engine) as session:
        return session.get_one(PortfolioRisk, (DAY, number))


# --- by hand


def moves(name: str) -> np.ndarray:
    values = closes()[name]
    return values[1:] / values[:-1] - 1


def ledoit_wolf(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Ledoit and Wolf (2004), by their lemmas 3.2 to 3.4."""
    x = x - x.mean(axis=0)
    count, width = x.shape
    sample = x.T @ x / count
    mean = np.trace(sample) / width
    far = ((sample - mean * np.eye(width)) ** 2).sum() / width
    error = sum(((np.outer(row, row) - sample) ** 2).sum() for row in x) / count**2 / width
    shrinkage = min(error, far) / far
    return shrinkage * mean * np.eye(width) + (1 - shrinkage) * sample, shrinkage


def by_hand() -> dict[str, Any]:
    told = closes()
    values = np.array([60 * told["BANK_NIFTY"][-1], -40 * told["GOLD_MINI"][-1], 100 * told["COPPER"][-1] * USD])
    factors = np.column_stack([moves("gold"), moves("NIFTY")])
    own = np.column_stack([moves(name) for name in SYMBOLS])
    design = np.column_stack([np.ones(60), factors])
    found, _, _, _ = np.linalg.lstsq(design, own, rcond=None)
    left = own - design @ found
    specific = (left**2).sum(axis=0) / (60 - 3)
    covariance, shrinkage = ledoit_wolf(factors)
    betas = found[1:].T
    exposed = values @ betas
    volatility = np.sqrt(exposed @ covariance @ exposed + (values**2 * specific).sum())
    return {
        "values": values,
        "betas": betas,
        "errors": np.sqrt(np.outer(specific, np.diag(np.linalg.inv(design.T @ design))[1:])),
        "r_squared": 1 - (left**2).sum(axis=0) / ((own - own.mean(axis=0)) ** 2).sum(axis=0),
        "specific": specific,
        "covariance": covariance,
        "shrinkage": shrinkage,
        "volatility": volatility,
        "by_factor": [*(exposed * (covariance @ exposed) / volatility), (values**2 * specific).sum() / volatility],
        "by_position": (values * (betas @ covariance @ exposed) + values**2 * specific) / volatility,
        "pnl": own @ values,
        "own": own,
    }


def test_the_figures_are_those_that_are_reckoned_by_hand(world: Engine) -> None:
    done = reckon(world)
    assert [step.step for step in done.steps] == list(STEPS)
    hand = by_hand()
    with Session(world) as session:
        kept = list(session.scalars(select(PositionRisk).order_by(PositionRisk.position)))
        assert [each.position for each in kept] == list(NAMES)
        rates = np.array([1, 1, USD])
        assert np.allclose([each.value for each in kept] * rates, hand["values"], rtol=1e-12)
        assert np.allclose([each.volatility for each in kept], hand["own"].std(axis=0, ddof=1), rtol=1e-12)
        assert np.allclose([each.day_return for each in kept], hand["own"][-1], rtol=1e-9)
        assert [each.greeks["delta"] for each in kept] == [60, -40, 100]
        assert [each.squeeze_level for each in kept] == [None, "UNKNOWN", None]
        assert all(each.reasons == {} for each in kept)
        betas = list(session.scalars(select(PositionFactorExposure)))
        assert len(betas) == 6
        names = dict(session.execute(select(FactorDefinition.factor_id, FactorDefinition.name)).all())
        for each in betas:
            place = NAMES.index(each.position), FACTORS.index(names[each.factor_id])
            assert np.isclose(each.beta, hand["betas"][place], rtol=1e-9)
            assert np.isclose(each.standard_error, hand["errors"][place], rtol=1e-9)
            assert np.isclose(each.r_squared, hand["r_squared"][place[0]], rtol=1e-9)
            assert np.isclose(each.specific_variance, hand["specific"][place[0]], rtol=1e-9)
        pairs = list(session.scalars(select(FactorCovariance)))
        assert len(pairs) == 3
        for each in pairs:
            place = FACTORS.index(names[each.factor1_id]), FACTORS.index(names[each.factor2_id])
            assert np.isclose(each.covariance, hand["covariance"][place], rtol=1e-9)
            assert np.isclose(each.shrinkage, hand["shrinkage"], rtol=1e-9)


def test_a_nodes_volatility_contributions_and_value_at_risk_are_those_that_are_reckoned_by_hand(world: Engine) -> None:
    reckon(world)
    hand, fund = by_hand(), node(world, 1)
    assert (fund.currency, fund.positions, fund.left_out) == ("INR", 3, {})
    measures = fund.measures
    long, short = hand["values"][[0, 2]].sum(), hand["values"][1]
    told = [float(measures["exposure"][name]) for name in ("long", "short", "gross", "net")]
    assert np.allclose(told, [long, short, long - short, long + short], rtol=1e-12)
    volatility = measures["volatility"]
    assert np.isclose(float(volatility["daily"]), hand["volatility"], rtol=1e-9)
    assert np.isclose(float(volatility["annual"]), hand["volatility"] * np.sqrt(250), rtol=1e-9)
    contributions = [float(volatility["by_factor"][name]) for name in (*FACTORS, "specific")]
    assert np.allclose(contributions, hand["by_factor"], rtol=1e-8)
    assert np.isclose(sum(contributions), hand["volatility"], rtol=1e-9)
    positions = [float(volatility["by_position"][name]) for name in NAMES]
    assert np.allclose(positions, hand["by_position"], rtol=1e-8)
    worst = np.sort(hand["pnl"])
    historical = measures["historical_95%"]
    assert np.isclose(float(historical["value_at_risk"]), -worst[3], rtol=1e-9)
    assert np.isclose(float(historical["expected_shortfall"]), -worst[:3].mean(), rtol=1e-9)
    assert np.isclose(
        float(measures["normal_99%"]["value_at_risk"]), 2.3263478740408408 * hand["volatility"], rtol=1e-9
    )
    covariance, _ = ledoit_wolf(hand["own"])
    spread = np.sqrt(hand["values"] @ covariance @ hand["values"])
    assert np.isclose(float(measures["monte_carlo_95%"]["value_at_risk"]), 1.645 * spread, rtol=0.03)
    alone = np.abs(hand["values"]) * np.sqrt(np.diag(covariance))
    assert np.isclose(float(measures["diversification"]["ratio"]), alone.sum() / spread, rtol=1e-9)
    # Of a hundred days the worst one is beyond 99 %; sixty have no such day.
    assert fund.reasons == {"historical_99%": "TooFewObservations: 60 observations; 100 are needed"}


def test_what_a_scenario_costs_is_what_is_reckoned_by_hand(world: Engine) -> None:
    reckon(world)
    hand = by_hand()
    covariance = hand["covariance"]
    shocks = np.array([covariance[0, 1] / covariance[1, 1] * -0.1, -0.1])
    cost = hand["values"] * (hand["betas"] @ shocks)
    asked = (
        "SELECT r.position, r.portfolio_node_id, r.pnl, r.currency, r.left_out, r.reason FROM risk.stress_results r"
        " JOIN risk.stress_scenarios s USING (scenario_id) WHERE s.name = '{}' ORDER BY 1, 2"
    )
    dsn = world_dsn(world)
    found = rows(dsn, asked.format("Market Down 10%"))
    assert [row[:2] for row in found] == [*((name, None) for name in NAMES), (None, 1), (None, 2)]
    assert np.allclose([row[2] for row in found], [*cost / [1, 1, USD], cost.sum(), cost[1:].sum()], rtol=1e-8)
    assert [row[3:] for row in found[2:]] == [("USD", 0, None), ("INR", 0, None), ("INR", 0, None)]
    without = rows(dsn, asked.format("Rates Up 0.25%"))
    assert {row[2] for row in without} == {None}
    assert all("ImpossibleShocks" in row[5] for row in without)


def world_dsn(engine: Engine) -> str:
    with engine.connect() as connection:
        return connection.connection.driver_connection.dsn


def test_the_same_day_again_changes_nothing_and_again_reckons_anew(world: Engine) -> None:
    assert reckon(world).changed
    before = results(world)
    second = reckon(world)
    assert (second.run, second.changed, results(world)) == (1, False, before)
    third = reckon(world, again=True)
    assert (third.run, third.changed, results(world)) == (2, True, before)
    log = rows(
        world_dsn(world),
        "SELECT run, attempt, status, count(*) FROM risk.calculation_audit_log GROUP BY 1, 2, 3 ORDER BY 1",
    )
    assert log == [(1, 1, "completed", 9), (2, 1, "completed", 9)]


@pytest.mark.parametrize("place", range(len(STEPS)))
def test_a_batch_that_failed_in_a_step_goes_on_there_and_comes_to_the_same(world: Engine, place: int) -> None:
    reckon(world)
    undisturbed = results(world)
    broken = list(STEPS)[place]

    def fails(session: Session, given: Any) -> int:
        STEPS[broken](session, given)
        session.flush()
        raise RuntimeError("the machine is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        reckon(world, again=True, steps={**STEPS, broken: fails})
    of_it = "SELECT status, error_message, records_processed FROM risk.calculation_audit_log WHERE run = 2 ORDER BY id"
    *done, failed = rows(world_dsn(world), of_it)
    assert [status for status, _, _ in done] == ["completed"] * place
    assert failed == ("failed", "RuntimeError: the machine is on fire", None)
    again = reckon(world)
    assert (again.run, [step.records is None for step in again.steps].count(True)) == (2, place)
    assert results(world) == undisturbed


def test_what_was_said_to_run_and_does_not_is_failed_and_done_again(world: Engine) -> None:
    def dies(_session: Session, _given: Any) -> int:
        rows(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        return 0

    dsn = world_dsn(world)
    with pytest.raises(Exception, match=r"closed|terminat"):
        reckon(world, steps={**STEPS, "greeks": dies})
    world.dispose()
    reckon(world)
    log = rows(
        dsn, "SELECT attempt, status FROM risk.calculation_audit_log WHERE calculation_type = 'greeks' ORDER BY id"
    )
    assert log == [(1, "failed"), (2, "completed")]


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from book.database import engine_of
from live.contracts_file import load_calendar
from risk.batch.run import STEPS, run_batch
from tests.risk_world import AFTER, DAY

def dies(session, given):
    STEPS["portfolio_metrics"](session, given)
    session.flush()
    os.kill(os.getpid(), signal.SIGKILL)

steps = {**STEPS, "portfolio_metrics": dies}
run_batch(engine_of(sys.argv[1]), DAY, calendar=load_calendar(), clock=lambda: AFTER, again=True, steps=steps)
"""


def test_a_batch_that_was_killed_in_a_step_goes_on_there_and_comes_to_the_same(world: Engine) -> None:
    reckon(world)
    undisturbed = results(world)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, world_dsn(world)], cwd=ROOT, capture_output=True, check=False
    )
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, b"")
    # The server notices at its own pace that nobody is there any more.
    assert eventually(lambda: reckoned_again(world))
    assert results(world) == undisturbed
    of_it = "SELECT attempt, status FROM risk.calculation_audit_log WHERE run = 2 AND calculation_type = 'portfolio_metrics'"
    assert sorted(rows(world_dsn(world), of_it)) == [(1, "failed"), (2, "completed")]


def reckoned_again(world: Engine) -> bool:
    try:
        done = reckon(world)
    except BatchRuns:
        return False
    return done.run == 2


def test_two_at_once_do_not_reckon_the_same_day(world: Engine) -> None:
    begun, may_end = threading.Event(), threading.Event()
    found: list[BatchDone] = []

    def waits(session: Session, given: Any) -> int:
        begun.set()
        assert may_end.wait(60)
        return STEPS["returns"](session, given)

    first = threading.Thread(target=lambda: found.append(reckon(world, steps={**STEPS, "returns": waits})))
    first.start()
    try:
        assert begun.wait(60)
        with pytest.raises(BatchRuns, match="2026-01-14 is being run"):
            reckon(world)
    finally:
        may_end.set()
        first.join(60)
    assert found[0].changed
    assert not reckon(world).changed


def test_what_cannot_be_reckoned_of_a_position_is_said_and_the_others_are(world: Engine) -> None:
    with transaction(world) as session:
        new, bare = (
            an_instrument(session, symbol, kind=kind, exchange="MCX")
            for symbol, kind in (("TIN", "future"), ("OPTION", "option"))
        )
        bars(session, new.instrument_id, 1, closes()["COPPER"][-20:], days=DAYS[-20:])
        for each in (new, bare):
            a_held_position(session, 2, each.instrument_id)
    reckon(world)
    with Session(world) as session:
        told = {each.symbol: each for each in session.scalars(select(PositionRisk))}
    short = "TooFewObservations: 19 returns; 60 are needed"
    assert told["TIN"].reasons == {
        "returns": short,
        "correlations": short,
        "factors": "TooFewObservations: 19 observations; 60 are needed",
    }
    assert told["TIN"].value == 10 * closes()["COPPER"][-1]
    assert told["OPTION"].value is None
    assert told["OPTION"].reasons["value"] == "NoPrices: OPTION: neither a mark of the book nor a daily bar"
    assert "NotLinear: option" in told["OPTION"].reasons["greeks"]
    fund, hand = node(world, 1), by_hand()
    assert set(fund.left_out) == {"position/4", "position/5"}
    assert np.isclose(float(fund.measures["volatility"]["daily"]), hand["volatility"], rtol=1e-9)
    assert fund.positions == 5


def test_what_nobody_has_a_bar_of_is_valued_by_the_portfolios_alerts(book_dsn: str, world: Engine) -> None:
    time = datetime(2026, 1, 14, 5, tzinfo=UTC)
    with an_engine(book_dsn) as engine:
        engine.process_signal(a_signal("MARKET_DATA", **SILVER, price=90_500, bar_time=time, timestamp=time))
    with transaction(world) as session:
        a_live_portfolio(session, session.get_one(PortfolioNode, 1))
        silver = an_instrument(session, SILVER["instrument"], kind="future", exchange="MCX")
        a_held_position(
            session, 1, silver.instrument_id, source="engine", portfolio="main", engine_position_id="SILVER-Long_1-aa"
        )
    reckon(world)
    with Session(world) as session:
        (told,) = session.scalars(select(PositionRisk).where(PositionRisk.symbol == SILVER["instrument"]))
    assert (told.price, told.price_date, told.price_source, told.value) == (90_500, DAY, "engine", 905_000)
    assert told.reasons["returns"] == "NoPrices: one close makes no return"


def test_a_missing_rate_is_named_and_the_rest_is_reckoned(world: Engine) -> None:
    with transaction(world) as session:
        session.execute(delete(FxSpot))
    reckon(world)
    fund = node(world, 1)
    assert fund.left_out["position/3"]["value"].startswith("MissingRate: ")
    hand = by_hand()
    assert np.isclose(float(fund.measures["exposure"]["net"]), hand["values"][:2].sum(), rtol=1e-12)


def test_without_factors_or_positions_it_is_said_why(book_engine: Engine) -> None:
    with transaction(book_engine) as session:
        a_world(session)
        session.execute(delete(MarketData))
    reckon(book_engine)
    fund = node(book_engine, 1)
    assert fund.measures == {}
    assert fund.reasons["exposure"] == "NothingHeld: no position has a value"


@pytest.mark.parametrize(
    "day, why",
    [(date(2026, 1, 17), "no exchange"), (date(2026, 1, 26), "no exchange"), (date(2026, 1, 15), "is not over")],
)
def test_only_a_trading_day_that_is_over_is_reckoned(world: Engine, day: date, why: str) -> None:
    clock = AFTER if day == DAY + timedelta(days=1) else AFTER + timedelta(days=30)
    with pytest.raises(NoTradingDay, match=why):
        reckon(world, day, clock=lambda: clock)
    assert results(world) == {model.__tablename__: [] for model in RESULTS}
    with Session(world) as session:
        assert session.scalars(select(CalculationAuditLog)).all() == []


# --- factors and scenarios


def test_factors_and_scenarios_are_seeded_once_with_their_shocks_and_a_desks_own_stay(
    book_dsn: str, book_engine: Engine
) -> None:
    with transaction(book_engine) as session:
        assert seed(session) == 16 + 8
    shocks = (
        "SELECT s.name, f.name, h.shock FROM risk.stress_scenario_shocks h"
        " JOIN risk.stress_scenarios s USING (scenario_id) JOIN risk.factor_definitions f USING (factor_id)"
    )
    told = rows(book_dsn, shocks)
    assert ("Oil Up 5%", "oil", 0.05) in told
    assert len({name for name, _, _ in told}) == 8
    rows(book_dsn, "UPDATE risk.stress_scenario_shocks SET shock = -0.2 WHERE shock = -0.1")
    rows(book_dsn, "DELETE FROM risk.stress_scenario_shocks WHERE shock = 0.05")
    rows(book_dsn, "UPDATE risk.factor_definitions SET display_name = 'Nifty' WHERE name = 'index'")
    desks = rows(book_dsn, shocks)
    with transaction(book_engine) as session:
        assert seed(session) == 0
    assert rows(book_dsn, shocks) == desks
    assert rows(book_dsn, "SELECT display_name FROM risk.factor_definitions WHERE name = 'index'") == [("Nifty",)]


def test_the_books_role_is_enough_for_a_batch(world: Engine, book_dsn: str) -> None:
    with a_book_role(book_dsn) as role:
        engine = engine_of(role)
        try:
            assert reckon(engine).changed
        finally:
            engine.dispose()
