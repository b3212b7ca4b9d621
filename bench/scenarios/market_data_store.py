"""Market data: an import of bars beside a bare COPY of the same rows, and what was known at a time among 10,000,000 rows."""

import io
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow
from psycopg2.extensions import connection as Connection
from pyarrow import csv
from sqlalchemy import Engine

from bench.host import Host
from bench.measure import Comparisons, values_in_turns
from book.database import engine_of, transaction
from core.postgres.migrations import migrate_shared
from core.postgres.statements import statements_in
from risk.as_of import bars_as_of, bars_of, observations_as_of, series_of
from risk.importers.told import read_file
from risk.importing import Import, take

ROWS, IMPORTED = 10_000_000, 1_000_000
_QUICK_SHARE = 100
_FOLDER = Path(__file__).parents[1]
_PATIENCE_SECONDS = 3600.0
_TARGET = "the target"
_LAST = 500
_COLUMNS = "timestamp, instrument_id, source_id, timeframe, open, high, low, close, volume"


def market_data_store(host: Host) -> Comparisons:
    """Rows a second of an import, from the bytes of a CSV file to the COMMIT, and milliseconds of questions as of a time."""
    found = Comparisons("market_data_store")
    share = _QUICK_SHARE if host.quick else 1
    dsn = host.database()
    migrate_shared(dsn)
    with closing(psycopg2.connect(dsn)) as bare:
        bare.autocommit = True
        engine = engine_of(dsn)
        try:
            _run(bare, "market_instruments", "market_source", "market_series")
            _measure_imports(host, found, engine, bare, IMPORTED // share)
            _measure_questions(host, found, engine, bare, ROWS // share)
        finally:
            engine.dispose()
    found.notes["rows"] = {"imported": IMPORTED // share, "asked": ROWS // share}
    return found


def _run(bare: Connection, *names: str, **parameters: Any) -> None:
    with bare.cursor() as cursor:
        for name in names:
            cursor.execute(statements_in(_FOLDER)[name], parameters)


def _measure_imports(host: Host, found: Comparisons, engine: Engine, bare: Connection, rows: int) -> None:
    given = Import(kind="bars", zone=UTC, source="bench", instrument="BENCH_1", timeframe="1m")
    file, raw = _file(rows)
    for number in range(-1, host.rounds):
        parts = partial(_imported, engine, bare, given, file, rows), partial(_copied, bare, raw, rows)
        ours, limit = values_in_turns(number, *parts)
        again = _again(engine, bare, given, file, rows)
        if number >= 0:
            found.add("bars imported", ours, limit, unit="/s", limit="a bare COPY of them", better="higher")
            found.add_rate("bars imported", ours, 100_000)
            found.add("bars imported again", again, limit, unit="/s", limit="a bare COPY of them", better="higher")


def _file(rows: int) -> tuple[bytes, bytes]:
    """Bars of a minute as a file, and as COPY's CSV for the table."""
    begin = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
    times = pyarrow.array([begin + 60 * number for number in range(rows)])
    prices = {
        name: pyarrow.array([f"{base + number % 50}.25" for number in range(rows)])
        for name, base in (("open", 100), ("high", 102), ("low", 99), ("close", 101))
    }
    volumes = pyarrow.array([number % 1000 for number in range(rows)])
    stamps = times.cast(pyarrow.timestamp("s", "UTC"))
    told = pyarrow.table({"timestamp": times, **prices, "volume": volumes})
    fixed = {
        "instrument_id": pyarrow.repeat(1, rows),
        "source_id": pyarrow.repeat(1, rows),
        "timeframe": pyarrow.repeat("1m", rows),
    }
    copied = pyarrow.table({"timestamp": stamps, **fixed, **prices, "volume": volumes})
    return _csv(told, header=True), _csv(copied, header=False)


def _csv(table: pyarrow.Table, *, header: bool) -> bytes:
    written = io.BytesIO()
    csv.write_csv(table, written, csv.WriteOptions(include_header=header, quoting_style="none"))
    return written.getvalue()


def _imported(engine: Engine, bare: Connection, given: Import, file: bytes, rows: int) -> float:
    _empty(bare)
    return _take(engine, given, file, rows, inserted=rows)


def _again(engine: Engine, bare: Connection, given: Import, file: bytes, rows: int) -> float:
    _empty(bare)
    _take(engine, given, file, rows, inserted=rows)
    return _take(engine, given, file, rows, inserted=0)


def _take(engine: Engine, given: Import, file: bytes, rows: int, *, inserted: int) -> float:
    begun = time.perf_counter()
    with transaction(engine, limit_seconds=_PATIENCE_SECONDS) as session:
        done = take(session, given, read_file("bars.csv", file))
    seconds = time.perf_counter() - begun
    if done.inserted != inserted or done.inserted + done.same != rows:
        raise RuntimeError(f"{done.inserted} rows were inserted, not {inserted}")
    return rows / seconds


def _copied(bare: Connection, raw: bytes, rows: int) -> float:
    _empty(bare)
    begun = time.perf_counter()
    with bare.cursor() as cursor:
        cursor.copy_expert(f"COPY risk.market_data ({_COLUMNS}) FROM STDIN (FORMAT csv)", io.BytesIO(raw), 1024**2)
    return rows / (time.perf_counter() - begun)


def _empty(bare: Connection) -> None:
    with bare.cursor() as cursor:
        cursor.execute("TRUNCATE risk.market_data")
        cursor.execute("CHECKPOINT")


def _measure_questions(host: Host, found: Comparisons, engine: Engine, bare: Connection, rows: int) -> None:
    _empty(bare)
    _fill(bare, "risk.market_data", "market_bars", rows)
    _fill(bare, "risk.macro_series", "market_observations", rows)
    with bare.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE risk.market_data, risk.macro_series")
    at, known_at = datetime(2020, 1, 3, tzinfo=UTC), datetime(2016, 1, 1, tzinfo=UTC)
    for number in range(-1, host.rounds):
        with transaction(engine, limit_seconds=_PATIENCE_SECONDS) as session:
            of, series = bars_of(session, "BENCH_7", "1m"), series_of(session, "bench", "BENCH_500")
            ours: dict[str, Callable[[], Any]] = {
                f"the last {_LAST} bars as of a time": partial(bars_as_of, session, of, at, last=_LAST),
                "a series as of a time": partial(observations_as_of, session, series, known_at),
            }
            limits = (
                partial(
                    _asked,
                    bare,
                    "market_raw_bars",
                    instrument_id=of.instrument_id,
                    source_id=of.source_id,
                    until=at,
                    last=_LAST,
                ),
                partial(_asked, bare, "market_raw_observations", series_id=series, until=known_at),
            )
            for (name, ask), limit in zip(ours.items(), limits, strict=True):
                mine, raw = values_in_turns(number, partial(_taken, ask), partial(_taken, limit))
                if number >= 0:
                    found.add(name, mine, raw, unit="ms", limit="the bare indexed query")
                    found.add(name, mine, 50, unit="ms", limit=_TARGET, target=1.0)


def _fill(bare: Connection, table: str, name: str, rows: int) -> None:
    """Rows first, then what they are found by: else most of the time is spent on filling indexes row by row."""
    with bare.cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '512MB'")
        cursor.execute(statements_in(_FOLDER)["market_keys"], {"name": table})
        keys = cursor.fetchall()
        for key, _ in keys:
            cursor.execute(f"ALTER TABLE {table} DROP {key}")
        _run(bare, name, rows=rows)
        for _, definition in keys:
            cursor.execute(f"ALTER TABLE {table} ADD {definition}")


def _asked(bare: Connection, name: str, **parameters: Any) -> None:
    with bare.cursor() as cursor:
        cursor.execute(statements_in(_FOLDER)[name], parameters)
        if not cursor.fetchall():
            raise RuntimeError(f"{name} found nothing")


def _taken(what: Callable[[], object]) -> float:
    begun = time.perf_counter()
    what()
    return (time.perf_counter() - begun) * 1000
