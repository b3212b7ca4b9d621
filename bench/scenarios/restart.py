"""A restart with open positions: until the engine serves, and until the whole process does."""

import gc
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from bench.host import Child, Host
from bench.measure import Comparisons, in_turns
from core.config import load_file_settings
from core.db_state_manager import DatabaseStateManager
from core.postgres.statements import statement
from core.settings import Settings
from live.engine import LiveTradingEngine

OF_A_BARE_FETCH = 1.1
IMPORTS_TARGET_MS = 500.0
SIZES = ((10, 5), (1_000, 10), (100_000, 100))  # positions, and how many of them an instrument has
# What a server with this interface imports, whoever writes it.
_LIBRARIES = "click, flask, immutables, msgspec, psycopg2, pydantic_settings, structlog, tenacity, waitress"
_FETCH = (
    f"import gc, sys; gc.disable(); import {_LIBRARIES}; cursor = psycopg2.connect(sys.argv[1]).cursor(); "
    "cursor.execute(sys.argv[2]); rows = cursor.fetchall(); print('ready', len(rows), flush=True)"
)
# A base and its pyramids an instrument, no two alike; each risks about 100 and moves by about 100 a day.
_POSITIONS = """
INSERT INTO portfolio_positions (
    position_id, instrument, layer, side, status, strategy_id, entry_timestamp, entry_bar_time, entry_price, entry_lots,
    entry_costs, lots, quantity, lot_size, point_value, initial_stop, current_stop, highest_close, atr, mark_price, mark_time,
    unrealized_pnl, costs, limiter, risk_contribution, vol_contribution, is_base_position
)
SELECT
    concat_ws('-', g.instrument, g.layer, substr(md5(g.number::TEXT), 1, 12)), g.instrument, g.layer, 'long', 'open',
    'breakout', g.at + INTERVAL '15 seconds', g.at, g.entry, 10, g.number * 0.0013, 10, 10, 1, 1, g.entry - 10,
    g.entry - 8 + g.number * 0.00003, g.entry + 2 + g.number * 0.00007, 10 + g.number * 0.00011, g.entry + 1, g.at,
    10, g.number * 0.0013, 'volatility', 100 + g.number * 0.0017, 100 + g.number * 0.0019, g.layer = 'Long_1'
FROM (
    SELECT
        number, 1000 + number * 0.0137 AS entry, TIMESTAMPTZ '2025-01-14T06:00:00Z' + number * INTERVAL '1 minute' AS at,
        'R' || number / %(layers)s AS instrument, 'Long_' || number %% %(layers)s + 1 AS layer
    FROM generate_series(0, %(count)s - 1) AS number
) AS g
"""
_PYRAMIDS = """
INSERT INTO pyramiding_state (instrument, last_pyramid_price, base_position_id)
SELECT instrument, entry_price, position_id FROM portfolio_positions WHERE is_base_position
"""
_TOTALS = """
UPDATE portfolio_state SET
    total_risk_amount = (SELECT sum(risk_contribution) FROM portfolio_positions),
    total_vol_amount = (SELECT sum(vol_contribution) FROM portfolio_positions),
    margin_used = (SELECT sum(lots) * 100 FROM portfolio_positions), version = version + 1
"""


def restart(host: Host) -> Comparisons:
    """10, 1,000 and 100,000 open positions, on a server that runs; as many instruments are configured as the positions need."""
    found = Comparisons("restart")
    for count, layers in SIZES:
        config = host.configuration([f"R{number}" for number in range(count // layers)])
        _Restart(host, host.database(), config, count, layers).measure(found)
    return found


def imports(host: Host) -> Comparisons:
    """What `live` imports before it serves, in a process that does no more; the libraries alone."""
    found = Comparisons("imports")
    served = "live.cli.live, live.bootstrap, live.app, live.server"
    ours = f"from live.collector import collector_off\nwith collector_off(): import {served}"
    for number in range(-1, host.rounds):
        seconds: dict[str, float] = {}
        in_turns(
            number,
            lambda seconds=seconds: seconds.update(ours=_imported(host, ours)),  # type: ignore[misc]
            lambda seconds=seconds: seconds.update(raw=_imported(host, f"import {_LIBRARIES}")),  # type: ignore[misc]
        )
        if number >= 0:
            took = seconds["ours"] * 1000
            found.add("of `live`", took, IMPORTS_TARGET_MS, unit="ms", limit="the target", target=1.0)
            found.add("of `live`", took, seconds["raw"] * 1000, unit="ms", limit="libraries alone")
    return found


def _imported(host: Host, code: str) -> float:
    return _until_ready(host, "-c", f"{code}\nprint('ready', flush=True)")


def with_positions(host: Host, dsn: str, count: int, layers: int) -> Path:
    """Fill a database with open positions, `layers` of an instrument; the configuration that fits them."""
    config = host.configuration([f"R{number}" for number in range(count // layers)])
    _Restart(host, dsn, config, count, layers)
    return config


class _Restart:
    def __init__(self, host: Host, dsn: str, config: Path, count: int, layers: int) -> None:
        self._host, self._dsn, self._config, self._count = host, dsn, config, count
        self._settings: Settings = load_file_settings(config).settings
        self._started_engine()
        with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(_POSITIONS, {"count": count, "layers": layers})
            cursor.execute(_PYRAMIDS)
            cursor.execute(_TOTALS)
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            connection.cursor().execute("VACUUM ANALYZE")

    def measure(self, found: Comparisons) -> None:
        """Rounds of: the engine in this process, a bare fetch here; the whole process, a bare fetch in a process."""
        for number in range(-1, self._host.rounds):
            seconds = self._round(number)
            if number < 0:
                continue
            name = f"{self._count:,} positions"
            bare = "bare connect + fetch to tuples"
            self._add(found, f"{name}, engine", seconds["engine"], seconds["fetch"], bare, target=OF_A_BARE_FETCH)
            self._add(
                found, f"{name}, engine", seconds["engine"], seconds["obliged"], "the same + a connect, two commits"
            )
            self._add(
                found, f"{name}, process", seconds["process"], seconds["child"], "libraries and fetch, a whole process"
            )

    def _round(self, number: int) -> dict[str, float]:
        seconds: dict[str, float] = {}
        in_turns(
            number,
            lambda: seconds.update(engine=self._started_engine(self._count)),
            lambda: seconds.update(fetch=self._fetched()),
            lambda: seconds.update(obliged=self._fetched(commits=2)),
            lambda: seconds.update(process=self._started(*self._live())),
            lambda: seconds.update(child=self._started("-c", _FETCH, self._dsn, statement("load_positions"))),
        )
        return seconds

    @staticmethod
    def _add(found: Comparisons, figure: str, ours: float, raw: float, limit: str, target: float | None = None) -> None:
        found.add(figure, ours * 1000, raw * 1000, unit="ms", limit=limit, target=target)

    def _started_engine(self, expected: int = 0) -> float:
        """Seconds from nothing but settings until the engine is ready."""
        gc.collect()
        begun = time.perf_counter()
        with DatabaseStateManager(self._dsn) as manager:
            engine = LiveTradingEngine(manager, self._settings, clock=lambda: datetime.now(UTC))
            engine.start()
            seconds = time.perf_counter() - begun
            if len(engine.positions) != expected or engine.failed_invariants:
                raise RuntimeError(f"not what was generated: {len(engine.positions)}, {engine.failed_invariants[:1]}")
            engine.stop()
        return seconds

    def _fetched(self, commits: int = 0) -> float:
        """Seconds of a connection and a fetch, the collector off; and, as a start owes, of another one that commits: the term
        that it takes, and the entry that says so."""
        gc.collect()
        gc.disable()
        try:
            return _timed(self._fetch) + (_timed(lambda: self._commit(commits)) if commits else 0.0)
        finally:
            gc.enable()

    def _fetch(self) -> None:
        with closing(psycopg2.connect(self._dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(statement("load_positions"))
            if len(cursor.fetchall()) != self._count:
                raise RuntimeError("not as many rows as were generated")

    def _commit(self, times: int) -> None:
        with closing(psycopg2.connect(self._dsn)) as connection, connection.cursor() as cursor:
            for _ in range(times):
                cursor.execute("SELECT pg_logical_emit_message(TRUE, 'bench', '')")
                connection.commit()

    def _started(self, *arguments: str) -> float:
        return _until_ready(self._host, *arguments)

    def _live(self) -> list[str]:
        return [
            "portfolio_manager.py",
            "live",
            *("--port", "0"),
            *("--data-dir", str(self._host.folder / f"live-{self._count}")),
            *("--db-config", str(self._host.database_config(self._dsn)), "--db-env", "local"),
            *("--config", str(self._config)),
        ]


def _until_ready(host: Host, *arguments: str) -> float:
    """Seconds from the start of a Python process until it says that it is ready."""
    begun = time.perf_counter()
    child = Child(host.folder, *arguments)
    try:
        child.ready()
        return time.perf_counter() - begun
    finally:
        child.stop()


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
