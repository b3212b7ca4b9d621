"""SIGKILL to `ready` again, with a short and a long journal, the server killed too; and how fast `verify` reads a journal."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import msgspec
import psycopg2
from psycopg2 import extras

from bench.host import READY_WITHIN_SECONDS, ROOT, Child, Document, Host
from bench.measure import Comparisons, in_turns
from bench.scenarios.replay import OF_A_BARE_WRITER, TARGET_A_SECOND, documents_of, written
from core.alert import canonical_payload
from core.config import load_file_settings
from core.db_state_manager import DatabaseStateManager, Kept
from core.decide import decide
from core.fingerprint import fingerprint_of
from core.inputs import SignalInput
from core.journal import Batch, Entry
from core.models import Signal, SignalType
from core.portfolio import Portfolio
from core.postgres.embedded import EmbeddedServer
from core.postgres.journal_stream import ROWS_AT_ONCE, journal_stream
from core.postgres.migrations import migrate
from core.postgres.statements import statement
from core.settings import Settings
from live.deliveries import MOST_AT_ONCE
from live.recovery import recover
from live.replay.model import Recorded
from live.verify import verify as verify_journal

INSTRUMENTS = tuple(f"HISTORY_{number}" for number in range(10))
STEPS = 10  # of a trade: an entry, eight bars, an exit at the entry's price
LONG, QUICK_LONG = 1_000_000, 100_000
VERIFIED, QUICK_VERIFIED = 50_000, 10_000
WRITTEN = 5_000
ROUNDS_AT_LEAST = 5
TARGET_MS, SERVER_TOO_TARGET_MS = 1500.0, 5000.0
_START = datetime(2020, 1, 1, tzinfo=UTC)
_PRICE = 1000
_AT_ONCE = 1000
_COMMIT_LIMIT_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.01
_WRITERS, _ANSWERS_BEFORE_THE_KILL = 4, 100
# What is tried in vain (another system's modules) is tried here as well; the interpreter's end is no part of a start.
_IMPORT = """
import contextlib, importlib, os, sys
for name in sys.argv[1:]:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
os._exit(0)
"""
_IMPORTS = "the interpreter and the same imports"


def recovery(host: Host) -> Comparisons:
    """`live` killed in the midst of writing, alone and with its server, until a new one's /ready and /status are 200."""
    found, long = Comparisons("recovery"), QUICK_LONG if host.quick else LONG
    with ExitStack() as stack:
        few, many = (stack.enter_context(_a_home(host, name, rows)) for name, rows in (("few", 0), ("many", long)))
        modules = _modules(few)
        many.start()
        for number in range(-1, max(ROUNDS_AT_LEAST, host.rounds)):
            seconds = _round(number, few, many, modules)
            if number >= 0:
                add_round(found, seconds, f"{long:,} rows")
    found.notes["open positions"] = len(INSTRUMENTS)
    found.notes["rounds"] = max(ROUNDS_AT_LEAST, host.rounds)
    found.notes["net"] = "the whole less the quickest of three imports of the same modules in the same round"
    return found


def verify(host: Host) -> Comparisons:
    """Journal entries a second that `verify` proves, beside what a bare writer writes of the same story, and beside a bare
    fetch of the same rows by a server-side cursor."""
    found, dsn, rows = Comparisons("verify"), host.database(), QUICK_VERIFIED if host.quick else VERIFIED
    settings = load_file_settings(host.configuration(INSTRUMENTS)).settings
    make_history(dsn, settings, rows)
    documents = documents_of(list(map(_recorded, range(WRITTEN))), settings)
    for number in range(-1, host.rounds):
        rates = _rates(number, dsn, host, documents)
        if number >= 0:
            name, batches = f"{rows:,} entries", f"bare batches of {MOST_AT_ONCE}"
            found.add_rate(name, rates["ours"], TARGET_A_SECOND)
            found.add(
                name,
                rates["ours"],
                rates["written"],
                unit="/s",
                limit=batches,
                better="higher",
                target=OF_A_BARE_WRITER,
            )
            limit = "bare streaming fetch, JSON as text"
            found.add(name, rates["ours"], rates["raw"], unit="/s", limit=limit, better="higher")
    return found


# --- a journal


def make_history(dsn: str, settings: Settings, rows: int) -> None:
    """So many signals decided and committed as the engine does it, chained and to be verified; then ten open positions."""
    if rows % (len(INSTRUMENTS) * STEPS):
        raise ValueError(f"{rows} rows would end in the middle of a trade")
    _say(f"making a journal of {rows:,} signals and {len(INSTRUMENTS)} open positions ...")
    begun = time.perf_counter()
    with DatabaseStateManager(dsn, commit_limit=_COMMIT_LIMIT_SECONDS) as manager:
        portfolio = recover(manager, settings, None, _START).portfolio
        _commit_all(manager, portfolio, map(history_signal, range(rows + len(INSTRUMENTS))))
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE")
    _say(f"made in {time.perf_counter() - begun:.0f} s")


def history_signal(number: int) -> Signal:
    """The history's signal of that number: ten instruments in turns, each trade ten steps long, a second a signal."""
    step = number // len(INSTRUMENTS) % STEPS
    instrument, bar_time = INSTRUMENTS[number % len(INSTRUMENTS)], _START + timedelta(seconds=number)
    if step == 0:
        return Signal(
            type=SignalType.BASE_ENTRY,
            instrument=instrument,
            layer="Long_1",
            price=Decimal(_PRICE),
            stop=Decimal(_PRICE - 10),
            atr=Decimal(10),
            er=Decimal("0.82"),
            bar_time=bar_time,
        )
    if step == STEPS - 1:
        return Signal(
            type=SignalType.EXIT, instrument=instrument, layer="ALL", price=Decimal(_PRICE), bar_time=bar_time
        )
    return a_bar(number)


def a_bar(number: int) -> Signal:
    """A bar at the history's time of that number, above every stop."""
    return Signal(
        type=SignalType.MARKET_DATA,
        instrument=INSTRUMENTS[number % len(INSTRUMENTS)],
        price=Decimal(_PRICE + number % 7),
        atr=Decimal("10.5"),
        bar_time=_START + timedelta(seconds=number),
    )


def _commit_all(manager: DatabaseStateManager, portfolio: Portfolio, signals: Iterator[Signal]) -> None:
    """One batch is committed while the next one is decided."""
    kept: Future[Kept] | None = None
    with ThreadPoolExecutor(1) as committing:
        while together := tuple(itertools.islice(signals, _AT_ONCE)):
            batch = _batch(portfolio, together)
            if kept is not None:
                kept.result()
            kept = committing.submit(manager.commit, batch)
            portfolio = batch.after.settled()
        if kept is not None:
            kept.result()


def _batch(before: Portfolio, signals: Sequence[Signal]) -> Batch:
    after, entries = before, []
    for given in signals:
        now = given.time
        taken = SignalInput(signal=given, fingerprint=fingerprint_of("main", given), received_at=now)
        decision = decide(after, taken, now)
        entries.append(Entry(given=taken, decision=decision, decided_at=now, payload=canonical_payload(given)))
        after = decision.portfolio
    return Batch(before=before, after=after, entries=tuple(entries))


# --- recovery


class _Home:
    """A data folder with its embedded server, and the `live` that serves it, on one port for all its lives."""

    def __init__(self, folder: Path, config: Path, rows: int) -> None:
        self.folder = folder
        self._config = config
        self._port = _free_port()
        self._child: Child | None = None
        self._numbers = itertools.count(rows + len(INSTRUMENTS))
        self._server = EmbeddedServer(folder / "data")
        with self._server:
            migrate(self._server.dsn, "main")
            make_history(self._server.dsn, load_file_settings(config).settings, rows)

    def start(self, *options: str) -> None:
        """Start `live`, with these options of the interpreter, and wait until it is ready."""
        data_dir = str(self.folder / "data")
        command = ("portfolio_manager.py", "live", "--port", str(self._port), "--data-dir", data_dir)
        self._child = Child(self.folder, *options, *command, "--config", str(self._config))
        self._wait_ready(self._child)

    def stop(self) -> None:
        """End `live`, and the server if no `live` was left to do so."""
        if self._child is not None:
            self._child.stop()
        if self._server.postmaster_pid is not None:
            with self._server:
                pass

    def recovered(self, *, server_too: bool) -> float:
        """Seconds from the kill, while alerts are being kept, until it is ready again; RuntimeError where something is lost."""
        child = self._child
        assert child is not None
        with _writing(self._port, self._numbers) as acknowledged:
            victims = [child.process.pid, *(self._server_processes() if server_too else ())]
            begun = time.perf_counter()
            for pid in victims:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            child.stop()
            self.start()
            seconds = time.perf_counter() - begun
        self._require_all_there(max(acknowledged))
        return seconds

    def _server_processes(self) -> list[int]:
        """The postmaster, then its children: a signal to its group would not reach them, each has a session of its own."""
        postmaster = self._server.postmaster_pid
        with closing(psycopg2.connect(self._server.dsn)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            children = [pid for (pid,) in cursor.fetchall()]
        if postmaster is None:
            raise RuntimeError("the embedded server does not run")
        return [postmaster, *children]

    def _wait_ready(self, child: Child) -> None:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while time.monotonic() < deadline and child.process.poll() is None:
            with suppress(OSError, HTTPException):
                # /status as well: what has a place to keep alerts may be ready before it knows its positions.
                if all(_get(self._port, path)[0] == 200 for path in ("/ready", "/status")):
                    return
            time.sleep(_LOOK_AGAIN_SECONDS)
        raise RuntimeError(f"live is not ready: {(self.folder / 'child.log').read_text()[-2000:]}")

    def _require_all_there(self, acknowledged_seq: int) -> None:
        status, journal = (_get(self._port, path)[1] for path in ("/status", "/journal?limit=1"))
        last_seq = journal["journal"][0]["seq"]
        if status["open_positions"] != len(INSTRUMENTS) or status["failed_invariants"] or last_seq <= acknowledged_seq:
            raise RuntimeError(f"not what it was: {status}, entry {last_seq} after {acknowledged_seq} was acknowledged")


@contextmanager
def _a_home(host: Host, name: str, rows: int) -> Iterator[_Home]:
    folder = host.folder / name
    folder.mkdir()
    folder.chmod(0o755)
    home = _Home(folder, host.configuration(INSTRUMENTS), rows)
    try:
        yield home
    finally:
        home.stop()


def _modules(home: _Home) -> list[str]:
    """Every module that `live` imports until it is ready, in the order in which that ends; leaves it running."""
    home.start("-X", "importtime")
    lines = (home.folder / "child.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:") and "[us]" not in line]


def _round(number: int, few: _Home, many: _Home, modules: Sequence[str]) -> dict[str, float]:
    """Seconds of each; of three looks at the imports the quickest, so that what is left is rather told too long."""
    seconds: dict[str, float] = {}
    imports: list[float] = []
    in_turns(
        number,
        lambda: seconds.update(few=few.recovered(server_too=False)),
        lambda: imports.append(_imported(modules)),
        lambda: seconds.update(many=many.recovered(server_too=False)),
        lambda: imports.append(_imported(modules)),
        lambda: seconds.update(few_server=few.recovered(server_too=True)),
        lambda: imports.append(_imported(modules)),
        lambda: seconds.update(many_server=many.recovered(server_too=True)),
    )
    return {**seconds, "imports": min(imports)}


def add_round(found: Comparisons, seconds: dict[str, float], long: str) -> None:
    """Note a round: the whole beside the imports, the net beside the target, the whole beside that of a short journal."""
    imports = seconds["imports"] * 1000
    for suffix, also, target in (("", "", TARGET_MS), ("_server", ", server too", SERVER_TOO_TARGET_MS)):
        whole = {rows: seconds[key + suffix] * 1000 for rows, key in (("few rows", "few"), (long, "many"))}
        for rows, milliseconds in whole.items():
            found.add(f"{rows}{also}, whole", milliseconds, imports, unit="ms", limit=_IMPORTS)
            found.add(f"{rows}{also}, net", milliseconds - imports, target, unit="ms", limit="the target")
        found.add(f"{long}{also}, whole", whole[long], whole["few rows"], unit="ms", limit="the same with few rows")


def _imported(modules: Sequence[str]) -> float:
    """Seconds of a process that imports these modules and ends."""
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", _IMPORT, *modules],
        cwd=ROOT,
        check=True,
        timeout=READY_WITHIN_SECONDS,
        capture_output=True,
    )
    return time.perf_counter() - begun


@contextmanager
def _writing(port: int, numbers: Iterator[int]) -> Iterator[list[int]]:
    """The journal's numbers that were answered to alerts posted all the while, until the block breaks the connections."""
    acknowledged: list[int] = []
    threads = [
        threading.Thread(target=_post_until_broken, args=(port, numbers, acknowledged), daemon=True)
        for _ in range(_WRITERS)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while len(acknowledged) < _ANSWERS_BEFORE_THE_KILL:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(acknowledged)} alerts were kept, not {_ANSWERS_BEFORE_THE_KILL}")
        time.sleep(_LOOK_AGAIN_SECONDS)
    yield acknowledged
    for thread in threads:
        thread.join()


def _post_until_broken(port: int, numbers: Iterator[int], acknowledged: list[int]) -> None:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection, suppress(OSError, HTTPException):
        for number in numbers:
            connection.request("POST", "/webhook", msgspec.json.encode(canonical_payload(a_bar(number))))
            with connection.getresponse() as response:
                answer = json.loads(response.read())
            if response.status == 200:
                acknowledged.append(answer["journal_seq"])


def _get(port: int, path: str) -> tuple[int, Any]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.status, json.loads(response.read())


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


# --- verify


def _rates(number: int, dsn: str, host: Host, documents: Sequence[Document]) -> dict[str, float]:
    rates: dict[str, float] = {}
    in_turns(
        number,
        lambda: rates.update(ours=_rate(_verified, dsn)),
        lambda: rates.update(written=written(host.database(), documents, WRITTEN)),
        lambda: rates.update(raw=_rate(_streamed, dsn)),
    )
    return rates


def _recorded(number: int) -> Recorded:
    signal = history_signal(number)
    return Recorded(signal=signal, payload=canonical_payload(signal), line=number)


def _rate(read: Callable[[str], int], dsn: str) -> float:
    begun = time.perf_counter()
    return read(dsn) / (time.perf_counter() - begun)


def _verified(dsn: str) -> int:
    """How many entries `verify` has proved, in this process: without the command's imports."""
    with journal_stream(dsn, "main") as stream:
        return verify_journal(stream, "main").entries


def _streamed(dsn: str) -> int:
    """The limit: how many rows psycopg2 has fetched by the same statement, as plain tuples."""
    rows = 0
    with closing(psycopg2.connect(dsn)) as connection:
        extras.register_default_jsonb(connection, loads=str)
        with connection.cursor(name="bare") as cursor:
            cursor.execute(statement("stream_journal"))
            while fetched := len(cursor.fetchmany(ROWS_AT_ONCE)):
                rows += fetched
    return rows


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
