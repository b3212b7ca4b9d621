"""The risk lab's pages: the figures that the batch kept, what to do where there are none, and no arrays in the process."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from html import unescape
from pathlib import Path

import psycopg2
import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, delete, text
from sqlalchemy.orm import Session

from book.database import transaction
from book.fx import set_rate
from book.models import PortfolioNode, PositionPnLHistory
from live.app import create_app
from live.book_desk import BookDesk
from live.contracts_file import load_calendar
from live.dashboard import words
from live.dashboard.risk import CONFIDENCES, METHODS, PAGES
from live.operators import Operators
from live.portfolios import Portfolios
from risk.batch.given import Method
from risk.batch.run import run_batch
from risk.daily import CalculationAuditLog, PortfolioRisk
from risk.reading import stress_of
from risk.reckoned import METHODS as RECKONED_METHODS
from risk.reckoned import correlations, floats
from tests.book_world import NOON, a_node, pnl_values
from tests.fake_engine import TOKEN, FakeEngine, served_by
from tests.integration.book.test_first_request import ROOT, SERVER
from tests.risk_world import AFTER, DAYS, USD, a_world
from tests.waiting import Stopwatch, eventually

# Those of a node and a day.
OF_A_DAY = [page for page in PAGES if page not in ("/term-structure", "/what-if")]
THREE = DAYS[-3:]
LAST = THREE[-1]
FUND, DESK = 1, 2
CALENDAR = load_calendar()


@pytest.fixture
def client(book_dsn: str) -> Iterator[FlaskClient]:
    desk = BookDesk(book_dsn, lambda: NOON)
    engine = FakeEngine()
    app = create_app(
        Portfolios({engine.portfolio_name: served_by(engine)}),
        operators=Operators(TOKEN, Path("none")),
        session_secret=TOKEN,
        book=desk,
    )
    yield app.test_client()
    desk.close()


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    """Three days, of which the second one lost much."""
    with transaction(book_engine) as session:
        a_world(session)
        for day in THREE[:2]:
            set_rate(session, "USD/INR", Decimal(str(USD)), day)
    for day, earned in zip(THREE, (None, -(10**8), 5), strict=True):
        if earned is not None:
            marked(book_engine, day, earned)
        reckon(book_engine, day)
    return book_engine


def marked(engine: Engine, day: date, earned: int) -> None:
    with transaction(engine) as session:
        for position in (1, 2, 3):
            pnl = Decimal(earned if position == 1 else 0)
            given = {"notional_base": Decimal(1), "daily_pnl_base": pnl, "unrealized_pnl_base": pnl}
            session.add(PositionPnLHistory(**pnl_values(position_id=position, snapshot_date=day, **given)))


def reckon(engine: Engine, day: date) -> None:
    run_batch(engine, day, calendar=CALENDAR, clock=lambda: AFTER, method=Method(minimum=50, paths=2_000))


def asked(client: FlaskClient, page: str) -> str:
    """The page's words, a space for each tag."""
    found: list[str] = []

    def is_answered() -> bool:
        response = client.get(f"/dashboard/risk{page}")
        found.append(response.get_data(as_text=True))
        return "Not now" not in found[-1]

    assert eventually(is_answered)
    assert found[-1].startswith("<!doctype html>"), found[-1]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", found[-1])).split())


def kept(engine: Engine, node: int, day: date = LAST) -> PortfolioRisk:
    with Session(engine) as session:
        return session.get_one(PortfolioRisk, (day, node))


# --- the figures


def test_the_overview_has_each_measure_that_was_kept(client: FlaskClient, world: Engine) -> None:
    told = asked(client, "")
    measures = floats(kept(world, FUND).measures)
    assert f"Overview of Fund \u2039 {THREE[1]}" in told
    assert f"At the end of {LAST}, in INR: 3 positions." in told
    for name, part in (("Long", "long"), ("Short", "short"), ("Gross", "gross"), ("Net", "net")):
        assert f" {name} {words.money(measures['exposure'][part])} " in told
    for name, part in (("day", "daily"), ("year", "annual")):
        assert f"Volatility a {name} {words.money(measures['volatility'][part])} " in told
    assert f"Diversification ratio {measures['diversification']['ratio']:.2f} " in told
    for method, name in METHODS.items():
        amounts = [
            words.money(measures.get(f"{method}_{level}%", {}).get(part))
            for level in CONFIDENCES
            for part in ("value_at_risk", "expected_shortfall")
        ]
        assert f" {name} {' '.join(amounts)} " in told
        # Of 60 days nobody knows the worst one of a hundred.
        assert (words.NOTHING in amounts) == (method == "historical")
    assert f"Desk INR {words.money(floats(kept(world, DESK).measures)['exposure']['gross'])} " in told
    assert "P&L of the day +5.00" in told
    assert "GOLD_MINI position/2 short" in told
    assert "unknown" in told.partition("GOLD_MINI position/2")[2][:300]  # how easily it is squeezed
    assert "historical 99% the measure TooFewObservations: " in told
    assert told.count(" completed ") == 9


def test_what_is_missing_is_named_with_its_reason(client: FlaskClient, world: Engine) -> None:
    with transaction(world) as session:
        row = session.get_one(PortfolioRisk, (LAST, FUND))
        row.measures = {}
        row.reasons = {"historical_99%": "TooFewObservations: 60 <are>"}
        row.left_out = {f"position/{number}": {"value": "StalePrice: old"} for number in range(102)}
        failed = CalculationAuditLog(
            calculation_type="snapshots", calculation_date=LAST, run=1, attempt=2, start_time=AFTER, end_time=AFTER
        )
        failed.status, failed.error_message = "failed", "ZeroDivisionError: by hand"
        session.add(failed)
    told = asked(client, "")
    assert "historical 99% the measure TooFewObservations: 60 <are>" in told
    assert "position/0 value StalePrice: old" in told
    assert f"And 2 other positions: risk show --date {LAST} --node 1" in told
    assert "Gross — Net — Volatility a day — " in told
    assert "Diversification score — " in told
    assert f"Not all of it is done: python portfolio_manager.py risk batch --date {LAST} goes on" in told
    assert "failed" in told
    assert "ZeroDivisionError: by hand" in told
    assert "is not known: nothing is held" in asked(client, "/factors")


def test_factors_contributions_add_up_to_the_volatility(client: FlaskClient, world: Engine) -> None:
    told = asked(client, f"/factors?node={FUND}")
    volatility = floats(kept(world, FUND).measures)["volatility"]
    daily = words.money(volatility["daily"])
    assert f"make a volatility of {daily} INR a day: the contributions below add up to {daily}." in told
    assert f"Together {daily} 100.00 %" in told
    assert f"Specific {words.money(volatility['by_factor']['specific'], signed=True)} " in told
    sizes = sorted(volatility["exposures"].items(), key=lambda each: -abs(each[1]))
    shown = {"index": "Equity Index", "gold": "Gold"}
    exposed = told.partition("Exposure Factor")[2]
    assert " ".join(f"{shown[name]} {words.money(size, signed=True)}" for name, size in sizes) in exposed


def test_correlations_are_shown_as_they_were_kept(client: FlaskClient, world: Engine) -> None:
    told = asked(client, "/correlations")
    with Session(world) as session:
        found = correlations(session, LAST, FUND)
    for symbol, cells in zip(found["symbols"], found["matrix"], strict=True):
        assert f" {symbol} {' '.join(f'{cell:+.2f}' for cell in cells)} " in told
    assert f"{found['symbols'][0]} {found['volatilities'][0]:.2%}".replace("%", " %") in told


def test_scenarios_are_sorted_by_size_and_one_of_them_is_told_by_position(client: FlaskClient, world: Engine) -> None:
    told = asked(client, f"/stress?node={DESK}&scenario=COVID-19+Crash")
    with Session(world) as session:
        costs = {each["name"]: each["pnl"] for each in stress_of(session, LAST, DESK)}
    known = sorted((name for name in costs if costs[name] is not None), key=lambda name: -abs(costs[name]))
    for name in known:
        assert f"{name} {words.money(costs[name], signed=True)} " in told
    assert [told.index(f"{name} {words.money(costs[name], signed=True)} ") for name in known] == sorted(
        told.index(f"{name} {words.money(costs[name], signed=True)} ") for name in known
    )
    assert "Oil Up 5% — 2 ImpossibleShocks: Oil Up 5% shocks oil" in told
    assert "By position: COVID-19 Crash Position P&L in INR Side in its currency" in told
    assert "COPPER position/3" in told
    assert "BANK_NIFTY" not in told.partition("By position")[2]
    assert "No scenario of this name was reckoned" in asked(client, "/stress?scenario=Flood")


def test_value_at_risk_is_told_beside_what_came_of_it(client: FlaskClient, world: Engine) -> None:
    told = asked(client, "/value-at-risk")
    foreseen = float(kept(world, FUND, THREE[0]).measures["historical_95%"]["value_at_risk"])
    assert f"2 days from {THREE[1]} to {THREE[2]}: 1 breach." in told
    assert f"The worst day was {THREE[1]}, -100,000,000.00, with {words.money(foreseen)} foreseen." in told
    assert "Days compared 2 of 3 Breaches 1 To be expected 0.1" in told
    assert (
        "How many (Kupiec) about as many breaches as expected: p = 0.07 (1 of 2 days, 0.1 were to be expected)" in told
    )
    assert f"{THREE[1]} -100,000,000.00 {words.money(foreseen)} {THREE[0]} breach" in told
    assert f"{THREE[0]} — — the day before, {date(2026, 1, 9)}, was not reckoned" in told
    one = asked(client, f"/value-at-risk?date={THREE[1]}&method=monte_carlo&confidence=99&days=60&node={FUND}")
    assert "Tests not yet: TooFewObservations: 1 observations; 2 are needed" in one
    none = asked(client, f"/value-at-risk?date={THREE[0]}")
    assert "There is nothing to compare yet" in none


def test_days_in_another_currency_are_not_compared(client: FlaskClient, world: Engine) -> None:
    with transaction(world) as session:
        session.get_one(PortfolioRisk, (LAST, FUND)).currency = "USD"
    told = asked(client, "/value-at-risk")
    assert f"{THREE[1]} — — {THREE[0]} it was in INR" in told


def test_what_the_pages_know_of_is_what_the_batch_reckons() -> None:
    assert [f"{level:.0%}" for level in Method().confidences] == [f"{level}%" for level in CONFIDENCES]
    assert tuple(METHODS) == RECKONED_METHODS


# --- where there is nothing


def test_where_nothing_was_reckoned_each_page_says_what_does(client: FlaskClient, book_engine: Engine) -> None:
    for page in OF_A_DAY:
        assert "python portfolio_manager.py risk batch --date DAY reckons the day" in asked(client, page)
        told = asked(client, f"{page}?date=2026-01-14")
        assert "Nothing was reckoned of 2026-01-14." in told
        assert "risk batch --date 2026-01-14 does" in told


def test_of_a_day_without_a_batch_those_beside_it_are_offered(client: FlaskClient, world: Engine) -> None:
    told = asked(client, f"/stress?date=2026-01-20&node={DESK}")
    assert f"\u2039 {LAST}" in told
    assert f"The newest day that was is {LAST}." in told
    middle = asked(client, f"?date={THREE[1]}")
    assert f"\u2039 {THREE[0]} {THREE[2]} \u203a" in middle


def test_a_node_that_was_not_there_on_a_day_is_told_from_one_that_never_was(client: FlaskClient, world: Engine) -> None:
    with transaction(world) as session:
        late = a_node(session, "<i>Late</i>", "DESK", parent_id=FUND).portfolio_node_id
        assert session.query(PortfolioNode).count() == 3
    for page in OF_A_DAY:
        assert f"This node was not reckoned on {LAST}" in asked(client, f"{page}?node={late}")
        response = client.get(f"/dashboard/risk{page}?node=4711")
        assert (response.status_code, response.get_json()["error"]["code"]) == (404, "unknown_node")


def test_a_batch_that_stopped_before_its_end_is_shown_so_far(client: FlaskClient, world: Engine) -> None:
    with transaction(world) as session:
        session.query(PortfolioRisk).filter_by(calculation_date=LAST).update({"snapshot": None})
    assert "The batch has not told them yet" in asked(client, "")
    assert "There is nothing whose correlation is known" in asked(client, "/correlations")
    assert "the batch of that day did not tell" in asked(client, "/value-at-risk")
    assert "There is no position to tell of." in asked(client, "/stress")
    with transaction(world) as session:
        session.execute(delete(PortfolioRisk))
    told = asked(client, f"?date={LAST}")
    assert f"Nothing was reckoned of {LAST}." in told
    assert f"The batch of {LAST}" in told


def test_what_is_not_installed_is_named(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not installed here" not in asked(client, "")
    monkeypatch.setattr("live.dashboard.risk.find_spec", lambda name: None if name in ("scipy", "QuantLib") else name)
    told = asked(client, "")
    assert (
        "Of what reckons, scipy, QuantLib are not installed here: pip install --requirement requirements-risk" in told
    )


# --- what fails


def test_tables_that_are_locked_keep_nobody_waiting(book_dsn: str, client: FlaskClient, world: Engine) -> None:
    asked(client, "")
    locking = psycopg2.connect(book_dsn)
    try:
        locking.cursor().execute("LOCK TABLE risk.portfolio_risk IN ACCESS EXCLUSIVE MODE")
        for page in OF_A_DAY:
            began = Stopwatch()
            response = client.get(f"/dashboard/risk{page}")
            assert response.status_code == 503
            assert "Not now: " in response.get_data(as_text=True)
            assert began.seconds < 10  # two seconds, on a machine that others use too
    finally:
        locking.close()
    asked(client, "")


def test_names_that_others_gave_are_text_on_every_page(client: FlaskClient, world: Engine) -> None:
    with transaction(world) as session:
        session.execute(
            text("UPDATE book.portfolio_node_version SET name = '<b onclick=x>&' WHERE portfolio_node_id = 1")
        )
    for page in OF_A_DAY:
        asked(client, page)
        html = client.get(f"/dashboard/risk{page}").get_data(as_text=True)
        assert "&lt;b onclick=x&gt;&amp;" in html
        for never in ("<b onclick", "style=", "<script", "<style"):
            assert never not in html


@pytest.mark.parametrize("page", PAGES)
def test_a_page_imports_no_arrays_and_nothing_late(book_dsn: str, world: Engine, page: str) -> None:
    told = (
        SERVER + "print({name for name in ('numpy', 'pandas', 'scipy', 'sklearn', 'QuantLib') if name in sys.modules})"
    )
    asking = [sys.executable, "-W", "error", "-c", told, book_dsn, f"/dashboard/risk{page}"]
    done = subprocess.run(asking, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["200", "set()"]
