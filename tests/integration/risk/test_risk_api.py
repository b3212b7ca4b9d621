"""/api/risk: what the batch kept, in pages and with what is missing; every answer is described, and none needs arrays."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, update

from book.database import engine_of, transaction
from book.fx import set_rate
from book.refusals import LibraryMissing
from live.api.risk import CONFIDENCES, METHODS, TIMEFRAMES
from live.api.schema.document import templated
from live.api.schema.routes import ROUTES
from live.app import create_app
from live.book_desk import BookDesk
from live.contracts_file import DEFAULT_CALENDAR, load_calendar
from live.operators import Operators
from live.portfolios import Portfolios
from live.risk_task import reckon_day
from risk import asked, market_data, reckoned
from risk.batch.given import Method
from risk.batch.run import STEPS, run_batch
from risk.daily import PortfolioRisk
from risk.models import DataSource, MarketData
from tests.book_world import an_instrument, kept
from tests.described import Described
from tests.fake_engine import TOKEN, FakeEngine, served_by
from tests.integration.risk.test_backtests import marked
from tests.live_process import ROOT
from tests.postgres_server import drop_database, fresh_database
from tests.risk_world import AFTER, DAY, DAYS, FACTORS, USD, a_world

BEARER = f"Bearer {TOKEN}"
THREE = DAYS[-3:]
FUND, DESK = 1, 2
CALENDAR = load_calendar()
# Two have a test of their own: test_risk_sessions_api.py.
ELSEWHERE = ("/api/risk/sessions/<session_id>", "/api/risk/term_structure")
VIEWS = tuple(
    route for route in ROUTES if route.tag == "Risk" and route.method == "GET" and route.path not in ELSEWHERE
)
# What a view has to be told, and one value of each other parameter that has no list of values.
NEEDED = {"node": "1", "instrument": "BANK_NIFTY"}
GIVEN = {
    **NEEDED,
    "portfolio": "main",
    "date": "2026-01-14",
    "from": "2026-01-13",
    "to": "2026-01-14",
    "as_of": "2026-01-14",
    "scenario": "Market%20Down%2010%25",
    "source": "here",
    "limit": "1",
}


def a_desk(dsn: str, at: datetime = AFTER) -> BookDesk:
    return BookDesk(dsn, lambda: at)


def asking(desk: BookDesk | None) -> Described:
    served = Portfolios({"main": served_by(FakeEngine())})
    app = create_app(served, operators=Operators(TOKEN, Path("none")), session_secret=TOKEN, book=desk)
    # A busy machine may stand still for longer than a view has.
    return Described(app.test_client(), within=60.0)


@dataclass
class Reckoned:
    """Three days that were reckoned, the last of them with all measures."""

    dsn: str
    engine: Engine
    desk: BookDesk


@pytest.fixture(scope="module")
def reckoned_days(server_dsn: str, book_template: str) -> Iterator[Reckoned]:
    dsn = fresh_database(server_dsn, template=book_template)
    engine, desk = engine_of(dsn), a_desk(dsn)
    with transaction(engine) as session:
        a_world(session)
        for day in THREE[:2]:
            set_rate(session, "USD/INR", Decimal(str(USD)), day)
        contracts = an_instrument(session, "SILVER", exchange="MCX", kind="future")
        sources = [kept(session, DataSource(name=name, kind="file")).source_id for name in ("first", "second")]
        for source in sources:
            session.add(
                MarketData(
                    timestamp=datetime(2026, 1, 13, tzinfo=UTC),
                    instrument_id=contracts.instrument_id,
                    source_id=source,
                    timeframe="1d",
                    expiry=date(2026, 2, 27),
                    **dict.fromkeys(("open", "high", "low", "close"), Decimal("91000.5")),
                )
            )
    for day, earned in zip(THREE, (1, -(10**8), 5), strict=True):
        marked(engine, day, earned)
        method = Method(paths=2_000) if day == DAY else Method(minimum=50, paths=2_000)
        run_batch(engine, day, calendar=CALENDAR, clock=lambda: AFTER, method=method)
    yield Reckoned(dsn, engine, desk)
    desk.close()
    engine.dispose()
    drop_database(dsn)


@pytest.fixture
def ask(reckoned_days: Reckoned) -> Described:
    return asking(reckoned_days.desk)


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    with transaction(book_engine) as session:
        a_world(session)
    return book_engine


def in_pages(ask: Described, address: str, name: str, cursor: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    before, joined = "", "&" if "?" in address else "?"
    while before is not None:
        told = ask(f"GET {address}{joined}limit=1{before and f'&{cursor}={before}'}")
        rows, before = rows + told[name], told["next"]
    return rows


# --- what is answered


def test_days_and_nodes_are_told_in_pages_with_their_measures_and_what_is_missing(ask: Described) -> None:
    days = in_pages(ask, "/api/risk/days", "days", "before")
    assert days == [{"date": str(day), "nodes": 2, "complete": True} for day in THREE[::-1]]
    told = ask("GET /api/risk/nodes")
    assert told["date"] == str(DAY)
    assert told["nodes"] == in_pages(ask, f"/api/risk/nodes?date={DAY}", "nodes", "after")
    fund, desk = told["nodes"]
    assert (fund["name"], fund["positions"], fund["currency"]) == ("Fund", 3, "INR")
    assert set(fund["measures"]["volatility"]) == {"daily", "annual", "positions"}
    assert fund["measures"]["historical_95%"]["value_at_risk"] > 0
    assert fund["reasons"] == {"historical_99%": "TooFewObservations: 60 observations; 100 are needed"}
    assert fund["pnl"] == {
        "day_pnl": "5",
        "realized_pnl": "0",
        "unrealized_pnl": "5",
        "unmarked": 0,
        "unvalued": 0,
        "reason": None,
    }
    assert ask(f"GET /api/risk/nodes?node={DESK}")["nodes"] == [desk]
    assert ask(f"GET /api/risk/nodes?node={DESK}&after={DESK}")["nodes"] == []


def test_a_nodes_factors_and_positions_add_up_to_its_volatility(ask: Described) -> None:
    told = ask(f"GET /api/risk/exposures?node={FUND}")
    assert [each["factor"] for each in told["factors"]] == ["index", "gold", "specific"]
    assert {each["factor"] for each in told["factors"]} == {*FACTORS, asked.SPECIFIC}
    assert sum(each["contribution"] for each in told["factors"]) == pytest.approx(told["volatility"])
    assert sum(each["share"] for each in told["factors"]) == pytest.approx(1)
    assert [each["exposure"] is None for each in told["factors"]] == [False, False, True]
    rows = in_pages(ask, f"/api/risk/positions?node={FUND}", "positions", "after")
    assert [row["symbol"] for row in rows] == ["BANK_NIFTY", "GOLD_MINI", "COPPER"]
    assert sum(row["contribution"] for row in rows) == pytest.approx(told["volatility"])
    assert rows[2]["node_value"] == pytest.approx(rows[2]["value"] * USD)
    assert set(rows[0]["betas"]) == set(FACTORS)
    assert rows[0]["quantity"] == "60"
    everywhere = in_pages(ask, "/api/risk/positions", "positions", "after")
    assert [row["position"] for row in everywhere] == [row["position"] for row in rows]
    assert {row["node_value"] for row in everywhere} == {None}
    assert [row["symbol"] for row in ask(f"GET /api/risk/positions?node={DESK}")["positions"]] == [
        "GOLD_MINI",
        "COPPER",
    ]


def test_correlations_and_stress_are_those_that_were_kept(ask: Described) -> None:
    moves = ask(f"GET /api/risk/correlations?node={FUND}&date={DAY}")
    assert set(moves["symbols"]) == {"BANK_NIFTY", "GOLD_MINI", "COPPER"}
    assert [moves["matrix"][place][place] for place in range(3)] == [1, 1, 1]
    told = ask(f"GET /api/risk/stress?node={FUND}")
    assert (len(told["scenarios"]), told["positions"]) == (8, [])
    down = next(each for each in told["scenarios"] if each["name"] == "Market Down 10%")
    of_one = f"/api/risk/stress?node={FUND}&scenario=Market%20Down%2010%25"
    assert ask(f"GET {of_one}")["scenarios"] == [down]
    rows = in_pages(ask, of_one, "positions", "after")
    rates = {"INR": 1, "USD": USD}
    assert sum(row["pnl"] * rates[row["currency"]] for row in rows) == pytest.approx(down["pnl"])
    assert [row["position"] for row in rows] == ["position/1", "position/2", "position/3"]
    rates_up = next(each for each in told["scenarios"] if each["name"] == "Rates Up 0.25%")
    assert "ImpossibleShocks" in rates_up["reason"]


def test_value_at_risk_is_told_beside_what_came_with_breaches_and_tests(ask: Described) -> None:
    told = ask(f"GET /api/risk/value_at_risk?node={FUND}&from={THREE[0]}&to={DAY}")
    first, second, third = told["days"]
    assert first["reason"].endswith("was not reckoned")
    assert (second["pnl"], second["breach"], third["breach"], told["breaches"]) == (-1e8, True, False, 1)
    assert (told["tests"]["as_of"], told["tests"]["observations"]) == (str(DAY), 2)
    assert told["tests"]["kupiec"]["p_value"] < 1
    without = ask(f"GET /api/risk/value_at_risk?node={FUND}&method=normal&confidence=0.99")
    assert (without["confidence"], len(without["days"])) == (0.99, 3)
    assert ask(f"GET /api/risk/value_at_risk?node={FUND}&to={THREE[0] - timedelta(days=1)}")["days"] == []
    of_the_second = ask(f"GET /api/risk/value_at_risk?node={FUND}&to={THREE[1]}")["tests"]
    assert of_the_second == {"as_of": str(THREE[1]), "reason": "TooFewObservations: 1 observations; 2 are needed"}


def test_factors_scenarios_and_steps_are_told(ask: Described) -> None:
    factors = {each["name"]: each["told_by"] for each in ask("GET /api/risk/factors")["factors"]}
    assert {name: by for name, by in factors.items() if by} == {"index": ["NIFTY"], "gold": ["here/gold"]}
    assert len(ask("GET /api/risk/scenarios")["scenarios"]) == 8
    told = ask("GET /api/risk/steps")
    assert (told["date"], [step["calculation_type"] for step in told["steps"]]) == (str(DAY), list(STEPS))
    assert ask(f"GET /api/risk/steps?date={THREE[0]}")["steps"][0]["status"] == "completed"


def test_bars_are_told_as_they_were_known_the_newest_first(ask: Described) -> None:
    address = "/api/risk/bars?instrument=bank_nifty"
    told = ask(f"GET {address}&limit=1000")
    assert (told["source"], told["timeframe"], len(told["bars"]), told["next"]) == ("here", "1d", 61, None)
    times = [bar["timestamp"] for bar in told["bars"]]
    assert times == sorted(times, reverse=True)
    first, second = (ask(f"GET {address}&limit=2{more}")["bars"] for more in ("", f"&before={times[1]}"))
    assert first + second == told["bars"][:4]
    # The bar of the 14th, which opens at 18:30 UTC of the 13th, is over a day later.
    assert ask(f"GET {address}&as_of=2026-01-14T18:29:59Z")["bars"] == told["bars"][1:]
    assert ask(f"GET {address}&as_of=2026-01-13")["bars"] == told["bars"][1:]
    assert ask(f"GET {address}&from=2026-01-12&to=2026-01-12")["bars"] == told["bars"][1:2]
    assert ask(f"GET {address}&as_of=0001-01-01")["bars"] == []
    assert len(ask(f"GET {address}&as_of=9999-12-31&to=9999-12-31")["bars"]) == 61
    contract = "/api/risk/bars?instrument=SILVER&expiry=2026-02-27"
    error = ask(f"GET {contract}", status=409)["error"]
    assert (error["code"], "first, second" in error["message"]) == ("source_needed", True)
    assert ask(f"GET {contract}&source=second")["bars"][0]["close"] == "91000.5"


def test_what_is_not_known_is_said_with_its_code(ask: Described) -> None:
    for address, code, field in (
        ("nodes?date=2026-01-10", "unknown_day", "date"),
        ("positions?date=2026-01-10", "unknown_day", "date"),
        ("exposures?node=1&date=2026-01-10", "unknown_day", "date"),
        ("correlations?node=1&date=2026-01-10", "unknown_day", "date"),
        ("stress?node=1&date=2026-01-10", "unknown_day", "date"),
        ("steps?date=2026-01-10", "unknown_day", "date"),
        ("nodes?node=77", "unknown_node", None),
        ("positions?node=77", "unknown_node", None),
        ("exposures?node=77", "unknown_node", None),
        ("correlations?node=77", "unknown_node", None),
        ("stress?node=77", "unknown_node", None),
        ("value_at_risk?node=77", "unknown_node", None),
        ("stress?node=1&scenario=Comet", "unknown_scenario", "scenario"),
        ("bars?instrument=TIN", "unknown_bars", None),
        ("bars?instrument=GOLD_MINI&timeframe=1h", "unknown_bars", None),
        ("bars?instrument=GOLD_MINI&source=nobody", "unknown_bars", None),
    ):
        error = ask(f"GET /api/risk/{address}", status=404)["error"]
        assert (error["code"], error.get("field")) == (code, field), address


def test_what_is_malformed_is_said_with_its_field(ask: Described) -> None:
    for address, field in (
        *((f"{name}", "node") for name in ("exposures", "correlations", "stress", "value_at_risk")),
        ("bars", "instrument"),
        ("bars?instrument=GOLD_MINI&timeframe=2d", "timeframe"),
        ("bars?instrument=GOLD_MINI&as_of=soon", "as_of"),
        ("bars?instrument=GOLD_MINI&as_of=2026-02-30T00:00:00Z", "as_of"),
        ("bars?instrument=GOLD_MINI&before=2026-01-14", "before"),
        ("bars?instrument=GOLD_MINI&source=Me", "source"),
        ("bars?instrument=GOLD_MINI&from=2026-01-02&to=2026-01-01", "to"),
        ("bars?instrument=GOLD_MINI&limit=1001", "limit"),
        ("nodes?date=2026-02-30", "date"),
        ("nodes?node=x", "node"),
        ("positions?after=12", "after"),
        ("days?before=x", "before"),
        ("stress?node=1&scenario=", "scenario"),
        ("value_at_risk?node=1&method=guess", "method"),
        ("value_at_risk?node=1&confidence=0.5", "confidence"),
        ("value_at_risk?node=1&from=2001-01-01&to=2026-01-01", "from"),
    ):
        assert ask(f"GET /api/risk/{address}", status=400)["error"]["field"] == field, address


def values_of(name: str, schema: Any) -> list[str]:
    if "enum" in schema:
        return list(schema["enum"])
    if name in GIVEN:
        return [GIVEN[name]]
    return ["2026-01-14T00:00:00Z"] if schema.get("format") == "date-time" else ["2026-01-14"]


@pytest.mark.parametrize("route", VIEWS, ids=lambda route: route.path)
def test_every_parameter_is_taken_and_an_etag_is_known_again(ask: Described, route: Any) -> None:
    needed = "&".join(f"{name}={NEEDED[name]}" for name in route.needed)
    for name, schema in route.query.items():
        if name in ("after", "before") and "format" not in schema:
            continue  # test_days_and_nodes and others turn pages
        for value in values_of(name, schema):
            # Of most lengths there are no bars.
            status = 404 if name in ("timeframe", "expiry") and value != "1d" else 200
            given = f"{needed}&{name}={value}" if name not in route.needed else needed
            ask(f"GET {route.path}?{given}", status=status)
    ask(f"GET {route.path}?{needed}")
    ask(f"GET {route.path}?{needed}", status=304, If_None_Match=str(ask.etag))
    assert ask(f"GET {route.path}?colour=red", status=400)["error"]["field"] == "colour"


def test_what_is_known_here_is_what_the_tables_and_the_batch_have() -> None:
    assert tuple(market_data.TIMEFRAMES) == TIMEFRAMES
    assert METHODS == reckoned.METHODS
    assert [(float(given), kept) for given, kept in CONFIDENCES.items()] == [
        (level, f"{level:.0%}") for level in Method().confidences
    ]


# --- days that are not whole, and no days at all


def test_a_day_whose_batch_has_not_come_to_its_end_is_told_as_far_as_it_goes(world: Engine, book_dsn: str) -> None:
    desk = a_desk(book_dsn)
    ask = asking(desk)
    for name in ("nodes", "steps", "exposures?node=1"):
        error = ask(f"GET /api/risk/{name}", status=404)["error"]
        assert (error["code"], error["field"]) == ("unknown_day", "date")
    assert ask("GET /api/risk/days")["days"] == []
    run_batch(world, DAY, calendar=CALENDAR, clock=lambda: AFTER, method=Method(paths=2_000))
    with transaction(world) as session:
        session.execute(update(PortfolioRisk).values(snapshot=None))
    assert ask("GET /api/risk/days")["days"] == [{"date": str(DAY), "nodes": 2, "complete": False}]
    # Not the newest that is to be had whole, but asked for by its date it is there.
    ask("GET /api/risk/nodes", status=404)
    assert [node["pnl"] for node in ask(f"GET /api/risk/nodes?date={DAY}")["nodes"]] == [None, None]
    for name in ("positions", "correlations"):
        error = ask(f"GET /api/risk/{name}?node=1&date={DAY}", status=404)["error"]
        assert (error["code"], "is not reckoned to its end" in error["message"]) == ("unknown_day", True)
    with transaction(world) as session:
        session.execute(delete(PortfolioRisk))
    ask(f"GET /api/risk/nodes?date={DAY}", status=404)
    desk.close()


def test_more_that_is_left_out_than_is_shown_is_counted(world: Engine, book_dsn: str) -> None:
    run_batch(world, DAY, calendar=CALENDAR, clock=lambda: AFTER, method=Method(paths=2_000))
    with transaction(world) as session:
        left_out = {f"position/{number}": {"value": "NoPrices"} for number in range(asked.MOST_LEFT_OUT + 7)}
        session.execute(update(PortfolioRisk).values(left_out=left_out, measures={}, reasons={"volatility": "why"}))
    desk = a_desk(book_dsn)
    fund, *_ = asking(desk)("GET /api/risk/nodes")["nodes"]
    assert (len(fund["left_out"]), fund["more_left_out"]) == (asked.MOST_LEFT_OUT, 7)
    told = asking(desk)("GET /api/risk/exposures?node=1")
    assert (told["volatility"], told["reason"], told["factors"]) == (None, "why", [])
    desk.close()


@pytest.mark.parametrize("route", VIEWS, ids=lambda route: route.path)
def test_where_there_are_no_tables_it_is_said_what_to_run(dsn: str, route: Any) -> None:
    needed = "&".join(f"{name}={NEEDED[name]}" for name in route.needed)
    desk = a_desk(dsn)
    for given in (desk, None):
        error = asking(given)(f"GET {route.path}?{needed}", status=409)["error"]
        assert error["code"] == "book_not_migrated"
    desk.close()


# --- the batch


def test_a_day_is_reckoned_for_a_trader_once_and_anew_where_he_says_so(world: Engine, book_dsn: str) -> None:
    desk = a_desk(book_dsn)
    ask = asking(desk)

    def batch(body: Any, status: int = 200) -> Any:
        return ask("POST /api/risk/batch", body, status=status, Authorization=BEARER)

    first = batch({"date": str(DAY)})
    assert (first["run"], first["changed"], [step["step"] for step in first["steps"]]) == (1, True, list(STEPS))
    second = batch({"date": str(DAY), "again": False})
    assert (second["run"], second["changed"], {step["records"] for step in second["steps"]}) == (1, False, {None})
    assert batch({"date": str(DAY), "again": True})["run"] == 2
    assert ask("GET /api/risk/nodes")["date"] == str(DAY)
    for day in ("2026-01-17", "2026-01-19", "9999-12-31", "0001-01-01"):
        error = batch({"date": day}, 409)["error"]
        assert (error["code"], error["field"]) == ("no_trading_day", "date"), day
    for body, field in (({}, "date"), ({"date": "x"}, "date"), ({"date": str(DAY), "again": 1}, "again")):
        assert batch(body, 400)["error"]["field"] == field
    with desk.work.reckoning():
        error = batch({"date": str(DAY)}, 429)["error"]
        assert (error["code"], error["message"]) == ("busy", "another batch is under way: one at a time")
    with world.connect() as other:
        other.exec_driver_sql("SELECT pg_advisory_lock(739268, %s)", (DAY.toordinal(),))
        assert batch({"date": str(DAY)}, 409)["error"]["code"] == "batch_runs"
    missing = {
        told
        for told in ((route.method, templated(route.path), 200) for route in ROUTES if route.path == "/api/risk/batch")
        if told not in ask.asked
    }
    assert not missing
    assert ask("POST /api/risk/batch", {"date": str(DAY)}, status=401)["error"]["code"] == "unauthorized"
    desk.close()


def test_a_step_that_fails_is_named_and_done_the_next_time(world: Engine, book_dsn: str) -> None:
    desk = a_desk(book_dsn)
    ask = asking(desk)
    with world.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE risk.stress_results ADD CONSTRAINT fire CHECK (left_out > 1000)")
    error = ask("POST /api/risk/batch", {"date": str(DAY)}, status=409, Authorization=BEARER)["error"]
    assert (error["code"], "stress_tests: " in error["message"]) == ("step_failed", True)
    *done, failed = ask("GET /api/risk/steps")["steps"]
    assert (len(done), failed["status"], failed["calculation_type"]) == (7, "failed", "stress_tests")
    with world.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE risk.stress_results DROP CONSTRAINT fire")
    told = ask("POST /api/risk/batch", {"date": str(DAY)}, Authorization=BEARER)
    assert [step["records"] is None for step in told["steps"]] == [*[True] * 7, False, False]
    desk.close()


def test_a_calendar_of_ones_own_says_which_days_are_traded(world: Engine, book_dsn: str, tmp_path: Path) -> None:
    calendar = json.loads(DEFAULT_CALENDAR.read_text())
    for table in calendar["tables"]:
        table["days"] = dict(sorted({**table["days"], str(DAY): {"name": "ours alone"}}.items()))
    file = tmp_path / "calendar.json"
    file.write_text(json.dumps(calendar))
    desk = BookDesk(book_dsn, lambda: AFTER, batch={"calendar": str(file), "grace_seconds": 0})
    told = asking(desk)("POST /api/risk/batch", {"date": str(DAY)}, status=409, Authorization=BEARER)
    assert told["error"]["code"] == "no_trading_day"
    desk.close()


def test_without_an_extra_a_batch_says_what_to_install(world: Engine, book_dsn: str, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "QuantLib", None)
    with pytest.raises(LibraryMissing, match=r"QuantLib: `pip install --requirement requirements-risk\.txt`"):
        reckon_day(io.BytesIO(), dsn=book_dsn, day=str(DAY), again=False, at=AFTER)


def test_where_there_are_no_tables_no_batch_is_begun(dsn: str) -> None:
    desk = a_desk(dsn)
    for given in (desk, None):
        told = asking(given)("POST /api/risk/batch", {"date": str(DAY)}, status=409, Authorization=BEARER)
        assert told["error"]["code"] == "book_not_migrated"
    desk.close()


# --- beside the engine

ASKED = """
import sys
from datetime import UTC, datetime
from pathlib import Path

from live.app import create_app
from live.book_desk import BookDesk
from live.operators import Operators
from live.portfolios import Portfolios
from tests.fake_engine import FakeEngine, served_by

dsn, *paths = sys.argv[1:]
desk = BookDesk(dsn, lambda: datetime(2026, 1, 14, 20, tzinfo=UTC))
served = Portfolios({"main": served_by(FakeEngine())})
app = create_app(served, operators=Operators("t" * 32, Path("none")), session_secret="t" * 32, book=desk)
client = app.test_client()
found = {client.get(path).status_code for path in paths}
answer = client.post("/api/risk/batch", json={"date": "2026-01-14"}, headers={"Authorization": "Bearer " + "t" * 32})
arrays = {"numpy", "pandas", "scipy", "sklearn", "QuantLib", "pyarrow"} & set(sys.modules)
print(found, answer.status_code, sorted(arrays))
desk.close()
"""


def test_no_answer_has_arrays_or_frames_imported_into_the_process_that_decides(reckoned_days: Reckoned) -> None:
    paths = [
        f"{route.path}?{'&'.join(f'{name}={NEEDED[name]}' for name in route.needed)}"
        for route in VIEWS
        if route.path != "/api/risk/batch"
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASKED, reckoned_days.dsn, *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.splitlines()[-1], done.stderr) == ("{200} 200 []", "")
