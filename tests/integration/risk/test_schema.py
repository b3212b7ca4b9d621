"""The risk lab's tables: keys that are unique, numbers that are finite, and what TimescaleDB is asked for."""

import re
from pathlib import Path

import psycopg2
import pytest

from core.postgres.migrations import SHARED_MIGRATIONS
from risk.models import CurveData, FiscalData, FlowData, MacroSeries, MarketData, Signal, VolSurface, metadata
from risk.upsert import natural_key
from tests.integration.book.test_migrations import STAND_INS, alembic
from tests.live_process import ROOT
from tests.queries import rows

TIMES = {
    "market_data": "timestamp",
    "macro_series": "observation_date",
    "curve_data": "curve_date",
    "flow_data": "observation_date",
    "fiscal_data": "observation_date",
    "vol_surface": "surface_date",
    "signal": "signal_date",
}
DAILY = (
    "factor_definitions",
    "stress_scenarios",
    "stress_scenario_shocks",
    "position_risk",
    "position_factor_exposures",
    "factor_covariance",
    "instrument_covariance",
    "portfolio_risk",
    "stress_results",
    "calculation_audit_log",
    "option_terms",
)
SESSIONS = ("modeling_sessions", "modeling_session_snapshots", "export_history")
TAGS = ("tags", "portfolio_tags", "position_tags")
MODELS = (MarketData, MacroSeries, CurveData, FlowData, FiscalData, VolSurface, Signal)
GOLDEN = Path(__file__).with_name("timescale.sql")
WITH_TIMESCALE = (
    STAND_INS.replace(
        "chunk_time_interval ANYELEMENT, if_not_exists BOOLEAN,",
        "chunk_time_interval ANYELEMENT, create_default_indexes BOOLEAN, if_not_exists BOOLEAN,",
    )
    .replace(
        "format('%s %s %s %s %s', relation, time_column_name, chunk_time_interval, if_not_exists, migrate_data)",
        "format('%s %s %s %s', relation, time_column_name, chunk_time_interval, create_default_indexes)",
    )
    .replace(
        "format('%s %s %s', hypertable, compress_after, if_not_exists)", "format('%s %s', hypertable, compress_after)"
    )
)

BAR = (
    "INSERT INTO risk.market_data (timestamp, instrument_id, source_id, timeframe, expiry, strike, option_type, open, high,"
    " low, close, volume) VALUES ({values})"
)


@pytest.fixture
def known(book_dsn: str) -> str:
    rows(
        book_dsn,
        "INSERT INTO book.instrument (symbol, name, asset_class, kind, currency) VALUES ('G', 'G', 'OTHER', 'future', 'INR')",
    )
    rows(book_dsn, "INSERT INTO risk.data_source (name, kind) VALUES ('here', 'file')")
    rows(book_dsn, "INSERT INTO risk.series_metadata (source_id, series_code, name) VALUES (1, 'CPI', 'Prices')")
    return book_dsn


def test_there_are_ten_models_of_market_data_and_the_instruments_are_the_books() -> None:
    of_market_data = {*TIMES, "data_source", "series_metadata"}
    assert {table.name for table in metadata.tables.values()} == of_market_data | {*DAILY, *SESSIONS, *TAGS}
    tables = [table for table in metadata.tables.values() if table.name in of_market_data]
    targets = {key.target_fullname for table in tables for key in table.foreign_keys}
    assert targets == {
        "book.instrument.instrument_id",
        "risk.data_source.source_id",
        "risk.series_metadata.series_id",
    }


def test_every_key_of_a_table_of_times_has_the_time_in_it(book_dsn: str) -> None:
    """Or it could be no hypertable."""
    for table, time in TIMES.items():
        unique = rows(
            book_dsn,
            f"SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'risk.{table}'::regclass AND indisunique",
        )
        assert len(unique) == 2
        assert all(re.search(rf"\b{time}\b", definition) for (definition,) in unique)


def test_what_may_be_absent_from_a_natural_key_is_unique_all_the_same(book_dsn: str) -> None:
    for model in MODELS:
        if any(column.nullable for column in natural_key(model)):
            ((definition,),) = rows(
                book_dsn,
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
                f" WHERE conrelid = 'risk.{model.__tablename__}'::regclass AND contype = 'u'",
            )
            assert "NULLS NOT DISTINCT" in definition
    names = [column.name for column in natural_key(VolSurface)]
    assert "option_type" in names
    assert all("revision" in [column.name for column in natural_key(model)] for model in MODELS[1:5])


@pytest.mark.parametrize(
    "values",
    [
        "'2026-01-14Z', 1, 1, '1h', NULL, NULL, NULL, 1, 2, 0.5, 1.5, 3",
        "'2026-01-14Z', 1, 1, '1h', '2026-02-05', NULL, NULL, 1, 2, 0.5, 1.5, NULL",
        "'2026-01-14Z', 1, 1, '1h', '2026-02-05', 100, 'CE', -3, -1, -5, -2, 0",
    ],
)
def test_a_bar_is_there_once(known: str, values: str) -> None:
    rows(known, BAR.format(values=values))
    with pytest.raises(psycopg2.errors.UniqueViolation, match="uq_market_data_bar"):
        rows(known, BAR.format(values=values))


@pytest.mark.parametrize(
    "values, rule",
    [
        ("1, 1, '1h', NULL, NULL, NULL, 1, 0.5, 2, 1, 1", "prices"),
        ("1, 1, '1h', NULL, NULL, NULL, 3, 2, 1, 1, 1", "prices"),
        ("1, 1, '1h', NULL, NULL, NULL, 1, 2, 0.5, 3, 1", "prices"),
        ("1, 1, '1h', NULL, NULL, NULL, 'NaN', 'NaN', 'NaN', 'NaN', 1", "prices"),
        ("1, 1, '1h', NULL, NULL, NULL, 'NaN', 2, 1, 1.5, 1", "prices"),
        ("1, 1, '1h', NULL, NULL, NULL, 1, 2, 'NaN', 1.5, 1", "prices"),
        ("1, 1, '1h', NULL, NULL, NULL, 1, 2, 1, 1, -1", "volume"),
        ("1, 1, '1h', NULL, NULL, NULL, 1, 2, 1, 1, 'NaN'", "volume"),
        ("1, 1, '7m', NULL, NULL, NULL, 1, 2, 1, 1, 1", "timeframe"),
        ("1, 1, '1h', '2026-02-05', 100, NULL, 1, 2, 1, 1, 1", "option"),
        ("1, 1, '1h', NULL, 100, 'CE', 1, 2, 1, 1, 1", "option"),
        ("1, 1, '1h', '2026-02-05', 100, 'XX', 1, 2, 1, 1, 1", "option_type"),
    ],
)
def test_a_bar_that_cannot_be_is_refused(known: str, values: str, rule: str) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation, match=f"ck_market_data_{rule}"):
        rows(known, BAR.format(values=f"'2026-01-14Z', {values}"))


def test_no_price_is_infinite(known: str) -> None:
    with pytest.raises(psycopg2.errors.NumericValueOutOfRange):
        rows(known, BAR.format(values="'2026-01-14Z', 1, 1, '1h', NULL, NULL, NULL, 1, 'Infinity', 1, 1, 1"))


def test_bars_keep_their_instrument_and_their_source(known: str) -> None:
    rows(known, BAR.format(values="'2026-01-14Z', 1, 1, '1h', NULL, NULL, NULL, 1, 2, 1, 1, 1"))
    for table in ("book.instrument", "risk.data_source"):
        rows(known, "DELETE FROM risk.series_metadata")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="there are bars of it"):
            rows(known, f"DELETE FROM {table}")
    rows(known, "DELETE FROM risk.market_data")
    rows(known, "DELETE FROM book.instrument")
    rows(known, "DELETE FROM risk.data_source")


@pytest.mark.parametrize(
    "insert, rule",
    [
        (
            (
                "vol_surface (surface_date, instrument_id, source_id, expiry, strike, implied_volatility)"
                " VALUES ('2026-01-14', 1, 1, '2026-01-27', 100, 0)"
            ),
            "implied_volatility",
        ),
        (
            (
                "vol_surface (surface_date, instrument_id, source_id, expiry, strike, delta, implied_volatility)"
                " VALUES ('2026-01-14', 1, 1, '2026-01-27', 100, 0.5, 12)"
            ),
            "place",
        ),
        (
            (
                "vol_surface (surface_date, instrument_id, source_id, expiry, delta, implied_volatility)"
                " VALUES ('2026-01-14', 1, 1, '2026-01-13', 0.5, 12)"
            ),
            "expiry",
        ),
        (
            (
                "calculation_audit_log (calculation_type, calculation_date, run, attempt, start_time, end_time, status)"
                " VALUES ('greeks', '2026-01-14', 1, 1, now(), now(), 'done')"
            ),
            "status",
        ),
        (
            (
                "calculation_audit_log (calculation_type, calculation_date, run, attempt, start_time, status)"
                " VALUES ('greeks', '2026-01-14', 1, 1, now(), 'completed')"
            ),
            "ended",
        ),
        (
            (
                "factor_covariance (calculation_date, factor1_id, factor2_id, covariance, shrinkage, observations)"
                " VALUES ('2026-01-14', 1, 1, 'NaN', 0, 60)"
            ),
            "covariance",
        ),
        (
            "stress_results (calculation_date, scenario_id, currency, pnl) VALUES ('2026-01-14', 1, 'INR', 1)",
            "whose",
        ),
        (
            "macro_series (observation_date, series_id, revision, release_time, value) VALUES ('2026-01-01', 1, -1, now(), 1)",
            "revision",
        ),
        (
            "macro_series (observation_date, series_id, release_time, value) VALUES ('2026-01-01', 1, now(), 'NaN')",
            "value",
        ),
        (
            (
                "curve_data (curve_date, curve_id, source_id, tenor_days, release_time, curve_type, rate)"
                " VALUES ('2026-01-14', 'INR', 1, 90, now(), 'bent', 6.5)"
            ),
            "curve_type",
        ),
        (
            "signal (signal_date, signal_name, direction, strength, confidence) VALUES (now(), 'trend', 'LONG', 1, 1.5)",
            "confidence",
        ),
        ("data_source (name, kind) VALUES ('No Name', 'file')", "name"),
    ],
)
def test_what_cannot_be_is_refused_by_its_rule(known: str, insert: str, rule: str) -> None:
    table = insert.split()[0]
    with pytest.raises(psycopg2.errors.CheckViolation, match=f"ck_{table}_{rule}"):
        rows(known, f"INSERT INTO risk.{insert}")


def test_a_series_is_a_sources_once(known: str) -> None:
    with pytest.raises(psycopg2.errors.UniqueViolation, match="uq_series_metadata_source_id_series_code"):
        rows(known, "INSERT INTO risk.series_metadata (source_id, series_code, name) VALUES (1, 'CPI', 'Again')")


# --- TimescaleDB


def test_what_is_asked_of_timescaledb_is_rendered_offline() -> None:
    done = alembic("upgrade", "r002:r003", "--sql")
    assert done.returncode == 0, done.stderr
    assert GOLDEN.read_text(encoding="utf-8") in done.stdout


def test_with_timescaledb_each_table_of_times_is_a_hypertable_with_its_settings(book_dsn: str) -> None:
    """Stand-ins with TimescaleDB's own names of arguments: it is not to be had here. What only it can parse ends the block."""
    script = (SHARED_MIGRATIONS / "r003_timescale.sql").read_text(encoding="utf-8")
    rows(book_dsn, WITH_TIMESCALE)
    with pytest.raises(psycopg2.Error, match='unrecognized parameter namespace "timescaledb"'):
        rows(book_dsn, script)
    for table in TIMES:
        rows(book_dsn, f"INSERT INTO timescaledb_information.hypertables VALUES ('risk', '{table}', TRUE)")
    rows(book_dsn, script)
    asked = [what for (what,) in rows(book_dsn, "SELECT what FROM asked")]
    assert asked[:2] == ["risk.market_data timestamp 30 days f", "risk.market_data 30 days"]
    assert [what for what in asked if what.startswith("risk.fiscal_data")] == [
        "risk.fiscal_data observation_date 365 days f",
        "risk.fiscal_data 180 days",
    ]
    assert len(asked) == 2 * len(TIMES)
    assert sum(what.endswith(" 90 days") for what in asked) == 5


def test_without_timescaledb_they_are_plain_tables(book_dsn: str) -> None:
    kinds = rows(
        book_dsn,
        "SELECT DISTINCT relkind::TEXT FROM pg_class WHERE relnamespace = 'risk'::regnamespace AND relname IN"
        f" ({', '.join(repr(name) for name in TIMES)})",
    )
    assert kinds == [("r",)]


def test_what_timescaledb_makes_of_its_own_is_no_drift(book_dsn: str) -> None:
    """Its schemas, and the index of the time that create_hypertable adds."""
    rows(book_dsn, "CREATE SCHEMA _timescaledb_internal")
    rows(book_dsn, "CREATE TABLE _timescaledb_internal._hyper_1_1_chunk (a INTEGER)")
    rows(book_dsn, "CREATE INDEX macro_series_observation_date_idx ON risk.macro_series (observation_date DESC)")
    rows(
        book_dsn,
        "CREATE INDEX position_pnl_history_snapshot_date_idx ON book.position_pnl_history (snapshot_date DESC)",
    )
    done = alembic("-x", f"dsn={book_dsn}", "check")
    assert (done.returncode, done.stdout.strip()) == (0, "No new upgrade operations detected."), done.stderr


def test_the_golden_file_has_all_that_the_specification_asks_for() -> None:
    golden = GOLDEN.read_text(encoding="utf-8")
    assert (ROOT / "migrations/shared/r003_timescale.sql").read_text(encoding="utf-8").endswith(golden)
    for table, time in TIMES.items():
        assert f"('{table}', '{time}'" in golden


# --- docs/market-data.md, docs/risk.md


def test_the_guides_list_every_table_with_its_columns(book_dsn: str) -> None:
    found: dict[str, set[str]] = {}
    for table, column in rows(
        book_dsn, "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'risk'"
    ):
        found.setdefault(table, set()).add(column)
    guide = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("market-data.md", "risk.md"))
    listed = {
        name: set(re.findall(r"`(\w+)`", columns))
        for name, columns in re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|$", guide, re.MULTILINE)
    }
    assert listed == found


def test_the_guide_lists_what_every_hypertable_is_made_with() -> None:
    golden = GOLDEN.read_text(encoding="utf-8")
    guide = (ROOT / "docs" / "market-data.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+ days) \| (\d+ days) \| `(\w+)` \|$", guide, re.MULTILINE)
    asked = re.findall(r"\('(\w+)', '(\w+)', '(\w+)', INTERVAL '(\d+ days)', INTERVAL '(\d+ days)'\)", golden)
    assert told == [(table, time, chunk, after, by) for table, time, by, chunk, after in asked]
    assert len(told) == len(TIMES)
