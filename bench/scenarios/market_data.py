"""A bar for each of 100 instruments at once, with ten open positions each, until all stops are moved and durable."""

import statistics
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2

from bench.host import BareWriter, Host, a_child
from bench.load import Connected
from bench.measure import Comparisons, values_in_turns
from bench.scenarios.post import live_command
from bench.scenarios.restart import with_positions
from bench.stories import Recorder
from core.alert import parse_alert
from core.config import load_file_settings
from core.db_state_manager import DatabaseStateManager
from core.fingerprint import fingerprint_of
from core.inputs import SignalInput
from live.recovery import recover

INSTRUMENTS, LAYERS = 100, 10
TARGET_MS = 50.0
_SWEEPS, _QUICK_SWEEPS = 5, 2
_FROM = datetime(2026, 1, 15, tzinfo=UTC)
# Above every entry, and higher with each bar: all stops move, none is hit.
_PRICE, _RISE, _ATR = 1200, 5, 10
_TRAILING_ATR = 2  # an instrument's, where its configuration says no other
_STOPS = (
    "SELECT count(*), count(DISTINCT current_stop), min(current_stop) FROM portfolio_positions WHERE status = 'open'"
)


def market_data(host: Host) -> Comparisons:
    """Over 100 keep-alive connections, one a bar, from the first byte to the last answer; beside one bare commit of all of it."""
    found, sweeps = Comparisons("market_data"), _QUICK_SWEEPS if host.quick else _SWEEPS
    ours_dsn, bare_dsn = host.database(), host.database()
    config, _ = (with_positions(host, dsn, INSTRUMENTS * LAYERS, LAYERS) for dsn in (ours_dsn, bare_dsn))
    with ExitStack() as stack:
        live = stack.enter_context(a_child(host.folder, *live_command(host, ours_dsn, config)))
        bare = stack.enter_context(closing(_Bare(bare_dsn, config)))
        ours = stack.enter_context(closing(_Ours(int(live.rpartition(":")[2]))))
        for number in range(-1, host.rounds):
            seconds = [values_in_turns(number + sweep, ours.sweep, bare.sweep) for sweep in range(sweeps)]
            if number >= 0:
                _tell(found, *(statistics.median(each) * 1000 for each in zip(*seconds, strict=True)))
        for dsn in (ours_dsn, bare_dsn):
            _require_moved(dsn, (host.rounds + 1) * sweeps)
    return found


def _tell(found: Comparisons, ours: float, raw: float) -> None:
    name = f"{INSTRUMENTS} bars, {LAYERS} positions each"
    found.add(name, ours, TARGET_MS, unit="ms", limit="the target", target=1.0)
    found.add(name, ours, raw, unit="ms", limit="one bare commit of the same rows")


class _Ours:
    """A running `live`, and a connection for each instrument that stays from bar to bar."""

    def __init__(self, port: int) -> None:
        self._connected, self._bars = Connected(port, INSTRUMENTS), 0

    def sweep(self) -> float:
        """Seconds until the last bar is answered."""
        self._bars += 1
        load = self._connected.drive(0.0, lambda client: a_bar(client, self._bars))
        load.require_all_good()
        return load.seconds

    def close(self) -> None:
        """Close the connections."""
        self._connected.close()


class _Bare:
    """The same bars decided beforehand, written as one batch."""

    def __init__(self, dsn: str, config: Path) -> None:
        settings = load_file_settings(config).settings
        with DatabaseStateManager(dsn) as manager:
            portfolio = recover(manager, settings, None, datetime.now(UTC)).portfolio
            (last,) = manager.reads.run("last_seq")
        self._recorder, self._bars = Recorder(settings), 0
        self._recorder.go_on(portfolio, last["seq"] + 1, last["content_hash"])
        self._names = sorted(settings.instruments)
        self._writer = BareWriter(dsn)

    def sweep(self) -> float:
        """Seconds of the commit."""
        self._bars += 1
        now, inputs = datetime.now(UTC), []
        for client in range(INSTRUMENTS):
            body = a_bar(client, self._bars)
            signal = parse_alert(body, instruments=self._names, naive_timezone=UTC).signal
            inputs.append(
                (SignalInput(signal=signal, fingerprint=fingerprint_of("main", signal), received_at=now), body)
            )
        document = self._recorder.document(inputs)
        begun = time.perf_counter()
        self._writer.write(document)
        return time.perf_counter() - begun

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


def a_bar(instrument: int, number: int) -> bytes:
    """An instrument's bar of that number, counted from 1."""
    time_of_bar = (_FROM + timedelta(minutes=number)).isoformat()
    return (
        f'{{"type":"MARKET_DATA","instrument":"R{instrument}","price":{_close(number)},"atr":{_ATR},'
        f'"bar_time":"{time_of_bar}"}}'
    ).encode()


def _close(number: int) -> int:
    return _PRICE + _RISE * number


def _require_moved(dsn: str, bars: int) -> None:
    """RuntimeError unless every stop is behind the last bar's close, all by the same distance."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(_STOPS)
        count, different, stop = cursor.fetchone() or (0, 0, None)
    if count != INSTRUMENTS * LAYERS or different != 1 or stop != _close(bars) - _TRAILING_ATR * _ATR:
        raise RuntimeError(f"{count} positions have {different} stops from {stop} on after {bars} bars")
