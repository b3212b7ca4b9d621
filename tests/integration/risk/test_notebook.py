"""`risk.open(dsn)`: frames of what the tables have, of the right kinds, read-only, and clear words where there is nothing."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

import risk
from book.database import BookNotMigrated, transaction
from book.fx import set_rate
from core.errors import DatabaseAway, DataRefused
from core.postgres.migrations import migrate_shared
from risk.as_of import NoSuchBars, NoSuchSeries
from risk.daily import PortfolioRisk
from risk.market_data import MarketData
from risk.models import DataSource, MacroSeries, SeriesMetadata
from risk.notebook.lab import Lab
from risk.reading import NotReckoned
from risk.tagging import add_tag, create_tag, target
from tests.book_world import kept
from tests.integration.risk.test_backtests import marked
from tests.integration.risk.test_backtests import reckoned as days_reckoned
from tests.integration.risk.test_batch import NAMES, by_hand, reckon, world_dsn
from tests.live_process import ROOT
from tests.queries import rows
from tests.risk_world import DAY, DAYS, FACTORS, SYMBOLS, USD, a_world, bars, closes

OHLC = ["open", "high", "low", "close", "settlement", "volume", "open_interest"]


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    with transaction(book_engine) as session:
        a_world(session)
    return book_engine


@pytest.fixture
def lab(world: Engine) -> Iterator[Lab]:
    with risk.open(world_dsn(world)) as opened:
        yield opened


@pytest.fixture
def reckoned(world: Engine, lab: Lab) -> Lab:
    reckon(world)
    return lab


# --- opening


def url_of(dsn: str, scheme: str = "postgresql") -> str:
    import psycopg2.extensions

    given = psycopg2.extensions.parse_dsn(dsn)
    password = f":{quote(given['password'])}" if "password" in given else ""
    host = quote(given["host"], safe="")
    return f"{scheme}://{given.get('user', '')}{password}@/{given['dbname']}?host={host}&port={given.get('port', 5432)}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_a_url_opens_what_a_connection_string_does(world: Engine, scheme: str) -> None:
    with risk.open(url_of(world_dsn(world), scheme)) as lab:
        assert len(lab.bars("COPPER")) == len(DAYS)


def test_nothing_can_be_written(lab: Lab, world: Engine) -> None:
    with lab.reading() as session:
        assert session.scalar(select(func.current_setting("transaction_read_only"))) == "on"
    with pytest.raises(DatabaseAway, match="read-only transaction"), lab.reading() as session:
        session.execute(text("DELETE FROM risk.market_data"))
    assert len(lab.bars("COPPER")) == len(DAYS)


def test_a_question_that_takes_too_long_is_cut_off(world: Engine) -> None:
    with risk.open(world_dsn(world), timeout_seconds=0.2) as lab:
        with pytest.raises(DatabaseAway), lab.reading() as session:
            session.execute(select(func.pg_sleep(60)))
        assert len(lab.bars("COPPER")) == len(DAYS)
    with pytest.raises(ValueError, match="`timeout_seconds`"):
        risk.open(world_dsn(world), timeout_seconds=0)


def test_what_is_asked_together_is_of_one_state(lab: Lab, world: Engine) -> None:
    with lab.together() as same:
        before = same.bars("COPPER")
        with transaction(world) as session:
            session.execute(MarketData.__table__.delete())
        assert same.bars("COPPER").equals(before)
        with lab.reading() as session:
            assert session.scalar(select(func.count()).select_from(MarketData)) == 4 * len(DAYS)
        assert same.kept()["bars"].sum() == 4 * len(DAYS)
    assert lab.kept().empty


def test_without_the_tables_it_is_said_what_to_run(empty_dsn: str, dsn: str) -> None:
    for given in (empty_dsn, dsn):
        with pytest.raises(BookNotMigrated, match="migrate --book"):
            risk.open(given)
    migrate_shared(dsn)
    rows(dsn, "DROP TABLE risk.position_tags")
    with pytest.raises(BookNotMigrated, match="migrate --book"):
        risk.open(dsn)


def test_where_there_is_no_server_or_no_connection_string_it_is_said() -> None:
    with pytest.raises(DatabaseAway):
        risk.open("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DataRefused, match="missing"):
        risk.open("not a connection string")


def test_importing_costs_nothing() -> None:
    program = (
        "import sys, risk; risk.open\n"
        "sys.exit(', '.join({'pandas', 'numpy', 'sqlalchemy', 'psycopg2'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- bars


def test_bars_are_floats_by_aware_time_with_their_day(lab: Lab) -> None:
    found = lab.bars("COPPER")
    assert list(found.columns) == ["day", *OHLC]
    assert str(found.index.dtype) == str(found["day"].dtype) == "datetime64[us, UTC]"
    assert all(found[name].dtype == np.float64 for name in OHLC)
    assert found["close"].to_list() == closes()["COPPER"].tolist()
    assert found["settlement"].isna().all()
    assert [each.date() for each in found["day"]] == DAYS
    assert found.index[-1] == pd.Timestamp("2026-01-13T18:30Z")


def test_bars_are_of_the_days_that_are_asked_for_both_included(lab: Lab) -> None:
    for begins, ends in ((date(2026, 1, 12), DAY), ("2026-01-12", "2026-01-14")):
        found = lab.bars("COPPER", "1d", begins, ends)
        assert [each.date() for each in found["day"]] == [date(2026, 1, 12), date(2026, 1, 13), DAY]
    # The bar of the 13th begins on the 12th at 18:30, by instants.
    found = lab.bars("COPPER", begins="2026-01-12T18:30:00+00:00", ends=datetime(2026, 1, 13, 18, 30, tzinfo=UTC))
    assert [each.date() for each in found["day"]] == [date(2026, 1, 13)]


def test_bars_are_those_that_were_over_by_then(lab: Lab) -> None:
    # The bar of the 13th is over on the 13th at 18:30.
    assert lab.bars("COPPER", as_of="2026-01-13T18:29:59Z")["day"].iloc[-1].date() == date(2026, 1, 12)
    assert lab.bars("COPPER", as_of="2026-01-13")["day"].iloc[-1].date() == date(2026, 1, 13)
    nothing = lab.bars("COPPER", as_of="2020-01-01")
    assert nothing.empty
    assert nothing.dtypes.equals(lab.bars("COPPER").dtypes)
    assert nothing.index.dtype == lab.bars("COPPER").index.dtype


def test_bars_of_less_than_a_day_have_no_day_and_days_are_those_of_utc(lab: Lab, world: Engine) -> None:
    with transaction(world) as session:
        for hour in range(24, 49, 6):
            prices = dict.fromkeys(("open", "high", "low", "close"), Decimal(hour))
            at = datetime(2026, 1, 12, tzinfo=UTC) + timedelta(hours=hour)
            session.add(MarketData(timestamp=at, instrument_id=2, source_id=1, timeframe="1h", **prices))
    found = lab.bars("BANK_NIFTY", "1h", "2026-01-13", "2026-01-13")
    assert (list(found.columns), found["close"].to_list()) == (OHLC, [24, 30, 36, 42])


def test_what_is_not_there_is_said(lab: Lab, world: Engine) -> None:
    with pytest.raises(NoSuchBars, match="TIN is not in the master"):
        lab.bars("TIN")
    with pytest.raises(NoSuchBars, match="`timeframe`: 7m"):
        lab.bars("COPPER", "7m")
    with pytest.raises(NoSuchBars, match="no bars of contracts of COPPER 1d"):
        lab.continuous("COPPER")
    with pytest.raises(NoSuchSeries, match="no source has a series tin"):
        lab.series("tin")
    with pytest.raises(ValueError, match="no time zone"):
        lab.bars("COPPER", as_of=datetime(2026, 1, 13))  # noqa: DTZ001 - what is refused
    with pytest.raises(TypeError, match="is an instant"):
        lab.positions(datetime(2026, 1, 13, tzinfo=UTC))
    with transaction(world) as session:
        other = kept(session, DataSource(name="there", kind="file")).source_id
        bars(session, 4, other, [1.0], days=[DAY])
        kept(session, SeriesMetadata(source_id=other, series_code="gold", name="Gold"))
    with pytest.raises(NoSuchBars, match="name one of the sources here, there"):
        lab.bars("COPPER")
    with pytest.raises(NoSuchSeries, match="gold: name one of the sources here, there"):
        lab.series("gold")
    assert len(lab.bars("COPPER", source="there")) == 1
    assert len(lab.series("gold", "here")) == len(DAYS)


def test_a_series_is_what_was_known_of_it_at_a_time(lab: Lab, world: Engine) -> None:
    found = lab.series("gold")
    assert [str(found[name].dtype) for name in found] == ["float64", "int64", "datetime64[us, UTC]"]
    assert found["value"].to_list() == closes()["gold"].tolist()
    assert [each.date() for each in found.index] == DAYS
    late = datetime(2026, 1, 20, tzinfo=UTC)
    with transaction(world) as session:
        session.add(MacroSeries(observation_date=DAY, series_id=1, revision=1, release_time=late, value=Decimal(1)))
    assert lab.series("gold", as_of="2026-01-18")["value"].iloc[-1] == closes()["gold"][-1]
    assert lab.series("gold", as_of=late)[["value", "revision"]].iloc[-1].to_list() == [1, 1]


NEAR, FAR = date(2026, 1, 16), date(2026, 2, 20)


@pytest.fixture
def contracts(world: Engine) -> None:
    """The near contract costs 100 to 104, the far one 10 points more."""
    with transaction(world) as session:
        for expiry, more in ((NEAR, 0), (FAR, 10)):
            for place, day in enumerate(DAYS[-5:]):
                prices = dict.fromkeys(("open", "high", "low", "close"), Decimal(100 + place + more))
                opened = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=5, minutes=30)
                keys = {"timestamp": opened, "instrument_id": 3, "source_id": 1, "timeframe": "1d", "expiry": expiry}
                session.add(MarketData(**keys, **prices))


@pytest.mark.usefixtures("contracts")
def test_contracts_are_one_series_with_its_rolls(lab: Lab) -> None:
    # The 9th is seven days before the 16th, and the first bar with fewer than eight: it is left at that close.
    found = lab.continuous("GOLD_MINI", roll_days=8)
    assert list(found.columns) == ["day", *OHLC, "expiry"]
    assert [each.date() for each in found["day"]] == DAYS[-5:]
    assert found["close"].to_list() == [110, 111, 112, 113, 114]
    assert lab.continuous("GOLD_MINI", adjustment="none")["close"].to_list() == [100, 101, 112, 113, 114]
    assert [each.date() for each in found["expiry"]] == [NEAR, NEAR, FAR, FAR, FAR]
    (roll,) = lab.rolls("GOLD_MINI", roll_days=8).reset_index().to_dict("records")
    assert (roll["near"].date(), roll["far"].date()) == (NEAR, FAR)
    assert [roll[name] for name in ("near_close", "far_close", "spread")] == [101, 111, 10]
    one = lab.bars("GOLD_MINI", expiry="2026-02-20")
    assert one["close"].to_list() == [110, 111, 112, 113, 114]
    with pytest.raises(ValueError, match="sideways"):
        lab.continuous("GOLD_MINI", adjustment="sideways")


@pytest.mark.usefixtures("contracts")
def test_which_bars_and_series_there_are_is_told(lab: Lab) -> None:
    found = lab.kept()
    assert len(found) == 6
    of_near = found[found["expiry"] == pd.Timestamp(NEAR, tz=UTC)].iloc[0]
    assert (of_near["instrument"], of_near["bars"], bool(of_near["options"])) == ("GOLD_MINI", 5, False)
    assert lab.kept_series()[["source", "series_code"]].to_numpy().tolist() == [["here", "gold"]]


def test_what_is_wrong_with_bars_is_told(lab: Lab, world: Engine) -> None:
    # It is a bar of Christmas, on which nothing is traded.
    (found,) = lab.quality("COPPER").to_dict("records")
    assert (found["kind"], found["first"].date()) == ("outside", date(2025, 12, 24))
    assert lab.quality("COPPER", since="2025-12-26").empty
    missing = "DELETE FROM risk.market_data WHERE instrument_id = 4 AND timestamp = '2026-01-11T18:30Z'"
    rows(world_dsn(world), missing)
    (found,) = lab.quality("COPPER", since="2025-12-26").to_dict("records")
    assert found["kind"] == "gap"
    assert lab.quality("COPPER", since="2026-01-13").empty
    assert "stale" in set(lab.quality("COPPER", as_of="2026-02-20")["kind"])


# --- days


def test_positions_are_what_is_reckoned_by_hand(reckoned: Lab) -> None:
    found, hand = reckoned.positions("2026-01-14"), by_hand()
    assert list(found.index) == list(NAMES)
    assert np.allclose(found["value"] * [1, 1, USD], hand["values"], rtol=1e-12)
    assert found["delta"].to_list() == [60, -40, 100]
    numbers = ["quantity", "price", "value", "day_return", "volatility", "delta", "gamma"]
    assert {str(found[name].dtype) for name in numbers} == {"float64"}
    assert str(found["price_date"].dtype) == "datetime64[us, UTC]"
    assert (str(found["observations"].dtype), found["observations"].to_list()) == ("Int64", [60, 60, 60])
    assert found["reasons"].to_list() == ["", "", ""]
    assert not any(found[name].dtype == object for name in found)


def test_nodes_have_a_column_for_each_measure_also_where_there_is_none(reckoned: Lab) -> None:
    found, hand = reckoned.nodes(DAY), by_hand()
    assert found["name"].to_list() == ["Fund", "Desk"]
    assert np.isclose(found.loc[1, "volatility_daily"], hand["volatility"], rtol=1e-9)
    assert np.isclose(found.loc[1, "historical_95%_value_at_risk"], -np.sort(hand["pnl"])[3], rtol=1e-9)
    assert found["historical_99%_value_at_risk"].isna().all()
    assert found.loc[1, "reasons"] == "historical_99%: TooFewObservations: 60 observations; 100 are needed"
    texts = ("name", "currency", "reasons", "positions", "left_out")
    assert {found[name].dtype for name in found if name not in texts} == {np.dtype("float64")}
    parts = reckoned.contributions(DAY)
    assert np.isclose(parts.loc[1, "contribution"].sum(), hand["volatility"], rtol=1e-9)
    assert set(parts.loc[1].index) == {*FACTORS, "specific"}


def test_exposures_and_covariances_are_what_is_reckoned_by_hand(reckoned: Lab) -> None:
    hand = by_hand()
    betas = reckoned.exposures(DAY)["beta"].unstack()[list(FACTORS)]
    assert np.allclose(betas.loc[list(NAMES)], hand["betas"], rtol=1e-9)
    covariance = reckoned.factor_covariance(DAY)
    assert np.allclose(covariance.loc[list(FACTORS), list(FACTORS)], hand["covariance"], rtol=1e-9)
    related = reckoned.correlations(DAY)
    assert set(related.index) == set(SYMBOLS)
    assert np.allclose(np.diag(related), 1)
    between = reckoned.instrument_covariance(DAY)
    spread = np.sqrt(np.diag(between))
    assert np.allclose(related, between / np.outer(spread, spread), rtol=1e-12)


def test_stress_is_told_by_scenario_and_by_what_it_is_of(reckoned: Lab) -> None:
    found = reckoned.stress(DAY)
    assert len(found) == 8 * 5
    own = found.loc["Market Down 10%"]
    assert list(own.index) == ["node/1", "node/2", *NAMES]
    assert own.loc["node/1", "pnl"] == pytest.approx((own.loc[list(NAMES), "pnl"] * [1, 1, USD]).sum())
    assert found.loc["Rates Up 0.25%", "pnl"].isna().all()
    assert found.loc["Rates Up 0.25%", "reason"].str.contains("ImpossibleShocks").all()


def test_value_at_risk_is_told_with_what_came_of_it_as_the_batch_says(lab: Lab, world: Engine) -> None:
    first, second, third = DAYS[-3:]
    with transaction(world) as session:
        for day in (first, second):
            set_rate(session, "USD/INR", Decimal(str(USD)), day)
    days_reckoned(world, first)
    marked(world, second, -(10**8))
    days_reckoned(world, second)
    marked(world, third, 5)
    days_reckoned(world, third)
    found = lab.value_at_risk(1)
    assert [each.date() for each in found.index] == [first, second, third]
    assert [None if pd.isna(each) else each.date() for each in found["gained_on"]] == [second, third, None]
    assert found["gained"].iloc[:2].to_list() == [-1e8, 5]
    assert found["breach_normal_95%"].iloc[:2].to_list() == [True, False]
    assert found["reason"].to_list() == ["", "", "no day after it was reckoned"]
    assert found["currency"].to_list() == ["INR"] * 3
    with Session(world) as session:
        kept_then = session.get_one(PortfolioRisk, (first, 1)).measures["historical_95%"]["value_at_risk"]
    assert found["historical_95%_value_at_risk"].iloc[0] == float(kept_then)
    # Where there is no measure, nobody knows whether it was a breach.
    assert found["historical_99%_value_at_risk"].isna().all()
    assert found["breach_historical_99%"].isna().all()
    assert {str(found[name].dtype) for name in found if name.startswith("breach_")} == {"boolean"}
    # What came of the last day that is asked for is told all the same.
    one = lab.value_at_risk(1, begins=second, ends=second)
    assert (len(one), one["gained"].iloc[0]) == (1, 5)
    for others in ({"node": 9}, {"node": 1, "ends": "2020-01-01"}, {"node": 1, "begins": "2030-01-01"}):
        with pytest.raises(NotReckoned, match="no day was reckoned"):
            lab.value_at_risk(**others)


def test_why_nothing_is_known_of_what_came_of_value_at_risk_is_said(lab: Lab, world: Engine) -> None:
    first, second, third = DAYS[-3:]
    with transaction(world) as session:
        set_rate(session, "USD/INR", Decimal(str(USD)), first)
    days_reckoned(world, first, second)
    assert lab.value_at_risk(1)["reason"].to_list() == [
        "P&L of the day is not whole: 3 unmarked",
        "no day after it was reckoned",
    ]
    rows(world_dsn(world), f"DELETE FROM risk.portfolio_risk WHERE calculation_date = '{second}'")
    days_reckoned(world, third)
    assert lab.value_at_risk(1)["reason"].to_list()[0] == f"the day before, {second}, was not reckoned"
    rows(world_dsn(world), "UPDATE risk.portfolio_risk SET snapshot = '{}'")
    told = lab.value_at_risk(1)
    assert told["reason"].to_list()[0] == f"the batch of {third} did not tell"
    assert told["gained"].isna().all()


def test_tags_and_a_day_by_them_are_told(reckoned: Lab, world: Engine) -> None:
    put = {"by": "ada", "now": datetime(2026, 1, 14, 6, tzinfo=UTC)}
    assert reckoned.tags(DAY).empty
    with transaction(world) as session:
        create_tag(session, "metals", "regular", by="ada")
        add_tag(session, "metals", "regular", target("node/2"), **put)
    found = reckoned.tags(DAY)
    assert list(found.index) == ["node/2", "position/2", "position/3"]
    assert set(found["on"]) == {"node/2"}
    assert str(found["added_at"].dtype) == "datetime64[us, UTC]"
    own = reckoned.by_tag(DAY)
    assert list(own.index) == [("all", ""), ("regular", "metals")]
    metals, desk = own.loc[("regular", "metals")], reckoned.nodes(DAY).loc[2]
    for name in ("exposure_gross", "volatility_daily", "historical_95%_value_at_risk", "diversification_ratio"):
        assert metals[name] == pytest.approx(desk[name], rel=1e-12)
    assert (np.isnan(metals["day_pnl"]), metals["closed_pnl"], metals["closed"]) == (True, 0, 0)
    assert "day_pnl: NothingHeld" in metals["reasons"]
    assert np.isnan(metals["mean_r"])
    assert len(reckoned.by_tag(DAY, tag_type="strategy", node=2, tagged_on=DAY)) == 1


def test_a_day_that_was_not_reckoned_is_said_to_be_so(lab: Lab) -> None:
    for asked in (
        lab.positions,
        lab.nodes,
        lab.exposures,
        lab.factor_covariance,
        lab.correlations,
        lab.stress,
        lab.by_tag,
    ):
        with pytest.raises(NotReckoned, match="2026-01-13 was not reckoned: `risk batch --date 2026-01-13` does"):
            asked("2026-01-13")


def test_a_day_on_which_nothing_was_known_has_the_same_columns(world: Engine, lab: Lab) -> None:
    reckon(world)
    full = lab.positions(DAY), lab.exposures(DAY), lab.stress(DAY)
    with Session(world) as session, session.begin():
        for table in ("position_risk", "position_factor_exposures", "stress_results", "factor_covariance"):
            session.execute(text(f"DELETE FROM risk.{table}"))
    for before, after in zip(full, (lab.positions(DAY), lab.exposures(DAY), lab.stress(DAY)), strict=True):
        assert after.empty
        assert after.dtypes.equals(before.dtypes)
    assert lab.factor_covariance(DAY).empty


def test_the_guide_tells_of_every_frame() -> None:
    guide = (ROOT / "docs" / "risk.md").read_text(encoding="utf-8").partition("## Notebooks")[2]
    given = {name for name in dir(Lab) if not name.startswith("_")} - {"close"}
    assert {name for name in given if f"`{name}(" not in guide and f"lab.{name}(" not in guide} == set()
