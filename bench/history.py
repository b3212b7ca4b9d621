"""A history as long as wanted, of generated rows: enough to see what its length costs, not enough for `verify` to believe it."""

import re
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from bench.host import BareWriter
from bench.stories import INSTRUMENTS, STEPS, Recorder
from core.postgres.statements import statement

# In the order in which each is made of those that are still short.
TABLES = ("signal_log", "decision_journal", "portfolio_positions", "orders", "fills")
STORY_SIGNALS = len(INSTRUMENTS) * STEPS
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def tell_story(dsn: str) -> None:
    """One trade of each instrument, decided and committed as the engine does it: what a history is copied from."""
    recorder = Recorder()
    with closing(BareWriter(dsn)) as writer:
        writer.write(recorder.start())
        for _ in range(STEPS):
            writer.write(recorder.batch(range(len(INSTRUMENTS))))


def fill(dsn: str, signals: int) -> None:
    """So many signals more in the log and in the journal, and in proportion closed positions, orders and their fills.

    ValueError where they are not whole copies of the story, which was told just before.
    """
    copies, rest = divmod(signals, STORY_SIGNALS)
    if rest:
        raise ValueError(f"{signals} signals are no whole copies of a story of {STORY_SIGNALS}")
    begun = time.perf_counter()
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            _fill(cursor, copies)
    _say(f"a history of {signals:,} signals was made in {time.perf_counter() - begun:.0f} s")


def _fill(cursor: Cursor, copies: int) -> None:
    texts = statements()
    tables = {"tables": list(TABLES)}
    constraints, indexes = (_rows(cursor, texts[name], tables) for name in ("constraints", "indexes"))
    _rows(cursor, "SET maintenance_work_mem = '512MB'")
    for table, name, _ in constraints:
        _rows(cursor, f"ALTER TABLE {table} DROP {name}")
    for name, _ in indexes:
        _rows(cursor, sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    positions = [position_id for (position_id,) in _rows(cursor, "SELECT position_id FROM portfolio_positions")]
    given = {"copies": copies, "signals": STORY_SIGNALS, "positions": positions}
    # Orders begin as intents, says a trigger; these have ended.
    _rows(cursor, "ALTER TABLE orders DISABLE TRIGGER USER")
    for table in TABLES:
        _rows(cursor, texts[table], given)
    _rows(cursor, "ALTER TABLE orders ENABLE TRIGGER USER")
    for table, name, definition in reversed(constraints):
        _rows(cursor, f"ALTER TABLE {table} ADD {name} {definition}")
    for _, definition in indexes:
        _rows(cursor, definition)
    # As the leader does once a minute.
    _rows(cursor, statement("count_signals"), {"settled_seconds": 0, "limit": copies * STORY_SIGNALS + STORY_SIGNALS})
    _rows(cursor, "VACUUM (FREEZE, ANALYZE)")
    _rows(cursor, "CHECKPOINT")


def statements() -> dict[str, str]:
    """The statements of history.sql by their names."""
    _, *parts = _NAME.split((Path(__file__).parent / "history.sql").read_text(encoding="utf-8"))
    return {name: text.strip().rstrip(";") for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _rows(cursor: Cursor, text: str | sql.Composed, given: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    cursor.execute(text, given)
    return cursor.fetchall() if cursor.description else []


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
