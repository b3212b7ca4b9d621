"""The book follows the journal: entries a second, beside the same entries read and the same rows inserted, and nothing else."""

import time
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extras import Json, execute_values

from bench.host import BareWriter, Host
from bench.measure import Comparisons
from bench.stories import INSTRUMENTS, Recorder
from book.database import engine_of
from book.day_ends import DayEnds
from book.projection import Projector
from core.postgres.migrations import migrate_shared
from live.contracts_file import DEFAULT_CALENDAR, load_calendar

BATCHES, QUICK_BATCHES = 200, 30
_LIMIT = "entries read, new rows inserted"
_COPY = "CREATE TABLE book.copied (LIKE book.portfolio_positions INCLUDING ALL)"


def projection(host: Host) -> Comparisons:
    """A journal of real decisions, so many entries more each round, taken over by a projector that goes on from the last."""
    found = Comparisons("projection")
    dsn = host.database()
    migrate_shared(dsn)
    recorder = Recorder()
    entries = (QUICK_BATCHES if host.quick else BATCHES) * len(INSTRUMENTS)
    with closing(BareWriter(dsn)) as writer, closing(psycopg2.connect(dsn)) as bare:
        bare.autocommit = True
        _all(bare, _COPY)
        writer.write(recorder.start())
        engine = engine_of(dsn)
        try:
            ends = DayEnds(load_calendar(DEFAULT_CALENDAR), 300)
            projector = Projector(engine, "main", ends, clock=partial(datetime.now, UTC))
            projector.sync()
            for number in range(-1, host.rounds):
                for _ in range(entries // len(INSTRUMENTS)):
                    writer.write(recorder.batch(range(len(INSTRUMENTS))))
                ours, raw = _round(projector, bare)
                if number >= 0:
                    found.add("journal entries", ours, raw, unit="/s", limit=_LIMIT, better="higher")
        finally:
            engine.dispose()
    found.notes["entries a round"] = entries
    return found


def _round(projector: Projector, bare: Connection) -> tuple[float, float]:
    """Entries a second, ours and the bare ones. The rows are those that ours has made, so ours comes first."""
    ((before, after),) = _all(
        bare,
        "SELECT (SELECT coalesce(max(seq), 0) FROM book.projection_cursor),"
        " (SELECT coalesce(max(id), 0) FROM book.portfolio_positions)",
    )
    begun = time.perf_counter()
    synced = projector.sync()
    ours = synced.entries / (time.perf_counter() - begun)
    names = [name for (name,) in _all(bare, _COLUMNS)]
    rows = _all(bare, f"SELECT {', '.join(names)} FROM book.portfolio_positions WHERE id > %s", after)
    begun = time.perf_counter()
    _read(bare, before)
    _insert(bare, names, rows)
    raw = synced.entries / (time.perf_counter() - begun)
    return ours, raw


_COLUMNS = (
    "SELECT column_name FROM information_schema.columns"
    " WHERE (table_schema, table_name) = ('book', 'portfolio_positions') AND column_name <> 'id'"
)


def _read(bare: Connection, after_seq: int) -> None:
    _all(
        bare,
        "SELECT seq, format, events::TEXT, figures::TEXT, decided_at, content_hash FROM decision_journal WHERE seq > %s"
        " ORDER BY seq",
        after_seq,
    )


def _insert(bare: Connection, names: list[str], rows: list[tuple[Any, ...]]) -> None:
    plain = [tuple(Json(value) if isinstance(value, dict) else value for value in row) for row in rows]
    with bare.cursor() as cursor:
        execute_values(cursor, f"INSERT INTO book.copied ({', '.join(names)}) VALUES %s", plain, page_size=1000)


def _all(bare: Connection, text: str, *given: Any) -> list[tuple[Any, ...]]:
    with bare.cursor() as cursor:
        cursor.execute(text, given)
        return cursor.fetchall() if cursor.description else []
