"""A list of trades and a story of alerts: replayed beside a bare writer of the same rows; the list as a whole command, too."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from bench import stories
from bench.host import ROOT, BareWriter, Document, Host, document_of
from bench.measure import Comparisons, in_turns
from core.alert import canonical_payload
from core.config import default_settings
from core.db_state_manager import DatabaseStateManager
from core.decide import decide
from core.fingerprint import fingerprint_of
from core.inputs import Input, SignalInput, StartPortfolio
from core.journal import NO_HASH, Batch, Entry
from core.models import PortfolioState
from core.numbers import DEFAULT_CAPITAL, ZERO
from core.portfolio import Portfolio
from core.postgres.rows import batch_rows
from core.postgres.scratch import scratch_portfolio
from core.settings import Settings
from live.deliveries import MOST_AT_ONCE
from live.replay.model import Recorded
from live.replay.run import replay as run
from live.replay.settings import Overrides, replay_settings
from live.replay.trade_list import read_trade_list

FILE = ROOT / "tests" / "data" / "tradingview_banknifty_trades.csv"
INSTRUMENT = "BANK_NIFTY"
_POINT_VALUE, _COMMISSION_PERCENT = Decimal(35), Decimal("0.05")
ALERTS, QUICK_ALERTS = 16_000, 4_000
# Of `replay` and of `verify`.
TARGET_A_SECOND, OF_A_BARE_WRITER = 10_000.0, 0.5
_WITHIN_SECONDS = 60.0
# All that the command imports while it runs, so that the rest of it can be timed alone.
_IMPORTS = (
    "import alembic.command, psycopg2, rich.console, rich.progress, rich.table, sqlalchemy.dialects.postgresql, "
    "core.db_state_manager, core.postgres.embedded, core.postgres.scratch, migrations.run_file, "
    "live.cli, live.cli.output, live.cli.replay, live.database, "
    "live.replay.files, live.replay.reports, live.replay.run, live.replay.settings, live.replay.summary"
)
_COMMAND = (
    f"import sys, time; {_IMPORTS}; begun = time.perf_counter(); "
    "live.cli.main(sys.argv[1:], standalone_mode=False); print(time.perf_counter() - begun, file=sys.stderr)"
)


def replay(host: Host) -> Comparisons:
    """Signals a second of the replay, beside the same documents by a bare writer; seconds of the command after imports.

    Ours begins with an empty portfolio and connects its writer; the bare one has its connection and its documents.
    """
    found = Comparisons("replay")
    settings = listed_settings()
    recorded = read_trade_list(FILE, instrument=INSTRUMENT, timezone=ZoneInfo("Asia/Kolkata")).inputs
    documents = documents_of(recorded, settings)
    told = alerts(QUICK_ALERTS if host.quick else ALERTS)
    rules = replay_settings(stories.settings(), Overrides(as_listed=False, instrument=stories.INSTRUMENTS[0]))
    told_documents = documents_of(told, rules)
    for number in range(-1, host.rounds):
        figures = _round(host, number, settings, recorded, documents)
        more = _pair(host, number, rules, told, told_documents)
        if number < 0:
            continue
        batches = f"bare batches of {MOST_AT_ONCE}"
        for name, rates in (("list of trades", figures), (f"{len(told):,} alerts", more)):
            found.add_rate(name, rates["ours"], TARGET_A_SECOND)
            found.add(
                name, rates["ours"], rates["bare"], unit="/s", limit=batches, better="higher", target=OF_A_BARE_WRITER
            )
        found.add("command after imports", figures["command"], figures["imports"], unit="s", limit="its imports alone")
    found.notes["signals"] = len(recorded)
    return found


def alerts(count: int) -> list[Recorded]:
    """The bench's story as recorded alerts: entries, bars and exits by our own rules."""
    story, clients = stories.Story(), len(stories.INSTRUMENTS)
    told = [story.signal(number % clients) for number in range(count)]
    return [Recorded(signal=signal, payload=canonical_payload(signal), line=0) for signal in told]


def listed_settings() -> Settings:
    """As `replay --point-value 35 --commission-percent 0.05` has them."""
    overrides = Overrides(
        as_listed=True, instrument=INSTRUMENT, point_value=_POINT_VALUE, commission_percent=_COMMISSION_PERCENT
    )
    return replay_settings(default_settings(), overrides)


def documents_of(recorded: Sequence[Recorded], settings: Settings) -> list[Document]:
    """What a replay gives `commit_batch`, a document for every 128 at most, as live has them; the first one is the start."""
    empty = PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO)
    portfolio = Portfolio(name="main", settings=settings, state=empty)
    start: list[tuple[Input, Recorded]] = [(StartPortfolio(initial_capital=DEFAULT_CAPITAL), recorded[0])]
    batches = [recorded[first : first + MOST_AT_ONCE] for first in range(0, len(recorded), MOST_AT_ONCE)]
    documents, seq, last_hash = [], 1, NO_HASH
    for inputs in (start, *([(_given(one), one) for one in batch] for batch in batches)):
        now = max(one.signal.time for _, one in inputs)
        after, entries = portfolio, []
        for given, one in inputs:
            decision = decide(after, given, now)
            payload = one.payload if isinstance(given, SignalInput) else {}
            entries.append(Entry(given=given, decision=decision, decided_at=now, payload=payload))
            after = decision.portfolio
        rows = batch_rows(
            Batch(before=portfolio, after=after, entries=tuple(entries)),
            first_seq=seq,
            term=1,
            instance_id="bench",
            previous_hash=last_hash,
        )
        documents.append(document_of(rows))
        seq, last_hash = seq + len(entries), rows["journal"][-1]["content_hash"]
        portfolio = after.settled()
    return documents


def _given(one: Recorded) -> Input:
    return SignalInput(signal=one.signal, fingerprint=fingerprint_of("main", one.signal), received_at=one.signal.time)


def _pair(
    host: Host, number: int, settings: Settings, recorded: Sequence[Recorded], documents: Sequence[Document]
) -> dict[str, float]:
    figures: dict[str, float] = {}
    in_turns(
        number,
        lambda: figures.update(ours=_replayed(host.database(), settings, recorded)),
        lambda: figures.update(bare=written(host.database(), documents, len(recorded))),
    )
    return figures


def _round(
    host: Host, number: int, settings: Settings, recorded: Sequence[Recorded], documents: Sequence[Document]
) -> dict[str, float]:
    figures: dict[str, float] = {}
    in_turns(
        number,
        lambda: figures.update(_pair(host, number, settings, recorded, documents)),
        lambda: figures.update(command=_commanded(host.data_dir)),
        lambda: figures.update(imports=_timed("-c", _IMPORTS)),
    )
    return figures


def _replayed(dsn: str, settings: Settings, recorded: Sequence[Recorded]) -> float:
    """Signals a second, from the first batch's decision to the last one's COMMIT."""
    with scratch_portfolio(dsn, None) as name, DatabaseStateManager(dsn, portfolio=name) as manager:
        begun = time.perf_counter()
        done = run(manager, settings, DEFAULT_CAPITAL, recorded, portfolio="main")
        seconds = time.perf_counter() - begun
    if done.result.outcomes != {"executed": len(recorded)}:
        raise RuntimeError(f"not all was executed: {done.result.outcomes}")
    return len(recorded) / seconds


def written(dsn: str, documents: Sequence[Document], signals: int) -> float:
    """Signals a second of the bare writer, from the first document to the last one's COMMIT."""
    with closing(BareWriter(dsn)) as bare:
        begun = time.perf_counter()
        for document in documents:
            bare.write(document)
        seconds = time.perf_counter() - begun
        if bare.journalled() != signals + 1:
            raise RuntimeError(f"not all was written: {bare.journalled()}")
    return signals / seconds


def _commanded(data_dir: Path) -> float:
    """Seconds of the whole command on a server that runs, but for the interpreter and its imports."""
    options = ["--point-value", str(_POINT_VALUE), "--commission-percent", str(_COMMISSION_PERCENT)]
    return float(_child("-c", _COMMAND, "replay", str(FILE), *options, "--data-dir", str(data_dir)).splitlines()[-1])


def _timed(*arguments: str) -> float:
    begun = time.perf_counter()
    _child(*arguments)
    return time.perf_counter() - begun


def _child(*arguments: str) -> str:
    """What a Python process writes to stderr; RuntimeError with it where it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "140"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=_WITHIN_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the process ends with {done.returncode}: {done.stderr[-2000:]}")
    return done.stderr
